"""Whose the connections are that were there before the nft table."""

from typing import Any

import pytest

from dhcp_lb.address import IPV6
from dhcp_lb.model import GIVEN_UP, MONITOR, Hold, Interface, Lease
from dhcp_lb.pinning.pins import owners
from dhcp_lb.routing import judge
from tests.beds.examples import ETH0, ETH1, INTERFACES, LEASE0, LEASES, held

MARKS = {"eth0": 0xc8000000, "eth1": 0xc9000000}
TWINS = {name: one._replace(addresses=("192.0.2.34",)) for name, one in INTERFACES.items()}
DEAD = Hold(MONITOR, GIVEN_UP, "no answer")


def test_each_links_address_and_prefixes_are_its_own() -> None:
    six = {"eth0": Lease("2001:db8:a::5", 64, "fe80::1", sources=("2001:db8:a::/64",), prefixes=("2001:db8:a0::/48",))}
    interfaces = {"eth0": Interface(2, True, True, ("2001:db8:a::5",), (64,))}
    assert owners(judge((ETH0, ETH1), LEASES, {}, INTERFACES),
                  judge((ETH0.of(IPV6.number),), six, {}, interfaces), MARKS) == {
        "192.0.2.34/32": 0xc8000000, "198.51.100.7/32": 0xc9000000,
        "2001:db8:a::/64": 0xc8000000, "2001:db8:a0::/48": 0xc8000000}


@pytest.mark.parametrize("change, owner", [
    ({}, "eth0"),
    ({"holds": {"eth0": (DEAD,)}}, "eth1"),
    ({"holds": {"eth0": (held(eth0="disabled")["eth0"],)}}, "eth1"),
    ({"interfaces": {**TWINS, "eth0": TWINS["eth0"]._replace(carrier=False)}}, "eth1"),
], ids=["both work", "the first is dead", "the first is disabled", "no cable in the first"])
def test_an_address_that_two_links_have_is_the_ones_by_which_it_leaves(change: dict[str, Any], owner: str) -> None:
    twins: dict[str, Any] = {"holds": {}, "interfaces": TWINS, **change}
    uplinks = judge((ETH0, ETH1), {"eth0": LEASE0, "eth1": LEASE0}, **twins)
    assert owners(uplinks, (), MARKS) == {"192.0.2.34/32": MARKS[owner]}
