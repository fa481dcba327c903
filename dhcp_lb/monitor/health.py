"""Pure: the probes by a link and the answers to them → whether new connections should go there.

Silence counts, not loss: a link is dead if nobody has answered on it for `down_s` seconds, counted from the first
unanswered probe. So a target that never answers, a slow line and random loss do not make a link dead. During a
silence, probes are sent faster, so that many of them must be lost and not two or three.

There is one Health for each link and family. Times are seconds of one clock that never goes back; 0 means never."""

from ..record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    class Ask(Protocol):
        """Somebody who can be asked. It must be hashable."""

        @property
        def named(self) -> bool:
            """Whether the administrator has named it. Otherwise its silence proves nothing before it has answered."""

    AnAsk = TypeVar("AnAsk", bound=Ask)

UP = "up"
RETURNING = "returning"  # its carrier was gone: no new connections until it answers
DEAD = "dead"
ANSWERING = "answering"  # dead; it answers again, but not for long enough yet

PROBES = 24  # in down_s during a silence: 20 until the verdict; with 40 % loss, all are lost once in 90 million times
MIN_UNANSWERED = 3
MAX_HOLD_S = 300.0
MAX_RELAPSES = 16  # enough for the longest hold at any up_s, and the power of two stays a number
RELAPSE = 10  # times the hold: a link that dies this soon after it came back has relapsed
STANDBY = 10  # how many times more seldom a link is probed that does not serve, or somebody who has never answered
NEVER = float("inf")


class Pace(NamedTuple):
    """How a link is judged: `interval=`, `down=`, `up=`."""

    interval_s: float = 2.0
    down_s: float = 4.0
    up_s: float = 30.0


class Health(NamedTuple):
    """What is known of a link in one family. If nothing is known, the link is up."""

    dead: bool = False
    returning: bool = False  # the next answer brings it in at once
    proven: "frozenset[Ask]" = frozenset()  # those who have answered on this link
    silent_s: float = 0.0  # when the first probe of the present silence was sent
    unanswered: int = 0  # how many probes since then prove something by their silence
    good_s: float = 0.0  # if dead: since when it answers again
    relapses: int = 0
    since_s: float = 0.0  # when it died, or came back
    asked_s: float = 0.0  # when the last probe was sent
    turn: int = 0  # probes sent


def verdict(health: Health) -> str:
    """UP, RETURNING, DEAD or ANSWERING."""
    if health.dead:
        return ANSWERING if health.good_s else DEAD
    return RETURNING if health.returning else UP


def hold_s(health: Health, pace: Pace) -> float:
    """How many seconds a dead link must answer before it is up again: twice as long after each relapse."""
    return min(pace.up_s * 2.0 ** health.relapses, max(pace.up_s, MAX_HOLD_S))


def chosen(health: Health, asks: "tuple[AnAsk, ...]") -> "tuple[AnAsk, ...]":
    """Who is asked now: each of `asks` in turn, which must not be empty. Those whose silence proves nothing take
    nobody's turn; they are asked in addition, and seldom."""
    witnesses = [ask for ask in asks if ask.named or ask in health.proven]
    if not witnesses or health.dead and not health.good_s:
        return (asks[health.turn % len(asks)],)
    witness = witnesses[health.turn % len(witnesses)]
    rounds, rest = divmod(health.turn, STANDBY)
    others = [ask for ask in asks if ask not in witnesses] if not rest and not health.silent_s else ()
    return (witness, others[rounds % len(others)]) if others else (witness,)


def due_s(health: Health, pace: Pace, count: int, standby: bool = False) -> float:
    """When the next of `count` targets is asked. `standby`: the link does not serve."""
    interval_s, down_s, _ = pace
    if health.dead and not health.good_s:
        wait_s = interval_s / count  # each target once in an interval, because any may be the first to answer
    elif not health.silent_s:
        wait_s = interval_s * STANDBY if standby else interval_s
    elif health.unanswered == 1:
        wait_s = min(interval_s, down_s / 4)  # a slow answer may be under way
    else:
        wait_s = min(interval_s / 2, down_s / PROBES)
    return health.asked_s + wait_s


def judged_s(health: Health, pace: Pace) -> float:
    """When the silence will have lasted long enough for a verdict; NEVER if no verdict is pending."""
    pending = health.silent_s and health.unanswered >= MIN_UNANSWERED and not (health.dead and not health.good_s)
    return health.silent_s + pace.down_s if pending else NEVER


def sent(health: Health, asked: "tuple[Ask, ...]", now_s: float) -> Health:
    """The health after probes to these were sent, or found no way out of the machine."""
    health = health._replace(asked_s=now_s, turn=health.turn + 1)
    witnesses = sum([ask.named or ask in health.proven for ask in asked])
    if not witnesses:
        return health
    return health._replace(silent_s=health.silent_s or now_s, unanswered=health.unanswered + witnesses)


def answered(health: Health, ask: "Ask", now_s: float, pace: Pace, alone: bool = False) -> Health:
    """The health after an answer, whichever probe it belongs to. If the link is `alone`, because no other one works,
    it is up at once: there is nothing to lose."""
    good_s = (health.good_s or now_s) if health.dead else 0.0
    proven = health.proven if ask in health.proven else health.proven | {ask}
    health = health._replace(proven=proven, silent_s=0.0, unanswered=0, good_s=good_s)
    if health.returning or health.dead and (alone or now_s - good_s >= hold_s(health, pace)):
        since_s = now_s if health.dead else health.since_s
        health = health._replace(dead=False, returning=False, good_s=0.0, since_s=since_s)
    return health


def judged(health: Health, now_s: float, pace: Pace) -> Health:
    """The health after time has passed."""
    if now_s < judged_s(health, pace):
        return health
    if health.dead:
        return health._replace(good_s=0.0)
    # If the link has not answered since its carrier came back, this is not a relapse: it has carried nothing.
    relapses = health.relapses
    if not health.returning:
        soon = health.since_s and now_s - health.since_s < RELAPSE * hold_s(health, pace)
        relapses = min(relapses + 1, MAX_RELAPSES) if soon else 0
    return health._replace(dead=True, relapses=relapses, since_s=now_s)


def carrier_lost(health: Health) -> Health:
    """The health after the link's carrier has gone. That is not a verdict: nobody is asked until it is back. If
    somebody has answered on this link before, it then takes no new connections until somebody answers again."""
    returning = health.returning or bool(health.proven) and not health.dead
    return undecided(health)._replace(returning=returning)


def undecided(health: Health) -> Health:
    """The health after this process stood still, or nobody could be asked: the silence in that time says nothing."""
    return health._replace(silent_s=0.0, unanswered=0, good_s=0.0)


def asking(health: Health, asks: "tuple[Ask, ...]") -> Health:
    """The health after a change of those who are asked."""
    return health._replace(proven=health.proven.intersection(asks))
