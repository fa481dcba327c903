"""The story: whatever has happened, bring the kernel's routing in line with the configuration and the leases."""

from _socket import if_indextoname
from errno import ENETDOWN, errorcode
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
METRIC_TRY = 0xffffffff  # the last
RETRY_S = 60  # after a refusal: its reason may be gone, and be none of what we look at


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


def read_config(path: str = PATH, known: Config | None = None) -> Config:
    """The configuration; that which is `known` already, if the file is still the same. An absent file is an empty one;
    one that cannot be read is a mistake."""
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
    return known if known and known.text == text and not known.errors else parse(text, path)


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
        leases = {**recovered(have, interfaces, config.settings), **leases}
    held = {**state.held, **dict.fromkeys(stuck or {}, DRAINING)}
    uplinks = judge(config.links, leases, held, interfaces, refused or {})
    want = desired(uplinks, config.settings)
    if stuck:
        oifs = {interfaces[name].ifindex for name in stuck if name in interfaces}
        want = want._replace(routes=want.routes - _singles(want, oifs) | _singles(have, oifs))
    return View(uplinks, have, want, changes(have, want, config.settings.balance_table))


def reconcile(config: Config, store: Store, news: str = "", unsaved: dict[str, Lease] | None = None,
              edited: bool = False) -> None:
    """Does what is to be done after an event (or an edit, a boot, a verb), unless somebody who began later than
    this call has done it meanwhile. `config` is what the caller has read; what counts is what the file says when it is
    our turn, or one who had to wait would undo an edit.

    The link `news` is in the log if it cannot be used; `unsaved` leases are those that the store had no room for;
    after an edit, names and sysctls are seen to although no route changes. Invalid, OSError or Deadline: it could
    not; what is in the store is taken up by the next run."""
    known = config

    def settle(lock: Lock) -> None:
        config = read_config(known=known)
        if config.errors:
            raise Invalid("\n".join(config.errors))
        kernel = Rtnetlink()
        sight = look(kernel, config, _state(config, store, unsaved or {}))
        # The decision depends on nothing but what was seen. If that is what it was when there was nothing to do,
        # there is nothing to do; with hundreds of links, to know it saves most of the work of a renewal.
        fingerprint = sight.fingerprint()
        settled, refused_s = store.settled()
        if (not edited and not news and fingerprint == settled
                and (not refused_s or now_s() - refused_s < RETRY_S)):
            return
        store.tidy(config.interfaces)
        view = judged(sight)
        touched = {news}
        if view.changes or edited:
            touched |= _touched(view, config)
            view = _change(kernel, store, lock, sight, view, edited or refused_s > 0)
            touched |= {uplink.link.interface for uplink in view.uplinks if uplink.reason.startswith(REFUSED)}
        else:
            store.settle(fingerprint)
        for uplink in view.uplinks:
            if uplink.link.interface in touched and uplink.state not in (*ROUTED, NO_LEASE):
                log(f"{uplink.link.interface} is not used: {uplink.reason or uplink.state}")

    alone(store, settle, needed=edited)


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


def _change(kernel: Rtnetlink, store: Store, lock: Lock, sight: Sight, view: View, careful: bool) -> View:
    """Makes the changes, and what they need. What came out: links that the kernel refused are in it as such.

    If `careful`, nothing is deleted before all else is known to be accepted. That takes a second write, so it is for
    those runs in which a refusal is likely."""
    # What goes along with the routes comes before them: a run that is killed in between finds changes left to
    # make the next time, and so comes here again.
    _furnish(kernel, store, sight)
    config = sight.config
    refused: dict[str, str] = {}
    stuck: dict[str, str] = {}
    for attempt in range(ATTEMPTS + careful):
        if not view.changes:
            break
        lock.check()
        planned = view.changes
        if careful and not attempt:
            planned = _tried(planned) or planned
        refusals = kernel.write(planned)
        _tell(planned, refusals, sight.interfaces)
        partial = planned != view.changes
        if not refusals and not attempt and not partial:
            break
        # An interface that was down for a moment is no culprit.
        down = any(refusal.errno == ENETDOWN for refusal in refusals)
        culprits, idle = _culprits([refusal for refusal in reversed(refusals) if refusal.errno != ENETDOWN], view)
        if any(refusal.change.add and _balances(refusal.change.what) for refusal in refusals):
            idle.update(_stuck(kernel, view))
        found = {**culprits, **idle}.keys() - refused.keys() - stuck.keys()
        refused.update(culprits)
        for name in sorted(idle.keys() - refused.keys() - stuck.keys()):
            log(f"{name} gets no new connections: {idle[name]}")
            stuck[name] = idle[name]
        before, sight = sight, look(kernel, config, sight.state)
        view = judged(sight, refused, stuck)
        # A client may have taken an address away meanwhile, with which a nexthop dies.
        again = found or down or partial or sight.interfaces != before.interfaces
        if not again or not view.changes:
            # To ask again at the next renewal would get the same answer, for some time.
            store.settle(sight.fingerprint(), now_s() if refused or stuck or refusals else 0)
            break
    return view


def _tried(planned: tuple[Change, ...]) -> tuple[Change, ...]:
    """What tells whether these changes will be accepted, and harms nothing: all that is added, but of the default that
    balances a copy that is deleted at once. A second one with the same metric must not stay: the kernel takes a
    removal for any route that does not contradict it (fib_nh_match in net/ipv4/fib_semantics.c), so another's."""
    tried: list[Change] = []
    for add, what in planned:
        if add and isinstance(what, Route) and _balances(what):
            copy = what._replace(metric=METRIC_TRY)
            tried += [Change(True, copy), Change(False, copy)]
        elif add:
            tried.append(Change(True, what))
    return tuple(tried)


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


def _culprits(refusals: "list[Refusal]", view: View) -> tuple[dict[str, str], dict[str, str]]:
    """The links of which something was refused (interface → why): what is in its own table, or its single default in
    the balance table. The kernel may take the one and refuse the other, because it looks for the gateway from there.
    Apart from them those that work as before, and by whose gateway it only takes nothing more."""
    culprits: dict[str, str] = {}
    idle: dict[str, str] = {}
    kept = {route.nexthops for route in view.have.routes if _is_single(route)}
    for what, words in [(refusal.change.what, f"{REFUSED}{_words(refusal)}") for refusal in refusals
                        if refusal.change.add]:
        for uplink in view.uplinks:
            if what.table == uplink.link.table:
                culprits[uplink.link.interface] = words
            elif isinstance(what, Route) and _is_single(what) and what.nexthops[0].oif == uplink.ifindex:
                (idle if what.nexthops in kept else culprits)[uplink.link.interface] = words
    return culprits, idle


def _is_single(what: "Route | Rule") -> bool:
    return (isinstance(what, Route) and what.destination == EVERYWHERE and what.metric > 0
            and what.source != "" and len(what.nexthops) == 1)


def _singles(routing: Routing, oifs: set[int]) -> frozenset[Route]:
    """The single defaults by these interfaces in the balance table."""
    return frozenset([route for route in routing.routes if _is_single(route) and route.nexthops[0].oif in oifs])


def _balances(what: "Route | Rule") -> bool:
    return isinstance(what, Route) and what.destination == EVERYWHERE and not what.source


def _stuck(kernel: Rtnetlink, view: View) -> dict[str, str]:
    """The links by whose gateway the kernel takes no new route, though it keeps those that it has (interface → why):
    since another address came, say, whose broadcast address the gateway is. It looks at the nexthop before it sees
    that a route is there already (fib_create_info in net/ipv4/fib_semantics.c), so those that were there are asked
    for again."""
    kept = view.have.routes & view.want.routes
    singles = tuple([Change(True, route) for route in sorted(kept) if _is_single(route)])
    _, idle = _culprits(list(kernel.write(singles)) if singles else [], view)
    return idle


def _tell(planned: tuple[Change, ...], refusals: tuple[Refusal, ...], interfaces: dict[str, Interface]) -> None:
    from .iproute2 import command
    names = interface_names([change.what for change in planned],
                            {interface.ifindex: name for name, interface in interfaces.items()})
    refused = {refusal.change: refusal for refusal in refusals}
    for change in planned:
        text = command(change, names)
        if change in refused:
            log(f"refused: {text}: {_words(refused[change])}")
        elif not (isinstance(change.what, Route) and change.what.metric == METRIC_TRY):
            log(text)


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
