"""`status --brief` and the check plugin, for root and for others."""

import subprocess
from pathlib import Path

import pytest

from tests.beds import box
from tests.test_ns_monitor import FAST, bed, until

NOBODY = "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"
PLUGIN = box.CHECKOUT / "etc/nagios/plugins/check_dhcp_lb"
WELL = 0, "2 of 2 links work\n"
DEAD = 1, "1 of 2 links works; eth1: dead\n"
FLUSHED = 2, "nothing is balanced: flushed; `dhcp-lb apply` brings the routing back\n"
UNKNOWN = 3, "no word of the monitor: see `systemctl status dhcp-lb-monitor`, or ask as root\n"
MISTAKES = 3, "/etc/dhcp-lb has mistakes: `dhcp-lb check` names them\n"
BOTH = "2 of 2 links work; the kernel's routing is not as it should be\n"


def said(*argv: str) -> tuple[int, str]:
    done = subprocess.run(argv, env=box.ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    return done.returncode, done.stdout


def root() -> tuple[int, str]:
    return said(box.PROGRAM, "status", "--brief")


def nobody() -> tuple[int, str]:
    return said(*NOBODY, box.PROGRAM, "status", "--brief")


def both_say(want: tuple[int, str]) -> None:
    until(f"root sees {want[1]}", lambda: root() == want)
    until(f"everybody sees {want[1]}", lambda: nobody() == want, 3)


@box.boxed
def test_the_monitor_tells_everybody_what_root_sees() -> None:
    with bed(FAST, "interval=0.25 down=1 up=0") as machine:
        both_say(WELL)
        machine.isps[1].die()
        both_say(DEAD)
        box.verb("disable", "eth1")  # it is the administrator's now
        both_say((0, "1 of 2 links works; eth1: disabled\n"))
        box.verb("enable", "eth1")
        machine.isps[1].revive()
        both_say(WELL)
        box.verb("flush")
        both_say(FLUSHED)
        box.verb("apply")
        both_say(WELL)
        good = box.CONFIG.read_text()
        box.CONFIG.write_text(good + "eth2\n")
        assert root() == MISTAKES
        box.ip("rule add pref 5 from 192.0.2.1 lookup main")  # so that the monitor looks
        both_say(MISTAKES)
        box.CONFIG.write_text(good)
        box.verb("apply")
        both_say(WELL)
        machine.end()
        assert (nobody(), root()) == (UNKNOWN, WELL)


@box.boxed
def test_what_counts_in_the_place_of_ours_is_not_in_order() -> None:
    with bed(FAST, FAST) as machine:
        both_say(WELL)
        box.ip("rule add pref 18000 lookup main")
        assert root() == (2, BOTH)
        machine.configure(FAST, FAST + " dns=no")  # something that the monitor tells of at once
        box.verb("apply")
        both_say((2, BOTH))


@box.boxed
def test_other_users_do_not_see_the_store() -> None:
    with bed(FAST, FAST):
        both_say(WELL)
        for path in "/run/dhcp-lb", "/run/dhcp-lb/watched", "/run/dhcp-lb/leases/eth0":
            done = subprocess.run([*NOBODY, "find", path, "-maxdepth", "1"], capture_output=True, text=True)
            assert "Permission denied" in done.stderr or not Path(path).is_dir(), done
            assert subprocess.run([*NOBODY, "cat", path], capture_output=True).returncode == 1
        assert "10." not in Path("/run/dhcp-lb/brief").read_text()


@pytest.mark.parametrize("program, want", [
    ("#!/bin/sh\necho all is well\n", (0, "DHCP-LB OK: all is well\n")),
    ("#!/bin/sh\necho 'a|b: dead'; exit 1\n", (1, "DHCP-LB WARNING: a!b: dead\n")),
    ("#!/bin/sh\necho '$(id) `id`: %s'; exit 2\n", (2, "DHCP-LB CRITICAL: $(id) `id`: %s\n")),
    ("#!/bin/sh\necho why; exit 3\n", (3, "DHCP-LB UNKNOWN: why\n")),
    ("#!/bin/sh\necho oh >&2; exit 130\n", (3, "DHCP-LB UNKNOWN: oh\n")),
])
@box.boxed
def test_the_plugin_says_it_in_the_words_of_monitoring(program: str, want: tuple[int, str]) -> None:
    Path(box.PROGRAM).write_text(program)
    assert said(*NOBODY, str(PLUGIN)) == want


@box.boxed
def test_the_plugin_without_the_program() -> None:
    Path(box.PROGRAM).unlink()
    number, line = said(*NOBODY, str(PLUGIN))
    assert (number, line.startswith("DHCP-LB UNKNOWN: ")) == (3, True)


@box.boxed
def test_the_plugin_with_it() -> None:
    with bed(FAST, FAST):
        both_say(WELL)
        assert said(*NOBODY, str(PLUGIN)) == (0, f"DHCP-LB OK: {WELL[1]}")
