"""Connections are shared by the weights, and each socket that is bound to a link gets that link."""

from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab
from tests.beds.lab.lab import Counts

# The kernel deals connections out by a hash, so shares scatter like dice. With 1,000 connections, one run in twenty is
# more than three percentage points off. With 6,000, it is not one in a hundred thousand.
CONNECTIONS = 6000
WEIGHTS = {2: [1, 2], 3: [1, 2, 3], 8: [1, 2, 3, 1, 2, 3, 1, 2]}


@pytest.fixture(scope="module", params=WEIGHTS, ids=lambda links: f"{links} links")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab([Isp(f"eth{number}", weight) for number, weight in enumerate(WEIGHTS[request.param])]) as lab:
        lab.router.ifup()
        yield lab


def assert_shared_by_weight(lab: Lab, counts: Counts) -> None:
    """The shares are right within three percentage points, and every connection took one of the links."""
    assert sum(counts[isp.interface] for isp in lab.isps) == counts.total(), counts
    for isp in lab.isps:
        want = isp.weight / sum(isp.weight for isp in lab.isps)
        assert counts[isp.interface] / counts.total() == pytest.approx(want, abs=0.03), counts


def test_forwarded_connections_are_shared_by_weight(lab: Lab) -> None:
    assert_shared_by_weight(lab, lab.connect(lab.lan, CONNECTIONS))


def test_the_routers_own_connections_are_shared_by_weight(lab: Lab) -> None:
    assert_shared_by_weight(lab, lab.connect(lab.router, CONNECTIONS))


def test_a_connection_from_outside_is_answered_by_the_link_it_came_in_on(lab: Lab) -> None:
    for isp in lab.isps:
        assert lab.connect_to_router(isp.interface, 100) == {"answered": 100}


def test_a_socket_bound_to_a_device_uses_its_link(lab: Lab) -> None:
    for isp in lab.isps:
        assert lab.connect(lab.router, 100, device=isp.interface) == {isp.interface: 100}


def test_a_socket_bound_to_an_address_uses_its_link(lab: Lab) -> None:
    for isp in lab.isps:
        source = lab.router.addresses(isp.interface)[0]
        assert lab.connect(lab.router, 100, source=source) == {isp.interface: 100}


def test_a_ping_by_a_device_uses_its_link(lab: Lab) -> None:
    for isp in lab.isps:
        lab.router.run("ping", "-q", "-c1", "-W5", "-I", isp.interface, "198.51.100.7")
