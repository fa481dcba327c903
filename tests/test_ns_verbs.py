"""The verbs, in situations that mislead."""

import json
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
def test_what_apply_would_take_up_is_seen_beforehand() -> None:
    names = box.add_links(2)
    for place, name in enumerate(names):
        set_address(name, given(place))
        box.ip(f"route add default via {given(place).gateway} dev {name} metric {10 + place}")
    said = json.loads(verb("status", "--json"))
    assert said["in_order"] is False and not box.STORE.exists()
    assert [(link["state"], link["address"], link["gateway"]) for link in said["links"]] == [
        ("up", given(place).address, given(place).gateway) for place in range(2)]
    assert "not as it should be" in verb("status")
    planned = verb("plan").splitlines()
    assert planned == said["commands"] != []
    log = box.Syslog()
    verb("apply")
    assert [line for line in log.lines() if line in planned] == planned
    assert verb("plan") == "" and json.loads(verb("status", "--json"))["in_order"] is True
    box.ip("address flush dev eth1")  # what was taken up ends in the same way
    assert json.loads(verb("status", "--json"))["links"][1]["state"] == "unusable"


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
