"""How the links are in one line, with a number as monitoring plugins and keepalived expect it. The monitor keeps both
in a file that everybody can read, so neither contains an address."""

from posix import chmod, unlink
from time import monotonic

from ..config import Config
from ..model import NO
from ..routing import DEAD, NO_ROUTER, RETURNING, UP, Uplink
from ..store import Store, read, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

WELL, LACKING, BROKEN, UNKNOWN = range(4)  # exit statuses: those of monitoring plugins
OUT6 = DEAD, RETURNING, NO_ROUTER  # the other states are those of the interface
FILE = "brief"  # one line: NUMBER TIME WORDS; TIME in seconds of CLOCK_MONOTONIC, which does not count sleep
VALID_S = 120
NO_MONITOR = UNKNOWN, "no word of the monitor: see `systemctl status dhcp-lb-monitor`, or ask as root"
MISTAKES = UNKNOWN, "/etc/dhcp-lb has mistakes: `dhcp-lb check` names them"


def brief(config: Config, uplinks: tuple[Uplink, ...], held: "Collection[str]", flushed: bool,
          in_order: bool, six: tuple[Uplink, ...] = ()) -> tuple[int, str]:
    """Pure: the number and the line. `held` are the links that the administrator holds. `in_order`: whether the
    kernel's routing is as it should be, and nothing else counts instead. `six`: the links in IPv6; the line names
    those that work in IPv4 alone."""
    if config.errors:
        return MISTAKES
    if not config.links:
        return UNKNOWN, "no links are configured"
    if config.settings.enabled == NO:
        return BROKEN, "nothing is balanced: /etc/dhcp-lb says `enabled = no`"
    if flushed:
        return BROKEN, "nothing is balanced: flushed; `dhcp-lb apply` brings the routing back"
    states = {uplink.link.interface: uplink.state for uplink in uplinks}
    out = [name for name, state in states.items() if state != UP]
    # A link without a gateway never had more of IPv6 than an address.
    out6 = [one for one in six if one.state in OUT6 and one.lease.gateway and one.link.interface not in out]
    count = len(states) - len(out)
    words = "; ".join([f"{count} of {len(states)} links {'works' if count == 1 else 'work'}",
                       *[f"{name}: {states[name]}" for name in out],
                       *[f"IPv6 of {one.link.interface}: {one.state}" for one in out6],
                       *["the kernel's routing is not as it should be"] * (not in_order)])
    if not count or not in_order:
        return BROKEN, words
    return LACKING if {*out, *[one.link.interface for one in out6]} - set(held) else WELL, words


def announce(store: Store, found: tuple[int, str]) -> None:
    """Writes what `brief` has found. OSError if that fails."""
    number, words = found
    line = f"{number} {int(monotonic())} {words}\n".encode("utf-8", "surrogateescape")
    replace(_path(store), line, mode=0o644)
    chmod(store.path, 0o711)  # others cannot list the directory, nor read any other file in it


def announced(store: Store) -> tuple[int, str]:
    """What `announce` has written, if it still counts; otherwise NO_MONITOR."""
    now_s = int(monotonic())
    try:
        number, since_s, words = read(_path(store), 1 << 16).decode("utf-8", "surrogateescape").split(" ", 2)
        if int(since_s) <= now_s <= int(since_s) + VALID_S and WELL <= int(number) <= UNKNOWN and words[-1:] == "\n":
            return int(number), words[:-1]
    except (OSError, ValueError):
        pass
    return NO_MONITOR


def silence(store: Store) -> None:
    """Removes the file, because nobody keeps it up to date any more."""
    try:
        unlink(_path(store))
    except FileNotFoundError:
        pass


def _path(store: Store) -> str:
    return f"{store.path}/{FILE}"
