"""Faults of doc/faults.md: Interfaces. Each test has the number of its line."""

import json

import pytest

from tests.beds import box
from tests.beds.box import CONFIG, add_links, boxed, event, given, ip, kernel, run, set_address, two_links, verb


@pytest.mark.parametrize("name", ["eth0.100", "fifteen-bytes-x", "é€", "--help", "-4", "dev", "table", "*", "$(id)",
                                  "a'b", "lock"])
@boxed
def test_an_interface_may_have_any_name(name: str) -> None:  # 27
    add_links(2)
    set_address("eth0", given(0))
    ip("link set eth0 down")
    run("ip", "link", "set", "dev", "eth0", "name", name)
    run("ip", "link", "set", "dev", name, "up")
    CONFIG.write_text(f"{name} one 1000 1\n")
    event("BOUND", name, given(0))
    assert len(kernel().ours) == 11
    assert json.loads(verb("status", "--json"))["links"][0]["interface"] == name
    assert name in verb("status")
    verb("drain", "--", name)
    assert json.loads(verb("status", "--json"))["links"][0]["state"] == "draining"
    verb("enable", "--", name)
    assert "one" in verb("explain", "198.51.100.1", f"--dev={name}")
    event("STOP", name)
    assert kernel().ours == ()


@boxed
def test_wan1_and_wan10_are_two() -> None:  # 28
    add_links(2)
    for old, new in ("eth0", "wan1"), ("eth1", "wan10"):
        ip(f"link set {old} down", f"link set {old} name {new}", f"link set {new} up")
    CONFIG.write_text("wan1 one 1000 1\nwan10 two 1001 1\n")
    for number, name in enumerate(("wan1", "wan10")):
        set_address(name, given(number))
        event("BOUND", name, given(number))
    event("STOP", "wan1")
    assert sorted({line.split(" dev ")[1].split()[0] for line in kernel().ours if " dev " in line}) == ["wan10"]


@boxed
def test_the_old_name_of_an_interface_is_pruned() -> None:  # 30
    two_links()
    ip("link set eth0 down", "link set eth0 name other0", "link set other0 up")
    event("RENEW", "eth1", given(1))
    assert not any("eth0" in line or "10.100.0." in line for line in kernel().ours)
    assert len(kernel().ours) == 11


@boxed
def test_a_device_that_was_plugged_in_again_is_rebuilt() -> None:  # 29, 31
    before = two_links()
    ip("link del eth0")
    assert box.lookup()
    ip("link add eth0 type veth peer name peer-eth0", "link set eth0 up", "link set peer-eth0 up")
    set_address("eth0", given(0))
    event("BOUND", "eth0", given(0))
    assert kernel().ours == before.ours


@boxed
def test_down_and_up_is_put_right_by_the_next_event() -> None:  # 33
    before = two_links()
    ip("link set eth0 down")
    assert box.lookup()
    event("RENEW", "eth1", given(1))
    assert len(kernel().ours) == 11
    ip("link set eth0 up")
    event("RENEW", "eth1", given(1))
    assert kernel() == before


@boxed
def test_all_down_and_one_back() -> None:  # 34
    two_links()
    ip("link set eth0 down", "link set eth1 down")
    event("EXPIRE", "eth0")
    assert kernel().ours == ()
    ip("link set eth1 up")
    event("RENEW", "eth1", given(1))
    assert len(kernel().ours) == 11 and box.lookup()
