"""The outages in what the monitor has told the journal."""

import json
import time

import pytest

from dhcp_lb.monitor.notices import MESSAGE_IDS
from dhcp_lb.verbs.history import Entry, Outage, as_lines, outages, read


def begin(time_s: float, **states: str) -> Entry:
    four = {name: state for name, state in states.items() if not name.startswith("six_")}
    six = {name.removeprefix("six_"): state for name, state in states.items() if name not in four}
    lines = ["\n".join([f"{name} {state}" for name, state in of.items()]) for of in (four, six)]
    return Entry(time_s, "begin", "", "", "", *lines)


def down(time_s: float, link: str = "eth0", state: str = "dead", reason: str = "") -> Entry:
    return Entry(time_s, "link-down", link, state, reason)


def six(time_s: float, state: str, reason: str = "") -> Entry:
    return Entry(time_s, "prefix", "eth0", state, reason)


def up(time_s: float, link: str = "eth0") -> Entry:
    return Entry(time_s, "link-up", link, "up", "")


@pytest.mark.parametrize("entries, want", [
    ([], []),
    ([begin(1, eth0="up", eth1="up")], []),
    ([begin(1, eth0="up"), down(5, reason="no answer"), up(9)], [Outage("eth0", "dead: no answer", 5, 9)]),
    ([down(5), up(9), down(12, state="no carrier")], [Outage("eth0", "dead", 5, 9),
                                                      Outage("eth0", "no carrier", 12, None)]),
    ([down(5), down(6, "eth1"), up(7, "eth1"), up(9)], [Outage("eth0", "dead", 5, 9), Outage("eth1", "dead", 6, 7)]),
    # The monitor began anew meanwhile.
    ([down(5), begin(20, eth0="dead"), up(30)], [Outage("eth0", "dead", 5, 30)]),
    ([down(5), begin(20, eth0="up")], [Outage("eth0", "dead", 5, 20)]),
    ([down(5), begin(20, eth1="up")], [Outage("eth0", "dead", 5, 20)]),  # it is no link any more
    ([begin(1, eth0="no lease"), up(3)], [Outage("eth0", "no lease", 1, 3)]),
    ([begin(1, eth0="dead"), begin(2, eth0="dead")], [Outage("eth0", "dead", 1, None)]),
    # A link that leaves the configuration, or has just come into it.
    ([down(5, state="not configured")], []),
    ([down(5), down(6, state="not configured")], [Outage("eth0", "dead", 5, 6)]),
    ([up(5)], []),
    # IPv6 has its own.
    ([six(5, "dead", "no answer"), down(6), six(7, "up"), up(9)],
     [Outage("eth0 (IPv6)", "dead: no answer", 5, 7), Outage("eth0", "dead", 6, 9)]),
    ([six(5, "no carrier"), six(7, "no address")], [Outage("eth0 (IPv6)", "no carrier", 5, 7)]),
    ([begin(1, eth0="up", six_eth0="dead"), six(3, "up"), six(4, "up")], [Outage("eth0 (IPv6)", "dead", 1, 3)]),
    ([six(5, "dead"), begin(20, eth0="up", six_eth0="up")], [Outage("eth0 (IPv6)", "dead", 5, 20)]),
    ([six(5, "dead"), begin(20, eth0="up")], [Outage("eth0 (IPv6)", "dead", 5, 20)]),
    ([down(5), down(6, state="no carrier"), up(9)], [Outage("eth0", "dead", 5, 9)]),  # the journal has lost a line
])
def test_the_outages(entries: list[Entry], want: list[Outage]) -> None:
    assert outages(entries) == want


def test_the_journal_s_json() -> None:
    line = {"__REALTIME_TIMESTAMP": "1795714767743578", "MESSAGE_ID": MESSAGE_IDS["link-down"],
            "DHCP_LB_EVENT": "link-down", "DHCP_LB_LINK": list(b"\x1b[1m\xff"), "DHCP_LB_STATE": "no carrier",
            "DHCP_LB_REASON": None}
    assert list(read([json.dumps(line)])) == [
        Entry(1795714767.743578, "link-down", "\x1b[1m\udcff", "no carrier", "")]
    assert list(read([json.dumps({**line, "DHCP_LB_LINK": ["twice", "there"]})]))[0].link == ""


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    found = [Outage("eth0", "dead: no answer from its gateway 192.0.2.1", 1795714767.7, 1795714897.9),
             Outage("lte0", "no carrier", 1795714900, None)]
    assert as_lines(found, 1795000000, 1795715000) == [
        "LINK  FROM                 TO                   LASTED      WHY",
        "eth0  2026-11-26 17:39:27  2026-11-26 17:41:37  2 min 10 s  dead: no answer from its gateway 192.0.2.1",
        "lte0  2026-11-26 17:41:40  now                  1 min 40 s  no carrier",
        "",
        "The journal goes back to 2026-11-18 11:06:40."]
    assert as_lines([], 1795000000, 1795715000) == ["No outage.", "", "The journal goes back to 2026-11-18 11:06:40."]
    monkeypatch.undo()
    time.tzset()


def test_each_kind_of_entry_has_an_id_of_its_own() -> None:
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    assert all([len(one) == 32 and int(one, 16) for one in MESSAGE_IDS.values()])
