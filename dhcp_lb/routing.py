"""Pure: links, what they were given and what the kernel's interfaces are → the routing that should be."""

from . import address
from .lease import DISABLED, DRAINING, NONE
from .model import ON_DEVICE, Interface, Lease, Link, Nexthop, Route, Routing, Rule, Settings
from .record import NamedTuple

# The rules, in the order in which the kernel asks them. Gaps are for the administrator.
PREF_PREFIX = 19900  # a link's address to the link's own prefix: its table. Two links may have the same prefix
PREF_MAIN = 20000  # main, but for its default routes: the LAN, VPNs and static routes win
PREF_SOURCE = 20100  # a link's address: its table. Replies leave by the link that was asked
PREF_DEVICE = 20200  # sockets bound to a link's interface: its table
PREF_BALANCE = 32765  # everything else: the balance table, the last word before main itself (32766)

METRIC_NET = 1000  # of the single defaults in the balance table; they carry on when the multipath is gone

MAIN_TABLE = 254  # RT_TABLE_MAIN and the scopes: uapi/linux/rtnetlink.h
SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
MAX_WEIGHT = 256  # rtnh_hops is 8 bits, and holds the weight less one

UP = "up"
NO_LEASE = "no lease"
NO_CARRIER = "no carrier"
NO_INTERFACE = "no interface"
DOWN = "down"
UNUSABLE = "unusable"
ROUTED = (UP, NO_CARRIER, DRAINING)  # the states in which a link has a table and rules


class Uplink(NamedTuple):
    """A configured link as it is now."""

    link: Link
    lease: Lease
    ifindex: int
    state: str
    reason: str = ""  # of UNUSABLE
    shared: bool = False  # another network of the machine's, its LAN say, knows it by the same address


def judge(links: tuple[Link, ...], leases: dict[str, Lease], held: dict[str, str],
          interfaces: dict[str, Interface], refused: dict[str, str]) -> tuple[Uplink, ...]:
    """Each link with its state. `refused` says why the kernel would not have a link (interface → its words)."""
    taken: dict[str, str] = {}  # address → the link that has it
    return tuple([_judge(link, leases.get(link.interface, NONE), held.get(link.interface, ""),
                         interfaces.get(link.interface), refused.get(link.interface, ""), taken)
                  for link in links])


def _judge(link: Link, lease: Lease, held: str, interface: Interface | None, refusal: str,
           taken: dict[str, str]) -> Uplink:
    if not interface:
        return Uplink(link, lease, 0, NO_INTERFACE, "")
    gateway = link.gateway or lease.gateway
    state, reason = UNUSABLE, ""
    if lease == NONE:
        state = NO_LEASE
    elif held == DISABLED:
        state = DISABLED
    elif not interface.up:
        state = DOWN
    elif not lease.address or not lease.length or not gateway:
        reason = lease.fault or "gateway is missing"
    elif lease.address not in interface.addresses:
        reason = f"the interface does not have the address {lease.address}"
    elif gateway == lease.address:
        reason = "gateway is its own address"
    elif gateway in interface.addresses:  # of another link's is no matter: its provider may have chosen it for that
        reason = f"gateway {gateway} is an address of this machine"
    elif link.gateway and address.reserved(gateway, address.network(lease.address, lease.length)):
        reason = f"gateway {gateway} is the network or broadcast address"
    elif lease.address in taken:
        reason = f"{taken[lease.address]} has the same address {lease.address}"
    elif refusal:
        reason = refusal
    else:
        taken[lease.address] = link.interface
        state = DRAINING if held == DRAINING else UP if interface.carrier else NO_CARRIER
        if link.gateway:
            lease = lease._replace(gateway=gateway)
    return Uplink(link, lease, interface.ifindex, state, reason, lease.address in interface.shared)


def desired(uplinks: tuple[Uplink, ...], settings: Settings) -> Routing:
    """All of our rules and routes for these links."""
    balance = settings.balance_table
    routes: list[Route] = []
    rules: list[Rule] = []
    nexthops: list[Nexthop] = []
    weights = scaled([uplink.link.weight for uplink in uplinks])
    ranking = sorted(range(len(uplinks)), key=lambda i: (-uplinks[i].link.weight, uplinks[i].link.table))
    ranks = {place: rank for rank, place in enumerate(ranking)}
    for place, (link, lease, ifindex, state, _, shared) in enumerate(uplinks):
        if state not in ROUTED:
            continue
        table, quad = link.table, lease.address
        host = f"{quad}/32"
        prefix = address.network(quad, lease.length)
        if lease.gateway == ON_DEVICE:
            nexthop = Nexthop("", ifindex, 1, False)
        else:
            nexthop = Nexthop(lease.gateway, ifindex, 1, address.network(lease.gateway, lease.length) != prefix)
        if lease.length < 32:
            routes.append(Route(table, prefix, 0, quad, SCOPE_LINK, (Nexthop("", ifindex, 1, False),), b""))
            if not shared:  # or a provider that hands out the LAN's own address would get the replies to the LAN
                rules.append(Rule(PREF_PREFIX, table, host, prefix, "", -1, b""))
        routes.append(Route(table, address.EVERYWHERE, 0, quad, SCOPE_UNIVERSE, (nexthop,), b""))
        rules.append(Rule(PREF_SOURCE, table, host, "", "", -1, b""))
        rules.append(Rule(PREF_DEVICE, table, "", "", link.interface, -1, b""))
        # The rank counts links that are out, too: a link that comes or goes must not change the others' routes.
        metric = METRIC_NET + ranks[place]
        routes.append(Route(balance, address.EVERYWHERE, metric, quad, SCOPE_UNIVERSE, (nexthop,), b""))
        # A unicast renewal has no source address to go by; balanced, it would leave by any link.
        if lease.server and address.network(lease.server, lease.length) != prefix:
            routes.append(Route(balance, f"{lease.server}/32", metric, quad, SCOPE_UNIVERSE, (nexthop,), b""))
        if state != DRAINING:
            nexthops.append(Nexthop(nexthop.gateway, ifindex, weights[place], nexthop.onlink))
    if rules:
        rules.append(Rule(PREF_MAIN, MAIN_TABLE, suppress_prefixlength=0))
        rules.append(Rule(PREF_BALANCE, balance))
    if nexthops:
        tables = {uplink.ifindex: uplink.link.table for uplink in uplinks}
        # In any other order the kernel would hash the flows that live behind masquerading onto other links.
        nexthops.sort(key=lambda nexthop: tables[nexthop.oif])
        if len(nexthops) == 1:
            nexthops = [nexthops[0]._replace(weight=1)]
        routes.append(Route(balance, address.EVERYWHERE, 0, "", SCOPE_UNIVERSE, tuple(nexthops)))
    return Routing(frozenset(routes), frozenset(rules))


def scaled(weights: list[int]) -> list[int]:
    """Weights as the kernel takes them, 1 to 256, with their ratios kept as near as they can be."""
    most = max(weights, default=1)
    if most <= MAX_WEIGHT:
        return weights
    return [max(1, (weight * MAX_WEIGHT + most // 2) // most) for weight in weights]


def recovered(routing: Routing, interfaces: dict[str, Interface], settings: Settings) -> dict[str, Lease]:
    """The leases that our own routes in the kernel come from, by interface, for a store that was lost. The tables are
    those that the links had then."""
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
