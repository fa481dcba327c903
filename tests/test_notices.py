"""What the scripts in notify.d are told: transitions, each once."""

import pytest

from dhcp_lb.model import ON_DEVICE
from dhcp_lb.monitor.notices import Standing, Standing6, beginning, notices, notices6, standings, standings6, words
from dhcp_lb.routing import judge
from tests.beds.examples import ETH0, ETH1, INTERFACES, LEASES

WORKS = Standing("up", "", "192.0.2.34", "192.0.2.1", 200, 1)
DEAD = WORKS._replace(state="dead", reason="no answer from 192.0.2.99")
OTHER = Standing("up", "", "198.51.100.7", "198.51.100.1", 201, 1)
STANDBY = OTHER._replace(tier=2)


def told(before: dict[str, Standing], now: dict[str, Standing]) -> list[str]:
    return [" ".join([one["EVENT"], one.get("LINK", "")]).strip() for one in notices(before, now)]


def test_nothing_changes_and_nothing_is_told() -> None:
    both = {"eth0": WORKS, "eth1": DEAD}
    assert notices(both, both) == [] == notices({}, {})
    assert notices(both, {**both, "eth1": DEAD._replace(reason="other words")}) == []


def test_a_link_that_dies_and_comes_back() -> None:
    before, now = {"eth0": WORKS, "eth1": OTHER}, {"eth0": DEAD, "eth1": OTHER}
    assert notices(before, now) == [{
        "EVENT": "link-down", "LINK": "eth0", "STATE": "dead", "OLD_STATE": "up",
        "REASON": "no answer from 192.0.2.99", "ADDRESS": "192.0.2.34", "OLD_ADDRESS": "192.0.2.34",
        "GATEWAY": "192.0.2.1", "TABLE": "200", "TIER": "1"}]
    assert told(now, before) == ["link-up eth0"]


@pytest.mark.parametrize("before, now, events", [
    ({"eth0": WORKS}, {"eth0": DEAD}, ["link-down eth0", "all-down"]),
    ({"eth0": DEAD}, {"eth0": WORKS}, ["link-up eth0"]),
    ({"eth0": WORKS}, {"eth0": WORKS._replace(address="192.0.2.35")}, ["address eth0"]),
    ({"eth0": DEAD}, {"eth0": DEAD._replace(address="192.0.2.35")}, []),
    ({"eth0": DEAD}, {"eth0": DEAD._replace(state="no carrier")}, []),
    ({"eth0": WORKS}, {}, ["link-down eth0", "all-down"]),
    ({}, {"eth0": WORKS}, ["link-up eth0"]),
    ({}, {"eth0": DEAD}, []),
    ({"eth0": WORKS, "eth1": STANDBY}, {"eth0": DEAD, "eth1": STANDBY}, ["link-down eth0", "tier"]),
    ({"eth0": DEAD, "eth1": STANDBY}, {"eth0": WORKS, "eth1": STANDBY}, ["link-up eth0", "tier"]),
    ({"eth0": WORKS, "eth1": STANDBY}, {"eth0": WORKS, "eth1": DEAD._replace(tier=2)}, ["link-down eth1"]),
    ({"eth0": WORKS, "eth1": OTHER}, {"eth0": DEAD, "eth1": DEAD},
     ["link-down eth0", "link-down eth1", "all-down"]),
])
def test_what_is_told(before: dict[str, Standing], now: dict[str, Standing], events: list[str]) -> None:
    assert told(before, now) == events


def test_the_tier_that_serves_and_the_one_that_did() -> None:
    before, now = {"eth0": WORKS, "eth1": STANDBY}, {"eth0": DEAD, "eth1": STANDBY}
    assert notices(before, now)[1] == {"EVENT": "tier", "TIER": "2", "OLD_TIER": "1"}


def test_what_is_told_of_comes_from_the_links_as_they_are() -> None:
    assert standings(judge((ETH0, ETH1), LEASES, {}, INTERFACES)) == {"eth0": WORKS, "eth1": OTHER}
    device = {"eth0": LEASES["eth0"]._replace(gateway=ON_DEVICE, length=32)}
    assert standings(judge((ETH0,), device, {}, INTERFACES)) == {"eth0": WORKS._replace(gateway="")}


@pytest.mark.parametrize("before, now, lines", [
    ({"eth0": WORKS}, {"eth0": DEAD}, ["eth0: dead, was up", "no link works"]),
    ({"eth0": DEAD}, {"eth0": WORKS}, ["eth0: up, was dead"]),
    ({"eth0": WORKS}, {"eth0": WORKS._replace(address="192.0.2.35")},
     ["eth0: address 192.0.2.35, was 192.0.2.34"]),
    ({"eth0": WORKS, "eth1": STANDBY}, {"eth1": STANDBY},
     ["eth0: not configured, was up", "tier 2 serves, was tier 1"]),
])
def test_the_log_has_them_in_words(before: dict[str, Standing], now: dict[str, Standing], lines: list[str]) -> None:
    assert [words(one) for one in notices(before, now)] == lines


def test_the_log_says_how_the_links_are_as_the_monitor_begins() -> None:
    four = {"eth1": DEAD._replace(state="no lease"), "eth0": WORKS}
    assert words(beginning(four, {})) == "the monitor begins: eth0: up, eth1: no lease"
    assert words(beginning(four, {"eth0": LAN})) == "the monitor begins: eth0: up, eth1: no lease, IPv6 of eth0: up"


LAN = Standing6("up", "", ("2001:db8:a::/56", "2001:db8:c::/56"), 200, 1)
SILENT = LAN._replace(state="dead", reason="no answer from 2001:db8:a::53")


def test_the_ipv6_of_a_link_dies_and_comes_back_and_its_prefixes_with_it() -> None:
    assert notices6({"eth0": LAN}, {"eth0": SILENT}) == [{
        "EVENT": "prefix", "LINK": "eth0", "STATE": "dead", "OLD_STATE": "up",
        "REASON": "no answer from 2001:db8:a::53", "PREFIXES6": "",
        "OLD_PREFIXES6": "2001:db8:a::/56 2001:db8:c::/56", "TABLE": "200", "TIER": "1"}]
    back, = notices6({"eth0": SILENT}, {"eth0": LAN})
    assert (back["STATE"], back["PREFIXES6"], back["OLD_PREFIXES6"]) == ("up", "2001:db8:a::/56 2001:db8:c::/56", "")


@pytest.mark.parametrize("before, now, line", [
    ({}, {"eth0": LAN}, "IPv6 of eth0: up, was no lease; prefixes 2001:db8:a::/56 2001:db8:c::/56, were none"),
    ({"eth0": LAN}, {"eth0": LAN._replace(prefixes=("2001:db8:d::/56",))},
     "IPv6 of eth0: prefixes 2001:db8:d::/56, were 2001:db8:a::/56 2001:db8:c::/56"),
    ({"eth0": LAN._replace(prefixes=())}, {"eth0": SILENT._replace(prefixes=())}, "IPv6 of eth0: dead, was up"),
    ({"eth0": LAN}, {"eth0": LAN._replace(state="no address")}, ""),  # the LAN's way is the same
    ({"eth0": LAN}, {"eth0": LAN._replace(state="draining")},
     "IPv6 of eth0: draining, was up; prefixes none, were 2001:db8:a::/56 2001:db8:c::/56"),
    ({"eth0": SILENT}, {"eth0": SILENT._replace(state="no carrier", prefixes=())}, ""),
    ({"eth0": LAN}, {}, "IPv6 of eth0: no lease, was up; prefixes none, were 2001:db8:a::/56 2001:db8:c::/56"),
    ({}, {"eth0": SILENT}, ""),
    ({"eth0": LAN, "eth1": LAN}, {"eth0": LAN, "eth1": LAN}, ""),
])
def test_what_is_told_of_ipv6_is_what_the_lan_may_use(before: dict[str, Standing6], now: dict[str, Standing6],
                                                      line: str) -> None:
    assert [words(one) for one in notices6(before, now)] == ([line] if line else [])


def test_what_is_told_of_ipv6_comes_from_the_links_as_they_are() -> None:
    leases = {"eth0": LEASES["eth0"]._replace(prefixes=LAN.prefixes)}
    assert standings6(judge((ETH0,), leases, {}, INTERFACES)) == {"eth0": LAN}
