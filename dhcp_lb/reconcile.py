"""The story: whatever has happened, bring the kernel's routing in line with the configuration and the leases."""

from _socket import if_indextoname
from errno import errorcode
from posix import O_NONBLOCK, O_RDONLY, close, open, read
from time import CLOCK_BOOTTIME, clock_gettime

from . import iproute2, sysctl
from .config import PATH, Config, parse
from .lease import State, Store
from .lock import Lock, alone
from .log import log
from .model import Interface, Lease, Route, Routing
from .plan import Change, changes
from .record import NamedTuple
from .routing import NO_LEASE, Uplink, desired, judge, recovered
from .rtnetlink import Refusal, Rtnetlink

ATTEMPTS = 3  # a refused link is left out and the rest is tried again; more than two rounds have no new reason


class Invalid(Exception):
    """The configuration has mistakes, a line each; nothing was changed."""


class View(NamedTuple):
    """What there is, and what there should be."""

    config: Config
    interfaces: dict[str, Interface]
    uplinks: tuple[Uplink, ...]
    have: Routing
    want: Routing

    @property
    def changes(self) -> tuple[Change, ...]:
        """What leads from the one to the other."""
        return changes(self.have, self.want, self.config.settings.balance_table)


def now_s() -> int:
    """Seconds since boot, those asleep included; no setting of the clock changes it."""
    return int(clock_gettime(CLOCK_BOOTTIME))


def read_config(path: str = PATH) -> Config:
    """The configuration. An absent file is an empty one; one that cannot be read is a mistake."""
    try:
        descriptor = open(path, O_RDONLY | O_NONBLOCK)
        try:
            text = b""
            while part := read(descriptor, 1 << 20):
                text += part
        finally:
            close(descriptor)
    except FileNotFoundError:
        text = b""
    except OSError as error:
        return Config(errors=(f"{path}: {error.strerror}: it must be a file that root can read",))
    return parse(text, path)


def observe(kernel: Rtnetlink, config: Config, state: State, refused: dict[str, str] | None = None) -> View:
    """Reads the kernel and works out what should be in it."""
    have = kernel.routing()
    interfaces = kernel.interfaces(frozenset([link.interface for link in config.links]))
    leases = state.leases
    if len(leases) < len(config.links):
        leases = {**recovered(config.links, have, config.settings), **leases}
    uplinks = judge(config.links, leases, state.held, interfaces, refused or {})
    return View(config, interfaces, uplinks, have, desired(uplinks, config.settings))


def reconcile(config: Config, store: Store, news: frozenset[str] = frozenset(),
              unsaved: dict[str, Lease] | None = None, edited: bool = False) -> View | None:
    """Does what is to be done after an event (or an edit, a boot, a verb), once everybody before has finished.

    Links in `news` are in the log if they cannot be used; `unsaved` leases are those that the store had no room
    for; after an edit, names and sysctls are seen to although no route changes.

    Returns what it found and wanted; None if another process has done it meanwhile. Invalid, OSError or Deadline:
    it could not; what is in the store is taken up by the next run."""
    if config.errors:
        raise Invalid("\n".join(config.errors))

    def settle(lock: Lock) -> View:
        state = _state(config, store, unsaved or {})
        kernel = Rtnetlink()
        view = observe(kernel, config, state)
        dropped = {change.what.table for change in view.changes if not change.add}
        if edited or view.changes:
            if errors := iproute2.clashes(config):
                raise Invalid("\n".join(errors))
            sysctl.tune(kernel, store, view.interfaces)
            view = _write(kernel, lock, config, state, view)
            _write_names(config)
        for uplink in view.uplinks:
            link = uplink.link
            if not uplink.routed and uplink.state != NO_LEASE and (link.interface in news or link.table in dropped):
                log(f"{link.interface} is not used: {uplink.reason or uplink.state}")
        return view

    return alone(store, settle)


def flush(store: Store) -> None:
    """Removes everything of ours from the kernel and from iproute2's names. The leases stay for `apply`."""
    def remove(lock: Lock) -> None:
        kernel = Rtnetlink()
        planned = changes(kernel.routing(), Routing(), 0)
        lock.check()
        _tell(planned, kernel.write(planned) if planned else ())
        sysctl.restore(store)
        iproute2.remove_names()

    alone(store, remove, needed=True)


def _state(config: Config, store: Store, unsaved: dict[str, Lease]) -> State:
    interfaces = frozenset([link.interface for link in config.links])
    state = store.load(interfaces, now_s())
    for path in state.corrupt:
        log(f"{path} makes no sense and is removed")
        store.discard(path)
    store.tidy(interfaces)
    return state._replace(leases={**state.leases, **unsaved})


def _write(kernel: Rtnetlink, lock: Lock, config: Config, state: State, view: View) -> View:
    """Makes the changes. A link that the kernel refuses is left out, so that the others are balanced."""
    refused: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        planned = view.changes
        if not planned:
            break
        lock.check()
        refusals = kernel.write(planned)
        _tell(planned, refusals)
        # Its own table tells whose fault it is: whatever is wrong with a nexthop is wrong with it there, too.
        culprits = {link.interface: f"the kernel refuses it: {_words(refusal)}"
                    for refusal in refusals for link in config.links
                    if refusal.change.add and refusal.change.what.table == link.table}
        if not culprits.keys() - refused.keys():
            break
        refused.update(culprits)
        view = observe(kernel, config, state, refused)
    return view


def _tell(planned: tuple[Change, ...], refusals: tuple[Refusal, ...]) -> None:
    names = interface_names(planned)
    refused = {refusal.change: refusal for refusal in refusals}
    for change in planned:
        text = iproute2.command(change, names)
        log(f"refused: {text}: {_words(refused[change])}" if change in refused else text)


def _words(refusal: Refusal) -> str:
    return f"{refusal.words or 'no reason given'} ({errorcode.get(refusal.errno, refusal.errno)})"


def interface_names(planned: tuple[Change, ...]) -> dict[int, str]:
    """Index → name of the interfaces in these changes, as far as they are still there."""
    names = {}
    for oif in {nexthop.oif for change in planned if isinstance(change.what, Route)
                for nexthop in change.what.nexthops}:
        try:
            names[oif] = if_indextoname(oif)
        except OSError:
            pass
    return names


def _write_names(config: Config) -> None:
    try:
        for path in iproute2.write_names(config):
            log(f"{path}: written")
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: the tables have numbers alone for ip(8)")
