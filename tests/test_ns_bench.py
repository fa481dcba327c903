"""The benchmark works. This test does not judge its times: on a busy machine they mean nothing."""

import re
import runpy
import subprocess
from collections.abc import Sequence

import pytest

from tests.beds.lab import CHECKOUT


IN_A_CHROOT = ("unshare", "--mount", "sh", "-ec", 'mount --rbind / /mnt && exec chroot /mnt "$@"', "sh")


def bench(*arguments: str, wrapper: Sequence[str] = ()) -> dict[str, str]:
    """The rows of its tables by what they begin with; of several, the last."""
    done = subprocess.run([*wrapper, CHECKOUT / "tests/bench", "--quick", *arguments], stdout=subprocess.PIPE,
                          text=True, check=True)
    return dict(line.strip("| ").split(" | ", 1) for line in done.stdout.splitlines() if line.startswith("|"))


def test_it_measures_and_prints_its_tables() -> None:
    rows = bench()
    assert rows["dash with our hook, another interface"] == "1 | 1"  # the last table that has it: of processes
    assert rows["lean script, another gateway"] == "13 | 13"
    assert rows["dhcp-lb"].endswith("1 of 1")


def test_it_compares_two_checkouts_each_with_its_own_installation_in_a_chroot_too() -> None:
    rows = bench("--against", str(CHECKOUT), wrapper=IN_A_CHROOT)
    for event in "renewal without change", "another gateway":
        for kind in "ms", "ms of CPU":
            for cell in rows[f"dhcp-lb, {event}, {kind}"].split(" | "):
                median, low, high = map(float, re.findall(r"[0-9.]+", cell.replace("95 %", "")))
                assert 0 < low <= median <= high


def test_it_measures_what_a_packet_and_a_connection_cost_on_their_way() -> None:
    rows = bench("--packets", "--against", str(CHECKOUT))  # of a name that both tables have, the connections
    for name in ("shell script", "dhcp-lb, `pin = no`", "dhcp-lb", "dhcp-lb, an nft rule a link",
                 "dhcp-lb, 20 policy lines", "dhcp-lb (the other)"):
        for cell in rows[name].split(" | "):
            took_us, median, low, high = map(float, re.findall(r"[0-9.]+", cell))
            assert took_us > 0 and 0 < low <= median <= high
    dropped_us, plain_us = [float(rows[name].split(" | ")[0]) for name in (
        "dropped as it comes to the router", "a multipath route by hand")]
    assert 0 < dropped_us < plain_us
    assert " × (" in rows["dhcp-lb, of dhcp-lb, `pin = no`"] and " × (" in rows["dhcp-lb, of dhcp-lb (the other)"]


@pytest.mark.parametrize("option, ending", [("--routes", "with a full table"), ("--pins", "with pins")])
def test_it_measures_an_event_beside_a_full_table_and_with_pins(option: str, ending: str) -> None:
    rows = bench(option)
    for event in "renewal without change", "another gateway":
        assert rows[f"dhcp-lb, {event}, {ending}"] == rows[f"dhcp-lb, {event}"] == "1"  # the last table: of processes
        median, low, high = map(float, re.findall(r"[0-9.]+", rows[f"dhcp-lb, {event}, ms of CPU"]))
        assert 0 < low <= median <= high


def test_it_measures_what_the_monitor_takes() -> None:
    rows = bench("--monitor")
    assert rows["processes of a renewal that says nothing new"] == "0 | 0"
    for cell in rows["ms until a rule is back that somebody has deleted"].split(" | "):
        median, low, high = map(float, re.findall(r"[0-9.]+", cell))
        assert 0 <= low <= median <= high
    assert all([0 < float(more_mb) < 20 for more_mb in rows["MB more than bare Python"].split(" | ")])


def test_it_measures_what_a_look_costs_in_each_family() -> None:
    rows = bench("--looks", "--against", str(CHECKOUT))
    for suffix in "", " (the other)":
        for four, both in zip(*[rows[name + suffix].split(" | ") for name in (
                "a look at IPv4", "a look at both families")]):
            assert 0 < float(four) < float(both)
        for cell in rows[f"more for IPv6, median (95 %){suffix}"].split(" | "):
            median, low, high = map(float, re.findall(r"[0-9.]+", cell))
            assert 0 < low <= median <= high


def test_the_interval_is_that_of_the_tables_of_the_sign_test() -> None:
    interval = runpy.run_path(str(CHECKOUT / "tests/bench"))["interval"]
    assert interval(range(100, 0, -1)) == (40, 61)
    assert interval(range(1, 41)) == (14, 27)
    assert interval(range(1, 7)) == (1, 6)
    assert interval([3, 1, 2]) == (1, 3)
