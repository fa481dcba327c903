"""What the Debian package's maintainer scripts call beside the verbs:

    python3 -ISB scripts.py edit FILE CHECK [INTERFACE TABLE-ID WEIGHT]... >NEW   debconf's answers brought in
    python3 -ISB scripts.py names                                                 table names reserved for ip(8)
    python3 -ISB scripts.py hand-back                                             a default route in table main
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from dhcp_lb.address import EVERYWHERE  # noqa: E402
from dhcp_lb.change import judged  # noqa: E402
from dhcp_lb.config import read_config  # noqa: E402
from dhcp_lb.iproute2 import clashes, known, write_names  # noqa: E402
from dhcp_lb.maintainer.edit import edit  # noqa: E402
from dhcp_lb.model import MAIN_TABLE, Nexthop, Route, Settings  # noqa: E402
from dhcp_lb.routing import DRAINING, UP, Uplink, desired  # noqa: E402
from dhcp_lb.rtnetlink import Rtnetlink  # noqa: E402
from dhcp_lb.sight import look, now_s  # noqa: E402
from dhcp_lb.store import Store  # noqa: E402


def main(arguments: Sequence[str]) -> None:
    """Does what the arguments say; the module's docstring has them. SystemExit with a message if it fails."""
    verb, *words = arguments
    verbs: dict[str, Callable[..., None]] = {"edit": edit_file, "names": reserve_names, "hand-back": hand_back}
    verbs[verb](*words)


def edit_file(path: str, check: str, *words: str) -> None:
    """Prints the file with debconf's answers: INTERFACE TABLE-ID WEIGHT for each link."""
    values = [word.encode() for word in words]
    answers = {values[at]: (values[at + 1], values[at + 2]) for at in range(0, len(values), 3)}
    sys.stdout.buffer.write(edit(Path(path).read_bytes(), answers, check.encode()))


def reserve_names() -> None:
    """Writes the names of the configured links' tables for ip(8). SystemExit with a message if one of them is in
    use."""
    config = read_config()
    if errors := config.errors + clashes(config, known()):
        sys.exit("".join(f"dhcp-lb: {error}\n" for error in errors))
    try:
        write_names(config, known())
    except OSError as error:
        sys.exit(f"dhcp-lb: {error.filename}: {error.strerror}: ip(8) shows our tables by number")


def hand_back() -> None:
    """Gives table main a default route, before `flush`: from then on, main counts. It may have lost its default route
    together with its link, or have one through a link that does not work now."""
    config = read_config()
    kernel = Rtnetlink()
    view = judged(look(kernel, config, Store().load(config.interfaces, now_s())))
    if nexthop := handed_back(view.uplinks, kernel.default_routes(MAIN_TABLE)):
        kernel.prepend_default(MAIN_TABLE, nexthop)


def handed_back(uplinks: tuple[Uplink, ...], defaults: list[Route]) -> Nexthop | None:
    """Pure: the nexthop of the default route that main gets. None if no link works, or if main has a default that does
    not go through a link that is out."""
    working = [uplink for uplink in uplinks if uplink.state in (UP, DRAINING)]
    out = {uplink.ifindex for uplink in uplinks} - {uplink.ifindex for uplink in working}
    if not working or any(nexthop.oif not in out for route in defaults for nexthop in route.nexthops):
        return None
    best = max(working, key=lambda uplink: (uplink.link.weight, -uplink.link.table)).link
    return next(route.nexthops[0] for route in desired(uplinks, Settings()).routes
                if route.table == best.table and route.destination == EVERYWHERE)


if __name__ == "__main__":
    main(sys.argv[1:])
