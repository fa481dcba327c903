"""The story: whatever has happened, bring the kernel's routing in line with the configuration and the leases."""

from _socket import if_indextoname
from errno import errorcode
from posix import O_NONBLOCK, O_RDONLY, close, open, read
from time import CLOCK_BOOTTIME, clock_gettime

from .address import EVERYWHERE
from . import VERSION
from .config import PATH, Config, parse
from .lease import DRAINING, FLUSHED, State, Store
from .lock import Lock, alone
from .log import log
from .model import Interface, Lease, Route, Routing, Rule
from .plan import Change, changes
from .record import NamedTuple
from .routing import NO_LEASE, ROUTED, Uplink, desired, judge, recovered
from .rtnetlink import Refusal, Rtnetlink, routing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED = "the kernel refuses it: "
ATTEMPTS = 3  # a refused link is left out and the rest tried again; a third refusal has no new reason


class Invalid(Exception):
    """The configuration has mistakes, a line each; nothing was changed."""


class Sight(NamedTuple):
    """All that decides what is to be done."""

    config: Config
    state: State
    interfaces: dict[str, Interface]
    rules: list[bytes]  # as Rtnetlink.dump gives them
    routes: list[bytes]

    def fingerprint(self) -> bytes:
        """The same for the same decision, whatever the age of the leases."""
        leases = [(name, lease.address, lease.length, lease.gateway, lease.server, lease.fault)
                  for name, lease in sorted(self.state.leases.items())]
        interfaces = [(name, *interface) for name, interface in sorted(self.interfaces.items())]
        facts = f"{VERSION} {leases} {sorted(self.state.held.items())} {interfaces}"
        return b"\n".join([facts.encode("utf-8", "surrogateescape"), self.config.text, *self.rules, *self.routes])


class View(NamedTuple):
    """What there is, and what there should be."""

    uplinks: tuple[Uplink, ...]
    have: Routing
    want: Routing
    changes: tuple[Change, ...]  # what leads from the one to the other


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


def look(kernel: Rtnetlink, config: Config, state: State) -> Sight:
    """Reads the kernel."""
    return Sight(config, state, kernel.interfaces(config.interfaces), *kernel.dump())


def judged(sight: Sight, refused: dict[str, str] | None = None, stuck: dict[str, str] | None = None) -> View:
    """Pure: what there is, and what there should be without the links that were `refused` (→ why), and without new
    connections for those that are `stuck`."""
    config, state, interfaces, rules, routes = sight
    have = routing(rules, routes)
    leases = state.leases
    if len(leases) < len(config.links):
        leases = {**recovered(config.links, have, config.settings), **leases}
    held = {**state.held, **dict.fromkeys(stuck or {}, DRAINING)}
    uplinks = judge(config.links, leases, held, interfaces, refused or {})
    want = desired(uplinks, config.settings)
    return View(uplinks, have, want, changes(have, want, config.settings.balance_table))


def reconcile(config: Config, store: Store, news: str = "", unsaved: dict[str, Lease] | None = None,
              edited: bool = False) -> None:
    """Does what is to be done after an event (or an edit, a boot, a verb), unless somebody who began later than
    this call has done it meanwhile.

    The link `news` is in the log if it cannot be used; `unsaved` leases are those that the store had no room for;
    after an edit, names and sysctls are seen to although no route changes. Invalid, OSError or Deadline: it could
    not; what is in the store is taken up by the next run."""
    if config.errors:
        raise Invalid("\n".join(config.errors))

    def settle(lock: Lock) -> None:
        kernel = Rtnetlink()
        sight = look(kernel, config, _state(config, store, unsaved or {}))
        # The decision depends on nothing but what was seen. If that is what it was when there was nothing to do,
        # there is nothing to do; with hundreds of links, to know it saves most of the work of a renewal.
        fingerprint = sight.fingerprint()
        if not edited and not news and fingerprint == store.settled():
            return
        store.tidy(config.interfaces)
        view = judged(sight)
        touched = {news}
        if view.changes or edited:
            touched |= _touched(view, config)
            view = _change(kernel, store, lock, sight, view)
            touched |= {uplink.link.interface for uplink in view.uplinks if uplink.reason.startswith(REFUSED)}
        else:
            store.settle(fingerprint)
        for uplink in view.uplinks:
            if uplink.link.interface in touched and uplink.state not in (*ROUTED, NO_LEASE):
                log(f"{uplink.link.interface} is not used: {uplink.reason or uplink.state}")

    alone(store, settle)


def flush(store: Store) -> None:
    """Removes everything of ours from the kernel and from iproute2's names. The leases stay for `apply` and for
    the clients' next event; changes in the kernel alone bring nothing back."""
    from . import iproute2, sysctl

    def remove(lock: Lock) -> None:
        kernel = Rtnetlink()
        planned = changes(routing(*kernel.dump()), Routing(), 0)
        lock.check()
        try:
            store.keep(FLUSHED, {})
        except OSError as error:
            log(f"{error.filename}: {error.strerror}: the next change in the kernel may bring all of it back")
        if planned:
            _tell(planned, kernel.write(planned), {})
        sysctl.restore(store)
        iproute2.remove_names()

    alone(store, remove, needed=True)


def _state(config: Config, store: Store, unsaved: dict[str, Lease]) -> State:
    state = store.load(config.interfaces, now_s())
    for path in state.corrupt:
        log(f"{path} makes no sense and is removed")
        store.discard(path)
    return state._replace(leases={**state.leases, **unsaved})


def _touched(view: View, config: Config) -> set[str]:
    """The interfaces of links that lose something."""
    tables = {change.what.table for change in view.changes if not change.add}
    return {link.interface for link in config.links if link.table in tables}


def _change(kernel: Rtnetlink, store: Store, lock: Lock, sight: Sight, view: View) -> View:
    """Makes the changes, and what they need. What came out: links that the kernel refused are in it as such."""
    # What goes along with the routes comes before them: a run that is killed in between finds changes left to
    # make the next time, and so comes here again.
    _furnish(kernel, store, sight)
    config = sight.config
    refused: dict[str, str] = {}
    stuck: dict[str, str] = {}
    for attempt in range(ATTEMPTS):
        if not view.changes:
            break
        lock.check()
        refusals = kernel.write(view.changes)
        _tell(view.changes, refusals, sight.interfaces)
        culprits = {name: f"{REFUSED}{_words(refusal)}" for refusal in reversed(refusals)
                    if refusal.change.add for name in _culprits(refusal.change.what, view)}
        if not refusals and not attempt:
            break
        found = culprits.keys() - refused.keys()
        if any(refusal.change.add and _balances(refusal.change.what) for refusal in refusals):
            for name, words in _stuck(kernel, view).items():
                if name not in culprits:
                    log(f"{name} gets no new connections: {REFUSED}{words}")
                    stuck[name] = words
                    found.add(name)
        before, sight = sight, look(kernel, config, sight.state)
        # A client may have taken an address away meanwhile, with which a nexthop dies.
        finished = not found and sight.interfaces == before.interfaces
        # To ask again at the next renewal would get the same answer.
        store.settle(sight.fingerprint())
        if finished:
            break
        refused.update(culprits)
        view = judged(sight, refused, stuck)
    return view


def _furnish(kernel: Rtnetlink, store: Store, sight: Sight) -> None:
    """Sees to the names of the tables and to the sysctls of the interfaces."""
    # Imported here: a renewal without change gets by without these.
    from . import iproute2, sysctl
    if errors := iproute2.clashes(sight.config):
        raise Invalid("\n".join(errors))
    try:
        for path in iproute2.write_names(sight.config):
            log(f"{path}: written")
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: for ip(8), our tables have numbers alone")
    sysctl.tune(kernel, store, sight.interfaces)


def _culprits(what: "Route | Rule", view: View) -> set[str]:
    """The interface of the link that something was refused of: what is in its own table, or its single default in
    the balance table. The kernel may take the one and refuse the other, because it looks for the gateway from
    there."""
    by_device = {uplink.ifindex: uplink.link.interface for uplink in view.uplinks}
    found = {uplink.link.interface for uplink in view.uplinks if uplink.link.table == what.table}
    if isinstance(what, Route) and _is_single(what):
        found.add(by_device[what.nexthops[0].oif])
    return found


def _is_single(what: "Route | Rule") -> bool:
    return isinstance(what, Route) and what.destination == EVERYWHERE and what.metric > 0


def _balances(what: "Route | Rule") -> bool:
    return isinstance(what, Route) and what.destination == EVERYWHERE and not what.source


def _stuck(kernel: Rtnetlink, view: View) -> dict[str, str]:
    """The links by whose gateway the kernel takes no new route, though it keeps those that it has (interface → its
    words): since another address came, say, whose broadcast address the gateway is. It looks at the nexthop before it
    sees that a route is there already (fib_create_info in net/ipv4/fib_semantics.c), so each is asked for again."""
    by_device = {uplink.ifindex: uplink.link.interface for uplink in view.uplinks}
    singles = tuple([Change(True, route) for route in sorted(view.want.routes) if _is_single(route)])
    return {by_device[refusal.change.what.nexthops[0].oif]: _words(refusal)
            for refusal in kernel.write(singles) if isinstance(refusal.change.what, Route)}


def _tell(planned: tuple[Change, ...], refusals: tuple[Refusal, ...], interfaces: dict[str, Interface]) -> None:
    from .iproute2 import command
    names = interface_names([change.what for change in planned],
                            {interface.ifindex: name for name, interface in interfaces.items()})
    refused = {refusal.change: refusal for refusal in refusals}
    for change in planned:
        text = command(change, names)
        log(f"refused: {text}: {_words(refused[change])}" if change in refused else text)


def _words(refusal: Refusal) -> str:
    return f"{refusal.words or 'no reason given'} ({errorcode.get(refusal.errno, refusal.errno)})"


def interface_names(objects: "Iterable[Route | Rule]", known: dict[int, str] | None = None) -> dict[int, str]:
    """Index → name of the interfaces in these routes, as far as they are still there, and those `known` already."""
    names = dict(known or {})
    oifs = {nexthop.oif for one in objects if isinstance(one, Route) for nexthop in one.nexthops}
    for oif in oifs - names.keys():
        try:
            names[oif] = if_indextoname(oif)
        except OSError:
            pass
    return names
