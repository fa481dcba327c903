"""Runs the scripts in notify.d. The monitor hands its notices over and never waits: to a service of systemd's that
runs outside of the monitor's sandbox, or, without systemd, to a new process.

`run()` is the main function of that service and of that process."""

import contextlib
import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..log import log
from ..store import RUN
from . import systemd
from .handover import DIRECTORIES, decode
from .process import PROGRAM

NAMES = re.compile(r"[A-Za-z0-9_-]+")  # run-parts(8)
LOCK = f"{RUN}/notify.lock"
TIMEOUT_S = 10.0
MAX_NOTICE = 1 << 16
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def run() -> int:
    """Runs the scripts for each notice that waits in systemd's socket or on standard input. Returns the exit
    status."""
    descriptor = systemd.handed()
    if descriptor < 0:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for the processes that were started before this one
    for line in _from_socket(descriptor) if descriptor >= 0 else sys.stdin.buffer:
        try:
            told = {f"DHCP_LB_{name}": value for name, value in decode(line).items()}
        except ValueError:
            log("a notice for the scripts in notify.d is not in the form NAME=VALUE, and is left out")
        else:
            tell(told)
    return 0


def tell(told: dict[str, str]) -> None:
    """Runs the scripts, one after the other, with these variables in the environment and the status as JSON on
    standard input. A script that fails or takes more than TIMEOUT_S is logged; after it, its process group is
    killed."""
    paths = list(scripts())
    if not paths:
        return
    status = subprocess.run([PROGRAM, "status", "--json"], capture_output=True, check=False, env=ENVIRONMENT).stdout
    environ = {name: value.encode("utf-8", "surrogateescape") for name, value in {**ENVIRONMENT, **told}.items()}
    for path in paths:
        try:
            script = subprocess.Popen([path], env=environ, cwd="/", stdin=subprocess.PIPE, start_new_session=True,
                                      stdout=subprocess.DEVNULL)
        except OSError as error:
            log(f"{path} is not run: {error.strerror}")
            continue
        try:
            script.communicate(status, TIMEOUT_S)
            if script.returncode:
                log(f"{path} ended with status {script.returncode} at {told.get('DHCP_LB_EVENT', '')}")
        except subprocess.TimeoutExpired:
            log(f"{path} took more than {TIMEOUT_S:.0f} s at {told.get('DHCP_LB_EVENT', '')} and is killed")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)
            script.wait()


def scripts() -> Iterator[Path]:
    """The scripts that must run, in the order of their names. A script that another user than root could have written
    is logged and left out."""
    found: dict[str, Path] = {}
    for directory in map(Path, DIRECTORIES):
        if directory.is_dir():
            for path in directory.iterdir():
                if NAMES.fullmatch(path.name):
                    found[path.name] = path
    for _, path in sorted(found.items()):
        try:
            there = path.stat()
            safe = all([one.st_uid == 0 and not one.st_mode & 0o022 for one in (there, path.parent.stat())])
        except OSError:
            continue  # it has gone, or is a symbolic link to nothing
        if not stat.S_ISREG(there.st_mode) or not there.st_mode & 0o111:
            continue  # for instance a link to /dev/null, which masks a script in /usr/lib
        if safe:
            yield path
        else:
            log(f"{path} is not run: it and its directory must be root's, and writable by nobody else")


def _from_socket(descriptor: int) -> Iterator[bytes]:
    """All datagrams that wait in the socket."""
    os.set_blocking(descriptor, False)
    while True:
        try:
            yield os.read(descriptor, MAX_NOTICE)
        except BlockingIOError:
            return
