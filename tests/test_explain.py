"""Which rule a connection takes, and why, in words."""

from typing import Any

import pytest

from dhcp_lb.model import BLACKHOLE, UNREACHABLE, Nexthop, Route, Routing, Rule
from dhcp_lb.verbs.explain import Packet, chosen, ended, explanation, no_way
from tests.beds.examples import BOTH, COMMON_RULES, RULES0, RULES1, TABLE0

LOCAL, MAIN, DEFAULT = Rule(0, 255), Rule(32766, 254), Rule(32767, 253)
OURS = Routing(rules=RULES0 | RULES1 | COMMON_RULES)
RULES = [LOCAL, *sorted(RULES0 | RULES1 | COMMON_RULES), MAIN, DEFAULT]
BY_ETH0 = Route(254, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", 2),))
TUNNEL = Route(254, "0.0.0.0/0", 50, "", 0, (Nexthop("", 7),))
LAN = Route(254, "10.0.0.0/24", 0, "10.0.0.1", 253, (Nexthop("", 9),))
PREFIX0, DEFAULT0 = sorted(TABLE0, key=lambda route: -route.scope)
NAMES = {200: "table-eth0", 201: "table-eth1", 252: "dhcp-lb", 254: "main", 255: "local"}
INTERFACES = {2: "eth0", 3: "eth1", 9: "lan0"}
ANY = Packet("203.0.113.1")
OF_LAN = Packet("203.0.113.1", "10.0.0.50", iif="lan0")


@pytest.mark.parametrize("route, destination, source, oif, pref", [
    (BOTH, "203.0.113.1", "", "", 32765),
    (LAN, "10.0.0.5", "", "", 19900),
    (LAN, "10.0.0.5", "192.0.2.34", "", 19900),
    (DEFAULT0, "203.0.113.1", "192.0.2.34", "", 20100),
    (DEFAULT0, "203.0.113.1", "", "eth0", 20200),
    (DEFAULT0, "203.0.113.1", "192.0.2.34", "eth0", 20100),
    (PREFIX0, "192.0.2.9", "192.0.2.34", "", 20100),
    (BY_ETH0, "192.0.2.9", "", "", 30100),
    (TUNNEL, "203.0.113.1", "", "", 30000),
    (Route(254, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 2),)), "203.0.113.1", "", "", 32766),
    (Route(255, "10.0.0.1/32", 0, "10.0.0.1", 254, (Nexthop("", 1),)), "10.0.0.1", "", "", 0),
])
def test_the_first_rule_that_can_have_led_there(route: Route, destination: str, source: str, oif: str,
                                                pref: int) -> None:
    group = 109 if route.nexthops[0].oif in (2, 3) else 0
    rule = chosen(RULES, route, Packet(destination, source, oif), group)
    assert rule and rule.pref == pref


def test_a_rule_of_the_administrator_is_asked_in_its_place() -> None:
    mine = Rule(100, 200, destination="203.0.113.0/24")
    assert chosen([*RULES, mine], DEFAULT0, Packet("203.0.113.1", "192.0.2.34")) == mine


def test_a_rule_with_marks_is_no_first_guess() -> None:
    marked = Rule(100, 252, rest=b"fwmark")
    assert chosen([*RULES, marked], BOTH, ANY) == Rule(32765, 252)
    assert chosen([marked, MAIN], BOTH, ANY) == marked


def test_a_table_that_no_rule_names_has_no_rule() -> None:
    assert chosen(RULES, BOTH._replace(table=77), ANY) is None


def text(route: Route, source: str = "", oif: str = "") -> str:
    packet = Packet("203.0.113.1", source, oif)
    rule = chosen(RULES, route, packet, 109)
    return "\n".join(explanation(packet, route, rule, NAMES, INTERFACES, {2: 1 / 3, 3: 2 / 3}, ours=OURS))


def test_a_balanced_connection() -> None:
    assert text(BOTH) == """\
A connection to 203.0.113.1:
  rule   pref 32765 from all lookup 252
         because no rule before it has a route for it, so it is balanced
  table  dhcp-lb (252), route default
  link   eth0 via 192.0.2.1, 33% of the connections
  link   eth1 via 198.51.100.1, 67% of the connections
         A hash of its addresses and ports chooses one of them for each connection."""


def test_a_connection_from_a_links_address() -> None:
    assert text(DEFAULT0, "192.0.2.34") == """\
A connection to 203.0.113.1 from 192.0.2.34:
  rule   pref 20100 from 192.0.2.34/32 lookup 200
         because it comes from a link's address, like the replies to connections that came in by that link
  table  table-eth0 (200), route default
  link   eth0 via 192.0.2.1"""


def test_a_socket_that_is_bound_to_an_interface() -> None:
    assert text(DEFAULT0, oif="eth0") == """\
A connection to 203.0.113.1 of a socket bound to eth0:
  rule   pref 20200 from all oif eth0 lookup 200
         because its socket is bound to a link's interface
  table  table-eth0 (200), route default
  link   eth0 via 192.0.2.1"""


def test_a_default_of_somebody_else() -> None:
    assert text(Route(254, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 5),))) == """\
A connection to 203.0.113.1:
  rule   pref 32766 from all lookup 254
         because no rule before it has a route for it; this one is the kernel's own
  table  main (254), route default
  link   if5 via 192.0.2.1
         This default route is not dhcp-lb's."""


@pytest.mark.parametrize("table, name", [(255, "local"), (254, "main")])
def test_an_address_of_this_machine(table: int, name: str) -> None:
    route = Route(table, "203.0.113.1/32", 0, "203.0.113.1", 254, (Nexthop("", 1),), bytes([0, 2]))
    assert text(route) == ("A connection to 203.0.113.1 stays on this machine: "
                           f"it is one of its own addresses (table {name}).")


def test_a_broadcast_address() -> None:
    route = Route(255, "203.0.113.1/32", 0, "203.0.113.9", 253, (Nexthop("", 5),), bytes([0, 3]))
    assert text(route) == ("A connection to 203.0.113.1 is not possible: "
                           "that is the broadcast address of a network of this machine.")


@pytest.mark.parametrize("condition", [
    {"mark": 1, "mask": 0xff}, {"iif": "lan0"}, {"protocol": 6}, {"users": ((1, 9),)}, {"rest": b"tos"},
    {"action": UNREACHABLE},
])
def test_a_rule_whose_conditions_do_not_hold_is_not_the_reason(condition: dict[str, Any]) -> None:
    other = Rule(100, 252)._replace(**condition)
    assert chosen([*RULES, other], BOTH, ANY) == Rule(32765, 252)


@pytest.mark.parametrize("condition", [{"mask": 0xff}, {"iif": "lo"}, {"users": ((34, 34),)}])
def test_a_rule_whose_conditions_hold_is(condition: dict[str, Any]) -> None:
    other = Rule(100, 252)._replace(**condition)
    assert chosen([*RULES, other], BOTH, ANY._replace(uid=34)) == other


def test_reasons_go_by_the_owner_of_a_rule_and_not_by_its_pref() -> None:
    theirs = Rule(32765, 211)
    lines = explanation(ANY, BOTH._replace(table=211), theirs, NAMES, INTERFACES, {}, ours=OURS)
    assert lines[2] == "         because a rule of another program's says so"


def test_a_policy_is_told_by_its_line() -> None:
    rule = Rule(21000, 200, destination="203.0.113.0/24")
    lines = explanation(ANY, DEFAULT0, rule, {200: "table-eth0"}, {2: "eth0"}, {}, 12,
                        Routing(rules=frozenset([rule])))
    assert lines[2] == "         because line 12 of /etc/dhcp-lb says so"


@pytest.mark.parametrize("packet, condition", [
    (OF_LAN, {"iif": "lan0"}), (OF_LAN, {"source": "10.0.0.0/24", "iif": "lan0"}),
    (OF_LAN._replace(protocol=6, port=25), {"protocol": 6, "ports": ((20, 30),)}),
    (OF_LAN._replace(protocol=6, port=25), {"protocol": 6}),
    (OF_LAN._replace(protocol=6, port=25), {"ports": ((25, 25),)}),
    (OF_LAN._replace(mark=0x310), {"mark": 0x10, "mask": 0xff}), (OF_LAN, {"users": ((0, 0),)}),
])
def test_a_machine_of_the_lan_meets_the_rules_for_it(packet: Packet, condition: dict[str, Any]) -> None:
    other = Rule(100, 252)._replace(**condition)
    assert chosen([*RULES, other], BOTH, packet) == other


@pytest.mark.parametrize("packet, condition", [
    (OF_LAN, {"iif": "lo"}), (OF_LAN, {"iif": "lan1"}), (OF_LAN, {"source": "10.0.1.0/24"}),
    (OF_LAN._replace(protocol=17, port=25), {"protocol": 6}),
    (OF_LAN._replace(protocol=6, port=25), {"protocol": 6, "ports": ((26, 30),)}),
    (OF_LAN._replace(protocol=6, port=25), {"protocol": 6, "sports": ((25, 25),)}),
    (OF_LAN._replace(mark=0x320), {"mark": 0x10, "mask": 0xff}), (OF_LAN, {"users": ((34, 34),)}),
])
def test_a_machine_of_the_lan_does_not_meet_the_others(packet: Packet, condition: dict[str, Any]) -> None:
    other = Rule(100, 252)._replace(**condition)
    assert chosen([*RULES, other], BOTH, packet) == Rule(32765, 252)


ONLY = Rule(21003, 0, "10.0.0.0/24", action=UNREACHABLE)


@pytest.mark.parametrize("errno, want", [(101, ONLY), (22, Rule(21005, 0, action=BLACKHOLE)), (113, None)])
def test_what_has_no_way_is_told_by_the_rule_that_ended_it(errno: int, want: Rule | None) -> None:
    rules = [*RULES, Rule(21001, 0, "10.0.9.0/24", action=UNREACHABLE), ONLY, Rule(21004, 0, action=UNREACHABLE),
             Rule(21005, 0, action=BLACKHOLE)]
    assert ended(rules, errno, OF_LAN) == want


def test_why_there_is_no_way() -> None:
    ours = Routing(rules=frozenset([ONLY]))
    assert no_way(OF_LAN, 101, "Network is unreachable", ONLY, 7, ours) == (
        "there is no way to 203.0.113.1 from 10.0.0.50 that comes in by lan0: line 7 of /etc/dhcp-lb says so, and "
        "none of its links takes new connections (rule pref 21003 from 10.0.0.0/24 unreachable)")
    assert no_way(ANY, 101, "Network is unreachable", ONLY) == (
        "there is no way to 203.0.113.1: a rule of another program's says so (rule pref 21003 from 10.0.0.0/24 "
        "unreachable)")
    assert no_way(ANY, 101, "Network is unreachable", None) == (
        "the kernel has no route to 203.0.113.1: Network is unreachable")
    assert no_way(ANY, 22, "Invalid argument", None) == (
        "there is no way to 203.0.113.1: a route of type blackhole says so, which `ip route show table all type "
        "blackhole` names")
    assert no_way(OF_LAN, 113, "No route to host", None, forwards=False) == (
        "this machine does not forward a connection to 203.0.113.1 from 10.0.0.50 that comes in by lan0: "
        "net.ipv4.ip_forward must be 1, and net.ipv4.conf.lan0.forwarding, too")
    assert no_way(OF_LAN, 22, "Invalid argument", None, refused=True) == no_way(OF_LAN, 18, "", None)
    assert no_way(OF_LAN, 18, "Invalid cross-device link", None) == (
        "the kernel drops a connection to 203.0.113.1 from 10.0.0.50 that comes in by lan0: 10.0.0.50 must not be an "
        "address of this machine, and where rp_filter is 1, a route to it must lead by lan0")


def test_a_default_of_ours_in_main_is_not_called_somebody_elses() -> None:
    ours = Route(254, "0.0.0.0/0", 8100, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),))
    assert not [line for line in explanation(ANY, ours, MAIN, NAMES, INTERFACES, {}, ours=Routing(frozenset([ours])))
                if "not dhcp-lb's" in line]
