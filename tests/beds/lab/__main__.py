"""`python3 -m tests.beds.lab` builds the system of the lab's machines, if it is not there yet."""

import sys

from .root import NotOffered, debian_root

try:
    debian_root()
except NotOffered as failure:
    sys.exit(f"tests/beds/lab {failure}")
