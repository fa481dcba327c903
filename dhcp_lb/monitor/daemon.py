"""`dhcp-lb monitor`: one thread that waits for the kernel's notifications, for answers, for signals and for the time.

It looks (looking.py): it answers a change in the kernel at once by `reconcile`, as if a client had reported it. It
checks whether the provider of each link answers (checking.py): a dead provider is a hold in the store, and `reconcile`
does the rest; nothing here touches the routing. It tells others how the links are (telling.py)."""

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

LATE_S = 0.25  # half of the smallest down=
PUBLISH_S = 15.0  # how old the figures in `status` may be


def run() -> int:
    """Runs the monitor until a signal ends it, and returns the exit status. SIGTERM ends it and its verdicts; SIGINT
    leaves its verdicts to the next monitor; SIGHUP makes it look at once."""
    umask(0o077)
    store = Store()
    try:
        store.prepare()
        claim(store)
        chdir(store.path)  # the clients' hook knows the monitor by its working directory
        monitor = Monitor(store)
    except BlockingIOError:
        return _fail("another monitor is running: stop it first, as with `systemctl stop dhcp-lb-monitor`")
    except PermissionError as error:
        return _fail(f"{error.filename or error.strerror}: only root can do this")
    return monitor.loop()


class Monitor:
    """The loop: it waits for whatever comes first, and calls the room that deals with it."""

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
        self.hears: dict[int, Callable[[float], None]] = {  # descriptor → what reads it; they are called in this order
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
        """Runs until the end, and returns the exit status."""
        while not self.signals & {SIGTERM, SIGINT}:
            self.turn()
            if self.looking.locked_out:
                return 1
        systemd.notify("STOPPING=1")
        if SIGTERM in self.signals:
            self.resign()
        return 0

    def resign(self) -> None:
        """Takes the verdicts back: nobody will be there to say when a dead link works again, so every link counts."""
        try:
            self.store.unwatch()
            silence(self.store)
            if not self.store.flushed():
                reconcile(self.looking.config, self.store)
        except (Invalid, Deadline, OSError) as error:
            log(f"the monitor ends, and a dead link may be left out: {error}; `dhcp-lb apply` brings it back")

    def turn(self) -> None:
        """Waits for something, and deals with it."""
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
        """When the next turn is due, even if nothing comes (CLOCK_BOOTTIME)."""
        alive_s = self.told_alive_s + self.alive_s if self.alive_s else NEVER
        return min(self.looking.due_s(), self.checking.due_s(), self.publish_s, alive_s)

    # What comes

    def obey(self, moment_s: float) -> None:
        """Reads signals."""
        read(self.wakeup, 4096)
        if SIGHUP in self.signals:
            self.signals.remove(SIGHUP)
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock_gettime(CLOCK_MONOTONIC) * 1e6)}")
            self.looking.wholly_at(moment_s)
            self.ready = False

    def hear_answers(self, moment_s: float) -> None:
        """Reads answers to probes."""
        if self.checking.hear(moment_s):
            self.publish_s = min(self.publish_s, moment_s + 1)

    def hear_routers(self, moment_s: float) -> None:
        """Reads advertisements, which may name new servers to ask."""
        if self.checking.hear_routers(moment_s, self.looking.indexes()) and self.looking.sights:
            self.take()

    # What follows

    def awake(self, moment_s: float, late_s: float) -> None:
        """Deals with a turn that comes late because this process stood still, or the machine slept. What was known
        before still is, and the look that is due must find it in the store."""
        if late_s >= LATE_S:
            self.looking.asleep(late_s)
            if late_s > PUBLISH_S:
                self.publish(moment_s)
            self.checking.doubt(late_s)

    def conclude(self, moment_s: float) -> None:
        """Draws conclusions. If there is news, it goes into the store, and a look is due."""
        if self.checking.conclude(moment_s):
            self.publish(moment_s)
            self.looking.at(moment_s)

    def publish(self, moment_s: float) -> None:
        """Writes into the store what is known of the links, with the time of the last look that found all in order."""
        try:
            if self.looking.good_s and self.checking.publish(self.looking.good_s):
                self.looking.at(moment_s)
        except OSError as error:
            self.telling.complain(f"{error.filename}: {error.strerror}: the monitor's findings are not kept")

    def look(self, moment_s: float) -> None:
        """Looks, and tells those who wait for it: the log, `status --brief`, the metrics and systemd."""
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
        """Hands what the look has seen to the checking, and to those who are told of transitions."""
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
