"""Where a line of the log goes: to systemd's journal, or to the system log where there is none."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from errno import EMFILE
from pathlib import Path
from unittest import mock

import pytest

from dhcp_lb import log

KIND = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(log, "JOURNAL", str(tmp_path / "journal"))
    with listener(log.JOURNAL) as one:
        yield one


@pytest.fixture
def syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(log, "SYSLOG", str(tmp_path / "log"))
    with listener(log.SYSLOG) as one:
        yield one


def listener(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind(path)
    one.setblocking(False)
    return one


def lines(of: socket.socket) -> list[bytes]:
    """What waits there. Of the system log's lines, what stands behind their heads, which are those of syslog(3)."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data = of.recv(65536)
            head = re.match(rb"<29>[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d dhcp-lb\[%d\]: " % os.getpid(), data)
            found.append(data[head.end():] if head else data)
    return found


def fields(entry: bytes) -> dict[str, bytes]:
    """The fields of an entry, as https://systemd.io/JOURNAL_NATIVE_PROTOCOL has them."""
    found = {}
    while entry:
        head, _, rest = entry.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8:8 + size], rest[8 + size:]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found[name.decode()] = value
        entry = rest
    return found


def test_the_journal_has_the_line_its_kind_and_its_fields(journal: socket.socket, syslog: socket.socket) -> None:
    log.log("eth0 is dead", {"LINK": "$(id)\udcff", "STATES": "eth0 up\neth1 no lease", "REASON": ""}, KIND)
    assert fields(journal.recv(65536)) == {
        "MESSAGE": b"eth0 is dead", "PRIORITY": b"5", "SYSLOG_FACILITY": b"3", "SYSLOG_IDENTIFIER": b"dhcp-lb",
        "SYSLOG_PID": str(os.getpid()).encode(), "MESSAGE_ID": KIND.encode(), "DHCP_LB_LINK": b"$(id)\xff",
        "DHCP_LB_STATES": b"eth0 up\neth1 no lease", "DHCP_LB_REASON": b""}
    assert lines(syslog) == []


def test_a_plain_line_has_no_kind(journal: socket.socket, syslog: socket.socket) -> None:
    log.log("ip -4 rule add \udcff")
    found = fields(journal.recv(65536))
    assert found["MESSAGE"] == b"ip -4 rule add \\udcff" and "MESSAGE_ID" not in found
    assert not [name for name in found if name.startswith("DHCP_LB_")]


def test_a_line_cannot_add_fields(journal: socket.socket) -> None:
    log.log("x\nMESSAGE_ID=1", {"LINK": "eth0\n_UID=5"})
    found = fields(journal.recv(65536))
    assert (found["MESSAGE"], found["DHCP_LB_LINK"]) == (b"x\nMESSAGE_ID=1", b"eth0\n_UID=5")
    assert "MESSAGE_ID" not in found and "_UID" not in found


def test_without_a_journal_the_system_log_has_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       syslog: socket.socket) -> None:
    for path in tmp_path / "absent", tmp_path / "file":
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(log, "JOURNAL", str(path))
        log.log("eth0 is dead", {"LINK": "eth0"}, KIND)
    assert lines(syslog) == [b"eth0 is dead"] * 2


def test_without_a_descriptor_left_a_line_harms_nobody(journal: socket.socket, syslog: socket.socket) -> None:
    with mock.patch.object(log, "socket", side_effect=OSError(EMFILE, "Too many open files")):
        log.log("eth0 is dead")
    assert lines(journal) == lines(syslog) == []


def test_nobody_listens_at_the_journal_any_more(journal: socket.socket, syslog: socket.socket) -> None:
    journal.close()
    log.log("eth0 is dead \udcff")
    assert lines(syslog) == [b"eth0 is dead \\udcff"]


@pytest.mark.parametrize("name", ["JOURNAL", "SYSLOG"])
def test_a_log_that_stands_still_is_waited_for_once(journal: socket.socket, syslog: socket.socket, name: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    reader, other = (journal, syslog) if name == "JOURNAL" else (syslog, journal)
    path = getattr(log, name)
    if name == "SYSLOG":
        monkeypatch.setattr(log, "JOURNAL", "/absent")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                full.sendto(b"MESSAGE=x\n", path)
    before_s, busy_s = time.monotonic(), time.process_time()
    for _ in range(20):
        log.log("eth0 is dead")
    assert log.PATIENCE_S <= time.monotonic() - before_s < 2 * log.PATIENCE_S
    assert time.process_time() - busy_s < log.PATIENCE_S / 2 and lines(other) == []
    assert set(lines(reader)) == {b"MESSAGE=x\n"}
    log.log("eth1 is dead")
    assert b"eth1" in reader.recv(65536) and log._patience_s == log.PATIENCE_S


def test_the_journal_takes_no_more_modules_than_an_event_has(journal: socket.socket) -> None:
    program = ("import sys; sys.path.insert(0, sys.argv[1]); import dhcp_lb.hook, dhcp_lb.reconcile; "
               "before = set(sys.modules); from dhcp_lb import log; log.JOURNAL = sys.argv[2]; log.log('x'); "
               "print(*set(sys.modules) - before)")
    root = log.__file__.rpartition("/dhcp_lb/")[0]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program, root, log.JOURNAL], capture_output=True,
                          text=True, check=True)
    assert done.stdout.split() == ["dhcp_lb.log"] and b"MESSAGE=x\n" in journal.recv(65536)
