"""The verb `history`: the outages of the links, from the monitor's entries in systemd's journal."""

from __future__ import annotations

import json
import subprocess
import time
from argparse import Namespace
from collections.abc import Iterable
from errno import ENODATA, ENOENT
from typing import Any, NamedTuple

from ..config import Invalid, read_config
from ..log import printable
from ..monitor.notices import BEGIN, LINK_DOWN, LINK_UP, MESSAGE_IDS, NOT_CONFIGURED, PREFIX, WORKS
from ..routing import UP
from .status import span

FIELDS = ("EVENT", "LINK", "STATE", "REASON", "STATES", "STATES6")
IN_IPV6 = " (IPv6)"  # behind a link's name
NO_JOURNALCTL = ("there is no journalctl, so nothing keeps the past: install systemd, read the system log, or have a "
                 "script in /etc/dhcp-lb-notify.d write it down")
NOTHING = ("the journal has no entry of the monitor's: the monitor must have run, and you must be root or in the "
           "group adm to see its entries")


class Entry(NamedTuple):
    """An entry of the monitor's in the journal."""

    time_s: float  # since 1970
    event: str
    link: str
    state: str
    reason: str
    states: str = ""  # lines `INTERFACE STATE`, of BEGIN
    states6: str = ""  # the same of IPv6


class Outage(NamedTuple):
    """A time in which a link did not work, or its IPv6 did not."""

    link: str  # if only its IPv6 did not work, with IN_IPV6 behind it
    why: str
    begin_s: float
    end_s: float | None  # None: it has not ended, as far as anybody knows


def history(options: Namespace) -> None:
    """Prints the outages of all links, or of one. OSError if there is no journal or no entry, Invalid if there is no
    such link."""
    entries = list(read(_journal()))
    if not entries:
        raise OSError(ENODATA, NOTHING)
    found = outages(entries)
    if options.link:
        known = {link.interface for link in read_config().links} | {_interface(one) for one in found}
        if options.link not in known:
            raise Invalid(f"{options.link} is not a link of /etc/dhcp-lb, and the journal knows no outage of it")
        found = [one for one in found if _interface(one) == options.link]
    for line in as_lines(found, entries[0].time_s, time.time()):
        print(printable(line))


def read(lines: Iterable[str]) -> Iterable[Entry]:
    """Pure: the entries in the output of `journalctl --output=json`."""
    for line in lines:
        entry: dict[str, Any] = json.loads(line)
        yield Entry(int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
                    *[_text(entry.get(f"DHCP_LB_{name}")) for name in FIELDS])


def outages(entries: Iterable[Entry]) -> list[Outage]:
    """Pure: the outages, in the order in which they began. If one began or ended while no monitor ran, its time is the
    begin of the next monitor."""
    found: list[Outage] = []
    places: dict[str, int] = {}  # link → its outage that has not ended

    def ends(link: str, time_s: float) -> None:
        if link in places:
            place = places.pop(link)
            found[place] = found[place]._replace(end_s=time_s)

    def begins(link: str, why: str, time_s: float) -> None:
        places[link] = len(found)
        found.append(Outage(link, why, time_s, None))

    for entry in entries:
        if entry.event == BEGIN:
            states = _states(entry.states, "") | _states(entry.states6, IN_IPV6)
            for link in [link for link in places if states.get(link, UP) in WORKS]:
                ends(link, entry.time_s)
            for link, state in states.items():
                if state not in WORKS and link not in places:
                    begins(link, state, entry.time_s)
            continue
        link = entry.link + (IN_IPV6 if entry.event == PREFIX else "")
        if entry.event == LINK_UP or entry.state == NOT_CONFIGURED or entry.event == PREFIX and entry.state in WORKS:
            ends(link, entry.time_s)
        elif link not in places:
            begins(link, f"{entry.state}: {entry.reason}" if entry.reason else entry.state, entry.time_s)
    return found


def _states(lines: str, behind: str) -> dict[str, str]:
    pairs = [line.split(" ", 1) for line in lines.split("\n") if " " in line]
    return {name + behind: state for name, state in pairs}


def _interface(outage: Outage) -> str:
    return outage.link.removesuffix(IN_IPV6)


def as_lines(found: list[Outage], since_s: float, now_s: float) -> list[str]:
    """Pure: a table of the outages, and how far back the journal goes."""
    rows = [("LINK", "FROM", "TO", "LASTED", "WHY")]
    for link, why, begin_s, end_s in found:
        lasted_s = int((now_s if end_s is None else end_s) - begin_s)
        rows.append((link, _date(begin_s), "now" if end_s is None else _date(end_s), span(max(0, lasted_s)), why))
    widths = [max([len(row[column]) for row in rows]) for column in range(len(rows[0]))]
    table = ["  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() for row in rows]
    return [*(table if found else ["No outage."]), "", f"The journal goes back to {_date(since_s)}."]


def _journal() -> list[str]:
    """The journal's lines. Only root's entries count, because anybody may write into the journal."""
    kinds = [f"MESSAGE_ID={MESSAGE_IDS[event]}" for event in (BEGIN, LINK_DOWN, LINK_UP, PREFIX)]
    try:
        done = subprocess.run(["journalctl", "--output=json", "--all", "--no-pager", "--quiet", "_UID=0", *kinds],
                              stdout=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise OSError(ENOENT, NO_JOURNALCTL) from None
    return done.stdout.decode("utf-8", "replace").splitlines()


def _text(value: Any) -> str:
    """A field's value as text. journalctl prints unprintable text as a list of bytes; "" for a field that comes
    twice."""
    if isinstance(value, list) and all([isinstance(byte, int) for byte in value]):
        return bytes(value).decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def _date(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
