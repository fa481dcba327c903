"""Pure: what the monitor knows of one link in one family, and what it says of it."""

from ..address import IPV4
from ..model import GIVEN_UP, GONE, MONITOR, NO_NEW, Checked, Hold, Interface, Link
from ..routing import DRAINING, KEPT, ROUTED, Uplink
from ..targets import DNS, GATEWAY, HTTP, LEASE, Target
from .asks import ROOT, Ask, Way, asks
from .health import ANSWERING, DEAD, NEVER, RETURNING, UP, Health, Pace, asking, carrier_lost, undecided, verdict

BY_DEFAULT = (Target(LEASE),)
PAUSE_S = 5.0  # how long TCP waits for a cable
WINDOW_S = 60.0  # losses are counted over the last one or two windows of this length


class Watch:
    """One link in one family, and the probes by it."""

    def __init__(self, link: Link, family: int = IPV4.number) -> None:
        self.link, self.family = link, family
        self.pace = _pace(link)
        self.way: Way | None = None  # None: no probe can leave by this link, or none may
        self.asks: tuple[Ask, ...] = ()
        self.health = Health()
        self.carrier = False
        self.lost_s = 0.0  # when the carrier went; 0 = it is there
        self.gone = False  # the carrier went so long ago that no connection waits for it any longer
        self.serves = False  # new connections go by this link, if its provider works
        self.took_s = -1.0  # how long the last answer took; negative = there is none
        self.asked = self.answered = 0  # probes, since the monitor began
        self.state = ""  # of the link, as routing.py has it
        self.changes = -1  # of the state; the first one does not count
        self.windows = [(0.0, 0, 0)]  # begin, probes sent, probes answered: of this window and the one before
        self.told: set[tuple[Ask, int]] = set()  # who could not be asked, and the errno, as the log says
        self.due_s = NEVER  # when the link must be asked or judged

    @property
    def probed(self) -> bool:
        """Whether there is somebody to ask, and a way to do it."""
        return self.carrier and bool(self.way and self.asks)

    def stands(self, uplink: Uplink, interface: Interface | None, servers: tuple[str, ...]) -> bool:
        """Takes over what a look has seen of the link, and the name servers of its provider. True: the link's way has
        changed, so earlier probes do not count."""
        routed = uplink.state in ROUTED
        lease, before = uplink.lease, self.way
        self.link, self.pace = uplink.link, _pace(uplink.link)
        leads = routed and lease.gateway != ""
        self.serves = leads and uplink.state not in (DRAINING, KEPT)
        source = lease.address or lease.asks_from
        self.way = Way(uplink.link.interface, uplink.ifindex, source, lease.gateway,
                       servers) if leads and source else None
        another = bool(before and self.way and before[:3] != self.way[:3])
        if another:
            self.health, self.took_s, self.windows = Health(), -1.0, [(0.0, 0, 0)]
        carrier = routed and bool(interface and interface.carrier)
        if self.carrier and not carrier:
            self.health = carrier_lost(self.health) if routed else undecided(self.health)
        self.carrier = carrier
        targets = BY_DEFAULT if self.link.targets is None else self.link.targets
        who = asks(targets, self.way) if self.way else self.asks
        if who != self.asks:
            self.asks = who
            self.health = asking(self.health, who)
        if routed and not (who and self.way):
            self.health = Health()  # nobody is asked any more, so nobody could say that the link works again
        return another

    def carries(self, now_s: float) -> bool:
        """Notes since when there is no carrier. True: the carrier is back after the pause had ended."""
        if not self.carrier:
            self.lost_s = self.lost_s or now_s
            return False
        back, self.gone, self.lost_s = self.gone, False, 0.0
        return back

    def pause_ends_s(self) -> float:
        """When its connections stop waiting; NEVER if they do not wait."""
        return self.lost_s + PAUSE_S if self.lost_s and not self.gone else NEVER

    def adopt(self, checked: Checked) -> None:
        """Takes over what the monitor before this one has found out, if the link still has the same address."""
        if not self.way or checked.source != self.way.source or not self.asks:
            return
        reach = checked.hold.reach if checked.hold else ""
        known = checked.took_ms >= 0 or reach != ""
        self.health = Health(dead=reach == GIVEN_UP, returning=reach in (NO_NEW, GONE), relapses=checked.relapses,
                             since_s=float(checked.since_s), proven=frozenset(self.asks if known else ()))
        self.took_s = checked.took_ms / 1000

    def count(self, now_s: float, sent: int, answered: int) -> None:
        """Counts probes that were sent, and probes that were answered."""
        self.asked += sent
        self.answered += answered
        began_s, asked, replied = self.windows[0]
        if now_s - began_s >= WINDOW_S:
            self.windows = [(now_s, sent, answered), self.windows[0]]
        else:
            self.windows[0] = (began_s, asked + sent, replied + answered)

    def lost(self) -> int:
        """The percentage of the last probes that nobody has answered. A probe that may still be answered does not
        count."""
        asked = sum([window[1] for window in self.windows]) - (self.health.unanswered > 0)
        replied = sum([window[2] for window in self.windows])
        return max(0, 100 * (asked - replied) // asked) if asked > 0 else 0

    def checked(self) -> Checked:
        """What is known of the link, for the store."""
        hold, said = None, verdict(self.health)
        whom = by(self.asks, self.way) if self.way else ""
        if said in (DEAD, ANSWERING):
            hold = Hold(MONITOR, GIVEN_UP, f"no answer from {whom}" if said == DEAD else
                        "answers again, but not for long enough yet", int(self.health.since_s))
        elif self.gone:
            hold = Hold(MONITOR, GONE, f"its carrier was away for more than {PAUSE_S:.0f} s")
        elif said == RETURNING:
            hold = Hold(MONITOR, NO_NEW, f"no answer from {whom} since its carrier came back")
        took_ms = round(1000 * self.took_s) if self.health.proven and self.took_s >= 0 and not self.health.dead else -1
        return Checked(hold, self.way.source if self.way else "", self.health.relapses, int(self.health.since_s),
                       took_ms, self.lost(), whom)


def _pace(link: Link) -> Pace:
    """How a link is judged."""
    return Pace(link.interval_s, link.down_s, link.up_s)


def by(whom: tuple[Ask, ...], way: Way) -> str:
    """Those who are asked, in words; each once."""
    words: list[str] = []
    for ask in whom:
        if ask.kind == GATEWAY or ask.kind == DNS and ask.address == way.gateway:
            word = f"its gateway {way.gateway}"
        elif ask.kind == DNS:
            word = "the provider's name servers" if ask.name == ROOT else f"its name servers about {ask.name}"
        elif ask.kind == HTTP:
            word = f"http://{ask.name}{'' if ask.port == 80 else f':{ask.port}'}{ask.path}"
        else:
            word = ask.address if not ask.port else (
                f"[{ask.address}]:{ask.port}" if ":" in ask.address else f"{ask.address}:{ask.port}")
        if word not in words:
            words.append(word)
    return " and ".join(words)


def works(watch: Watch) -> bool:
    """Whether new connections can go by this link, as far as anybody knows."""
    return watch.serves and watch.carrier and verdict(watch.health) == UP
