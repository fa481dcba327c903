"""The plain default route that the machine keeps when the package is removed."""

from __future__ import annotations

import pytest

from dhcp_lb.maintainer.scripts import handed_back
from dhcp_lb.model import Lease, Link, Nexthop, Route
from dhcp_lb.routing import DRAINING, NO_CARRIER, NO_INTERFACE, NO_LEASE, UP, Uplink

GATEWAYS = {1: "192.0.2.1", 2: "198.51.100.1", 3: "203.0.113.1"}


def uplink(ifindex: int, state: str = UP, weight: int = 1, length: int = 24) -> Uplink:
    link = Link(f"eth{ifindex}", f"table-eth{ifindex}", 200 + ifindex, weight)
    address = GATEWAYS[ifindex][:-1] + "77"
    return Uplink(link, Lease(address, length, GATEWAYS[ifindex]), ifindex, state)


def default(*ifindexes: int) -> Route:
    return Route(254, "0.0.0.0/0", 0, "", 0, tuple(Nexthop("192.0.2.9", ifindex) for ifindex in ifindexes))


@pytest.mark.parametrize("defaults", [[default(1)], [default(2), default(1)], [default(2, 1)], [default(9)]])
def test_a_default_of_a_working_link_or_of_a_stranger_is_enough(defaults: list[Route]) -> None:
    assert handed_back((uplink(1), uplink(2, NO_CARRIER)), defaults) is None


@pytest.mark.parametrize("defaults", [[], [default(2)], [default()], [default(2), default(2)]])
def test_otherwise_there_is_one_more_through_a_working_link(defaults: list[Route]) -> None:
    assert handed_back((uplink(2, NO_CARRIER), uplink(1)), defaults) == Nexthop("192.0.2.1", 1)


def test_the_heaviest_working_link_has_it_and_the_first_table_of_equals() -> None:
    links = [uplink(1), uplink(2, weight=5), uplink(3, weight=5)]
    assert handed_back(tuple(links[::-1]), []) == Nexthop("198.51.100.1", 2)


def test_a_draining_link_works() -> None:
    assert handed_back((uplink(1, DRAINING),), []) == Nexthop("192.0.2.1", 1)


def test_a_gateway_outside_the_prefix_is_on_link() -> None:
    assert handed_back((uplink(1, length=32),), []) == Nexthop("192.0.2.1", 1, onlink=True)


@pytest.mark.parametrize("state", [NO_LEASE, NO_CARRIER, NO_INTERFACE])
def test_without_a_working_link_nothing_is_promised(state: str) -> None:
    assert handed_back((uplink(1, state),), []) is None
    assert handed_back((), []) is None
