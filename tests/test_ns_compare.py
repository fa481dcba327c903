"""The comparison works. This test judges only the promises of dhcp-lb, not the times."""

import subprocess

from tests.beds.lab import CHECKOUT


def test_it_compares_and_prints_its_tables() -> None:
    done = subprocess.run([CHECKOUT / "tests/compare", "--quick"], stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    ours = [row for row in rows if row[0] == "dhcp-lb"]
    theirs = [row for row in rows if row[0] == "LARTC script"]
    assert (len(ours), len(theirs)) == (9, 8)
    gaps, kills, dead = ours[1], ours[-2], ours[-1]
    assert all(cell.startswith("0 of ") for cell in gaps[1:]), gaps  # no lookup failed
    assert kills[2] == "0 of 3" and kills[-1] == "0 of 3", kills  # no half state; repaired by its own next event
    assert dead[2].startswith("0 of ") and dead[-1].startswith("0.0 of "), dead  # nothing new by a dead link
    assert all(float(cell.split()[0]) > 0 for cell in (dead[1], dead[3])), dead
