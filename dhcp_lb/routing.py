"""Pure: links, their leases and holds, and the kernel's interfaces → the wanted routing."""

from . import address
from .model import (ADMINISTRATOR, BLACKHOLE, GIVEN_UP, GONE, KERNEL, MAIN_TABLE, MONITOR, NO, NO_NEW, NONE,
                    ON_DEVICE, OUT, Change, Hold, Interface, Lease, Link, Nexthop, Route, Routing, Rule, Settings)
from .record import NamedTuple

# The rules, in the kernel's order. The gaps are for the administrator.
PREF_LAN = 19900
PREF_PIN = 20000
PREF_PAUSE = 20001
PREF_SOURCE = 20100
PREF_DEVICE = 20200
PREF_DHCP = 20300
PREF_MAIN = 30000  # after the policies (policy.py)
PREF_BY_LINK = 30100
PREF_DNS = 30200  # UDP; TCP is the next one
PREF_BALANCE = 32765  # the last one before main itself (32766)
SHORT = 7  # no LAN's prefix is as short as the pieces into which VPNs cut a default: 0.0.0.0/1, 2000::/4, fc00::/7
DHCP_PORT, DNS_PORT = 67, 53
TCP, UDP = 6, 17  # IPPROTO_*

METRIC_SINGLE = 1000  # of the best single default; each further one adds 1
METRIC_DEAD = 1_000_000  # the same for links whose provider is dead: they come after all others
METRIC_MAIN = 8100  # the same in main: after what DHCP clients put there
METRIC_DHCP, METRIC_DNS = DHCP_PORT, DNS_PORT  # in the table of servers: they only tell what a route is for

SCOPE_UNIVERSE = 0  # rtnetlink.h
SCOPE_LINK = 253
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
    gone: bool = False  # its carrier has been away for longer than a connection is to wait
    balanced: bool = False  # it gets new connections as soon as its tier serves and its carrier is there
    beside: tuple[tuple[str, str], ...] = ()  # other networks of its interface, and its address there


class Foreign(NamedTuple):
    """What somebody else's routing has that ours heeds."""

    lan_metric: int = -1  # of main's best default, if it leads to a LAN of which no line speaks; -1 = it does not
    vpn: bool = False  # a rule before main looks up another table, as wg-quick(8)'s does


def judge(links: tuple[Link, ...], leases: dict[str, Lease], holds: dict[str, tuple[Hold, ...]],
          interfaces: dict[str, Interface]) -> tuple[Uplink, ...]:
    """Each link with its state."""
    taken: dict[str, str] = {}  # address → the interface of the link that has it
    judged = {}
    # Of two with one address, the one that can serve has it, or else the one of the earlier line.
    for link in sorted(links, key=lambda link: not _has_carrier(interfaces.get(link.interface))):
        judged[link.interface] = _judge(link, leases.get(link.interface, NONE), holds.get(link.interface, ()),
                                        interfaces.get(link.interface), taken)
    uplinks = [judged[link.interface] for link in links]
    if not any([uplink.state == UP for uplink in uplinks]):
        # If nobody answers there is nowhere to go, and it may not be the providers' fault: all stay.
        uplinks = [uplink._replace(balanced=True) if uplink.state in (NO_CARRIER, DEAD, RETURNING) else uplink
                   for uplink in uplinks]
    return tuple(uplinks)


def _has_carrier(interface: Interface | None) -> bool:
    return bool(interface and interface.carrier)


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
    return Uplink(link, lease, interface.ifindex, state, reason, (MONITOR, GONE) in held, balanced,
                  _beside(lease, interface))


def _beside(lease: Lease, interface: Interface) -> tuple[tuple[str, str], ...]:
    """The networks of an interface that are not the lease's: a modem's own, or the LAN on a bridge. A client may have
    a new lease's address there before it tells, and no provider is to lead the other links' packets astray."""
    found: dict[str, str] = {}
    leased = address.network(lease.address, lease.length) if lease.address else ""
    for quad, length, lasts in zip(interface.addresses, interface.lengths, interface.lasting):
        if lasts and length < 32 and quad != lease.address and not (leased and address.within(quad, leased)):
            found.setdefault(address.network(quad, length), quad)
    return tuple(found.items())


def desired(uplinks: tuple[Uplink, ...], settings: Settings, multipath: bool = True, marks: dict[str, int] = {},
            policies: "tuple[Policy, ...]" = (), watched: "Collection[str]" = (),
            foreign: Foreign = Foreign()) -> Routing:
    """All our rules and routes for these links. Without a `multipath` the best link's single default serves. The
    links with `marks`, by interface, keep their connections. Of those that are `watched` somebody ends a pause.

    A tier is one default with the tier for its metric. So the kernel itself goes on to the next tier when all carriers
    of a tier are gone."""
    if settings.enabled == NO:
        return Routing()
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
        if uplink.balanced and settings.main_default != NO:
            # Who reads main, or `default`, finds a way as long as a link works. Behind what clients put there.
            routes.append(Route(MAIN_TABLE, address.EVERYWHERE, METRIC_MAIN + ranks[table], lease.address,
                                SCOPE_UNIVERSE, (nexthop,)))
        rules += _rules_of_link(uplink)
        mark = marks.get(uplink.link.interface)
        if mark and (uplink.balanced or uplink.state != DEAD and not uplink.gone):
            # A connection stays on its link, whatever has changed since it was balanced. Before the source rules: most
            # packets skip all of those.
            rules.append(Rule(PREF_PIN, table, mark=mark, mask=settings.marks))
            if uplink.link.interface in watched:
                # Without carrier the table above leads nowhere. A moment's pause is nothing to TCP, but a packet by
                # another link would have it reset. UDP moves at once.
                rules.append(Rule(PREF_PAUSE, 0, action=BLACKHOLE, mark=mark, mask=settings.marks, protocol=TCP))
    routes += _beside_routes(routed)
    routes += (servers := _server_routes(uplinks, nexthops, settings.server_table))
    if routed or policies:
        ours = [route.metric for route in routes if route.table == MAIN_TABLE]
        taken = 0 <= foreign.lan_metric < min(ours, default=foreign.lan_metric + 1)
        rules += _rules_of_all(settings, {route.metric for route in servers}, not taken, foreign.vpn)
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


def _rules_of_link(uplink: Uplink) -> list[Rule]:
    link = uplink.link
    return [
        # Replies, and sockets bound to a link's address, leave by that link.
        Rule(PREF_SOURCE, link.table, f"{uplink.lease.address}/32"),
        # Sockets bound to a link's interface find that link's gateway.
        Rule(PREF_DEVICE, link.table, "", "", link.interface),
    ]


def _rules_of_all(settings: Settings, serves: set[int], main: bool, vpn: bool) -> list[Rule]:
    """`serves`: what the table of servers has routes for. `main`: whether main's best default counts."""
    servers, group = settings.server_table, settings.group
    rules = [
        # The LAN, containers, and the specific routes of VPNs. What leads by a link comes after the source rules: two
        # providers may hand out the same prefix, and main has only one of the two.
        Rule(PREF_LAN, MAIN_TABLE, suppress_prefixlength=SHORT, suppress_group=group),
        # Static routes by a link, and the links' own networks.
        Rule(PREF_BY_LINK, MAIN_TABLE, suppress_prefixlength=0),
        # Everything else is balanced.
        Rule(PREF_BALANCE, settings.balance_table),
    ]
    if main:
        # What else main has, but not by a link: a VPN that takes all.
        rules.append(Rule(PREF_MAIN, MAIN_TABLE, suppress_group=group))
    if METRIC_DHCP in serves:
        # A unicast renewal has no source address that a rule could match. Balanced, it would leave by any link.
        rules.append(Rule(PREF_DHCP, servers, protocol=UDP, ports=((DHCP_PORT, DHCP_PORT),)))
    if METRIC_DNS in serves and not vpn:  # before its rule, queries would leave the tunnel
        rules += [Rule(PREF_DNS + place, servers, protocol=protocol, ports=((DNS_PORT, DNS_PORT),))
                  for place, protocol in enumerate((UDP, TCP))]
    return rules


def _beside_routes(routed: list[Uplink]) -> list[Route]:
    """A network that a link's interface carries beside its lease is in the link's table, so that replies to it do not
    leave by the gateway; and in the others' if it is clear where it is."""
    leased = [address.network(uplink.lease.address, uplink.lease.length) for uplink in routed]
    carried = [network for uplink in routed for network, _ in uplink.beside]
    routes = []
    for uplink in routed:
        for network, own in uplink.beside:
            alone = carried.count(network) == 1 and not any([address.overlap(network, prefix) for prefix in leased])
            routes += [Route(other.link.table, network, 0, own, SCOPE_LINK, (Nexthop("", uplink.ifindex),))
                       for other in (routed if alone else [uplink])]
    return routes


def _server_routes(uplinks: tuple[Uplink, ...], nexthops: dict[int, Nexthop], table: int) -> list[Route]:
    """The routes to those servers of the links that are not on-link, each if one link alone names it."""
    leased = [address.network(uplink.lease.address, uplink.lease.length) for uplink in uplinks if uplink.lease.address]
    networks = leased + [network for uplink in uplinks for network, _ in uplink.beside]
    found = []
    dhcp = [(uplink.lease.server,) if uplink.lease.server else () for uplink in uplinks]
    dns = [uplink.lease.name_servers for uplink in uplinks]
    for metric, named in (METRIC_DHCP, dhcp), (METRIC_DNS, dns):
        all_named = [server for servers in named for server in servers]
        for uplink, servers in zip(uplinks, named):
            nexthop = nexthops.get(uplink.link.table)
            if nexthop and (metric == METRIC_DHCP or uplink.balanced and uplink.link.dns):
                found += [Route(table, f"{server}/32", metric, uplink.lease.address, SCOPE_UNIVERSE, (nexthop,))
                          for server in servers if all_named.count(server) == 1
                          and not any([address.within(server, prefix) for prefix in networks])]
    return found


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
    lengths = {route.source: int(route.destination.partition("/")[2]) for route in ours if route.scope == SCOPE_LINK}
    servers: dict[tuple[int, int], list[str]] = {}
    for route in sorted(ours):
        if route.table == settings.server_table:
            whose = servers.setdefault((route.nexthops[0].oif, route.metric), [])
            whose.append(route.destination.partition("/")[0])
    return {names[route.nexthops[0].oif]: Lease(
                route.source, lengths.get(route.source, 32), route.nexthops[0].gateway or ON_DEVICE,
                "".join(servers.get((route.nexthops[0].oif, METRIC_DHCP), ())[:1]),
                name_servers=tuple(servers.get((route.nexthops[0].oif, METRIC_DNS), ())))
            for route in ours
            if route.nexthops[0].oif in names and route.destination == address.EVERYWHERE and not route.metric}
