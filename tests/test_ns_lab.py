"""However the lab ends, it leaves no trace on the machine that runs it."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.lab import CHECKOUT, Isp, Lab, NotOffered, debian_root, root, wait_for

PROGRAM = """
from tests.beds.lab import Isp, Lab
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


def mirror(directory: Path, release: str) -> str:
    """One that has a package, and not what a system needs; the line for sources.list."""
    machine = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    index = directory / "dists" / "sid" / "main" / f"binary-{machine}" / "Packages"
    index.parent.mkdir(parents=True)
    index.write_text("Package: alone\nVersion: 1\nArchitecture: all\nFilename: alone.deb\nSize: 1\n")
    (directory / "dists" / "sid" / "Release").write_text(
        f"Suite: sid\nCodename: sid\nComponents: main\nArchitectures: {machine}\n{release}\nSHA256:\n "
        f"{hashlib.sha256(index.read_bytes()).hexdigest()} {index.stat().st_size} main/binary-{machine}/Packages\n")
    return f"deb [trusted=yes arch={machine}] copy:{directory} sid main"


def test_a_release_that_no_mirror_gives_is_not_offered_in_one_line(tmp_path: Path) -> None:
    line = mirror(tmp_path, "").replace("sid", "another")
    with pytest.raises(NotOffered, match="^needs a system of Debian another, which no mirror gives: .*another.*$"):
        root.build("another", ["python3"], tmp_path / "root", [line])


def test_a_mirror_of_long_ago_is_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "_apt_settings", lambda: [])  # this machine's own may be as patient
    line = mirror(tmp_path, "Date: Mon, 01 Jan 2024 00:00:00 UTC\nValid-Until: Mon, 08 Jan 2024 00:00:00 UTC")
    with pytest.raises((RuntimeError, NotOffered), match="(?s)^no system of .* was built:.*Unable to locate package "):
        root.build("sid", ["python3"], tmp_path / "root", [line])


def test_another_release_is_left_out_when_only_the_own_one_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHCP_LB_RELEASES", "own")
    with pytest.raises(NotOffered, match="--fast"):
        debian_root("another")
    assert debian_root(root.host_suite()) == debian_root()


def test_a_connection_whose_first_packet_is_lost_stays_lost() -> None:
    """If the lab's machines drew their sockets' hashes anew at each retransmission, the next packet would try another
    link: with one provider of three dead, one connection of seven failed."""
    with Lab([Isp("eth0"), Isp("eth1"), Isp("eth2")]) as lab:
        lab.router.ifup()
        lab.isp("eth2").node.run("nft", "insert", "rule", "ip", "lab", "forward", "drop")
        failed = lab.connect(lab.lan, 300, at_once=300, timeout_s=4)["ETIMEDOUT"]
        assert 70 <= failed <= 130, failed  # a third, give or take 3.7 standard deviations
