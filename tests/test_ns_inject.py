"""System calls fail, or are slow: the client sees success, and the routing in force still works."""

import re
import subprocess
import time

import pytest

from tests.beds import box
from tests.beds.box import boxed, event, given, kernel, lookup
from tests.test_ns_kill import PAIRS, TRACE, Point, Step, assert_others_find_their_way, disk, links_up, points

# The system calls and the ways in which they can fail. Each call of a run fails once.
FAULTS = [("ENOSPC", "write,openat,mkdir,rename,fsync"),
          ("EIO", "read,write,rename,unlink,fsync,getdents64,newfstatat"),
          ("EROFS", "openat,mkdir,rename,unlink"), ("EMFILE", "openat,socket"),
          ("EINTR", "openat,read,write,sendto,recvfrom,flock,ioctl"),
          ("ENOBUFS", "sendto,recvfrom"), ("EPERM", "sendto,setsockopt,flock"), ("EBUSY", "sendto"),
          ("ENOMEM", "sendto,recvfrom,mmap,setsockopt"), ("EAGAIN", "sendto,recvfrom"), ("ENOLCK", "flock"),
          ("ENXIO", "ioctl")]

# The system calls by which two runs can notice each other, if they are not for a file of Python.
SHARED = ("flock", "getdents64", "ioctl", "kill", "mkdir", "openat", "recvfrom", "rename", "rmdir", "sendto",
          "setitimer", "socket", "unlink", "write")

ONLY = "--seccomp-bpf"  # strace stops the run only at the calls that it traces: two thirds of the time


def fails_at(step: Step, point: Point, error: str) -> int:
    """The status of the event's run if this system call fails. 0 means that the client sees success."""
    return step.strace(ONLY, "-e", f"trace={point.name}", "-e",
                       f"inject={point.name}:error={error}:when={point.count}")


@pytest.mark.parametrize("error,calls", FAULTS, ids=[error for error, _ in FAULTS])
@boxed
def test_a_system_call_that_fails_costs_no_lease_and_the_next_event_repairs(error: str, calls: str) -> None:
    links_up(2)
    log = box.Syslog()
    steps = PAIRS["BOUND and EXPIRE"]()
    wants, files, there = [], [], []
    for step in (*steps, *steps):
        step.prepare()
        there.append(points(step))
        step.happen()
        wants.append(kernel())
        files.append(box.state())
    faults = silent = 0
    for place, step in enumerate(steps):
        for point in [point for point in there[2 + place] if point.name in calls.split(",")]:
            step.prepare()
            old = kernel()
            log.lines()
            assert fails_at(step, point, error) == 0, point
            faults += "(INJECTED)" in TRACE.read_text()
            found = kernel()
            assert found.foreign == old.foreign, point
            assert found.ours in (old.ours, wants[place].ours), (point, found.ours)
            assert_others_find_their_way()
            if found != wants[place]:
                said = log.lines()
                silent += not said and point.name != "sendto"  # of the log itself
                assert said or point.name in ("sendto", "socket"), point
            step.happen()
            assert kernel() == wants[place], point
            assert box.state() == files[place], point
            steps[1 - place].prepare()
            steps[1 - place].happen()
    print(f"{error}: {faults} calls failed")
    assert faults > 0


@boxed
def test_with_a_full_run_the_routing_is_applied_and_no_old_lease_is_lost() -> None:
    want = links_up(2)
    before = disk()
    box.run("sh", "-c", "mount -t tmpfs -o size=64k,mode=700 full /mnt && cp -a /run/dhcp-lb/. /mnt/ && "
            "mount --bind /mnt /run/dhcp-lb && (cat /dev/zero >/run/dhcp-lb/filler; true) 2>/dev/null")
    event("RENEW", "eth1", given(1, gateway=2))
    changed = kernel()
    assert changed != want and any("via 10.100.1.2 " in line for line in changed.ours)
    after = disk()
    assert after.keys() - before.keys() == {"/run/dhcp-lb/filler"}
    assert after["/run/dhcp-lb/leases/eth1"] == before["/run/dhcp-lb/leases/eth1"]
    (box.STORE / "filler").unlink()
    event("RENEW", "eth1", given(1))
    assert kernel() == want


def delayed_at(step: Step, point: Point, milliseconds: int) -> "subprocess.Popen[bytes]":
    """Runs the event, and holds it up before this system call."""
    return subprocess.Popen(["strace", "-f", "-qq", "-o", str(TRACE), ONLY, "-e", f"trace={point.name}", "-e",
                             f"inject={point.name}:delay_enter={milliseconds}ms:when={point.count}", box.PROGRAM],
                            env=box.environment(*step[:3]), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_delay(point: Point, timeout_s: float = 5) -> None:
    """Waits until the delayed call has begun: strace then writes its line."""
    end = time.monotonic() + timeout_s
    call = re.compile(rf"^\d+ +{point.name}\(", re.MULTILINE)
    while len(call.findall(TRACE.read_text(errors="replace"))) < point.count and time.monotonic() < end:
        time.sleep(0.002)


@pytest.mark.parametrize("other", ["a hook", "apply", "EXPIRE"])
@boxed
def test_whoever_comes_between_two_system_calls_of_a_run_the_end_is_the_serial_one(other: str) -> None:
    links_up(3)
    steps = PAIRS["BOUND and EXPIRE"]()
    overlapping = {"a hook": (Step("RENEW", "eth2", given(2, gateway=2), moves_address=False),
                              Step("RENEW", "eth2", given(2), moves_address=False)),
                   "EXPIRE": (Step("EXPIRE", "eth2", None), Step("BOUND", "eth2", given(2))),
                   "apply": (None, None)}[other]
    wants, files, there = [], [], []
    for place, step in enumerate((*steps, *steps)):
        step.prepare()
        there.append([point for point in points(step) if point.name in SHARED and "/usr/" not in point.line])
        step.happen()
        between = overlapping[place % 2]
        if between:
            between.prepare()
            between.happen()
        wants.append(kernel())
        files.append(box.state())
    assert wants[0] == wants[2] != wants[1] == wants[3]
    runs = 0
    for number in range(max(len(there[2]), len(there[3]))):
        for place, step in enumerate(steps):
            point = there[2 + place][min(number, len(there[2 + place]) - 1)]
            between = overlapping[place]
            step.prepare()
            if between:
                between.prepare()
            TRACE.write_text("")
            held_up = delayed_at(step, point, 60)
            wait_for_delay(point, timeout_s=1)
            assert lookup()
            if between:
                between.happen()
            else:
                box.verb("apply")
            assert held_up.wait() == 0
            found = kernel()
            assert found == wants[place], (point, step)
            assert box.state() == files[place], (point, step)
            runs += 1
    print(f"{other}: {runs} races")
    assert runs > 50
