"""The story: whatever has happened, bring the kernel's routing in line with the configuration and the leases."""

from .config import Config, Invalid, read_config
from .lock import Lock, alone
from .model import Lease, Routing, State
from .record import NamedTuple
from .rtnetlink import Rtnetlink
from .sight import look, now_s
from .store import Store


class News(NamedTuple):
    """What a caller knows that neither the kernel nor the store says."""

    link: str = ""  # the lease of this one is another: the log says so if it cannot be used
    unsaved: dict[str, Lease] = {}  # leases that the store had no room for
    edited: bool = False  # the configuration may be another: what the kernel refused may be asked for again at once


def reconcile(config: Config, store: Store, news: News = News()) -> None:
    """Does what is to be done after an event (or an edit, a boot, a verb), unless somebody who began later than
    this call has done it meanwhile. `config` is what the caller has read; what counts is what the file says when it is
    our turn, or one who had to wait would undo an edit.

    Invalid, OSError or Deadline: it could not; what is in the store is taken up by the next run."""
    known = config

    def see_and_change(lock: Lock) -> None:
        config = read_config(known=known)
        if config.errors:
            raise Invalid("\n".join(config.errors))
        kernel = Rtnetlink()
        sight = look(kernel, config, _state(config, store, news))
        # The decision depends on nothing but what was seen. If that is what it was when there was nothing to do,
        # there is nothing to do; with hundreds of links, to know it saves most of the work of a renewal.
        if not news.edited and not news.link and sight.fingerprint() == store.settled():
            return
        from .change import change
        change(kernel, store, lock, sight, news)

    alone(store, see_and_change, needed=news.edited)


def flush(store: Store) -> None:
    """Removes everything of ours from the kernel and from iproute2's names. The leases stay for `apply` and for
    the clients' next event; changes in the kernel alone bring nothing back."""
    from . import iproute2, sysctl
    from .change import tell
    from .log import log
    from .plan import changes
    from .rtmessages import routing

    def remove(lock: Lock) -> None:
        kernel = Rtnetlink()
        planned = changes(routing(*kernel.ours()), Routing(), 0)
        lock.check()
        try:
            store.flush()
        except OSError as error:
            log(f"{error.filename}: {error.strerror}: the next change in the kernel may bring all of it back")
        if planned:
            tell(planned, kernel.write(planned), {})
        sysctl.restore(store)
        iproute2.remove_names()

    alone(store, remove, needed=True)


def _state(config: Config, store: Store, news: News) -> State:
    state = store.load(config.interfaces, now_s())
    if state.corrupt:
        from .log import log
        for path in state.corrupt:
            log(f"{path} makes no sense and is removed")
            store.discard(path)
    return state._replace(leases={**state.leases, **news.unsaved},
                          objections={} if news.edited else state.objections)
