"""What the Debian package's maintainer scripts need beyond the command line:

    python3 -IS package.py edit FILE [INTERFACE TABLE-ID WEIGHT]... >NEW   debconf's answers brought in
    python3 -IS package.py names                                           table names reserved for ip(8)
    python3 -IS package.py hand-back                                       a default route in table main
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))


def main(arguments: Sequence[str]) -> None:
    verb, *words = arguments
    {"edit": edit_file, "names": reserve_names, "hand-back": hand_back}[verb](*words)


def edit_file(path: str, *words: str) -> None:
    from dhcp_lb.edit import edit

    values = [word.encode() for word in words]
    answers = {values[at]: (values[at + 1], values[at + 2]) for at in range(0, len(values), 3)}
    sys.stdout.buffer.write(edit(Path(path).read_bytes(), answers))


def reserve_names() -> None:
    """Writes the names of the configured links' tables, unless something else has one of them."""
    from dhcp_lb.iproute2 import clashes, write_names
    from dhcp_lb.reconcile import read_config

    config = read_config()
    if errors := config.errors + clashes(config):
        sys.exit("".join(f"dhcp-lb: {error}\n" for error in errors))
    write_names(config)


def hand_back() -> None:
    pass


if __name__ == "__main__":
    main(sys.argv[1:])
