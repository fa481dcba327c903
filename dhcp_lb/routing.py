"""Pure: links, their leases and holds, and the kernel's interfaces → the wanted routing."""

from . import address
from .model import (ADMINISTRATOR, BLACKHOLE, GIVEN_UP, GONE, KERNEL, MONITOR, NO_NEW, NONE, ON_DEVICE, OUT, Change,
                    Hold, Interface, Lease, Link, Nexthop, Route, Routing, Rule, Settings)
from .record import NamedTuple

# The rules, in the kernel's order. The gaps are for the administrator.
PREF_PREFIX = 19900
PREF_MAIN = 20000
PREF_PIN = 20050
PREF_PAUSE = 20051
PREF_SOURCE = 20100
PREF_DEVICE = 20200
PREF_BALANCE = 32765  # the last one before main itself (32766)

METRIC_SINGLE = 1000  # of the best single default; each further one adds 1
METRIC_DEAD = 1_000_000  # the same for links whose provider is dead: they come after all others

MAIN_TABLE = 254  # RT_TABLE_MAIN and the scopes: uapi/linux/rtnetlink.h
SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
TCP = 6
MAX_WEIGHT = 256  # rtnh_hops has 8 bits, and is the weight less one

UP = "up"
NO_LEASE = "no lease"
NO_CARRIER = "no carrier"
NO_INTERFACE = "no interface"
DOWN = "down"
UNUSABLE = "unusable"
DISABLED = "disabled"
DRAINING = "draining"
DEAD = "dead"  # its provider does not answer
RETURNING = "returning"  # its carrier was gone, and its provider has not answered yet
KEPT = "no new connections"  # the kernel takes no new route by its gateway, and keeps the old ones
STATES = (UP, NO_LEASE, NO_CARRIER, NO_INTERFACE, DOWN, UNUSABLE, DISABLED, DRAINING, DEAD, RETURNING, KEPT)
ROUTED = (UP, NO_CARRIER, DRAINING, DEAD, RETURNING, KEPT)  # the states in which a link has a table and rules


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from .policy import Policy


class Uplink(NamedTuple):
    """A configured link as it is now."""

    link: Link
    lease: Lease
    ifindex: int
    state: str
    reason: str = ""  # of UNUSABLE, KEPT, DEAD and RETURNING
    shared: bool = False  # another network of this machine has its address, too: the LAN, for instance
    gone: bool = False  # its carrier has been away for longer than a connection is to wait
    balanced: bool = False  # it gets new connections as soon as its tier serves and its carrier is there


def judge(links: tuple[Link, ...], leases: dict[str, Lease], holds: dict[str, tuple[Hold, ...]],
          interfaces: dict[str, Interface]) -> tuple[Uplink, ...]:
    """Each link with its state."""
    taken: dict[str, str] = {}  # address → the interface of the link that has it
    uplinks = [_judge(link, leases.get(link.interface, NONE), holds.get(link.interface, ()),
                      interfaces.get(link.interface), taken) for link in links]
    if not any([uplink.state == UP for uplink in uplinks]):
        # If nobody answers there is nowhere to go, and it may not be the providers' fault: all stay.
        uplinks = [uplink._replace(balanced=True) if uplink.state in (NO_CARRIER, DEAD, RETURNING) else uplink
                   for uplink in uplinks]
    return tuple(uplinks)


def _judge(link: Link, lease: Lease, holds: tuple[Hold, ...], interface: Interface | None,
           taken: dict[str, str]) -> Uplink:
    if not interface:
        return Uplink(link, lease, 0, NO_INTERFACE, "")
    held = {(hold.by, hold.reach): hold.why for hold in holds}
    gateway = link.gateway or lease.gateway
    state, reason, balanced = UNUSABLE, "", False
    if lease == NONE:
        state = NO_LEASE
    elif (ADMINISTRATOR, OUT) in held:
        state = DISABLED
    elif not interface.up:
        state = DOWN
    elif not lease.address or not lease.length or not gateway:
        reason = lease.fault or "gateway is missing"
    elif lease.address not in interface.addresses:
        reason = f"the interface does not have the address {lease.address}"
    elif gateway == lease.address:
        reason = "gateway is the link's own address"
    elif gateway in interface.addresses:  # another link's does not matter: its provider may intend that
        reason = f"gateway {gateway} is an address of this machine"
    elif link.gateway and address.reserved(gateway, address.network(lease.address, lease.length)):
        reason = f"gateway {gateway} is the network or broadcast address"
    elif lease.address in taken:
        reason = f"{taken[lease.address]} has the same address {lease.address}"
    elif (KERNEL, OUT) in held:
        reason = held[KERNEL, OUT]
    else:
        taken[lease.address] = link.interface
        returning = (MONITOR, NO_NEW) in held or (MONITOR, GONE) in held
        if (KERNEL, NO_NEW) in held:
            state, reason = KEPT, held[KERNEL, NO_NEW]
        elif (ADMINISTRATOR, NO_NEW) in held:
            state = DRAINING
        elif (MONITOR, GIVEN_UP) in held:
            state, reason = DEAD, held[MONITOR, GIVEN_UP]
        elif not interface.carrier:
            # The kernel skips it until its carrier is back. One that has answered is not to be used then before it
            # answers again: a box that starts has its port up long before its line.
            state, balanced = NO_CARRIER, not returning
        elif returning:
            state, reason = RETURNING, held.get((MONITOR, NO_NEW)) or held[MONITOR, GONE]
        else:
            state, balanced = UP, True
        if link.gateway:
            lease = lease._replace(gateway=gateway)
    return Uplink(link, lease, interface.ifindex, state, reason, lease.address in interface.shared,
                  (MONITOR, GONE) in held, balanced)


def desired(uplinks: tuple[Uplink, ...], settings: Settings, multipath: bool = True, marks: dict[str, int] = {},
            policies: "tuple[Policy, ...]" = (), watched: "Collection[str]" = ()) -> Routing:
    """All our rules and routes for these links. Without a `multipath` the best link's single default serves. The
    links with `marks`, by interface, keep their connections. Of those that are `watched` somebody ends a pause.

    A tier is one default with the tier for its metric. So the kernel itself goes on to the next tier when all carriers
    of a tier are gone."""
    ranking = sorted(uplinks, key=lambda uplink: (uplink.link.tier, -uplink.link.weight, uplink.link.table))
    # Links that are out have a rank, too: a link that comes or goes must not change the others' routes.
    ranks = {uplink.link.table: rank for rank, uplink in enumerate(ranking)}
    routed = [uplink for uplink in uplinks if uplink.state in ROUTED]
    routes: list[Route] = []
    rules: list[Rule] = []
    nexthops: dict[int, Nexthop] = {}  # by the link's table
    for uplink in routed:
        table, lease = uplink.link.table, uplink.lease
        prefix = address.network(lease.address, lease.length)
        nexthops[table] = nexthop = _nexthop(uplink, prefix)
        metric = (METRIC_DEAD if uplink.state == DEAD else METRIC_SINGLE) + ranks[table]
        routes += _routes_of_link(uplink, prefix, nexthop, settings.balance_table, metric)
        rules += _rules_of_link(uplink, prefix)
        mark = marks.get(uplink.link.interface)
        if mark and (uplink.balanced or uplink.state != DEAD and not uplink.gone):
            # A connection stays on its link, whatever has changed since it was balanced. Before the source rules: most
            # packets skip all of those.
            rules.append(Rule(PREF_PIN, table, mark=mark, mask=settings.marks))
            if uplink.link.interface in watched:
                # Without carrier the table above leads nowhere. A moment's pause is nothing to TCP, but a packet by
                # another link would have it reset. UDP moves at once.
                rules.append(Rule(PREF_PAUSE, 0, action=BLACKHOLE, mark=mark, mask=settings.marks, protocol=TCP))
    if routed or policies:
        rules += _rules_of_all(settings.balance_table)
    if policies:
        from .policy import rules as rules_of
        rules += rules_of(policies, {uplink.link.interface: uplink.link.table for uplink in routed
                                     if uplink.balanced}, settings.balance_table)
    tiers: dict[int, dict[int, int]] = {}  # tier → table → weight, of the links that are balanced
    for uplink, weight in zip(uplinks, scaled([uplink.link.weight for uplink in uplinks])):
        if uplink.balanced:
            tiers.setdefault(uplink.link.tier, {})[uplink.link.table] = weight
    for tier, balanced in tiers.items():
        if multipath or len(balanced) == 1:
            # In any other order the kernel would hash the flows behind masquerading onto other links.
            shares = [nexthops[table]._replace(weight=balanced[table] if len(balanced) > 1 else 1)
                      for table in sorted(balanced)]
            routes.append(Route(settings.balance_table, address.EVERYWHERE, tier - 1, "", SCOPE_UNIVERSE,
                                tuple(shares)))
    return Routing(frozenset(routes), frozenset(rules))


def _rules_of_link(uplink: Uplink, prefix: str) -> list[Rule]:
    link, lease = uplink.link, uplink.lease
    host = f"{lease.address}/32"
    rules = [
        # Replies, and sockets bound to a link's address, leave by that link.
        Rule(PREF_SOURCE, link.table, host),
        # Sockets bound to a link's interface find that link's gateway.
        Rule(PREF_DEVICE, link.table, "", "", link.interface),
    ]
    if lease.length < 32 and not uplink.shared:
        # Two providers may hand out the same prefix, and main has only one of the two. If another network of this
        # machine has the address, too, there is no such rule: the provider would get the replies to that network.
        rules.append(Rule(PREF_PREFIX, link.table, host, prefix))
    return rules


def _rules_of_all(balance_table: int) -> list[Rule]:
    return [
        # The LAN, VPNs and static routes of main win; main's default routes do not.
        Rule(PREF_MAIN, MAIN_TABLE, suppress_prefixlength=0),
        # Everything else is balanced.
        Rule(PREF_BALANCE, balance_table),
    ]


def _routes_of_link(uplink: Uplink, prefix: str, nexthop: Nexthop, balance_table: int, metric: int) -> list[Route]:
    link, lease = uplink.link, uplink.lease
    quad = lease.address
    routes = [
        Route(link.table, address.EVERYWHERE, 0, quad, SCOPE_UNIVERSE, (nexthop,)),
        # The single default carries on when the kernel deletes the multipath with another link's device. It goes with
        # its source address.
        Route(balance_table, address.EVERYWHERE, metric, quad, SCOPE_UNIVERSE, (nexthop,)),
    ]
    if lease.length < 32:
        routes.append(Route(link.table, prefix, 0, quad, SCOPE_LINK, (Nexthop("", uplink.ifindex),)))
    if lease.server and address.network(lease.server, lease.length) != prefix:
        # A unicast renewal has no source address that a rule could match. Balanced, it would leave by any link.
        routes.append(Route(balance_table, f"{lease.server}/32", metric, quad, SCOPE_UNIVERSE, (nexthop,)))
    return routes


def _nexthop(uplink: Uplink, prefix: str) -> Nexthop:
    lease = uplink.lease
    if lease.gateway == ON_DEVICE:
        return Nexthop("", uplink.ifindex)
    return Nexthop(lease.gateway, uplink.ifindex, 1, address.network(lease.gateway, lease.length) != prefix)


def scaled(weights: list[int]) -> list[int]:
    """Weights for the kernel, 1 to 256, with ratios as near to the given ones as possible."""
    most = max(weights, default=1)
    if most <= MAX_WEIGHT:
        return weights
    return [max(1, (weight * MAX_WEIGHT + most // 2) // most) for weight in weights]


def released(changes: tuple[Change, ...], want: Routing) -> list[int]:
    """The marks of the connections that have no link any more after these changes, and another way to go."""
    if not any(route.destination == address.EVERYWHERE for route in want.routes):
        return []
    return sorted([change.what.mark for change in changes
                   if not change.add and isinstance(change.what, Rule) and change.what.pref == PREF_PIN])


def recovered(routing: Routing, interfaces: dict[str, Interface], settings: Settings) -> dict[str, Lease]:
    """The leases behind our own routes in the kernel, by interface, for a store that was lost. The tables are those
    that the links had at that time."""
    names = {interface.ifindex: name for name, interface in interfaces.items()}
    ours = [route for route in routing.routes if route.source and len(route.nexthops) == 1 and not route.rest]
    lengths = {route.table: int(route.destination.partition("/")[2]) for route in ours if route.scope == SCOPE_LINK}
    servers = {route.nexthops[0].oif: route.destination.partition("/")[0] for route in ours
               if route.table == settings.balance_table and route.destination.endswith("/32")}
    return {names[route.nexthops[0].oif]: Lease(route.source, lengths.get(route.table, 32),
                                                route.nexthops[0].gateway or ON_DEVICE,
                                                servers.get(route.nexthops[0].oif, ""))
            for route in ours
            if route.nexthops[0].oif in names and route.destination == address.EVERYWHERE and not route.metric}
