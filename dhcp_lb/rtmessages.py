"""Pure: routes and rules ↔ the bodies of rtnetlink messages (rtnetlink(7)), of both families.

Numbers are from uapi/linux: rtnetlink.h (RTM_*, RTA_*, RTN_*, RTNH_F_*), fib_rules.h (FRA_*, FR_ACT_*)."""

from .address import FAMILIES, IPV4, IPV6
from .model import PROTOCOL, Change, Nexthop, Range, Route, Routing, Rule
from .netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE, S32, U32, attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from struct import Struct
    from typing import Any, TypeVar

    Decoded = TypeVar("Decoded")
else:
    from _struct import Struct

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWRULE, RTM_DELRULE = 32, 33

RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = 1, 2, 4, 5, 6, 7, 9, 15
RTA_CACHEINFO, RTA_VIA, RTA_PREF, RTA_NH_ID = 12, 18, 20, 30
RTN_UNICAST = 1
RTNH_F_ONLINK = 4

FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 6, 10
FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN = 13, 14
FRA_TABLE, FRA_FWMASK, FRA_OIFNAME, FRA_UID_RANGE, FRA_PROTOCOL = 15, 16, 17, 20, 21
FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_SPORT_MASK, FRA_DPORT_MASK = 22, 23, 24, 28, 29
FIB_RULE_DETACHED = 0x8 | 0x10  # the rule's interface does not exist at the moment

# struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags. struct
# fib_rule_hdr has the action in the place of the type, and nothing in the places of protocol and scope.
BODY = Struct("=8BL")
NEXTHOP = Struct("=HBBl")  # struct rtnexthop: length, flags, hops, interface
PORTS, USERS = Struct("=HH"), Struct("=LL")  # struct fib_rule_port_range, struct fib_rule_uid_range: from, to

OURS = bytes([PROTOCOL])
ALL_OF_A_PORT = b"\xff\xff"
MEDIUM = b"\0"  # the preference of a router that names none (uapi/linux/icmpv6.h, ICMPV6_ROUTER_PREF_MEDIUM)


def routing(rules: list[bytes], routes: list[bytes]) -> Routing:
    """The rules and routes in the messages of a dump."""
    return Routing(frozenset(decoded(decode_route, routes)), frozenset(decoded(decode_rule, rules)))


_before: "dict[tuple[object, int], dict[bytes, Any]]" = {}  # decoder and family → message → the decoded object


def decoded(decode: "Callable[[bytes], Decoded]", messages: list[bytes]) -> "Iterable[Decoded]":
    """These messages of one family, decoded. A message that was in the last dump, too, is not decoded again. So the
    monitor, which looks again and again, decodes only what has changed."""
    if not messages:
        return []
    of = decode, messages[0][0]
    before = _before.get(of, {})
    found = {message: before.get(message) or decode(message) for message in messages}
    _before[of] = found
    return found.values()


def decode_route(message: bytes) -> Route:
    """The route in a message from the kernel, without its header."""
    family, length, source_length, tos, table, _protocol, scope, kind, flags = BODY.unpack_from(message)
    found = attributes(message, BODY.size)
    _, everywhere, _, _, text = FAMILIES[family]
    destination = found.pop(RTA_DST, b"")
    metric = found.pop(RTA_PRIORITY, b"")
    source, only_from = found.pop(RTA_PREFSRC, b""), found.pop(RTA_SRC, b"")
    nexthops: tuple[Nexthop, ...] = ()
    if RTA_NH_ID in found:  # the kernel shows the nexthops of a nexthop object, but refuses a message with both
        for shown in RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH:
            found.pop(shown, None)
    elif RTA_OIF in found:
        gateway = found.pop(RTA_GATEWAY, b"")
        nexthops = (Nexthop(text(gateway) if gateway else "", U32.unpack(found.pop(RTA_OIF))[0], 1,
                            flags & RTNH_F_ONLINK != 0),)
    elif RTA_MULTIPATH in found:
        nexthops = tuple(_nexthops(found[RTA_MULTIPATH], text))
        if nexthops:
            del found[RTA_MULTIPATH]
    if RTA_TABLE in found:
        table = U32.unpack(found.pop(RTA_TABLE))[0]
    if family == IPV6.number:  # each message has these two, although nobody set them: net/ipv6/route.c, rt6_fill_node
        found.pop(RTA_CACHEINFO, None)
        if found.get(RTA_PREF) == MEDIUM:
            del found[RTA_PREF]
    rest = b""
    if found or tos or kind != RTN_UNICAST:
        rest = bytes([tos, kind]) + b"".join([attribute(number, found[number]) for number in sorted(found)])
    return Route(table, f"{text(destination)}/{length}" if destination else everywhere,
                 U32.unpack(metric)[0] if metric else 0, text(source) if source else "", scope, nexthops, rest,
                 f"{text(only_from)}/{source_length}" if only_from else "")


def by_ipv6(route: Route) -> bool:
    """Whether the gateway of an IPv4 route has an IPv6 address."""
    return RTA_VIA in attributes(route.rest, 2)


def _nexthops(data: bytes, text: "Callable[[bytes], str]") -> list[Nexthop]:
    """The nexthops of a multipath; [] if one of them has an attribute that this program never writes."""
    nexthops = []
    for flags, hops, oif, found in multipath(data):
        gateway = found.pop(RTA_GATEWAY, b"")
        if found:
            return []
        nexthops.append(Nexthop(text(gateway) if gateway else "", oif, hops + 1, bool(flags & RTNH_F_ONLINK)))
    return nexthops


def multipath(data: bytes) -> list[tuple[int, int, int, dict[int, bytes]]]:
    """The nexthops in RTA_MULTIPATH, struct rtnexthop: flags, hops (the weight less one), interface index,
    attributes."""
    found = []
    start = 0
    while start < len(data):
        length, flags, hops, oif = NEXTHOP.unpack_from(data, start)
        found.append((flags, hops, oif, attributes(data[start:start + length], NEXTHOP.size)))
        start += length
    return found


def decode_rule(message: bytes) -> Rule:
    """The rule in a message from the kernel, without its header. The result does not say whose rule it is."""
    family, destination_length, source_length, tos, table, _, _, action, flags = BODY.unpack_from(message)
    found = attributes(message, BODY.size)
    text = FAMILIES[family].text
    found.pop(FRA_PROTOCOL, b"")
    source, destination = found.pop(FRA_SRC, b""), found.pop(FRA_DST, b"")
    pref, suppress = found.pop(FRA_PRIORITY, b""), found.pop(FRA_SUPPRESS_PREFIXLEN, b"")
    if FRA_TABLE in found:
        table = U32.unpack(found.pop(FRA_TABLE))[0]
    rule = Rule(U32.unpack(pref)[0] if pref else 0, table, f"{text(source)}/{source_length}" if source else "",
                f"{text(destination)}/{destination_length}" if destination else "", _name(found.pop(FRA_OIFNAME, b"")),
                S32.unpack(suppress)[0] if suppress else -1, b"", family, action)
    flags &= ~FIB_RULE_DETACHED
    if not (found or tos or flags):  # most of hundreds
        return rule
    mark, mask = found.pop(FRA_FWMARK, b""), found.pop(FRA_FWMASK, b"")
    protocol, users = found.pop(FRA_IP_PROTO, b"\0"), found.pop(FRA_UID_RANGE, b"")
    sports, ports = found.pop(FRA_SPORT_RANGE, b""), found.pop(FRA_DPORT_RANGE, b"")
    iif, group = _name(found.pop(FRA_IIFNAME, b"")), found.pop(FRA_SUPPRESS_IFGROUP, b"")
    for added in FRA_SPORT_MASK, FRA_DPORT_MASK:  # Linux 6.15 and later add these to a range of one port
        if found.get(added) == ALL_OF_A_PORT:
            del found[added]
    rest = b""
    if found or tos or flags:
        rest = BODY.pack(0, 0, 0, tos, 0, 0, 0, 0, flags)
        rest += b"".join([attribute(number, found[number]) for number in sorted(found)])
    return Rule(*rule[:6], rest, family, action, U32.unpack(mark)[0] if mark else 0,
                U32.unpack(mask)[0] if mask else 0, iif, protocol[0], _range(PORTS, sports), _range(PORTS, ports),
                _range(USERS, users), S32.unpack(group)[0] if group else -1)


def _name(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _range(form: Struct, value: bytes) -> tuple[Range, ...]:
    if not value:
        return ()
    low, high = form.unpack(value)
    return ((low, high),)


def encode(change: Change) -> tuple[int, int, bytes]:
    """The message that makes a change: its type, flags, and body.

    A route is deleted by all of its attributes, its protocol included. An IPv4 route is appended, not replaced, so a
    foreign route stays. An appended IPv6 route would join the other ones to a multipath (net/ipv6/ip6_fib.c,
    fib6_add_rt2node), so an IPv6 route replaces. Rules have no NLM_F_EXCL: a foreign rule that is the same must not
    stop ours, because its owner may delete it at any time."""
    add, what = change
    if isinstance(what, Rule):
        return (RTM_NEWRULE, NLM_F_CREATE, _rule_body(what)) if add else (RTM_DELRULE, 0, _rule_body(what))
    if not add:
        return RTM_DELROUTE, 0, _route_body(what)
    how = NLM_F_APPEND if what.family == IPV4.number else NLM_F_REPLACE
    return RTM_NEWROUTE, NLM_F_CREATE | how, _route_body(what)


def _route_body(route: Route) -> bytes:
    table, destination, metric, source, scope, nexthops, rest, only_from = route
    network, _, length = destination.partition("/")
    from_network, _, from_length = only_from.partition("/")
    tos, kind = rest[:2] or (0, RTN_UNICAST)
    family = route.family
    packed = FAMILIES[family].packed
    flags = RTNH_F_ONLINK if len(nexthops) == 1 and nexthops[0].onlink else 0
    parts = [BODY.pack(family, int(length), int(from_length or 0), tos, 0, PROTOCOL, scope, kind, flags),
             attribute(RTA_TABLE, U32.pack(table))]
    if length != "0":
        parts.append(attribute(RTA_DST, packed(network)))
    if only_from:
        parts.append(attribute(RTA_SRC, packed(from_network)))
    if metric:
        parts.append(attribute(RTA_PRIORITY, U32.pack(metric)))
    if source:
        parts.append(attribute(RTA_PREFSRC, packed(source)))
    if len(nexthops) == 1:
        gateway, oif, _, _ = nexthops[0]
        if gateway:
            parts.append(attribute(RTA_GATEWAY, packed(gateway)))
        parts.append(attribute(RTA_OIF, U32.pack(oif)))
    elif nexthops:
        parts.append(attribute(RTA_MULTIPATH, b"".join([_nexthop(nexthop, packed) for nexthop in nexthops])))
    parts.append(rest[2:])
    return b"".join(parts)


def _nexthop(nexthop: Nexthop, packed: "Callable[[str], bytes]") -> bytes:
    gateway, oif, weight, onlink = nexthop
    via = attribute(RTA_GATEWAY, packed(gateway)) if gateway else b""
    return NEXTHOP.pack(NEXTHOP.size + len(via), RTNH_F_ONLINK if onlink else 0, weight - 1, oif) + via


def _rule_body(rule: Rule) -> bytes:
    pref, table, source, destination, oif, suppress, rest, family, action = rule[:9]
    _, _, _, tos, _, _, _, _, flags = BODY.unpack_from(rest) if rest else (0,) * 9
    packed = FAMILIES[family].packed
    source_network, _, source_length = source.partition("/")
    destination_network, _, destination_length = destination.partition("/")
    parts = [BODY.pack(family, int(destination_length or 0), int(source_length or 0), tos, 0, 0, 0, action, flags),
             attribute(FRA_PROTOCOL, OURS), attribute(FRA_PRIORITY, U32.pack(pref))]
    if table:
        parts.append(attribute(FRA_TABLE, U32.pack(table)))
    if destination:
        parts.append(attribute(FRA_DST, packed(destination_network)))
    if source:
        parts.append(attribute(FRA_SRC, packed(source_network)))
    if oif:
        parts.append(attribute(FRA_OIFNAME, oif.encode("utf-8", "surrogateescape") + b"\0"))
    if suppress >= 0:
        parts.append(attribute(FRA_SUPPRESS_PREFIXLEN, U32.pack(suppress)))
    if rule.suppress_group >= 0:
        parts.append(attribute(FRA_SUPPRESS_IFGROUP, U32.pack(rule.suppress_group)))
    if rule.mark:
        parts.append(attribute(FRA_FWMARK, U32.pack(rule.mark)))
    if rule.mask:
        parts.append(attribute(FRA_FWMASK, U32.pack(rule.mask)))
    if rule.iif:
        parts.append(attribute(FRA_IIFNAME, rule.iif.encode("utf-8", "surrogateescape") + b"\0"))
    if rule.protocol:
        parts.append(attribute(FRA_IP_PROTO, bytes([rule.protocol])))
    parts += [attribute(FRA_SPORT_RANGE, PORTS.pack(*ports)) for ports in rule.sports]
    parts += [attribute(FRA_DPORT_RANGE, PORTS.pack(*ports)) for ports in rule.ports]
    parts += [attribute(FRA_UID_RANGE, USERS.pack(*users)) for users in rule.users]
    parts.append(rest[BODY.size:])
    return b"".join(parts)
