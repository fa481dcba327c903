"""What the kernel would refuse is asked first, and what it refused is a fact with a date. (faults.md, 58)"""

from errno import EINVAL, ENETDOWN, ENOTSUP

import pytest

from dhcp_lb.model import (KERNEL, NO_NEW, OUT, Change, Hold, Interface, Nexthop, Objection, Refusal, Route, Routing,
                           Rule, Settings, State)
from dhcp_lb.objections import RETRY_S, kept, learned, rehearsal, singles, standing
from dhcp_lb.plan import changes
from dhcp_lb.routing import Uplink, desired, judge
from tests.beds.examples import (BOTH, ETH0, ETH1, INTERFACES, LEASE0, LEASES, MAIN0, ONLY1, RULES0, SHARED, SINGLE0,
                                 SINGLE1, TABLE0)
from tests.beds.model_kernel import ModelKernel

NOTHING = Routing()
UPLINKS: tuple[Uplink, ...] = judge((ETH0, ETH1), LEASES, {}, INTERFACES)
WANT = desired(UPLINKS, Settings())
STATE = State(LEASES)
WORDS = "the kernel refuses it: Nexthop has invalid gateway (EINVAL)"


def refused(what: Route | Rule, errno: int = EINVAL, words: str = "Nexthop has invalid gateway") -> Refusal:
    return Refusal(Change(True, what), errno, words)


def said(*refusals: Refusal, have: Routing = NOTHING, state: State = STATE) -> dict[str, tuple[str, str]]:
    """Of which link something is learned, how far its hold reaches, and why."""
    found = learned(refusals, UPLINKS, have, state, INTERFACES, 1000)
    assert all((objection.hold.by, objection.hold.since_s) == (KERNEL, 1000) for objection in found.values())
    return {name: (objection.hold.reach, objection.hold.why) for name, objection in found.items()}


def test_a_rehearsal_adds_copies_and_takes_all_of_them_back() -> None:
    asked, stands_for = rehearsal(changes(NOTHING, WANT, SHARED))
    half = len(asked) // 2
    assert [change.what for change in asked[half:]] == [change.what for change in reversed(asked[:half])]
    assert [change.add for change in asked] == [True] * half + [False] * half
    assert [stands_for[change] for change in asked[:half]] == list(changes(NOTHING, WANT, SHARED))
    metrics = [change.what.metric for change in asked[:half] if isinstance(change.what, Route)]
    assert len(set(metrics)) == len(metrics) and min(metrics) > 2**32 - 100


def test_a_rehearsal_leaves_nothing_and_no_lookup_takes_it() -> None:
    kernel = ModelKernel(INTERFACES, 25)
    alone = desired(judge((ETH1,), LEASES, {}, INTERFACES), Settings())
    kernel.write(changes(NOTHING, alone, SHARED))
    before, lookups = kernel.routing(), set()
    asked, _ = rehearsal(changes(before, WANT, SHARED))
    for change in asked:
        kernel.make(change, 109)
        lookups.add(kernel.lookup())
    assert (kernel.routing(), lookups) == (before, {ONLY1})


def test_what_is_only_deleted_is_not_asked_for() -> None:
    assert rehearsal(changes(WANT, NOTHING, SHARED)) == ((), {})


def test_whose_fault_a_refused_multipath_is_tell_the_single_defaults_by_its_nexthops() -> None:
    assert singles(BOTH, WANT) == (Change(True, SINGLE1), Change(True, SINGLE0))
    assert singles(ONLY1, WANT) == (Change(True, SINGLE1),)


@pytest.mark.parametrize("what", [*TABLE0, *RULES0, SINGLE0])
def test_what_is_refused_of_a_link_holds_that_link_out(what: Route | Rule) -> None:
    assert said(refused(what), refused(BOTH)) == {"eth0": (OUT, WORDS)}


def test_a_refused_network_beside_a_lease_holds_the_link_that_carries_it() -> None:
    """And not the one in whose table it is to be."""
    beside = Route(201, "192.168.100.0/24", 0, "192.168.100.2", 253, (Nexthop("", 2),))
    assert said(refused(beside)) == {"eth0": (OUT, WORDS)}


def test_a_link_whose_single_default_is_there_gets_no_new_connections() -> None:
    have = Routing(frozenset([SINGLE0._replace(metric=1007)]))
    assert said(refused(SINGLE0), refused(BOTH), have=have) == {"eth0": (NO_NEW, WORDS)}
    assert said(refused(SINGLE0), refused(sorted(TABLE0)[0]), have=have) == {"eth0": (OUT, WORDS)}


def test_a_multipath_that_is_refused_for_no_link_s_sake_is_held_itself() -> None:
    assert said(refused(BOTH, ENOTSUP, "")) == {"": (OUT, "the kernel refuses it: no reason given (ENOTSUP)")}


def test_an_interface_that_is_down_for_a_moment_teaches_nothing() -> None:
    assert said(refused(SINGLE0, ENETDOWN), refused(BOTH, ENETDOWN)) == {}
    assert learned((Refusal(Change(False, SINGLE0), EINVAL, ""),), UPLINKS, NOTHING, STATE, INTERFACES, 1000) == {}


def test_what_is_known_is_not_learned_again() -> None:
    def known(reach: str) -> State:
        return STATE._replace(objections={"eth0": Objection(Hold(KERNEL, reach, "before", 990), "")})
    have = Routing(frozenset([SINGLE0]))
    assert said(refused(SINGLE0), have=have, state=known(NO_NEW)) == {}
    assert said(refused(SINGLE0), have=have, state=known(OUT)) == {}
    assert said(refused(SINGLE0), state=known(NO_NEW)) == {"eth0": (OUT, WORDS)}


OBJECTIONS = learned((refused(SINGLE0),), UPLINKS, NOTHING, STATE, INTERFACES, 1000)


@pytest.mark.parametrize("now_s, counts", [(1000, True), (1000 + RETRY_S - 1, True), (1000 + RETRY_S, False),
                                           (999, False)])
def test_an_objection_is_void_after_a_minute_and_after_a_boot(now_s: int, counts: bool) -> None:
    assert bool(standing(STATE._replace(objections=OBJECTIONS), INTERFACES, now_s)) == counts


@pytest.mark.parametrize("lease, interface, counts", [
    (LEASE0._replace(begin_s=1001, duration_s=7), INTERFACES["eth0"], True),
    (LEASE0._replace(gateway="192.0.2.9"), INTERFACES["eth0"], False),
    (LEASE0, INTERFACES["eth0"]._replace(ifindex=9), False),
    (LEASE0, INTERFACES["eth0"]._replace(up=False), False),
    (LEASE0, INTERFACES["eth0"]._replace(addresses=("192.0.2.34", "10.0.0.1")), False),
    (LEASE0, INTERFACES["eth0"]._replace(carrier=False), True),
])
def test_an_objection_is_of_one_lease_and_state_of_its_link(lease: object, interface: Interface, counts: bool) -> None:
    state = State({**LEASES, "eth0": lease}, objections=OBJECTIONS)
    assert bool(standing(state, {**INTERFACES, "eth0": interface}, 1001)) == counts


def test_an_objection_outlives_what_happens_to_other_links() -> None:
    state = State({"eth0": LEASE0}, objections=OBJECTIONS)
    assert standing(state, {"eth0": INTERFACES["eth0"]}, 1001) == OBJECTIONS


def test_a_link_that_is_kept_keeps_what_it_has_in_the_balance_table() -> None:
    have = Routing(TABLE0 | {SINGLE0._replace(metric=1007), SINGLE1})
    found = kept(WANT, have, frozenset([2]), SHARED)
    assert found.rules == WANT.rules
    assert found.routes == WANT.routes - {SINGLE0, MAIN0} | {SINGLE0._replace(metric=1007)}
