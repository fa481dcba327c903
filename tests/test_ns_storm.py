"""Many links and many events: everything ends as it began, and an event takes no longer at the end than at the start.

DHCP_LB_SOAK: the number of events of the soak, instead of 600."""

import gc
import os
import random
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.beds import box
from tests.beds.box import Given, boxed, event, given, kernel, lookup, set_address, start_event

LINKS = 250
EVENTS = int(os.environ.get("DHCP_LB_SOAK", "600"))
AT_ONCE = 8  # as many hooks as are in flight in the concurrent part


def processes() -> list[str]:
    return sorted(path.name for path in Path("/proc").iterdir() if path.name.isdecimal())


def open_files() -> int:
    """How many files are open in this process. Those of a hook end with it."""
    gc.collect()  # earlier tests may have left some
    return len(os.listdir("/proc/self/fd"))


def bind_all(names: list[str]) -> None:
    """All hooks at once, as at boot."""
    box.ip(*[f"address add {given(number).address}/24 dev {name}" for number, name in enumerate(names)])
    hooks = [start_event("BOUND", name, given(number)) for number, name in enumerate(names)]
    assert [hook.wait(timeout=60) for hook in hooks] == [0] * len(names)


class Mixed:
    """Random events, each after the client's change of the address, and the lease that each link should have."""

    def __init__(self, names: list[str], seed: int) -> None:
        self.names, self.random = names, random.Random(seed)
        self.leases: dict[str, Given | None] = {name: given(number) for number, name in enumerate(names)}

    def next(self, busy: set[str]) -> tuple[str, str, Given | None]:
        """An event of a link that is not `busy`, because a client calls its hooks one after the other."""
        name = self.random.choice([name for name in self.names if name not in busy])
        number, lease = int(name[3:]), self.leases[name]
        if not lease:
            lease = given(number, host=self.random.choice([10, 11]))
            self.leases[name] = lease
            set_address(name, lease)
            return "BOUND", name, lease
        chance = self.random.random()
        if chance < 0.5:
            return "RENEW", name, lease
        if chance < 0.75:
            lease = lease._replace(gateway=given(number, gateway=self.random.choice([1, 2, 3])).gateway)
            self.leases[name] = lease
            return "RENEW", name, lease
        self.leases[name] = None
        set_address(name, None)
        return self.random.choice(["EXPIRE", "RELEASE", "STOP", "FAIL"]), name, None

    def as_at_the_beginning(self) -> None:
        for number, name in enumerate(self.names):
            if self.leases[name] != given(number):
                set_address(name, given(number))
                event("BOUND", name, given(number))


@boxed
def test_250_links_bound_at_once_are_as_if_bound_one_after_the_other() -> None:
    names = box.add_links(LINKS)
    started_s = time.monotonic()
    bind_all(names)
    took_s = time.monotonic() - started_s
    at_once, files = kernel(), box.state()
    print(f"{LINKS} events at once: {1000 * took_s / LINKS:.1f} ms an event")
    assert len(at_once.ours) == LINKS * 6 + 5
    assert list((box.STORE / "waiting").iterdir()) == []
    box.verb("flush")
    box.run("rm", "-r", str(box.STORE))
    for number, name in enumerate(names):
        event("BOUND", name, given(number))
    assert (kernel(), box.state()) == (at_once, files)
    hooks = [start_event("EXPIRE", name) for name in names[1:]]
    assert [hook.wait(timeout=60) for hook in hooks] == [0] * (LINKS - 1)
    assert lookup() and len(kernel().ours) == 11 and list((box.STORE / "waiting").iterdir()) == []


@boxed
def test_a_soak_of_mixed_events_ends_as_it_began_and_gets_no_slower() -> None:
    names = box.add_links(LINKS)
    box.ip("route add 10.9.0.0/16 dev peer-eth0 table 77", "rule add pref 20100 from 10.9.9.9 lookup 77")
    bind_all(names)
    event("RENEW", names[0], given(0))
    begin, files, running, descriptors = kernel(), box.state(), processes(), open_files()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    mixed = Mixed(names, seed)
    with box.watched_lookups() as failures:
        took_ms = [serial(mixed) for _ in range(EVENTS // 2)]
        concurrent(mixed, EVENTS - EVENTS // 2)
    mixed.as_at_the_beginning()
    assert kernel() == begin
    assert box.state() == files
    assert processes() == running
    assert open_files() == descriptors
    assert list((box.STORE / "waiting").iterdir()) == []
    assert failures == []
    tenth = len(took_ms) // 10
    first, last = statistics.median(took_ms[:tenth]), statistics.median(took_ms[-tenth:])
    print(f"an event took {first:.1f} ms in the first tenth and {last:.1f} ms in the last")
    assert last < 1.5 * first + 5


def serial(mixed: Mixed) -> float:
    """Runs one event. Returns the milliseconds that the hook took."""
    reason, name, lease = mixed.next(set())
    started_s = time.monotonic()
    event(reason, name, lease)
    return 1000 * (time.monotonic() - started_s)


def concurrent(mixed: Mixed, count: int) -> None:
    """Runs `count` events, some at a time, of different links."""
    flying: dict[str, "subprocess.Popen[bytes]"] = {}
    for _ in range(count):
        reason, name, lease = mixed.next(set(flying))
        flying[name] = start_event(reason, name, lease)
        if len(flying) >= AT_ONCE:
            oldest = next(iter(flying))
            assert flying.pop(oldest).wait(timeout=60) == 0
    for hook in flying.values():
        assert hook.wait(timeout=60) == 0


@boxed
def test_a_thousand_runs_in_one_process_keep_no_descriptor_and_no_memory() -> None:
    from dhcp_lb.store import Store
    from dhcp_lb.model import Lease
    from dhcp_lb.config import read_config
    from dhcp_lb.reconcile import reconcile
    from dhcp_lb.sight import News
    names = box.add_links(8)
    for number, name in enumerate(names):
        set_address(name, given(number))
    store = Store()

    def runs(count: int) -> None:
        for number in range(count):
            link = number % len(names)
            lease = given(link, gateway=1 + number % 3)
            store.prepare()
            store.save(names[link], Lease(lease.address, 24, lease.gateway, lease.server, 1, 3600))
            reconcile(read_config(), store, News(names[link]))
        gc.collect()

    def held() -> tuple[int, int]:
        return open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    in_silence(lambda: runs(100))
    descriptors, kib = held()
    in_silence(lambda: runs(1000))
    assert held()[0] == descriptors
    assert held()[1] - kib < 1024


def in_silence(work: Callable[[], None]) -> None:
    """Runs `work` without a terminal to write messages to."""
    before, null = os.dup(2), os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 2)
    try:
        work()
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(null)
