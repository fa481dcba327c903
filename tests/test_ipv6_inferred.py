"""Prefixes of the LAN of which nobody tells whose they are: where it is certain, and where nothing is guessed."""

import struct
from socket import AF_INET6, inet_pton

import pytest

from dhcp_lb.ipv6 import Address, Main, inferred, interfaces_of, leases_of
from dhcp_lb.model import Delegated, Interface, Link, Routing
from dhcp_lb.monitor.changes import RTM_DELROUTE, RTM_NEWROUTE, _concerns
from dhcp_lb.netlink import attribute

LINKS = (Link("eth0", "a", 200, 1), Link("eth1", "b", 201, 1))
DEVICES = {"eth0": Interface(2, True, True, ()), "eth1": Interface(3, True, True, ()),
           "left": Interface(4, True, True, ())}  # by ipv6=no
LEFT, LAN, VLAN, TUNNEL = 4, 5, 6, 7
TEMPORARY, DADFAILED, DEPRECATED, TENTATIVE = 0x1, 0x8, 0x20, 0x40
MAIN = Main({2: ("fe80::1",), 3: ("fe80::2",), TUNNEL: ("0.0.0.0",)}, {})
A, B = Address(2, "2001:db8:a::2", 64, 0), Address(3, "3fff:b::2", 128, 0)
OF_A, OF_B = Address(LAN, "2001:db8:f00d:1::1", 64, 0), Address(LAN, "3fff:b:f00::1", 64, 0)
P_A, P_B = ("2001:db8:f00d:1::/64", "2001:db8:f00d:1::1"), ("3fff:b:f00::/64", "3fff:b:f00::1")


def found(*addresses: Address, links: tuple[Link, ...] = LINKS, main: Main = MAIN) -> dict[str, object]:
    known = list(addresses)
    guesses, _ = inferred(links, DEVICES, known, main, {link.interface: link.prefixes6 for link in links})
    assert (guesses, _) == inferred(links, DEVICES, known[::-1], main,
                                    {link.interface: link.prefixes6 for link in links})
    return dict(guesses)


def doubts(*addresses: Address, links: tuple[Link, ...] = LINKS, main: Main = MAIN) -> dict[str, tuple[str, ...]]:
    return inferred(links, DEVICES, list(addresses), main, {link.interface: link.prefixes6 for link in links})[1]


def test_what_begins_as_one_link_s_addresses_alone_is_its_provider_s() -> None:
    assert found(A, B, OF_A, OF_B) == {"eth0": (P_A,), "eth1": (P_B,)}
    assert doubts(A, B, OF_A, OF_B) == {}
    again = Address(VLAN, "2001:db8:f00d:1::9", 64, 0)  # the same network once more
    other = Address(VLAN, "2001:db8:f00d:2::1", 64, DEPRECATED)  # withdrawn from the LAN, which goes on using it
    assert found(A, B, again, other, OF_A) == {"eth0": (P_A, ("2001:db8:f00d:2::/64", "2001:db8:f00d:2::1"))}


@pytest.mark.parametrize("one", [
    Address(LAN, "fd00:db8:a::1", 64, 0),  # unique local
    Address(LAN, "2001:db8:f00d:1::1", 60, 0),  # no network that a client gives a LAN
    Address(LAN, "2001:db8:f00d:1::1", 128, 0),
    Address(LAN, "2001:db8:f00d:1::1", 64, TENTATIVE),
    Address(LAN, "2001:db8:f00d:1::1", 64, DADFAILED),
    Address(LAN, "2001:db8:f00d:1::1", 64, TEMPORARY),  # this machine is a host there
    Address(TUNNEL, "2001:db8:f00d:1::1", 64, 0),  # has a default in main
    Address(LEFT, "2001:db8:f00d:1::1", 64, 0),
    Address(LAN, "2001:db9:f00d:1::1", 64, 0),  # 31 bits
    Address(LAN, "2001:470:1f0b:1::1", 64, 0),
], ids=lambda one: f"{one.text}/{one.length} {one.ifindex} {one.flags:#x}")
def test_what_is_no_network_of_the_lan_is_nobody_s(one: Address) -> None:
    assert found(A, B, one) == {} and doubts(A, B, one) == {}


def test_a_tunnel_broker_s_prefix_is_no_provider_s() -> None:
    of_provider, of_broker = Address(2, "2001:558:6033:1::2", 128, 0), Address(LAN, "2001:470:1f0b:1::1", 64, 0)
    assert found(of_provider, B, of_broker) == {}


def test_a_lan_of_the_tunnel_s_provider_is_no_link_s() -> None:
    assert found(A, B, OF_A, Address(TUNNEL, "2001:db8:7::2", 64, 0)) == {}
    assert doubts(A, B, OF_A, Address(TUNNEL, "2001:db8:7::2", 64, 0)) == {}


SAID = ("2001:db8:f00d:1::/64 of the LAN may be of eth0 or eth1, and so leaves by any link: "
        "write prefix6=2001:db8:f00d:1::/64 in the line of its provider")


@pytest.mark.parametrize("other", [
    Address(3, "2001:db8:b::2", 64, 0), Address(3, "2001:db8:b::2", 128, TENTATIVE),
    Address(3, "2001:db8:b::2", 64, DADFAILED),
    Address(3, "2001:db8:f00d:2::2", 64, 0),  # a provider that advertises something nearer
    Address(3, "2001:db8:f00d:1::2", 64, 0),  # the LAN's own
], ids=lambda one: f"{one.text} {one.flags:#x}")
def test_where_two_may_be_it_nothing_is_guessed(other: Address) -> None:
    assert found(A, other, OF_A) == found(A, B, other, OF_A) == {}
    assert doubts(A, B, other, OF_A) == {"eth0": (SAID,)}


def test_a_link_with_a_router_and_no_address_may_have_any() -> None:
    local = Address(3, "fd00::2", 64, 0)
    assert found(A, OF_A) == found(A, local, OF_A) == {} and doubts(A, OF_A) == {"eth0": (SAID,)}
    without = MAIN._replace(routers={2: ("fe80::1",)})  # a provider of IPv4
    assert found(A, OF_A, main=without) == {"eth0": (P_A,)}
    named = LINKS[0], LINKS[1]._replace(gateway6="fe80::2")
    assert found(A, OF_A, main=without, links=named) == {}


def test_a_link_that_is_left_alone_has_a_provider_too() -> None:
    assert found(A, B, OF_A, Address(LEFT, "2001:db8:c::2", 64, 0)) == {}
    assert found(A, B, OF_A, main=MAIN._replace(routers={**MAIN.routers, LEFT: ("fe80::3",)})) == {}
    elsewhere = Address(2, "3fff:c::2", 64, 0)
    assert doubts(elsewhere, B, OF_A, Address(LEFT, "2001:db8:c::2", 64, 0)) == {}  # nothing can be written that helps


def test_a_link_of_which_somebody_has_told_has_no_more_than_that() -> None:
    named = LINKS[0]._replace(prefixes6=("2001:db8:a::/48",)), LINKS[1]
    assert found(A, B, OF_A, OF_B, links=named) == {"eth1": (P_B,)}
    assert doubts(A, B, OF_A, links=named) == {}
    inside = Address(LAN, "2001:db8:a:1::1", 64, 0)
    assert found(A, B, inside, links=named) == {}
    # Its provider may delegate from elsewhere than he takes the link's address from.
    elsewhere = LINKS[0]._replace(prefixes6=("3fff:b:e00::/56",)), LINKS[1]
    assert found(A, B, OF_B, links=elsewhere) == {}
    assert doubts(A, B, OF_B, links=elsewhere).keys() == {"eth1"}


def test_many_doubts_about_the_same_links_are_one_line() -> None:
    several = [Address(LAN, f"2001:db8:f00d:{number:x}::1", 64, 0) for number in range(1, 200)]
    (line,) = doubts(A, Address(3, "2001:db8:b::2", 64, 0), *several)["eth0"]
    assert line.startswith("2001:db8:f00d:10::/64 and 198 more of the LAN may be of eth0 or eth1, ")
    guessed = found(A, B, *several)["eth0"]
    assert isinstance(guessed, tuple) and len(guessed) == 64


def test_a_lease_has_them_until_a_client_tells() -> None:
    several = [A, B, OF_A, Address(3, "2001:db8:b::2", 64, TEMPORARY)]
    given = leases_of(LINKS, interfaces_of(DEVICES, several[:3]), several[:3], MAIN, Routing())
    assert (given["eth0"].prefixes, given["eth0"].inferred) == ((P_A[0],), (P_A,))
    assert given["eth1"].prefixes == given["eth1"].unsure == () and not given["eth1"].inferred
    given = leases_of(LINKS, interfaces_of(DEVICES, several), several, MAIN, Routing())
    assert (given["eth0"].prefixes, given["eth0"].inferred, given["eth0"].unsure) == ((), (), (SAID,))
    told: dict[str, tuple[Delegated, ...]] = {"eth1": (Delegated("2001:db8:f00d::/56", 1, 0),)}
    given = leases_of(LINKS, interfaces_of(DEVICES, several), several, MAIN, Routing(), told)
    assert given["eth0"].prefixes == given["eth0"].unsure == () and given["eth1"].prefixes == ("2001:db8:f00d::/56",)
    assert given["eth1"].inferred == ()


@pytest.mark.parametrize("destination, kind, concerns", [("2001:db8:f00d:1::1", 2, True), ("3fff::1", 2, True),
                                                         ("fd00::1", 2, False), ("fe80::1", 2, False),
                                                         ("ff02::1", 2, False), ("2001:db8:f00d:1::", 4, False)])
def test_a_global_address_of_the_lan_is_a_reason_for_a_look(destination: str, kind: int, concerns: bool) -> None:
    body = (struct.pack("=8BI", AF_INET6, 128, 0, 0, 255, 2, 0, kind, 0)
            + attribute(1, inet_pton(AF_INET6, destination)) + attribute(4, struct.pack("=i", 1)))  # by lo
    for message in RTM_NEWROUTE, RTM_DELROUTE:
        assert _concerns(message, body, frozenset(["eth0"]), frozenset([2])) is concerns
