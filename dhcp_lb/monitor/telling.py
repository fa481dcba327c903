"""Tells others how the links are: the log, the scripts in notify.d, `status --brief`, the metrics, and systemctl."""

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
    """Tells others how the links are. Transitions and failures are told once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.handover = Handover()
        self.standings: dict[str, Standing] | None = None  # None = nothing has been seen yet
        self.standings6: dict[str, Standing6] = {}
        self.failure = ""  # what went wrong; "" = nothing

    def complain(self, words: str) -> bool:
        """Logs once what went wrong; "" = nothing is wrong any more. Whether that is news."""
        news = words != self.failure
        for line in words.split("\n") if words and news else ():
            log(line)
        self.failure = words
        return news

    def transitions(self, four: tuple[Uplink, ...], six: tuple[Uplink, ...]) -> None:
        """Tells the log and the scripts of each transition. The first time, it tells the log how the links are."""
        before, before6 = self.standings, self.standings6
        self.standings, self.standings6 = standings(four), standings6(six)
        self.handover([*notices(before, self.standings), *notices6(before6, self.standings6)] if before is not None
                      else [beginning(self.standings, self.standings6)])

    def announce(self, looking: Looking, checking: Checking) -> None:
        """Writes the file from which `status --brief` answers users other than root."""
        found = MISTAKES
        if not looking.mistaken:
            four, six = checking.uplinks()
            held = looking.sights[0].state.held if looking.sights else {}
            found = brief(looking.config, four, held, not looking.sights, looking.counts and not self.failure, six)
        try:
            announce(self.store, found)
        except OSError as error:
            self.complain(f"{error.filename}: {error.strerror}: `status --brief` knows nothing for users but root")

    def expose(self, looking: Looking, checking: Checking) -> None:
        """Writes the metrics, if the configuration wants them or the exporter is installed."""
        if not (file := metrics.path(looking.config.settings.metrics)):
            return
        carriers = {name: one.carrier for sight in looking.sights[:1] for name, one in sight.interfaces.items()}
        four, six = [metrics.measured(side, carriers) if side else [] for side in map(checking.sides.get, FAMILIES)]
        in_order, good_s = looking.counts and not self.failure, time() - (now_s() - looking.good_s)
        try:
            metrics.write(file, metrics.text(VERSION, four, STATES, in_order, good_s, six))
        except OSError as error:
            self.complain(f"{error.filename}: {error.strerror}: the metrics are not written")

    def summary(self, looking: Looking, checking: Checking) -> str:
        """The line that `systemctl status` shows."""
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
