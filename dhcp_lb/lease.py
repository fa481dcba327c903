"""The store in /run/dhcp-lb: the last lease of each link, and which links an administrator holds back.

Everything in it may vanish at any time, and nothing in it is text that a DHCP server chose."""

from _socket import inet_aton, inet_ntoa
from errno import EISDIR, ELOOP, ENOSPC, EPERM
from posix import (O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY, close, geteuid, getpid,
                   kill, listdir, lstat, mkdir, open, read, rename, rmdir, stat, unlink, write)

from .model import Lease
from .record import NamedTuple

RUN = "/run/dhcp-lb"

HELD = "held"  # interface → DISABLED or DRAINING
DISABLED = "disabled"
DRAINING = "draining"

SETTLED = "settled"  # what a run saw that had nothing left to do
FLUSHED = "flushed"  # there after `flush`, until something is to be done again
TUNED = "sysctl"  # INTERFACE/KEY → the value that was there before ours

NONE = Lease("", 0, "", fault="no lease")
"""What a link has after its lease ended: known to be nothing, where a missing file says that nothing is known."""

_LENGTHS = range(33)  # of prefixes; 0 = not known
_FORMAT = "1"  # the first word of every file; another one is a newer program's
_DIRECTORY = 0o40000  # S_IFDIR, inode(7)
_TYPE = 0o170000


class State(NamedTuple):
    """What the store says."""

    leases: dict[str, Lease] = {}  # by interface
    held: dict[str, str] = {}  # interface → DISABLED or DRAINING
    corrupt: tuple[str, ...] = ()  # files that make no sense; each is taken for absent


class Store:
    """The files below one directory. Every method raises OSError for what it cannot do."""

    def __init__(self, path: str = RUN) -> None:
        self.path = path

    def prepare(self) -> None:
        """Makes the directories that are missing, and refuses those that are somebody else's: a link planted
        there would be followed."""
        for path in self.path, f"{self.path}/leases", f"{self.path}/waiting":
            try:
                mkdir(path, 0o700)
            except FileExistsError:
                status = lstat(path)
                if status.st_mode & _TYPE != _DIRECTORY or status.st_uid != geteuid() or status.st_mode & 0o022:
                    words = "Permission denied" if geteuid() else "is not a directory of root's alone"
                    raise PermissionError(EPERM, words, path) from None

    def load(self, interfaces: frozenset[str], now_s: int) -> State:
        """The state of the links with these interfaces. A lease that began after `now_s` (CLOCK_BOOTTIME) is
        from before the last boot, and no more."""
        leases: dict[str, Lease] = {}
        held: dict[str, str] = {}
        corrupt: list[str] = []
        for name in interfaces:
            path = f"{self.path}/leases/{name}"
            try:
                lease = _decode(_read(path).decode())
                if lease.begin_s <= now_s:
                    leases[name] = lease
            except FileNotFoundError:
                pass
            except ValueError:
                corrupt.append(path)
        try:
            held = self.words(HELD)
        except ValueError:
            corrupt.append(f"{self.path}/{HELD}")
        return State(leases, held, tuple(corrupt))

    def save(self, interface: str, lease: Lease) -> None:
        """Keeps a link's lease. Who reads it meanwhile sees the old or the new one."""
        self._write(f"{self.path}/leases/{interface}", _encode(lease).encode())

    def words(self, name: str) -> dict[str, str]:
        """The pairs of words in a file of the store, HELD or TUNED; ValueError if it holds anything else."""
        try:
            text = _read(f"{self.path}/{name}", 1 << 20).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return {}
        *lines, rest = text.split("\n")
        if rest:
            raise ValueError(text)
        return dict([(key, value) for key, value in [line.split(" ") for line in lines]])

    def keep(self, name: str, words: dict[str, str]) -> None:
        """Keeps pairs of words in a file of the store."""
        text = "".join([f"{key} {value}\n" for key, value in sorted(words.items())])
        self._write(f"{self.path}/{name}", text.encode("utf-8", "surrogateescape"))

    def settled(self) -> tuple[bytes, int]:
        """What the last run saw that had nothing left to do, b"" if that is not known; and when the kernel refused a
        part of it, CLOCK_BOOTTIME in seconds, or 0."""
        try:
            refused_s, _, sight = _read(f"{self.path}/{SETTLED}", 1 << 24).partition(b"\n")
            return sight, int(refused_s)
        except (OSError, ValueError):
            return b"", 0

    def settle(self, sight: bytes, refused_s: int = 0) -> None:
        """Keeps what a run saw that had nothing left to do, if there is room."""
        try:
            self._write(f"{self.path}/{SETTLED}", b"%d\n%b" % (refused_s, sight))
        except OSError:
            pass

    def flushed(self) -> bool:
        """Whether an administrator has flushed, and nothing has asked for the routing since."""
        try:
            stat(f"{self.path}/{FLUSHED}")
        except FileNotFoundError:
            return False
        return True

    def tidy(self, interfaces: frozenset[str]) -> None:
        """Removes the leases of other interfaces, what writers left that were killed, and the mark of a flush."""
        self.discard(f"{self.path}/{FLUSHED}")
        leases = f"{self.path}/leases"
        for directory in self.path, leases:
            try:
                names = listdir(directory)
            except FileNotFoundError:
                names = []
            for name in names:
                _, temporary, pid = name.partition(" ")
                if temporary:
                    stale = not (pid.isdecimal() and lives(int(pid)))
                else:
                    stale = directory == leases and name not in interfaces
                if stale:
                    self.discard(f"{directory}/{name}")

    def discard(self, path: str) -> None:
        """Removes a file of the store if it is there. A directory in its place goes if it is empty."""
        try:
            unlink(path)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            try:
                rmdir(path)
            except OSError:
                pass

    def _write(self, path: str, data: bytes) -> None:
        # No interface name holds a space, so a temporary file is never taken for a lease.
        temporary = f"{path} {getpid()}"
        self.discard(temporary)
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
        try:
            try:
                if write(descriptor, data) < len(data):
                    raise OSError(ENOSPC, "no room for", temporary)
            finally:
                close(descriptor)
            rename(temporary, path)
        except OSError:
            unlink(temporary)
            raise


def _read(path: str, most: int = 4096) -> bytes:
    # O_NONBLOCK: a FIFO in a file's place must not hold up a DHCP client.
    try:
        descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        try:
            return read(descriptor, most)
        finally:
            close(descriptor)
    except OSError as error:
        if error.errno in (EISDIR, ELOOP):  # a directory or a link in a file's place
            raise ValueError(path) from None
        raise


def _encode(lease: Lease) -> str:
    address, length, gateway, server, begin_s, duration_s, fault = lease
    return f"{_FORMAT} {address or '-'} {length} {gateway or '-'} {server or '-'} {begin_s} {duration_s} {fault}\n"


def _decode(text: str) -> Lease:
    """The lease in a file's text; ValueError if this program cannot have written it."""
    form, address, length, gateway, server, begin_s, duration_s, fault = text.split(" ", 7)
    for quad in address, gateway, server:
        if quad != "-" and not _canonical(quad):
            raise ValueError(text)
    if form != _FORMAT or fault.partition("\n")[1:] != ("\n", "") or int(length) not in _LENGTHS:
        raise ValueError(text)
    return Lease("" if address == "-" else address, int(length), "" if gateway == "-" else gateway,
                 "" if server == "-" else server, int(begin_s), int(duration_s), fault[:-1])


def _canonical(quad: str) -> bool:
    try:
        return inet_ntoa(inet_aton(quad)) == quad
    except OSError:
        return False


def lives(pid: int) -> bool:
    """Whether a process with this number exists."""
    try:
        kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
