"""`dhcp-lb monitor`: one thread that waits for the kernel's word, for answers, for signals and for the time.

It looks (looking.py): a change in the kernel is answered at once by `reconcile`, as if a client had told. It checks
(checking.py): whether the provider of each link answers. What it finds out is a hold in the store, and `reconcile`
does the rest; nothing here touches the routing. It tells (telling.py): how the links are."""

from posix import chdir, pipe, read, set_blocking, umask
from select import EPOLLIN, epoll
from time import CLOCK_MONOTONIC, clock_gettime

from ..config import Invalid
from ..lock import Deadline
from ..log import log
from ..reconcile import reconcile
from ..store import Store
from . import systemd
from .brief import silence
from .checking import Checking
from .health import NEVER
from .instance import claim
from .looking import Looking, now_s
from .telling import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
else:
    from _signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

LATE_S = 0.25  # half of the least down=
PUBLISH_S = 15.0  # so old what `status` shows may be


def run() -> int:
    """Runs until a signal says otherwise: SIGTERM ends it, and its verdicts with it; SIGINT leaves them to the next
    monitor; SIGHUP has it look at once. The exit status."""
    umask(0o077)
    store = Store()
    try:
        store.prepare()
        claim(store)
        chdir(store.path)  # by which the clients' hook knows this process
        monitor = Monitor(store)
    except BlockingIOError:
        return _fail("another monitor is running")
    except PermissionError as error:
        return _fail(f"{error.filename or error.strerror}: only root can do this")
    return monitor.loop()


class Monitor:
    """The loop: waits for whatever comes first, and has it seen to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.checking = Checking(store)
        self.looking = Looking(store)
        self.telling = Telling(store)
        self.wakeup, wake = pipe()
        set_blocking(self.wakeup, False)
        set_blocking(wake, False)
        set_wakeup_fd(wake)
        self.signals: set[int] = set()
        for number in SIGTERM, SIGINT, SIGHUP:
            signal(number, lambda number, _: self.signals.add(number))
        self.hears: dict[int, Callable[[float], None]] = {  # by descriptor, in this order
            self.wakeup: self.obey,
            self.looking.changes.socket.fileno(): lambda moment_s: self.looking.hear_changes(
                moment_s, self.checking.indexes()),
            self.checking.prober.fileno(): self.hear_answers}
        if self.looking.tables:
            self.hears[self.looking.tables.fileno()] = self.looking.hear_tables
        if self.checking.advertised:
            self.hears[self.checking.advertised.socket.fileno()] = self.hear_routers
        self.poll = epoll()
        for descriptor in self.hears:
            self.poll.register(descriptor, EPOLLIN)
        self.turn_s = now_s()
        self.publish_s = NEVER  # until a look has ended
        self.alive_s = systemd.watchdog_s() / 3
        self.told_alive_s = 0.0
        self.ready = False  # systemd has been told so

    def loop(self) -> int:
        """Until the end; the exit status."""
        while not self.signals & {SIGTERM, SIGINT}:
            self.turn()
            if self.looking.locked_out:
                return 1
        systemd.notify("STOPPING=1")
        if SIGTERM in self.signals:
            self.resign()
        return 0

    def resign(self) -> None:
        """Nobody is there any more to say when a dead link works again, so all links are as good as any."""
        try:
            self.store.unwatch()
            silence(self.store)
            if not self.store.flushed():
                reconcile(self.looking.config, self.store)
        except (Invalid, Deadline, OSError) as error:
            log(f"the monitor ends, and a dead link may be left out: {error}; `dhcp-lb apply` brings it back")

    def turn(self) -> None:
        """Waits for something, and does what it asks for."""
        due_s = self.due_s()
        planned_s = max(due_s, self.turn_s)
        ready = {descriptor for descriptor, _ in self.poll.poll(max(0.0, due_s - now_s()))}
        self.turn_s = moment_s = now_s()
        for descriptor, hear in self.hears.items():
            if descriptor in ready:
                hear(moment_s)
        self.awake(moment_s, moment_s - planned_s)
        self.checking.attend(moment_s)
        self.conclude(moment_s)
        if self.looking.due_s() <= moment_s:
            self.look(moment_s)
        if self.publish_s <= moment_s:
            self.publish_s = moment_s + PUBLISH_S
            self.publish(moment_s)
            self.telling.announce(self.looking, self.checking)
            self.telling.expose(self.looking, self.checking)
        if self.alive_s and moment_s >= self.told_alive_s + self.alive_s:
            self.told_alive_s = moment_s
            systemd.notify("WATCHDOG=1")

    def due_s(self) -> float:
        """When something is to be done although nothing has come."""
        alive_s = self.told_alive_s + self.alive_s if self.alive_s else NEVER
        return min(self.looking.due_s(), self.checking.due_s(), self.publish_s, alive_s)

    # What comes

    def obey(self, moment_s: float) -> None:
        """Signals."""
        read(self.wakeup, 4096)
        if SIGHUP in self.signals:
            self.signals.remove(SIGHUP)
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock_gettime(CLOCK_MONOTONIC) * 1e6)}")
            self.looking.wholly_at(moment_s)
            self.ready = False

    def hear_answers(self, moment_s: float) -> None:
        """Answers to probes."""
        if self.checking.hear(moment_s):
            self.publish_s = min(self.publish_s, moment_s + 1)

    def hear_routers(self, moment_s: float) -> None:
        """Advertisements, which name other servers to ask."""
        self.checking.hear_routers(moment_s, self.looking.indexes())
        if self.looking.sights:
            self.take()

    # What follows

    def awake(self, moment_s: float, late_s: float) -> None:
        """Sees whether this process stood still, or the machine slept. What was known before still is: the look that
        is due must find it in the store."""
        if late_s >= LATE_S:
            self.looking.asleep(late_s)
            if late_s > PUBLISH_S:
                self.publish(moment_s)
            self.checking.doubt(late_s)

    def conclude(self, moment_s: float) -> None:
        """What is news of the links is in the store when the next look begins, which is due."""
        if self.checking.conclude(moment_s):
            self.publish(moment_s)
            self.looking.at(moment_s)

    def publish(self, moment_s: float) -> None:
        """Puts into the store what is known of the links, as valid as the last look was good."""
        try:
            if self.looking.good_s and self.checking.publish(self.looking.good_s):
                self.looking.at(moment_s)
        except OSError as error:
            self.telling.complain(f"{error.filename}: {error.strerror}: the monitor's findings are not kept")

    def look(self, moment_s: float) -> None:
        """Looks, and has those know it who wait for it."""
        counts = self.looking.counts
        failure = self.looking.look(moment_s)
        if failure is None:
            return
        if not failure:
            self.take()
        if self.telling.complain(failure) or self.looking.counts != counts:
            self.publish_s = moment_s
        if not self.ready:
            self.ready = systemd.notify("READY=1")
        systemd.notify(f"STATUS={self.telling.summary(self.looking, self.checking)}")

    def take(self) -> None:
        """What was seen of the links is for the checking, and for those who are told of transitions."""
        moment_s = now_s()
        if self.checking.take(self.looking.sights, moment_s):
            if self.looking.sights:
                self.telling.transitions(*self.checking.uplinks())
            self.conclude(moment_s)
            self.publish_s = moment_s


def _fail(message: str) -> int:
    from sys import stderr
    print(f"dhcp-lb: {message}", file=stderr)
    return 1
