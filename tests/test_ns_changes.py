"""What the kernel says to a monitor, of which the monitor reads no more than it must."""

import socket
from collections.abc import Iterator

import pytest

from dhcp_lb.monitor.changes import Changes
from tests.beds.netns import network, run


@pytest.fixture
def changes() -> Iterator[Changes]:
    """The link eth0 and a container's veth0 are there, and all that was said of them has been read."""
    with network():
        found = Changes()
        run("ip link add eth0 index 700 type veth peer name peer0")
        run("ip link add veth0 type veth peer name peer1")
        heard(found)
        yield found
        found.socket.close()


def heard(changes: Changes) -> tuple[bool, bool]:
    """Whether anything has come that concerns eth0, and whether its sysctls may be others."""
    came = changes.came(frozenset(["eth0"]), frozenset([socket.if_nametoindex("eth0")]))
    of_sysctls, changes.of_sysctls = changes.of_sysctls, False
    return came, of_sysctls


def test_sysctls_are_read_when_one_of_a_link_or_of_all_is_set(changes: Changes) -> None:
    for name, concerns in ("eth0/rp_filter", True), ("all/rp_filter", True), ("veth0/rp_filter", False):
        run(f"sysctl -qw net/ipv4/conf/{name}=1")
        assert heard(changes) == (concerns, concerns), name


def test_sysctls_are_read_when_a_link_s_interface_comes_or_changes(changes: Changes) -> None:
    for command, concerns in ("link set eth0 up", True), ("link set veth0 up", False):
        run(f"ip {command}")
        assert heard(changes) == (concerns, concerns), command


def test_sysctls_are_not_read_when_routes_and_rules_and_addresses_change(changes: Changes) -> None:
    run("ip link set eth0 up")
    heard(changes)
    for command in "address add 192.0.2.2/24 dev eth0", "route add default via 192.0.2.1", "rule add pref 5 lookup 7":
        run(f"ip {command}")
        assert heard(changes) == (True, False), command


def test_at_first_and_after_an_overflow_nobody_knows(changes: Changes) -> None:
    assert Changes().of_sysctls
    changes.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for number in range(64):
        run(f"ip rule add pref {1000 + number} lookup 7")
    assert heard(changes) == (True, True)


def test_what_somebody_sets_in_main_by_a_link_is_heard_of_and_nothing_of_others(changes: Changes) -> None:
    run("ip link set eth0 up")
    run("ip link set veth0 up")
    run("ip address add 192.0.2.2/24 dev eth0")
    heard(changes)
    for indexes, concerns in (((), False), ((700,), True), (range(701, 1700), False), (range(100, 1000), True),
                              (range(201, 701), True), (range(200, 700), False), ((1, 700, 70000), True)):
        changes.follow(frozenset(indexes))
        assert not changes.follow(frozenset(indexes))
        for route in "10.55.0.0/16 via 192.0.2.9 dev eth0", "2001:db8:55::/48 via fe80::9 dev eth0":
            for protocol in "boot", "static", "dhcp":
                for act in "add", "del":
                    run(f"ip route {act} {route} proto {protocol}")
                    assert heard(changes) == (concerns, False), (act, route, protocol, len(indexes))
    for route in ("10.55.0.0/16 dev veth0", "blackhole 10.55.0.0/16", "10.55.0.0/16 dev eth0 proto bird",
                  "10.55.0.0/16 dev eth0 table 7", "2001:db8:55::/48 dev veth0",
                  "2001:db8:55::/48 dev eth0 proto bird", "10.55.0.0/16 nexthop dev eth0 nexthop dev veth0"):
        for act in "add", "del":
            run(f"ip route {act} {route}")
            assert heard(changes) == (False, False), (act, route)
