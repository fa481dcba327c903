"""Measures NetworkManager and networkd. Their DHCP clients are a part of them, so an event runs no process that could
be timed or killed alone. So the time is that of the whole daemon. The daemon is killed as a whole and started again,
as systemd does. """

import contextlib
import time
from typing import NamedTuple

from tests.beds.lab import Lab, wait_for
from tests.beds.lab.lab import Router

from .peer import Daemon
from .with_dhcp import acknowledged


class Daemons(NamedTuple):
    """`cpu_ms`, `processes`: for one renewal. `pairs_wrong`: how often the routing was wrong after two events at once.
    `killed_wrong`: how often it was not back ten seconds after a kill."""

    cpu_ms: float
    processes: float
    pairs_wrong: int
    killed_wrong: int
    times: int


def measure(lab: Lab, peer: Daemon, times: int) -> Daemons:
    """Measures `times` renewals, pairs of events, and kills."""
    router = lab.router
    peer.up(router, "eth1", "eth0")
    wait_for("two default routes", lambda: len(defaults(router)) == 2)
    want = defaults(router)
    server = lab.isp("eth1").node
    begin, before = look(router, peer), acknowledged(server.log())
    wait_for("renewals", lambda: acknowledged(server.log()) >= before + times, timeout_s=300)
    end, count = look(router, peer), acknowledged(server.log()) - before
    pairs_wrong = 0
    for _ in range(times):
        for interface in "eth0", "eth1":
            peer.down(router, interface)
        peer.start_up(router, "eth0", "eth1")
        pairs_wrong += not comes_to(router, want)
    killed_wrong = 0
    for number in range(times):
        peer.down(router, "eth1")
        time.sleep(0.5)
        peer.start_up(router, "eth1")
        time.sleep(0.1 * (number + 0.5) / times)
        peer.kill(router)
        killed_wrong += not comes_to(router, want)
        peer.up(router, "eth1")
    return Daemons((end.cpu_ms - begin.cpu_ms) / count, (end.pid - begin.pid - 2) / count,
                   pairs_wrong, killed_wrong, times)


class Look(NamedTuple):
    cpu_ms: float  # of the daemon, so far
    pid: int  # the last one given


LOOK = """
import glob, os, sys
tasks = glob.glob(f"/proc/{sys.argv[1]}/task/*/schedstat")
print(sum(int(open(task).read().split()[0]) for task in tasks) / 1e6, os.getpid())
"""


def look(router: Router, peer: Daemon) -> Look:
    daemon = router.run("pidof", peer.process).strip()
    cpu_ms, pid = router.run("python3", "-I", "-S", "-c", LOOK, daemon).split()
    return Look(float(cpu_ms), int(pid))


def defaults(router: Router) -> list[str]:
    return sorted(line.strip() for line in router.run("ip", "-4", "route", "show", "default").splitlines())


def comes_to(router: Router, want: list[str]) -> bool:
    with contextlib.suppress(TimeoutError):
        wait_for("the default routes", lambda: defaults(router) == want, timeout_s=10)
    return defaults(router) == want
