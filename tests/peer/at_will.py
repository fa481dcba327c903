"""Measures the cost of an event, two events at once, and events that are killed in the middle. The events come at will
(`events.py`)."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .events import Event, Runner, address


class Cost(NamedTuple):
    wall_ms: float
    cpu_ms: float


KINDS = "renewal without change", "another gateway", "link goes", "link comes"
Costs = dict[str, list[Cost]]  # kind → a value for each round


def prepare(runner: Runner) -> None:
    """Brings both links up, as on a router that has been up for a while."""
    runner.nothing_up(start_over=True)
    eth0, eth1 = runner.router.isps
    runner.happen(Event("BOUND", eth0), Event("BOUND", eth1), Event("RENEW", eth1), Event("RENEW", eth1))
    time.sleep(runner.peer.rest_s)


def kinds(runner: Runner) -> dict[str, Event]:
    eth1 = runner.router.isps[1]
    other = "192.0.2.36"
    return {KINDS[0]: Event("RENEW", eth1),
            KINDS[1]: Event("RENEW", eth1, gateway=other, old_gateway=eth1.gateway),
            KINDS[2]: Event("EXPIRE", eth1, old_gateway=other),
            KINDS[3]: Event("BOUND", eth1)}


def costs(runners: Mapping[str, Runner], rounds: int) -> dict[str, Costs]:
    """In each round, each peer gets each kind of event once. The order of the peers is random."""
    found: dict[str, Costs] = {name: {kind: [] for kind in KINDS} for name in runners}
    for _ in range(rounds):
        for runner in runners.values():
            prepare(runner)
        for kind in KINDS:
            for name in random.sample(list(runners), len(runners)):
                took = runners[name].happen(kinds(runners[name])[kind])
                found[name][kind].append(Cost(took["wall_ms"], took["cpu_ms"]))
    return found


def processes(runner: Runner) -> dict[str, int]:
    prepare(runner)
    return {kind: runner.processes(event) for kind, event in kinds(runner).items()}


class Pairs(NamedTuple):
    """The results of two events at once, `times` times."""

    wrong: int  # how often the end state was that of neither order
    no_default: int  # how often of these a lookup found nothing
    times: int


def pairs(runner: Runner, times: int) -> dict[str, Pairs]:
    eth0, eth1 = runner.router.isps
    return {
        "both come": at_once(runner, times, [], Event("BOUND", eth0), Event("BOUND", eth1)),
        "one comes, one goes": at_once(runner, times, [Event("BOUND", eth0)],
                                       Event("EXPIRE", eth0), Event("BOUND", eth1)),
    }


def at_once(runner: Runner, times: int, before: Sequence[Event], one: Event, two: Event) -> Pairs:
    right = []
    for order in (one, two), (two, one):
        runner.nothing_up(start_over=True)
        runner.happen(*before, *order)
        right.append(runner.state())
    start: list[str] = []
    wrong = no_default = 0
    for _ in range(times):
        runner.nothing_up()
        if before:
            runner.happen(*before)
        if runner.state() != start:
            runner.nothing_up(start_over=True)
            if before:
                runner.happen(*before)
            start = runner.state()
        runner.run(one.job(), two.job())
        if runner.state() not in right:
            wrong += 1
            no_default += not finds_a_way(runner)
    return Pairs(wrong, no_default, times)


def finds_a_way(runner: Runner) -> bool:
    return runner.router.try_run("ip", "route", "get", "198.51.100.7").returncode == 0


class Kills(NamedTuple):
    """How often what was there after a kill of the hook of a link that comes. The kills are spread evenly over the
    hook's run."""

    times: int
    not_begun: int  # nothing was changed
    half: int  # some of it was changed
    done: int  # all of it was changed
    no_default: int  # right after the kill, a lookup found nothing
    wrong_after_other: int  # still wrong after the next renewal of the other link
    wrong_after_own: int  # still wrong after that and the next renewal of the same link


def kills(runner: Runner, times: int) -> Kills:
    eth0, eth1 = runner.router.isps
    comes = Event("BOUND", eth1).hook_job(runner.peer)
    old = one_up(runner)
    runner.run(comes)
    new = runner.state()
    found = Kills(times, 0, 0, 0, 0, 0, 0)
    for number in range(times):
        one_up(runner, soft=True)
        took_ms = runner.run(comes)[0]["wall_ms"]  # measured each time, because it changes on a busy machine
        if one_up(runner, soft=True) != old:
            one_up(runner)
        runner.run({**comes, "kill_after_s": took_ms / 1e3 * (number + 0.5) / times})
        state = runner.state()
        no_default = not finds_a_way(runner)
        runner.happen(Event("RENEW", eth0))
        after_other = runner.state()
        runner.happen(Event("RENEW", eth1))
        after_own = runner.state()
        found = Kills(times, found.not_begun + (state == old), found.half + (state not in (old, new)),
                      found.done + (state == new), found.no_default + no_default,
                      found.wrong_after_other + (after_other != new), found.wrong_after_own + (after_own != new))
    return found


def one_up(runner: Runner, soft: bool = False) -> list[str]:
    """Brings eth0 up, and gives eth1 an address; eth1's hook has not run yet. Returns the rules and routes."""
    eth0, eth1 = runner.router.isps
    runner.nothing_up(start_over=not soft)
    runner.happen(Event("BOUND", eth0))
    length = eth1.network.partition("/")[2]
    runner.router.run("ip", "address", "add", f"{address(eth1)}/{length}", "dev", "eth1")
    return runner.state()
