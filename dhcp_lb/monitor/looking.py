"""The monitor's looks, each of which brings the kernel's routing in line: what causes a look, when it is due, and what
the last one has seen."""

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

APART_S = 0.05  # between two looks, because changes come in groups
QUIET_S = 0.5  # after this time, a link without a report is taken up; a client that is at work reports it before
LOOK_S = 60.0  # between two looks, if nothing changes
RETRY_S, MAX_RETRY_S = 0.02, 1.0  # while another process has the lock
FAILED_S = 5.0  # after a look that failed
FAILURE = "the monitor could not see to the routing"


def now_s() -> float:
    """Seconds since boot. Sleep counts, so the monitor notices that the machine has slept."""
    return clock_gettime(CLOCK_BOOTTIME)


class Looking:
    """Looks, and knows when the next look is due and what the last one has seen. Times are CLOCK_BOOTTIME."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changes = Changes(systemd.handed())
        self.tables = tables()
        self.config = Config()  # the last configuration without a mistake
        self.mistaken = False  # the present configuration has mistakes
        self.sights: tuple[Sight, ...] = ()  # of the last look that did not fail
        self.pinned = ""  # State.pinned in that look
        self.counts = True  # whether no foreign rule or route counts instead of ours
        self.good_s = 0.0  # when the last look found all in order
        self.locked_out = False  # the store is gone for good
        self.look_s = 0.0  # when the next look is due
        self.looked_s = 0.0
        self.take_up_s = 0.0  # when links without a report are taken up
        self.retry_s = RETRY_S
        self.mended_s = 0.0  # when the sysctls were checked last
        self.mend_s = 0.0  # when the nft table may be made again, if it is gone

    def due_s(self) -> float:
        """When the next look is due, even if nothing comes."""
        return min(self.look_s, self.take_up_s)

    def at(self, moment_s: float) -> None:
        """Makes a look due at this moment."""
        self.look_s = moment_s

    def wholly_at(self, moment_s: float) -> None:
        """Makes a look due at this moment, which also checks the sysctls and takes up links without a report."""
        self.look_s = self.take_up_s = moment_s
        self.changes.of_sysctls = True

    def soon(self, moment_s: float) -> None:
        """Makes a look due soon, so that it also sees what else changes in this moment."""
        self.look_s = min(self.look_s, max(moment_s, self.looked_s + APART_S))

    def hear_changes(self, moment_s: float, indexes: frozenset[int]) -> None:
        """Reads the kernel's notifications. `indexes`: the interfaces by which probes leave."""
        if self.changes.came(self.config.interfaces, indexes):
            self.soon(moment_s)
            self.take_up_s = min(self.take_up_s, moment_s + QUIET_S)

    def hear_tables(self, moment_s: float) -> None:
        """Reads the kernel's notifications that nftables has changed."""
        if self.tables:
            drain(self.tables)
        if self.pinned in (LOADED, LOST) and not table_there():
            self.soon(moment_s)

    def asleep(self, late_s: float) -> None:
        """Nobody could look for `late_s`. What was in order before still is."""
        if self.good_s:
            self.good_s += late_s

    def look(self, moment_s: float) -> str | None:
        """Brings the kernel's routing in line. Returns what went wrong, in words; "" = nothing; None = another process
        is at work, and the look is put off."""
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
            return (f"{error}\nthe monitor goes on with the earlier configuration until this is corrected; then run "
                    "`dhcp-lb apply`")
        except Deadline as error:
            self.again(moment_s, FAILED_S, taking_up)
            return f"{FAILURE}: {error}"
        except OSError as error:
            self.again(moment_s, FAILED_S, taking_up)
            # Somebody has removed the store. In a service's sandbox the store is a mount of its own, and does not come
            # back. The next monitor gets a new one.
            self.locked_out = error.errno == EROFS
            return f"{FAILURE}: {error.filename or 'the kernel'}: {error.strerror}"
        finally:
            vouch(self.store, seen)

    def again(self, moment_s: float, wait_s: float, taking_up: bool) -> None:
        """Makes a look due again that could not be done, after `wait_s`."""
        self.look_s = moment_s + wait_s
        if taking_up:
            self.take_up_s = self.look_s

    def see(self, taking_up: bool) -> Times | None:
        """One look. Returns the times of the files that it has dealt with, if all is in order. After `flush` and
        without links, there is nothing to do. Raises what `reconcile` and `take_up` raise."""
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
        """Brings everything in line, IPv4 first."""
        if taking_up:
            take_up(self.config, self.store, self.config.interfaces)
        # The kernel notifies of the IPv4 sysctls of interfaces only. The other sysctls are checked once in a while.
        mends = self.changes.of_sysctls or now_s() >= self.mended_s + LOOK_S
        sights = reconcile(self.config, self.store, News(mends=mends), wait=False)
        self.good_s = now_s()
        if mends:
            self.changes.of_sysctls, self.mended_s = False, self.good_s
        # This is half a second after the last change.
        if taking_up and not any([judged(sight).changes for sight in sights]):
            self.counts = speak(Rtnetlink(), self.store, sights)
        self.pinned = sights[0].state.pinned
        return sights

    def mend(self) -> None:
        """If the nft table is gone, starts a process that makes it again: nft may take long, and answers do not
        wait."""
        if self.pinned != LOST:
            self.mend_s = 0.0
        elif self.mend_s <= now_s():
            self.mend_s = now_s() + LOOK_S
            remake_table()

    def indexes(self) -> frozenset[int]:
        """The indexes of the links' interfaces."""
        return frozenset([one.ifindex for sight in self.sights[:1] for one in sight.interfaces.values()])
