"""A kernel for tests. It keeps routes and rules as net/ipv4/fib_trie.c, fib_semantics.c and net/core/fib_rules.c do,
and refuses everything that it does not know."""

from __future__ import annotations

from errno import EINVAL, ENETUNREACH, ENODEV, ENOENT, ESRCH

from dhcp_lb.address import network, within
from dhcp_lb.model import Change, Interface, Refusal, Route, Routing, Rule

PROTO_BOOT = 3


class ModelKernel:
    """Routes and rules in the kernel's order, each with the protocol number of its owner."""

    def __init__(self, interfaces: dict[str, Interface], length: int = 24) -> None:
        self.interfaces = interfaces
        self.length = length  # of the prefixes of all addresses
        self.routes: list[tuple[Route, int]] = []
        self.rules: list[tuple[Rule, int]] = []
        self.writes = 0

    def routing(self, protocol: int = 109) -> Routing:
        """The routes and rules with this protocol number."""
        return Routing(frozenset(route for route, owner in self.routes if owner == protocol),
                       frozenset(rule for rule, owner in self.rules if owner == protocol))

    def write(self, changes: tuple[Change, ...], protocol: int = 109) -> tuple[Refusal, ...]:
        """As Rtnetlink.write."""
        assert changes, "an empty write would wait for an acknowledgement for ever"
        refusals = []
        for change in changes:
            errno = self.make(change, protocol)
            if errno and not (not change.add and errno in (ENOENT, ESRCH)):
                refusals.append(Refusal(change, errno, "model"))
            self.writes += 1
        return tuple(refusals)

    def make(self, change: Change, protocol: int) -> int:
        """Makes one change, and returns the errno."""
        add, what = change
        if isinstance(what, Route):
            return self.append(what, protocol) if add else self.delete(what, protocol)
        if add:
            self.rules.append((what, protocol))
            self.rules.sort(key=lambda there: there[0].pref)  # stable: the newest of a pref is the last
            return 0
        for there in self.rules:
            if there[1] == protocol and _rule_fits(what, there[0]):
                self.rules.remove(there)
                return 0
        return ENOENT

    def append(self, route: Route, protocol: int) -> int:
        """NLM_F_CREATE | NLM_F_APPEND"""
        own = {quad: interface for interface in self.interfaces.values() for quad in interface.addresses}
        if route.source and route.source not in own:
            return EINVAL
        for nexthop in route.nexthops:
            interface = next((one for one in self.interfaces.values() if one.ifindex == nexthop.oif), None)
            if not interface:
                return ENODEV
            if not interface.up or not interface.addresses:
                return ENETUNREACH
            if nexthop.gateway in own or not 1 <= nexthop.weight <= 256:
                return EINVAL
            if nexthop.gateway and not nexthop.onlink and not any(
                    within(nexthop.gateway, network(quad, self.length)) for quad in interface.addresses):
                return ENETUNREACH
        if (route, protocol) in self.routes:
            return 0  # EEXIST, which the writer takes for done
        self.routes.append((route, protocol))
        self.routes.sort(key=lambda there: (there[0].table, there[0].destination, there[0].metric))
        return 0

    def delete(self, route: Route, protocol: int) -> int:
        """fib_table_delete and fib_nh_match: deletes the first route that does not contradict. Weights do not
        count."""
        for there in self.routes:
            if there[1] == protocol and _route_fits(route, there[0]):
                self.routes.remove(there)
                return 0
        return ESRCH

    def lookup(self) -> Route | None:
        """The route of a new connection to the Internet from an unbound socket."""
        for rule, _ in self.rules:
            if rule.source or rule.oif or rule.suppress_prefixlength >= 0 or rule.suppress_group >= 0:
                continue
            for route, _ in self.routes:
                if route.table == rule.table and route.destination == "0.0.0.0/0":
                    return route
        return None


def _route_fits(wanted: Route, there: Route) -> bool:
    if (wanted.table, wanted.destination, wanted.rest) != (there.table, there.destination, there.rest):
        return False
    if wanted.metric not in (0, there.metric):  # 0 is any
        return False
    if wanted.scope not in (255, there.scope) or wanted.source not in ("", there.source):
        return False
    if len(wanted.nexthops) == 1:
        first, other = wanted.nexthops[0], there.nexthops[0]
        return first.oif == other.oif and first.gateway in ("", other.gateway)
    return all(one.oif == other.oif and one.gateway == other.gateway
               for one, other in zip(wanted.nexthops, there.nexthops)) and len(there.nexthops) <= len(wanted.nexthops)


def _rule_fits(wanted: Rule, there: Rule) -> bool:
    return (wanted.pref == there.pref and wanted.table == there.table and wanted.rest == there.rest
            and all(value == there[index] for index, value in enumerate(wanted) if value not in ("", -1, b"")))
