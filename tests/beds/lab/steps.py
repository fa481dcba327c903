"""Tells the person who waits, in one line, what takes long now."""

import sys
from typing import TextIO

_shown_on: TextIO = sys.stderr
_before = ""


def show_on(file: TextIO) -> None:
    """Shows the steps on this file, each in a line of its own among pytest's lines: pytest holds back what a test
    prints on its usual output (conftest.py)."""
    global _shown_on, _before
    _shown_on, _before = file, "\n"


def step(what: str, takes: str) -> None:
    """Says that a step begins. `takes`: about how long, on a small machine."""
    print(f"{_before}{what}: {takes}", file=_shown_on, flush=True)
