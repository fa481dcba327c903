"""How the links are, for all who do not ask the monitor itself: the log and the scripts in notify.d, `status --brief`,
the metrics, systemctl."""

from time import time

from .. import VERSION
from ..address import FAMILIES, IPV4
from ..log import log
from ..routing import STATES, Uplink
from ..store import Store
from . import metrics
from .brief import MISTAKES, announce, brief
from .checking import Checking
from .handover import Handover
from .health import RETURNING, UP
from .looking import Looking, now_s
from .notices import Standing, Standing6, beginning, notices, notices6, standings, standings6


class Telling:
    """Tells others how the links are; what is news, and what is wrong, once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.handover = Handover()
        self.standings: dict[str, Standing] | None = None  # None = nothing has been seen yet
        self.standings6: dict[str, Standing6] = {}
        self.failure = ""  # what went wrong; "" = nothing

    def complain(self, words: str) -> bool:
        """Tells what went wrong, once; "" = nothing does any more. Whether that is news."""
        news = words != self.failure
        for line in words.split("\n") if words and news else ():
            log(line)
        self.failure = words
        return news

    def transitions(self, four: tuple[Uplink, ...], six: tuple[Uplink, ...]) -> None:
        """Tells the log and the scripts of each transition; the first time, the log how the links are."""
        before, before6 = self.standings, self.standings6
        self.standings, self.standings6 = standings(four), standings6(six)
        self.handover([*notices(before, self.standings), *notices6(before6, self.standings6)] if before is not None
                      else [beginning(self.standings, self.standings6)])

    def announce(self, looking: Looking, checking: Checking) -> None:
        """Has `status --brief` know of other users."""
        found = MISTAKES
        if not looking.mistaken:
            four, six = checking.uplinks()
            held = looking.sights[0].state.held if looking.sights else {}
            found = brief(looking.config, four, held, not looking.sights, looking.counts and not self.failure, six)
        try:
            announce(self.store, found, int(now_s()))
        except OSError as error:
            self.complain(f"{error.filename}: {error.strerror}: nobody but root sees how the links are")

    def expose(self, looking: Looking, checking: Checking) -> None:
        """Writes the metrics, if somebody reads them."""
        if not (file := metrics.path(looking.config.settings.metrics)):
            return
        carriers = {name: one.carrier for sight in looking.sights[:1] for name, one in sight.interfaces.items()}
        four, six = [metrics.measured(side, carriers) if side else [] for side in map(checking.sides.get, FAMILIES)]
        in_order, good_s = looking.counts and not self.failure, time() - (now_s() - looking.good_s)
        try:
            metrics.write(file, metrics.text(VERSION, four, STATES, in_order, good_s, six))
        except OSError as error:
            self.complain(f"{error.filename}: {error.strerror}: there are no metrics")

    def summary(self, looking: Looking, checking: Checking) -> str:
        """What systemctl shows."""
        if self.failure:
            return self.failure.replace("\n", "; ")
        four = checking.sides[IPV4.number].watches
        if not four:
            return "no links" if not looking.config.links else "flushed: nothing is looked at"
        dead = [side.of + name for side in checking.sides.values() for name, said in sorted(side.verdicts.items())
                if said not in (UP, RETURNING)]
        checked = sum([watch.probed for watch in four.values()])
        return f"{checked} of {len(four)} links are checked; " + (
            f"dead: {', '.join(dead)}" if dead else "none is dead")
