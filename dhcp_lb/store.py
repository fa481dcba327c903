"""The store in /run/dhcp-lb: the last lease of each link, its holds, and what is settled. All files of this program
are read and written here.

Any file in the store may vanish at any time. A file may have text of a DHCP server, but only digits, dots, slashes and
spaces of it (event.said)."""

from _socket import inet_aton, inet_ntoa
from errno import EISDIR, ELOOP, ENOSPC, EPERM
from posix import (O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY, close, fchmod, fstat, fsync,
                   geteuid, getpid, kill, listdir, lstat, mkdir, open, rename, rmdir, stat, unlink, write)
from posix import read as read_some
from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime

from .address import FAMILIES, IPV4, IPV6, host6, network
from .model import (ADMINISTRATOR, GIVEN_UP, GONE, KERNEL, LOADED, LOST, MONITOR, NO_NEW, NO_NFT, NONE, OUT, Checked,
                    Delegated, Hold, Lease, Objection, State)

RUN = "/run/dhcp-lb"

HELD = "held"  # by the administrator: lines `INTERFACE disabled|draining SINCE`; 2.0 had no SINCE
LEASES = "leases"  # a file a link: `BEGIN SAID`, if dhclient or dhcpcd said it, and a line (_encode)
RENEWED = "renewed"  # a file a link: CLOCK_BOOTTIME when its client said the same again; the hook writes it, too
# For IPv6 there are four more of these files, with a 6 behind the name: objections, watched, settled, furnished.
# PREFIXES has a file for each link, with a line `1 PREFIX BEGIN UNTIL` for each prefix (model.Delegated). It may have
# a second one with DNS6 behind the name, with a line for each IPv6 name server. No interface's name can have a colon.
PREFIXES, DNS6 = "prefixes", ":dns"
OBJECTIONS = "objections"  # of the kernel: lines `INTERFACE REACH SINCE SAID-OF WHY`, with tabs
WATCHED = "watched"  # by the monitor: `PID UNTIL SINCE SLEPT`, then a line for each link (_encode_checked), with tabs
SETTLED = "settled"  # the fingerprint of a run that had nothing left to do
FURNISHED = "furnished"  # for which facts the names for ip(8) and the sysctls were written last
FLUSHED = "flushed"  # exists from `flush` until a run has something to do
PINNED = "pinned"  # State.pinned
GROUPED = "groups"  # lines `INTERFACE BEFORE OURS`: the interface's group
SERVERS = "servers"  # State.servers: `NAME ID`
TOLD = "told"  # lines in the log: what stands in the way of our routing
TUNED = "sysctl"  # INTERFACE/KEY → the value that was there before ours

_LENGTHS = range(33)  # of prefixes; 0 = not known
_FORMAT = "2"  # the first word of a lease's file; a newer program may write another one
_FORMAT_2_0 = "1"  # that of 2.0, without name servers
_FORMAT_PREFIX = "1"
_CHECK_VALID_S = 120  # how long the monitor's word counts after a look that has found all in order
_REACHES = {"disabled": OUT, "draining": NO_NEW}  # of an administrator's hold, by its word in HELD
_WORDS = {reach: word for word, reach in _REACHES.items()}
_SAID = "0123456789./ |"  # that event.said writes
_SMALL = 4096  # bytes: for a larger buffer Python may ask the kernel, which takes longer than to read the file
_DIRECTORY = 0o40000  # S_IFDIR, inode(7)
_TYPE = 0o170000


class Store:
    """The files below one directory. Every method raises OSError if it fails."""

    def __init__(self, path: str = RUN) -> None:
        self.path = path

    def prepare(self) -> None:
        """Makes the missing directories. PermissionError for a directory of another user, because the program would
        follow a symbolic link that was planted there."""
        for path in self.path, *[f"{self.path}/{name}" for name in (LEASES, RENEWED, PREFIXES, "waiting")]:
            try:
                mkdir(path, 0o700)
            except FileExistsError:
                status = lstat(path)
                if status.st_mode & _TYPE != _DIRECTORY or status.st_uid != geteuid() or status.st_mode & 0o022:
                    words = "Permission denied" if geteuid() else "is not a directory that only root can write"
                    raise PermissionError(EPERM, words, path) from None

    def load(self, interfaces: frozenset[str], now_s: int) -> State:
        """The IPv4 state of the links with these interfaces. A lease that began after `now_s` (CLOCK_BOOTTIME) is
        older than the last boot, and does not count. Corrupt files are in `corrupt` and count as absent."""
        leases: dict[str, Lease] = {}
        held: dict[str, Hold] = {}
        objections: dict[str, Objection] = {}
        corrupt: list[str] = []
        for name in interfaces:
            path = f"{self.path}/{LEASES}/{name}"
            try:
                lease = _decode(read(path).decode())
                if lease.begin_s <= now_s:
                    leases[name] = lease
            except FileNotFoundError:
                pass
            except ValueError:
                corrupt.append(path)
        try:
            for line in self._lines(HELD):
                name, word, since_s = (line if line.count(" ") > 1 else f"{line} 0").split(" ")
                held[name] = Hold(ADMINISTRATOR, _REACHES[word], since_s=int(since_s))
        except (KeyError, ValueError):
            held = {}
            corrupt.append(f"{self.path}/{HELD}")
        try:
            objections = self.objections()
        except ValueError:
            objections = {}
            corrupt.append(f"{self.path}/{OBJECTIONS}")
        pinned = ""
        try:
            if lines := self._lines(PINNED):
                pinned, = (word for word in (LOADED, LOST, NO_NFT) if [word] == lines)
        except ValueError:
            corrupt.append(f"{self.path}/{PINNED}")
        servers = "", 0
        try:
            for line in self._lines(SERVERS):
                table_name, table = line.split(" ")
                servers = table_name, int(table)
        except ValueError:
            corrupt.append(f"{self.path}/{SERVERS}")
        return State(leases, held, objections, tuple(corrupt), self.checked(now_s), pinned, servers)

    def save(self, interface: str, lease: Lease) -> None:
        """Writes a link's lease. A reader sees the old or the new one."""
        replace(f"{self.path}/{LEASES}/{interface}", _encode(lease).encode())

    def renew(self, interface: str, now_s: int) -> None:
        """Notes that the client of a link has said the same again at `now_s` (CLOCK_BOOTTIME)."""
        self._keep(f"{RENEWED}/{interface}", [str(now_s)])

    def renewed(self, leases: dict[str, Lease], now_s: int) -> dict[str, Lease]:
        """These leases, each with `begin_s` of the last time when its client said the same again."""
        found = {}
        for name, lease in leases.items():
            try:
                line, = self._lines(f"{RENEWED}/{name}")
                begin_s = int(line)
            except (OSError, ValueError):
                begin_s = 0
            found[name] = lease._replace(begin_s=begin_s) if lease.begin_s < begin_s <= now_s else lease
        return found

    def hold(self, held: dict[str, Hold]) -> None:
        """Writes the administrator's holds of all links."""
        lines = [f"{name} {_WORDS[hold.reach]} {hold.since_s}" for name, hold in sorted(held.items())]
        self._keep(HELD, lines, by=LEASES)

    def load6(self, state: State, interfaces: frozenset[str], now_s: int) -> State:
        """The state for IPv6. It has no leases, because the kernel shows them; the kernel's objections and the
        monitor's verdicts are those of IPv6. But a carrier belongs to both families. So every link that the monitor
        watches in IPv4 is in `checked`, with a hold if its carrier has been away for too long."""
        try:
            objections = self.objections(IPV6.number)
        except ValueError:
            self.discard(f"{self.path}/{_of(OBJECTIONS, IPV6.number)}")
            objections = {}
        checked = {name: Checked(one.hold if one.hold and one.hold.reach == GONE else None, "")
                   for name, one in state.checked.items()}
        checked.update(self.checked(now_s, IPV6.number))
        try:
            names = interfaces & set(listdir(f"{self.path}/{PREFIXES}"))
        except FileNotFoundError:
            names = frozenset()
        known = [(name, self.prefixes(name, now_s)) for name in names]
        return state._replace(leases={}, objections=objections, checked=checked,
                              told={name: told for name, told in known if told is not None})

    def prefixes(self, interface: str, now_s: int) -> tuple[Delegated, ...] | None:
        """The prefixes of a link that its client has reported, and that are valid at `now_s` (CLOCK_BOOTTIME). None if
        nothing is known: the client has reported nothing yet, or its report was lost."""
        found = []
        try:
            stat(f"{self.path}/{PREFIXES}/{interface}")
            for line in self._lines(f"{PREFIXES}/{interface}"):
                form, prefix, begin_s, until_s = line.split(" ")
                start, _, bits = prefix.partition("/")
                # In the form in which the kernel shows it.
                if form != _FORMAT_PREFIX or ":" not in start or network(start, int(bits)) != prefix:
                    raise ValueError(line)
                if int(begin_s) <= now_s and (until_s == "0" or now_s < int(until_s)):
                    found.append(Delegated(prefix, int(begin_s), int(until_s)))
        except (OSError, ValueError):
            return None
        return tuple(found)

    def keep_prefixes(self, interface: str, told: tuple[Delegated, ...]) -> None:
        """Writes what `prefixes` returns."""
        self._keep(f"{PREFIXES}/{interface}", [f"{_FORMAT_PREFIX} {prefix} {begin_s} {until_s}"
                                               for prefix, begin_s, until_s in told])

    def recall_prefixes(self, interface: str, told: tuple[Delegated, ...]) -> None:
        """Writes prefixes that were lost and are known again. If that fails, the next run does it."""
        try:
            self.keep_prefixes(interface, told)
        except OSError:
            pass

    def name_servers6(self, interface: str) -> tuple[str, ...]:
        """The name servers of a link that its DHCPv6 client has reported."""
        try:
            return tuple([host6(line) for line in self._lines(f"{PREFIXES}/{interface}{DNS6}")])
        except (OSError, ValueError):
            return ()

    def keep_name_servers6(self, interface: str, servers: tuple[str, ...]) -> None:
        """Writes what `name_servers6` returns."""
        self._keep(f"{PREFIXES}/{interface}{DNS6}", list(servers))

    def objections(self, family: int = IPV4.number) -> dict[str, Objection]:
        """The kernel's objections in a family. ValueError if the file is corrupt."""
        objections: dict[str, Objection] = {}
        for line in self._lines(_of(OBJECTIONS, family)):
            name, reach, since_s, said_of, why = line.split("\t")
            objections[name] = Objection(Hold(KERNEL, reach, why, int(since_s)), said_of)
        return objections

    def object(self, objections: dict[str, Objection], family: int = IPV4.number) -> None:
        """Writes the kernel's objections in a family, if there is room. If there is none, the next run hears the same
        from the kernel."""
        lines = ["\t".join([name, hold.reach, str(hold.since_s), said_of, hold.why])
                 for name, (hold, said_of) in sorted(objections.items())]
        try:
            if lines:
                self._keep(_of(OBJECTIONS, family), lines)
            else:
                self.discard(f"{self.path}/{_of(OBJECTIONS, family)}")
        except OSError:
            pass

    def checked(self, now_s: int, family: int = IPV4.number) -> dict[str, Checked]:
        """Interface → what the monitor has found out in a family; {} if the monitor's word is out of date. Sleep does
        not count: the monitor cannot look while the machine sleeps, and still lives."""
        try:
            first, *lines = self._lines(_of(WATCHED, family))
            _, until_s, _, before_ms = first.split(" ")
            asleep_s = (slept_ms() - int(before_ms) + 500) // 1000  # since then; < 0 = it was before the last boot
            if asleep_s < 0 or not now_s < int(until_s) + asleep_s <= now_s + _CHECK_VALID_S:
                return {}
            return dict([_decode_checked(line) for line in lines])
        except (OSError, ValueError):
            return {}

    def watch(self, checked: dict[str, Checked], now_s: int, family: int = IPV4.number) -> None:
        """Writes what the monitor, which is this process, has found out in a family. It counts for _CHECK_VALID_S from
        `now_s` (CLOCK_BOOTTIME) on."""
        lines = [_encode_checked(name, one) for name, one in sorted(checked.items())]
        self._keep(_of(WATCHED, family), [f"{getpid()} {now_s + _CHECK_VALID_S} {now_s} {slept_ms()}", *lines])

    def unwatch(self) -> None:
        """Removes what the monitor has found out."""
        for family in FAMILIES:
            self.discard(f"{self.path}/{_of(WATCHED, family)}")

    def pin(self, pinned: str) -> None:
        """Writes State.pinned."""
        if pinned:
            self._keep(PINNED, [pinned])
        else:
            self.discard(f"{self.path}/{PINNED}")

    def serve(self, servers: tuple[str, int]) -> None:
        """Writes State.servers, if there is room. If there is none, the next change finds it again."""
        try:
            self._keep(SERVERS, [f"{servers[0]} {servers[1]}"])
        except OSError:
            pass

    def tuned(self) -> dict[str, str]:
        """The sysctls that this program has changed: INTERFACE/KEY → the value that was there before."""
        try:
            return dict([(key, value) for key, value in [line.split(" ") for line in self._lines(TUNED)]])
        except (OSError, ValueError):
            return {}

    def tune(self, before: dict[str, str]) -> None:
        """Writes what `tuned` returns."""
        self._keep(TUNED, [f"{key} {value}" for key, value in sorted(before.items())])

    def grouped(self) -> dict[str, tuple[int, int]]:
        """Interface → its earlier group, and our group at that time; of the interfaces that this program has moved."""
        try:
            lines = [line.split(" ") for line in self._lines(GROUPED)]
            return {name: (int(before), int(ours)) for name, before, ours in lines}
        except (OSError, ValueError):
            return {}

    def group(self, grouped: dict[str, tuple[int, int]]) -> None:
        """Writes what `grouped` returns."""
        if grouped:
            self._keep(GROUPED, [f"{name} {before} {ours}" for name, (before, ours) in sorted(grouped.items())])
        else:
            self.discard(f"{self.path}/{GROUPED}")

    def told(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Writes what stands in the way now, and returns those of these `words` that were not there the last time."""
        try:
            before = self._lines(TOLD)
        except ValueError:
            before = []
        if before != list(words):
            self._keep(TOLD, list(words))
        return tuple([one for one in words if one not in before])

    def settled(self, family: int = IPV4.number) -> bytes:
        """The fingerprint of the last run that had nothing left to do in a family; b"" if there is none."""
        return self._facts(_of(SETTLED, family))

    def settle(self, sight: bytes, family: int = IPV4.number) -> None:
        """Writes the fingerprint of a run that had nothing left to do, if there is room."""
        self._remember(_of(SETTLED, family), sight)

    def furnished(self, family: int = IPV4.number) -> bytes:
        """The facts for which the names and a family's sysctls were written last; b"" if they are not known."""
        return self._facts(_of(FURNISHED, family))

    def furnish(self, facts: bytes, family: int = IPV4.number) -> None:
        """Writes the facts for which the names and sysctls have just been written, if there is room."""
        self._remember(_of(FURNISHED, family), facts)

    def flush(self) -> None:
        """Notes that the administrator has flushed, so the names and sysctls have gone, too."""
        for family in FAMILIES:
            self.discard(f"{self.path}/{_of(FURNISHED, family)}")
        self._keep(FLUSHED, [], by=LEASES)

    def flushed(self) -> bool:
        """Whether the administrator has flushed, and no event or `apply` has come since."""
        try:
            stat(f"{self.path}/{FLUSHED}")
        except FileNotFoundError:
            return False
        return True

    def tidy(self, interfaces: frozenset[str]) -> None:
        """Removes the leases and prefixes of other interfaces, the files of killed writers, and the mark of a
        flush."""
        self.discard(f"{self.path}/{FLUSHED}")
        of_links = [f"{self.path}/{name}" for name in (LEASES, RENEWED, PREFIXES)]
        for directory in self.path, *of_links:
            try:
                names = listdir(directory)
            except FileNotFoundError:
                names = []
            for name in names:
                _, temporary, pid = name.partition(" ")
                if temporary:
                    stale = not (pid.isdecimal() and lives(int(pid)))
                else:
                    stale = directory in of_links and name.removesuffix(DNS6) not in interfaces
                if stale:
                    self.discard(f"{directory}/{name}")

    def discard(self, path: str) -> None:
        """Removes a file of the store if it exists. An empty directory in its place is removed, too."""
        try:
            unlink(path)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            try:
                rmdir(path)
            except OSError:
                pass

    def _facts(self, name: str) -> bytes:
        try:
            return read(f"{self.path}/{name}", 1 << 24)
        except (OSError, ValueError):
            return b""

    def _remember(self, name: str, facts: bytes) -> None:
        try:
            replace(f"{self.path}/{name}", facts)
        except OSError:
            pass

    def _lines(self, name: str) -> list[str]:
        try:
            text = read(f"{self.path}/{name}", 1 << 20).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return []
        *lines, rest = text.split("\n")
        if rest:  # cut off
            raise ValueError(text)
        return lines

    def _keep(self, name: str, lines: list[str], by: str = "") -> None:
        """Writes a file. If `by` is given, the new file is first in that directory, whose time the rename changes
        (monitor/vouch.py)."""
        text = "".join([f"{line}\n" for line in lines])
        path = f"{self.path}/{name}"
        temporary = f"{self.path}/{by}/{name} {getpid()}" if by else ""
        replace(path, text.encode("utf-8", "surrogateescape"), temporary)


def slept_ms() -> int:
    """For how many milliseconds the machine has slept since its boot. Two clocks are read, a moment apart."""
    return int(1000 * (clock_gettime(CLOCK_BOOTTIME) - clock_gettime(CLOCK_MONOTONIC)))


def _of(name: str, family: int) -> str:
    """The name of a file of which each family has its own."""
    return name if family == IPV4.number else f"{name}6"


def read(path: str, most: int = _SMALL, follow: bool = False) -> bytes:
    """The first `most` bytes of a file. ValueError if it is a directory, or a symbolic link without `follow`. OSError
    if it cannot be read."""
    # O_NONBLOCK: a FIFO in the place of a file must not hold up a DHCP client.
    try:
        descriptor = open(path, O_RDONLY | O_NONBLOCK | (0 if follow else O_NOFOLLOW))
        try:
            if most > _SMALL:
                most = min(most, fstat(descriptor).st_size or most)  # a pipe or a file in /proc has no size
            return read_some(descriptor, most)
        finally:
            close(descriptor)
    except OSError as error:
        if error.errno in (EISDIR, ELOOP):
            raise ValueError(path) from None
        raise


def replace(path: str, data: bytes, temporary: str = "", mode: int = 0o600) -> None:
    """Writes a file. A reader sees the old or the new one, even if this process is killed. OSError if that fails. The
    data go to another name first: `temporary`, or `path`, a space and this process's id, so that several processes can
    write at once. No interface's name can have a space."""
    temporary = temporary or f"{path} {getpid()}"
    try:
        unlink(temporary)
    except FileNotFoundError:
        pass
    descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode)
    try:
        try:
            if write(descriptor, data) < len(data):
                raise OSError(ENOSPC, "no room for", temporary)
            if mode != 0o600:  # outside of /run, the file needs this mode under any umask, and must be on the disk
                fchmod(descriptor, mode)
                fsync(descriptor)
        finally:
            close(descriptor)
        rename(temporary, path)
    except OSError:
        unlink(temporary)
        raise


def _encode(lease: Lease) -> str:
    address, length, gateway, server, begin_s, duration_s, fault, name_servers = lease[:8]
    # What the hook needs comes first: a shell reads a file byte by byte.
    return (f"{begin_s} {lease.said}\n" if lease.said else "") + (
        f"{_FORMAT} {address or '-'} {length} {gateway or '-'} {server or '-'} {begin_s} {duration_s} "
        f"{','.join(name_servers) or '-'} {fault}\n")


def _decode(text: str) -> Lease:
    """The lease in a file's text. ValueError if this program cannot have written it."""
    *before, line, end = text.split("\n")
    form, address, length, gateway, server, begin_s, duration_s, rest = line.split(" ", 7)
    heard_s, _, said = before[0].partition(" ") if before else (begin_s, "", "")
    names, fault = ("-", rest) if form == _FORMAT_2_0 else rest.split(" ", 1)
    name_servers = () if names == "-" else tuple(names.split(","))
    quads = {address, gateway, server} - {"-"}  # mostly one router is the server and the name server, too
    if not all([_canonical(quad) for quad in quads.union(name_servers)]):
        raise ValueError(text)
    if form not in (_FORMAT, _FORMAT_2_0) or end or int(length) not in _LENGTHS:
        raise ValueError(text)
    if before[1:] or before and not said or heard_s != begin_s or said.strip(_SAID):
        raise ValueError(text)
    return Lease("" if address == "-" else address, int(length), "" if gateway == "-" else gateway,
                 "" if server == "-" else server, int(begin_s), int(duration_s), fault, name_servers,
                 *NONE[8:-1], said)


def _encode_checked(name: str, checked: Checked) -> str:
    hold = checked.hold or Hold(MONITOR, "")
    return "\t".join([name, hold.reach, str(hold.since_s), checked.source, str(checked.relapses), str(checked.since_s),
                      str(checked.took_ms), str(checked.lost), checked.by, hold.why])


def _decode_checked(line: str) -> tuple[str, Checked]:
    name, reach, hold_s, source, relapses, since_s, took_ms, lost, by, why = line.split("\t")
    if reach not in ("", NO_NEW, GIVEN_UP, GONE):
        raise ValueError(line)
    hold = Hold(MONITOR, reach, why, int(hold_s)) if reach else None
    return name, Checked(hold, source, int(relapses), int(since_s), int(took_ms), int(lost), by)


def _canonical(quad: str) -> bool:
    try:
        return inet_ntoa(inet_aton(quad)) == quad
    except OSError:
        return False


def lives(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
