"""Other routing on the same machine goes on as before, whether it came before us or after us."""

from pathlib import Path

import pytest

from tests.beds import box
from tests.beds.box import boxed, event, given, kernel, set_address

# The rules of wg-quick(8). The kind of the device does not matter to the routing.
VPN = ("link add wg0 type veth peer name peer-wg0", "link set wg0 up", "link set peer-wg0 up",
       "address add 10.200.0.2/32 dev wg0", "rule add not fwmark 51820 table 51820",
       "rule add table main suppress_prefixlength 0",
       "route add default dev wg0 table 51820")
# Rules of an administrator, before and after ours. The first has the pref that a VRF takes.
MARKS = ("rule add pref 1000 from all lookup 90", "rule add pref 32000 fwmark 7 lookup 91",
         "route add 198.51.100.77/32 dev wg0 table 90", "route add default dev peer-eth0 table 91")


def way(*words: str) -> str:
    """The device that a packet takes."""
    said = box.run("ip", "-N", "-4", "route", "get", *words).split()
    return said[said.index("dev") + 1]


def links_up() -> None:
    for number, name in enumerate(box.add_links(2)):
        set_address(name, given(number))
        event("BOUND", name, given(number))


@pytest.mark.parametrize("first", ["the VPN", "dhcp-lb"])
@boxed
def test_a_vpn_and_marks_win_whoever_came_first(first: str) -> None:
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    forwarding = forward.read_text()
    if first == "the VPN":
        box.ip(*VPN)
        links_up()
    else:
        links_up()
        box.ip(*VPN)
    box.ip(*MARKS)
    foreign = kernel().foreign

    def assert_each_has_its_own() -> None:
        assert way("198.51.100.1") == "wg0"  # all that the machine sends
        assert way("198.51.100.1", "mark", "51820") in ("eth0", "eth1")  # what the VPN itself sends
        assert way("198.51.100.1", "mark", "7") in ("wg0", "peer-eth0")  # the earlier one of two foreign rules
        assert way("198.51.100.77") == "wg0"
        assert way("198.51.100.1", "from", given(1).address, "mark", "51820") == "eth1"
        assert way(given(0, host=77).address) in ("eth0", "wg0")

    assert_each_has_its_own()
    for number in range(2):
        event("RENEW", f"eth{number}", given(number, gateway=2))
    box.verb("apply")
    assert kernel().foreign == foreign
    assert_each_has_its_own()
    assert forward.read_text() == forwarding
    box.verb("flush")
    assert kernel().foreign == foreign
    assert way("198.51.100.1") == "wg0"


@boxed
def test_a_route_of_main_wins_over_the_balanced_default() -> None:
    links_up()
    box.ip("route add 198.51.100.0/24 dev peer-eth0", "route add default dev peer-eth1 metric 5")
    event("RENEW", "eth0", given(0))
    assert way("198.51.100.1") == "peer-eth0"
    assert way("203.0.113.1") in ("eth0", "eth1")  # this default is a LAN's


@boxed
def test_a_second_address_of_an_interface_stays_and_its_network_is_reached_by_it() -> None:
    links_up()
    alone = set(kernel().ours)
    box.ip("address add 10.77.0.1/24 dev eth0", "address add 10.100.0.99/24 dev eth0")
    beside = kernel().foreign
    event("RENEW", "eth0", given(0))
    both = set(kernel().ours)
    assert alone < both and kernel().foreign == beside
    assert sorted(line.split(" proto")[0] for line in both - alone) == [
        f"1 10.77.0.0/24 dev eth0 table {table}" for table in (1000, 1001)]
    event("RENEW", "eth0", given(0, gateway=2))
    event("RENEW", "eth0", given(0))
    assert set(kernel().ours) == both and kernel().foreign == beside


@pytest.mark.parametrize("fault", ["rm /usr/sbin/ip /usr/bin/ip /bin/ip /sbin/ip",
                                   "cp /usr/bin/false /usr/bin/ip; cp /usr/bin/false /usr/sbin/ip"])
@boxed
def test_without_ip_an_event_is_taken_all_the_same(fault: str) -> None:
    links_up()
    want = kernel()
    box.run("cp", "/usr/bin/ip", "/run/ip")
    box.run("sh", "-c", f"({fault}) 2>/dev/null || :")
    event("RENEW", "eth0", given(0, gateway=2))
    event("RENEW", "eth0", given(0))
    event("EXPIRE", "eth1")
    event("BOUND", "eth1", given(1))
    box.run("sh", "-c", "rm -f /usr/bin/ip; cp /run/ip /usr/bin/ip; hash -r")
    assert box.lookup()
    assert kernel() == want
