"""`status --brief`: the line, the number, and the file that everybody can read."""

import stat
from pathlib import Path

import pytest

from dhcp_lb.config import parse
from dhcp_lb.model import GIVEN_UP, MONITOR, NONE, Hold
from dhcp_lb.monitor.brief import (BROKEN, LACKING, MISTAKES, NO_MONITOR, UNKNOWN, WELL, announce, announced, brief,
                                   silence)
from dhcp_lb.routing import judge
from dhcp_lb.store import Store
from tests.beds.examples import CONFIG, INTERFACES, LEASES, held

SILENT = Hold(MONITOR, GIVEN_UP, "no answer from 192.0.2.99")
CARRIERS = {name: interface._replace(carrier=False) for name, interface in INTERFACES.items()}


def found(text: bytes = CONFIG, *, dead: str = "", cut: str = "", holds: dict[str, Hold] | None = None,
          flushed: bool = False, in_order: bool = True) -> tuple[int, str]:
    """Of the two links: those in `dead` do not answer, and those in `cut` have no carrier."""
    config, holds = parse(text), holds or {}
    reasons = {name: tuple([hold for hold in (SILENT if name in dead.split() else None, holds.get(name)) if hold])
               for name in INTERFACES}
    interfaces = {name: (CARRIERS if name in cut.split() else INTERFACES)[name] for name in INTERFACES}
    return brief(config, judge(config.links, LEASES, reasons, interfaces), holds, flushed, in_order)


@pytest.mark.parametrize("facts, want", [
    ({}, (WELL, "2 of 2 links work")),
    ({"text": CONFIG.replace(b"201 2", b"201 2 tier=2")}, (WELL, "2 of 2 links work")),  # one of them waits
    ({"dead": "eth1"}, (LACKING, "1 of 2 links works; eth1: dead")),
    ({"cut": "eth0"}, (LACKING, "1 of 2 links works; eth0: no carrier")),
    ({"cut": "eth0", "dead": "eth1"}, (BROKEN, "0 of 2 links work; eth0: no carrier; eth1: dead")),
    ({"holds": held(eth1="disabled")}, (WELL, "1 of 2 links works; eth1: disabled")),
    ({"holds": held(eth1="draining")}, (WELL, "1 of 2 links works; eth1: draining")),
    ({"holds": held(eth1="draining"), "dead": "eth0"}, (BROKEN, "0 of 2 links work; eth0: dead; eth1: draining")),
    ({"holds": held(eth0="disabled", eth1="disabled")},
     (BROKEN, "0 of 2 links work; eth0: disabled; eth1: disabled")),
    ({"in_order": False}, (BROKEN, "2 of 2 links work; the kernel's routing is not as it should be")),
    ({"flushed": True}, (BROKEN, "nothing is balanced: flushed; `dhcp-lb apply` brings the routing back")),
    ({"text": CONFIG + b"enabled = no\n"}, (BROKEN, "nothing is balanced: /etc/dhcp-lb says `enabled = no`")),
    ({"text": b""}, (UNKNOWN, "no links are configured")),
    ({"text": CONFIG + b"eth2\n"}, MISTAKES),
])
def test_how_the_links_are(facts: dict, want: tuple[int, str]) -> None:
    assert found(**facts) == want


@pytest.mark.parametrize("state, want", [
    ("up", (WELL, "2 of 2 links work")), ("no lease", (WELL, "2 of 2 links work")),
    ("no address", (WELL, "2 of 2 links work")), ("no carrier", (WELL, "2 of 2 links work")),
    ("dead", (LACKING, "2 of 2 links work; IPv6 of eth1: dead")),
    ("returning", (LACKING, "2 of 2 links work; IPv6 of eth1: returning")),
    ("no router", (LACKING, "2 of 2 links work; IPv6 of eth1: no router")),
])
def test_what_is_not_well_with_ipv6_alone_is_told(state: str, want: tuple[int, str]) -> None:
    config = parse(CONFIG)
    four = judge(config.links, LEASES, {}, INTERFACES)
    six = four[0], four[1]._replace(state=state)
    assert brief(config, four, (), False, True, six) == want
    assert brief(config, four, ("eth1",), False, True, six) == (WELL, want[1])
    dead = four[0], four[1]._replace(state="dead")
    assert brief(config, dead, (), False, True, six) == (LACKING, "1 of 2 links works; eth1: dead")


def test_a_link_that_has_an_address_of_ipv6_and_never_had_a_router_is_no_alarm() -> None:
    config = parse(CONFIG)
    four = judge(config.links, LEASES, {}, INTERFACES)
    six = four[0], four[1]._replace(state="no router", lease=four[1].lease._replace(gateway="", lost=True))
    assert brief(config, four, (), False, True, six) == (WELL, "2 of 2 links work")


def test_a_link_that_the_administrator_holds_and_that_has_no_lease_is_no_alarm() -> None:
    config = parse(CONFIG)
    uplinks = judge(config.links, {**LEASES, "eth1": NONE}, {}, INTERFACES)
    assert [brief(config, uplinks, holds, False, True)[0] for holds in ((), ("eth1",))] == [LACKING, WELL]


def test_everybody_can_read_that_file_and_no_other(store: Store) -> None:
    store.hold(held(eth0="disabled"))
    announce(store, (LACKING, "$(id) \udcff: dead"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (Path(store.path), *Path(store.path).iterdir())}
    assert modes == {"dhcp-lb": 0o711, "leases": 0o700, "prefixes": 0o700, "renewed": 0o700, "waiting": 0o700,
                     "held": 0o600, "brief": 0o644}
    assert announced(store) == (LACKING, "$(id) \udcff: dead")
    store.prepare()  # it does not mind


def test_it_counts_for_two_minutes_in_which_the_machine_is_awake(store: Store,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    awake_s = 1000.0
    monkeypatch.setattr("dhcp_lb.monitor.brief.monotonic", lambda: awake_s)
    assert announced(store) == NO_MONITOR
    announce(store, (WELL, "x"))
    for awake_s, want in (999.9, UNKNOWN), (1000.0, WELL), (1120.9, WELL), (1121.0, UNKNOWN):
        assert announced(store)[0] == want
    awake_s = 1000.0
    silence(store)
    silence(store)
    assert announced(store) == NO_MONITOR


@pytest.mark.parametrize("text", [b"", b"0 1000\n", b"0 1000 cut of", b"x 1000 y\n", b"0 x y\n", b"4 1000 x\n",
                                  b"-1 1000 x\n", b"\xff\n"])
def test_a_file_that_makes_no_sense_says_nothing(store: Store, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhcp_lb.monitor.brief.monotonic", lambda: 1000.0)
    Path(store.path, "brief").write_bytes(b"0 1000 x\n")
    assert announced(store) == (WELL, "x")
    Path(store.path, "brief").write_bytes(text)
    assert announced(store) == NO_MONITOR
