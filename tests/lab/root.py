"""A Debian system in a directory, built once by mmdebstrap: what the machines of the lab run from.

The directory is only ever read: each machine writes into a layer of its own above it (`node.py`).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache"
PACKAGES = (
    "dnsmasq-base", "ifupdown", "iproute2", "iputils-ping", "isc-dhcp-client", "nftables", "procps",
    "python3",
)


def debian_root(suite: str = "", packages: Sequence[str] = PACKAGES) -> Path:
    """The root with these packages, out of the cache or built now (half a minute). Default: the host's suite.

    It is built under another name and renamed, so that a build that was killed leaves nothing that looks
    finished; a second run that needs the same root at the same time waits for the first one's.
    """
    suite = suite or _host_suite()
    packages = sorted(packages)
    root = CACHE / f"{suite}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"{root.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            unfinished = CACHE / f"{root.name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run(_mmdebstrap(suite, packages, unfinished), check=True, cwd=CACHE)
            unfinished.rename(root)
            _tidy()
        os.utime(lock.name)
    return root


def _tidy() -> None:
    """Removes the roots that nobody has used for a month: each change of a list of packages leaves one."""
    for lock in CACHE.glob("*.lock"):
        if lock.stat().st_mtime < time.time() - 30 * 24 * 3600:
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()


def _mmdebstrap(suite: str, packages: Sequence[str], target: Path) -> list[str]:
    """From the mirrors that the host uses, if it runs the same suite."""
    return [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}",
        *(f"--aptopt={setting}" for setting in _apt_settings()),
        suite, str(target), *(_host_mirrors() if suite == _host_suite() else []),
    ]


def _host_suite() -> str:
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
