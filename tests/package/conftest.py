"""Machines of each Debian release to install the package on: roots in namespaces, see tests/beds/lab/node.py; and
virtual ones, see vm.py."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.beds.lab.node import ENVIRONMENT, Node
from tests.beds.lab.root import CHECKOUT, debian_root

from .build import RELEASES, build

PACKAGES = ("adduser", "apt-utils", "ifupdown", "iproute2", "isc-dhcp-client", "procps", "python3", "ucf")
OLD_VERSION = "1.99~previous"
LAST_OF_2_0 = "61c0a977bfb84d11d0fe6afaab980cc96e4a8e6b"
QUIET = {**ENVIRONMENT, "DEBIAN_FRONTEND": "noninteractive"}
FILE = "/etc/dhcp-lb"
SHIPPED = "/usr/share/dhcp-lb/dhcp-lb"
TABLES = "/etc/iproute2/rt_tables.d/dhcp-lb.conf"
PROTOCOLS = "/etc/iproute2/rt_protos.d/dhcp-lb.conf"
HERE = Path(__file__).parent
PRESEED = HERE.parents[1] / "doc" / "examples" / "preseed.cfg"


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    if os.geteuid():
        pytest.skip("needs root: roots of Debian releases")
    return str(request.param)


@pytest.fixture(scope="session")
def deb(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(release, tmp_path_factory)


@pytest.fixture(scope="session")
def old_deb(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous version: the same program with a lower number."""
    return built(release, tmp_path_factory, OLD_VERSION)


@pytest.fixture(scope="session")
def deb_2_0(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Version 2.0, from the history of the checkout; None if that does not go back so far."""
    found = subprocess.run(["git", "cat-file", "-e", LAST_OF_2_0], cwd=CHECKOUT, capture_output=True)
    return None if found.returncode else built(release, tmp_path_factory, commit=LAST_OF_2_0)


def built(release: str, factory: pytest.TempPathFactory, version: str = "", commit: str = "") -> Path:
    """The package. Of the processes that run tests side by side (pytest-xdist), one builds it for all."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    into = shared / f"built-{release}-{version}{commit[:8]}"
    done = into / "done"
    with open(f"{into}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            done.symlink_to(build(release, into, version, commit=commit).name)
    return done.parent / done.readlink()


@pytest.fixture
def machine(release: str, deb: Path) -> "Iterator[Machine]":
    with Machine("router", debian_root(release, PACKAGES)) as machine:
        machine.run("rm", "-f", *map(str, machine.inside("/etc/dpkg/dpkg.cfg.d/*")))
        machine.put(deb, "/deb")
        yield machine


class Machine(Node):
    """A Debian system to install on, with what a test does to it."""

    def __enter__(self) -> "Machine":
        super().__enter__()
        return self

    def put(self, source: Path, target: str) -> None:
        self.path(target).write_bytes(source.read_bytes())

    def inside(self, pattern: str) -> list[Path]:
        root = self.path("/")
        return [Path("/", path.relative_to(root)) for path in root.glob(pattern.lstrip("/"))]

    def text(self, path: str = FILE) -> str:
        return self.path(path).read_text()

    def quietly(self, *argv: str) -> str:
        """Run it as an unattended installation does; what it says."""
        done = self.try_run(*argv, env=QUIET, timeout_s=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, deb: str = "/deb") -> str:
        return self.quietly("dpkg", "--force-confold", "-i", deb)

    def preseed(self, *lines: str) -> None:
        self.run("debconf-set-selections", stdin="".join(f"dhcp-lb dhcp-lb/{line}\n" for line in lines))

    def answers(self) -> dict[str, str]:
        """What debconf holds of ours."""
        lines = self.run("debconf-show", "dhcp-lb").splitlines()
        return {name.strip("* "): value.strip() for name, _, value in (line.partition(":") for line in lines)
                if not name.strip("* ").startswith("dhcp-lb/bad")}

    def converse(self, argv: Sequence[str], replies: Sequence[tuple[str, str]],
                 env: Mapping[str, str] = ENVIRONMENT) -> str:
        """Run it on a terminal. Each of `replies` is typed once its first part was printed, after what the
        one before it answered. What the terminal showed."""
        ours, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        running = subprocess.Popen(
            ["setsid", "--ctty", *self.argv(*argv)], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**env, "DEBIAN_FRONTEND": "teletype", "TERM": "dumb"})
        os.close(theirs)
        shown, seen, waiting, end = "", 0, list(replies), time.monotonic() + 20
        while True:
            if not select.select([ours], [], [], 0.1)[0]:
                assert time.monotonic() < end, f"waited in vain for {waiting} after:\n{shown}"
                continue
            try:
                part = os.read(ours, 65536)
            except OSError:  # the last process that had the terminal has ended
                break
            shown += part.decode(errors="replace")
            if waiting and waiting[0][0] in shown[seen:] and shown.endswith(" "):
                seen = len(shown)
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        os.close(ours)
        assert running.wait() == 0, shown
        assert not waiting, f"never asked: {waiting} in:\n{shown}"
        return shown

    def snapshot(self) -> dict[str, Any]:
        """All that an installation can leave: files with mode, owner and content, rules and routes."""
        kept = ["/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/log", "/run/network", "/var/lib/ucf/*.[0-9]"]
        prune = " -o ".join(f"-path '{path}'" for path in kept)
        script = rf"""
            find /etc /usr /var /run \( {prune} \) -prune -o ! -name '*.pyc' -printf '%p %y %m %U:%G %l\n'
            find /etc /usr /var /run \( {prune} \) -prune -o -type f ! -name '*.pyc' -exec md5sum '{{}}' +"""
        files = {" ".join(sorted(line.split()[:2])): line for line in self.sh(script).splitlines()}
        return {**files, "rules": self.run("ip", "-4", "-N", "rule"),
                "routes": self.run("ip", "-4", "-N", "route", "show", "table", "all")}
