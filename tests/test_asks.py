"""Whom a link is asked through: what its targets and its lease make of it."""

import pytest

from dhcp_lb.model import ON_DEVICE
from dhcp_lb.monitor.asks import ROOT, Ask, Way, asks, usable
from dhcp_lb.targets import DNS, GATEWAY, HTTP, PING, TCP, targets

WAY = Way("eth0", 2, "192.0.2.34", "192.0.2.1", ("198.51.100.1", "198.51.100.2"))
WAY6 = Way("eth0", 2, "2001:db8:a::2", "fe80::1", ("2001:db8:a::53", "fe80::53"))
BARE = WAY._replace(servers=())
LEASE_1, LEASE_2 = (Ask(DNS, server, 53, ROOT, named=False) for server in WAY.servers)


@pytest.mark.parametrize("text, way, found", [
    ("none", WAY, []),
    ("lease", WAY, [LEASE_1, LEASE_2]),
    ("lease", BARE, [Ask(GATEWAY, "192.0.2.1", named=False)]),
    ("lease", BARE._replace(gateway=ON_DEVICE), []),
    ("gateway", WAY, [Ask(GATEWAY, "192.0.2.1")]),
    ("gateway", WAY._replace(gateway=ON_DEVICE), []),
    ("203.0.113.1", BARE, [Ask(PING, "203.0.113.1")]),
    ("203.0.113.1:443", BARE, [Ask(TCP, "203.0.113.1", 443)]),
    ("2001:db8::1,[2001:db8::1]:443,http://[2001:db8::1]/", WAY, []),  # of the other family
    ("2001:db8::1,[2001:db8::1]:443,http://[2001:db8::1]/", WAY6, [
        Ask(PING, "2001:db8::1"), Ask(TCP, "2001:db8::1", 443), Ask(HTTP, "2001:db8::1", 80, "2001:db8::1", "/")]),
    ("203.0.113.1,203.0.113.1:443,http://203.0.113.1/", WAY6, []),
    ("lease", WAY6, [Ask(DNS, "2001:db8:a::53", 53, ROOT, named=False), Ask(DNS, "fe80::53", 53, ROOT, named=False)]),
    ("lease", WAY6._replace(servers=()), [Ask(GATEWAY, "fe80::1", named=False)]),
    ("gateway", WAY6, [Ask(GATEWAY, "fe80::1")]),
    ("gateway", WAY6._replace(gateway=ON_DEVICE), []),
    ("dns:example.org", WAY6, [Ask(DNS, server, 53, "example.org") for server in WAY6.servers]),
    # Whether a host has an address there is not known, so it is no witness before it has answered.
    ("http://example.org/", WAY6, [Ask(HTTP, "", 80, "example.org", "/", named=False)]),
    ("dns:example.org", WAY, [Ask(DNS, server, 53, "example.org") for server in WAY.servers]),
    ("dns:example.org", BARE, []),
    ("http://203.0.113.1/x", BARE, [Ask(HTTP, "203.0.113.1", 80, "203.0.113.1", "/x")]),
    ("http://example.org:81/x", WAY, [Ask(HTTP, "", 81, "example.org", "/x")]),
    ("http://example.org/", BARE, []),
    ("lease,203.0.113.1", WAY, [LEASE_1, LEASE_2, Ask(PING, "203.0.113.1")]),
])
def test_who_is_asked(text: str, way: Way, found: list[Ask]) -> None:
    assert asks(targets(text), way) == tuple(found)


@pytest.mark.parametrize("server", ["", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1",
                                    "192.0.2.34", "1", "x", "2001:db8::1", "10.0.0.1 ", "$(id)"])
def test_a_name_server_that_no_link_leads_to_is_none(server: str) -> None:
    assert usable(WAY._replace(servers=(server, "198.51.100.9"))) == ("198.51.100.9",)


@pytest.mark.parametrize("server", ["", "::", "::1", "ff02::1", "::ffff:192.0.2.1", "64:ff9b::1", "2001:db8:a::2",
                                    "192.0.2.1", "x", "$(id)"])
def test_a_name_server_of_ipv6_that_no_link_leads_to_is_none(server: str) -> None:
    assert usable(WAY6._replace(servers=(server, "2001:db8::9"))) == ("2001:db8::9",)


def test_of_three_hundred_name_servers_three_are_asked_and_each_once() -> None:
    many = tuple(f"198.51.{100 + number // 200}.{1 + number % 200}" for number in range(300))
    assert usable(WAY._replace(servers=("198.51.100.1", *many))) == many[:3]
    assert len(asks(targets("lease,dns:example.org"), WAY._replace(servers=many))) == 6
