"""`dhcp-lb monitor`: one thread that waits for the kernel's word, for answers, for signals and for the time.

It looks: a change in the kernel is answered at once by `reconcile`, as if a client had told. It checks
(checking.py): whether the provider of each link answers. What it finds out is a hold in the store, and `reconcile`
does the rest; nothing here touches the routing."""

from errno import EROFS
from posix import chdir, pipe, read, set_blocking, umask
from select import EPOLLIN, epoll
from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime, time

from .. import VERSION
from ..address import FAMILIES, IPV4
from ..change import judged
from ..config import Config, Invalid, read_config
from ..lock import Busy, Deadline
from ..log import log
from ..model import LOADED, LOST
from ..nfnetlink import table_there
from ..reconcile import reconcile
from ..routing import STATES
from ..rtnetlink import Rtnetlink
from ..sight import News, Sight
from ..store import Store
from ..takeup import take_up
from ..verbs.counts import speak
from . import metrics, systemd
from .brief import MISTAKES, announce, brief, silence
from .changes import Changes, drain, tables
from .checking import Checking
from .health import NEVER, RETURNING, UP
from .handover import Handover
from .instance import claim
from .notices import Standing, Standing6, beginning, notices, notices6, standings, standings6
from .process import start
from .vouch import Times, in_order, times, vouch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
else:
    from _signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

APART_S = 0.05  # between two looks: changes come in groups
QUIET_S = 0.5  # after which a link that nobody told of is taken up; a client that is at work tells meanwhile
LATE_S = 0.25  # half of the least down=
LOOK_S = 60.0  # without a change
PUBLISH_S = 15.0  # so old what `status` shows may be
RETRY_S, MAX_RETRY_S = 0.02, 1.0  # while another process has the lock
FAILED_S = 5.0  # after a look that failed


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


def now_s() -> float:
    """Seconds since boot, those asleep included, so that a machine that slept knows it."""
    return clock_gettime(CLOCK_BOOTTIME)


class Monitor:
    """All that the loop goes by."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.config = Config()  # the last one without a mistake
        self.checking = Checking(store)
        self.changes = Changes(systemd.handed())
        self.wakeup, wake = pipe()
        set_blocking(self.wakeup, False)
        set_blocking(wake, False)
        set_wakeup_fd(wake)
        self.signals: set[int] = set()
        for number in SIGTERM, SIGINT, SIGHUP:
            signal(number, lambda number, _: self.signals.add(number))
        self.poll = epoll()
        self.tables = tables()
        for descriptor in self.checking.prober.fileno(), self.changes.socket.fileno(), self.wakeup:
            self.poll.register(descriptor, EPOLLIN)
        if self.tables:
            self.poll.register(self.tables.fileno(), EPOLLIN)
        self.pinned = ""  # what the last look found of our table
        if self.checking.advertised:
            self.poll.register(self.checking.advertised.socket.fileno(), EPOLLIN)
        self.sights: tuple[Sight, ...] = ()  # of the last look that was a whole one
        self.counts = True  # whether nothing of somebody else's came in the place of ours
        self.standings: dict[str, Standing] | None = None  # that were told; None = nothing has been seen yet
        self.standings6: dict[str, Standing6] = {}
        self.tell = Handover()
        self.good_s = 0.0  # when the last look found all in order
        self.look_s = 0.0  # when the next look is due
        self.looked_s = 0.0
        self.mended_s = 0.0  # when the sysctls were seen to
        self.take_up_s = 0.0  # when those links are due that nobody told of
        self.retry_s = RETRY_S
        self.publish_s = NEVER  # until a look has ended
        self.alive_s = systemd.watchdog_s() / 3
        self.told_alive_s = 0.0
        self.turn_s = now_s()
        self.mend_s = 0.0  # when the nft table may be made again, if it is gone
        self.ready = False  # systemd has been told so
        self.failure = ""  # of the last look
        self.mistaken = False  # it found mistakes in the configuration
        self.locked_out = False

    def loop(self) -> int:
        """Until the end; the exit status."""
        while not self.signals & {SIGTERM, SIGINT}:
            self.turn()
            if self.locked_out:
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
                reconcile(self.config, self.store)
        except (Invalid, Deadline, OSError) as error:
            log(f"the monitor ends, and a dead link may be left out: {error}; `dhcp-lb apply` brings it back")

    def turn(self) -> None:
        """Waits for something, and does what it asks for."""
        due_s = self.due_s()
        planned_s = max(due_s, self.turn_s)
        ready = {descriptor for descriptor, _ in self.poll.poll(max(0.0, due_s - now_s()))}
        self.turn_s = moment_s = now_s()
        if self.wakeup in ready:
            self.listen(moment_s)
        if self.changes.socket.fileno() in ready:
            if self.changes.came(self.config.interfaces, self.checking.indexes()):
                self.look_s = min(self.look_s, max(moment_s, self.looked_s + APART_S))
                self.take_up_s = min(self.take_up_s, moment_s + QUIET_S)
        if self.tables and self.tables.fileno() in ready:
            drain(self.tables)
            if self.pinned in (LOADED, LOST) and not table_there():
                self.look_s = min(self.look_s, max(moment_s, self.looked_s + APART_S))
        if self.checking.prober.fileno() in ready and self.checking.hear(moment_s):
            self.publish_s = min(self.publish_s, moment_s + 1)
        if self.checking.advertised and self.checking.advertised.socket.fileno() in ready:
            self.checking.hear_routers(moment_s, self.indexes())
            if self.sights:
                self.take()
        self.awake(moment_s, moment_s - planned_s)
        self.checking.attend(moment_s)
        self.conclude(moment_s)
        if self.look_s <= moment_s or self.take_up_s <= moment_s:
            self.look(moment_s)
        if self.publish_s <= moment_s:
            self.publish_s = moment_s + PUBLISH_S
            self.publish(moment_s)
            self.announce()
            self.expose()
        if self.alive_s and moment_s >= self.told_alive_s + self.alive_s:
            self.told_alive_s = moment_s
            systemd.notify("WATCHDOG=1")

    def due_s(self) -> float:
        """When something is to be done although nothing has come."""
        alive_s = self.told_alive_s + self.alive_s if self.alive_s else NEVER
        return min(self.look_s, self.take_up_s, self.checking.due_s(), self.publish_s, alive_s)

    def listen(self, moment_s: float) -> None:
        """Signals."""
        read(self.wakeup, 4096)
        if SIGHUP in self.signals:
            self.signals.remove(SIGHUP)
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock_gettime(CLOCK_MONOTONIC) * 1e6)}")
            self.look_s = self.take_up_s = moment_s
            self.changes.of_sysctls = True
            self.ready = False

    def awake(self, moment_s: float, late_s: float) -> None:
        """Sees whether this process stood still, or the machine slept. What was known before still is: the look that
        is due must find it in the store."""
        if late_s >= LATE_S:
            if self.good_s:
                self.good_s += late_s
            if late_s > PUBLISH_S:
                self.publish(moment_s)
            self.checking.doubt(late_s)

    def conclude(self, moment_s: float) -> None:
        """What is news of the links is in the store when the next look begins, which is due."""
        if self.checking.conclude(moment_s):
            self.publish(moment_s)
            self.look_s = moment_s

    def publish(self, moment_s: float) -> None:
        """Puts into the store what is known of the links, as valid as the last look was good."""
        try:
            if self.good_s and self.checking.publish(self.good_s):
                self.look_s = moment_s
        except OSError as error:
            self.complain(f"{error.filename}: {error.strerror}: the monitor's findings are not kept")

    def announce(self) -> None:
        """Has `status --brief` know of other users."""
        try:
            announce(self.store, self.brief(), int(now_s()))
        except OSError as error:
            self.complain(f"{error.filename}: {error.strerror}: nobody but root sees how the links are")

    def brief(self) -> tuple[int, str]:
        """How the links are."""
        if self.mistaken:
            return MISTAKES
        held = self.sights[0].state.held if self.sights else {}
        four, six = self.checking.uplinks()
        return brief(self.config, four, held, not self.sights, self.counts and not self.failure, six)

    def expose(self) -> None:
        """Writes the metrics, if somebody reads them."""
        if file := metrics.path(self.config.settings.metrics):
            try:
                metrics.write(file, self.measured())
            except OSError as error:
                self.complain(f"{error.filename}: {error.strerror}: there are no metrics")

    def measured(self) -> str:
        """The metrics of now."""
        carriers = {name: one.carrier for sight in self.sights[:1] for name, one in sight.interfaces.items()}
        four, six = [metrics.measured(side, carriers) if side else []
                     for side in map(self.checking.sides.get, FAMILIES)]
        in_order = not self.failure and self.counts
        return metrics.text(VERSION, four, STATES, in_order, time() - (now_s() - self.good_s), six)

    # Looking

    def look(self, moment_s: float) -> None:
        """Has the kernel's routing brought in line, and learns which links there are."""
        taking_up = self.take_up_s <= moment_s
        self.looked_s = moment_s
        failure = self.failure
        seen: Times | None = None
        self.look_s, self.take_up_s = moment_s + LOOK_S, NEVER if taking_up else self.take_up_s
        try:
            try:
                seen = self.see(taking_up)
            finally:
                vouch(self.store, seen)
            self.failure, self.mistaken = "", False
            self.retry_s = RETRY_S
        except Busy:
            self.again(moment_s, self.retry_s, taking_up)
            self.retry_s = min(2 * self.retry_s, MAX_RETRY_S)
            return
        except Invalid as error:
            self.mistaken = True
            self.complain(f"{error}\nthe monitor goes on with what was there before")
        except (Deadline, OSError) as error:
            self.again(moment_s, FAILED_S, taking_up)
            # Somebody has removed the store. In a service's sandbox it is a mount of its own, and does not come back.
            # The next monitor gets a new one.
            self.locked_out = isinstance(error, OSError) and error.errno == EROFS
            self.complain(f"the monitor could not see to the routing: {_words(error)}")
        if self.failure != failure:
            self.publish_s = moment_s
        if not self.ready:
            self.ready = systemd.notify("READY=1")
        systemd.notify(f"STATUS={self.summary()}")

    def again(self, moment_s: float, wait_s: float, taking_up: bool) -> None:
        """What could not be done is due once more."""
        self.look_s = moment_s + wait_s
        if taking_up:
            self.take_up_s = self.look_s

    def see(self, taking_up: bool) -> Times | None:
        """One look. Returns what it has seen to, if all of it is in order. After `flush`, and without links, there is
        nothing to see to."""
        seen = times(self.store)
        config = read_config(known=self.config)
        if config.errors:
            raise Invalid("\n".join(config.errors))
        self.config = config
        if not config.links or self.store.flushed():
            self.sights = ()
            self.follow()
            self.take()
            return None
        if taking_up:
            take_up(config, self.store, config.interfaces)
        # It tells of IPv4's sysctls of interfaces alone. The others are seen to once in a while.
        mends = self.changes.of_sysctls or now_s() >= self.mended_s + LOOK_S
        sights = reconcile(config, self.store, News(mends=mends), wait=False)
        self.good_s = now_s()
        if mends:
            self.changes.of_sysctls, self.mended_s = False, self.good_s
        # Half a second after the last change.
        if sights and taking_up and not any([judged(sight).changes for sight in sights]):
            before, self.counts = self.counts, speak(Rtnetlink(), self.store, sights)
            if self.counts != before:
                self.publish_s = self.good_s
        self.pinned = sights[0].state.pinned if sights else self.pinned
        self.sights = sights
        self.follow()
        self.take()
        self.mend()
        return seen if sights and in_order(sights[0]) else None

    def mend(self) -> None:
        """Has the nft table made again by a process of its own: nft may take long, and answers do not wait."""
        if self.pinned != LOST:
            self.mend_s = 0.0
        elif self.mend_s <= now_s():
            self.mend_s = now_s() + LOOK_S
            start("apply")

    def follow(self) -> None:
        """Has the kernel tell of main's routes by the links' interfaces. Of what came before nobody has told."""
        if self.changes.follow(self.indexes()):
            self.look_s = now_s()

    def indexes(self) -> frozenset[int]:
        """Of the links' interfaces."""
        return frozenset([one.ifindex for sight in self.sights[:1] for one in sight.interfaces.values()])

    def take(self) -> None:
        """What was seen of the links is for the checking, and for those who are told of transitions."""
        moment_s = now_s()
        if not self.checking.take(self.sights, moment_s):
            return
        if self.sights:
            before, before6 = self.standings, self.standings6
            four, six = self.checking.uplinks()
            self.standings, self.standings6 = standings(four), standings6(six)
            self.tell([*notices(before, self.standings), *notices6(before6, self.standings6)] if before is not None
                      else [beginning(self.standings, self.standings6)])
        self.conclude(moment_s)
        self.publish_s = moment_s

    # Telling

    def summary(self) -> str:
        """What systemctl shows."""
        if self.failure:
            return self.failure.replace("\n", "; ")
        four = self.checking.sides[IPV4.number].watches
        if not four:
            return "no links" if not self.config.links else "flushed: nothing is looked at"
        dead = [side.of + name for side in self.checking.sides.values()
                for name, said in sorted(side.verdicts.items()) if said not in (UP, RETURNING)]
        checked = sum([watch.probed for watch in four.values()])
        return f"{checked} of {len(four)} links are checked; " + (
            f"dead: {', '.join(dead)}" if dead else "none is dead")

    def complain(self, words: str) -> None:
        """Tells what went wrong, once."""
        if words != self.failure:
            for line in words.split("\n"):
                log(line)
        self.failure = words


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the kernel'}: {error.strerror}"
    return str(error)


def _fail(message: str) -> int:
    from sys import stderr
    print(f"dhcp-lb: {message}", file=stderr)
    return 1
