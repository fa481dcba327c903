"""`python3 -m tests.beds.lab` builds the system that the machines of the lab run from, if it is not there."""

import sys

from .root import NotOffered, debian_root

try:
    debian_root()
except NotOffered as failure:
    sys.exit(f"tests/beds/lab {failure}")
