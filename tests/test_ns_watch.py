"""`status --watch`: as a terminal sees it, and a program."""

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Any

from tests.beds import box
from tests.beds.box import boxed, event, given, verb
from tests.test_ns_monitor import FAST, bed, until

NOBODY = "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"
MISTAKE = "/etc/dhcp-lb:3: 1 field: must be `interface routing-table table-id weight`"


@contextlib.contextmanager
def watching(*arguments: str, by: tuple[str, ...] = ()) -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen([*by, box.PROGRAM, "status", "--watch", *arguments], env=box.ENVIRONMENT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[bytes]", within_s: float = 10.0) -> str:
    """The next line; "" if none comes."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    return os.read(process.stdout.fileno(), 1 << 20).decode() if ready else ""


def states(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    """Of the next object."""
    *before, text = line(process).splitlines()
    assert before == []
    return {link["interface"]: link["state"] for link in json.loads(text)["links"]}


def links_up() -> None:
    for place, name in enumerate(box.add_links(2)):
        box.set_address(name, given(place))
        event("BOUND", name, given(place))


def becomes(process: "subprocess.Popen[bytes]", want: dict[str, str]) -> None:
    """An object says so, soon."""
    found: Any = None
    while found != want:
        found = states(process)


@boxed
def test_each_change_is_an_object_in_a_line_of_its_own() -> None:
    links_up()
    with watching("--json") as process:
        assert states(process) == {"eth0": "up", "eth1": "up"}
        verb("disable", "eth1")
        becomes(process, {"eth0": "up", "eth1": "disabled"})
        verb("enable", "eth1")
        becomes(process, {"eth0": "up", "eth1": "up"})
        box.ip("link set peer-eth0 down")
        becomes(process, {"eth0": "no carrier", "eth1": "up"})
        for _ in range(2):  # an editor writes it, and another one renames
            text = box.CONFIG.read_text()
            box.CONFIG.with_suffix(".new").write_text(text + "oops\n")
            box.CONFIG.with_suffix(".new").rename(box.CONFIG)
            assert json.loads(line(process))["mistakes"] == [MISTAKE]
            box.CONFIG.write_text(text)
            assert json.loads(line(process))["mistakes"] == []
        box.ip("rule add pref 18000 lookup main")
        assert json.loads(line(process))["in_order"] is False


@boxed
def test_what_changes_by_itself_is_no_change() -> None:
    with bed(FAST, FAST) as machine:
        until("all answers", lambda: '"answers": true' in verb("status", "--json"))
        with watching("--json") as process:
            assert states(process) == {"eth0": "up", "eth1": "up"}
            time.sleep(1)
            machine.event("eth0", 0)  # a renewal
            assert line(process, 3) == ""
            machine.isps[1].die()
            becomes(process, {"eth0": "up", "eth1": "dead"})


@boxed
def test_other_users_see_what_changes_in_the_kernel() -> None:
    links_up()
    with watching("--json", by=NOBODY) as process:
        assert states(process) == {"eth0": "up", "eth1": "up"}
        box.ip("link set peer-eth0 down")
        becomes(process, {"eth0": "no carrier", "eth1": "up"})


@boxed
def test_it_ends_with_its_reader_and_at_ctrl_c() -> None:
    links_up()
    with watching("--json") as process:
        assert line(process) and process.stdout
        process.stdout.close()
        assert process.wait(10) == 0
    with watching() as process:
        assert line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130 and process.stderr and process.stderr.read() == b""


@boxed
def test_in_a_pipe_each_change_is_a_table() -> None:
    links_up()
    before = verb("status")
    with watching() as process:
        # An hour that is left is 59 minutes a moment later.
        first, *once = [re.sub(r"\d+ s\b", "N s", text) for text in (line(process), before, verb("status"))]
        assert first in [text + "\n" for text in once]
        verb("disable", "eth1")
        until("the next one", lambda: re.search("^eth1 +disabled", line(process), re.M))


@boxed
def test_on_a_terminal_the_table_is_redrawn_in_its_place_also_for_another_size() -> None:
    links_up()
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = subprocess.Popen([box.PROGRAM, "status", "--watch"], env={**box.ENVIRONMENT, "NO_COLOR": "1"},
                               stdin=theirs, stdout=theirs, start_new_session=True)
    os.close(theirs)
    seen = ""

    def shows(pattern: str) -> bool:
        nonlocal seen
        while select.select([ours], [], [], 0.05)[0]:
            seen += os.read(ours, 65536).decode()
        frame = seen.rpartition("\033[H")[2]
        return frame.endswith("\033[J") and bool(re.search(pattern, frame))

    until("the table is there", lambda: shows(r"eth1  up .*\033\[K\r\n"))
    verb("disable", "eth1")
    until("it is another one", lambda: shows(r"eth1  disabled "))
    assert "WEIGHT" in seen
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
    os.kill(process.pid, signal.SIGWINCH)
    until("it is narrower", lambda: shows(r"SHARE *\033\[K"))
    os.close(ours)
    assert process.wait(10) in (0, 1, -signal.SIGHUP)


@boxed
def test_one_line_is_not_watched() -> None:
    done = subprocess.run([box.PROGRAM, "status", "--watch", "--brief"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "dhcp-lb: --brief with --watch: must be only one of the two\n")
