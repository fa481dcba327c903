"""Makes sure that there is only one monitor, and tells it that the configuration may have changed."""

from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from posix import O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, close, ftruncate, getpid, kill, open, read, write

from ..store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP
else:
    from _signal import SIGHUP


def claim(store: Store) -> None:
    """Makes this process the monitor until it ends. BlockingIOError if there is one already."""
    descriptor = open(_path(store), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600)
    flock(descriptor, LOCK_EX | LOCK_NB)
    ftruncate(descriptor, 0)
    write(descriptor, b"%d\n" % getpid())


def nudge(store: Store) -> None:
    """Makes the monitor read the configuration again, if there is one."""
    try:
        descriptor = open(_path(store), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    except OSError:
        return
    try:
        flock(descriptor, LOCK_SH | LOCK_NB)  # if that works, the file is that of a monitor that has ended
    except BlockingIOError:
        pid = read(descriptor, 20).strip()
        if pid.isdigit():
            try:
                kill(int(pid), SIGHUP)
            except ProcessLookupError:
                pass
    finally:
        close(descriptor)


def _path(store: Store) -> str:
    return f"{store.path}/monitor"
