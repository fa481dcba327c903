"""Pure: the kernel's answer to a lookup, and its rules → why a connection takes its link."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH, EXDEV
from typing import NamedTuple

from .. import address
from ..commands import PROTOCOLS, rule_text
from ..config import PATH
from ..model import BLACKHOLE, LOOKUP, MAIN_TABLE, UNREACHABLE, Route, Routing, Rule
from ..policy import OWN
from ..routing import (PREF_ASK, PREF_BALANCE, PREF_BY_LINK, PREF_DEVICE, PREF_DHCP, PREF_DNS, PREF_GUARD, PREF_LAN,
                       PREF_MAIN, PREF_NEAR, PREF_PAUSE, PREF_PIN, PREF_SOURCE, is_default)

RTN_LOCAL, RTN_BROADCAST = b"\2", b"\3"  # the second byte of a route's `rest`: linux/rtnetlink.h
PROHIBIT = 8  # FR_ACT_PROHIBIT: uapi/linux/fib_rules.h
ENDS = {ENETUNREACH: UNREACHABLE, EINVAL: BLACKHOLE, EACCES: PROHIBIT}  # net/ipv4/fib_rules.c, fib4_rule_action
ERRORS = {EINVAL: "blackhole", EHOSTUNREACH: "unreachable", EACCES: "prohibit"}  # net/ipv4/fib_semantics.c, fib_props
ANY = 1  # IPPROTO_ICMP, if no protocol was named: then policy lines for TCP or UDP do not fit

REASONS = {
    PREF_LAN: "table main has a route for it that does not lead by a link: the LAN, a VPN or a static route",
    PREF_PIN: "its connection has been on this link before",
    PREF_PAUSE: "its connection has been on a link whose cable is out, and waits for a moment",
    PREF_SOURCE: "it comes from a link's address, like the replies to connections that came in by that link",
    PREF_ASK: "its socket is bound to a dead link's interface and has an address of that link: the monitor asks so",
    PREF_NEAR: "it comes from a dead link's address and goes to a neighbour there",
    PREF_GUARD: "it comes from a link's address, which no other provider takes, and the link cannot be used",
    PREF_DEVICE: "its socket is bound to a link's interface",
    PREF_DHCP: "a lease is renewed by its own link",
    PREF_MAIN: "table main has a default route that does not lead by a link: a VPN that takes all",
    PREF_BY_LINK: "table main has a route for it by a link: the link's own network or a static route",
    PREF_DNS: "the name servers of a link are reached by that link",
    PREF_DNS + 1: "the name servers of a link are reached by that link",
    PREF_BALANCE: "no rule before it has a route for it, so it is balanced",
}
KERNEL_RULES = (Rule(32766, MAIN_TABLE), Rule(32767, 253))  # net/ipv4/fib_rules.c, fib_default_rules_init
KERNELS = "no rule before it has a route for it; this one is the kernel's own"


class Packet(NamedTuple):
    """The packet that a lookup is for: the first one of a connection of this machine, or, with `iif`, of another
    machine."""

    destination: str
    source: str = ""  # "" = the kernel chooses an address of this machine
    oif: str = ""  # the interface that the socket is bound to
    iif: str = ""  # the interface by which the packet comes in
    protocol: int = ANY  # IPPROTO_*
    port: int = 0  # of the destination
    mark: int = 0
    uid: int = 0  # the socket's owner; to the kernel, forwarded packets are root's: net/ipv4/route.c


def chosen(rules: list[Rule], route: Route, packet: Packet, group: int = 0) -> Rule | None:
    """The first rule, in the kernel's order, that can have led a lookup to `route`; None if there is none. The kernel
    names the route, but not the rule. `group`: the group of the route's first interface."""
    length = int(route.destination.partition("/")[2])
    fitting = [rule for rule in _fitting(rules, packet)
               if rule.action == LOOKUP and rule.table == route.table
               and length > rule.suppress_prefixlength and group != rule.suppress_group]
    # It is not known whether the further conditions of a rule hold, so a rule without any comes first.
    return next((rule for rule in fitting if not rule.rest), next(iter(fitting), None))


def ended(rules: list[Rule], errno: int, packet: Packet) -> Rule | None:
    """The first rule, in the kernel's order, that can have ended a lookup with this errno; None if there is none."""
    return next((rule for rule in _fitting(rules, packet)
                 if rule.action == ENDS.get(errno) and not rule.rest), None)


def _fitting(rules: list[Rule], packet: Packet) -> Iterator[Rule]:
    """The rules whose conditions hold, as far as the conditions are known."""
    for rule in sorted(rules, key=lambda rule: rule.pref):
        if ((not rule.source or bool(packet.source) and address.within(packet.source, rule.source))
                and (not rule.destination or address.within(packet.destination, rule.destination))
                and rule.oif in ("", packet.oif) and rule.iif in ("", packet.iif or OWN)
                and rule.protocol in (0, packet.protocol) and packet.mark & rule.mask == rule.mark
                and not rule.sports  # the lookup has no source port
                and all(low <= packet.port <= high for low, high in rule.ports)
                and all(low <= packet.uid <= high for low, high in rule.users)):
            yield rule


def named(packet: Packet) -> str:
    """The connection in words."""
    words = f"to {packet.destination}"
    if packet.port:
        words = f"by {PROTOCOLS[packet.protocol].upper()} to port {packet.port} of {packet.destination}"
    if packet.source:
        words += f" from {packet.source}"
    if packet.iif:
        words += f" that comes in by {packet.iif}"
    if packet.oif:
        words += f" of a socket bound to {packet.oif}"
    if packet.mark:
        words += f" with mark {packet.mark:#x}"
    return words


def explanation(packet: Packet, route: Route, rule: Rule | None, tables: dict[int, str], interfaces: dict[int, str],
                parts: dict[int, float], line: int = 0, ours: Routing = Routing(), sources: dict[int, str] = {}
                ) -> list[str]:
    """The lines of `explain`. `tables` and `interfaces`: number → name. `parts`: interface index → share of the new
    connections, 0 to 1. `line`: the number of the policy line that has the rule; 0 = none. `ours`: our routing in the
    kernel. `sources`: interface index → what the packet's source becomes by that interface."""
    connection = f"A connection {named(packet)}"
    name = tables.get(route.table, str(route.table)) if route.table else "local"
    if route.rest[1:2] == RTN_BROADCAST:
        return [f"{connection} is not possible: that is the broadcast address of a network of this machine."]
    if route.rest[1:2] == RTN_LOCAL:  # its table may be main, if there is no rule yet
        return [f"{connection} stays on this machine: it is one of its own addresses (table {name})."]
    lines = [f"{connection}:"]
    if not route.table:
        return [*lines, f"  link   {interfaces.get(route.nexthops[0].oif, packet.oif)}",
                f"         It goes by no route of a table: the kernel takes {packet.destination} for a neighbour "
                "there."]
    if rule:
        lines.append(f"  rule   {rule_text(rule)}{' and more conditions' if rule.rest else ''}")
        lines.append(f"         because {reason(rule, line, ours)}")
    where = "default" if is_default(route) or route.only_from else route.destination
    if route.only_from:
        where += f" from {route.only_from}"
    lines.append(f"  table  {name} ({route.table}), route {where}")
    for nexthop in route.nexthops:
        way = interfaces.get(nexthop.oif, f"if{nexthop.oif}") + (f" via {nexthop.gateway}" if nexthop.gateway else "")
        if len(route.nexthops) > 1:
            way += f", {parts.get(nexthop.oif, 0.0):.0%} of the connections"
        lines.append(f"  link   {way}")
        if source := sources.get(nexthop.oif):
            lines.append(f"         Its source becomes {source} there (translate6).")
    if len(route.nexthops) > 1:
        lines.append("         A hash of its addresses and ports chooses one of them for each connection.")
    if route.table == MAIN_TABLE and where == "default" and route not in ours.routes:
        lines.append("         This default route is not dhcp-lb's.")
    return lines


def reason(rule: Rule, line: int, ours: Routing) -> str:
    """Why this rule takes the packet, or whose rule it is. The other arguments are those of `explanation`."""
    if rule in KERNEL_RULES:
        return KERNELS
    if rule not in ours.rules:
        return "a rule of another program's says so"
    if line:
        return (f"line {line} of {PATH} says so"
                + (", and none of its links takes new connections" if rule.action == UNREACHABLE else ""))
    return REASONS.get(rule.pref, "a rule of dhcp-lb says so")


def no_way(packet: Packet, errno: int, words: str, rule: Rule | None, line: int = 0,
           ours: Routing = Routing(), forwards: bool = True, refused: bool = False) -> str:
    """Why the kernel has no route for a packet. `words` are the kernel's, `rule` has ended the lookup. `forwards`:
    whether this machine forwards packets that come in by the packet's interface. `refused`: whether it may drop
    packets with that source there; newer kernels then give the errno of a blackhole. The other arguments are those of
    `explanation`."""
    if rule:
        return f"there is no way {named(packet)}: {reason(rule, line, ours)} (rule {rule_text(rule)})"
    if errno == EHOSTUNREACH and not forwards:  # net/ipv4/route.c, ip_route_input_slow
        return (f"this machine does not forward a connection {named(packet)}: net.ipv4.ip_forward must be 1, and "
                f"net.ipv4.conf.{packet.iif}.forwarding, too")
    if packet.iif and (errno == EXDEV or errno == EINVAL and refused):  # net/ipv4/fib_frontend.c, fib_validate_source
        return (f"the kernel drops a connection {named(packet)}: {packet.source} must not be an address of this "
                f"machine, and where rp_filter is 1, a route to it must lead by {packet.iif}")
    if kind := ERRORS.get(errno):
        return (f"there is no way {named(packet)}: a route of type {kind} says so, which "
                f"`ip route show table all type {kind}` names")
    return f"the kernel has no route to {packet.destination}: {words}"
