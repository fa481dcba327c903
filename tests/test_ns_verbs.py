"""The verbs, in situations that mislead."""

import subprocess

from tests import box
from tests.box import boxed, event, given, run, set_address, verb


def links_up(number: int = 2) -> None:
    for place, name in enumerate(box.add_links(number)):
        set_address(name, given(place))
        event("BOUND", name, given(place))


@boxed
def test_a_way_of_250_links_is_explained() -> None:
    """The kernel's answer has room for some 230 nexthops."""
    names = box.add_links(250)
    box.ip(*[f"address add {given(place).address}/24 dev {name}" for place, name in enumerate(names)])
    box.CONFIG.write_text("".join(f"eth{place} t{place} {1000 + place} 1 gateway={given(place).gateway}\n"
                                  for place in range(250)))
    verb("apply")
    said = verb("explain", "198.51.100.1")
    assert "  table  dhcp-lb (252), route default\n" in said
    assert said.count("  link   eth") == 250
    assert f"  link   eth249 via {given(249).gateway}, 0% of the connections\n" in said


@boxed
def test_control_characters_in_a_foreign_interface_s_name_are_escaped() -> None:
    links_up()
    name = "t\x1b[31m\udc9b"
    box.ip("link add wg0 type veth peer name peer-wg0", "link set peer-wg0 up")
    run("ip", "link", "set", "wg0", "name", name)
    run("ip", "link", "set", name, "up")
    run("ip", "address", "add", "10.9.0.1/24", "dev", name)
    run("ip", "rule", "add", "pref", "100", "oif", name, "lookup", "main")
    for arguments in ["10.9.0.7"], ["10.9.0.7", f"--dev={name}"], ["10.9.0.7", f"--dev={name}x"]:
        done = subprocess.run([box.PROGRAM, "explain", *arguments], env=box.ENVIRONMENT, capture_output=True)
        said = done.stdout + done.stderr
        assert b"\x1b" not in said and b"\x9b" not in said
        assert b"t\\x1b[31m\\x9b" in said
