"""Pure: links, their leases and holds, and the kernel's interfaces → the wanted routing."""

from . import address
from .address import FAMILIES, IPV4, IPV6
from .model import (ADMINISTRATOR, BLACKHOLE, GIVEN_UP, GONE, KERNEL, MAIN_TABLE, MONITOR, NO, NO_NEW, NONE,
                    ON_DEVICE, OUT, UNREACHABLE, Change, Hold, Interface, Lease, Link, Nexthop, Route, Routing, Rule,
                    Settings)
from .record import NamedTuple

# The rules, in the kernel's order. The gaps are for the administrator.
PREF_LAN = 19900
PREF_PIN = 20000
PREF_PAUSE = 20001
PREF_ASK = 20098  # IPv6: of a dead link, for the monitor's probes
PREF_NEAR = 20099  # IPv6: of a dead link, for its neighbours
PREF_SOURCE = 20100
PREF_GUARD = 20101  # IPv6
PREF_DEVICE = 20200
PREF_DHCP = 20300
PREF_MAIN = 30000  # after the policies (policy.py)
PREF_BY_LINK = 30100
PREF_DNS = 30200  # UDP; TCP is the next one
PREF_BALANCE = 32765  # the last one before main itself (32766)
SHORT = 7  # VPNs cut a default into pieces (0.0.0.0/1, 2000::/4, fc00::/7); no LAN's prefix is as short as these
DHCP_PORT, DNS_PORT = 67, 53
TCP, UDP = 6, 17  # IPPROTO_*

METRIC_SINGLE = 1000  # of the best single default; each further one adds 1
METRIC_DEAD = 1_000_000  # the same for links whose provider is dead: they come after all others
METRIC_MAIN = 8100  # the same in main: after what DHCP clients put there
METRIC_TOLD = 513  # of a delegated prefix that a client has reported: so it is known again if the store is lost
METRIC_GUARD = 0xffffffff  # of an `unreachable default`: after every other route
METRIC_DHCP, METRIC_DNS = DHCP_PORT, DNS_PORT  # in the servers' table: they only say what a route is for

SCOPE_UNIVERSE = 0  # rtnetlink.h
SCOPE_LINK = 253
LINK_LOCAL = "fe80::/10"
LOOPBACK = 1  # the interface index of lo in every network namespace; IPv6 binds an error-type route to lo
ERROR, THROW = bytes([0, 7]), bytes([0, 9])  # Route.rest: tos 0, RTN_UNREACHABLE or RTN_THROW
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
NO_ROUTER = "no router"  # IPv6: its router no longer advertises a default
NO_ADDRESS = "no address"  # IPv6: it has no address of its own, but perhaps whole prefixes for the LAN
STATES = (UP, NO_LEASE, NO_CARRIER, NO_INTERFACE, DOWN, UNUSABLE, DISABLED, DRAINING, DEAD, RETURNING, KEPT, NO_ROUTER,
          NO_ADDRESS)
# The states in which a link has a table and rules.
ROUTED = (UP, NO_CARRIER, DRAINING, DEAD, RETURNING, KEPT, NO_ROUTER, NO_ADDRESS)


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
    gone: bool = False  # its carrier has been away for longer than a connection waits
    twin: bool = False  # another link serves with the same address, so only sockets bound to its interface go by it
    balanced: bool = False  # it gets new connections as soon as its tier serves and its carrier is there
    beside: tuple[tuple[str, str], ...] = ()  # other networks of its interface, each with its address there
    sources: tuple[str, ...] = ()  # IPv6: those sources of its lease that leave by this link and by no other
    given_up: bool = False  # its provider is dead, others are not, and nothing waits for it


class Layout(NamedTuple):
    """How the routing of the two families differs. What only one of them has in its leases is not in here."""

    family: int
    first_tier: int  # the metric of the first tier's multipath
    of_link: int  # the metric of the routes in a link's table
    sources: bool  # whether routes have a preferred source
    in_main: bool  # whether main gets a default by each link


LAYOUTS = {
    IPV4.number: Layout(IPV4.number, 0, 0, True, True),
    # In IPv6 a metric of 0 means 1024 (net/ipv6/route.c, IP6_RT_PRIO_USER). The kernel refuses a preferred source that
    # is tentative. When the address is removed, the route stays, without its source and without a notification. Each
    # router's advertisement leaves a default in main, and none fails because of another one.
    IPV6.number: Layout(IPV6.number, 512, 1024, False, False),
}


class Foreign(NamedTuple):
    """The foreign routing that ours takes into account."""

    lan_metric: int = -1  # the metric of main's best default, if it leads to a LAN that is no link; otherwise -1
    vpn: bool = False  # a rule before main looks up another table, as wg-quick(8)'s does
    parts: tuple[Route, ...] = ()  # main's routes by one link to parts of the Internet


def judge(links: tuple[Link, ...], leases: dict[str, Lease], holds: dict[str, tuple[Hold, ...]],
          interfaces: dict[str, Interface]) -> tuple[Uplink, ...]:
    """Each link with its state, in the order of `links`. `leases`, `holds` and `interfaces` are by interface."""
    taken: dict[str, str] = {}  # address, or PREFIX/LENGTH that is a source → the interface of the link that has it
    judged = {}
    # Of two links with the same address, the link that can serve has it, or else that of the earlier line.
    for link in sorted(links, key=lambda link: not _can_serve(link, leases.get(link.interface, NONE),
                                                              interfaces.get(link.interface),
                                                              holds.get(link.interface, ()))):
        judged[link.interface] = _judge(link, leases.get(link.interface, NONE), holds.get(link.interface, ()),
                                        interfaces.get(link.interface), taken)
    uplinks = [judged[link.interface] for link in links]
    # In IPv6 a link that is not balanced may still carry the LAN.
    if any([uplink.state == UP or uplink.state == NO_ADDRESS and uplink.lease.prefixes for uplink in uplinks]):
        uplinks = [uplink._replace(given_up=True) if uplink.state == DEAD else uplink for uplink in uplinks]
    if not any([uplink.state == UP for uplink in uplinks]):
        # If nobody answers, there is nowhere else to go, and it may not be the providers' fault. So all links stay.
        uplinks = [uplink._replace(balanced=bool(uplink.lease.address and uplink.lease.gateway) and not uplink.twin)
                   if uplink.state in (NO_CARRIER, DEAD, RETURNING, NO_ROUTER) else uplink for uplink in uplinks]
    return tuple(uplinks)


def _can_serve(link: Link, lease: Lease, interface: Interface | None, holds: tuple[Hold, ...]) -> bool:
    return (bool(interface and interface.carrier and (link.gateway or lease.gateway))
            and not any([hold.reach == GIVEN_UP for hold in holds]))


def _judge(link: Link, lease: Lease, holds: tuple[Hold, ...], interface: Interface | None,
           taken: dict[str, str]) -> Uplink:
    if not interface:
        return Uplink(link, lease, 0, NO_INTERFACE, "")
    held = {(hold.by, hold.reach): hold.why for hold in holds}
    gateway = link.gateway or lease.gateway
    state, reason, balanced, twin = UNUSABLE, "", False, False
    sources: tuple[str, ...] = ()
    if lease == NONE:
        state = NO_LEASE
    elif (ADMINISTRATOR, OUT) in held:
        state = DISABLED
    elif not interface.up:
        state = DOWN
    elif not (lease.address and lease.length or lease.networks) or not gateway and not lease.lost:
        reason = lease.fault or "gateway is missing"
    elif lease.address and lease.address not in interface.addresses:
        reason = f"the interface does not have the address {lease.address}"
    elif gateway and gateway == lease.address:
        reason = "gateway is the link's own address"
    elif gateway in interface.addresses:  # an address of another link does not matter: the provider may intend that
        reason = f"gateway {gateway} is an address of this machine"
    elif link.gateway and lease.address and address.reserved(gateway, address.network(lease.address, lease.length)):
        reason = f"gateway {gateway} is the network or broadcast address"
    elif lease.address in taken and (MONITOR, GIVEN_UP) not in held:  # the monitor still asks by a dead link
        reason = f"{taken[lease.address]} has the same address {lease.address}"
    elif (KERNEL, OUT) in held:
        reason = held[KERNEL, OUT]
    else:
        twin = lease.address in taken
        if lease.address:
            taken.setdefault(lease.address, link.interface)
        sources = tuple([one for one in lease.sources if taken.setdefault(one, link.interface) == link.interface])
        returning = (MONITOR, NO_NEW) in held or (MONITOR, GONE) in held
        if (KERNEL, NO_NEW) in held:
            state, reason = KEPT, held[KERNEL, NO_NEW]
        elif (ADMINISTRATOR, NO_NEW) in held:
            state = DRAINING
        elif (MONITOR, GIVEN_UP) in held:
            state, reason = DEAD, held[MONITOR, GIVEN_UP]
        elif lease.lost and not link.gateway:
            state, reason = NO_ROUTER, lease.fault
        elif not interface.carrier:
            # The kernel skips this link until its carrier is back. If its provider has answered before, it must answer
            # again before the link serves: a modem that starts has its port up long before its line.
            state, balanced = NO_CARRIER, not returning
        elif returning:
            state, reason = RETURNING, held.get((MONITOR, NO_NEW)) or held[MONITOR, GONE]
        elif not lease.address:
            state, reason = NO_ADDRESS, lease.fault
        else:
            state, balanced = UP, True
        # If a link has no IPv6 address of its own, a balanced connection would get the address of another link.
        balanced = balanced and bool(lease.address)
        if link.gateway:
            lease = lease._replace(gateway=gateway)
    return Uplink(link, lease, interface.ifindex, state, reason, (MONITOR, GONE) in held, twin,
                  balanced, _beside(lease, interface), sources)


def _beside(lease: Lease, interface: Interface) -> tuple[tuple[str, str], ...]:
    """The networks of an interface that are not the lease's: a modem's own, or the LAN on a bridge. Only permanent
    addresses count: a client may have set a new lease's address that it has not reported yet, and no provider may lead
    other links' packets astray."""
    if not any(interface.lasting):
        return ()
    found: dict[str, str] = {}
    leased = address.network(lease.address, lease.length) if lease.address else ""
    for quad, length, lasts in zip(interface.addresses, interface.lengths, interface.lasting):
        if lasts and length < 32 and quad != lease.address and not (leased and address.within(quad, leased)):
            found.setdefault(address.network(quad, length), quad)
    return tuple(found.items())


def desired(uplinks: tuple[Uplink, ...], settings: Settings, multipath: bool = True, marks: dict[str, int] = {},
            policies: "tuple[Policy, ...]" = (), watched: "Collection[str]" = (),
            foreign: Foreign = Foreign(), family: int = IPV4.number, translated: bool = False) -> Routing:
    """All our rules and routes of one family for these links. Without a `multipath`, the best link's single default
    serves. `marks`: interface → mark, of those links that keep their connections. `watched`: the interfaces of the
    links whose pauses the monitor ends. `translated`: packets from a link's `prefix6=` may leave by any link."""
    if settings.enabled == NO:
        return Routing()
    layout = LAYOUTS[family]
    everywhere = FAMILIES[family].everywhere
    ranking = sorted(uplinks, key=lambda uplink: (uplink.link.tier, -uplink.link.weight, uplink.link.table))
    # Links that are out have a rank, too, because a link that comes or goes must not change the others' routes.
    ranks = {uplink.link.table: rank for rank, uplink in enumerate(ranking)}
    routed = [uplink for uplink in uplinks if uplink.state in ROUTED]
    routes: list[Route] = []
    rules: list[Rule] = []
    nexthops: dict[int, Nexthop] = {}  # by the link's table
    for uplink in routed:
        table, lease = uplink.link.table, uplink.lease
        source = lease.address if layout.sources else ""
        routes += _networks_of_link(uplink, layout)
        nexthop = _nexthop(uplink)
        if nexthop:
            nexthops[table] = nexthop
            routes.append(Route(table, everywhere, layout.of_link, source, SCOPE_UNIVERSE, (nexthop,)))
        if nexthop and lease.address:
            # This route carries on when the kernel deletes the multipath together with another link's device. The
            # kernel deletes it together with its source address.
            metric = (METRIC_DEAD if uplink.state == DEAD else METRIC_SINGLE) + ranks[table]
            routes.append(Route(settings.balance_table, everywhere, metric, source, SCOPE_UNIVERSE, (nexthop,)))
        if nexthop and uplink.balanced and layout.in_main and settings.main_default != NO:
            # Rules that look up main or `default` find a way as long as a link works. The metric is behind those of
            # DHCP clients.
            routes.append(Route(MAIN_TABLE, everywhere, METRIC_MAIN + ranks[table], source, SCOPE_UNIVERSE,
                                (nexthop,)))
        rules += _rules_of_link(uplink, family)
        if mark := marks.get(uplink.link.interface, 0):
            rules += _pin_rules(uplink, mark, settings.marks, uplink.link.interface in watched, family)
    rules += _guards(uplinks, family)
    routes += _beside_routes(routed)
    there = {(route.table, route.destination) for route in routes}
    routes += _routes_of_main(routed, foreign.parts, there, layout)
    routes += _delegated_routes(uplinks, nexthops, settings.balance_table, layout, translated)
    routes += (servers := _server_routes(uplinks, nexthops, settings.server_table))
    if routed or policies:
        ours = [route.metric for route in routes if route.table == MAIN_TABLE]
        taken = 0 <= foreign.lan_metric < min(ours, default=foreign.lan_metric + 1)
        rules += _rules_of_all(settings, {route.metric for route in servers}, not taken, foreign.vpn, family)
    if policies:
        routes += _exceptions(routed, uplinks, layout, translated)
        from .policy import rules as rules_of
        rules += rules_of(policies, {uplink.link.interface: uplink.link.table for uplink in routed
                                     if uplink.balanced}, settings.balance_table, family)
    routes += _shared_routes(uplinks, nexthops, settings.balance_table, multipath, layout)
    return Routing(frozenset(routes), frozenset(rules))


def is_default(route: Route) -> bool:
    """Whether a route is a default, for packets from everywhere."""
    return route.destination in (IPV4.everywhere, IPV6.everywhere) and not route.only_from


def _rules_of_link(uplink: Uplink, family: int) -> list[Rule]:
    link, lease = uplink.link, uplink.lease
    # Sockets bound to a link's interface find that link's gateway.
    rules = [Rule(PREF_DEVICE, link.table, oif=link.interface, family=family)]
    # Replies, and sockets bound to a link's address, leave by that link.
    if family == IPV4.number:
        return [*rules, *([] if uplink.twin else [Rule(PREF_SOURCE, link.table, f"{lease.address}/32")])]
    if not uplink.given_up:
        return [*rules, *[Rule(PREF_SOURCE, link.table, prefix, family=family) for prefix in uplink.sources]]
    # The guard is the next rule. The first of these two is for sockets that are bound to the interface and to an
    # address: the monitor's probes.
    return [*rules, *[rule for prefix in lease.sources
                      for rule in (Rule(PREF_ASK, link.table, prefix, oif=link.interface, family=family),
                                   Rule(PREF_NEAR, link.table, prefix, family=family, suppress_prefixlength=0))]]


def _pin_rules(uplink: Uplink, mark: int, mask: int, watched: bool, family: int) -> list[Rule]:
    if not uplink.balanced and (uplink.state == DEAD or uplink.gone or not uplink.lease.gateway):
        return []
    # A connection stays on its link, whatever has changed since it was balanced. The rule comes before the source
    # rules, so most packets skip all of those.
    pin = Rule(PREF_PIN, uplink.link.table, family=family, mark=mark, mask=mask)
    # Without carrier, the pin's table leads nowhere. A short pause does not harm TCP, but a packet by another link
    # would have the connection reset. UDP moves at once.
    pause = Rule(PREF_PAUSE, 0, family=family, action=BLACKHOLE, mark=mark, mask=mask, protocol=TCP)
    return [pin, pause] if watched else [pin]


def _guards(uplinks: tuple[Uplink, ...], family: int) -> list[Rule]:
    """In IPv6 nobody translates, so another provider would drop a link's packets without a word. With these rules the
    sender gets an error at once, also while the link is disabled, its provider is dead, or its router is not known. A
    route in the link's table would not do: it would stop packets that a policy or a pin sends there, and they must go
    on to the next rule."""
    return [Rule(PREF_GUARD, 0, prefix, family=family, action=UNREACHABLE)
            for uplink in uplinks for prefix in uplink.lease.sources]


def _delegated_routes(uplinks: tuple[Uplink, ...], nexthops: dict[int, Nexthop], table: int, layout: Layout,
                      translated: bool) -> list[Route]:
    """Packets from a prefix that a provider has delegated to this machine leave by that provider, or their sender gets
    an error, as long as the prefix lives. These are routes, because rules would have to come before a VPN that takes
    everything, and so would take the LAN out of its tunnel.

    If the prefix is translated, its packets are balanced over the other links instead, from the moment at which its
    provider's cable is cut: the kernel skips this route, and finds the next one."""
    routes = []
    balanced = sum([uplink.balanced for uplink in uplinks])
    for uplink in uplinks:
        elsewhere = balanced > uplink.balanced
        for prefix in uplink.lease.prefixes:
            moves = translated and _is_translated(prefix, uplink)
            gone = elsewhere and not _takes_its_own(uplink) if moves else uplink.given_up
            if (nexthop := nexthops.get(uplink.link.table)) and not gone:
                known = prefix in (*uplink.link.prefixes6, *dict(uplink.lease.inferred))
                routes.append(Route(table, IPV6.everywhere, layout.first_tier if known else METRIC_TOLD, "",
                                    SCOPE_UNIVERSE, (nexthop,), only_from=prefix))
            if not moves:
                routes.append(Route(table, IPV6.everywhere, METRIC_GUARD, "", SCOPE_UNIVERSE,
                                    (Nexthop("", LOOPBACK),), ERROR, prefix))
    return routes


def _takes_its_own(uplink: Uplink) -> bool:
    """Whether new connections from its prefixes leave by this link, although another link could take them."""
    waits = uplink.state in (NO_ADDRESS, NO_CARRIER, DEAD) and not uplink.given_up
    return uplink.balanced or waits and not uplink.lease.address


def _is_translated(prefix: str, uplink: Uplink) -> bool:
    """Whether nft(8) translates packets that are from this prefix of the link and leave by another link: the nft table
    knows only the prefixes of the configuration."""
    return any([address.inside(prefix, named) for named in uplink.link.prefixes6])


def _exceptions(routed: list[Uplink], uplinks: tuple[Uplink, ...], layout: Layout, translated: bool) -> list[Route]:
    """No policy sends a link packets from another provider's prefix, unless they are translated. A `throw` route lets
    the lookup go on to the next rule."""
    return [Route(uplink.link.table, IPV6.everywhere, layout.first_tier, "", SCOPE_UNIVERSE, (Nexthop("", LOOPBACK),),
                  THROW, prefix)
            for uplink in routed for other in uplinks if other.link.table != uplink.link.table
            for prefix in other.lease.prefixes if not (translated and _is_translated(prefix, other))]


def _rules_of_all(settings: Settings, serves: set[int], main: bool, vpn: bool, family: int) -> list[Rule]:
    """`serves`: the metrics of the routes in the servers' table. `main`: whether main's best default counts."""
    servers, group = settings.server_table, settings.group
    rules = [
        # The LAN, containers, and the specific routes of VPNs. Routes by a link come after the source rules: two
        # providers may hand out the same prefix, and main has room for only one of the two.
        Rule(PREF_LAN, MAIN_TABLE, family=family, suppress_prefixlength=SHORT, suppress_group=group),
        # Static routes by a link, and the links' own networks.
        Rule(PREF_BY_LINK, MAIN_TABLE, family=family, suppress_prefixlength=0),
        # Everything else is balanced.
        Rule(PREF_BALANCE, settings.balance_table, family=family),
    ]
    if main:
        # Main's default, if it does not lead by a link: a VPN that takes everything.
        rules.append(Rule(PREF_MAIN, MAIN_TABLE, family=family, suppress_group=group))
    if METRIC_DHCP in serves:
        # A unicast renewal has no source address that a rule could match. Balanced, it would leave by any link.
        rules.append(Rule(PREF_DHCP, servers, protocol=UDP, ports=((DHCP_PORT, DHCP_PORT),)))
    if METRIC_DNS in serves and not vpn:  # these rules come before the VPN's, so queries would not go by its tunnel
        rules += [Rule(PREF_DNS + place, servers, protocol=protocol, ports=((DNS_PORT, DNS_PORT),))
                  for place, protocol in enumerate((UDP, TCP))]
    return rules


def _beside_routes(routed: list[Uplink]) -> list[Route]:
    """If a link's interface carries a network beside its lease, that network is in the link's table, so that replies
    to it do not leave by the gateway. It is in the other links' tables, too, if no other interface carries
    it and no lease overlaps it."""
    carried = [network for uplink in routed for network, _ in uplink.beside]
    if not carried:
        return []
    leased = [address.network(uplink.lease.address, uplink.lease.length) for uplink in routed]
    routes = []
    for uplink in routed:
        for network, own in uplink.beside:
            alone = carried.count(network) == 1 and not any([address.overlap(network, prefix) for prefix in leased])
            routes += [Route(other.link.table, network, 0, own, SCOPE_LINK, (Nexthop("", uplink.ifindex),))
                       for other in (routed if alone else [uplink])]
    return routes


def _routes_of_main(routed: list[Uplink], parts: tuple[Route, ...], there: set[tuple[int, str]],
                    layout: Layout) -> list[Route]:
    """Main's routes by a link, for instance by another router of its network, are in the link's table, too. Replies
    and pinned connections look up that table, and would go to the link's own gateway otherwise. The copies are
    `onlink`: the kernel has accepted the router in main, and need not find it again."""
    found: dict[int, dict[str, Route]] = {}
    for route in sorted(parts, key=lambda route: -route.metric):  # the last one counts, which has the lowest metric
        found.setdefault(route.nexthops[0].oif, {})[route.destination] = route
    routes = []
    for uplink in routed:
        table, mine = uplink.link.table, found.get(uplink.ifindex, {})
        elsewhere = {destination for destination, route in mine.items() if not _leads_there(route, uplink.lease)}
        lengths = {int(destination[destination.index("/") + 1:]) for destination in elsewhere}
        for destination, route in mine.items():
            start, _, length = destination.partition("/")
            if (table, destination) not in there and any([address.network(start, shorter) in elsewhere
                                                          for shorter in lengths if shorter <= int(length)]):
                hop = route.nexthops[0]
                onlink = hop.gateway and (":" not in hop.gateway or _is_outside6(hop.gateway, uplink.lease))
                routes.append(Route(table, destination, layout.of_link, "", route.scope,
                                    (hop._replace(onlink=bool(onlink)),)))
    return routes


def _leads_there(route: Route, lease: Lease) -> bool:
    """Whether the routes of a link's lease lead to this network the same way. systemd-networkd sets a route to each
    router and name server."""
    gateway, destination = route.nexthops[0].gateway, route.destination
    if gateway:
        return gateway == lease.gateway
    return (destination == f"{lease.gateway}/32" or lease.gateway == ON_DEVICE
            or address.inside(destination, address.network(lease.address, lease.length)))


def _server_routes(uplinks: tuple[Uplink, ...], nexthops: dict[int, Nexthop], table: int) -> list[Route]:
    """The routes to those servers of the links that are not on-link. A server that two links name has no route."""
    leased = [address.network(uplink.lease.address, uplink.lease.length) for uplink in uplinks if uplink.lease.address]
    networks = {*leased, *[network for uplink in uplinks for network, _ in uplink.beside]}
    lengths = {int(network[network.index("/") + 1:]) for network in networks}  # a few, even with hundreds of links
    found = []
    dhcp = [(uplink.lease.server,) if uplink.lease.server else () for uplink in uplinks]
    dns = [uplink.lease.name_servers for uplink in uplinks]
    for metric, named in (METRIC_DHCP, dhcp), (METRIC_DNS, dns):
        times: dict[str, int] = {}
        for server in [server for servers in named for server in servers]:
            times[server] = times.get(server, 0) + 1
        for uplink, servers in zip(uplinks, named):
            nexthop = nexthops.get(uplink.link.table)
            if nexthop and (metric == METRIC_DHCP or uplink.balanced and uplink.link.dns):
                found += [Route(table, f"{server}/32", metric, uplink.lease.address, SCOPE_UNIVERSE, (nexthop,))
                          for server in servers if times[server] == 1
                          and not any([address.network(server, length) in networks for length in lengths])]
    return found


def _networks_of_link(uplink: Uplink, layout: Layout) -> list[Route]:
    """The routes to a link's own networks, which are in its table beside its default."""
    table, lease, here = uplink.link.table, uplink.lease, (Nexthop("", uplink.ifindex),)
    if layout.family == IPV6.number:  # IPv6 has one scope for all routes
        return [Route(table, network, layout.of_link, "", SCOPE_UNIVERSE, here) for network in lease.networks]
    if lease.length < 32:
        network = address.network(lease.address, lease.length)
        return [Route(table, network, layout.of_link, lease.address, SCOPE_LINK, here)]
    return []


def _shared_routes(uplinks: tuple[Uplink, ...], nexthops: dict[int, Nexthop], table: int, multipath: bool,
                   layout: Layout) -> list[Route]:
    """The defaults by all links that are balanced, one for each tier. Their metrics are in the order of the tiers. So
    the kernel itself goes on to the next tier when all carriers of a tier are gone."""
    tiers: dict[int, dict[int, int]] = {}  # tier → table → weight
    for uplink, weight in zip(uplinks, scaled([uplink.link.weight for uplink in uplinks])):
        if uplink.balanced:
            tiers.setdefault(uplink.link.tier, {})[uplink.link.table] = weight
    routes = []
    for tier, balanced in tiers.items():
        if multipath or len(balanced) == 1:
            # The order is always the same. In another one, the kernel would hash masqueraded flows onto other links.
            shares = [nexthops[own]._replace(weight=balanced[own] if len(balanced) > 1 else 1)
                      for own in sorted(balanced)]
            routes.append(Route(table, FAMILIES[layout.family].everywhere, layout.first_tier + tier - 1, "",
                                SCOPE_UNIVERSE, tuple(shares)))
    return routes


def _nexthop(uplink: Uplink) -> Nexthop | None:
    """The way to the link's provider; None if no router of the provider is known."""
    lease = uplink.lease
    gateway = lease.gateway
    if not gateway:
        return None
    if gateway == ON_DEVICE:
        return Nexthop("", uplink.ifindex)
    if ":" in gateway:
        onlink = _is_outside6(gateway, lease)
    else:
        onlink = address.network(gateway, lease.length) != address.network(lease.address, lease.length)
    return Nexthop(gateway, uplink.ifindex, 1, onlink)


def _is_outside6(gateway: str, lease: Lease) -> bool:
    """Whether the kernel must be told that an IPv6 gateway is on the link."""
    return not address.within(gateway, LINK_LOCAL) and not any([address.within(gateway, network)
                                                                for network in lease.networks])


def scaled(weights: list[int]) -> list[int]:
    """Weights for the kernel, 1 to 256, with ratios as near to the given ones as possible."""
    most = max(weights, default=1)
    if most <= MAX_WEIGHT:
        return weights
    return [max(1, (weight * MAX_WEIGHT + most // 2) // most) for weight in weights]


def released(changes: tuple[Change, ...], want: Routing) -> list[int]:
    """The marks of those links that lose their pin by these changes, so their connections must move; [] if there is no
    other way to go."""
    if not any(is_default(route) for route in want.routes):
        return []
    return sorted([change.what.mark for change in changes
                   if not change.add and isinstance(change.what, Rule) and change.what.pref == PREF_PIN])


def recovered(routing: Routing, interfaces: dict[str, Interface], settings: Settings) -> dict[str, Lease]:
    """Interface → the lease that our own routes in the kernel come from, for a store that was lost. A route's table
    does not matter: the links may have had other tables when it was written."""
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
