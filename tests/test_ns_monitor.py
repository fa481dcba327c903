"""The monitor beside two providers: what it sees, what it concludes, and what it leaves alone."""

import fcntl
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dhcp_lb.monitor.changes import drain, tables
from tests.beds import box
from tests.beds.provider import HOST, Provider

WATCHED = box.STORE / "watched"
FAST = "interval=0.25 down=1 up=2"
RULE = "32765"
BUSY_S = 2.0  # a machine with other work to do
STILL_S = float(os.environ.get("DHCP_LB_STILL_S", "3"))  # doc/faults.md, "How far the campaigns go"
SERVERS = f"{HOST} 198.51.100.2"


class Bed:
    """A machine with links, each with its provider, and a monitor that was started."""

    def __init__(self, stack: ExitStack, options: list[str], start: bool) -> None:
        self.log = box.Syslog()
        self.names = box.add_links(len(options))
        self.configure(*options)
        self.isps = [stack.enter_context(Provider(f"peer-{name}", f"{box.given(number).gateway}/24"))
                     for number, name in enumerate(self.names)]
        for number, name in enumerate(self.names):
            box.set_address(name, box.given(number))
            self.event(name, number)
        self.process: "subprocess.Popen[bytes]" | None = None
        if start:
            self.start()
        self.log.lines()

    def configure(self, *options: str) -> None:
        box.CONFIG.write_text("".join([f"{name} table-{name} {1000 + number} {number + 1} {text}\n"
                                       for number, (name, text) in enumerate(zip(self.names, options))]))

    def event(self, name: str, number: int) -> None:
        environ = box.environment("BOUND", name, box.given(number)) | {"new_domain_name_servers": SERVERS}
        subprocess.run([box.PROGRAM], env=environ, check=True, stdin=subprocess.DEVNULL)

    def start(self, **environ: str) -> None:
        """A monitor, which has begun to look and to ask when this returns."""
        for isp in self.isps:
            isp.seen()
        self.process = subprocess.Popen([box.PROGRAM, "monitor"], env=box.ENVIRONMENT | environ)
        for isp in self.isps:
            until("the monitor has asked", isp.seen)
        until("it has said so", lambda: WATCHED.exists() and len(WATCHED.read_text().splitlines()) > len(self.names))

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(20)

    def becomes(self, want: str, within_s: float = 20.0) -> float:
        """The balance is this so soon; how many seconds it took."""
        started_s = time.monotonic()
        while (found := balance()) != want:
            assert time.monotonic() < started_s + within_s, (found, want, self.log.lines())
            time.sleep(0.002)
        return time.monotonic() - started_s


def balance() -> str:
    """The interfaces of the first tier, as the kernel has it."""
    routes = box.run("ip", "-N", "-o", "route", "show", "table", "252", "proto", "109")
    return " ".join(re.findall(r"dev (\S+)", "".join(
        [line for line in routes.splitlines() if " src " not in line and " metric " not in line])))


def until(what: str, happened: Callable[[], object], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.002)


@contextmanager
def bed(*options: str, start: bool = True) -> Iterator[Bed]:
    with ExitStack() as stack:
        one = Bed(stack, list(options), start)
        try:
            yield one
        finally:
            if one.process:
                one.process.kill()


# Providers

@box.boxed
def test_a_dead_provider_is_out_within_six_seconds_and_back_after_it_has_answered_for_a_while() -> None:
    with bed("", "up=3") as machine:
        machine.isps[1].die()
        assert 3.5 < machine.becomes("eth0") <= 6 + BUSY_S
        assert machine.log.lines()[0] == "eth1 is dead: no answer from the provider's name servers"
        text = box.verb("status")
        assert re.search(r"^eth1 +dead +0% ", text, re.M), text
        assert "\neth1 dead: no answer from the provider's name servers\n" in text
        assert "as it should be" in text
        machine.isps[1].revive()
        assert 3 <= machine.becomes("eth0 eth1") <= 6 + BUSY_S
        assert "eth1 works again" in machine.log.lines()


@box.boxed
def test_a_faster_pace() -> None:
    with bed("", "interval=0.25 down=1 up=0") as machine:
        for _ in range(5):
            time.sleep(0.5)
            machine.isps[1].die()
            assert machine.becomes("eth0") <= 1.3 + BUSY_S
            machine.isps[1].revive()
            assert machine.becomes("eth0 eth1") <= 0.3 + BUSY_S


@box.boxed
def test_where_nobody_answers_all_stay_and_the_first_that_does_is_in_alone() -> None:
    with bed(FAST, FAST) as machine, box.watched_lookups() as failures:
        machine.isps[1].die()
        machine.becomes("eth0")
        machine.isps[0].die()
        machine.becomes("eth0 eth1")
        machine.isps[1].revive()
        machine.becomes("eth1", 1.0)
        machine.isps[0].revive()
        machine.becomes("eth0 eth1")
    assert failures == []


@box.boxed
def test_two_that_come_back_together_are_both_in() -> None:
    with bed(FAST, FAST + "0") as machine:
        for isp in machine.isps:
            isp.die()
        until("both are dead", lambda: WATCHED.read_text().count("given up") == 2)
        for isp in machine.isps:
            isp.revive()
        until("none is", lambda: "given up" not in WATCHED.read_text(), 3)
        machine.becomes("eth0 eth1", 1)


@box.boxed
def test_a_link_whose_carrier_returns_gets_no_new_connections_before_it_answers() -> None:
    with bed(FAST, "interval=0.25 down=1 up=60") as machine:
        time.sleep(1)
        isp = machine.isps[1]
        isp.sh("ip link set cable down")
        machine.becomes("eth0")
        assert not [line for line in machine.log.lines() if "dead" in line]
        assert re.search(r"^eth1 .* no carrier", box.verb("status"), re.M)
        isp.die()
        isp.sh("ip link set cable up")
        time.sleep(2.5)
        assert balance() == "eth0"
        isp.revive()
        assert machine.becomes("eth0 eth1") <= 0.3 + BUSY_S


@box.boxed
def test_links_that_nobody_is_asked_by_are_left_alone() -> None:
    with bed("check=none", FAST, start=False) as machine:
        machine.process = subprocess.Popen([box.PROGRAM, "monitor"], env=box.ENVIRONMENT)
        until("it asks by the other", lambda: machine.isps[1].seen())
        machine.isps[0].seen()
        machine.isps[0].die()
        time.sleep(2)
        assert machine.isps[0].seen() == [] and balance() == "eth0 eth1"


@box.boxed
def test_name_servers_that_have_never_answered_prove_nothing() -> None:
    with bed(FAST, FAST, start=False) as machine:
        machine.isps[1].die()
        machine.start()
        time.sleep(3)
        assert balance() == "eth0 eth1"
        machine.configure(FAST, FAST + " check=198.51.100.7")  # this one is named
        box.verb("apply")
        machine.becomes("eth0", 3)


@box.boxed
def test_a_firewall_of_our_own_that_lets_no_probe_out_is_no_verdict() -> None:
    with bed(FAST, FAST) as machine:
        time.sleep(1)
        box.run("nft", "add table ip f; add chain ip f out { type filter hook output priority 0; policy drop; }")
        time.sleep(3)
        told = [line for line in machine.log.lines() if "firewall" in line]
        assert balance() == "eth0 eth1" and "given up" not in WATCHED.read_text()
        assert sorted(told) == sorted([
            f"{name} cannot be checked by asking {server}: a firewall of this machine lets no probe out"
            for name in machine.names for server in SERVERS.split()])


@box.boxed
def test_a_link_that_is_drained_is_asked_and_one_that_is_disabled_is_not() -> None:
    with bed(FAST, FAST) as machine:
        box.verb("drain", "eth1")
        time.sleep(0.3)
        machine.isps[1].seen()
        time.sleep(1)
        assert machine.isps[1].seen() != []
        box.verb("disable", "eth1")
        time.sleep(3.5)  # of a probe that left at that moment the kernel asks three times for the hardware address
        machine.isps[1].seen()
        time.sleep(1)
        assert machine.isps[1].seen() == []


@box.boxed
def test_while_it_is_not_enabled_nobody_is_asked_and_nobody_is_dead() -> None:
    """Without the routes of a link's table what is asked by it may find no way, however well the provider works."""
    with bed(FAST, FAST) as machine:
        links = box.CONFIG.read_text()
        until("the first answers", lambda: all(isp.seen() for isp in machine.isps), 5)
        machine.log.lines()
        box.CONFIG.write_text(links + "enabled = no\n")
        box.verb("apply")
        time.sleep(3.5)  # as above
        machine.isps[1].seen()
        time.sleep(1)
        assert machine.isps[1].seen() == []
        assert "given up" not in WATCHED.read_text() and not [line for line in machine.log.lines() if "dead" in line]
        box.CONFIG.write_text(links)
        box.verb("apply")
        until("questions", lambda: machine.isps[1].seen() != [], 5)


@box.boxed
def test_a_link_of_a_waiting_tier_is_asked_a_tenth_as_often_and_serves_when_the_others_are_dead() -> None:
    with bed("interval=0.2 down=1 up=2", "interval=0.2 down=1 up=2 tier=2") as machine:
        assert balance() == "eth0"
        time.sleep(1)
        for isp in machine.isps:
            isp.seen()
        time.sleep(4)
        serves, waits = [len([line for line in isp.seen() if line.endswith(" 17")]) for isp in machine.isps]
        assert 15 <= serves <= 25 and 1 <= waits <= 3
        machine.isps[0].die()
        until("the second tier serves", lambda: "dev eth1" in box.run("ip", "route", "get", HOST), 3)
        machine.isps[0].revive()
        machine.becomes("eth0")


@box.boxed
def test_the_kernel_itself_goes_on_to_the_next_tier_without_any_monitor() -> None:
    with bed("", "", "tier=2", start=False) as machine, box.watched_lookups() as failures:
        assert "dev eth2" not in box.run("ip", "route", "get", HOST)
        for isp in machine.isps[:2]:
            isp.sh("ip link set cable down")
        until("the second tier serves", lambda: "dev eth2" in box.run("ip", "route", "get", HOST))
        machine.isps[0].sh("ip link set cable up")
        until("the first one does", lambda: "dev eth0" in box.run("ip", "route", "get", HOST))
        box.ip("link delete eth0", "link delete eth1")
        until("the second tier serves", lambda: "dev eth2" in box.run("ip", "route", "get", HOST))
        assert box.verb("explain", HOST)
    assert failures == []


# The kernel

@box.boxed
def test_what_somebody_deletes_is_back_in_milliseconds() -> None:
    with bed("", "") as machine:
        time.sleep(0.3)
        took = []
        for _ in range(11):
            time.sleep(0.1)
            box.run("ip", "rule", "del", "pref", RULE)
            started_s = time.monotonic()
            until("it is back", rule_is_there)
            took.append(time.monotonic() - started_s)
        print(sorted(took))
        assert sorted(took)[5] < 0.4 and machine.process and machine.process.poll() is None


def rule_is_there() -> bool:
    return f"{RULE}:" in box.run("ip", "rule")


@box.boxed
def test_routes_of_others_wake_nobody() -> None:
    with bed("interval=60", "interval=60") as machine:
        box.ip("link add lan0 type veth peer name lan1", "link set lan0 up")
        time.sleep(2)
        before = cpu_s(machine)
        routes = [f"{10 + number // 65536}.{number // 256 % 256}.{number % 256}.0/32" for number in range(10_000)]
        for words in "dev eth0 table 7 proto 186", "dev eth0 proto 186", "dev lan0 proto static":
            for act in "add", "del":
                box.ip(*[f"route {act} {route} {words}" for route in routes])
        time.sleep(0.5)
        assert cpu_s(machine) - before <= 0.02


@box.boxed
def test_a_static_route_by_a_link_is_followed_at_once() -> None:
    with bed("interval=60", "interval=60"):
        time.sleep(1)
        shown = "ip", "route", "show", "10.55.0.0/16", "table", "1001"
        for act, there in ("add", True), ("del", False):
            box.ip(f"route {act} 10.55.0.0/16 via 10.99.0.60 dev eth1 onlink")
            until("it is followed", lambda: there == bool(box.run(*shown)), BUSY_S)


def cpu_s(machine: Bed) -> float:
    assert machine.process
    fields = Path(f"/proc/{machine.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@box.boxed
def test_the_metrics_are_where_the_exporter_reads_them() -> None:
    directory = Path("/var/lib/prometheus/node-exporter")
    box.run("mount", "-t", "tmpfs", "lib", "/var/lib")
    directory.mkdir(parents=True)
    with bed("", FAST) as machine:
        text = (directory / "dhcp-lb.prom").read_text()
        assert 'dhcp_lb_link_up{link="eth1"} 1.0\n' in text and "dhcp_lb_in_order 1.0\n" in text
        machine.isps[1].die()
        machine.becomes("eth0")
        until("they tell of it", lambda: 'dhcp_lb_link_state{link="eth1",state="dead"} 1.0\n' in (
            directory / "dhcp-lb.prom").read_text(), 5)
        text = (directory / "dhcp-lb.prom").read_text()
        assert 'dhcp_lb_link_share_ratio{link="eth0"} 1.0\n' in text
        assert 'dhcp_lb_link_state_changes_total{link="eth1"} 1.0\n' in text
        assert [path.name for path in directory.iterdir()] == ["dhcp-lb.prom"]
        box.CONFIG.write_text(box.CONFIG.read_text() + "metrics = /run/dhcp-lb/links.prom\n")
        box.verb("apply")
        until("the other file", lambda: (box.STORE / "links.prom").exists())


@box.boxed
def test_a_link_without_a_client_is_taken_up() -> None:
    with bed("", "") as machine:
        box.event("RELEASE", "eth1")
        box.set_address("eth1", None)
        machine.becomes("eth0")
        box.set_address("eth1", box.given(1))
        box.run("ip", "route", "add", "default", "via", box.given(1).gateway, "dev", "eth1")
        machine.becomes("eth0 eth1")


# Its own life

@box.boxed
def test_a_monitor_that_is_killed_leaves_its_verdicts_to_the_next_one() -> None:
    with bed("", "interval=0.25 down=1 up=60") as machine, box.watched_lookups() as failures:
        machine.isps[1].die()
        machine.becomes("eth0")
        for _ in range(3):
            machine.end(signal.SIGKILL)
            box.event("RENEW", "eth0", box.given(0))
            assert balance() == "eth0"
            machine.start()
            time.sleep(0.5)
            assert balance() == "eth0"
        machine.isps[1].revive()
        time.sleep(2)
        assert balance() == "eth0"  # it has not answered for long enough
        assert not [line for line in machine.log.lines() if "is dead" in line][1:]  # it was told once
    assert failures == []


@box.boxed
def test_one_that_is_told_to_end_takes_its_verdicts_with_it_and_one_that_starts_anew_does_not() -> None:
    with bed("", FAST) as machine:
        machine.isps[1].die()
        machine.becomes("eth0")
        assert machine.end(signal.SIGINT) == 0
        box.verb("apply")
        assert balance() == "eth0" and WATCHED.exists()
        machine.start()
        assert machine.end(signal.SIGTERM) == 0
        assert balance() == "eth0 eth1" and not WATCHED.exists()


@box.boxed
def test_without_a_monitor_a_verdict_holds_no_longer_than_it_says() -> None:
    with bed("", FAST) as machine:
        machine.isps[1].die()
        machine.becomes("eth0")
        machine.end(signal.SIGKILL)
        pid, until_s, *_ = WATCHED.read_text().splitlines()[0].split()
        boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert boot_s + 55 < int(until_s) <= boot_s + 120
        WATCHED.write_text(WATCHED.read_text().replace(f"{pid} {until_s}", f"{pid} {int(boot_s)}"))
        box.event("RENEW", "eth0", box.given(0))
        assert balance() == "eth0 eth1"


@box.boxed
def test_who_stood_still_draws_no_conclusion() -> None:
    with bed(FAST, FAST) as machine:
        time.sleep(1)
        assert machine.process
        for stopped_s in 0.7, STILL_S:
            machine.process.send_signal(signal.SIGSTOP)
            time.sleep(stopped_s)
            machine.process.send_signal(signal.SIGCONT)
            time.sleep(0.7)
        assert "given up" not in WATCHED.read_text() and not [line for line in machine.log.lines() if "dead" in line]


SLEEPER = """
import ctypes, os, signal, sys
clocks = [os.open(f"/proc/{pid}/ns/time", os.O_RDONLY) for pid in sys.argv[1:]]
libc = ctypes.CDLL(None, use_errno=True)
def sleep(*_):
    if libc.setns(clocks.pop(0), 0x80):  # CLONE_NEWTIME: sched.h
        sys.exit(f"setns: {ctypes.get_errno()}")
signal.signal(signal.SIGUSR1, sleep)
sys.path.insert(0, "/usr/share/dhcp-lb")
from dhcp_lb import main
main(["monitor"])
"""


@contextmanager
def with_a_dead_link(machine: Bed, *program: str) -> Iterator[None]:
    """A monitor that this Python text starts has found one of three links dead. It is back in the end, and another one
    dead."""
    machine.process = subprocess.Popen([sys.executable, "-ISB", "-c", *program], env=box.ENVIRONMENT)
    until("the monitor knows of all", lambda: len(published()) == 3)
    time.sleep(1)  # and they have answered
    machine.isps[2].die()
    machine.becomes("eth0 eth1")
    until("it is told", lambda: "eth2: dead, was up" in machine.log.lines())
    yield
    machine.isps[1].die()
    machine.becomes("eth0")
    machine.isps[2].revive()
    machine.becomes("eth0 eth2")


def signalled_it_goes_on(machine: Bed, wait_s: float) -> None:
    for isp in machine.isps:
        isp.seen()
    machine.process.send_signal(signal.SIGUSR1)
    time.sleep(wait_s)
    for isp in machine.isps:
        until("it goes on asking", isp.seen)
    assert machine.process.poll() is None and balance() == "eth0 eth1"


@box.boxed
def test_who_slept_draws_no_conclusion_and_goes_on() -> None:
    """What a suspend is to a process: CLOCK_BOOTTIME has jumped, CLOCK_MONOTONIC has not. SIGUSR1 moves the monitor
    into a time namespace with another CLOCK_BOOTTIME (time_namespaces(7))."""
    patient = "interval=0.25 down=4 up=2"
    with ExitStack() as stack, bed(patient, patient, FAST, start=False) as machine:
        clocks = []
        for slept_s in 5, 3600, 10**7:
            clock = subprocess.Popen(["unshare", "--time", f"--boottime={slept_s}", "--fork", "--kill-child",
                                      "sh", "-c", "echo $$; exec sleep 600"], stdout=subprocess.PIPE, text=True)
            stack.callback(clock.kill)
            assert clock.stdout
            clocks.append(clock.stdout.readline().rstrip())
        with with_a_dead_link(machine, SLEEPER, *clocks):
            for slept_s in 5, 3600, 10**7:
                signalled_it_goes_on(machine, 1)
                now_s = time.clock_gettime(time.CLOCK_BOOTTIME) + slept_s
                _, until_s, since_s, slept_ms = [int(word) for word in WATCHED.read_text().splitlines()[0].split()]
                asleep_s = slept_s - slept_ms / 1000  # since it said so
                assert since_s <= now_s - asleep_s < until_s and asleep_s < 10  # its verdicts hold
                assert [name for name, line in published().items() if "given up" in line] == ["eth2"]
            lines = machine.log.lines()
            assert lines == [], "\n".join(lines)


SETTER = """
import signal, sys, time
ahead_s = 0
def set_clock(*_):
    global ahead_s
    ahead_s = {0: -3600, -3600: 10**8}.get(ahead_s, 0)
def ahead(read, a_second):
    return lambda: read() + ahead_s * a_second
time.time, time.time_ns = ahead(time.time, 1), ahead(time.time_ns, 10**9)
signal.signal(signal.SIGUSR1, set_clock)
sys.path.insert(0, "/usr/share/dhcp-lb")
from dhcp_lb import main
main(["monitor"])
"""


@box.boxed
def test_a_clock_that_is_set_changes_no_verdict() -> None:
    """As the monitor sees it: an hour back, years ahead, and right again, at SIGUSR1."""
    with bed(FAST, FAST, FAST, start=False) as machine:
        with with_a_dead_link(machine, SETTER):
            for _ in range(3):
                signalled_it_goes_on(machine, 1.5)
                assert machine.log.lines() == []


@box.boxed
def test_an_event_before_the_first_turn_after_a_sleep_finds_the_verdicts_in_force() -> None:
    """The monitor stands still meanwhile. A monitor that died before the machine slept is not trusted for longer."""
    def event(slept_s: int) -> None:
        subprocess.run(["unshare", "--time", f"--boottime={slept_s}", "--fork", box.PROGRAM], check=True,
                       env=box.environment("RENEW", "eth0", box.given(0)), stdin=subprocess.DEVNULL)
    with bed("", FAST) as machine:
        machine.isps[1].die()
        machine.becomes("eth0")
        assert machine.process
        machine.process.send_signal(signal.SIGSTOP)
        for slept_s in 5, 3600, 10**7:
            event(slept_s)
            assert balance() == "eth0"
        machine.end(signal.SIGKILL)
        pid, until_s, rest = WATCHED.read_text().split(maxsplit=2)
        soon_s = int(time.clock_gettime(time.CLOCK_BOOTTIME)) + 3
        WATCHED.write_text(f"{pid} {soon_s} {rest}")
        event(3600)
        assert balance() == "eth0"
        time.sleep(3)
        event(3600)
        assert balance() == "eth0 eth1"


def published() -> dict[str, str]:
    """What the monitor says of each link."""
    lines = WATCHED.read_text().splitlines()[1:] if WATCHED.exists() else []
    return {line.split()[0]: line for line in lines}


@box.boxed
def test_a_lock_that_somebody_holds_stops_no_probe_and_what_waited_is_done_after() -> None:
    with bed(FAST, FAST) as machine:
        with (box.STORE / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            box.run("ip", "rule", "del", "pref", RULE)
            for isp in machine.isps:
                isp.seen()
            time.sleep(STILL_S)
            assert all([len(isp.seen()) > 8 / 3 * STILL_S for isp in machine.isps])
            assert not rule_is_there()
        until("the rule is back", rule_is_there, 2)
        assert not [line for line in machine.log.lines() if "dead" in line]


@box.boxed
def test_sighup_and_a_configuration_with_a_mistake() -> None:
    with bed(FAST, FAST) as machine:
        assert machine.process
        machine.configure("", "weight")
        machine.process.send_signal(signal.SIGHUP)
        until("it is told", lambda: [line for line in machine.log.lines() if "unknown option weight" in line])
        box.run("ip", "rule", "del", "pref", RULE)
        time.sleep(0.5)
        assert not [line for line in machine.log.lines() if "unknown option" in line] and not rule_is_there()
        machine.isps[0].seen()
        time.sleep(1)
        assert machine.isps[0].seen() != []
        machine.configure("tier=2", "")
        machine.process.send_signal(signal.SIGHUP)
        machine.becomes("eth1", 3)
        assert rule_is_there()


@box.boxed
def test_a_change_in_nftables_is_heard_of() -> None:
    found = tables()
    assert found
    for change in "add table ip x", "flush ruleset":
        drain(found)
        box.run("nft", *change.split())
        assert select.select([found], [], [], 5)[0], change


NFT = """#!/bin/sh
echo "$*" >>/run/nft
[ ! -e /run/slow ] || sleep 5
exec /usr/sbin/nft.real "$@"
"""


@box.boxed
def test_nft_that_takes_its_time_holds_up_no_probe_and_an_apply_runs_it_once() -> None:
    nft, calls, slow = Path("/usr/sbin/nft"), Path("/run/nft"), Path("/run/slow")
    nft.rename("/usr/sbin/nft.real")
    nft.write_text(NFT)
    nft.chmod(0o755)
    with bed(FAST, FAST) as machine:
        box.CONFIG.write_text(box.CONFIG.read_text() + "pin = yes\n")
        box.verb("apply")
        time.sleep(2)
        assert calls.read_text() == "-f -\n"
        slow.touch()
        box.run("nft.real", "flush", "ruleset")
        made_again = ["-f -", "-f -", "-f /var/lib/dhcp-lb/dhcp-lb.nft"]  # as it was, and as it should be
        until("it is made again", lambda: sorted(calls.read_text().splitlines()) == made_again)
        for isp in machine.isps:
            isp.seen()
        time.sleep(3)
        assert all([len(isp.seen()) > 8 for isp in machine.isps])
        until("the table is there", lambda: "table inet dhcp-lb" in box.run("nft.real", "list", "tables"))
        until("it is known", lambda: (box.STORE / "pinned").read_text() == "loaded\n")
        time.sleep(2)
        assert sorted(calls.read_text().splitlines()) == made_again
        assert not [line for line in machine.log.lines() if "dead" in line]


@box.boxed
def test_flush_silences_it_until_something_is_asked_for() -> None:
    with bed(FAST, FAST) as machine:
        box.verb("flush")
        box.run("ip", "rule", "add", "pref", "5", "lookup", "main")
        time.sleep(1)
        for isp in machine.isps:
            isp.seen()
        time.sleep(1)
        asked = [line for isp in machine.isps for line in isp.seen() if " > " in line]
        assert (balance(), asked) == ("", [])
        box.verb("apply")
        until("it asks again", lambda: machine.isps[0].seen())


@box.boxed
def test_where_the_store_cannot_come_back_the_monitor_ends_so_that_another_one_starts() -> None:
    with bed("", "") as machine:
        box.run("mount", "-t", "tmpfs", "-o", "ro", "nothing", "/run")
        box.run("ip", "rule", "add", "pref", "5", "lookup", "main")
        assert machine.process and machine.process.wait(20) == 1


@box.boxed
def test_a_store_that_somebody_removed_comes_back() -> None:
    with bed("", FAST) as machine:
        machine.isps[1].die()
        machine.becomes("eth0")
        box.run("rm", "-r", str(box.STORE))
        box.run("ip", "rule", "del", "pref", RULE)
        until("the rule is back", rule_is_there)
        until("its verdict, too", lambda: WATCHED.exists() and "given up" in WATCHED.read_text())
        machine.becomes("eth0")


@box.boxed
def test_there_is_one_of_them() -> None:
    with bed("", ""):
        done = subprocess.run([box.PROGRAM, "monitor"], env=box.ENVIRONMENT, capture_output=True, text=True, timeout=9)
        assert (done.returncode, done.stderr) == (
            1, "dhcp-lb: another monitor is running: stop it first, as with `systemctl stop dhcp-lb-monitor`\n")


START = """if True:
    import os, sys
    os.dup2(int(sys.argv[1]), 3)
    os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
    os.execv(sys.argv[2], sys.argv[2:])"""


@box.boxed
def test_as_a_service_it_is_handed_its_socket_and_tells_how_it_is() -> None:
    with bed("", "interval=0.25 down=1 up=60", start=False) as machine, \
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        kernel.bind((0, 8651985))
        manager.bind("\0manager")
        manager.settimeout(20)
        box.run("ip", "rule", "del", "pref", RULE)  # while nobody is there
        environ = box.ENVIRONMENT | {"NOTIFY_SOCKET": "@manager", "WATCHDOG_USEC": "600000"}
        machine.process = subprocess.Popen(
            [sys.executable, "-c", START, str(kernel.fileno()), box.PROGRAM, "monitor"], env=environ,
            pass_fds=[kernel.fileno()])
        assert manager.recv(4096) == b"READY=1"
        assert rule_is_there()
        assert manager.recv(4096) == b"STATUS=2 of 2 links are checked; none is dead"
        beats = 0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            beats += manager.recv(4096) == b"WATCHDOG=1"
        assert 12 <= beats <= 18
        machine.isps[1].die()
        while manager.recv(4096) != b"STATUS=2 of 2 links are checked; dead: eth1":
            pass
        machine.process.send_signal(signal.SIGHUP)
        while not manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC="):
            pass
        while manager.recv(4096) != b"READY=1":
            pass
        machine.end()
        while manager.recv(4096) != b"STOPPING=1":
            pass


@box.boxed
def test_a_service_manager_that_does_not_read_holds_up_no_probe_and_hears_of_it_when_it_does() -> None:
    with bed("", FAST, start=False) as machine, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0manager")
        manager.settimeout(20)
        told = 0
        with suppress(BlockingIOError):
            while True:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as another:
                    another.sendto(b"STATUS=of another service", "\0manager")
                told += 1
        machine.start(NOTIFY_SOCKET="@manager", WATCHDOG_USEC="600000")
        machine.isps[1].die()
        machine.becomes("eth0")
        assert {manager.recv(4096) for _ in range(told)} == {b"STATUS=of another service"}
        box.run("ip", "rule", "del", "pref", RULE)  # a reason to look
        until("it says so", lambda: manager.recv(4096) == b"READY=1")


@box.boxed
def test_it_is_small_and_needs_nothing_but_built_in_modules() -> None:
    with bed("", "") as machine:
        time.sleep(3)
        assert machine.process
        bare = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
        time.sleep(0.3)
        more = rss_kb(machine.process.pid) - rss_kb(bare.pid)
        bare.kill()
        print(f"{more} KB more than a bare Python, page size {resource.getpagesize()}")
        assert more < 5000
        libraries = Path(f"/proc/{machine.process.pid}/maps").read_text()
        assert "lib-dynload" not in libraries


def rss_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])
