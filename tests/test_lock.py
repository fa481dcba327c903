"""One process works at a time, none repeats work that is done, and none waits for ever. (faults 68-71)"""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dhcp_lb import lock as lock_module
from dhcp_lb.lock import Busy, Deadline, Lock, Lost, alone
from dhcp_lb.store import Store

CHECKOUT = str(Path(__file__).resolve().parents[1])

# One of many processes, like a hook: it saves its lease and takes the lock. Its work writes down the leases that it
# sees.
HOOK = f"""
import os, sys, time
sys.path.insert(0, {CHECKOUT!r})
from dhcp_lb import lock
from dhcp_lb.model import NONE
from dhcp_lb.store import Store
path, name, work_s, wait_s = sys.argv[1:]
lock.WAIT_S = float(wait_s)
store = Store(path)
store.prepare()
store.save(name, NONE)

def work(held):
    seen = sorted(os.listdir(path + "/leases"))
    time.sleep(float(work_s))
    held.check()
    with open(path + "/log", "a") as log:
        log.write(" ".join(one for one in seen if one.isalnum()) + "\\n")

try:
    lock.alone(store, work)
except lock.Deadline as error:
    print(error)
"""


def hook(store: Store, name: str, *, work_s: float = 0.0, wait_s: float = 20.0) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", HOOK, store.path, name, str(work_s), str(wait_s)],
                            stdout=subprocess.PIPE, text=True)


def works(store: Store) -> list[list[str]]:
    """The leases that each work saw."""
    path = Path(store.path, "log")
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def waiting(store: Store) -> list[str]:
    return os.listdir(f"{store.path}/waiting")


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@contextmanager
def held_by_another(store: Store) -> Iterator[None]:
    """A process that knows nothing of markers holds the lock."""
    with open(f"{store.path}/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_work_is_done_alone_and_the_lock_file_stays(store: Store) -> None:
    done = []

    def work(lock: Lock) -> None:
        lock.check()
        with open(f"{store.path}/lock") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done.append(1)

    alone(store, work)
    alone(store, work)
    assert done == [1, 1]
    assert stat.S_IMODE(os.stat(f"{store.path}/lock").st_mode) == 0o600
    assert waiting(store) == []


def test_the_lock_and_the_deadline_are_gone_after_a_failure(store: Store) -> None:
    def fail(_: Lock) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        alone(store, fail)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    alone(store, lambda _: None)


def test_one_that_is_not_to_wait_does_not(store: Store) -> None:
    done: list[int] = []
    with held_by_another(store):
        started_s = time.monotonic()
        with pytest.raises(Busy):
            alone(store, lambda _: done.append(1), wait=False)
        assert time.monotonic() - started_s < 1
        assert waiting(store) == [] and done == []
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    alone(store, lambda _: done.append(2), wait=False)
    assert done == [2]


def test_a_child_of_the_holder_does_not_hold_the_lock(store: Store) -> None:  # fault 71
    def work(_: Lock) -> None:
        child.append(subprocess.Popen(["sleep", "20"]))

    child: list["subprocess.Popen[bytes]"] = []
    alone(store, work)
    with child[0]:
        with open(f"{store.path}/lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child[0].kill()


def test_those_who_wait_together_are_served_by_one_of_them(store: Store) -> None:
    names = [f"eth{number}" for number in range(10)]
    with held_by_another(store):
        hooks = [hook(store, name) for name in names]
        until(lambda: len(waiting(store)) == 10)
    for one in hooks:
        assert one.communicate()[0] == ""
    assert works(store) == [names]
    assert waiting(store) == []


def test_one_that_came_too_late_to_be_seen_does_its_own_work(store: Store) -> None:
    first = hook(store, "eth0", work_s=0.5)
    until(lambda: Path(store.path, "lock").exists())
    time.sleep(0.2)  # the first one has looked
    late = hook(store, "eth1")
    first.communicate()
    late.communicate()
    assert works(store)[-1] == ["eth0", "eth1"]


@pytest.mark.parametrize("work_s", [0.0, 0.01])
def test_fifty_at_once_end_in_a_work_that_saw_them_all(store: Store, work_s: float) -> None:  # fault 70
    names = [f"eth{number:02}" for number in range(50)]
    hooks = [hook(store, name, work_s=work_s) for name in names]
    for one in hooks:
        assert one.communicate()[0] == ""
        assert one.returncode == 0
    seen = works(store)
    assert seen[-1] == names
    assert 1 <= len(seen) <= 50
    assert all(set(before) <= set(after) for before, after in zip(seen, seen[1:]))
    assert waiting(store) == []


def test_the_wait_is_bounded_and_what_was_left_is_done_by_the_holder(store: Store) -> None:  # fault 68
    holder = hook(store, "eth0", work_s=1.0)
    until(lambda: Path(store.path, "lock").exists())
    time.sleep(0.3)
    started = time.monotonic()
    gave_up = hook(store, "eth1", wait_s=0.2)
    assert gave_up.communicate()[0] == "waiting for the lock took more than 0 s\n"
    assert time.monotonic() - started < 0.7
    assert len(waiting(store)) == 1
    holder.communicate()
    assert works(store) == [["eth0"], ["eth0", "eth1"]]
    assert waiting(store) == []


def test_what_was_left_is_done_by_the_next_one(store: Store) -> None:  # fault 68
    with held_by_another(store):
        assert hook(store, "eth1", wait_s=0.1).communicate()[0] == "waiting for the lock took more than 0 s\n"
    assert len(waiting(store)) == 1
    hook(store, "eth0").communicate()
    assert works(store) == [["eth0", "eth1"]]
    assert waiting(store) == []


def test_the_whole_run_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:  # fault 65
    monkeypatch.setattr(lock_module, "RUN_S", 0.1)
    with pytest.raises(Deadline, match="^the run took more than 0 s$"):
        alone(store, lambda _: time.sleep(5))
    alone(store, lambda _: None)


def test_the_deadline_holds_although_the_client_blocks_its_signal(store: Store) -> None:
    with held_by_another(store):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        try:
            one = hook(store, "eth0", wait_s=0.1)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        assert "took more than" in one.communicate(timeout=10)[0]


def test_a_holder_whose_lock_file_was_unlinked_writes_nothing_and_queues_up_again(store: Store) -> None:  # fault 69
    tries = []

    def work(lock: Lock) -> None:
        tries.append(1)
        if len(tries) == 1:
            os.unlink(f"{store.path}/lock")
            with pytest.raises(Lost):
                lock.check()
        lock.check()

    alone(store, work)
    assert len(tries) == 2


def test_one_that_waited_for_an_unlinked_file_waits_at_the_new_one(store: Store) -> None:  # fault 69
    with held_by_another(store):
        one = hook(store, "eth0")
        until(lambda: waiting(store))
        os.unlink(f"{store.path}/lock")
        newer = open(f"{store.path}/lock", "w")
        fcntl.flock(newer, fcntl.LOCK_EX)
    time.sleep(0.2)  # the old one is free, the new one is not
    assert works(store) == [] and one.poll() is None
    newer.close()
    one.communicate()
    assert works(store) == [["eth0"]]


@pytest.mark.parametrize("wiped", ["lock", "everything"])
def test_one_whose_store_is_wiped_while_it_waits_still_does_its_work(store: Store, wiped: str) -> None:  # fault 60
    with held_by_another(store):
        one = hook(store, "eth0")
        until(lambda: waiting(store))
        if wiped == "everything":
            subprocess.run(["rm", "-r", store.path], check=True)
        else:
            os.unlink(f"{store.path}/lock")
    assert one.communicate()[0] == ""
    assert one.returncode == 0
    assert len(works(store)) == 1
    assert waiting(store) == []


@pytest.mark.parametrize("kind", ["symlink", "dangling", "directory", "fifo"])
def test_a_lock_that_is_no_file_is_refused_and_not_followed(store: Store, kind: str, tmp_path: Path) -> None:  # 64
    path = Path(store.path, "lock")
    target = tmp_path / "target"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
        if kind == "symlink":
            target.write_text("")
    with pytest.raises(OSError) as refusal:
        alone(store, lambda _: pytest.fail("without a lock"))
    assert refusal.value.filename == str(path)
    assert target.exists() == (kind == "symlink")


def test_a_lock_of_somebody_elses_is_refused(store: Store) -> None:  # fault 64
    if os.geteuid():
        pytest.skip("needs root, to give a file away")
    path = Path(store.path, "lock")
    path.write_text("")
    os.chown(path, 12345, 0)
    with pytest.raises(PermissionError, match="is not a regular file that root owns"):
        alone(store, lambda _: pytest.fail("without a lock"))


def test_garbage_among_the_markers_is_cleared_away(store: Store) -> None:
    for name in "garbage", "-1", "99999999-1", f"{os.getpid()}-1":
        Path(store.path, "waiting", name).write_text("")
    alone(store, lambda _: None)
    assert waiting(store) == []
