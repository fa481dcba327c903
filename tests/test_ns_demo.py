"""The demo works, and fits a terminal."""

import re
import subprocess

from tests.beds.lab import CHECKOUT

BUSY_S = 4.0  # a machine with other work to do


def test_it_tells_its_story_in_80_columns() -> None:
    done = subprocess.run([CHECKOUT / "tests/demo"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    shares = [tuple(map(float, pair)) for pair in re.findall(
        r"([0-9.]+)%  \d+ connections\n.*\n.* ([0-9.]+)%  \d+ connections", done.stdout)]
    assert [share[1] for share in shares[1:4]] == [0, 0, 0], shares  # cable pulled, provider dead, drained
    assert 50 < shares[0][1] < 80 and 50 < shares[4][1] < 80, shares
    assert done.stdout.count("failed: 0\n") == len(shares) == 5
    pulled, renewed = map(int, re.findall(r" (\d+) failed", done.stdout))
    assert pulled <= 4 and renewed == 0  # four at a time are on their way
    gone_s, back_s = map(float, re.findall(r"(?:gone after|After) ([0-9.]+) s", done.stdout))
    assert 3.5 < gone_s < 6 + BUSY_S and 3 <= back_s < 6 + BUSY_S
    opened = re.search(r"(\d+) of them by eth1", done.stdout)
    assert opened and int(opened[1]) > 40 and "Of the 100 open connections 100 carry data" in done.stdout
    assert re.search(r"^ +IPV6 .*\n +eth0 +up +33% .* 2001:db8::/64 .*\n +eth1 +up +67% ", done.stdout, re.M)
    assert [line for line in done.stdout.splitlines() if len(line.expandtabs()) > 80] == []
