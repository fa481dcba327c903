"""What the kernel shows of IPv6 → the leases of the links, and the wanted routing."""

from socket import AF_INET6, inet_pton
from typing import Any

import pytest

from dhcp_lb.config import parse
from dhcp_lb.ipv6 import (Address, Main, _ageless, _lasting, interfaces_of, is_local, leases_of, read, read_addresses,
                          read_main)
from dhcp_lb.model import (GIVEN_UP, MONITOR, ON_DEVICE, Change, Delegated, Hold, Interface, Lease, Link, Nexthop,
                           Objection, Refusal, Route, Routing, Rule, Settings, State)
from dhcp_lb.netlink import S32, U32, attribute
from dhcp_lb.objections import LAST_METRIC, kept, learned, rehearsal, singles
from dhcp_lb.plan import changes
from dhcp_lb.policy import Policy
from dhcp_lb.routing import Uplink, desired, judge
from dhcp_lb.rtmessages import BODY, NEXTHOP, encode
from tests.beds.examples import held, written

ETH0 = Link("eth0", "table-eth0", 200, 1, prefixes6=("2001:db8:a00::/40",))
ETH1 = Link("eth1", "table-eth1", 201, 2)
LINKS = (ETH0, ETH1)
DEVICES = {"eth0": Interface(2, True, True, ()), "eth1": Interface(3, True, True, ())}
LAN = 4
TEMPORARY, DADFAILED, DEPRECATED, TENTATIVE, OPTIMISTIC = 0x1, 0x8, 0x20, 0x40, 0x4
OF0 = Address(2, "2001:db8:a::2", 64, 0)
OF1 = Address(3, "2001:db8:b::2", 128, 0)
MAIN = Main({2: ("fe80::1",), 3: ("fe80::2",)},
            {2: ("2001:db8:a::/64", "fe80::/64"), 3: ("2001:db8:b::2/128", "fe80::/64")})
STOLEN = OF1._replace(text=OF0.text, flags=TEMPORARY)  # the other link's, beside its own
SHARED = (252, 251, 254)
SILENT = Hold(MONITOR, GIVEN_UP, "silent")


def leases(*addresses: Address, main: Main = MAIN, links: tuple[Link, ...] = LINKS,
           have: Routing = Routing()) -> dict[str, Lease]:
    known = list(addresses)
    return leases_of(links, interfaces_of(DEVICES, known), known, main, have)


def uplinks(*addresses: Address, main: Main = MAIN, links: tuple[Link, ...] = LINKS, have: Routing = Routing(),
            **holds: str) -> tuple[Uplink, ...]:
    return judge(links, leases(*addresses, main=main, links=links, have=have), State(held=held(**holds)).holds(),
                 interfaces_of(DEVICES, list(addresses)))


def routing(*addresses: Address, main: Main = MAIN, links: tuple[Link, ...] = LINKS, have: Routing = Routing(),
            policies: tuple[Policy, ...] = (), **holds: str) -> Routing:
    return desired(uplinks(*addresses, main=main, links=links, have=have, **holds), Settings(), family=AF_INET6,
                   policies=policies)


def states(*addresses: Address, main: Main = MAIN, **holds: str) -> list[str]:
    return [uplink.state for uplink in uplinks(*addresses, main=main, **holds)]


def sources(name: str, *addresses: Address, links: tuple[Link, ...] = LINKS) -> tuple[str, ...]:
    return leases(*addresses, links=links)[name].sources


def test_the_whole_routing_of_two_links() -> None:
    found = routing(OF0, OF1)
    here, there, lo = (Nexthop("fe80::1", 2),), (Nexthop("fe80::2", 3),), (Nexthop("", 1),)
    assert found.routes == {
        Route(200, "::/0", 1024, "", 0, here),
        Route(200, "2001:db8:a::/64", 1024, "", 0, (Nexthop("", 2),)),
        Route(200, "fe80::/64", 1024, "", 0, (Nexthop("", 2),)),
        Route(201, "::/0", 1024, "", 0, there),
        Route(201, "fe80::/64", 1024, "", 0, (Nexthop("", 3),)),
        Route(252, "::/0", 512, "", 0, (Nexthop("fe80::1", 2, 1), Nexthop("fe80::2", 3, 2))),
        Route(252, "::/0", 1000, "", 0, there), Route(252, "::/0", 1001, "", 0, here),
        Route(252, "::/0", 512, "", 0, here, only_from="2001:db8:a00::/40"),
        Route(252, "::/0", 0xffffffff, "", 0, lo, b"\0\7", "2001:db8:a00::/40"),
    }
    assert all(rule.family == AF_INET6 for rule in found.rules)
    assert sorted((rule.pref, rule.table, rule.source, rule.oif, rule.action) for rule in found.rules) == [
        (19900, 254, "", "", 1), (20100, 200, "2001:db8:a::/64", "", 1), (20100, 201, "2001:db8:b::2/128", "", 1),
        (20101, 0, "2001:db8:a::/64", "", 7), (20101, 0, "2001:db8:b::2/128", "", 7), (20200, 200, "", "eth0", 1),
        (20200, 201, "", "eth1", 1), (30000, 254, "", "", 1), (30100, 254, "", "", 1), (32765, 252, "", "", 1)]


@pytest.mark.parametrize("flags, usable", [(0, True), (TEMPORARY, True), (TENTATIVE, False), (DADFAILED, False),
                                           (TENTATIVE | OPTIMISTIC, True), (TENTATIVE | DADFAILED, False)])
def test_an_address_that_nothing_can_have_yet_is_in_no_rule_and_balances_nothing(flags: int, usable: bool) -> None:
    one = OF0._replace(flags=flags)
    assert states(one, OF1) == ["up" if usable else "no address", "up"]
    assert ("2001:db8:a::/64" in [rule.source for rule in routing(one, OF1).rules]) == usable
    balance = [route for route in routing(one, OF1).routes if route.metric == 512 and not route.only_from]
    assert len(balance[0].nexthops) == 1 + usable


def test_a_deprecated_address_leaves_by_its_link_and_balances_nothing() -> None:
    one = OF0._replace(flags=DEPRECATED)
    assert states(one, OF1) == ["no address", "up"]
    assert sources("eth0", one, OF1) == ("2001:db8:a::/64",)


@pytest.mark.parametrize("beside, found", [
    ((), "2001:db8:a::/64"),
    ((Address(LAN, "2001:db8:a::99", 64, 0),), "2001:db8:a::2/128"),  # a router that advertises the LAN's own prefix
    ((Address(3, "2001:db8:a::3", 64, 0),), "2001:db8:a::2/128"),  # two in one network
])
def test_a_whole_prefix_is_a_link_s_only_if_nobody_else_is_in_it(beside: tuple[Address, ...], found: str) -> None:
    assert sources("eth0", OF0, *beside) == (found,)


def test_what_a_router_advertises_of_another_link_s_prefix_is_one_address() -> None:
    stolen = Address(3, "2001:db8:aff:1::5", 64, 0)  # in eth0's prefix6=
    assert sources("eth1", OF0, stolen) == ("2001:db8:aff:1::5/128",)


def test_unique_local_addresses_are_single_ones_and_balance_only_where_there_is_nothing_better() -> None:
    local0, local1 = Address(2, "fd00::2", 64, 0), Address(3, "fd00::3", 64, 0)
    assert sources("eth0", local0, local1) == ("fd00::2/128",)
    assert states(local0, local1) == ["up", "up"]
    assert states(local0, OF1) == ["no address", "up"]


def test_a_default_that_goes_takes_new_connections_only() -> None:
    have = routing(OF0, OF1)
    without = MAIN._replace(routers={3: ("fe80::2",)})
    assert [uplink.state for uplink in uplinks(OF0, OF1, main=without, have=have)] == ["no router", "up"]
    after = routing(OF0, OF1, main=without, have=have)
    assert have.rules == after.rules
    assert {route for route in have.routes ^ after.routes} == {
        Route(252, "::/0", 512, "", 0, (Nexthop("fe80::1", 2, 1), Nexthop("fe80::2", 3, 2))),
        Route(252, "::/0", 512, "", 0, (Nexthop("fe80::2", 3),))}
    assert states(OF0, OF1, main=without) == ["no router", "up"]  # after `flush` nobody knows which one it was
    both = MAIN._replace(routers={})
    assert [uplink.balanced for uplink in uplinks(OF0, OF1, main=both, have=have)] == [True, True]


@pytest.mark.parametrize("main", [MAIN._replace(routers={3: ("fe80::2",)}), MAIN._replace(routers={})])
def test_what_comes_from_a_link_whose_router_nobody_knows_is_told_and_reaches_its_neighbours(main: Main) -> None:
    found, works = routing(OF0, OF1, main=main), routing(OF0, OF1)
    of_it = {rule for rule in works.rules if rule.source == "2001:db8:a::/64" or rule.oif == "eth0"}
    assert {rule.pref for rule in of_it} == {20100, 20101, 20200} and of_it <= found.rules
    assert {route.destination for route in found.routes if route.table == 200} == {"2001:db8:a::/64", "fe80::/64"}
    here = [route for route in found.routes if route.table == 252 and 2 in [hop.oif for hop in route.nexthops]]
    assert here == []
    assert [route.metric for route in found.routes if route.only_from] == [0xffffffff]


def test_a_link_whose_router_nobody_knows_pins_no_connection() -> None:
    without = MAIN._replace(routers={3: ("fe80::2",)})
    found = desired(uplinks(OF0, OF1, main=without), Settings(), marks={"eth0": 0xc8000000, "eth1": 0xc9000000},
                    watched=["eth0", "eth1"], family=AF_INET6)
    assert {rule.mark for rule in found.rules if rule.mark} == {0xc9000000}


def test_an_address_that_two_links_have_leaves_by_the_one_whose_router_is_known() -> None:
    found = routing(OF0, OF1, STOLEN, main=MAIN._replace(routers={3: ("fe80::2",)}))
    assert Rule(20100, 201, "2001:db8:a::2/128", family=AF_INET6) in found.rules
    assert Rule(20100, 200, "2001:db8:a::2/128", family=AF_INET6) not in found.rules


def test_a_gateway_of_the_configuration_is_one_whatever_main_has() -> None:
    named = (ETH0._replace(gateway6="2001:db8:a::1").of(AF_INET6), ETH1.of(AF_INET6))
    found = routing(OF0, OF1, main=MAIN._replace(routers={3: ("fe80::2",)}), links=named)
    assert Route(200, "::/0", 1024, "", 0, (Nexthop("2001:db8:a::1", 2),)) in found.routes


def test_a_link_without_anything_has_no_lease_and_its_prefix_stays_told() -> None:
    nothing = MAIN._replace(routers={3: ("fe80::2",)}, networks={})
    assert states(OF1, main=nothing) == ["unusable", "up"]
    assert [route for route in routing(OF1, main=nothing).routes if route.only_from] == [
        Route(252, "::/0", 0xffffffff, "", 0, (Nexthop("", 1),), b"\0\7", "2001:db8:a00::/40")]
    assert leases(OF1, main=nothing, links=(ETH0._replace(prefixes6=()), ETH1)).keys() == {"eth1"}


@pytest.mark.parametrize("main, links", [
    (MAIN, LINKS),
    (MAIN._replace(routers={3: ("fe80::2",)}), (ETH0._replace(gateway6="fe80::1").of(AF_INET6), ETH1.of(AF_INET6))),
], ids=["advertised", "by the configuration alone"])
def test_a_disabled_link_s_sources_are_told(main: Main, links: tuple[Link, ...]) -> None:
    found = routing(OF0, OF1, main=main, links=links, eth0="disabled")
    of_it = [(rule.pref, rule.action) for rule in found.rules if rule.source == "2001:db8:a::/64"]
    assert of_it == [(20101, 7)]


@pytest.mark.parametrize("holds, table", [({}, 200), ({"eth0": "draining"}, 200), ({"eth0": "disabled"}, 201)])
def test_an_address_that_two_links_have_leaves_by_one_of_them(holds: dict[str, str], table: int) -> None:
    found = routing(OF0, OF1, STOLEN, **holds)
    of_it = [(rule.pref, rule.table) for rule in found.rules if rule.source == "2001:db8:a::2/128"]
    assert sorted(of_it) == [(20100, table), (20101, 0)]
    assert Rule(20100, 201, "2001:db8:b::2/128", family=AF_INET6) in found.rules


def test_an_address_that_two_links_have_leaves_by_the_one_whose_provider_works() -> None:
    addresses = [OF0, OF1, STOLEN]
    dead = judge(LINKS, leases(*addresses), {"eth0": (SILENT,)}, interfaces_of(DEVICES, addresses))
    found = desired(dead, Settings(), family=AF_INET6)
    of_it = {(rule.pref, rule.table, rule.oif) for rule in found.rules if rule.source == "2001:db8:a::2/128"}
    assert of_it == {(20098, 200, "eth0"), (20099, 200, ""), (20100, 201, ""), (20101, 0, "")}


def watched(*dead: str) -> tuple[Uplink, ...]:
    """The two links, of which those are dead."""
    return judge(LINKS, leases(OF0, OF1), {name: (SILENT,) for name in dead}, interfaces_of(DEVICES, [OF0, OF1]))


def test_a_dead_link_s_sources_are_told_and_the_monitor_s_probes_and_its_neighbours_get_through() -> None:
    found, works = desired(watched("eth0"), Settings(), family=AF_INET6), routing(OF0, OF1)
    here, there = (Nexthop("fe80::1", 2),), (Nexthop("fe80::2", 3),)
    assert found.routes == works.routes - {
        Route(252, "::/0", 512, "", 0, (Nexthop("fe80::1", 2, 1), Nexthop("fe80::2", 3, 2))),
        Route(252, "::/0", 1001, "", 0, here),
        Route(252, "::/0", 512, "", 0, here, only_from="2001:db8:a00::/40"),  # its guard stays
    } | {Route(252, "::/0", 512, "", 0, there), Route(252, "::/0", 1_000_001, "", 0, here)}
    of_source = Rule(20100, 200, "2001:db8:a::/64", family=AF_INET6)
    assert found.rules == works.rules - {of_source} | {
        of_source._replace(pref=20098, oif="eth0"), of_source._replace(pref=20099, suppress_prefixlength=0)}


def test_where_all_are_dead_in_ipv6_all_stay_and_nobody_is_told() -> None:
    uplinks = watched("eth0", "eth1")
    assert [uplink.state for uplink in uplinks] == ["dead", "dead"]
    found, works = desired(uplinks, Settings(), family=AF_INET6), routing(OF0, OF1)
    assert found.rules == works.rules
    assert {route for route in found.routes if not 1000 <= route.metric < 0xffffffff or route.table != 252} == {
        route for route in works.routes if not 1000 <= route.metric < 0xffffffff or route.table != 252}


LAN_OF_0, LAN_OF_1 = [Address(LAN, f"2001:db8:{net}::1", 64, 0) for net in ("a05:1", "bf0")]


@pytest.mark.parametrize("beside, found", [
    ((), ""),
    ((LAN_OF_1,), ""),  # the other provider's
    ((LAN_OF_0._replace(ifindex=3),), ""),  # of another link
    ((LAN_OF_0._replace(flags=TENTATIVE),), ""),
    ((Address(2, "fd00::2", 64, 0),), ""),  # no answer comes to it
    ((LAN_OF_0,), LAN_OF_0.text),
    ((LAN_OF_0._replace(text="2001:db8:a05:1::0:1", flags=TEMPORARY), LAN_OF_0._replace(text="2001:db8:a05:1::9")),
     "2001:db8:a05:1::9"),
    ((LAN_OF_0, OF0._replace(flags=DEPRECATED)), OF0.text),
])
def test_a_link_without_an_address_asks_from_one_that_answers_come_to(
        beside: tuple[Address, ...], found: str) -> None:
    assert leases(OF1, *beside)["eth0"].asks_from == found
    assert leases(OF0, OF1, *beside)["eth0"].asks_from == ""


def unnumbered(dead: str, *addresses: Address) -> Routing:
    """Of two links with a delegated prefix, the first one has no address. These are `dead`."""
    links = ETH0, ETH1._replace(prefixes6=("2001:db8:b00::/40",))
    known = leases(*addresses, links=links)
    return desired(judge(links, known, {name: (SILENT,) for name in dead.split()},
                         interfaces_of(DEVICES, [*addresses])), Settings(), family=AF_INET6)


@pytest.mark.parametrize("dead, addresses, told", [
    ("eth0", (OF1,), {"2001:db8:a00::/40"}), ("eth1", (OF1,), {"2001:db8:b00::/40"}), ("eth0 eth1", (OF1,), set()),
    ("eth0", (), {"2001:db8:a00::/40"}), ("eth0 eth1", (), set()),
])
def test_a_dead_link_without_an_address_is_like_any_other(dead: str, addresses: tuple[Address, ...],
                                                          told: set[str]) -> None:
    found = unnumbered(dead, LAN_OF_0, LAN_OF_1, *addresses)
    metrics: dict[str, set[int]] = {}
    for route in found.routes:
        metrics.setdefault(route.only_from, set()).add(route.metric)
    assert {prefix for prefix, several in metrics.items() if several == {0xffffffff}} == told
    assert (OF1 in addresses) == any(3 in [hop.oif for hop in route.nexthops] for route in found.routes
                                     if (route.table, route.metric, route.only_from) == (252, 512, ""))


def test_a_policy_sends_no_link_another_one_s_prefix() -> None:
    found = routing(OF0, OF1, policies=(Policy(("eth1",), iif="lan0"),))
    assert Route(201, "::/0", 512, "", 0, (Nexthop("", 1),), b"\0\11", "2001:db8:a00::/40") in found.routes
    assert {(rule.pref, rule.table) for rule in found.rules if rule.iif} == {(21000, 201), (21001, 252)}
    assert not [rule for rule in routing(OF0, OF1, policies=(Policy(("eth1",), source="10.0.0.0/8"),)).rules
                if rule.pref == 21000]


@pytest.mark.parametrize("have", [Routing(), routing(OF0), routing(OF0, OF1), routing(OF1, eth1="draining")])
def test_a_changed_route_is_replaced_and_never_deleted(have: Routing) -> None:
    moved = MAIN._replace(routers={2: ("fe80::9",), 3: ("fe80::2",)})
    want = routing(OF0, OF1._replace(text="2001:db8:b::3"), main=moved)
    there = {(one.what.table, one.what.destination, one.what.only_from, one.what.metric): one.what
             for one in changes(Routing(), have, SHARED) if isinstance(one.what, Route)}
    deleted = [one.what for one in changes(have, want, SHARED) if not one.add and isinstance(one.what, Route)]
    for one in changes(have, want, SHARED):
        if isinstance(one.what, Route):
            key = (one.what.table, one.what.destination, one.what.only_from, one.what.metric)
            if one.add:
                there[key] = one.what
            else:
                assert there.pop(key) == one.what
    assert frozenset(there.values()) == want.routes
    assert not [route for route in deleted if any(
        (route.table, route.destination, route.only_from, route.metric)
        == (other.table, other.destination, other.only_from, other.metric) for other in want.routes)]


def test_on_link_prefixes_come_before_the_default_whose_gateway_is_in_them() -> None:
    of_table = [one.what.destination for one in changes(Routing(), routing(OF0, OF1), SHARED)
                if isinstance(one.what, Route) and one.what.table == 200]
    assert of_table == ["2001:db8:a::/64", "fe80::/64", "::/0"]


def test_a_refusal_is_of_the_link_whose_route_it_is() -> None:
    have = routing(OF0, OF1)
    single = next(route for route in have.routes if route.metric == 1001)
    delegated = next(route for route in have.routes if route.only_from and route.metric == 512)
    both = next(route for route in have.routes if route.metric == 512 and not route.only_from)
    several = uplinks(OF0, OF1)

    def whose(route: Route) -> dict[str, Objection]:
        return learned((Refusal(Change(True, route), 22, "no"),), several, Routing(), State(), DEVICES, 1)
    assert whose(single).keys() == whose(delegated).keys() == {"eth0"} and whose(both).keys() == {""}
    assert [one.what for one in singles(both, have)] == [
        next(route for route in have.routes if route.metric == 1000), single]
    assert kept(Routing(), have, frozenset([2]), SHARED).routes == {single, delegated}


def test_a_rehearsal_hits_nothing_that_others_have_by_habit() -> None:
    asked, _ = rehearsal(changes(Routing(), routing(OF0, OF1), SHARED))
    assert LAST_METRIC < 0xffffffff
    assert all(one.what.metric <= LAST_METRIC for one in asked if isinstance(one.what, Route))


@pytest.mark.parametrize("beside", [{}, {"hops": ((2, "fe80::1"), (3, "fe80::2"))}, {"oif": 2, "gateway": "fe80::1"}])
def test_a_route_is_the_same_however_old_it_is(beside: dict[str, Any]) -> None:
    whole = dumped(**beside, preference=b"\3")
    assert whole[-8:] == attribute(20, b"\3")
    aged = [whole[:-8] + attribute(12, U32.pack(seconds) * 8) + whole[-8:] for seconds in (1, 2)]  # rta_cacheinfo
    assert _ageless([*aged, whole]) == [whole] * 3
    assert read_main(aged[:1]) == read_main([whole])


def test_an_address_is_the_same_however_long_it_lasts() -> None:
    whole = written(OF0)
    several = [whole[:-8] + attribute(6, U32.pack(seconds) * 4) + whole[-8:] for seconds in (1, 2)]  # ifa_cacheinfo
    assert _lasting([*several, whole]) == [whole] * 3
    assert read_addresses(several[:1]) == read_addresses([whole]) == [OF0]
    metric = [one[:28] + attribute(9, U32.pack(512)) + one[28:] for one in [*several, whole]]  # as networkd sets it
    assert _lasting(metric) == metric[2:] * 3 and read_addresses(_lasting(metric)) == [OF0]
    peer = whole[:8] + attribute(2, inet_pton(AF_INET6, OF1.text)) + several[0][8:]  # IFA_LOCAL is before the peer's
    assert _lasting([peer]) == [peer] and read_addresses([peer]) == [OF1._replace(ifindex=2, length=64)]
    # An address in whose place the kernel writes no lifetimes, but whose own bytes read like them.
    hostile = OF0._replace(text="2001:db8::1400:600:1400:600")
    assert read_addresses(_lasting([written(hostile)])) == [hostile]


def test_what_the_links_have_is_seen_anew_when_any_of_it_is_another_one() -> None:
    networks = [dumped(64, protocol=2, destination="2001:db8:a::", oif=2), dumped(64, destination="fe80::", oif=2),
                dumped(128, protocol=2, destination="2001:db8:b::2", oif=3), dumped(64, destination="fe80::", oif=3)]
    routers = [dumped(oif=2, gateway="fe80::1"), dumped(oif=3, gateway="fe80::2")]
    assert read_main([*networks, *routers]) == MAIN._replace(best=(1024, 2))

    def seen(*addresses: Address, main: list[bytes] = [*networks, *routers], routes: list[bytes] = [],
             told: tuple[Delegated, ...] = ()) -> dict[str, Lease]:
        return read(LINKS, DEVICES, [written(one) for one in addresses], main, routes, {"eth1": told}).leases
    ours = [encode(Change(True, route))[2] for route in routing(OF0, OF1).routes]
    for _ in range(2):
        assert seen(OF0, OF1) == leases(OF0, OF1)
        assert seen(OF1)["eth0"].address == ""
        lost = seen(OF0, OF1, main=networks)["eth0"]
        assert lost.lost and lost.gateway == ""
        assert seen(OF0, OF1, main=networks, routes=ours)["eth0"].gateway == "fe80::1"
        assert seen(OF0, OF1, told=(Delegated("2001:db8:b:f00::/56", 1, 0),))["eth1"].prefixes


def dumped(length: int = 0, source_length: int = 0, protocol: int = 9, kind: int = 1, destination: str = "",
           oif: int = 0, gateway: str = "", metric: int = 1024, preference: bytes = b"",
           hops: tuple[tuple[int, str], ...] = (), nexthop_id: int = 0) -> bytes:
    """A route of table main, as the kernel dumps it."""
    message = BODY.pack(AF_INET6, length, source_length, 0, 254, protocol, 0, kind, 0)
    message += attribute(6, U32.pack(metric))
    for number, text in (1, destination), (5, gateway):
        message += attribute(number, inet_pton(AF_INET6, text)) if text else b""
    message += attribute(4, S32.pack(oif)) if oif else b""
    message += attribute(30, U32.pack(nexthop_id)) if nexthop_id else b""
    if hops:
        vias = [(index, attribute(5, inet_pton(AF_INET6, text))) for index, text in hops]
        message += attribute(9, b"".join([NEXTHOP.pack(8 + len(via), 0, 0, index) + via for index, via in vias]))
    return message + (attribute(20, preference) if preference else b"")


def test_a_router_is_the_best_default_by_the_interface_however_it_is_written() -> None:
    assert read_main([dumped(oif=2, gateway="fe80::1")]).routers == {2: ("fe80::1",)}
    assert read_main([dumped(hops=((2, "fe80::1"), (3, "fe80::2")))]).routers == {2: ("fe80::1",), 3: ("fe80::2",)}
    assert read_main([dumped(oif=2, gateway="fe80::1", nexthop_id=7)]).routers == {2: ("fe80::1",)}
    assert read_main([dumped(oif=2, gateway="fe80::1"), dumped(oif=2, gateway="fe80::2", metric=100)]).routers == {
        2: ("fe80::2", "fe80::1")}
    assert read_main([dumped(oif=2, gateway="fe80::1", preference=b"\3"),
                      dumped(oif=2, gateway="fe80::2"),
                      dumped(oif=2, gateway="fe80::3", preference=b"\1")]).routers == {
        2: ("fe80::3", "fe80::2", "fe80::1")}
    assert read_main([dumped(oif=2, protocol=3)]).routers == {2: (ON_DEVICE,)}


@pytest.mark.parametrize("message", [
    dumped(oif=2, gateway="fe80::1", source_length=48),  # for some sources alone
    dumped(oif=1, kind=7),  # unreachable
    dumped(oif=2, protocol=2),  # a router that calls everything on-link
])
def test_what_is_no_default_for_all_is_no_router(message: bytes) -> None:
    assert read_main([message]).routers == {}


def test_of_thousands_of_prefixes_a_link_has_some() -> None:
    found = read_main([dumped(64, destination=f"2001:db8:{number:x}::", oif=2) for number in range(1, 1000)])
    assert len(found.networks[2]) == 64


def test_of_hundreds_of_routers_a_link_has_the_best_and_the_other_link_its_own() -> None:
    several = [dumped(oif=2, gateway=f"fe80::{number:x}", metric=1324 - number, preference=b"\1")
               for number in range(1, 301)]
    main = read_main([*several, dumped(oif=3, gateway="fe80::2")])
    assert main.routers[2][0] == "fe80::12c" and len(main.routers[2]) == 300
    found = routing(OF0, OF1, main=main._replace(networks=MAIN.networks))
    before = routing(OF0, OF1)
    assert {route for route in found.routes ^ before.routes if 2 not in [hop.oif for hop in route.nexthops]} == set()
    assert found.rules == before.rules


def test_the_best_default_of_all_is_known() -> None:
    assert read_main([dumped(oif=2, gateway="fe80::1"), dumped(oif=9, gateway="fe80::2", metric=50)]).best == (50, 9)
    assert read_main([]).best == (0, 0)


LINE = "eth0 a 200 1 "


@pytest.mark.parametrize("option, link", [
    ("prefix6=2001:DB8::/32", {"prefixes6": ("2001:db8::/32",)}),
    ("prefix6=2001:db8:1::/48 prefix6=fd00:1::/48", {"prefixes6": ("2001:db8:1::/48", "fd00:1::/48")}),
    ("ipv6=no", {"ipv6": False}),
    ("gateway=fe80::1 gateway=192.0.2.1", {"gateway6": "fe80::1", "gateway": "192.0.2.1"}),
    ("gateway=2001:db8::1", {"gateway6": "2001:db8::1"}),
])
def test_options_of_ipv6(option: str, link: dict[str, object]) -> None:
    config = parse((LINE + option).encode())
    assert config.errors == () and config.links == (Link("eth0", "a", 200, 1)._replace(**link),)


@pytest.mark.parametrize("option, said", [
    ("prefix6=2001:db8::/15", "must be an IPv6 prefix of 16 to 64 bits, as 2001:db8::/32"),
    ("prefix6=2001:db8::/65", "must be an IPv6 prefix of 16 to 64 bits, as 2001:db8::/32"),
    ("prefix6=2001:db8::", "must be an IPv6 prefix of 16 to 64 bits, as 2001:db8::/32"),
    ("prefix6=10.0.0.0/16", "must be an IPv6 prefix of 16 to 64 bits, as 2001:db8::/32"),
    ("prefix6=fe80::/64", "must be in 2000::/3 or fc00::/7"),
    ("prefix6=2001:db8:1::/32", "must be the network 2001:db8::/32"),
    ("gateway=::1", "the gateway ::1 is no unicast address: must be the address of a router"),
    ("gateway=ff02::1", "the gateway ff02::1 is no unicast address: must be the address of a router"),
    ("gateway=fe80:::1", "the gateway is not an IPv6 address: must be the address of a router"),
    ("ipv6=maybe", "must be yes or no"),
])
def test_mistakes_of_ipv6(option: str, said: str) -> None:
    assert parse((LINE + option).encode(), "F").errors == (f"F:1: {option}: {said}",)


def test_prefixes_that_overlap_are_a_mistake() -> None:
    text = b"eth0 a 200 1 prefix6=2001:db8::/32\neth1 b 201 1 prefix6=2001:db8:1::/48\n"
    assert parse(text, "F").errors == (
        "F:2: prefix6=2001:db8:1::/48: overlaps 2001:db8::/32 on line 1: must not overlap it",)


@pytest.mark.parametrize("text, local", [("fd00::2", True), ("fcab:1::", True), ("fc1::2", False), ("fd::1", False),
                                         ("2001:db8::1", False)])
def test_unique_local_addresses_are_told_from_others(text: str, local: bool) -> None:
    assert is_local(text) is local
