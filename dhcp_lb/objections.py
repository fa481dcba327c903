"""Pure: the rehearsal, which asks what the kernel would refuse, and the objections, which are refusals with a date.

An objection is a fact, as a lease is: for instance, that the kernel has accepted no route by this link's gateway since
a certain time. The store keeps it, and `judge` takes it into account. It is void after a minute, after an edit, or
when the link's lease or interface changes."""

from errno import ENETDOWN, errorcode

from .model import (KERNEL, NO_NEW, NONE, OUT, Change, Hold, Interface, Nexthop, Objection, Refusal, Route, Routing,
                    State)
from .routing import METRIC_SINGLE, Uplink, is_default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

RETRY_S = 60  # by then the reason may be gone, and it may be one that no run looks at, such as an address in the LAN
LAST_METRIC = 0xfffffffe  # not the last of all: many have an `unreachable default` there, and IPv6 would replace it
REFUSED = "the kernel refuses it: "
MULTIPATH = ""  # instead of a link: the multipath of all links


def standing(state: State, interfaces: dict[str, Interface], now_s: int) -> dict[str, Objection]:
    """The objections that count at `now_s` (CLOCK_BOOTTIME)."""
    return {name: objection for name, objection in state.objections.items()
            if objection.hold.since_s <= now_s < objection.hold.since_s + RETRY_S
            and objection.said_of == _said_of(name, state, interfaces)}


def rehearsal(changes: "Iterable[Change]") -> tuple[tuple[Change, ...], dict[Change, Change]]:
    """The changes that ask, in one write that leaves nothing, whether the kernel will accept `changes`; and a dict
    from each addition among them to the change that it stands for.

    The rehearsal adds everything that is to be added, and deletes it again. Each route in it is a copy with a metric
    of its own, from the last metric down: no lookup takes the copy, and its deletion can hit nothing else. (To the
    kernel, a deletion without a metric means any route that does not contradict it: fib_nh_match in
    net/ipv4/fib_semantics.c.)"""
    stands_for: dict[Change, Change] = {}
    for place, change in enumerate([change for change in changes if change.add]):
        what = change.what
        if isinstance(what, Route):
            what = what._replace(metric=LAST_METRIC - place)
        stands_for[Change(True, what)] = change
    takes_back = [Change(False, change.what) for change in reversed(stands_for)]
    return (*stands_for, *takes_back), stands_for


def singles(multipath: Route, want: Routing) -> tuple[Change, ...]:
    """The changes that show which link makes the kernel refuse a multipath: the single defaults by its nexthops, even
    if they are there already. The kernel looks at a gateway before it sees that the route is there (fib_create_info in
    net/ipv4/fib_semantics.c)."""
    oifs = {nexthop.oif for nexthop in multipath.nexthops}
    return tuple([Change(True, route) for route in sorted(want.routes)
                  if is_single(route) and route.table == multipath.table and route.nexthops[0].oif in oifs])


def learned(refusals: tuple[Refusal, ...], uplinks: tuple[Uplink, ...], have: Routing, state: State,
            interfaces: dict[str, Interface], now_s: int) -> dict[str, Objection]:
    """The objections that these refusals add to those of `state`, by interface (or MULTIPATH), dated `now_s`
    (CLOCK_BOOTTIME)."""
    found: dict[str, tuple[str, str]] = {}
    served = {route.nexthops for route in have.routes if is_single(route)}
    # An interface that was down for a moment is no reason for an objection.
    refused = [refusal for refusal in refusals if refusal.change.add and refusal.errno != ENETDOWN]
    for change, errno, words in refused:
        name, reach = _whose(change, uplinks, served)
        if name not in found or (found[name][0], reach) == (NO_NEW, OUT):
            found[name] = (reach, f"{REFUSED}{spoken(errno, words)}")
    if len(found) > 1:
        found.pop(MULTIPATH, None)  # it was refused because of a link
    known = {name: objection.hold.reach for name, objection in state.objections.items()}
    return {name: Objection(Hold(KERNEL, reach, why, now_s), _said_of(name, state, interfaces))
            for name, (reach, why) in found.items() if known.get(name) not in (reach, OUT)}


def spoken(errno: int, words: str) -> str:
    """A refusal in the kernel's words, or that it gave none, and the errno's name."""
    return f"{words or 'no reason given'} ({errorcode.get(errno, errno)})"


def kept(want: Routing, have: Routing, oifs: frozenset[int], tables: tuple[int, ...]) -> Routing:
    """`want`, except that in the shared `tables` the links with these interface indexes keep exactly the routes that
    they `have` there."""
    def of_these(routing: Routing) -> frozenset[Route]:
        return frozenset([route for route in routing.routes if route.table in tables and not balances(route)
                          and len(route.nexthops) == 1 and route.nexthops[0].oif in oifs])
    return want._replace(routes=want.routes - of_these(want) | of_these(have))


def is_single(route: Route) -> bool:
    """Whether this is the single default of a link."""
    return is_default(route) and route.metric >= METRIC_SINGLE and len(route.nexthops) == 1


def balances(route: Route) -> bool:
    """Whether this is the default that balances all links."""
    return is_default(route) and not route.source and route.metric < METRIC_SINGLE


def _whose(change: Change, uplinks: tuple[Uplink, ...], served: set[tuple[Nexthop, ...]]) -> tuple[str, str]:
    """The link that a refused change belongs to, and how far the hold reaches. If the link's single default is there
    already, the link keeps its routes: the kernel accepts no new route by its gateway, but keeps the old ones."""
    what = change.what
    for uplink in uplinks:  # by the interface first: a network beside a lease is in the other links' tables, too
        if isinstance(what, Route) and not balances(what) and [hop.oif for hop in what.nexthops] == [uplink.ifindex]:
            own = what.table == uplink.link.table
            return uplink.link.interface, NO_NEW if what.nexthops in served and not own else OUT
    for uplink in uplinks:
        if what.table == uplink.link.table:
            return uplink.link.interface, OUT
    return MULTIPATH, OUT


def _said_of(name: str, state: State, interfaces: dict[str, Interface]) -> str:
    if name == MULTIPATH:
        return "all"
    interface = interfaces.get(name)
    facts = (interface.ifindex, interface.up, *interface.addresses) if interface else ()
    return " ".join(map(str, (*state.leases.get(name, NONE)[:4], *facts)))
