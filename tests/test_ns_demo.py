"""The demo works, and fits a terminal."""

import re
import subprocess

from tests.beds.lab import CHECKOUT


def test_it_tells_its_story_in_80_columns() -> None:
    done = subprocess.run([CHECKOUT / "tests/demo"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    shares = [float(share) for share in re.findall(r"([0-9.]+)%  \d+ connections", done.stdout)]
    assert len(shares) == 8  # of two links; four times
    assert shares[2:4] == [100, 0]  # a cable was pulled
    assert "failed: 0" in done.stdout and not re.search(r"failed: [1-9]| [1-9]\d* failed", done.stdout)
    told = re.sub(r" *router# dhcp-lb status\n.*?\n\n", "", done.stdout, flags=re.DOTALL)  # status has its own width
    assert [line for line in told.splitlines() if len(line.expandtabs()) > 80] == []
