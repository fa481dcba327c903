"""From the kernel's routing to the wanted one, in an order in which every lookup finds a link."""

import itertools

import pytest

from dhcp_lb.model import Change, Nexthop, Route, Routing, Rule, Settings, State
from dhcp_lb.plan import changes
from dhcp_lb.routing import desired, judge
from tests.beds.examples import (BOTH, COMMON_RULES, ETH0, ETH1, INTERFACES, LEASE0, LEASES, ONLY0, RULES0, RULES1,
                                 SHARED, SINGLE0, SINGLE1, TABLE0, TABLE1, held)
from tests.beds.model_kernel import ModelKernel

NOTHING = Routing()
ONE = Routing(TABLE0 | {ONLY0, SINGLE0}, RULES0 | COMMON_RULES)
TWO = Routing(TABLE0 | TABLE1 | {BOTH, SINGLE0, SINGLE1}, RULES0 | RULES1 | COMMON_RULES)


def named(planned: tuple[Change, ...]) -> list[str]:
    """Short names of what is added (+) and deleted (-)."""
    return [("+" if change.add else "-") + _name(change.what) for change in planned]


def _name(what: Route | Rule) -> str:
    if isinstance(what, Rule):
        return f"rule {what.pref} {what.table}"
    ways = " ".join(f"{nexthop.gateway or 'dev'}*{nexthop.weight}" for nexthop in what.nexthops)
    return f"{what.table} {what.destination} {what.metric} {ways}"


def test_where_nothing_differs_nothing_is_planned() -> None:  # fault 19
    for routing in NOTHING, ONE, TWO:
        assert changes(routing, routing, SHARED) == ()


def test_from_nothing_tables_come_before_rules_and_rules_before_the_balance_table() -> None:
    assert named(changes(NOTHING, TWO, SHARED)) == [
        "+200 192.0.2.0/24 0 dev*1", "+200 0.0.0.0/0 0 192.0.2.1*1",
        "+201 198.51.100.0/25 0 dev*1", "+201 0.0.0.0/0 0 198.51.100.1*1",
        "+rule 19900 254", "+rule 20100 200", "+rule 20100 201", "+rule 20200 200", "+rule 20200 201",
        "+rule 30000 254", "+rule 30100 254", "+rule 32765 252",
        "+252 0.0.0.0/0 0 192.0.2.1*1 198.51.100.1*2", "+252 0.0.0.0/0 1000 198.51.100.1*1",
        "+252 0.0.0.0/0 1001 192.0.2.1*1"]


def test_removals_go_the_other_way_round() -> None:
    assert named(changes(TWO, NOTHING, SHARED)) == [
        "-" + name[1:] for name in reversed(named(changes(NOTHING, TWO, SHARED)))]


def test_a_link_that_goes_leaves_after_the_new_multipath_is_there() -> None:
    assert named(changes(TWO, ONE, SHARED)) == [
        "+252 0.0.0.0/0 0 192.0.2.1*1",
        "-252 0.0.0.0/0 1000 198.51.100.1*1", "-252 0.0.0.0/0 0 192.0.2.1*1 198.51.100.1*2",
        "-rule 20200 201", "-rule 20100 201",
        "-201 0.0.0.0/0 0 198.51.100.1*1", "-201 198.51.100.0/25 0 dev*1"]


def test_a_changed_weight_changes_one_route() -> None:
    heavier = BOTH._replace(nexthops=(Nexthop("192.0.2.1", 2, 3), Nexthop("198.51.100.1", 3, 2)))
    assert changes(TWO, TWO._replace(routes=TWO.routes - {BOTH} | {heavier}), SHARED) == (
        Change(True, heavier), Change(False, BOTH))


def all_routings() -> list[Routing]:
    """The routings of two links in every state that has routes, with changed leases and weights."""
    found = []
    lighter = ETH1._replace(weight=1)
    slash32 = LEASE0._replace(length=32, server="203.0.113.67")
    for leases, holds, second in itertools.product(
            [{}, LEASES, {"eth0": LEASE0}, {"eth1": LEASES["eth1"]}, {**LEASES, "eth0": slash32},
             {**LEASES, "eth0": LEASE0._replace(gateway="192.0.2.2")}],
            [{}, held(eth0="draining"), held(eth1="disabled")], [ETH1, lighter]):
        routing = desired(judge((ETH0, second), leases, State(held=holds).holds(), INTERFACES), Settings())
        if routing not in found:
            found.append(routing)
    return found


ROUTINGS = all_routings()


@pytest.mark.parametrize("have", range(len(ROUTINGS)))
def test_every_plan_leads_where_it_should_and_the_next_one_is_empty(have: int) -> None:
    for want in ROUTINGS:
        kernel = ModelKernel(INTERFACES, 25)
        if ROUTINGS[have] != NOTHING:
            assert kernel.write(changes(NOTHING, ROUTINGS[have], SHARED)) == ()
        planned = changes(kernel.routing(), want, SHARED)
        if planned:
            assert kernel.write(planned) == ()
        assert kernel.routing() == want
        assert changes(kernel.routing(), want, SHARED) == ()
        assert len(kernel.rules) == len(want.rules), "no rule is there twice"


@pytest.mark.parametrize("have", range(len(ROUTINGS)))
def test_on_the_way_every_lookup_finds_a_link(have: int) -> None:  # promise 1
    for want in ROUTINGS:
        if NOTHING in (want, ROUTINGS[have]):
            continue
        kernel = ModelKernel(INTERFACES, 25)
        kernel.write(changes(NOTHING, ROUTINGS[have], SHARED))
        for change in changes(kernel.routing(), want, SHARED):
            kernel.write((change,))
            assert kernel.lookup(), f"none after {named((change,))}"


def test_what_is_not_ours_is_left_alone() -> None:  # fault 51
    kernel = ModelKernel(INTERFACES, 25)
    foreign = (Change(True, BOTH), *[Change(True, one) for one in sorted(RULES0 | TABLE0)])
    kernel.write(foreign, protocol=3)
    before = kernel.routing(3)
    kernel.write(changes(kernel.routing(), TWO, SHARED))
    assert kernel.routing() == TWO
    kernel.write(changes(TWO, NOTHING, SHARED))
    assert (kernel.routing(), kernel.routing(3)) == (NOTHING, before)
