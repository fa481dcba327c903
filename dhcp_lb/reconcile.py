"""The steps of a run. Whatever has happened, a run brings the kernel's routing in line with the configuration and the
leases."""

from posix import F_OK, access

from . import CHANGE, load
from .address import IPV4, IPV6
from .config import Config, Invalid, read_config
from .lock import Lock, alone
from .model import LOADED, LOST, NO, Routing, Settings, State
from .rtnetlink import Rtnetlink
from .sight import IF_INET6, News, Sight, look, look6, now_s
from .store import Store


def reconcile(config: Config, store: Store, news: News = News(), wait: bool = True) -> tuple[Sight, ...]:
    """Does everything that is due after an event, an edit, a boot or a verb, unless a run that began later than this
    call has done it in the meantime. `config` is what the caller has read. What counts is the file's text when this
    run has the lock: otherwise a run that had to wait would undo an edit.

    Returns what it has seen in each family that it has looked at, IPv4 first; () if another run has done the work.
    Raises Invalid, OSError or Deadline if it fails, and Busy if another run is at work and this one must not `wait`.
    After a failure, the next run uses what is in the store."""
    known = config
    seen: tuple[Sight, ...] = ()
    made = ""
    if news.edited:
        # Events wait for the lock, and nft may take long. So nft runs before the lock is taken.
        store.prepare()
        made = _by_nft(Rtnetlink(), config, store, store.load(config.interfaces, now_s())._replace(objections={}))

    def see_and_change(lock: Lock) -> None:
        nonlocal seen
        config = read_config(known=known)
        if config.errors:
            raise Invalid("\n".join(config.errors))
        kernel = Rtnetlink()
        state = _state(config, store, news)
        if news.edited and (config.text != known.text or state.pinned != made):  # an edit, or a flush, since then
            state = state._replace(pinned=_by_nft(kernel, config, store, state))
        state = _pinned(kernel, config, store, state)
        sight = look(kernel, config, state)
        of_any = not news.family or lock.for_others()
        if of_any or news.family == IPV4.number:
            sight = settle(lock, kernel, sight)
            seen = sight,
        if (of_any or news.family == IPV6.number) and access(IF_INET6, F_OK):
            state = store.load6(sight.state, config.interfaces, now_s())
            if six := look6(kernel, sight.config, state._replace(objections={}) if news.edited else state,
                            sight.interfaces):
                for name in six.state.told.keys() - state.told.keys():
                    store.recall_prefixes(name, six.state.told[name])
                seen = *seen, settle(lock, kernel, six)

    def settle(lock: Lock, kernel: Rtnetlink, sight: Sight) -> Sight:
        if news.mends and sight.config.settings.enabled != NO:
            from .sysctl import tune
            tune(kernel, store, sight.interfaces, sight.config.settings.balance, sight.family)
        # The decision depends on the sight alone. If a run with the same sight had nothing to do, this run has nothing
        # to do. With hundreds of links that saves most of the work of a renewal.
        if not news.edited and not news.link and sight.fingerprint() == store.settled(sight.family):
            return sight._replace(settled=True)
        load(CHANGE)
        from .change import change
        return change(kernel, store, lock, sight, news)

    alone(store, see_and_change, news.edited, wait)
    return seen


def flush(store: Store) -> None:
    """Removes everything of ours from the kernel and from iproute2's names. The leases stay for `apply` and for the
    clients' next event. After it, a change in the kernel brings nothing back. Raises OSError or Deadline."""
    from . import groups, iproute2, sysctl
    from .change import tell
    from .log import log
    from .pinning import pins
    from .plan import changes
    from .rtmessages import routing

    def remove(lock: Lock) -> None:
        kernel = Rtnetlink()
        rules, routes, _ = kernel.ours()
        if access(IF_INET6, F_OK):
            rules6, routes6, _ = kernel.ours(IPV6.number)
            rules, routes = rules + rules6, routes + routes6
        planned = changes(routing(rules, routes), Routing(), Settings().shared())
        lock.check()
        try:
            store.flush()
        except OSError as error:
            log(f"{error.filename}: {error.strerror}: the next change in the kernel may bring the routing back")
        if planned:
            tell(planned, kernel.write(planned), {})
        pins.remove(store)
        sysctl.restore(store)
        groups.leave(kernel, store)
        iproute2.remove_names()

    alone(store, remove, needed=True)


def _by_nft(kernel: Rtnetlink, config: Config, store: Store, state: State) -> str:
    from .pinning import pins
    return pins.keep(kernel, config, store, state)


def _pinned(kernel: Rtnetlink, config: Config, store: Store, state: State) -> State:
    """The state, with what has become of the nft table. An event only looks whether the table is there: to make it
    with nft takes longer than all the rest of an event."""
    if state.pinned and config.settings.enabled == NO:
        return state._replace(pinned=_by_nft(kernel, config, store, state))
    if state.pinned not in (LOADED, LOST) or config.settings.pin == NO:
        return state
    load(("nfnetlink",))
    from .nfnetlink import table_there
    pinned = LOADED if table_there() else LOST
    if pinned != state.pinned:
        if pinned == LOST:
            from .log import log
            log("the nft table inet dhcp-lb is gone, which keeps connections on their links: `dhcp-lb apply` makes it "
                "again")
        store.pin(pinned)
    return state._replace(pinned=pinned)


def _state(config: Config, store: Store, news: News) -> State:
    state = store.load(config.interfaces, now_s())
    if state.corrupt:
        from .log import log
        for path in state.corrupt:
            log(f"{path} is corrupt and is removed")
            store.discard(path)
    return state._replace(leases={**state.leases, **news.unsaved},
                          objections={} if news.edited else state.objections)
