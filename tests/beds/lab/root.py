"""A Debian system in a directory, which the machines of the lab run from. mmdebstrap builds it once.

The machines only read the directory: each writes into a layer of its own above it (`node.py`). A system begins as a
copy of the lab's usual one of its release, or else of the smallest one, because that takes most of the time."""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .steps import step

CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache"
SMALLEST = ("iproute2",)
PACKAGES = (
    "dnsmasq-base", "ifupdown", "iproute2", "iputils-ping", "isc-dhcp-client", "nftables", "procps",
    "python3",
)


class NotOffered(Exception):
    """There is no root of a release: no mirror has it, or this run must not build it. The message says why, in one
    line."""


def debian_root(suite: str = "", packages: Sequence[str] = PACKAGES) -> Path:
    """The root with these packages, from the cache or built now (a minute). `suite`: "" = the host's. NotOffered if no
    mirror has the suite; with DHCP_LB_RELEASES=own in the environment, for every suite but the host's.

    It is built under another name and renamed, so a build that was killed leaves nothing that looks finished. If
    another run needs the same root at the same time, it waits for the first one.
    """
    suite = suite or host_suite()
    if suite != host_suite() and os.environ.get("DHCP_LB_RELEASES") == "own":
        raise NotOffered(f"needs a system of Debian {suite}, which `tests/run --fast` leaves out here")
    packages = sorted(packages)
    fewer = next((some for some in (PACKAGES, SMALLEST) if {*some} < {*packages}), None)
    copied = debian_root(suite, fewer) if fewer else None
    root = CACHE / f"{suite}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"{root.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            step(f"building a system of Debian {suite} in {CACHE.name}/{root.name}", "a minute")
            unfinished = CACHE / f"{root.name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                build(suite, packages, unfinished, _host_mirrors() if suite == host_suite() else [], copied)
                unfinished.rename(root)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            _tidy()
        os.utime(lock.name)
    return root


def _tidy() -> None:
    """Removes the roots that nobody has used for a month. Each change of a list of packages leaves one behind."""
    for lock in CACHE.glob("*.lock"):
        if lock.stat().st_mtime < time.time() - 30 * 24 * 3600:
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()


def build(suite: str, packages: Sequence[str], target: Path, mirrors: Sequence[str],
          copied: Path | None = None) -> None:
    """Builds a root by mmdebstrap, from nothing or from a copy of another root. Without `mirrors`, mmdebstrap
    takes Debian's. A mirror may be an old copy, whose Release file has expired.

    mmdebstrap mounts the host's /proc and /sys into the root. In a mount namespace of its own, they go with it if it
    is killed: whoever then removes the root must not find them there."""
    copy = f'cp -a {shlex.quote(str(copied))}/. "$1"'
    begin = ["--variant=custom", f"--setup-hook={copy}"] if copied else ["--variant=minbase"]
    argv = ["unshare", "--mount", "mmdebstrap", "--mode=root", *begin, f"--include={','.join(packages)}",
            *(f"--aptopt={setting}" for setting in [*_apt_settings(), 'Acquire::Check-Valid-Until "false"']),
            suite, str(target), *mirrors]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=target.parent)
    if done.returncode:
        errors = [line.removeprefix("E: ") for line in done.stdout.splitlines() if line.startswith("E: ")]
        if any(line.startswith("apt-get update ") for line in errors):
            raise NotOffered(f"needs a system of Debian {suite}, which no mirror gives: {errors[0]}")
        raise RuntimeError(f"no system of Debian {suite} was built:\n{done.stdout[-4000:]}")


def host_suite() -> str:
    """The release of this machine, by its code name."""
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    return "sid"


def _host_mirrors() -> list[str]:
    """Debian's own entries of the host's sources, in one-line style whatever style they are written in."""
    entry = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    return _lines("apt-get", "indextargets", "--format", entry, "Created-By: Packages", "Origin: Debian")


def _apt_settings() -> list[str]:
    """How the host reaches its mirrors: proxies, and whether it accepts a frozen copy of the archive."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    return [line for line in _lines("apt-config", "dump", "--no-empty") if line.startswith(wanted)]


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
