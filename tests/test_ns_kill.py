"""Killed at every system call: the routing is the old or the new one, and the next event repairs the rest.

strace kills the process with SIGKILL at the entry of a system call, one run for each call. What a kill leaves is what
the calls before it did. So a kill after a call that only asks would leave what the kill before it left, and is not
done."""

import errno
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dhcp_lb.rtnetlink import Rtnetlink
from tests.beds import box
from tests.beds.box import Given, Kernel, boxed, event, given, kernel, lookup, set_address

TRACE = Path("/run/trace")
# They change nothing but the process itself, which the kill ends. An open file to read is of this sort, too.
ASKS = frozenset("access arch_prctl brk close execve fstat futex getdents64 getegid geteuid getgid getpid getrandom "
                 "getuid lseek mmap mprotect mremap munmap newfstatat openat pread64 prlimit64 read readlink recvfrom "
                 "rseq rt_sigaction rt_sigprocmask set_robust_list set_tid_address setitimer socket sysinfo "
                 "umask".split())
FOREIGN = ("rule add pref 20100 from 10.9.9.9 lookup 77", "rule add pref 32765 from all fwmark 7 lookup 77",
           "route add 10.9.0.0/16 dev peer-eth0 table 77", "route add 10.8.0.0/16 dev peer-eth0 table 1000",
           "route add unreachable 10.7.0.0/16 metric 5")


class Point(NamedTuple):
    """A system call of a run: its name, its number among the calls of that name, and its line of the trace."""

    name: str
    count: int
    line: str

    def changes(self) -> bool:
        """Whether it may leave something that is there after the process."""
        return self.name not in ASKS or (self.name == "openat" and "O_RDONLY" not in self.line)


class Step(NamedTuple):
    """An event of a link, after its client has changed the address."""

    reason: str
    interface: str
    lease: Given | None
    moves_address: bool = True

    def prepare(self) -> None:
        if self.moves_address:
            set_address(self.interface, self.lease)

    def happen(self) -> None:
        event(self.reason, self.interface, self.lease)

    def strace(self, *options: str) -> int:
        """Runs the hook under strace. Returns its status, which is negative after a signal."""
        return subprocess.run(["strace", "-f", "-qq", "-o", str(TRACE), *options, box.PROGRAM],
                              env=box.environment(*self[:3]), capture_output=True).returncode


def points(step: Step) -> list[Point]:
    """All system calls of this event's run after the interpreter's start and the imports."""
    assert step.strace("-e", "trace=all") == 0
    found = traced()
    return found[max(place for place, point in enumerate(found) if point.name == "umask"):]


def traced() -> list[Point]:
    """All system calls of the run that was traced last."""
    seen: Counter[str] = Counter()
    found: list[Point] = []
    for line in TRACE.read_text(errors="replace").splitlines():
        call = re.match(r"\d+ +(\w+)\(", line)
        if call:
            seen[call[1]] += 1
            found.append(Point(call[1], seen[call[1]], line))
    return found


def kill_points(step: Step) -> list[Point]:
    """Where a kill leaves something else than the kill before it: after each call that changes something."""
    return after_changes(points(step))


def after_changes(there: list[Point]) -> list[Point]:
    return there[:1] + [after for before, after in zip(there, there[1:]) if before.changes()]


def killed_at(step: Step, point: Point) -> bool:
    """Whether the event's run came to this system call, and died there."""
    status = step.strace("-e", f"trace={point.name}", "-e", f"inject={point.name}:signal=KILL:when={point.count}")
    assert status in (0, -signal.SIGKILL), (point, status)
    return status != 0


def disk() -> dict[str, bytes]:
    """The names of all our files, and their contents."""
    return {str(path): path.read_bytes() for place in (box.STORE, Path("/etc/iproute2"))
            for path in sorted(place.rglob("*")) if path.is_file()}


def links_up(count: int) -> Kernel:
    names = box.add_links(count)
    for number, name in enumerate(names):
        set_address(name, given(number))
    box.ip(*FOREIGN)
    for number, name in enumerate(names):
        event("BOUND", name, given(number))
    return kernel()


def assert_others_find_their_way() -> None:
    """All events are of other links than eth0."""
    source = given(0).address
    assert lookup() and lookup(source=source) and lookup(source=source, destination=given(0).gateway)
    assert lookup(oif="eth0")


def kills_survived(step: Step, there: list[Point], want: Kernel, files: dict[str, bytes],
                   other: Step) -> Iterator[int]:
    """Kills this event's run at one point after the other, and takes each from the list. Yields the number of kills
    each time that the event has happened in full; the caller then undoes it. It never ends."""
    while True:
        kills, point = 0, None
        step.prepare()
        found, after = old, before = kernel(), disk()
        while there and (found, after) == (old, before):  # as if nothing had happened
            point = there.pop(0)
            kills += killed_at(step, point)
            found, after = kernel(), disk()
            assert_others_find_their_way()
            assert found.foreign == old.foreign == want.foreign, point
            assert found.ours in (old.ours, want.ours), point
        other.happen()  # an event of a link to which nothing has happened
        found = kernel()
        assert_others_find_their_way()
        if found != want:
            assert found == old, point
            step.happen()
            assert kernel() == want, point
        assert box.state() == files, point
        yield kills


PAIRS: dict[str, Callable[[], tuple[Step, Step]]] = {
    "BOUND and EXPIRE": lambda: (Step("EXPIRE", "eth1", None), Step("BOUND", "eth1", given(1))),
    "RENEW": lambda: (Step("RENEW", "eth1", given(1, gateway=2), moves_address=False),
                      Step("RENEW", "eth1", given(1), moves_address=False)),
}


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("pair", PAIRS)
@boxed
def test_killed_at_every_system_call_the_routing_is_the_old_or_the_new_one(pair: str, count: int) -> None:
    links_up(count)
    steps = PAIRS[pair]()
    other = Step("RENEW", "eth0", given(0), moves_address=False)
    wants, files, there = [], [], []
    for step in (*steps, *steps):  # once to settle, once to trace
        step.prepare()
        there.append(kill_points(step))
        step.happen()
        wants.append(kernel())
        files.append(box.state())
    assert wants[0] == wants[2] != wants[1] == wants[3] and files[:2] == files[2:]
    runs = [kills_survived(step, there[2 + place], wants[place], files[place], other)
            for place, step in enumerate(steps)]
    kills = 0
    points = sum(len(of_one) for of_one in there[2:])
    while there[2] or there[3]:
        kills += sum(next(run) for run in runs)  # an event and the one that undoes it take turns
    print(f"{count} links, {pair}: {kills} kills at {points} points")
    assert kills > 0.9 * points > 50


@boxed
def test_killed_at_every_system_call_of_the_very_first_event_the_next_one_does_all() -> None:
    names = box.add_links(2)
    for number, name in enumerate(names):
        set_address(name, given(number))
    box.ip(*FOREIGN, "route add default via 10.100.1.1 metric 7")
    nothing = kernel()
    first = Step("BOUND", "eth0", given(0), moves_address=False)

    def undo() -> None:
        box.run("ip", "rule", "flush", "protocol", "109")
        box.run("ip", "route", "flush", "table", "all", "proto", "109")
        box.run("sh", "-c", "rm -rf /run/dhcp-lb /etc/iproute2/rt_*.d; "
                "for each in /proc/sys/net/ipv4/conf/eth*/ignore_routes_with_linkdown; do echo 0 >$each; done")
        box.ip(*[f"link set {name} group 0" for name in names])
        assert kernel() == nothing

    there = kill_points(first)
    want, files = kernel(), box.state()
    kills = 0
    for point in there:
        undo()
        kills += killed_at(first, point)
        assert kernel() in (nothing, want), point
        assert lookup(), point
        first.happen()
        assert kernel() == want, point
        assert box.state() == files, point
    print(f"first event: {kills} kills")
    assert kills > 0.95 * len(there) > 50


@boxed
def test_killed_at_every_system_call_while_a_link_is_refused_the_next_event_does_the_rest() -> None:
    links_up(3)
    box.ip("address add 10.200.0.20/32 brd 10.100.2.2 dev eth2")
    good = Step("RENEW", "eth2", given(2), moves_address=False)
    refused = Step("RENEW", "eth2", given(2, gateway=2), moves_address=False)
    other = Step("RENEW", "eth0", given(0), moves_address=False)
    old = kernel()
    there = kill_points(refused)
    want = kernel()
    assert len(want.ours) < len(old.ours)
    kills = 0
    for point in there:
        good.happen()
        assert kernel() == old, point
        kills += killed_at(refused, point)
        assert_others_find_their_way()
        other.happen()
        assert_others_find_their_way()
        if kernel() != want:
            assert kernel() == old, point  # the lease had not been kept
            refused.happen()
            assert kernel() == want, point
    print(f"refused: {kills} kills")
    assert kills > 0.9 * len(there) > 50


@boxed
def test_killed_at_every_system_call_a_renewal_without_change_leaves_nothing_behind() -> None:
    want = links_up(2)
    same = Step("RENEW", "eth1", given(1), moves_address=False)
    settled = box.STORE / "settled"
    there = kill_points(same)  # with all that is done once, after a change
    files = box.state()
    for point in there:
        settled.unlink(missing_ok=True)
        assert killed_at(same, point) or point not in there[:-5]
        assert kernel() == want, point
        same.happen()
        assert kernel() == want and box.state() == files, point
    print(f"renewal without change: {len(there)} kills")
    assert len(there) > 20


@boxed
def test_killed_at_any_point_of_apply_the_routing_is_one_with_pins_or_without() -> None:
    def apply(pin: str) -> None:
        box.configure(["eth0", "eth1"])
        with box.CONFIG.open("a") as config:
            config.write(f"pin = {pin}\n")
        box.verb("apply")

    def strace(*options: str) -> int:
        return subprocess.run(["strace", "-f", "-qq", "-o", str(TRACE), *options, box.PROGRAM, "apply"],
                              env=box.ENVIRONMENT, capture_output=True).returncode

    def has_table() -> bool:
        return "table inet dhcp-lb" in box.run("nft", "list", "tables")

    links_up(2)
    apply("no")
    without = kernel()
    assert not has_table()
    box.CONFIG.write_text(box.CONFIG.read_text().replace("pin = no", "pin = yes"))
    assert strace("-e", "trace=all") == 0
    calls = after_changes(traced())
    pinned = kernel()
    assert has_table() and len(set(pinned.ours) - set(without.ours)) == 2
    kills = 0
    for name, count, _ in calls[len(calls) % 7::7]:  # every one would take too long
        apply("no")
        assert (kernel(), has_table()) == (without, False)
        box.CONFIG.write_text(box.CONFIG.read_text().replace("pin = no", "pin = yes"))
        status = strace("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={count}")
        kills += status != 0
        assert kernel() in (without, pinned), (name, count)
        assert_others_find_their_way()
        box.verb("apply")
        assert (kernel(), has_table()) == (pinned, True), (name, count)
    print(f"{kills} kills at one in 7 of {len(calls)} points")
    assert kills > 20


@boxed
def test_killed_at_every_system_call_only_lets_nothing_out_elsewhere() -> None:
    links_up(2)
    box.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    box.ip("link add lan0 type veth peer name peer-lan0", "link set lan0 up", "link set peer-lan0 up",
           "address add 10.0.0.1/24 dev lan0")
    box.CONFIG.write_text(box.CONFIG.read_text() + "in lan0 -> eth1 only\n")
    box.verb("apply")
    lan0 = socket.if_nametoindex("lan0")

    def way() -> str:
        try:
            route = Rtnetlink().lookup("198.51.100.1", "10.0.0.60", iif=lan0)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return socket.if_indextoname(route.nexthops[0].oif)

    expire, bound = Step("EXPIRE", "eth1", None), Step("BOUND", "eth1", given(1))
    kills = 0
    for before, step, after in (bound, expire, "ENETUNREACH"), (expire, bound, "eth1"):
        there: list[Point] = []
        for _ in range(2):  # once to settle, once to trace
            before.prepare()
            before.happen()
            step.prepare()
            there = kill_points(step)
            assert way() == after
        for point in there:
            before.prepare()
            before.happen()
            step.prepare()
            kills += killed_at(step, point)
            assert way() in ("ENETUNREACH", "eth1"), point
    print(f"only: {kills} kills")
    assert kills > 100
