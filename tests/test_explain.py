"""Which rule a connection takes, and why, in words."""

from typing import Any

import pytest

from dhcp_lb.model import UNREACHABLE, Nexthop, Route, Rule
from dhcp_lb.verbs.explain import chosen, explanation
from tests.beds.examples import BOTH, COMMON_RULES, RULES0, RULES1, TABLE0

LOCAL, MAIN, DEFAULT = Rule(0, 255), Rule(32766, 254), Rule(32767, 253)
OURS = RULES0 | RULES1 | COMMON_RULES
RULES = [LOCAL, *sorted(RULES0 | RULES1 | COMMON_RULES), MAIN, DEFAULT]
BY_ETH0 = Route(254, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", 2),))
TUNNEL = Route(254, "0.0.0.0/0", 50, "", 0, (Nexthop("", 7),))
LAN = Route(254, "10.0.0.0/24", 0, "10.0.0.1", 253, (Nexthop("", 9),))
PREFIX0, DEFAULT0 = sorted(TABLE0, key=lambda route: -route.scope)
NAMES = {200: "table-eth0", 201: "table-eth1", 252: "dhcp-lb", 254: "main", 255: "local"}
INTERFACES = {2: "eth0", 3: "eth1", 9: "lan0"}


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
    rule = chosen(RULES, route, destination, source, oif, 0, group)
    assert rule and rule.pref == pref


def test_a_rule_of_the_administrator_is_asked_in_its_place() -> None:
    mine = Rule(100, 200, destination="203.0.113.0/24")
    assert chosen([*RULES, mine], DEFAULT0, "203.0.113.1", "192.0.2.34", "") == mine


def test_a_rule_with_marks_is_no_first_guess() -> None:
    marked = Rule(100, 252, rest=b"fwmark")
    assert chosen([*RULES, marked], BOTH, "203.0.113.1", "", "") == Rule(32765, 252)
    assert chosen([marked, MAIN], BOTH, "203.0.113.1", "", "") == marked


def test_a_table_that_no_rule_names_has_no_rule() -> None:
    assert chosen(RULES, BOTH._replace(table=77), "203.0.113.1", "", "") is None


def text(route: Route, source: str = "", oif: str = "") -> str:
    rule = chosen(RULES, route, "203.0.113.1", source, oif, 0, 109)
    return "\n".join(explanation("203.0.113.1", source, oif, route, rule, NAMES, INTERFACES, {2: 1 / 3, 3: 2 / 3},
                                 ours=OURS))


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
    assert chosen([*RULES, other], BOTH, "203.0.113.1", "", "") == Rule(32765, 252)


@pytest.mark.parametrize("condition", [{"mask": 0xff}, {"iif": "lo"}, {"users": ((34, 34),)}])
def test_a_rule_whose_conditions_hold_is(condition: dict[str, Any]) -> None:
    other = Rule(100, 252)._replace(**condition)
    assert chosen([*RULES, other], BOTH, "203.0.113.1", "", "", 34) == other


def test_reasons_go_by_the_owner_of_a_rule_and_not_by_its_pref() -> None:
    theirs = Rule(32765, 211)
    lines = explanation("203.0.113.1", "", "", BOTH._replace(table=211), theirs, NAMES, INTERFACES, {}, ours=OURS)
    assert lines[2] == "         because a rule of somebody else's says so"


def test_a_policy_is_told_by_its_line() -> None:
    rule = Rule(21000, 200, destination="203.0.113.0/24")
    lines = explanation("203.0.113.1", "", "", DEFAULT0, rule, {200: "table-eth0"}, {2: "eth0"}, {}, 12,
                        frozenset([rule]))
    assert lines[2] == "         because line 12 of /etc/dhcp-lb says so"
