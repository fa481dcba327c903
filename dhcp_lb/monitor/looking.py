"""The monitor's looks, each of which has the kernel's routing brought in line: what asks for one, when it is due, and
what the last one saw."""

from errno import EROFS
from time import CLOCK_BOOTTIME, clock_gettime

from ..change import judged
from ..config import Config, Invalid, read_config
from ..lock import Busy, Deadline
from ..model import LOADED, LOST
from ..nfnetlink import table_there
from ..reconcile import reconcile
from ..rtnetlink import Rtnetlink
from ..sight import News, Sight
from ..store import Store
from ..takeup import take_up
from ..verbs.counts import speak
from . import systemd
from .changes import Changes, drain, tables
from .health import NEVER
from .process import remake_table
from .vouch import Times, in_order, times, vouch

APART_S = 0.05  # between two looks: changes come in groups
QUIET_S = 0.5  # after which a link that nobody told of is taken up; a client that is at work tells meanwhile
LOOK_S = 60.0  # without a change
RETRY_S, MAX_RETRY_S = 0.02, 1.0  # while another process has the lock
FAILED_S = 5.0  # after a look that failed
FAILURE = "the monitor could not see to the routing"


def now_s() -> float:
    """Seconds since boot, those asleep included, so that a machine that slept knows it."""
    return clock_gettime(CLOCK_BOOTTIME)


class Looking:
    """Looks, and knows when the next look is due and what the last one saw."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changes = Changes(systemd.handed())
        self.tables = tables()
        self.config = Config()  # the last one without a mistake
        self.mistaken = False  # there are mistakes in the one of now
        self.sights: tuple[Sight, ...] = ()  # of the last look that was a whole one
        self.pinned = ""  # what it found of our table
        self.counts = True  # whether nothing of somebody else's came in the place of ours
        self.good_s = 0.0  # when the last look found all in order
        self.locked_out = False  # the store is gone for good
        self.look_s = 0.0  # when the next look is due
        self.looked_s = 0.0
        self.take_up_s = 0.0  # when those links are due that nobody told of
        self.retry_s = RETRY_S
        self.mended_s = 0.0  # when the sysctls were seen to
        self.mend_s = 0.0  # when the nft table may be made again, if it is gone

    def due_s(self) -> float:
        """When the next look is due although nothing has come."""
        return min(self.look_s, self.take_up_s)

    def at(self, moment_s: float) -> None:
        """A look is due then."""
        self.look_s = moment_s

    def wholly_at(self, moment_s: float) -> None:
        """A look is due then, at the sysctls and at links that nobody told of as well."""
        self.look_s = self.take_up_s = moment_s
        self.changes.of_sysctls = True

    def soon(self, moment_s: float) -> None:
        """A look is due, at what else changes in this moment as well."""
        self.look_s = min(self.look_s, max(moment_s, self.looked_s + APART_S))

    def hear_changes(self, moment_s: float, indexes: frozenset[int]) -> None:
        """The kernel's word. By the interfaces with these indexes packets are sent."""
        if self.changes.came(self.config.interfaces, indexes):
            self.soon(moment_s)
            self.take_up_s = min(self.take_up_s, moment_s + QUIET_S)

    def hear_tables(self, moment_s: float) -> None:
        """The kernel's word that nftables are others."""
        if self.tables:
            drain(self.tables)
        if self.pinned in (LOADED, LOST) and not table_there():
            self.soon(moment_s)

    def asleep(self, late_s: float) -> None:
        """For so long nobody could look. What was in order then still is."""
        if self.good_s:
            self.good_s += late_s

    def look(self, moment_s: float) -> str | None:
        """Has the kernel's routing brought in line. What went wrong, in words: "" = nothing; None = another process is
        at work, and the look is put off."""
        taking_up = self.take_up_s <= moment_s
        self.looked_s = moment_s
        self.look_s, self.take_up_s = moment_s + LOOK_S, NEVER if taking_up else self.take_up_s
        seen: Times | None = None
        try:
            seen = self.see(taking_up)
            self.mistaken, self.retry_s = False, RETRY_S
            return ""
        except Busy:
            self.again(moment_s, self.retry_s, taking_up)
            self.retry_s = min(2 * self.retry_s, MAX_RETRY_S)
            return None
        except Invalid as error:
            self.mistaken = True
            return f"{error}\nthe monitor goes on with what was there before"
        except Deadline as error:
            self.again(moment_s, FAILED_S, taking_up)
            return f"{FAILURE}: {error}"
        except OSError as error:
            self.again(moment_s, FAILED_S, taking_up)
            # Somebody has removed the store. In a service's sandbox it is a mount of its own, and does not come back.
            # The next monitor gets a new one.
            self.locked_out = error.errno == EROFS
            return f"{FAILURE}: {error.filename or 'the kernel'}: {error.strerror}"
        finally:
            vouch(self.store, seen)

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
        self.sights = self.see_to(taking_up) if config.links and not self.store.flushed() else ()
        if self.changes.follow(self.indexes()):
            self.look_s = now_s()
        if not self.sights:
            return None
        self.mend()
        return seen if in_order(self.sights[0]) else None

    def see_to(self, taking_up: bool) -> tuple[Sight, ...]:
        """Brings all in line, IPv4 first."""
        if taking_up:
            take_up(self.config, self.store, self.config.interfaces)
        # It tells of IPv4's sysctls of interfaces alone. The others are seen to once in a while.
        mends = self.changes.of_sysctls or now_s() >= self.mended_s + LOOK_S
        sights = reconcile(self.config, self.store, News(mends=mends), wait=False)
        self.good_s = now_s()
        if mends:
            self.changes.of_sysctls, self.mended_s = False, self.good_s
        # Half a second after the last change.
        if taking_up and not any([judged(sight).changes for sight in sights]):
            self.counts = speak(Rtnetlink(), self.store, sights)
        self.pinned = sights[0].state.pinned
        return sights

    def mend(self) -> None:
        """Has the nft table made again by a process of its own: nft may take long, and answers do not wait."""
        if self.pinned != LOST:
            self.mend_s = 0.0
        elif self.mend_s <= now_s():
            self.mend_s = now_s() + LOOK_S
            remake_table()

    def indexes(self) -> frozenset[int]:
        """Of the links' interfaces."""
        return frozenset([one.ifindex for sight in self.sights[:1] for one in sight.interfaces.values()])
