"""The text of dhclient's lease files → the variables that dhclient gave its script for the newest lease.

A router may have links that are up when the package is installed or when it boots. It must not wait for their next
renewal, so `apply` takes up the leases in these files. The variables go through the same parser as an event, so a
hostile value has the same effect whichever way it comes. dhclient.leases(5) has the format.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

DIRECTORY = Path("/var/lib/dhcp")  # Debian's; ifupdown names the files dhclient.IF.leases in it

# The variable of dhclient-script(8) for each option. The file separates the parts of a list by commas, the environment
# by spaces.
VARIABLES = {
    "subnet-mask": "new_subnet_mask",
    "routers": "new_routers",
    "dhcp-server-identifier": "new_dhcp_server_identifier",
    "dhcp-lease-time": "new_dhcp_lease_time",
    "domain-name-servers": "new_domain_name_servers",
    "rfc3442-classless-static-routes": "new_rfc3442_classless_static_routes",
}

# A string may have any characters from the server, even braces and semicolons.
TOKEN = re.compile(r'\s+|#[^\n]*|("(?:[^"\\]|\\.)*"|[{};]|[^\s{};"#]+)', re.DOTALL)


def environments(
    texts: Iterable[str], now: float, has_address: Callable[[str, str], bool]
) -> dict[str, dict[bytes, bytes]]:
    """Interface → the variables of its last lease that has not expired at `now` (seconds since 1970), and whose
    address the interface has.

    `texts` are whole files, the newest last. dhclient appends to a file, so the last lease in it is the newest.
    """
    newest: dict[str, dict[bytes, bytes]] = {}
    for text in texts:
        for lease in _leases(text):
            interface = lease.get("interface", "").strip('"')
            address = lease.get("fixed-address", "")
            expiry = _expiry(lease.get("expire", ""))
            if interface and has_address(interface, address) and expiry > now:
                newest[interface] = _environment(interface, address, lease)
                if expiry < float("inf"):
                    newest[interface][b"new_expiry"] = b"%d" % expiry
    return newest


def read(directory: Path = DIRECTORY) -> list[str]:
    """The text of every lease file in `directory`, the newest file last. A file that cannot be read is left out."""
    found = []
    for path in directory.glob("dhclient*.leases"):
        try:
            found.append((path.stat().st_mtime_ns, path.read_text("utf-8", "surrogateescape")))
        except OSError:
            continue  # dhclient replaces its file from time to time
    return [text for _, text in sorted(found)]


def running(interface: str, proc: Path = Path("/proc"), devices: Path = Path("/sys/class/net")) -> bool:
    """Whether a dhclient runs that configures this interface: it was started for this interface, or names none.
    Without one, a lease file may be older than the program that configures the interface now."""
    there = set(os.listdir(os.fsencode(devices)))
    for path in proc.glob("[0-9]*/cmdline"):
        try:
            program, *words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # the process has ended
        if program.rpartition(b"/")[2] == b"dhclient" and there.intersection(words) <= {os.fsencode(interface)}:
            return True
    return False


def _environment(interface: str, address: str, lease: dict[str, str]) -> dict[bytes, bytes]:
    known = {VARIABLES[name]: value.replace(",", " ") for name, value in lease.items() if name in VARIABLES}
    variables = {"reason": "BOUND", "interface": interface, "new_ip_address": address, **known}
    return {name.encode(): value.encode("utf-8", "surrogateescape") for name, value in variables.items()}


def _leases(text: str) -> Iterator[dict[str, str]]:
    """The complete `lease { … }` blocks in order, without `lease6` and without a block that is still being written."""
    stack: list[str] = []  # the headings of the blocks that are open
    statement: list[str] = []
    lease: dict[str, str] = {}
    for token in _tokens(text):
        if token == "{":
            stack.append(" ".join(statement))
            if stack == ["lease"]:
                lease = {}
        elif token == "}":
            if stack == ["lease"]:
                yield lease
            del stack[-1:]
        elif token == ";":
            if stack == ["lease"]:
                words = statement[1:] if statement[:1] == ["option"] else statement
                lease.update({word: " ".join(words[1:]) for word in words[:1]})
        else:
            statement.append(token)
            continue
        statement = []


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while match := TOKEN.match(text, position):
        position = match.end()
        if match[1]:
            yield match[1]


def _expiry(date: str) -> float:
    """The time of `4 2026/11/26 15:00:00` (UTC), `epoch 1795705200` or `never`, in seconds since 1970. 0 for any other
    text."""
    kind, _, rest = date.partition(" ")
    if kind == "never":
        return float("inf")
    try:
        return int(rest) if kind == "epoch" else calendar.timegm(time.strptime(rest, "%Y/%m/%d %H:%M:%S"))
    except ValueError:
        return 0
