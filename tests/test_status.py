"""The output of `status`, and its JSON, which dhcp-lb(8) documents."""

import json
import re
from typing import Any

import pytest

from dhcp_lb.change import View
from dhcp_lb.config import parse
from dhcp_lb.model import (GIVEN_UP, MONITOR, NONE, ON_DEVICE, Checked, Hold, Interface, Lease, Nexthop, Route,
                           Routing, State)
from dhcp_lb.routing import desired, judge
from dhcp_lb.sight import Sight
from dhcp_lb.verbs.status import Status, as_json, as_text, shares, timeless
from tests.beds.examples import BOTH, CONFIG, INTERFACES, LEASES, ONLY0, SINGLE0, SINGLE1, held

CARRIERS = {2: True, 3: True}


def status(leases: dict[str, Lease] = LEASES, interfaces: dict[str, Interface] = INTERFACES,
           holds: dict[str, Hold] | None = None, *, text: bytes = CONFIG, known: bool = True,
           checked: dict[str, Checked] | None = None, commands: tuple[str, ...] = (),
           warnings: tuple[str, ...] = ()) -> Status:
    config = parse(text)
    state = State(leases, holds or {}, checked=checked or {})
    uplinks = judge(config.links, leases, state.holds(), interfaces)
    want = desired(uplinks, config.settings)
    sight = Sight(config, state, interfaces, [], [])
    return Status("2.0", sight, View(uplinks, want, want, ()), commands, warnings, 1754, known)


def test_two_links_that_are_up() -> None:
    assert as_text(status()) == """\
LINK  STATE  SHARE         ADDRESS          GATEWAY       WEIGHT  TABLE             LEASE
eth0  up      33% ###      192.0.2.34/24    192.0.2.1          1  table-eth0 (200)  12 min 34 s old, ends in 47 min 26 s
eth1  up      67% #######  198.51.100.7/25  198.51.100.1       2  table-eth1 (201)  12 min 34 s old, ends in 47 min 26 s

The kernel's routing is as it should be.
"""  # noqa: E501


def test_every_state_in_words() -> None:
    text = b"".join(b"eth%d t%d %d 1\n" % (number, number, 300 + number) for number in range(7))
    leases = {f"eth{n}": Lease(f"10.{n}.0.2", 24, f"10.{n}.0.1", "", 1000 + n, 0) for n in range(7)}
    leases["eth0"] = leases["eth0"]._replace(server="10.0.0.1")
    leases["eth1"] = NONE
    leases["eth2"] = leases["eth2"]._replace(gateway="", fault="gateway is the link's own address")
    interfaces = {f"eth{n}": Interface(10 + n, n != 3, n != 4, (f"10.{n}.0.2",)) for n in range(6)}
    found = as_text(status(leases, interfaces, held(eth0="disabled", eth5="draining"), text=text))
    rows = [re.split("  +", line) for line in found.splitlines()[1:8]]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [
        ("eth0", "disabled", "0%", "12 min 34 s old, does not end"),
        ("eth1", "no lease", "0%", "-"),
        ("eth2", "unusable", "0%", "12 min 32 s old"),
        ("eth3", "down", "0%", "12 min 31 s old"),
        ("eth4", "no carrier", "0%", "12 min 30 s old"),
        ("eth5", "draining", "100% ##########", "12 min 29 s old"),  # the last one left
        ("eth6", "no interface", "0%", "12 min 28 s old")]
    assert found.partition("\n\n")[2].splitlines()[0] == "eth2 unusable: gateway is the link's own address"


@pytest.mark.parametrize("width, headings", [
    (0, "LINK STATE SHARE ADDRESS GATEWAY WEIGHT TABLE LEASE"), (131, "LINK STATE SHARE ADDRESS GATEWAY WEIGHT TABLE"),
    (80, "LINK STATE SHARE ADDRESS GATEWAY WEIGHT"), (75, "LINK STATE SHARE ADDRESS GATEWAY"),
    (40, "LINK STATE SHARE"), (1, "LINK STATE SHARE"),
])
def test_what_does_not_fit_is_left_out_from_the_right(width: int, headings: str) -> None:
    leases = {"eth0": LEASES["eth0"], "eth1": Lease("198.51.100.254", 25, "198.51.100.129", begin_s=1)}
    found = as_text(status(leases, {"eth0": INTERFACES["eth0"], "eth1": Interface(
        3, True, False, ("198.51.100.254",))}), width=width)
    table = found.partition("\n\n")[0].splitlines()
    assert table[0].split() == headings.split() and len(table) == 3
    assert not width or width < 40 or max(map(len, table)) <= width


def test_a_hold_is_shown_whatever_the_state() -> None:
    """Or the link would be back draining, weeks later, and nobody would know why."""
    for hold in "draining", "disabled":
        report = status({"eth0": NONE, "eth1": LEASES["eth1"]}, holds=held(eth0=hold, eth1=hold))
        rows = [re.split("  +", line)[1] for line in as_text(report).splitlines()[1:3]]
        assert rows == [f"no lease, {hold}", hold]
        found = as_json(report)["links"]
        assert [(link["state"], link["held"]) for link in found] == [("no lease", hold), (hold, hold)]


def test_with_mistakes_it_is_what_there_is() -> None:
    report = status(text=CONFIG.replace(b" 201 2", b" 201 0"))._replace(mistakes=("F:2: weight 0",))
    assert as_text(report).splitlines()[1].startswith("eth0  up ")
    assert as_text(report).endswith(
        "This is the kernel's routing. Nothing is changed until the configuration is corrected.\n")
    found = as_json(report)
    assert (found["mistakes"], found["in_order"], len(found["links"])) == (["F:2: weight 0"], None, 1)
    nothing = status(text=b"")._replace(mistakes=("F: Permission denied",))
    assert as_text(nothing) == (
        "This is the kernel's routing. Nothing is changed until the configuration is corrected.\n")


def test_what_the_monitor_found_out() -> None:
    hold = Hold(MONITOR, GIVEN_UP, "no answer from 192.0.2.99", 1713)
    report = status(checked={
        "eth0": Checked(hold, "192.0.2.34", 0, 1713, -1, 100, "192.0.2.99"),
        "eth1": Checked(None, "198.51.100.7", 0, 0, 3, 1, "the provider's name servers")})
    lines = as_text(report).splitlines()
    assert [re.split("  +", line)[1::5] for line in lines[:3]] == [
        ["STATE", "CHECK"], ["dead", "for 41 s"], ["up", "3 ms, 1 % lost: the provider's name servers"]]
    assert lines[4] == "eth0 dead: no answer from 192.0.2.99"
    assert [(link["check"], link["share"]) for link in as_json(report)["links"]] == [
        ({"by": "192.0.2.99", "answers": False, "took_ms": None, "lost_percent": 100, "held_s": 41}, 0),
        ({"by": "the provider's name servers", "answers": True, "took_ms": 3, "lost_percent": 1, "held_s": None}, 1)]


def test_a_link_that_waits_in_its_tier() -> None:
    report = status(text=CONFIG.replace(b"201 2", b"201 2 tier=2"), checked={
        "eth0": Checked(None, "192.0.2.34", by="its gateway 192.0.2.1"), "eth1": Checked(None, "198.51.100.7")})
    lines = as_text(report).splitlines()
    assert [re.split("  +", line)[1::5][:2] for line in lines[1:3]] == [
        ["up", "no answer yet: its gateway 192.0.2.1"], ["up", "-"]]
    assert lines[4] == "eth1 up: waits in tier 2"
    assert [link["tier"] for link in as_json(report)["links"]] == [1, 2]


def test_without_links_it_says_how_to_go_on() -> None:
    assert as_text(status(text=b"")) == (
        "No links: name them in /etc/dhcp-lb, see dhcp-lb(5), then run `dhcp-lb apply`.\n")
    assert as_text(status(text=b"", commands=("ip -4 rule del x",))).endswith(  # the last ones have been removed
        "`dhcp-lb apply` would run:\n  ip -4 rule del x\n")


def test_what_apply_would_do_and_warnings() -> None:
    found = as_text(status(commands=("ip -4 rule add x", "ip -4 route del y"), warnings=("mind this",)))
    assert found.partition("\n\n")[2] == """\
Warning: mind this
The kernel's routing is not as it should be. `dhcp-lb apply` would run:
  ip -4 rule add x
  ip -4 route del y
"""


def test_other_users_do_not_see_the_leases() -> None:
    found = as_text(status(known=False))
    assert " old" not in found
    assert found.endswith(
        "This is the kernel's routing. Only root sees the leases, and whether the routing is as it should be.\n")


def test_colour_for_a_terminal() -> None:
    rows = as_text(status(interfaces={"eth0": INTERFACES["eth0"]}), colour=True, block="█").splitlines()
    assert "\033[32mup          \033[0m" in rows[1] and "\033[33mno interface\033[0m" in rows[2]
    assert "100% ██████████" in rows[1]
    assert "\033" not in rows[0] + as_text(status())


@pytest.mark.parametrize("ends_at, words", [
    (1754, "ended 0 s ago"), (1755, "ends in 1 s"), (1753, "ended 1 s ago"), (1754 + 59, "ends in 59 s"),
    (1754 + 60, "ends in 1 min"), (1754 + 61, "ends in 1 min 1 s"), (1754 + 3600, "ends in 1 h"),
    (1754 + 3600 * 25, "ends in 1 d 1 h"), (1754 + 86400 * 400, "ends in 400 d"),
])
def test_times_as_people_say_them(ends_at: int, words: str) -> None:
    lease = LEASES["eth0"]._replace(duration_s=ends_at - 1000)
    assert as_text(status({"eth0": lease})).splitlines()[1].endswith(f"12 min 34 s old, {words}")


def test_json() -> None:
    found = as_json(status(commands=("ip -4 rule add x",), warnings=("mind this",)))
    assert json.loads(json.dumps(found)) == {
        "schema": 1,
        "version": "2.0",
        "links": [
            {"interface": "eth0", "table_name": "table-eth0", "table": 200, "weight": 1, "state": "up", "reason": None,
             "held": None, "address": "192.0.2.34", "prefix_length": 24, "gateway": "192.0.2.1", "server": "192.0.2.1",
             "name_servers": [], "share": 0.3333, "lease_age_s": 754, "lease_ends_in_s": 2846, "tier": 1,
             "check": None, "ipv6": None},
            {"interface": "eth1", "table_name": "table-eth1", "table": 201, "weight": 2, "state": "up", "reason": None,
             "held": None, "address": "198.51.100.7", "prefix_length": 25, "gateway": "198.51.100.1",
             "server": "198.51.100.1", "name_servers": [], "share": 0.6667, "lease_age_s": 754,
             "lease_ends_in_s": 2846, "tier": 1, "check": None, "ipv6": None}],
        "balance": {"table_name": "dhcp-lb", "table": 252},
        "pinned": False,
        "in_order": False,
        "commands": ["ip -4 rule add x"],
        "warnings": ["mind this"],
        "mistakes": []}


def link(**changes: Any) -> Any:
    return as_json(status(**changes))["links"][0]


def test_json_of_what_is_not_there() -> None:
    none = link(leases={"eth0": NONE})
    assert none == {**none, "state": "no lease", "address": None, "prefix_length": None, "gateway": None,
                    "server": None, "share": 0.0, "lease_age_s": None, "lease_ends_in_s": None,
                    "tier": 1, "check": None}
    bad = link(leases={"eth0": NONE._replace(fault="address is missing", begin_s=1700)})
    assert (bad["state"], bad["reason"], bad["lease_age_s"]) == ("unusable", "address is missing", 54)
    assert link(leases={"eth0": Lease("192.0.2.34", 32, ON_DEVICE, begin_s=1700)})["gateway"] is None
    hidden = as_json(status(known=False))
    assert (hidden["links"][0]["lease_age_s"], hidden["in_order"]) == (None, None)


@pytest.mark.parametrize("routes, carriers, parts", [
    ([BOTH, SINGLE0, SINGLE1], CARRIERS, {2: 1 / 3, 3: 2 / 3}),
    ([BOTH, SINGLE0, SINGLE1], {2: True, 3: False}, {2: 1.0}),
    ([SINGLE0, SINGLE1], CARRIERS, {3: 1.0}),  # the multipath is gone: the lowest metric
    ([SINGLE0, SINGLE1], {2: True, 3: False}, {2: 1.0}),
    ([ONLY0, SINGLE0], CARRIERS, {2: 1.0}),
    ([BOTH], {2: False, 3: False}, {}),
    ([], CARRIERS, {}),
    ([BOTH._replace(table=7), BOTH._replace(destination="10.0.0.0/8"), BOTH._replace(rest=b"x")], CARRIERS, {}),
    ([Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("", 2, 1), Nexthop("", 3, 255)))], CARRIERS,
     {2: 1 / 256, 3: 255 / 256}),
])
def test_shares_are_what_the_kernel_deals_out(routes: list[Route], carriers: dict[int, bool],
                                              parts: dict[int, float]) -> None:
    assert shares(Routing(frozenset(routes)), 252, carriers) == pytest.approx(parts)


def test_what_changes_by_itself_is_left_out_where_changes_count() -> None:
    answers = {name: Checked(None, "192.0.2.34", took_ms=3, by="its gateway 192.0.2.1") for name in LEASES}
    slower = {name: one._replace(took_ms=90, lost=7) for name, one in answers.items()}
    silent = {name: one._replace(took_ms=-1) for name, one in answers.items()}
    found = [timeless(as_json(one)) for one in (
        status(checked=answers), status(checked=slower)._replace(now_s=1800), status(checked=silent), status())]
    assert found[0] == found[1] != found[2] != found[3]
