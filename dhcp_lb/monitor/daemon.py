"""`dhcp-lb monitor`: one thread that waits for the kernel's word, for answers, for signals and for the time.

It looks: a change in the kernel is answered at once by `reconcile`, as if a client had told. It checks: whether the
provider of each link answers. What it finds out is a hold in the store, and `reconcile` does the rest; nothing here
touches the routing."""

from errno import EOPNOTSUPP, EPERM, EROFS
from posix import F_OK, access, chdir, pipe, read, set_blocking, umask
from select import EPOLLIN, epoll
from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime, time

from .. import VERSION
from ..address import FAMILIES, IPV4, IPV6
from ..change import judged
from ..config import Config, Invalid, read_config
from ..lock import Busy, Deadline
from ..log import log
from ..model import LOADED, LOST, ON_DEVICE, Checked
from ..nfnetlink import table_there
from ..reconcile import reconcile
from ..routing import NO_LEASE, STATES
from ..rtnetlink import Rtnetlink
from ..sight import IF_INET6, News, Sight
from ..store import Store
from ..takeup import take_up
from ..verbs.counts import speak
from . import health as machine
from . import metrics, systemd
from .advertised import Advertisements
from .asks import Ask
from .brief import MISTAKES, announce, brief, silence
from .changes import Changes, drain, tables
from .health import ANSWERING, DEAD, NEVER, RETURNING, UP, verdict
from .handover import Handover
from .instance import claim
from .notices import Standing, Standing6, beginning, notices, notices6, standings, standings6
from .probe import Answer, Prober, counts
from .process import start
from .side import MANY_UNANSWERED, Side
from .vouch import Times, in_order, times, vouch
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal
else:
    from _signal import SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal

APART_S = 0.05  # between two looks: changes come in groups
TOGETHER_S = 0.02  # so late a probe may be
QUIET_S = 0.5  # after which a link that nobody told of is taken up; a client that is at work tells meanwhile
LATE_S = 0.25  # half of the least down=
FIRST_S = 2.0  # within which each link is asked for the first time
SOLICITED_S = 1.0  # after which it is, in IPv6: a router says within half of that who its name servers are
LOOK_S = 60.0  # without a change
PUBLISH_S = 15.0  # so old what `status` shows may be
RETRY_S, MAX_RETRY_S = 0.02, 1.0  # while another process has the lock
FAILED_S = 5.0  # after a look that failed
CANNOT = {EPERM: "a firewall of this machine lets no probe out",
          EOPNOTSUPP: "its entry among the neighbours is permanent, or there is no name server to ask"}


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
        self.mistakes = ""  # that were told last
        self.prober = Prober()
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
        for descriptor in self.prober.fileno(), self.changes.socket.fileno(), self.wakeup:
            self.poll.register(descriptor, EPOLLIN)
        if self.tables:
            self.poll.register(self.tables.fileno(), EPOLLIN)
        self.pinned = ""  # what the last look found of our table
        self.sides = {IPV4.number: Side(IPV4.number)}  # by family; that of IPv6 from the first look on that sees any
        self.watches: list[Watch] = []  # those of all families
        self.advertised = Advertisements() if access(IF_INET6, F_OK) else None
        if self.advertised:
            self.poll.register(self.advertised.socket.fileno(), EPOLLIN)
        self.seen: tuple[object, ...] = ()  # what the watches were made from
        self.sights: tuple[Sight, ...] = ()  # of the last look that was a whole one
        self.counts = True  # whether nothing of somebody else's came in the place of ours
        self.carriers: dict[str, bool] = {}
        self.standings: dict[str, Standing] | None = None  # that were told; None = nothing has been seen yet
        self.standings6: dict[str, Standing6] = {}
        self.tell = Handover()
        self.good_s = 0.0  # when the last look found all in order
        # From a monitor before this one, by family, until the first look.
        self.adopted: dict[int, dict[str, Checked]] | None = None
        self.look_s = 0.0  # when the next look is due
        self.looked_s = 0.0
        self.mended_s = 0.0  # when the sysctls were seen to
        self.take_up_s = 0.0  # when those links are due that nobody told of
        self.retry_s = RETRY_S
        self.publish_s = NEVER  # until a look has ended
        self.alive_s = systemd.watchdog_s() / 3
        self.told_alive_s = 0.0
        self.touched: set[Watch] = set()  # the links of which something is known since the last conclusion
        self.pause_ends_s = NEVER  # the first of the links' pauses
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
            indexes = frozenset([watch.way.ifindex for watch in self.watches if watch.way])
            if self.changes.came(self.config.interfaces, indexes):
                self.look_s = min(self.look_s, max(moment_s, self.looked_s + APART_S))
                self.take_up_s = min(self.take_up_s, moment_s + QUIET_S)
        if self.tables and self.tables.fileno() in ready:
            drain(self.tables)
            if self.pinned in (LOADED, LOST) and not table_there():
                self.look_s = min(self.look_s, max(moment_s, self.looked_s + APART_S))
        if self.prober.fileno() in ready:
            for answer in self.prober.answers(moment_s):
                self.hear(answer, moment_s)
        if self.advertised and self.advertised.socket.fileno() in ready:
            self.advertised.hear(moment_s, self.indexes())
            if self.sights:
                self.stock(self.sights)
        self.awake(moment_s, moment_s - planned_s)
        for watch in [watch for watch in self.watches if watch.due_s <= moment_s]:
            self.attend(watch, moment_s)
        self.conclude(moment_s)
        self.end_pauses(moment_s)
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
        # A probe may be a moment late. Of hundreds of links some are asked in one turn then, and not each in its own.
        asks_s = min([watch.due_s for watch in self.watches], default=NEVER) + TOGETHER_S
        return min(self.look_s, self.take_up_s, self.publish_s, alive_s, self.pause_ends_s, asks_s)

    def listen(self, moment_s: float) -> None:
        """Signals."""
        read(self.wakeup, 4096)
        if SIGHUP in self.signals:
            self.signals.remove(SIGHUP)
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(clock_gettime(CLOCK_MONOTONIC) * 1e6)}")
            self.look_s = self.take_up_s = moment_s
            self.changes.of_sysctls = True
            self.ready = False

    # Checking

    def awake(self, moment_s: float, late_s: float) -> None:
        """Draws no conclusion from a silence in which this process stood still, or the machine slept. What came
        meanwhile has been read. What was known before still is: the look that is due must find it in the store."""
        if late_s < LATE_S:
            return
        if self.good_s:
            self.good_s += late_s
        if late_s > PUBLISH_S:
            self.publish(moment_s)
        for watch in self.watches:
            if late_s > watch.link.down_s / 2:
                watch.health = machine.undecided(watch.health)
                self.touched.add(watch)

    def hear(self, answer: Answer, moment_s: float) -> None:
        """Somebody has answered."""
        side = self.sides[answer.family]
        watch = side.watches.get(answer.interface)
        if watch and answer.ask in watch.asks:
            if not watch.health.proven:
                self.publish_s = min(self.publish_s, moment_s + 1)  # somebody may be waiting to see it
            watch.health = machine.answered(watch.health, answer.ask, moment_s, watch.pace,
                                            side.alone(watch, moment_s))
            watch.took_s = answer.took_s
            watch.count(moment_s, 0, 1)
            self.touched.add(watch)

    def attend(self, watch: Watch, moment_s: float) -> None:
        """Judges a link, and asks by it."""
        watch.health = machine.judged(watch.health, moment_s, watch.pace)
        if watch.way and watch.probed and moment_s >= self.sides[watch.family].ask_s(watch):
            asked = tuple([ask for ask in machine.chosen(watch.health, watch.asks) if self.ask(watch, ask, moment_s)])
            watch.health = machine.sent(watch.health, asked, moment_s)
            watch.count(moment_s, len(asked), 0)
            if watch.health.unanswered == MANY_UNANSWERED:
                self.prober.renew(watch.way, moment_s)
        self.touched.add(watch)

    def ask(self, watch: Watch, ask: Ask, moment_s: float) -> bool:
        """Sends a probe. False: it was none, for a reason that is this machine's."""
        assert watch.way
        errno = self.prober.ask(watch.way, ask, moment_s)
        if errno in CANNOT and (ask, errno) not in watch.told:
            watch.told.add((ask, errno))
            log(f"{watch.way.interface} cannot be checked by asking {ask.address or ask.name}: {CANNOT[errno]}",
                {"LINK": watch.way.interface})
        return counts(errno)

    def conclude(self, moment_s: float) -> None:
        """Acts on verdicts that are others now."""
        touched, self.touched = self.touched, set()
        for side in self.sides.values() if touched else ():
            others = side.conclude(touched, moment_s)
            for watch, was, said in others:
                name, hold = watch.link.interface, watch.checked().hold
                if hold and said == DEAD and was != ANSWERING:
                    log(f"{side.of}{name} is dead: {hold.why}", {"LINK": name})
                elif said == UP and was != RETURNING:
                    log(f"{side.of}{name} works again", {"LINK": name})
            if others:
                self.publish(moment_s)
                self.look_s = moment_s

    def end_pauses(self, moment_s: float) -> None:
        """Connections of a link whose cable does not come back are told, or move."""
        if moment_s < self.pause_ends_s:
            return
        over = [watch for watch in self.watches if watch.pause_ends_s() <= moment_s]
        for watch in over:
            watch.gone = True
        self.plan_pauses()
        self.publish(moment_s)
        self.look_s = moment_s

    def plan_pauses(self) -> None:
        """Notes when the first of the links' pauses ends."""
        self.pause_ends_s = min([watch.pause_ends_s() for watch in self.watches], default=NEVER)

    def publish(self, moment_s: float) -> None:
        """Puts into the store what is known of the links, as valid as the last look was good."""
        if not self.good_s:
            return
        try:
            self.store.prepare()
            for side in self.sides.values():
                checked = side.checked()
                self.store.watch(checked, int(self.good_s), side.family)
                if checked.keys() != side.published:  # others have a rule now by which TCP waits for its cable
                    side.published = set(checked)
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
        four, six = [side.uplinks if side else () for side in map(self.sides.get, FAMILIES)]
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
        four, six = [self.measured_of(side) if side else [] for side in map(self.sides.get, FAMILIES)]
        in_order = not self.failure and self.counts
        return metrics.text(VERSION, four, STATES, in_order, time() - (now_s() - self.good_s), six)

    def measured_of(self, side: Side) -> list[metrics.Measured]:
        """What is told of the links in a family."""
        shares = metrics.shares(side.uplinks, self.carriers)
        links = []
        for uplink in side.uplinks:
            name, lease, watch = uplink.link.interface, uplink.lease, side.watches[uplink.link.interface]
            links.append(metrics.Measured(
                name, uplink.link.table, lease.address, "" if lease.gateway == ON_DEVICE else lease.gateway,
                uplink.link.tier, uplink.link.weight,
                uplink.state, self.carriers.get(name, False), verdict(watch.health) == UP, shares.get(name, 0.0),
                watch.changes, watch.asked, watch.answered, watch.took_s, watch.lost() / 100))
        return links

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
            self.stock(())
            return None
        if self.adopted is None:
            self.adopted = {family: self.store.checked(int(now_s()), family) for family in FAMILIES}
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
        self.stock(sights)
        self.mend()
        return seen if sights and in_order(sights[0]) else None

    def mend(self) -> None:
        """Has the nft table made again by a process of its own: nft may take long, and answers do not wait."""
        if self.pinned != LOST:
            self.mend_s = 0.0
        elif self.mend_s <= now_s():
            self.mend_s = now_s() + LOOK_S
            start("apply")

    def indexes(self) -> frozenset[int]:
        """Of the links' interfaces."""
        return frozenset([one.ifindex for sight in self.sights[:1] for one in sight.interfaces.values()])

    def servers6(self, moment_s: float) -> dict[str, tuple[str, ...]]:
        """The name servers of IPv6 by each link: those that routers advertise, and those that its client has told."""
        advertised = self.advertised.known(moment_s) if self.advertised else {}
        return {name: (*advertised.get(interface.ifindex, ()), *self.store.name_servers6(name))
                for sight in self.sights if sight.family == IPV6.number
                for name, interface in sight.interfaces.items()}

    def stock(self, sights: tuple[Sight, ...]) -> None:
        """Takes what was seen of the links into the watches."""
        moment_s = now_s()
        self.sights = sights
        servers = self.servers6(moment_s)
        facts = *[_facts(sight) for sight in sights], servers
        if facts == self.seen:
            return
        self.seen = facts
        if self.changes.follow(self.indexes()):
            self.look_s = moment_s
        if sights:
            self.carriers = {name: one.carrier for name, one in sights[0].interfaces.items()}
        by_family = {sight.family: sight for sight in sights}
        for family in FAMILIES:
            if family in by_family or family in self.sides:
                self.stock_side(self.sides.setdefault(family, Side(family)), by_family.get(family), servers, moment_s)
        self.adopted = {}
        self.watches = [watch for side in self.sides.values() for watch in side.watches.values()]
        self.plan_pauses()
        if sights:
            before, before6 = self.standings, self.standings6
            four, six = [side.uplinks if side else () for side in map(self.sides.get, FAMILIES)]
            self.standings, self.standings6 = standings(four), standings6(six)
            self.tell([*notices(before, self.standings), *notices6(before6, self.standings6)] if before is not None
                      else [beginning(self.standings, self.standings6)])
        self.touched = set(self.watches)
        self.conclude(moment_s)
        self.publish_s = moment_s

    def stock_side(self, side: Side, sight: Sight | None, servers: dict[str, tuple[str, ...]],
                   moment_s: float) -> None:
        """Of one family; the name servers are those of IPv6. A link that never had anything of IPv6 is none there."""
        side.uplinks = tuple([uplink for uplink in judged(sight).uplinks
                              if side.family == IPV4.number or uplink.state != NO_LEASE
                              or uplink.link.interface in side.watches]) if sight else ()
        for name in side.watches.keys() - {uplink.link.interface for uplink in side.uplinks}:
            self.prober.forget(name, side.family)
            side.forget(name)
        for uplink in side.uplinks:
            name = uplink.link.interface
            watch = side.watches.get(name)
            if not watch:
                watch = side.watches[name] = Watch(uplink.link, side.family)
                if side.family == IPV6.number and self.advertised and not servers.get(name):
                    self.advertised.solicit(uplink.ifindex)
            watch.changes += uplink.state != watch.state
            watch.state = uplink.state
            known = servers.get(name, ()) if side.family == IPV6.number else uplink.lease.name_servers
            if watch.stands(uplink, sight.interfaces.get(name) if sight else None, known):
                self.prober.forget(name, side.family)
            if watch.carries(moment_s):
                self.publish_s = self.look_s = moment_s
            adopted = self.adopted.get(side.family, {}) if self.adopted else {}
            if name in adopted:
                watch.adopt(adopted[name])
                side.verdicts[name] = verdict(watch.health)
        side.survey()
        for place, watch in enumerate(side.watches.values()):
            if not watch.health.asked_s and watch.probed:  # soon, but not all at the same moment
                first_s = min(watch.link.interval_s, FIRST_S) * place / len(side.watches)
                first_s += SOLICITED_S * (side.family == IPV6.number)
                watch.health = watch.health._replace(asked_s=moment_s + first_s - side.ask_s(watch))

    # Telling

    def summary(self) -> str:
        """What systemctl shows."""
        if self.failure:
            return self.failure.replace("\n", "; ")
        four = self.sides[IPV4.number].watches
        if not four:
            return "no links" if not self.config.links else "flushed: nothing is looked at"
        dead = [side.of + name for side in self.sides.values() for name, said in sorted(side.verdicts.items())
                if said not in (UP, RETURNING)]
        checked = sum([watch.probed for watch in four.values()])
        return f"{checked} of {len(four)} links are checked; " + (
            f"dead: {', '.join(dead)}" if dead else "none is dead")

    def complain(self, words: str) -> None:
        """Tells what went wrong, once."""
        if words != self.failure:
            for line in words.split("\n"):
                log(line)
        self.failure = words


def _facts(sight: Sight) -> tuple[object, ...]:
    """All of what was seen that says how the links are, but for the kernel's routing."""
    state = sight.state
    verdicts = {name: one.hold.reach for name, one in state.checked.items() if one.hold}
    return sight.config, sight.interfaces, state.leases, state.held, state.objections, verdicts


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the kernel'}: {error.strerror}"
    return str(error)


def _fail(message: str) -> int:
    from sys import stderr
    print(f"dhcp-lb: {message}", file=stderr)
    return 1
