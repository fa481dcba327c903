"""Pure: what a link was asked and what it answered → whether new connections should go there.

Silence is judged, not loss: a link is dead when for `down_s` seconds, from the first unanswered probe on, nobody has
answered on it. So a target that is mute, a slow line and random loss are no reason. While there is silence, probes
are sent faster, so that many have to be lost and not two or three.

One Health is kept for each link and family. Times are seconds of one clock that never goes back; 0 is never."""

from ..record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    class Ask(Protocol):
        """What can be asked: hashable."""

        @property
        def named(self) -> bool:
            """Whether the administrator names it. Another one proves nothing by silence before it has answered."""

    AnAsk = TypeVar("AnAsk", bound=Ask)

UP = "up"
RETURNING = "returning"  # its carrier was gone: no new connections until it answers
DEAD = "dead"
ANSWERING = "answering"  # dead, and answers again, but not for long enough

PROBES = 24  # in down_s, in a hurry: 20 until the verdict; a loss of 40 % takes all of them once in 90 million times
MIN_UNANSWERED = 3
MAX_HOLD_S = 300.0
MAX_RELAPSES = 16  # beyond the longest hold at any up_s; a power of two stays a number
RELAPSE = 10  # holds: a link that dies this soon after it came back has relapsed
STANDBY = 10  # a link that does not serve is probed this much more seldom, and who has never answered is asked so
NEVER = float("inf")


class Pace(NamedTuple):
    """How a link is judged: `interval=`, `down=`, `up=`."""

    interval_s: float = 2.0
    down_s: float = 4.0
    up_s: float = 30.0


class Health(NamedTuple):
    """What is known of a link in one family. A link of which nothing is known is up."""

    dead: bool = False
    returning: bool = False  # the next answer brings it in at once
    proven: "frozenset[Ask]" = frozenset()  # what has answered on this link
    silent_s: float = 0.0  # when the first probe was sent that nobody has answered since
    unanswered: int = 0  # since then, of those that prove something
    good_s: float = 0.0  # dead: since when it answers again
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
    """How long a dead link has to answer before it is up again: twice as long at each relapse."""
    return min(pace.up_s * 2.0 ** health.relapses, max(pace.up_s, MAX_HOLD_S))


def chosen(health: Health, asks: "tuple[AnAsk, ...]") -> "tuple[AnAsk, ...]":
    """Who are asked now, of `asks`, which are not empty: each in turn. Those whose silence proves nothing take
    nobody's turn; they are asked besides, and seldom."""
    witnesses = [ask for ask in asks if ask.named or ask in health.proven]
    if not witnesses or health.dead and not health.good_s:
        return (asks[health.turn % len(asks)],)
    witness = witnesses[health.turn % len(witnesses)]
    rounds, rest = divmod(health.turn, STANDBY)
    others = [ask for ask in asks if ask not in witnesses] if not rest and not health.silent_s else ()
    return (witness, others[rounds % len(others)]) if others else (witness,)


def due_s(health: Health, pace: Pace, count: int, standby: bool = False) -> float:
    """When one of `count` targets is asked next."""
    interval_s, down_s, _ = pace
    if health.dead and not health.good_s:
        wait_s = interval_s / count  # each of them once in an interval: any may be the first to answer
    elif not health.silent_s:
        wait_s = interval_s * STANDBY if standby else interval_s
    elif health.unanswered == 1:
        wait_s = min(interval_s, down_s / 4)  # a slow answer may be under way
    else:
        wait_s = min(interval_s / 2, down_s / PROBES)
    return health.asked_s + wait_s


def judged_s(health: Health, pace: Pace) -> float:
    """When silence will have lasted long enough for a verdict; NEVER if there is none to come."""
    pending = health.silent_s and health.unanswered >= MIN_UNANSWERED and not (health.dead and not health.good_s)
    return health.silent_s + pace.down_s if pending else NEVER


def sent(health: Health, asked: "tuple[Ask, ...]", now_s: float) -> Health:
    """After probes have left, or found no way out of the machine."""
    health = health._replace(asked_s=now_s, turn=health.turn + 1)
    witnesses = sum([ask.named or ask in health.proven for ask in asked])
    if not witnesses:
        return health
    return health._replace(silent_s=health.silent_s or now_s, unanswered=health.unanswered + witnesses)


def answered(health: Health, ask: "Ask", now_s: float, pace: Pace, alone: bool = False) -> Health:
    """After an answer, whichever probe it belongs to. A link that is `alone`, because no other works, is not held up:
    there is nothing to be lost."""
    good_s = (health.good_s or now_s) if health.dead else 0.0
    proven = health.proven if ask in health.proven else health.proven | {ask}
    health = health._replace(proven=proven, silent_s=0.0, unanswered=0, good_s=good_s)
    if health.returning or health.dead and (alone or now_s - good_s >= hold_s(health, pace)):
        since_s = now_s if health.dead else health.since_s
        health = health._replace(dead=False, returning=False, good_s=0.0, since_s=since_s)
    return health


def judged(health: Health, now_s: float, pace: Pace) -> Health:
    """After time has passed."""
    if now_s < judged_s(health, pace):
        return health
    if health.dead:
        return health._replace(good_s=0.0)
    # Without an answer since its carrier came back this is no relapse: it has carried nothing.
    relapses = health.relapses
    if not health.returning:
        soon = health.since_s and now_s - health.since_s < RELAPSE * hold_s(health, pace)
        relapses = min(relapses + 1, MAX_RELAPSES) if soon else 0
    return health._replace(dead=True, relapses=relapses, since_s=now_s)


def carrier_lost(health: Health) -> Health:
    """After the link's carrier has gone, which is no verdict: nothing is asked until it is back, and a link of which
    it is known that it answers takes no new connections then before it does."""
    returning = health.returning or bool(health.proven) and not health.dead
    return undecided(health)._replace(returning=returning)


def undecided(health: Health) -> Health:
    """After this process stood still, or the link could not be asked: what was silent meanwhile says nothing."""
    return health._replace(silent_s=0.0, unanswered=0, good_s=0.0)


def asking(health: Health, asks: "tuple[Ask, ...]") -> Health:
    """After a change of what is asked."""
    return health._replace(proven=health.proven.intersection(asks))
