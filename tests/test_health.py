"""A link's health, step by step: what was asked, what came back, and the verdict."""

from collections.abc import Sequence

import pytest

from dhcp_lb.monitor.health import (ANSWERING, DEAD, NEVER, RETURNING, UP, Health, Pace, answered, asking,
                                    carrier_lost, chosen, due_s, hold_s, judged, judged_s, sent, undecided, verdict)
from dhcp_lb.record import NamedTuple

PACE = Pace(2.0, 4.0, 30.0)


class Thing(NamedTuple):
    """Something to ask."""

    name: str
    named: bool = True


A, B = Thing("a"), Thing("b")
IMPLICIT = Thing("i", False)


def steps(*acts: tuple[float, str], health: Health = Health(), pace: Pace = PACE, ask: Thing = A) -> list[str]:
    """The verdict after each act at its time: `ask`, `answer`, `judge`, `cut` (the carrier goes)."""
    found = []
    for now_s, act in acts:
        if act == "ask":
            health = sent(health, (ask,), now_s)
        elif act == "answer":
            health = answered(health, ask, now_s, pace)
        elif act == "cut":
            health = carrier_lost(health)
        else:
            assert act == "judge"
        health = judged(health, now_s, pace)
        found.append(verdict(health))
    return found


def dead(**changes: object) -> Health:
    return Health(dead=True, since_s=10.0, proven=frozenset([A]))._replace(**changes)  # type: ignore[arg-type]


def test_a_link_of_which_nothing_is_known_is_up() -> None:
    assert verdict(Health()) == UP
    assert judged(Health(), 1e9, PACE) == Health()


def test_silence_of_four_seconds_is_death() -> None:
    assert steps((10, "ask"), (11, "ask"), (12, "ask"), (13.99, "judge"), (14, "judge")) == [UP] * 4 + [DEAD]


def test_fewer_than_three_probes_are_no_silence() -> None:
    assert steps((10, "ask"), (11, "ask"), (99, "judge"), (99.5, "ask")) == [UP, UP, UP, DEAD]


def test_one_answer_ends_the_silence_whichever_probe_it_belongs_to() -> None:
    assert steps((10, "ask"), (11, "ask"), (12, "ask"), (13.9, "answer"), (14, "ask"), (15, "ask"), (17.9, "ask"),
                 (18, "judge")) == [UP] * 7 + [DEAD]


def test_what_never_answered_and_nobody_named_proves_nothing() -> None:
    acts: Sequence[tuple[float, str]] = [(10, "ask"), (11, "ask"), (12, "ask"), (20, "judge")]
    assert steps(*acts, ask=IMPLICIT) == [UP] * 4
    assert steps((9, "answer"), *acts, ask=IMPLICIT)[-1] == DEAD


def test_a_named_target_is_a_witness_from_the_start_and_its_neighbour_is_none() -> None:
    health = sent(sent(sent(Health(), (IMPLICIT,), 10), (IMPLICIT,), 11), (IMPLICIT,), 12)
    assert health.silent_s == 0
    health = sent(health, (A, IMPLICIT), 13)
    assert (health.silent_s, health.unanswered) == (13, 1)
    assert answered(health, IMPLICIT, 14, PACE).silent_s == 0


def test_a_dead_link_is_up_after_thirty_seconds_of_answers_and_at_an_answer() -> None:
    acts: Sequence[tuple[float, str]] = [(20, "ask"), (20.1, "answer"), (48, "ask"), (48.1, "answer"), (50.2, "judge"),
                                         (50.3, "ask"), (50.4, "judge"), (50.5, "answer")]
    assert steps(*acts, health=dead()) == [DEAD] + [ANSWERING] * 6 + [UP]


def test_where_no_other_link_works_the_first_answer_is_enough() -> None:
    assert verdict(answered(dead(relapses=9), A, 20, PACE, alone=True)) == UP


def test_single_losses_do_not_start_the_hold_anew_and_silence_does() -> None:
    acts: Sequence[tuple[float, str]] = [(20, "answer"), (30, "ask"), (31, "ask"), (32, "answer"), (50, "answer")]
    assert steps(*acts, health=dead()) == [ANSWERING] * 4 + [UP]
    acts = [(20, "answer"), (30, "ask"), (31, "ask"), (32, "ask"), (34, "judge"), (35, "answer"), (50, "answer"),
            (65, "answer")]
    assert steps(*acts, health=dead()) == [ANSWERING] * 4 + [DEAD, ANSWERING, ANSWERING, UP]


@pytest.mark.parametrize("relapses, up_s, hold", [
    (0, 30, 30), (1, 30, 60), (2, 30, 120), (3, 30, 240), (4, 30, 300), (16, 30, 300), (0, 0, 0), (16, 0, 0),
    (0, 600, 600), (1, 600, 600), (16, 3600, 3600)])
def test_the_hold_doubles_up_to_five_minutes(relapses: int, up_s: float, hold: float) -> None:
    assert hold_s(Health(relapses=relapses), PACE._replace(up_s=up_s)) == hold


def silence(health: Health, begin_s: float) -> Health:
    """Four seconds of it."""
    for now_s in begin_s, begin_s + 1, begin_s + 2:
        health = sent(health, (A,), now_s)
    return judged(health, begin_s + 4, PACE)


def test_a_link_that_dies_soon_after_it_came_back_has_relapsed() -> None:
    back = Health(since_s=1000.0)
    assert silence(back, 1295.9).relapses == 1
    assert silence(back, 1296.1).relapses == 0
    assert silence(back._replace(relapses=1), 1595.9).relapses == 2  # ten holds of 60 s
    assert silence(back._replace(relapses=1), 1596.1).relapses == 0
    assert silence(back._replace(relapses=16), 1100).relapses == 16
    assert silence(Health(), 5).relapses == 0  # it was never away


def test_a_lost_carrier_is_no_verdict_and_the_first_answer_brings_the_link_back() -> None:
    proven = Health(proven=frozenset([A]))
    assert steps((10, "cut"), (20, "ask"), (20.1, "answer"), (20.2, "judge"), health=proven) == [
        RETURNING, RETURNING, UP, UP]


def test_a_link_that_answers_nobody_after_its_carrier_is_dead_and_back_at_the_first_answer() -> None:
    proven = Health(proven=frozenset([A]), relapses=1)
    acts: Sequence[tuple[float, str]] = [(10, "cut"), (20, "ask"), (21, "ask"), (22, "ask"), (24, "judge"),
                                         (90, "ask"), (90.1, "answer")]
    assert steps(*acts, health=proven) == [RETURNING] * 4 + [DEAD, DEAD, UP]
    assert silence(carrier_lost(proven), 20).relapses == 1


def test_a_link_that_has_never_answered_is_up_as_soon_as_its_carrier_is() -> None:
    assert steps((10, "cut"), (20, "judge")) == [UP, UP]


def test_a_dead_link_stays_dead_when_its_carrier_goes() -> None:
    health = carrier_lost(dead(good_s=20.0))
    assert (verdict(health), health.returning) == (DEAD, False)


def test_who_stood_still_draws_no_conclusion() -> None:
    health = sent(sent(sent(Health(), (A,), 10), (A,), 11), (A,), 12)
    assert judged(undecided(health), 99, PACE) == undecided(health)
    answering = undecided(dead(good_s=20.0))
    assert verdict(answered(answering, A, 99, PACE)) == ANSWERING


def test_other_targets_start_without_a_past() -> None:
    health = Health(proven=frozenset([A, B, IMPLICIT]))
    assert asking(health, (B,)).proven == {B}


def order(health: Health, *asks: Thing, turns: int) -> str:
    """Who is asked in these turns, one after the other."""
    return " ".join("".join(one.name for one in chosen(health._replace(turn=turn), asks)) for turn in range(turns))


def test_each_target_has_its_turn() -> None:
    assert order(Health(), A, B, turns=3) == "a b a"
    assert order(Health(), IMPLICIT, Thing("j", False), turns=3) == "i j i"


def test_who_has_never_answered_takes_nobody_s_turn_and_is_asked_besides() -> None:
    health = Health(proven=frozenset([B]))
    assert order(health, IMPLICIT, B, turns=12) == "bi b b b b b b b b b bi b"
    others = IMPLICIT, Thing("j", False)
    assert [order(health._replace(turn=0), *others, B, turns=21).split()[turn] for turn in (0, 10, 20)] == [
        "bi", "bj", "bi"]


def test_in_silence_those_are_asked_that_can_break_it_and_of_the_dead_everybody() -> None:
    assert order(Health(silent_s=10.0, proven=frozenset([B])), IMPLICIT, B, turns=2) == "b b"
    assert order(dead(silent_s=10.0), IMPLICIT, B, turns=2) == "i b"
    assert order(dead(silent_s=10.0, good_s=9.0), IMPLICIT, A, turns=2) == "a a"
    assert order(Health(silent_s=10.0), IMPLICIT, turns=1) == "i"  # its targets are others now


@pytest.mark.parametrize("health, standby, wait", [
    (Health(), False, 2.0),
    (Health(), True, 20.0),  # a tenth of the rate
    (Health(silent_s=1.0, unanswered=1), False, 1.0),
    (Health(silent_s=1.0, unanswered=1), True, 1.0),
    (Health(silent_s=1.0, unanswered=2), True, 4 / 24),
    (dead(), False, 1.0),  # two targets, each once in two seconds
    (dead(silent_s=1.0, unanswered=9), False, 1.0),
    (dead(good_s=20.0), False, 2.0),
    (dead(good_s=20.0, silent_s=1.0, unanswered=2), False, 4 / 24),
])
def test_how_long_until_the_next_probe(health: Health, standby: bool, wait: float) -> None:
    assert due_s(health._replace(asked_s=100.0), PACE, 2, standby) == 100 + wait


@pytest.mark.parametrize("pace, first, next_s", [
    (Pace(0.25, 1.0), 0.25, 1 / 24), (Pace(20.0, 4.0), 1.0, 4 / 24), (Pace(2.0, 3600.0), 2.0, 1.0),
    (Pace(3600.0, 0.5), 0.125, 0.5 / 24)])
def test_the_hurry_of_other_paces(pace: Pace, first: float, next_s: float) -> None:
    health = Health(silent_s=100.0, unanswered=1, asked_s=100.0)
    assert due_s(health, pace, 1) == 100 + first
    assert due_s(health._replace(unanswered=2), pace, 1) == 100 + next_s


def test_when_the_verdict_is_due() -> None:
    assert judged_s(Health(), PACE) == NEVER
    assert judged_s(Health(silent_s=10.0, unanswered=2), PACE) == NEVER
    assert judged_s(Health(silent_s=10.0, unanswered=3), PACE) == 14
    assert judged_s(dead(silent_s=10.0, unanswered=3), PACE) == NEVER  # nothing is left to be judged
    assert judged_s(dead(silent_s=10.0, unanswered=3, good_s=9.0), PACE) == 14
