"""The monitor, again and again, at random moments: providers that die, lines that lose, kills. Each test prints its
figures. By default it does little, to show that it works; the environment asks for more:

DHCP_LB_DEATHS=100   providers that die, and kills in each of three states
DHCP_LB_LINES_S=60   seconds for which each kind of bad line lasts"""

import os
import random
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.beds import box
from tests.beds.provider import Provider
from tests.test_ns_monitor import BUSY_S, FAST, SERVERS, Bed, balance, bed, published, until

DEATHS = int(os.environ.get("DHCP_LB_DEATHS", "6"))
LINES_S = float(os.environ.get("DHCP_LB_LINES_S", "8"))
LINKS = min(20, max(4, DEATHS))
READY_S = 0.1


@pytest.mark.parametrize("options, most_s", [("up=0", 6.0), ("up=0 interval=0.25 down=1", 1.4)],
                         ids=["the defaults", "a second"])
@box.boxed
def test_who_dies_at_any_moment_is_out_in_time_and_nobody_else_is(options: str, most_s: float) -> None:
    rng = random.Random(13)
    took: list[float] = []
    with bed(*[options] * LINKS) as machine:
        alive = set(machine.names)
        until("each has answered", have_answered)
        while len(took) < DEATHS:
            victims = rng.sample(range(LINKS), min(LINKS // 2, DEATHS - len(took)))
            moments = sorted([rng.uniform(0, 5) for _ in victims])
            died: dict[str, float] = {}

            def kill() -> None:
                begin_s = time.monotonic()
                for victim, moment_s in zip(victims, moments):
                    time.sleep(max(0.0, begin_s + moment_s - time.monotonic()))
                    died[machine.names[victim]] = time.monotonic()
                    machine.isps[victim].die()
            with ThreadPoolExecutor() as pool:
                killing = pool.submit(kill)
                out: set[str] = set()
                end_s = time.monotonic() + 5 + most_s + 30
                while len(out) < len(victims):
                    gone = alive - set(balance().split()) - out
                    now_s = time.monotonic()
                    machine.log.lines()  # who logs waits for room
                    assert gone <= died.keys(), (gone, died)
                    assert now_s < end_s, [published()[name] for name in died.keys() - out]
                    took += [now_s - died[name] for name in gone]
                    out |= gone
                    time.sleep(0.005)
                killing.result()
            for victim in victims:
                machine.isps[victim].revive()
            end_s = time.monotonic() + 30
            while gone := alive - set(balance().split()):
                machine.log.lines()
                assert time.monotonic() < end_s, [published()[name] for name in gone]
            time.sleep(1)
    print(f"{len(took)} deaths, {LINKS} links: out after {statistics.median(took):.2f} s "
          f"({min(took):.2f} to {max(took):.2f})")
    assert max(took) <= most_s + BUSY_S


def have_answered() -> bool:
    """Whether each link has, so that its silence says something."""
    return all([line.split("\t")[6] != "-1" for line in published().values()])


@contextmanager
def watched(look: Callable[[], str]) -> Iterator[set[str]]:
    """What is seen during the block, again and again."""
    found: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            found.add(look())
            time.sleep(0.005)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(watch)
        try:
            yield found
        finally:
            over.set()
            running.result()


@contextmanager
def losing(isp: Provider, percent: int) -> Iterator[None]:
    isp.lose(percent)
    yield
    isp.lose(0)


@contextmanager
def slow(isp: Provider) -> Iterator[None]:
    isp.delay(3)
    yield
    isp.delay(0)


@contextmanager
def half_mute(isp: Provider) -> Iterator[None]:
    isp.sh("nft add table ip mute; "
           "nft add chain ip mute input '{ type filter hook input priority 0; policy accept; }'; "
           f"nft add rule ip mute input ip daddr {SERVERS.split()[1]} drop")
    yield
    isp.sh("nft delete table ip mute")


@contextmanager
def interrupted(isp: Provider) -> Iterator[None]:
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(random.uniform(1, 5)):
            isp.die()
            time.sleep(2)
            isp.revive()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(interrupt)
        yield
        over.set()
        running.result()


LINES: dict[str, Callable[[Provider], AbstractContextManager[None]]] = {
    "1 % lost": lambda isp: losing(isp, 1),
    "10 % lost": lambda isp: losing(isp, 10),
    "30 % lost": lambda isp: losing(isp, 30),
    "answers after 3 s": slow,
    "one mute": half_mute,
    "outages of 2 s": interrupted,
}


@pytest.mark.parametrize("kind", LINES)
@box.boxed
def test_a_bad_line_is_no_dead_one(kind: str) -> None:
    with bed("", "") as machine:
        time.sleep(3)
        with LINES[kind](machine.isps[1]), watched(balance) as found:
            time.sleep(LINES_S)
        assert found == {"eth0 eth1"} and not [line for line in machine.log.lines() if "dead" in line]
    print(f"{kind}, {LINES_S:.0f} s: no verdict")


def ready(machine: Bed, manager: socket.socket) -> float:
    """Starts a monitor, as systemd does. After how long it says that it is ready."""
    started_s = time.monotonic()
    machine.process = subprocess.Popen([box.PROGRAM, "monitor"], env=box.ENVIRONMENT | {"NOTIFY_SOCKET": "@manager"})
    while manager.recv(4096) != b"READY=1":
        pass
    return time.monotonic() - started_s


@pytest.mark.parametrize("state", ["dead", "alive", "flapping"])
@box.boxed
def test_killed_at_any_moment_it_leaves_the_routing_as_it_should_be(state: str) -> None:
    rng = random.Random(state)
    took: list[float] = []
    with bed("", FAST if state == "flapping" else "interval=0.25 down=1 up=300") as machine, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, box.watched_lookups() as failures:
        manager.bind("\0manager")
        manager.settimeout(20)
        time.sleep(1)
        if state == "dead":
            machine.isps[1].die()
            machine.becomes("eth0")
        over = threading.Event()

        def flap() -> None:
            while not over.is_set():
                machine.isps[1].die()
                over.wait(rng.uniform(0.5, 3))
                machine.isps[1].revive()
                over.wait(rng.uniform(0.5, 4))
        with ThreadPoolExecutor() as pool, watched(balance) as found:
            flapping = pool.submit(flap) if state == "flapping" else None
            for _ in range(DEATHS):
                time.sleep(rng.uniform(0, 0.7))
                machine.end(signal.SIGKILL)
                took.append(ready(machine, manager))
                if rng.random() < 0.3:  # before it is ready
                    machine.end(signal.SIGKILL)
                    machine.process = subprocess.Popen([box.PROGRAM, "monitor"], env=box.ENVIRONMENT)
                    time.sleep(rng.uniform(0, READY_S))
            over.set()
            if flapping:
                flapping.result()
        if state == "flapping":
            assert found <= {"eth0", "eth0 eth1"}
            machine.becomes("eth0 eth1")
        else:
            assert found == {"eth0" if state == "dead" else "eth0 eth1"}
    assert failures == []
    print(f"{state}, killed {DEATHS} times and more: ready after {statistics.median(took) * 1000:.0f} ms "
          f"({min(took) * 1000:.0f} to {max(took) * 1000:.0f})")
    assert statistics.median(took) <= READY_S + BUSY_S
