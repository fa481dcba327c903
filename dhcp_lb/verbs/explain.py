"""Pure: the kernel's answer to a lookup, and its rules → why a connection takes its link."""

from __future__ import annotations

from .. import address
from ..commands import rule_text
from ..config import PATH
from ..model import LOOKUP, MAIN_TABLE, Route, Rule
from ..policy import OWN
from ..routing import (PREF_BALANCE, PREF_BY_LINK, PREF_DEVICE, PREF_DHCP, PREF_DNS, PREF_LAN, PREF_MAIN, PREF_PIN,
                       PREF_SOURCE)

RTN_LOCAL, RTN_BROADCAST = b"\2", b"\3"  # the second byte of a route's `rest`: linux/rtnetlink.h
PREF_KERNEL = 32766  # main, if nobody has moved it: net/ipv4/fib_rules.c

REASONS = {
    PREF_LAN: "table main has a route for it that does not lead by a link: the LAN, a VPN or a static route",
    PREF_PIN: "its connection has been on this link before",
    PREF_SOURCE: "it comes from a link's address, like the replies to connections that came in by that link",
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


def chosen(rules: list[Rule], route: Route, destination: str, source: str, oif: str,
           uid: int = 0, group: int = 0) -> Rule | None:
    """The first rule, in the kernel's order, that can have led a lookup to `route`. The kernel names the route, but
    not the rule. `uid`: who looks up; `group`: that of the route's first interface."""
    length = int(route.destination.partition("/")[2])
    fitting = [rule for rule in sorted(rules, key=lambda rule: rule.pref)
               if rule.action == LOOKUP and rule.table == route.table
               and (not rule.source or bool(source) and address.within(source, rule.source))
               and (not rule.destination or address.within(destination, rule.destination))
               and rule.oif in ("", oif)
               and length > rule.suppress_prefixlength and group != rule.suppress_group
               and rule.iif in ("", OWN)
               and all(low <= uid <= high for low, high in rule.users)
               and not (rule.mark or rule.protocol or rule.sports or rule.ports)]  # the lookup has none of these
    # It is not known whether a rule's further conditions hold.
    return next((rule for rule in fitting if not rule.rest), next(iter(fitting), None))


def printable(line: str) -> str:
    """The line with its control characters escaped: others choose the names of their interfaces, and a terminal obeys
    an ESC."""
    codes = [(char, ord(char) - 0xdc00 if "\udc80" <= char <= "\udcff" else ord(char)) for char in line]
    return "".join([char if 32 <= code < 127 or code >= 160 else f"\\x{code:02x}" for char, code in codes])


def explanation(destination: str, source: str, oif: str, route: Route, rule: Rule | None,
                tables: dict[int, str], interfaces: dict[int, str], parts: dict[int, float],
                line: int = 0, ours: frozenset[Rule] = frozenset()) -> list[str]:
    """The lines of `explain`. `tables` and `interfaces` map numbers to names, `parts` an interface's index to its
    share of the new connections. `line`: the number of the policy line that the rule is of; 0 = of none. `ours`: the
    rules that are dhcp-lb's."""
    connection = f"A connection to {destination}"
    if source:
        connection += f" from {source}"
    if oif:
        connection += f" of a socket bound to {oif}"
    name = tables.get(route.table, str(route.table))
    if route.rest[1:2] == RTN_BROADCAST:
        return [f"{connection} is not possible: that is the broadcast address of a network of this machine."]
    if route.rest[1:2] == RTN_LOCAL:  # its table may be main, if there is no rule yet
        return [f"{connection} stays on this machine: it is one of its own addresses (table {name})."]
    lines = [f"{connection}:"]
    if rule:
        lines.append(f"  rule   {rule_text(rule)}{' and more conditions' if rule.rest else ''}")
        reason = KERNELS if rule in KERNEL_RULES else "a rule of somebody else's says so"
        if rule in ours:
            reason = f"line {line} of {PATH} says so" if line else REASONS.get(rule.pref, "a rule of dhcp-lb says so")
        lines.append(f"         because {reason}")
    where = "default" if route.destination == address.EVERYWHERE else route.destination
    lines.append(f"  table  {name} ({route.table}), route {where}")
    for nexthop in route.nexthops:
        way = interfaces.get(nexthop.oif, f"if{nexthop.oif}") + (f" via {nexthop.gateway}" if nexthop.gateway else "")
        if len(route.nexthops) > 1:
            way += f", {parts.get(nexthop.oif, 0.0):.0%} of the connections"
        lines.append(f"  link   {way}")
    if len(route.nexthops) > 1:
        lines.append("         A hash of its addresses and ports chooses one of them for each connection.")
    if route.table == MAIN_TABLE and where == "default":
        lines.append("         This default route is not dhcp-lb's.")
    return lines
