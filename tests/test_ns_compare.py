"""The comparison works. This test judges only the promises of dhcp-lb, not the times."""

import subprocess

from tests.beds.lab import CHECKOUT


def test_it_compares_and_prints_its_tables() -> None:
    done = subprocess.run([CHECKOUT / "tests/compare", "--quick"], stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    ours = [row for row in rows if row[0] == "dhcp-lb"]
    theirs = [row for row in rows if row[0] == "LARTC script"]
    assert len(ours) == len(theirs) == 8
    gaps, kills = ours[1], ours[-1]
    assert all(cell.startswith("0 of ") for cell in gaps[1:]), gaps  # no lookup failed
    assert kills[2] == "0 of 3" and kills[-1] == "0 of 3", kills  # no half state; repaired by its own next event
