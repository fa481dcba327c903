"""Finds foreign rules and routes that count instead of ours: all of ours may be as it should be, and yet have no
effect. Pure, except for `found`, which reads the kernel for the other functions, and `speak`."""

from __future__ import annotations

from .. import sysctl
from ..address import EVERYWHERE, IPV4, link_local, network, within
from ..change import View, interface_names, judged
from ..commands import rule_text
from ..config import Config
from ..log import log
from ..model import LOOKUP, MAIN_TABLE, ON_DEVICE, Route, Rule
from ..netlink import U32, attributes
from ..routing import PREF_BALANCE, PREF_LAN, PREF_MAIN, SHORT, UP, is_default
from ..rtmessages import BODY, decode_rule
from ..rtnetlink import Rtnetlink
from ..sight import Sight
from ..store import Store

SHORTEST = 8  # no provider's network is larger than that of 10.0.0.0/8
MAX_METRIC = 0xffffffff
GOTO, NOP, FRA_GOTO = 2, 3, 4  # FR_ACT_*: uapi/linux/fib_rules.h
ERRORS = {6: "blackhole", 7: "unreachable", 8: "prohibit"}  # RTN_*: uapi/linux/rtnetlink.h


def found(kernel: Rtnetlink, sight: Sight, view: View) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two tuples of sentences: what stands in the way, and what is only worth knowing. Of each table that matters,
    only the defaults and the first of their pieces are read, which come first: there may be a million other routes.
    OSError if the kernel refuses."""
    config = sight.config
    if not view.have.rules:
        return (), ()
    others = [one for one in map(decode_rule, sight.others) if _fits_all(one)]
    tables: set[int] = set()
    if sight.family == IPV4.number:  # of IPv6 only rules and sysctls are looked at
        tables = {MAIN_TABLE, *_tables(config), *[one.table for one in others if one.action == LOOKUP]}
    defaults = [route for table in sorted(tables) for route in kernel.default_routes(table, longest=SHORT)]
    links = frozenset([one.ifindex for one in sight.interfaces.values()])
    names = interface_names(defaults)
    tunnels = frozenset([oif for oif in names if oif not in links and not _is_lan(kernel, oif)])
    idle = unused(view, defaults, links, names)
    return ((*in_the_way(config, view, others, defaults), *[words for words, oifs in idle if oifs & tunnels],
             *(sources(sight, view) if sight.family == IPV4.number else ()),
             *sysctl.unset(kernel, config, sight.interfaces, sight.family),
             *sysctl.warnings(config, sight.family)),
            # An unused last resort by a modem is fine, and so is one by a management LAN's router. One by a VPN is
            # not.
            tuple([words for words, oifs in idle if not oifs & tunnels]))


def speak(kernel: Rtnetlink, store: Store, sights: tuple[Sight, ...]) -> bool:
    """Logs each new sentence of `found` in each family, and each lease that is too wide. Whether our routing counts.
    OSError if the kernel refuses."""
    ways: list[str] = []
    notes: list[str] = []
    for sight in sights:
        view = judged(sight)
        of_family = found(kernel, sight, view)
        ways += of_family[0]
        notes += (*of_family[1], *short(view))
    try:
        for words in store.told((*ways, *notes)):
            log(words)
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: what stands in the way may be logged again")
    return not ways


def in_the_way(config: Config, view: View, others: list[Rule], defaults: list[Route]) -> tuple[str, ...]:
    """A sentence for each rule or route that counts instead of ours: rules without a condition among `others`, and
    foreign `defaults` or pieces of them."""
    tables = _tables(config)
    lead_all = {MAIN_TABLE, *[route.table for route in defaults]}
    words = [f"rule {rule_text(rule)} is somebody else's and has no condition: it takes connections before dhcp-lb's "
             "rules do: delete it, or give it a condition" for rule in others
             if 0 < rule.pref <= PREF_BALANCE and rule.action != NOP
             and (rule.action != LOOKUP or rule.table in lead_all)]
    for route in defaults:
        piece = "" if is_default(route) else route.destination  # longer than a default, so its metric is no matter
        if route.table in tables and (piece or route.metric <= _best(view, route.table)):
            words.append(f"table {tables[route.table]} has a {f'route to {piece}' if piece else 'default route'} that "
                         f"is somebody else's and comes first, with metric {route.metric}: delete it")
        if route.table == MAIN_TABLE and _is_error(route) and (piece or route.metric < _best(view, MAIN_TABLE)):
            best = _best(view, MAIN_TABLE)
            words.append(f"main has `{ERRORS[route.rest[1]]} {piece or 'default'} metric {route.metric}`: it ends "
                         "each connection to there that no earlier rule takes: delete it"
                         + ("" if piece or best > MAX_METRIC else f", or give it a metric above {best}"))
    return tuple(words)


def unused(view: View, defaults: list[Route], links: frozenset[int],
           names: dict[int, str]) -> tuple[tuple[str, frozenset[int]], ...]:
    """A sentence for each default in main that no connection takes, with the indexes of its devices that are not
    links. `links`: the indexes of the links' interfaces. `defaults` are in the order of their metrics. `names`: index
    → name."""
    main = [route for route in defaults if route.table == MAIN_TABLE and route.nexthops and is_default(route)]
    counts = any([rule.pref == PREF_MAIN for rule in view.have.rules])
    words = []
    for place, route in enumerate(main):
        others = [nexthop.oif for nexthop in route.nexthops if nexthop.oif not in links]
        by = " and ".join([names.get(oif, f"if{oif}") for oif in others])
        said = ""
        if others and (place or not counts or route.metric > _best(view, MAIN_TABLE)):
            said = (f"main's default by {by} with metric {route.metric} is not used: have whoever sets it leave it "
                    "out, or give it a lower metric if it is a VPN's")
        elif others and len(others) < len(route.nexthops):  # suppress_ifgroup: net/ipv4/fib_rules.c
            said = (f"main's default with metric {route.metric} leads by links and by {by}, and the kernel goes by "
                    "the first of them: have whoever sets it use one device")
        words += [(said, frozenset(others))] if said else []
    return tuple(words)


def _is_lan(kernel: Rtnetlink, oif: int) -> bool:
    try:
        return kernel.has_neighbours(oif)
    except OSError:  # the device has gone in the meantime
        return True


def sources(sight: Sight, view: View) -> tuple[str, ...]:
    """A sentence for each link by which the kernel would send, or translate, with another address than the lease's. A
    multipath names no source. So the kernel takes the first address whose network contains the gateway, or else the
    first one of the interface (net/ipv4/devinet.c, inet_select_addr)."""
    words = []
    for uplink in view.uplinks:
        lease, interface = uplink.lease, sight.interfaces.get(uplink.link.interface)
        if uplink.state != UP or not interface:
            continue
        own = [(quad, length) for quad, length in zip(interface.addresses, interface.lengths) if not link_local(quad)]
        near = [quad for quad, length in own
                if lease.gateway != ON_DEVICE and within(lease.gateway, network(quad, length))]
        first = [*near, *[quad for quad, _ in own], lease.address][0]
        if first != lease.address:
            words.append(f"{uplink.link.interface} sends from {first}, and not from {lease.address} of its lease, "
                         f"because that is the interface's first address: put {first} behind it, or on another "
                         "interface")
    return tuple(words)


def short(view: View) -> tuple[str, ...]:
    """A sentence for each lease whose net mask puts much of the Internet on its link. The client has put that network
    into main."""
    return tuple([f"{uplink.link.interface} has a lease with a prefix of /{uplink.lease.length}: all of "
                  f"{network(uplink.lease.address, uplink.lease.length)} goes by that link"
                  for uplink in view.uplinks if uplink.lease.address and uplink.lease.length < SHORTEST])


def _best(view: View, table: int) -> int:
    """The metric of our best default in a table; a number above every metric if there is none."""
    return min([route.metric for route in view.have.routes
                if route.table == table and route.destination == EVERYWHERE], default=MAX_METRIC + 1)


def _tables(config: Config) -> dict[int, str]:
    """Id → name, of the tables into which nobody else should put a default."""
    settings = config.settings
    return {**{link.table: link.table_name for link in config.links},
            settings.balance_table: settings.balance_name, settings.server_table: settings.server_name}


def _is_error(route: Route) -> bool:
    return bool(route.rest) and route.rest[1] in ERRORS


def _fits_all(rule: Rule) -> bool:
    """Whether a rule of either family has no condition, and is not a jump to a place before our rules."""
    rest = rule.rest
    if rule.action == GOTO and rest[:BODY.size] == bytes(BODY.size):  # otherwise the jump's target does not exist
        found = attributes(rest, BODY.size)
        rest = b"" if found.keys() == {FRA_GOTO} and U32.unpack(found[FRA_GOTO])[0] > PREF_LAN else rest
    return rule._replace(pref=0, table=0, action=LOOKUP, rest=rest, family=Rule(0, 0).family) == Rule(0, 0)
