"""The benchmark works. Its times are not judged here: on a machine that does other things they say nothing."""

import subprocess

from tests.lab import CHECKOUT


def test_it_measures_and_prints_its_tables() -> None:
    done = subprocess.run([CHECKOUT / "tests/bench", "--quick"], stdout=subprocess.PIPE, text=True, check=True)
    rows = dict(line.strip("| ").split(" | ", 1) for line in done.stdout.splitlines() if line.startswith("|"))
    assert rows["dash with our hook, another interface"] == "1 | 1"  # the last table that has it: of processes
    assert rows["dhcp-lb"].endswith("1 of 1")
