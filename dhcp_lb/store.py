"""The store in /run/dhcp-lb: the last lease of each link, its holds, and what is settled. All files of this program
are read and written here.

Any file in the store may vanish at any time. Of a DHCP server's own text, none has more than digits, dots, slashes and
spaces (event.said)."""

from _socket import inet_aton, inet_ntoa
from errno import EISDIR, ELOOP, ENOSPC, EPERM
from posix import (O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY, close, fchmod, fsync, geteuid,
                   getpid, kill, listdir, lstat, mkdir, open, rename, rmdir, stat, unlink, write)
from posix import read as read_some

from .address import FAMILIES, IPV4, IPV6, host6, network
from .model import (ADMINISTRATOR, GIVEN_UP, GONE, KERNEL, LOADED, LOST, MONITOR, NO_NEW, NO_NFT, NONE, OUT, Checked,
                    Delegated, Hold, Lease, Objection, State)

RUN = "/run/dhcp-lb"

HELD = "held"  # by the administrator: lines `INTERFACE disabled|draining SINCE`; 2.0 had no SINCE
LEASES = "leases"  # a file a link: a line (_encode), and what its client said
RENEWED = "renewed"  # a file a link: CLOCK_BOOTTIME when its client has said the same again; the hook writes it, too
# Four of these files there are once more for IPv6, with a 6 behind the name: objections, watched, settled, furnished.
# A file a link, with a line `1 PREFIX BEGIN UNTIL` for each (model.Delegated); and perhaps one a link with :dns behind
# its name, which no interface's can have, with a line for each of its name servers of IPv6.
PREFIXES, DNS6 = "prefixes", ":dns"
OBJECTIONS = "objections"  # of the kernel: lines `INTERFACE REACH SINCE SAID-OF WHY`, with tabs
WATCHED = "watched"  # by the monitor: `PID UNTIL SINCE`, then a line for each link (_encode_checked), with tabs
SETTLED = "settled"  # the fingerprint of a run that had nothing left to do
FURNISHED = "furnished"  # what the names for ip(8) and the sysctls were last seen to for
FLUSHED = "flushed"  # exists from `flush` until a run has something to do
PINNED = "pinned"  # State.pinned
GROUPED = "groups"  # lines `INTERFACE BEFORE OURS`: the interface's group
SERVERS = "servers"  # State.servers: `NAME ID`
TOLD = "told"  # lines in the log: what stands in the way of our routing
TUNED = "sysctl"  # INTERFACE/KEY → the value that was there before ours

_LENGTHS = range(33)  # of prefixes; 0 = not known
_FORMAT = "2"  # the first word of a lease; another word is from a newer program
_FORMAT_2_0 = "1"  # that of 2.0, without name servers
_FORMAT_PREFIX = "1"
_CHECK_VALID_S = 120  # the monitor's word counts this long after a look that found all in order
_REACHES = {"disabled": OUT, "draining": NO_NEW}  # of an administrator's hold, by its word in HELD
_WORDS = {reach: word for word, reach in _REACHES.items()}
_SAID = "0123456789./ |"  # that event.said writes
_DIRECTORY = 0o40000  # S_IFDIR, inode(7)
_TYPE = 0o170000


class Store:
    """The files below one directory. Every method raises OSError if it fails."""

    def __init__(self, path: str = RUN) -> None:
        self.path = path

    def prepare(self) -> None:
        """Makes the missing directories. Refuses directories of other users: the program would follow a link that was
        planted there."""
        for path in self.path, *[f"{self.path}/{name}" for name in (LEASES, RENEWED, PREFIXES, "waiting")]:
            try:
                mkdir(path, 0o700)
            except FileExistsError:
                status = lstat(path)
                if status.st_mode & _TYPE != _DIRECTORY or status.st_uid != geteuid() or status.st_mode & 0o022:
                    words = "Permission denied" if geteuid() else "is not a directory that only root can write"
                    raise PermissionError(EPERM, words, path) from None

    def load(self, interfaces: frozenset[str], now_s: int) -> State:
        """The state of the links with these interfaces. A lease that began after `now_s` (CLOCK_BOOTTIME) is from
        before the last boot, and does not count."""
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
        """Writes a link's lease. A reader meanwhile sees the old or the new one."""
        replace(f"{self.path}/{LEASES}/{interface}", _encode(lease).encode())

    def renew(self, interface: str, now_s: int) -> None:
        """Keeps that the client of a link has said the same again."""
        self._keep(f"{RENEWED}/{interface}", [str(now_s)])

    def renewed(self, leases: dict[str, Lease], now_s: int) -> dict[str, Lease]:
        """These leases, as old as they are since their clients have said the same again."""
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
        """The state for IPv6: the kernel shows the leases, and has objections of its own. So has the monitor verdicts;
        but a carrier is of both families, and so is the monitor itself, who ends each link's pauses."""
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
        told = {name: self.prefixes(name, now_s) for name in names}
        return state._replace(leases={}, objections=objections, checked=checked,
                              told={name: one for name, one in told.items() if one})

    def prefixes(self, interface: str, now_s: int) -> tuple[Delegated, ...]:
        """The prefixes of a link that its client has told, and that live at `now_s` (CLOCK_BOOTTIME)."""
        found = []
        try:
            for line in self._lines(f"{PREFIXES}/{interface}"):
                form, prefix, begin_s, until_s = line.split(" ")
                start, _, bits = prefix.partition("/")
                # As the kernel would give it back.
                if form != _FORMAT_PREFIX or ":" not in start or network(start, int(bits)) != prefix:
                    raise ValueError(line)
                if int(begin_s) <= now_s and (until_s == "0" or now_s < int(until_s)):
                    found.append(Delegated(prefix, int(begin_s), int(until_s)))
        except (OSError, ValueError):  # as of a lost lease: its client will tell again
            return ()
        return tuple(found)

    def keep_prefixes(self, interface: str, told: tuple[Delegated, ...]) -> None:
        """Writes what `prefixes` returns."""
        self._keep(f"{PREFIXES}/{interface}", [f"{_FORMAT_PREFIX} {prefix} {begin_s} {until_s}"
                                               for prefix, begin_s, until_s in told])

    def name_servers6(self, interface: str) -> tuple[str, ...]:
        """Those of a link that its DHCPv6 client has told."""
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
        """Writes the kernel's objections in a family, if there is room. Without room the next run would hear the same
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
        """What the monitor found out in a family, by link; nothing if it does not say any more that it holds."""
        try:
            first, *lines = self._lines(_of(WATCHED, family))
            until_s = int(first.split(" ")[1])
            if not now_s < until_s <= now_s + _CHECK_VALID_S:
                return {}
            return dict([_decode_checked(line) for line in lines])
        except (OSError, ValueError, IndexError):
            return {}

    def watch(self, checked: dict[str, Checked], now_s: int, family: int = IPV4.number) -> None:
        """Keeps what the monitor, this process, found out in a family, for as long as it counts from `now_s` on."""
        lines = [_encode_checked(name, one) for name, one in sorted(checked.items())]
        self._keep(_of(WATCHED, family), [f"{getpid()} {now_s + _CHECK_VALID_S} {now_s}", *lines])

    def unwatch(self) -> None:
        """Forgets what the monitor found out."""
        for family in FAMILIES:
            self.discard(f"{self.path}/{_of(WATCHED, family)}")

    def pin(self, pinned: str) -> None:
        """Keeps what State.pinned tells."""
        if pinned:
            self._keep(PINNED, [pinned])
        else:
            self.discard(f"{self.path}/{PINNED}")

    def serve(self, servers: tuple[str, int]) -> None:
        """Keeps what State.servers tells, if there is room. Without room the next change finds it again."""
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
        """The groups of those interfaces that this program has put into its own: the one before, and ours then."""
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
        """Keeps what stands in the way now, and returns what did not when it was told last."""
        try:
            before = self._lines(TOLD)
        except ValueError:
            before = []
        if before != list(words):
            self._keep(TOLD, list(words))
        return tuple([one for one in words if one not in before])

    def settled(self, family: int = IPV4.number) -> bytes:
        """The fingerprint of the last run that had nothing left to do in a family; b"" if it is not known."""
        return self._facts(_of(SETTLED, family))

    def settle(self, sight: bytes, family: int = IPV4.number) -> None:
        """Writes the fingerprint of a run that had nothing left to do, if there is room."""
        self._remember(_of(SETTLED, family), sight)

    def furnished(self, family: int = IPV4.number) -> bytes:
        """What the names and a family's sysctls were last seen to for; b"" if that is not known."""
        return self._facts(_of(FURNISHED, family))

    def furnish(self, facts: bytes, family: int = IPV4.number) -> None:
        """Keeps what the names and sysctls were seen to for, if there is room."""
        self._remember(_of(FURNISHED, family), facts)

    def flush(self) -> None:
        """Keeps that an administrator has flushed: the names and sysctls have gone, too."""
        for family in FAMILIES:
            self.discard(f"{self.path}/{_of(FURNISHED, family)}")
        self._keep(FLUSHED, [], by=LEASES)

    def flushed(self) -> bool:
        """Whether an administrator has flushed, and no event or `apply` has come since."""
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
        """Writes a file by way of another directory, if it is given. It has another time then (monitor/vouch.py)."""
        text = "".join([f"{line}\n" for line in lines])
        path = f"{self.path}/{name}"
        temporary = f"{self.path}/{by}/{name} {getpid()}" if by else ""
        replace(path, text.encode("utf-8", "surrogateescape"), temporary)


def _of(name: str, family: int) -> str:
    """The name of a file that there is once for each family."""
    return name if family == IPV4.number else f"{name}6"


def read(path: str, most: int = 4096, follow: bool = False) -> bytes:
    """The first `most` bytes of a file. ValueError if it is a directory, or a symbolic link and not `follow`."""
    # O_NONBLOCK: a FIFO in the place of a file must not hold up a DHCP client.
    try:
        descriptor = open(path, O_RDONLY | O_NONBLOCK | (0 if follow else O_NOFOLLOW))
        try:
            return read_some(descriptor, most)
        finally:
            close(descriptor)
    except OSError as error:
        if error.errno in (EISDIR, ELOOP):
            raise ValueError(path) from None
        raise


def replace(path: str, data: bytes, temporary: str = "", mode: int = 0o600) -> None:
    """Writes a file. A reader sees the old or the new one, even if this process is killed. The text goes to another
    name first: `temporary`, or `path`, a space and this process's number, so that many can write at once. No
    interface's name can have a space."""
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
            if mode != 0o600:  # outside of /run: with this mode under any umask, and on the disk
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
    return (f"{_FORMAT} {address or '-'} {length} {gateway or '-'} {server or '-'} {begin_s} {duration_s} "
            f"{','.join(name_servers) or '-'} {fault}\n" + (f"{lease.said}\n" if lease.said else ""))


def _decode(text: str) -> Lease:
    """The lease in a file's text. ValueError if this program cannot have written it."""
    first, newline, said = text.partition("\n")
    form, address, length, gateway, server, begin_s, duration_s, rest = first.split(" ", 7)
    names, fault = ("-", rest) if form == _FORMAT_2_0 else rest.split(" ", 1)
    name_servers = () if names == "-" else tuple(names.split(","))
    quads = {address, gateway, server} - {"-"}  # mostly one router is the server and the name server, too
    if not all([_canonical(quad) for quad in quads.union(name_servers)]):
        raise ValueError(text)
    if form not in (_FORMAT, _FORMAT_2_0) or not newline or int(length) not in _LENGTHS:
        raise ValueError(text)
    if said and (said[-1] != "\n" or said[:-1].strip(_SAID)):
        raise ValueError(text)
    return Lease("" if address == "-" else address, int(length), "" if gateway == "-" else gateway,
                 "" if server == "-" else server, int(begin_s), int(duration_s), fault, name_servers,
                 *NONE[8:-1], said[:-1])


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
    """Whether a process with this number exists."""
    try:
        kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
