"""Faults of doc/faults.md: Process and time. Each test has the number of its line."""

import fcntl
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.beds import box
from tests.beds.box import (CONFIG, ENVIRONMENT, PROGRAM, STORE, Given, Syslog, assert_renewed, boxed, environment,
                            event, given, hook, kernel, run, set_address, start_event, two_links, verb)
from tests.beds.lab import wait_for

INSTALLED = Path("/usr/share/dhcp-lb/dhcp_lb")


@boxed
def test_one_who_has_waited_goes_by_what_the_file_says_then() -> None:
    two_links()
    slow = start_event("RENEW", "eth0", given(0, gateway=5), [
        "strace", "-qq", "-o", "/run/trace", "-e", "trace=flock", "-e", "inject=flock:delay_enter=1500000:when=1"])
    time.sleep(0.7)
    CONFIG.write_text(CONFIG.read_text().replace("eth0 table-eth0 1000 1", "eth0 table-eth0 1000 7"))
    verb("apply")
    slow.wait()
    assert "via 10.100.0.5 dev eth0 weight 7" in run("ip", "route", "show", "table", "252")


@boxed
def test_an_edit_s_apply_is_not_left_to_one_who_began_before() -> None:
    two_links()
    with open(STORE / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        event_waits = start_event("RENEW", "eth0", given(0, gateway=5))
        while len(list((STORE / "waiting").iterdir())) < 1:
            time.sleep(0.01)
        CONFIG.write_text(CONFIG.read_text().replace("eth0 table-eth0 1000 1", "eth0 table-eth0 1000 7"))
        apply_waits = subprocess.Popen([PROGRAM, "apply"], env=ENVIRONMENT)
        while len(list((STORE / "waiting").iterdir())) < 2:
            time.sleep(0.01)
    assert (event_waits.wait(), apply_waits.wait()) == (0, 0)
    assert "via 10.100.0.5 dev eth0 weight 7" in run("ip", "route", "show", "table", "252")


def shorten_the_wait(seconds: float) -> None:
    """The deadlines of the installed program."""
    path = INSTALLED.joinpath("lock.py")
    path.write_text(path.read_text().replace("WAIT_S = 20.0", f"WAIT_S = {seconds}"))


@boxed
def test_a_lock_that_somebody_holds_is_waited_for_and_the_event_is_not_lost() -> None:  # 68
    before = two_links()
    shorten_the_wait(0.5)
    log = Syslog()
    with open(STORE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        assert hook().returncode == 0
        assert 0.4 < time.monotonic() - started < 5
        assert log.lines()[0].startswith("gave up: waiting for the lock took more than ")
        done = subprocess.run([PROGRAM, "apply"], capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 1 and "waiting for the lock took more than" in done.stderr
        assert kernel() == before
    event("RENEW", "eth1", given(1))
    assert_renewed(before)


@boxed
def test_nft_that_takes_its_time_holds_up_no_event() -> None:
    before = two_links()
    nft, runs, slow = Path("/usr/sbin/nft"), Path("/run/runs"), Path("/run/slow")
    nft.rename("/usr/sbin/nft.real")
    nft.write_text(f"#!/bin/sh\ntouch {runs}\nwhile [ -e {slow} ]; do sleep 0.1; done\nexec nft.real \"$@\"\n")
    nft.chmod(0o755)
    with CONFIG.open("a") as config:
        config.write("pin = yes\n")
    slow.touch()
    applying = subprocess.Popen([PROGRAM, "apply"], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    wait_for("nft", runs.exists)
    started = time.monotonic()
    assert hook().returncode == 0
    took_s = time.monotonic() - started
    assert_renewed(before)
    assert applying.poll() is None and took_s < 5, took_s
    slow.unlink()
    assert applying.wait(20) == 0
    assert "inet dhcp-lb" in run("nft", "list", "tables")
    assert sum(line.startswith("20000:") for line in kernel().ours) == 2


@boxed
def test_the_deadlines_are_twenty_and_thirty_seconds() -> None:  # 65, 68
    assert "\nWAIT_S = 20.0\nRUN_S = 30.0\n" in INSTALLED.joinpath("lock.py").read_text()


@boxed
def test_fifty_events_at_once_give_the_serial_result() -> None:  # 70
    before = two_links()
    for number in range(2):
        event("STOP", f"eth{number}")
    runs = [box.start_event("BOUND", f"eth{place % 2}", given(place % 2)) for place in range(50)]
    assert [run_.wait() for run_ in runs] == [0] * 50
    assert kernel() == before
    assert os.listdir(STORE / "waiting") == []


@boxed
def test_nothing_of_ours_outlives_an_event() -> None:  # 71
    two_links()
    ours = {name for name in os.listdir("/proc") if name.isdecimal()}
    hook()
    verb("apply")
    assert {name for name in os.listdir("/proc") if name.isdecimal()} <= ours
    with open(STORE / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@boxed
def test_neither_a_set_clock_nor_a_reboot_makes_a_lease_of_what_is_none() -> None:  # 73, 75
    before = two_links()
    (STORE / "leases/eth0").unlink()
    boottime = 400 * 86400
    later = subprocess.run(["unshare", "--time", f"--boottime={boottime}", "--monotonic=0", PROGRAM],
                           env=environment("RENEW", "eth0", given(0)), capture_output=True)
    if later.returncode:
        pytest.skip("this kernel has no time namespaces")
    begin_s = int((STORE / "leases/eth0").read_text().split(" ")[0])
    assert begin_s > boottime
    event("RENEW", "eth1", given(1))  # eth0's lease began after now, so it is from before the last boot
    assert kernel() == before  # the address and our routes are still there, so the lease is read off them
    run("ip", "route", "flush", "table", "1000")
    run("ip", "route", "flush", "table", "252")
    event("RENEW", "eth1", given(1))
    assert not any("eth0" in line for line in kernel().ours)
    event("RENEW", "eth0", given(0))
    assert kernel() == before


@boxed
def test_no_event_starts_a_process_with_pins_and_a_policy_neither() -> None:
    box.add_links(2)
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    with CONFIG.open("a") as config:
        config.write("in lan0 -> eth1 only\nuser root tcp port 25 -> eth0\n")
    verb("apply")

    def processes(reason: str, interface: str, lease: Given | None = None) -> list[str]:
        """The calls by which this event's run, or a child of it, starts a process."""
        set_address(interface, lease)
        subprocess.run(["strace", "-f", "-qq", "-o", "/run/trace", "-e", "trace=process", PROGRAM], check=True,
                       env=environment(reason, interface, lease), stdin=subprocess.DEVNULL)
        return re.findall(r"^\d+ +(\w*(?:exec|clone|fork)\w*)\(", Path("/run/trace").read_text(), re.MULTILINE)

    def pinned() -> int:
        return sum(line.startswith("20000:") for line in kernel().ours)

    alone = ["execve"]
    for number in range(2):
        assert processes("BOUND", f"eth{number}", given(number)) == alone
    assert pinned() == 2 and [line for line in kernel().ours if line.startswith("21000:")]
    assert processes("RENEW", "eth0", given(0, gateway=2)) == alone
    assert processes("EXPIRE", "eth1") == alone and pinned() == 1  # and its connections are released
    assert processes("BOUND", "eth1", given(1)) == alone and pinned() == 2
    run("nft", "delete", "table", "inet", "dhcp-lb")
    assert processes("RENEW", "eth0", given(0)) == alone
    assert "inet dhcp-lb" not in run("nft", "list", "tables")
