"""The comparison works. This test judges only the promises of dhcp-lb, not the times."""

import subprocess

from tests.beds.lab import CHECKOUT


def test_it_compares_and_prints_its_tables() -> None:
    done = subprocess.run([CHECKOUT / "tests/compare", "--quick"], stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    ours = [row for row in rows if row[0] == "dhcp-lb"]
    theirs = [row for row in rows if row[0] == "LARTC script"]
    assert (len(ours), len(theirs)) == (11, 8)
    gaps, kills, dead, ipv6, cut = ours[1], *ours[7:]
    assert all(cell.startswith("0 of ") for cell in gaps[1:]), gaps  # no lookup failed
    assert kills[2] == "0 of 3" and kills[-1] == "0 of 3", kills  # no half state; repaired by its own next event
    assert dead[2].startswith("0 of ") and dead[-1].startswith("0.0 of "), dead  # nothing new by a dead link
    assert all(float(cell.split()[0]) > 0 for cell in (dead[1], dead[3])), dead
    assert ipv6[1:3] + ipv6[4:7] == ["20, 20", "20, 20", "0", "20, 20", "0"], ipv6  # nothing failed, nothing astray
    assert cut[1:3] + cut[5:] == ["0; 0", "0; 0", "0; 0"], cut
    assert all(cell.count("10 of 10 in ") == 2 for cell in cut[3:5]), cut


def test_a_release_is_for_the_comparison_of_ipv6_alone() -> None:
    done = subprocess.run([CHECKOUT / "tests/compare", "--release", "trixie"], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "--release needs --ipv6" in done.stderr) == (2, True)
