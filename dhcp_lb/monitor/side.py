"""Pure: the links of one family, and what one of them means for the others."""

from ..address import IPV6
from ..config import MAX_TIER
from ..model import Checked
from ..routing import Uplink
from . import health as machine
from .health import UP, verdict
from .watch import Watch, works

MANY_UNANSWERED = 2  # so many of a link that serves, and the links of the waiting tiers are probed as often
FIRST_S = 2.0  # within this time, each link is asked for the first time
SOLICITED_S = 1.0  # later in IPv6: a router names its name servers within half of this time


class Side:
    """What the monitor knows of the links in one family."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.of = "IPv6 of " if family == IPV6.number else ""  # before a link's name
        self.uplinks: tuple[Uplink, ...] = ()  # as they were seen last
        self.watches: dict[str, Watch] = {}
        self.verdicts: dict[str, str] = {}
        self.published: set[str] = set()  # the links in the last publication
        self.hurrying: set[str] = set()  # the links that serve and are silent
        self.hurry = False  # whether there were any at the last conclusion
        self.working: set[str] = set()  # the links that new connections can go by
        self.serving = 1  # the tier that serves
        self.dark_s = 0.0  # the last moment at which no link worked

    def ask_s(self, watch: Watch) -> float:
        """When the next probe by this link is due."""
        standby = watch.link.tier > self.serving and not self.hurrying
        return machine.due_s(watch.health, watch.pace, len(watch.asks), standby)

    def plan(self, watch: Watch) -> None:
        """Notes when this link must be asked or judged."""
        watch.due_s = min(self.ask_s(watch), machine.judged_s(watch.health, watch.pace)) if watch.probed else (
            machine.NEVER)

    def alone(self, watch: Watch, moment_s: float) -> bool:
        """Whether no other link works, or none did a moment ago. Such a link is up at its first answer."""
        return not self.working or moment_s - self.dark_s <= watch.link.down_s

    def forget(self, name: str) -> None:
        """Forgets a link that is no longer configured."""
        del self.watches[name]
        self.verdicts.pop(name, None)
        self.working.discard(name)
        self.hurrying.discard(name)

    def survey(self) -> None:
        """Works out again which links work, and which tier serves."""
        self.working = {name for name, watch in self.watches.items() if works(watch)}
        self.serving = self._serving_tier()

    def spread(self, moment_s: float) -> None:
        """Plans the first probe of each new link: soon, but not of all links at the same moment."""
        for place, watch in enumerate(self.watches.values()):
            if not watch.health.asked_s and watch.probed:
                first_s = min(watch.link.interval_s, FIRST_S) * place / len(self.watches)
                first_s += SOLICITED_S * (self.family == IPV6.number)
                watch.health = watch.health._replace(asked_s=moment_s + first_s - self.ask_s(watch))

    def conclude(self, touched: set[Watch], moment_s: float) -> list[tuple[Watch, str, str]]:
        """The `touched` links whose verdict has changed, each with its earlier and its present verdict. Plans the next
        probes of the touched links; of all links, if a verdict has changed or a silence has begun or ended."""
        others: list[tuple[Watch, str, str]] = []
        ours = [watch for watch in touched if self.watches.get(watch.link.interface) is watch]
        for watch in ours:
            name = watch.link.interface
            if works(watch):
                self.dark_s = self.dark_s if self.working else moment_s
                self.working.add(name)
            else:
                self.working.discard(name)
            if watch.health.unanswered >= MANY_UNANSWERED and name in self.working:
                self.hurrying.add(name)
            else:
                self.hurrying.discard(name)
            was, said = self.verdicts.get(name, UP), verdict(watch.health)
            if said != was:
                self.verdicts[name] = said
                others.append((watch, was, said))
        everybody = bool(others) or bool(self.hurrying) != self.hurry
        if everybody:
            self.hurry = bool(self.hurrying)
            self.serving = self._serving_tier()
        for watch in self.watches.values() if everybody else ours:
            self.plan(watch)
        return sorted(others, key=lambda other: other[0].link.interface)

    def checked(self) -> dict[str, Checked]:
        """Interface → what is known of its link, for the links by which anybody is asked."""
        return {name: watch.checked() for name, watch in self.watches.items() if watch.asks}

    def _serving_tier(self) -> int:
        """The lowest tier with a link that works."""
        return min([self.watches[name].link.tier for name in self.working], default=MAX_TIER)
