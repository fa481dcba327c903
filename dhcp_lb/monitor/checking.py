"""Whether the provider of each link answers: when each target is asked, which answers come, what follows from them,
and what the store gets to know."""

from errno import EOPNOTSUPP, EPERM
from posix import F_OK, access

from ..address import FAMILIES, IPV4, IPV6
from ..change import judged
from ..log import log
from ..model import NO, Checked
from ..routing import NO_LEASE, Uplink
from ..sight import IF_INET6, Sight
from ..store import Store
from . import health as machine
from .advertised import Advertisements
from .asks import Ask
from .health import ANSWERING, DEAD, NEVER, RETURNING, UP, verdict
from .probe import Prober, counts
from .side import MANY_UNANSWERED, Side
from .watch import Watch

TOGETHER_S = 0.05  # how early a probe may be
CANNOT = {EPERM: "a firewall of this machine lets no probe out",
          EOPNOTSUPP: "its entry among the neighbours is permanent, or there is no name server to ask"}


class Checking:
    """Asks through each link, receives the answers, and judges."""

    def __init__(self, store: Store) -> None:
        """PermissionError without CAP_NET_RAW."""
        self.store = store
        self.prober = Prober()
        self.advertised = Advertisements() if access(IF_INET6, F_OK) else None
        self.sides = {IPV4.number: Side(IPV4.number)}  # by family; that of IPv6 from the first look on that sees any
        self.watches: list[Watch] = []  # those of all families
        self.facts: tuple[object, ...] = ()  # what the watches were made from
        self.adopts = True  # the first watches adopt what the monitor before this one has found out
        self.touched: set[Watch] = set()  # the watches that have learned something since the last conclusion
        self.pause_ends_s = NEVER  # when the first pause of a watch ends

    def due_s(self) -> float:
        """When a probe or a conclusion is due, even if nothing comes."""
        return min([self.pause_ends_s, *[watch.due_s for watch in self.watches]])

    def indexes(self) -> frozenset[int]:
        """The indexes of the interfaces by which probes leave."""
        return frozenset([watch.way.ifindex for watch in self.watches if watch.way])

    def uplinks(self) -> list[tuple[Uplink, ...]]:
        """The links as they were seen last, in IPv4 and in IPv6."""
        return [side.uplinks if side else () for side in map(self.sides.get, FAMILIES)]

    # What is seen

    def take(self, sights: tuple[Sight, ...], moment_s: float) -> bool:
        """Makes the watches from what a look has seen of the links. False: the watches were made from the same
        facts."""
        servers = self.servers6(sights, moment_s)
        facts = *[_facts(sight) for sight in sights], servers
        if facts == self.facts:
            return False
        self.facts = facts
        by_family = {sight.family: sight for sight in sights}
        for family in FAMILIES:
            if family in by_family or family in self.sides:
                adopted = self.store.checked(int(moment_s), family) if self.adopts else {}
                side = self.sides.setdefault(family, Side(family))
                self.take_side(side, by_family.get(family), servers, adopted)
                side.survey()
                side.spread(moment_s)
        self.adopts = False
        self.watches = [watch for side in self.sides.values() for watch in side.watches.values()]
        # The pause of a cable that is back is over at once.
        self.pause_ends_s = min([moment_s if watch.carries(moment_s) else watch.pause_ends_s()
                                 for watch in self.watches], default=NEVER)
        self.touched = set(self.watches)
        return True

    def take_side(self, side: Side, sight: Sight | None, servers: dict[str, tuple[str, ...]],
                  adopted: dict[str, Checked]) -> None:
        """Makes the watches of one family. `servers`: the name servers of IPv6. A link that never had any IPv6 has no
        watch in that family."""
        side.uplinks = tuple([uplink for uplink in judged(sight).uplinks
                              if side.family == IPV4.number or uplink.state != NO_LEASE
                              or uplink.link.interface in side.watches]) if sight else ()
        for name in side.watches.keys() - {uplink.link.interface for uplink in side.uplinks}:
            self.prober.forget(name, side.family)
            side.forget(name)
        for uplink in side.uplinks:
            name = uplink.link.interface
            if sight and sight.config.settings.enabled == NO:  # without the link's routes, a probe may find no way
                uplink = uplink._replace(link=uplink.link._replace(targets=()))
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
            if name in adopted:
                watch.adopt(adopted[name])
                side.verdicts[name] = verdict(watch.health)

    def servers6(self, sights: tuple[Sight, ...], moment_s: float) -> dict[str, tuple[str, ...]]:
        """Interface → the IPv6 name servers of its link: those that routers advertise, and those that its client has
        reported."""
        advertised = self.advertised.known(moment_s) if self.advertised else {}
        return {name: (*advertised.get(interface.ifindex, ()), *self.store.name_servers6(name))
                for sight in sights if sight.family == IPV6.number for name, interface in sight.interfaces.items()}

    # What is asked, and answered

    def hear_routers(self, moment_s: float, indexes: frozenset[int]) -> bool:
        """Takes what routers advertise by the interfaces with these indexes. Whether that is news."""
        return bool(self.advertised and self.advertised.hear(moment_s, indexes))

    def hear(self, moment_s: float) -> bool:
        """Takes the answers. True: a link has got its first answer, and somebody may be waiting to see it."""
        first = False
        for answer in self.prober.answers(moment_s):
            side = self.sides[answer.family]
            watch = side.watches.get(answer.interface)
            if watch and answer.ask in watch.asks:
                first = first or not watch.health.proven
                watch.health = machine.answered(watch.health, answer.ask, moment_s, watch.pace,
                                                side.alone(watch, moment_s))
                watch.took_s = answer.took_s
                watch.count(moment_s, 0, 1)
                self.touched.add(watch)
        return first

    def attend(self, moment_s: float) -> None:
        """Judges each link that is due, and sends probes by it."""
        # A probe may be a moment early. So of hundreds of links, several are asked in one turn. No probe is late: a
        # dead link would be out later by the same time.
        soon_s = moment_s + TOGETHER_S
        soon = [watch for watch in self.watches if watch.due_s <= soon_s]
        if min([watch.due_s for watch in soon], default=NEVER) > moment_s:
            return
        for watch in soon:
            watch.health = machine.judged(watch.health, moment_s, watch.pace)
            if watch.way and watch.probed and soon_s >= self.sides[watch.family].ask_s(watch):
                asked = tuple([ask for ask in machine.chosen(watch.health, watch.asks)
                               if self.ask(watch, ask, moment_s)])
                watch.health = machine.sent(watch.health, asked, moment_s)
                watch.count(moment_s, len(asked), 0)
                if watch.health.unanswered == MANY_UNANSWERED:
                    self.prober.renew(watch.way, moment_s)
            self.touched.add(watch)

    def ask(self, watch: Watch, ask: Ask, moment_s: float) -> bool:
        """Sends a probe. False: this machine kept it from leaving, so it says nothing about the link."""
        assert watch.way
        errno = self.prober.ask(watch.way, ask, moment_s)
        if errno in CANNOT and (ask, errno) not in watch.told:
            watch.told.add((ask, errno))
            log(f"{watch.way.interface} cannot be checked by asking {ask.address or ask.name}: {CANNOT[errno]}",
                {"LINK": watch.way.interface})
        return counts(errno)

    def doubt(self, late_s: float) -> None:
        """This process stood still for `late_s`: no conclusion is drawn from a silence of which it has missed so much.
        What came in the meantime has been read."""
        for watch in self.watches:
            if late_s > watch.link.down_s / 2:
                watch.health = machine.undecided(watch.health)
                self.touched.add(watch)

    # What is concluded

    def conclude(self, moment_s: float) -> bool:
        """Draws conclusions from what has come. Whether there is any news of a link: its verdict has changed, or its
        pause is over."""
        touched, self.touched = self.touched, set()
        news = self.end_pauses(moment_s)
        for side in self.sides.values() if touched else ():
            for watch, was, said in side.conclude(touched, moment_s):
                name, hold = watch.link.interface, watch.checked().hold
                if hold and said == DEAD and was != ANSWERING:
                    log(f"{side.of}{name} is dead: {hold.why}", {"LINK": name})
                elif said == UP and was != RETURNING:
                    log(f"{side.of}{name} works again", {"LINK": name})
                news = True
        return news

    def end_pauses(self, moment_s: float) -> bool:
        """Ends the pauses of links whose cable has not come back: their connections get an error, or move. Whether
        there was any."""
        if moment_s < self.pause_ends_s:
            return False
        for watch in self.watches:
            watch.gone = watch.gone or watch.pause_ends_s() <= moment_s
        self.pause_ends_s = min([watch.pause_ends_s() for watch in self.watches], default=NEVER)
        return True

    def publish(self, good_s: float) -> bool:
        """Writes into the store what is known of the links. It is as valid as a look that found all in order at
        `good_s` (CLOCK_BOOTTIME). True: these are other links than before; each of them has a rule by which TCP waits
        for its cable, so a look is due. OSError if the store cannot be written."""
        self.store.prepare()
        checked = {side: side.checked() for side in self.sides.values()}
        for side, found in checked.items():
            self.store.watch(found, int(good_s), side.family)
        others = [side for side, found in checked.items() if found.keys() != side.published]
        for side in others:
            side.published = set(checked[side])
        return bool(others)


def _facts(sight: Sight) -> tuple[object, ...]:
    """The parts of a sight that say how the links are. The kernel's routing is not among them."""
    state = sight.state
    verdicts = {name: one.hold.reach for name, one in state.checked.items() if one.hold}
    return sight.config, sight.interfaces, state.leases, state.held, state.objections, verdicts
