"""A network namespace in the test's own process. The test neither sees nor touches the machine's network."""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network() -> Iterator[None]:
    """Puts this thread, and the processes and threads that it starts, into a new and empty network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(LIBC.unshare(CLONE_NEWNET))
        try:
            run("ip link set lo up")
            yield
        finally:
            _call(LIBC.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def _call(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(command: str) -> str:
    """Runs a command, whose words are separated by spaces, and returns its output."""
    done = subprocess.run(command.split(), capture_output=True, check=False)
    assert not done.returncode, f"{command}: {done.stderr.decode()}"
    return done.stdout.decode("utf-8", "surrogateescape")


def ip(command: str) -> Any:
    """The output of `ip -N -j`, decoded."""
    return json.loads(run(f"ip -4 -N -j {command}") or "[]")


def snapshot() -> list[str]:
    """All rules and routes of this network in the words of ip(8)."""
    return sorted(run("ip -4 -N -d rule").splitlines()) + sorted(run("ip -4 -N -d route show table all").splitlines())
