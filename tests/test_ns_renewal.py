"""A renewal that says nothing new starts no process, if a monitor has seen to all the rest. In any doubt it does."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from dhcp_lb.event import CLIENTS, SAID, SAID_FORM, said
from dhcp_lb.model import NONE
from dhcp_lb.monitor.vouch import times, vouch
from dhcp_lb.sight import now_s
from dhcp_lb.store import Store
from tests.beds import box
from tests.beds.box import boxed, environment, event, given, kernel, two_links
from tests.test_ns_kill import TRACE, Step, after_changes, kill_points, killed_at, traced

HOOK = box.CHECKOUT / "etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb"
LEASES = box.STORE / "leases"
RENEWED = box.STORE / "renewed"
RUNS = Path("/run/runs")
SHELLS = ("dash", "bash", "dash -eu", "dash -f", "bash -C -eu", "bash --posix")
DHCPCD = {"new_subnet_cidr": "24", "if_up": "true", "new_classless_static_routes": "0.0.0.0/0 10.100.0.9"}
# What a hostile server can have dhclient put into a variable, and what a shell could make of it.
NASTY = ("", " ", "|", "||", "1", "10.100.0.1|", "10.100.0.1 ", " 10.100.0.1", "10.100.0.1\n", "\n10.100.0.1", "\\",
         "\\n", "$(touch /run/owned)", "`touch /run/owned`", ";touch /run/owned", "'", "\"", "*", "?", "[", "]", "-f",
         "!", "(", "= 1 -o 1", "/", "/etc/dhcp-lb", "10.100.0.1\r", "\udcff", "é", "x" * 5000, "1 " * 600, "0" * 990,
         "\t", "~", "#", "%s%n", "-n", "\a")


def is_as_old(path: Path, age_s: float = 100) -> None:
    """The file, or directory, was written so long ago."""
    moment_s = time.time() - age_s
    os.utime(path, (moment_s, moment_s))


def stands_by() -> None:
    """This process is a monitor whose last look has just found all in order, and that does nothing from now on."""
    store = Store()
    store.prepare()
    os.chdir(store.path)
    store.watch({}, now_s())
    is_as_old(box.CONFIG)
    is_as_old(LEASES)
    vouch(store, times(store))


def settled() -> None:
    """eth0 and eth1 have leases, whose clients have said so twice, and a monitor stands by."""
    two_links()
    for number in range(2):
        event("RENEW", f"eth{number}", given(number))
    stands_by()


def source(environ: Mapping[str, str], shell: str = "dash", *wrapper: str) -> None:
    """The hook is sourced by a client's script. It is silent, leaves nothing, and its status is 0."""
    script = f". {HOOK}\nstatus=$?\nset | grep ^dhcp_lb_ || :\nexit $status"
    done = subprocess.run([*wrapper, *shell.split(), "-c", script], env=environ, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, errors="replace", cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """How often the program was started since the last call. Meanwhile it does nothing else."""
    program = Path(box.PROGRAM)
    text = program.read_text()
    program.write_text(f"#!/bin/sh\necho >>{RUNS}\n")

    def runs() -> int:
        count = len(RUNS.read_text()) if RUNS.exists() else 0
        RUNS.unlink(missing_ok=True)
        return count
    try:
        yield runs
    finally:
        program.write_text(text)


def renewal(number: int = 0, **changes: str) -> dict[str, str]:
    return environment("RENEW", f"eth{number}", given(number)) | changes


def test_the_hook_compares_every_word_that_the_program_reads() -> None:
    text = HOOK.read_text()
    assert tuple(re.findall(r"\$\{(new_\w+)-\}", text)) == tuple([name.decode() for name in SAID])
    assert f'dhcp_lb_said="{SAID_FORM.decode()}|${{if_up+1}}|' in text
    read = set()
    for client in CLIENTS["dhclient"], CLIENTS["dhcpcd"]:
        read |= {client.address, client.mask, client.gateway, client.routers, client.server, client.duration,
                 client.classless, *client.name_servers}
    assert set(SAID) == read - {b""}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("extra", [{}, DHCPCD, {"reason": "REBIND"}], ids=["dhclient", "dhcpcd", "REBIND"])
@boxed
def test_a_renewal_that_says_nothing_new_starts_no_process(shell: str, extra: dict[str, str]) -> None:
    environ = renewal() | extra
    two_links()
    box.run("env", "-i", *[f"{name}={value}" for name, value in environ.items()], box.PROGRAM)
    stands_by()
    before, leases = kernel(), {path: path.read_bytes() for path in LEASES.iterdir()}
    RENEWED.joinpath("eth0").unlink(missing_ok=True)
    subprocess.run(["strace", "-f", "-qq", "-o", TRACE, "-e", "trace=process", *shell.split(), "-c", f". {HOOK}"],
                   env=environ, check=True)
    calls = [line.split(maxsplit=1)[1].partition("(")[0] for line in TRACE.read_text().splitlines()]
    assert [call for call in calls if call not in ("+++", "exit_group")] == ["execve"], calls  # the shell's own
    assert now_s() - 5 <= int(RENEWED.joinpath("eth0").read_text()) <= now_s()
    assert (kernel(), {path: path.read_bytes() for path in LEASES.iterdir()}) == (before, leases)
    source(environ, shell)


@boxed
def test_status_tells_the_age_of_a_lease_since_its_last_renewal() -> None:
    settled()
    (RENEWED / "eth0").unlink()
    text = (LEASES / "eth0").read_text()
    past_s = now_s() // 2  # since boot, which may have been minutes ago
    (LEASES / "eth0").write_text(text.replace(text.split()[0], str(past_s)))

    def age_s() -> int:
        return int(json.loads(box.verb("status", "--json"))["links"][0]["lease_age_s"])
    stands_by()
    assert age_s() >= past_s
    with counted() as runs:
        source(renewal())
        assert runs() == 0
    assert age_s() < 5


@boxed
def test_other_words_start_it_whatever_a_server_puts_into_them() -> None:
    """Also words that the lease was read from, if they are not those of addresses and numbers."""
    settled()
    rng = random.Random(13)
    names = [name.decode() for name in SAID] + ["if_up", "interface", "reason"]
    values = (*NASTY, *renewal().values(), *DHCPCD.values())
    kept = [renewal(), renewal() | DHCPCD, renewal(new_domain_name_servers="9.9.9.9 1.1.1.1"),
            renewal(new_rfc3442_classless_static_routes="0 10 100 0 1"), {**renewal(), "new_routers": ""}]
    for name, value in itertools.product(names[:4], NASTY):
        kept.append(renewal() | {name: value})
    skipped = total = 0
    for before in kept:
        environ = dict(before, reason="RENEW", interface="eth0")
        subprocess.run([box.PROGRAM], env=environ, check=True, stdin=subprocess.DEVNULL, errors="surrogateescape")
        file = (LEASES / "eth0").read_text().splitlines()
        words = said({name.encode(): value.encode("utf-8", "surrogateescape") for name, value in environ.items()})
        assert [line.partition(" ")[2] for line in file[:-1]] in ([], [words]), (environ, file)
        stands_by()
        with counted() as runs:
            for _ in range(12):
                now = dict(environ)
                for name in rng.sample(names, rng.choice((0, 1, 1, 2))):
                    value = rng.choice(values)
                    if rng.random() < 0.2:
                        now.pop(name, None)
                    else:
                        now[name] = value
                same = all(now.get(name, "") == environ.get(name, "") for name in names[:-3]) and (
                    ("if_up" in now) == ("if_up" in environ))
                ours = now.get("interface") in ("eth0", "eth1")
                renews = now.get("reason") in ("RENEW", "REBIND")
                source(now, rng.choice(SHELLS))
                count = runs()
                total += 1
                skipped += not count
                if same and renews and now.get("interface") == "eth0" and file[1:]:
                    assert count == 0, (environ, now)
                elif renews and ours:
                    assert count == 1, (environ, now)
    print(f"{total} renewals, {skipped} started nothing")
    assert skipped > 30 and not Path("/run/owned").exists()


def _write(name: str, text: str) -> Callable[[], object]:
    return lambda: (box.STORE / name).write_text(text)


def _remove(name: str) -> Callable[[], object]:
    return lambda: (box.STORE / name).unlink()


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[], object]:
    """Something else stands in the place of a file."""
    def change() -> None:
        path = box.STORE / name
        path.unlink(missing_ok=True)
        make(path)
    return change


def _watched(pid: object = None, until: int = 60, since: int = -60, rest: str = "\n") -> Callable[[], object]:
    return lambda: (box.STORE / "watched").write_text(
        f"{os.getpid() if pid is None else pid} {now_s() + until} {now_s() + since} 0{rest}")


def _lease(change: Callable[[str], str]) -> Callable[[], object]:
    """In place, so that no time but the file's own changes."""
    return lambda: (LEASES / "eth0").write_text(change((LEASES / "eth0").read_text()))


def _edited(text: str, age_s: float) -> Callable[[], object]:
    def change() -> None:
        box.CONFIG.write_text(box.CONFIG.read_text() + text)
        is_as_old(box.CONFIG, age_s)
    return change


def _moved_there(age_s: float) -> Callable[[], object]:
    def change() -> None:
        other = Path("/etc/dhcp-lb.old")
        other.write_text(box.CONFIG.read_text() + "main-default = no\n")
        is_as_old(other, age_s)
        other.rename(box.CONFIG)
    return change


DOUBTS: dict[str, Callable[[], object]] = {
    "no monitor has ever been there": _remove("watched"),
    "the monitor is gone": _watched(pid=2**22 - 3),
    "its number is another process's": lambda: _watched(pid=_other().pid)(),
    "it is a file without a number": _watched(pid=""),
    "its number is no number": _watched(pid="$(touch /run/owned)"),
    "its number is a path": _watched(pid="self/../self"),
    "it has not looked for long": _watched(until=0, since=-120),
    "it looked before the last boot": _watched(until=200, since=80),
    "the file is cut off": _watched(rest=""),
    "the file is empty": _write("watched", ""),
    "the file is odd": _write("watched", "a b c\n"),
    "the file is a FIFO": _instead("watched", os.mkfifo),
    "the file is a directory": _instead("watched", Path.mkdir),
    "the monitor has taken back its word": _remove("seen-configuration"),
    "half of its word is gone": _remove("seen-leases"),
    "half of its word is a FIFO": _instead("seen-leases", os.mkfifo),
    "half of its word is a directory": _instead("seen-configuration", Path.mkdir),
    "it has seen another configuration": lambda: is_as_old(box.STORE / "seen-configuration", 99),
    "it has seen other leases": lambda: is_as_old(box.STORE / "seen-leases", 101),
    "the configuration is edited now": _edited("main-default = no\n", 0),
    "the configuration is edited in the same second": _edited("main-default = no\n", 100.0001),
    "the configuration is edited while the clock is wrong": _edited("main-default = no\n", 10**6),
    "the configuration is edited in the future": _edited("main-default = no\n", -10**6),
    "an older file takes the configuration's place": _moved_there(5000),
    "a newer file takes the configuration's place": _moved_there(50),
    "the configuration is touched": lambda: box.CONFIG.touch(),
    "a lease was written": lambda: Store().save("eth1", NONE),
    "a lease was being written": lambda: (LEASES / "eth1 77").touch(),
    "a lease has gone": _remove("leases/eth1"),
    "its lease has gone": _remove("leases/eth0"),
    "its lease is of another boot": _lease(lambda text: re.sub(r"^\d+", "99999999999", text)),
    "its lease began at an odd time": _lease(lambda text: re.sub(r"^\d+", "x", text)),
    "its lease is 2.0's": _lease(lambda text: text.split("\n")[1] + "\n"),
    "its lease is a newer version's": _lease(lambda text: text.replace(" 1|", " 2|")),
    "its lease is cut off": _lease(lambda text: text.split("\n")[0]),
    "its lease is cut short": _lease(lambda text: text.replace("|\n", "\n")),
    "its lease is empty": _lease(lambda text: ""),
    "its lease has more behind": _lease(lambda text: text.replace("|\n", "| 1\n")),
    "its lease is a FIFO": _instead("leases/eth0", os.mkfifo),
    "its lease is a directory": _instead("leases/eth0", Path.mkdir),
    "a link was disabled": lambda: Store().hold({}),
    "an administrator has flushed": lambda: Store().flush(),
    "the time cannot be noted": _instead("renewed/eth0", Path.mkdir),
    "the time cannot be noted in a FIFO": _instead("renewed/eth0", os.mkfifo),
    "the time cannot be noted at all": lambda: (_remove("renewed/eth0")(), RENEWED.rename("/run/aside")),
    "the store is another one": lambda: (box.STORE.rename("/run/aside"), box.run("cp", "-a", "/run/aside", box.STORE)),
}


def _other() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "600"], cwd="/")


@boxed
def test_in_any_doubt_the_program_runs() -> None:
    box.run("sh", "-c", "mkdir /run/good")
    settled()
    source(renewal())
    config = box.CONFIG.read_text()
    box.run("cp", "-a", box.STORE, "/run/good")
    for doubt, change in DOUBTS.items():
        for shell in "dash", "bash -eu":
            os.chdir("/")
            box.run("sh", "-c", f"rm -rf {box.STORE} /run/aside; cp -a /run/good/dhcp-lb /run")
            box.CONFIG.write_text(config)
            stands_by()
            with counted() as runs:
                source(renewal(), shell)
                assert runs() == 0, doubt
                change()
                runs()
                source(renewal(), shell, "timeout", "5")
                assert runs() == 1, (doubt, shell)
    assert not Path("/run/owned").exists()
    print(f"{len(DOUBTS)} doubts")


@boxed
def test_nothing_is_started_for_a_file_or_a_program_that_is_gone() -> None:
    settled()
    with counted() as runs:
        box.CONFIG.unlink()
        source(renewal())
        assert runs() == 0
        assert (RENEWED / "eth0").read_text() != "0\n"


# Killed

def hooked(step: Step) -> None:
    """The same event, by way of the hook."""
    source(environment(*step[:3]))


@boxed
def test_killed_at_any_system_call_no_renewal_is_left_out_that_would_have_done_the_rest() -> None:
    """The monitor has looked before, and stands still since: whatever is left to do, the renewals must do."""
    settled()
    new = Step("RENEW", "eth1", given(1, gateway=2), moves_address=False)
    old = Step("RENEW", "eth1", given(1), moves_address=False)
    other = Step("RENEW", "eth0", given(0), moves_address=False)
    before = kernel()
    there = kill_points(new)
    after, lease = kernel(), (LEASES / "eth1").read_text().splitlines()[-1].split()[3]
    assert after != before
    kills = skipped = 0
    old.happen()
    for point in there:
        stands_by()
        kills += killed_at(new, point)
        kept = (LEASES / "eth1").read_text().splitlines()[-1].split()[3] == lease
        skipped += not kept
        hooked(other)
        assert kernel() == (after if kept else before), point
        hooked(new)
        assert kernel() == after, point
        old.happen()
        assert kernel() == before
    print(f"{kills} kills, {skipped} before anything was written")
    assert kills > 0.9 * len(there) and len(there) > 50 and skipped > 5


@boxed
def test_killed_at_any_system_call_of_disable_the_next_renewal_does_the_rest() -> None:
    settled()
    strace = ["strace", "-f", "-qq", "-o", str(TRACE)]
    up = kernel()
    subprocess.run([*strace, box.PROGRAM, "disable", "eth1"], env=box.ENVIRONMENT, check=True)
    down = kernel()
    assert down != up
    calls = traced()
    first = next(place for place, point in enumerate(calls) if point.name == "flock")
    there = after_changes(calls[first:])
    kills = 0
    for point in there:
        box.verb("enable", "eth1")
        assert kernel() == up
        stands_by()
        done = subprocess.run([*strace, "-e", f"trace={point.name}", "-e",
                               f"inject={point.name}:signal=KILL:when={point.count}", box.PROGRAM, "disable", "eth1"],
                              env=box.ENVIRONMENT, capture_output=True)
        kills += done.returncode != 0
        source(renewal())
        held = (box.STORE / "held").read_text() != ""
        assert kernel() == (down if held else up), point
    print(f"{kills} kills of disable")
    assert kills > 0.9 * len(there) > 30


# With a monitor

@contextmanager
def monitored() -> Iterator["subprocess.Popen[bytes]"]:
    """A monitor that has given its word."""
    process = subprocess.Popen([box.PROGRAM, "monitor"], env=box.ENVIRONMENT)
    try:
        gives_its_word(process)
        yield process
    finally:
        process.kill()
        process.wait()


def gives_its_word(process: "subprocess.Popen[bytes]") -> None:
    """What was written has become old enough, and a look has seen it."""
    end_s = time.monotonic() + 20
    while not has_word(process):
        assert time.monotonic() < end_s and process.poll() is None
        if is_its_own(process):
            process.send_signal(signal.SIGHUP)
        time.sleep(0.3)


def is_its_own(process: "subprocess.Popen[bytes]") -> bool:
    """Whether this monitor has written what the store has of it."""
    watched = box.STORE / "watched"
    return watched.exists() and watched.read_text().startswith(f"{process.pid} ")


def has_word(process: "subprocess.Popen[bytes]") -> bool:
    """Whether this monitor has seen to all that is there."""
    times = [(path.exists() and path.stat().st_mtime_ns)
             for path in (box.STORE / "seen-leases", LEASES, box.STORE / "seen-configuration", box.CONFIG)]
    return is_its_own(process) and times[0] == times[1] and times[2] == times[3]


@contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """What happens is the hook's doing."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def starts_nothing(environ: Mapping[str, str]) -> bool:
    with counted() as runs:
        source(environ)
        return runs() == 0


@boxed
def test_a_living_monitor_has_renewals_start_nothing_until_something_is_new() -> None:
    log = box.Syslog()
    two_links()
    event("RENEW", "eth1", given(1))
    assert not starts_nothing(renewal(1))  # nobody has given any word
    with monitored() as monitor:
        assert starts_nothing(renewal(0)) and starts_nothing(renewal(1))
        balanced = kernel()
        with stopped(monitor):
            new = environment("RENEW", "eth1", given(1, gateway=2))
            source(new)
            changed = kernel()
            assert changed != balanced
            assert not starts_nothing(new) and not starts_nothing(renewal(0))  # nobody has looked since
        gives_its_word(monitor)
        assert kernel() == changed and starts_nothing(new) and starts_nothing(renewal(0))
        box.run("ip", "rule", "del", "pref", "32765")
        time.sleep(2)  # while it is at work, nobody vouches
        assert kernel() == changed and starts_nothing(renewal(0))
        monitor.kill()
        monitor.wait()
        assert not starts_nothing(renewal(0))
    with monitored() as monitor:
        assert starts_nothing(renewal(0))
        monitor.terminate()
        monitor.wait()
        assert not starts_nothing(renewal(0))
    assert not [line for line in log.lines() if "fail" in line]


@boxed
def test_an_edit_directly_before_a_renewal_is_taken_up_by_it() -> None:
    two_links()
    with monitored() as monitor:
        for age_s in 0, 1.5, 5000, -5000:
            assert starts_nothing(renewal())
            with stopped(monitor):
                lines = box.CONFIG.read_text()
                weight = 7 if " 7\n" not in lines else 5
                path = Path("/etc/new")
                path.write_text(re.sub(r"(eth1 \S+ \S+) \d+", rf"\1 {weight}", lines))
                is_as_old(path, age_s)
                path.rename(box.CONFIG)
                source(renewal())
                assert f"dev eth1 weight {weight}" in box.run("ip", "route", "show", "table", "252")
            is_as_old(box.CONFIG)
            gives_its_word(monitor)


@boxed
def test_after_flush_and_after_a_mistake_in_the_file_renewals_start_it() -> None:
    two_links()
    before = kernel()
    with monitored() as monitor:
        box.verb("flush")
        assert kernel() != before
        monitor.send_signal(signal.SIGHUP)
        time.sleep(1)
        source(renewal())
        assert kernel() == before
        gives_its_word(monitor)
        assert starts_nothing(renewal())
        text = box.CONFIG.read_text()
        box.CONFIG.write_text(text + "garbage\n")
        is_as_old(box.CONFIG)
        monitor.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert not starts_nothing(renewal())
        box.CONFIG.write_text(text)
        is_as_old(box.CONFIG)
        gives_its_word(monitor)
        assert starts_nothing(renewal())


@boxed
def test_while_the_kernel_objects_to_a_link_renewals_start_it() -> None:
    two_links()
    box.ip("address add 10.200.0.20/32 brd 10.100.1.2 dev eth1")
    with monitored() as monitor:
        source(environment("RENEW", "eth1", given(1, gateway=2)))  # a broadcast address is no gateway
        assert (box.STORE / "objections").exists()
        for _ in range(4):
            time.sleep(0.7)
            monitor.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert not starts_nothing(renewal(0)) and not has_word(monitor)
