"""One run at a time, a deadline for everything, and no work that another process has already done."""

from fcntl import LOCK_EX, LOCK_NB, flock
from posix import (O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR, close, fstat, geteuid, getpid, listdir, open,
                   stat, unlink)
from time import monotonic, monotonic_ns

from .store import Store, lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import ITIMER_REAL, SIG_UNBLOCK, SIGALRM, pthread_sigmask, setitimer, signal
else:
    from _signal import ITIMER_REAL, SIG_UNBLOCK, SIGALRM, pthread_sigmask, setitimer, signal

WAIT_S = 20.0
RUN_S = 30.0

_REGULAR = 0o100000  # S_IFREG, inode(7)
_TYPE = 0o170000


class Deadline(Exception):
    """Something took longer than a DHCP client may wait."""


class Busy(Exception):
    """Another process has the lock."""


class Lost(Exception):
    """Somebody has removed the lock file or the whole store in the meantime. So another process may hold another
    lock."""


def alone(store: Store, work: "Callable[[Lock], None]", needed: bool = False, wait: bool = True) -> None:
    """Does `work` while no other process works. If another process has done the same work in the meantime, this one
    leaves it out, unless it is `needed` all the same. Raises Busy if another process works and this one must not
    `wait`, Deadline after WAIT_S for the lock or RUN_S in all, and whatever `work` raises.

    `work` must call `lock.check()` before it writes. If a process has given up waiting, this one does that process's
    work, too."""
    started_s = monotonic()
    limit(WAIT_S, "waiting for the lock")
    lock = Lock(store.path)
    try:
        while True:
            store.prepare()
            try:
                if not lock.acquire(wait) and not needed:
                    return
                limit(max(0.001, RUN_S - (monotonic() - started_s)), "the run")
                work(lock)
                lock.served()
                while lock.abandoned():
                    work(lock)
                    lock.served()
                return
            except Lost:
                lock.release()
    finally:
        limit(0, "")
        lock.release()


def limit(seconds: float, what: str) -> None:
    """Raises Deadline in this process after `seconds`; its message says that `what` took longer. It replaces an
    earlier limit; 0 means no limit."""
    def expired(*_: object) -> None:
        raise Deadline(f"{what} took more than {seconds:.0f} s")
    signal(SIGALRM, expired)
    pthread_sigmask(SIG_UNBLOCK, (SIGALRM,))  # the client may have blocked it
    setitimer(ITIMER_REAL, seconds)


class Lock:
    """The lock of a store. The file is never unlinked, and nothing inherits its descriptor."""

    def __init__(self, store: str) -> None:
        self.path = f"{store}/lock"
        self.waiting = f"{store}/waiting"
        self.descriptor = -1
        self.seen: list[str] = []

    def acquire(self, wait: bool = True) -> bool:
        """Waits for the lock. Raises Busy if another process has it and this one must not `wait`, and Lost if the
        caller must start again. False: another process has done this one's work. That process began to read the store
        after this one had begun to wait, so it saw all that this one had put there.

        A process that waits leaves a file in waiting/, named after its pid. The holder lists that directory before
        it reads the store. When its work is done, it removes the files that it listed (`served`)."""
        marker = ""
        self.descriptor = self._open()
        try:
            try:
                flock(self.descriptor, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise Busy(self.path) from None
                marker = f"{self.waiting}/{getpid()}-{monotonic_ns()}"
                close(self._create(marker))
                flock(self.descriptor, LOCK_EX)
            self.check()
            self.seen = self._waiting()
            return not marker or marker.rpartition("/")[2] in self.seen
        except Deadline:
            marker = ""  # the file stays; the holder does this one's work after its own
            raise
        finally:
            if marker:
                _discard(marker)

    def for_others(self) -> bool:
        """Whether this process also does the work of others, which may be more than its own."""
        return bool(self.seen)

    def check(self) -> None:
        """Raises Lost if the locked file is not the file that others would lock now."""
        try:
            there = stat(self.path)
        except FileNotFoundError:
            raise Lost(self.path) from None
        mine = fstat(self.descriptor)
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise Lost(self.path)

    def served(self) -> None:
        """Tells the processes that were waiting when this one began that their work is done."""
        for name in self.seen:
            _discard(f"{self.waiting}/{name}")

    def abandoned(self) -> bool:
        """Whether a process that gave up waiting has left work behind."""
        self.seen = [name for name in self._waiting() if not _waits(name)]
        return bool(self.seen)

    def release(self) -> None:
        """Gives the lock up, so that the next process gets it."""
        if self.descriptor >= 0:
            close(self.descriptor)
        self.descriptor = -1

    def _waiting(self) -> list[str]:
        try:
            return listdir(self.waiting)
        except FileNotFoundError:  # somebody wiped the directory, with all its files
            return []

    def _create(self, path: str) -> int:
        try:
            return open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600)
        except FileNotFoundError:  # somebody wiped the directory
            raise Lost(path) from None

    def _open(self) -> int:
        descriptor = self._create(self.path)
        status = fstat(descriptor)
        if status.st_mode & _TYPE != _REGULAR or status.st_uid != geteuid():
            close(descriptor)
            raise PermissionError(1, "is not a regular file that root owns", self.path)
        return descriptor


def _waits(marker: str) -> bool:
    pid = marker.partition("-")[0]
    return pid.isdecimal() and lives(int(pid))


def _discard(path: str) -> None:
    try:
        unlink(path)
    except FileNotFoundError:
        pass
