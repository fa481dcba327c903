"""The monitor's word to the hook of dhclient and dhcpcd: a renewal that says nothing new leaves nothing to do.

The hook is a shell. It cannot read the time of a file, but it can compare the times of two files. So two empty files
show what the last look has seen: one has the time of the configuration, the other that of the directory of the leases.
A process that writes a lease, a hold or the mark of a flush changes the time of that directory by the same rename. An
edit changes the time of the configuration. Then the monitor's word no longer counts, whatever becomes of the process
that wrote."""

from posix import F_OK, access, stat, utime
from time import time_ns

from ..config import PATH
from ..sight import Sight
from ..store import LEASES, Store, replace

SEEN_CONFIGURATION, SEEN_LEASES = "seen-configuration", "seen-leases"
OLD_NS = 2 * 10**9  # on the coarsest file system that can hold /etc, times are multiples of two seconds

Times = tuple[int, int]
"""In ns since 1970: when the configuration was written last, and when anything in the directory of the leases."""


def times(store: Store) -> Times | None:
    """The present times. None if a later write could get the same time, or if there is no such file."""
    try:
        found = stat(PATH).st_mtime_ns, stat(f"{store.path}/{LEASES}").st_mtime_ns
    except OSError:
        return None
    return found if max(found) < time_ns() - OLD_NS else None


def in_order(sight: Sight) -> bool:
    """Pure: whether a look has left nothing to do, neither now nor later."""
    return sight.settled and not sight.state.objections


def vouch(store: Store, seen: Times | None) -> None:
    """Tells the hook that nothing is left to do as of these times. None: something may be left, so the hook must start
    the program. If the store has no room, every renewal starts the program."""
    for name, moment_ns in zip((SEEN_CONFIGURATION, SEEN_LEASES), seen or (0, 0)):
        path = f"{store.path}/{name}"
        try:
            if not seen:
                store.discard(path)
                continue
            if not access(path, F_OK):
                replace(path, b"")
            utime(path, ns=(moment_ns, moment_ns), follow_symlinks=False)
        except OSError:
            pass
