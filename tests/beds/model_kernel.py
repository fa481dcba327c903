"""A model of the kernel for tests. It keeps routes and rules as net/core/fib_rules.c, net/ipv4/fib_trie.c and
fib_semantics.c, net/ipv6/route.c and ip6_fib.c do. It asserts that it knows what it is asked for."""

from __future__ import annotations

from errno import EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENODEV, ENOENT, ESRCH

from dhcp_lb.address import IPV6, network, within
from dhcp_lb.ipv6 import Address
from dhcp_lb.model import LOOKUP, MAIN_TABLE, UNREACHABLE, Change, Interface, Nexthop, Refusal, Route, Routing, Rule
from dhcp_lb.routing import ERROR, LOOPBACK, THROW

PROTO_BOOT = 3
INTERNET6 = "2600::1"


class ModelKernel:
    """Routes and rules in the kernel's order, each with the protocol number of its owner."""

    def __init__(self, interfaces: dict[str, Interface], length: int = 24) -> None:
        self.interfaces = interfaces
        self.length = length  # of the prefixes of all IPv4 addresses
        self.addresses6: list[Address] = []  # global ones, of all interfaces
        self.routes: list[tuple[Route, int]] = []
        self.rules: list[tuple[Rule, int]] = []
        self.writes = 0

    def routing(self, protocol: int = 109) -> Routing:
        """The routes and rules with this protocol number."""
        return Routing(frozenset(route for route, owner in self.routes if owner == protocol),
                       frozenset(rule for rule, owner in self.rules if owner == protocol))

    def count(self, protocol: int = 109) -> int:
        """How many routes and rules there are. In `routing`, one that exists twice counts once."""
        return [owner for _, owner in [*self.routes, *self.rules]].count(protocol)

    def write(self, changes: tuple[Change, ...], protocol: int = 109) -> tuple[Refusal, ...]:
        """Does what Rtnetlink.write does."""
        assert changes, "an empty write would wait for an acknowledgement for ever"
        refusals = []
        for change in changes:
            errno = self.make(change, protocol)
            if errno and not (not change.add and errno in (ENOENT, ESRCH)):
                refusals.append(Refusal(change, errno, "model"))
            self.writes += 1
        return tuple(refusals)

    def make(self, change: Change, protocol: int) -> int:
        """Makes one change, and returns the errno; 0 = done."""
        add, what = change
        if isinstance(what, Route):
            if what.family == IPV6.number:
                return self.replace6(what, protocol) if add else self.delete6(what, protocol)
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

    def replace6(self, route: Route, protocol: int) -> int:
        """NLM_F_CREATE | NLM_F_REPLACE: the route replaces the one with its key, whoever owns that (net/ipv6/route.c,
        fib6_nh_init, ip6_validate_gw). It does not model main, where the defaults of several routers stand side by
        side."""
        assert route.table != MAIN_TABLE and route.metric and not route.source, route
        assert route.rest in (b"", ERROR, THROW), route
        for gateway, oif, weight, onlink in route.nexthops:
            if oif == LOOPBACK:
                continue
            assert not route.rest, f"the kernel would move it to lo: {route}"
            if oif not in [one.ifindex for one in self.interfaces.values()]:
                return ENODEV
            if not self.is_up(oif):
                return ENETDOWN
            if gateway in [one.text for one in self.addresses6] or not 1 <= weight <= 256:
                return EINVAL
            if gateway and not onlink and not within(gateway, "fe80::/10") and not any(
                    not hop.gateway and hop.oif == oif and within(gateway, there.destination)
                    for there, _ in self.routes if there.table == MAIN_TABLE and there.family == IPV6.number
                    for hop in there.nexthops):
                return EHOSTUNREACH
        self.routes = [there for there in self.routes if _key6(there[0]) != _key6(route)]
        self.routes.append((route, protocol))
        return 0

    def delete6(self, route: Route, protocol: int) -> int:
        """ip6_route_del: the route loses these nexthops, and is deleted with the last one. Weights do not count."""
        gone = {nexthop[:2] for nexthop in route.nexthops}
        for place, (there, owner) in enumerate(self.routes):
            if owner == protocol and _key6(there) == _key6(route) and gone <= {hop[:2] for hop in there.nexthops}:
                left = tuple([hop for hop in there.nexthops if hop[:2] not in gone])
                self.routes[place:place + 1] = [(there._replace(nexthops=left), owner)] if left else []
                return 0
        return ESRCH

    def is_up(self, oif: int) -> bool:
        """Whether this device exists and is set up."""
        return oif == LOOPBACK or any(one.ifindex == oif and one.up for one in self.interfaces.values())

    def lookup(self) -> Route | None:
        """The route of a new connection to the Internet from an unbound socket."""
        for rule, _ in self.rules:
            if rule.source or rule.oif or rule.suppress_prefixlength >= 0 or rule.suppress_group >= 0:
                continue
            for route, _ in self.routes:
                if route.table == rule.table and route.destination == "0.0.0.0/0":
                    return route
        return None

    def lookup6(self, source: str) -> Route | None:
        """The route of a packet from this address to the Internet, over devices that have a carrier
        (ignore_routes_with_linkdown). None: the sender gets an error."""
        for rule, _ in [*self.rules, (Rule(32766, MAIN_TABLE, family=IPV6.number), 2)]:
            if rule.family != IPV6.number or rule.oif or rule.source and not within(source, rule.source):
                continue
            assert rule == Rule(*rule[:3], "", "", rule.suppress_prefixlength, family=rule.family, action=rule.action,
                                suppress_group=rule.suppress_group), rule
            if rule.action == UNREACHABLE:
                return None
            assert rule.action == LOOKUP, rule
            for found in self._found6(rule.table, source):
                length, group = int(found.destination.partition("/")[2]), self._group(found.nexthops[0])
                if found.rest != THROW and length > rule.suppress_prefixlength and group != rule.suppress_group:
                    return None if found.rest else found
        return None

    def _found6(self, table: int, source: str) -> list[Route]:
        """The route that the kernel takes from a table, or []: the longest destination, then the longest source, then
        the lowest metric (net/ipv6/ip6_fib.c, fib6_node_lookup, and route.c, fib6_backtrack)."""
        fits = [route for route, _ in self.routes
                if route.table == table and route.family == IPV6.number and within(INTERNET6, route.destination)
                and (not route.only_from or within(source, route.only_from))
                and any([self._carries(hop) for hop in route.nexthops])]
        return sorted(fits, key=lambda route: (-int(route.destination.partition("/")[2]),
                                               -int(route.only_from.partition("/")[2] or 0), route.metric))[:1]

    def _carries(self, nexthop: Nexthop) -> bool:
        return nexthop.oif == LOOPBACK or any(
            one.ifindex == nexthop.oif and one.up and one.carrier for one in self.interfaces.values())

    def _group(self, nexthop: Nexthop) -> int:
        return next((one.group for one in self.interfaces.values() if one.ifindex == nexthop.oif), 0)


def _key6(route: Route) -> tuple[int, str, str, int]:
    return route.table, route.destination, route.only_from, route.metric


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
