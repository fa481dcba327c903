"""However the lab ends, it leaves no trace on the machine that runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import CHECKOUT, wait_for

PROGRAM = """
from tests.lab import Isp, Lab
with Lab([Isp("eth0"), Isp("eth1")]) as lab:
    lab.router.ifup()
    with lab.prober(lab.lan):
        machines = [lab.router, lab.lan, lab.internet, *(isp.node for isp in lab.isps)]
        print(*(machine.pid for machine in machines), flush=True)
        FATE
"""


SEEN = """
hostname
ip -o link | cut -d, -f1; ip -4 address; ip rule; ip route; nft list ruleset; ls -A /run/netns
cat /proc/mounts
ls -A /run; stat -c %y /etc /etc/resolv.conf /etc/hostname /etc/iproute2
"""


def host() -> str:
    """The parts of this machine that a careless lab could change."""
    return subprocess.run(SEEN, shell=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture
def untouched() -> Iterator[None]:
    before = host()
    yield
    assert host() == before


@pytest.mark.parametrize("fate, status", [("pass", 0), ("raise SystemExit(3)", 3)], ids=["end", "failure"])
def test_it_vanishes_at_its(untouched: None, fate: str, status: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.replace("FATE", fate)], cwd=CHECKOUT,
                          stdout=subprocess.PIPE, text=True)
    assert done.returncode == status
    assert_gone(done.stdout)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_it_vanishes_when_it_is_killed_by(untouched: None, name: str) -> None:
    running = subprocess.Popen([sys.executable, "-c", PROGRAM.replace("FATE", "import time; time.sleep(60)")],
                               cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               start_new_session=True)
    assert running.stdout
    machines = running.stdout.readline()
    os.killpg(running.pid, signal.Signals[name])
    running.wait(timeout=20)
    assert_gone(machines)


def assert_gone(machines: str) -> None:
    assert len(machines.split()) == 5
    for pid in machines.split():
        wait_for(f"machine {pid} to end", lambda: not Path(f"/proc/{pid}").exists(), timeout_s=5)
