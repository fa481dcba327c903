"""The monitor's word to the hook of dhclient and dhcpcd that a renewal which says nothing new leaves nothing to do.

The hook is a shell. It cannot read the time of a file, but compare the times of two. So two empty files say what the
last look saw: one has the time of the configuration, the other that of the directory of the leases. Whoever writes a
lease, a hold or the mark of a flush gives that directory another time by the same rename, and whoever edits the
configuration gives that one another. Then the word counts no more, whatever becomes of the process that wrote."""

from posix import F_OK, access, stat, utime
from time import time_ns

from ..config import PATH
from ..sight import Sight
from ..store import LEASES, Store, replace

SEEN_CONFIGURATION, SEEN_LEASES = "seen-configuration", "seen-leases"
OLD_NS = 2 * 10**9  # the coarsest file system that can have /etc gives what is written in two seconds one time

Times = tuple[int, int]
"""In ns: when the configuration was written last, and anything in the directory of the leases."""


def times(store: Store) -> Times | None:
    """Those of now. None if what is written from now on may have the same."""
    try:
        found = stat(PATH).st_mtime_ns, stat(f"{store.path}/{LEASES}").st_mtime_ns
    except OSError:
        return None
    return found if max(found) < time_ns() - OLD_NS else None


def in_order(sight: Sight) -> bool:
    """Pure: whether a look has left nothing to do, now or after a while."""
    return sight.settled and not sight.state.objections


def vouch(store: Store, seen: Times | None) -> None:
    """All that has these times is seen to; None: nobody knows what is left to do. Without room in the store nobody is
    told, and every renewal starts the program."""
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
