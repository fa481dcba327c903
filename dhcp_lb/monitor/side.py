"""Pure: the links of one family, as far as one of them says something of the others."""

from ..address import IPV6
from ..config import MAX_TIER
from ..model import Checked
from ..routing import Uplink
from . import health as machine
from .health import UP, verdict
from .watch import Watch, works

MANY_UNANSWERED = 2  # of a link that serves: those that wait in their tiers are probed as often as it is
FIRST_S = 2.0  # within which each link is asked for the first time
SOLICITED_S = 1.0  # after which it is, in IPv6: a router says within half of that who its name servers are


class Side:
    """What the monitor knows of a family."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.of = "IPv6 of " if family == IPV6.number else ""  # before a link's name
        self.uplinks: tuple[Uplink, ...] = ()  # as they were seen last
        self.watches: dict[str, Watch] = {}
        self.verdicts: dict[str, str] = {}
        self.published: set[str] = set()  # the links in the last publication
        self.hurrying: set[str] = set()  # those that serve and are silent
        self.hurry = False  # whether there were any
        self.working: set[str] = set()  # those that new connections can go by
        self.serving = 1  # the tier that serves
        self.dark_s = 0.0  # when no link worked last

    def ask_s(self, watch: Watch) -> float:
        """When this link is asked next."""
        standby = watch.link.tier > self.serving and not self.hurrying
        return machine.due_s(watch.health, watch.pace, len(watch.asks), standby)

    def plan(self, watch: Watch) -> None:
        """Notes when this link is due."""
        watch.due_s = min(self.ask_s(watch), machine.judged_s(watch.health, watch.pace)) if watch.probed else (
            machine.NEVER)

    def alone(self, watch: Watch, moment_s: float) -> bool:
        """Whether no other link works; one that comes back soon after none worked is not held up, either."""
        return not self.working or moment_s - self.dark_s <= watch.link.down_s

    def forget(self, name: str) -> None:
        """It is no link any more."""
        del self.watches[name]
        self.verdicts.pop(name, None)
        self.working.discard(name)
        self.hurrying.discard(name)

    def survey(self) -> None:
        """Sees anew which links work."""
        self.working = {name for name, watch in self.watches.items() if works(watch)}
        self.serving = self._serving_tier()

    def spread(self, moment_s: float) -> None:
        """Has the links that nobody has been asked by yet asked soon, but not all at the same moment."""
        for place, watch in enumerate(self.watches.values()):
            if not watch.health.asked_s and watch.probed:
                first_s = min(watch.link.interval_s, FIRST_S) * place / len(self.watches)
                first_s += SOLICITED_S * (self.family == IPV6.number)
                watch.health = watch.health._replace(asked_s=moment_s + first_s - self.ask_s(watch))

    def conclude(self, touched: set[Watch], moment_s: float) -> list[tuple[Watch, str, str]]:
        """Those of the links of which something is known since the last conclusion whose verdict is another one, what
        it was and what it is. Plans them, and all others if one of them says something of those."""
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
        """What is said of the links by which anybody is asked."""
        return {name: watch.checked() for name, watch in self.watches.items() if watch.asks}

    def _serving_tier(self) -> int:
        """The lowest one with a link that works."""
        return min([self.watches[name].link.tier for name in self.working], default=MAX_TIER)
