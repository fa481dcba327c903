"""Days of a link's life in seconds: a provider that loses, delays, keeps silent and comes back, and what is concluded.

The random numbers are the same in each run. Longer runs: `python3 -m tests.test_health_simulated DAYS`."""

import heapq
import random
import sys
from collections.abc import Callable

import pytest

from dhcp_lb.monitor.health import (DEAD, RETURNING, UP, Health, Pace, answered, carrier_lost, chosen, due_s, judged,
                                    judged_s, sent, undecided, verdict)
from dhcp_lb.record import NamedTuple

DAY_S = 86400.0
HOUR_S = 3600.0
START_S = 100.0
PACE = Pace()


class Thing(NamedTuple):
    """Something to ask."""

    number: int
    named: bool = False


Provider = Callable[[float, Thing], float]
"""When, who → after how long the answer is there; a negative number is none."""
ONE, TWO, THREE = (tuple(Thing(number) for number in range(count)) for count in (1, 2, 3))
LOST = -1.0


class Change(NamedTuple):
    """Of the verdict."""

    at_s: float
    to: str


def live(provider: Provider, duration_s: float, asks: tuple[Thing, ...] = TWO, pace: Pace = PACE,
         health: Health = Health(), sleeps: tuple[tuple[float, float], ...] = ()) -> list[Change]:
    """The changes of UP, RETURNING and DEAD (ANSWERING is dead, too) from START_S on. `sleeps`: from when to when the
    process stands still."""
    now_s, end_s = START_S, START_S + duration_s
    health = health._replace(asked_s=now_s)
    answers: list[tuple[float, int, Thing]] = []
    changes: list[Change] = []
    was = UP if not health.dead else DEAD
    number = 0
    to_sleep = list(sleeps)
    while now_s < end_s:
        now_s = max(now_s, min(due_s(health, pace, len(asks)), judged_s(health, pace),
                               answers[0][0] if answers else end_s))
        if to_sleep and now_s >= to_sleep[0][0]:
            now_s = max(now_s, to_sleep.pop(0)[1])
            health = undecided(read(health, answers, now_s, pace))
        health = judged(read(health, answers, now_s, pace), now_s, pace)
        if now_s >= due_s(health, pace, len(asks)):
            asked = chosen(health, asks)
            health = sent(health, asked, now_s)
            for ask in asked:
                if (delay_s := provider(now_s, ask)) >= 0:
                    number += 1
                    heapq.heappush(answers, (now_s + delay_s, number, ask))
        is_now = DEAD if health.dead else verdict(health)
        if is_now != was:
            changes.append(Change(now_s - START_S, is_now))
            was = is_now
    return changes


def read(health: Health, answers: list[tuple[float, int, Thing]], now_s: float, pace: Pace) -> Health:
    while answers and answers[0][0] <= now_s:
        health = answered(health, heapq.heappop(answers)[2], now_s, pace)
    return health


def lossy(loss: float, seed: int, rtt_s: float = 0.03) -> Provider:
    chance = random.Random(seed)
    return lambda now_s, ask: LOST if chance.random() < loss else rtt_s


def works(when: Callable[[float], bool], rtt_s: float = 0.03) -> Provider:
    """`when` gets the seconds since START_S."""
    return lambda now_s, ask: rtt_s if when(now_s - START_S) else LOST


@pytest.mark.parametrize("asks", [ONE, TWO, THREE], ids=len)
@pytest.mark.parametrize("loss", [1, 10, 30, 40])
def test_random_loss_is_no_death(loss: int, asks: tuple[Thing, ...]) -> None:
    assert live(lossy(loss / 100, loss), DAY_S, asks) == []


@pytest.mark.parametrize("pace", [Pace(0.25, 1.0), Pace(1.0, 4.0), Pace(20.0, 4.0)],
                         ids=["0.25 s", "1 s", "20 s"])
def test_random_loss_is_no_death_at_another_pace_either(pace: Pace) -> None:
    assert live(lossy(0.3, 7), DAY_S / 4, ONE, pace) == []


@pytest.mark.parametrize("rtt_s", [0.2, 0.7, 1.5, 3.0, 3.8])
def test_a_slow_line_is_no_dead_one(rtt_s: float) -> None:
    assert live(lossy(0, 1, rtt_s), HOUR_S * 6) == []
    chance = random.Random(2)
    assert live(lambda now_s, ask: chance.uniform(0, rtt_s), HOUR_S * 6) == []


def test_a_target_that_is_mute_is_no_dead_link() -> None:
    assert live(lambda now_s, ask: LOST if ask.number == 1 and now_s > 300 else 0.03, DAY_S, THREE) == []


def test_a_target_that_never_answered_costs_the_others_nothing() -> None:
    chance = random.Random(3)
    assert live(lambda now_s, ask: LOST if ask.number == 0 or chance.random() < 0.3 else 0.03, DAY_S, TWO) == []


def test_a_target_that_drops_most_pings_is_no_dead_link() -> None:
    chance = random.Random(4)
    assert live(lambda now_s, ask: LOST if ask.number == 0 and chance.random() < 0.6 else 0.03, DAY_S, THREE) == []


@pytest.mark.parametrize("length_s", [1, 2, 3])
def test_short_outages_are_no_deaths(length_s: int) -> None:
    """Six an hour at any moment of it."""
    chance = random.Random(length_s)
    begins = [600 * place + chance.uniform(0, 590) for place in range(144)]
    assert live(works(lambda s: not begins[min(143, int(s // 600))] <= s < begins[min(143, int(s // 600))] + length_s),
                DAY_S) == []


@pytest.mark.parametrize("pace, median_s, most_s", [
    (PACE, 5.2, 6.0), (Pace(1.0, 4.0), 4.6, 5.0), (Pace(0.25, 1.0), 1.2, 1.4), (Pace(0.5, 2.0), 2.3, 2.6)],
                         ids=["2 s", "1 s", "0.25 s", "0.5 s"])
def test_how_soon_a_dead_provider_is_out(pace: Pace, median_s: float, most_s: float) -> None:
    chance = random.Random(5)
    took = []
    for _ in range(200):
        death_s = chance.uniform(60, 70)
        changes = live(works(lambda s: s < death_s), 100, pace=pace)
        assert [change.to for change in changes] == [DEAD]
        took.append(changes[0].at_s - death_s)
    took.sort()
    assert took[100] <= median_s and took[-1] <= most_s
    assert took[0] >= pace.down_s - 0.05  # the round trip of what was asked before


def test_a_name_server_that_never_answered_delays_no_verdict() -> None:
    for death_s in 60.0, 60.7, 61.1, 61.9:
        changes = live(lambda now_s, ask: LOST if ask.number or now_s - START_S >= death_s else 0.03, 100, TWO)
        assert [change.to for change in changes] == [DEAD] and changes[0].at_s - death_s <= 6


def test_a_link_comes_back_after_thirty_seconds_of_answers() -> None:
    dies, returns = live(works(lambda s: s < 60 or s >= 200), 300)
    assert (dies.to, returns.to) == (DEAD, UP)
    assert 230 <= returns.at_s <= 232.1


def test_flapping_changes_the_routing_four_times_an_hour_at_most() -> None:
    """Twenty seconds of each minute without an answer."""
    assert 1 <= len(live(works(lambda s: s % 60 >= 20), HOUR_S)) <= 4
    assert len(live(works(lambda s: s % 60 >= 20), DAY_S)) <= 4
    assert len(live(works(lambda s: s % 60 >= 20), HOUR_S, pace=Pace(2.0, 4.0, 0.0))) >= 100  # what it would be


def test_each_relapse_doubles_the_wait_up_to_five_minutes() -> None:
    """It works for ten seconds after it is in, then is silent for twenty."""
    health, waits = Health(), []
    silent_until_s = 0.0
    for _ in range(7):
        changes = live(works(lambda s: s >= silent_until_s), 2000, health=health._replace(dead=True, since_s=START_S))
        waits.append(round(changes[0].at_s))
        relapsed = Health(since_s=1000.0, relapses=health.relapses)
        for now_s in 1010.0, 1011.0, 1012.0:
            relapsed = sent(relapsed, (Thing(0, True),), now_s)
        health = judged(relapsed, 1014.0, PACE)
    for wait, hold in zip(waits, (30, 60, 120, 240, 300, 300, 300)):
        assert hold <= wait <= hold + 4


def test_a_process_that_stood_still_concludes_nothing() -> None:
    provider = works(lambda s: True)
    assert live(provider, 300, sleeps=((150.0, 210.0), (300.0, 303.0))) == []
    # Nor when the line was cut just before, and is dead: then it is told as late as if it had died now.
    dead_since = works(lambda s: s < 49)
    assert live(dead_since, 300, sleeps=((150.5, 210.0),))[0].at_s >= 110 + 4


def test_a_box_that_reboots_is_out_before_its_port_is_back_and_in_at_the_first_answer() -> None:
    """The port is back at once, the line behind it syncs 5 s, or two minutes, later."""
    for sync_s in 5.0, 120.0:
        proven = carrier_lost(Health(proven=frozenset(TWO)))
        assert verdict(proven) == RETURNING
        changes = live(works(lambda s: s >= sync_s), 300, health=proven)
        assert changes[-1].to == UP
        assert sync_s <= changes[-1].at_s <= sync_s + PACE.interval_s + 0.2


def test_all_of_them_random() -> None:
    """Whatever happens, a link is out only after as much silence as it takes, and in only at an answer."""
    for seed in range(20):
        chance = random.Random(seed)
        outages = sorted(chance.uniform(0, HOUR_S) for _ in range(40))
        loss, rtt_s = chance.choice([0, 0.1, 0.4]), chance.choice([0.01, 0.5, 2.0])
        pace = chance.choice([PACE, Pace(0.5, 2.0, 5.0), Pace(5.0, 8.0, 60.0)])

        def out(s: float) -> bool:
            return sum(begin < s for begin in outages) % 2 == 1

        for change in live(lambda now_s, ask: LOST if out(now_s - START_S) or chance.random() < loss else rtt_s,
                           HOUR_S, pace=pace):
            if change.to == UP:
                assert not out(change.at_s - rtt_s)
            elif rtt_s < 1:
                assert any(out(change.at_s - rtt_s - back_s) for back_s in (0, pace.down_s / 2, pace.down_s * 0.9))


if __name__ == "__main__":
    for percent in 1, 5, 10, 20, 30, 40, 50:
        for targets in ONE, TWO, THREE:
            print(percent, len(targets), len(live(lossy(percent / 100, percent), float(sys.argv[1]) * DAY_S, targets)),
                  flush=True)
