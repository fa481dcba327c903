"""Pure: a change as the ip(8) command that does the same."""

from .address import FAMILIES, IPV4, IPV6
from .model import BLACKHOLE, LOOKUP, PROTOCOL, UNREACHABLE, Change, Nexthop, Range, Route, Rule

SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}  # rtnetlink.h, RT_SCOPE_*
ACTIONS = {BLACKHOLE: "blackhole", UNREACHABLE: "unreachable", 8: "prohibit", 2: "goto", 3: "nop"}  # FR_ACT_*
PROTOCOLS = {6: "tcp", 17: "udp"}
KINDS = {1: "", 2: "local ", 6: "blackhole ", 7: "unreachable ", 8: "prohibit ", 9: "throw "}  # RTN_*
_ADDS = {IPV4.number: "append", IPV6.number: "replace"}  # for the reason see rtmessages.encode
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def command(change: Change, interfaces: dict[int, str]) -> str:
    """The change as an ip(8) command that can be pasted into a shell. `interfaces`: index → name."""
    add, what = change
    if isinstance(what, Rule):
        return f"ip {_family(what)} rule {'add' if add else 'del'} {rule_text(what)} protocol {PROTOCOL}"
    return f"ip {_family(what)} route {_ADDS[what.family] if add else 'del'} {_route(what, interfaces)}"


def _family(what: Route | Rule) -> str:
    return FAMILIES[what.family].option


def rule_text(rule: Rule) -> str:
    """A rule in the words of ip(8)."""
    words = [f"pref {rule.pref} from {rule.source or 'all'}"]
    if rule.destination:
        words.append(f"to {rule.destination}")
    if rule.mask:
        words.append(f"fwmark {rule.mark:#x}/{rule.mask:#x}")
    if rule.iif:
        words.append(f"iif {quoted(rule.iif)}")
    if rule.oif:
        words.append(f"oif {quoted(rule.oif)}")
    words += [f"uidrange {low}-{high}" for low, high in rule.users]
    if rule.protocol:
        words.append(f"ipproto {PROTOCOLS.get(rule.protocol, rule.protocol)}")
    words += [f"sport {_span(ports)}" for ports in rule.sports]
    words += [f"dport {_span(ports)}" for ports in rule.ports]
    words.append(f"lookup {rule.table}" if rule.action == LOOKUP else ACTIONS.get(rule.action, f"type {rule.action}"))
    if rule.suppress_prefixlength >= 0:
        words.append(f"suppress_prefixlength {rule.suppress_prefixlength}")
    if rule.suppress_group >= 0:
        words.append(f"suppress_ifgroup {rule.suppress_group}")
    return " ".join(words)


def _span(ports: Range) -> str:
    low, high = ports
    return f"{low}-{high}" if low < high else f"{low}"


def _route(route: Route, interfaces: dict[int, str]) -> str:
    tos, kind = route.rest[:2] or (0, 1)
    words = [KINDS.get(kind, f"type {kind} ")
             + ("default" if route.destination == FAMILIES[route.family].everywhere else route.destination)]
    if route.only_from:
        words.append(f"from {route.only_from}")
    if len(route.nexthops) == 1:
        words.append(_nexthop(route.nexthops[0], interfaces))
    words.append(f"table {route.table} proto {PROTOCOL}")
    if route.scope:
        words.append(f"scope {SCOPES.get(route.scope, str(route.scope))}")
    if tos:
        words.append(f"tos {tos}")
    if route.source:
        words.append(f"src {route.source}")
    if route.metric:
        words.append(f"metric {route.metric}")
    if len(route.nexthops) > 1:
        words += [f"nexthop {_nexthop(nexthop, interfaces, weight=True)}" for nexthop in route.nexthops]
    return " ".join(words)


def _nexthop(nexthop: Nexthop, interfaces: dict[int, str], weight: bool = False) -> str:
    # If iproute2 does not find the name of an interface, it calls it `if7`, too.
    words = [f"via {nexthop.gateway}"] if nexthop.gateway else []
    words.append(f"dev {quoted(interfaces.get(nexthop.oif, f'if{nexthop.oif}'))}")
    if weight:
        words.append(f"weight {nexthop.weight}")
    if nexthop.onlink:
        words.append("onlink")
    return " ".join(words)


def quoted(word: str) -> str:
    """A word, quoted so that a POSIX shell reads the same word."""
    if word and PLAIN.issuperset(word.encode("utf-8", "surrogateescape")):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
