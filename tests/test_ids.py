"""What the tests are called."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_id_of_each_test_fits_a_line() -> None:
    """As `pytest -v` prints it and `pytest ID` takes it; those that this run leaves out, too."""
    listed = subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", TESTS],
                            cwd=TESTS.parent, capture_output=True, text=True)
    ids = [line for line in listed.stdout.splitlines() if "::" in line]
    assert len(ids) > 1000, listed.stdout[-500:] + listed.stderr[-500:]
    assert [name for name in ids if len(name) > 119] == []
