"""What takes long says so, in one line, to whoever waits."""

import sys
from typing import TextIO

_shown_on: TextIO = sys.stderr
_before = ""


def show_on(file: TextIO) -> None:
    """In a line of its own among pytest's, which keeps back what a test prints on the usual way (conftest.py)."""
    global _shown_on, _before
    _shown_on, _before = file, "\n"


def step(what: str, takes: str) -> None:
    """Before it begins. `takes`: about how long, on a small machine."""
    print(f"{_before}{what}: {takes}", file=_shown_on, flush=True)
