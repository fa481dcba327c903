"""Faults of doc/faults.md: Leases. Each test has the number of its line."""

import pytest

from tests.beds.box import Given, Kernel, Syslog, boxed, event, given, ip, kernel, run, set_address, two_links, verb


@pytest.mark.parametrize("first", ["eth0", "eth1"])
@boxed
def test_a_provider_that_hands_out_another_one_s_gateway_takes_no_link_out(first: str) -> None:  # P6
    syslog = Syslog()
    before = of_eth0(two_links())
    gateway = Given(given(0).gateway, 24, given(1).gateway)
    set_address("eth1", gateway)
    event("BOUND", "eth1", gateway)
    assert of_eth0(kernel()) == before
    verb("flush")  # the kernel takes it, too, if it has not had it already
    for name, lease in sorted({"eth0": given(0), "eth1": gateway}.items(), reverse=first == "eth1"):
        event("BOUND", name, lease)
    assert of_eth0(kernel()) == before and verb("plan") == ""
    assert not [line for line in syslog.lines() if "not used" in line or "refused" in line]


@pytest.mark.parametrize("first", ["lease", "address"])
@boxed
def test_replies_to_the_lan_stay_there_when_a_provider_hands_out_its_address(first: str) -> None:  # P6
    two_links()
    ip("link add lan0 type veth peer name peer-lan0", "link set lan0 up", "link set peer-lan0 up")
    address = ["address add 10.0.0.1/24 dev lan0"]
    ip(*address if first == "address" else [])
    lan = Given("10.0.0.1", 24, "10.0.0.254", "10.0.0.254")
    set_address("eth1", lan)
    event("BOUND", "eth1", lan)
    ip(*address if first == "lease" else [])
    event("RENEW", "eth0", given(0))
    assert "dev lan0" in run("ip", "route", "get", "10.0.0.2", "from", "10.0.0.1") or first == "lease"  # main's order
    assert "dev eth1" in run("ip", "route", "get", "198.51.100.1", "from", "10.0.0.1")
    assert verb("plan") == ""
    ip("address flush dev lan0")  # or a tunnel borrows the address
    ip("address add 10.0.0.1 peer 10.9.9.9 dev lan0")
    event("RENEW", "eth0", given(0))
    assert "dev eth1" in run("ip", "route", "get", "10.0.0.2", "from", "10.0.0.1") and verb("plan") == ""


def of_eth0(found: Kernel) -> tuple[list[str], list[str]]:
    """The rules and routes of a link, and its part of the multipath."""
    lines = [line for line in found.ours if "eth0" in line or "lookup 1000 " in line]
    multipath = [line for line in lines if "nexthop" in line]
    return ([line for line in lines if line not in multipath],
            [part for line in multipath for part in line.split("nexthop") if "eth0" in part])
