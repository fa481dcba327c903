"""A machine of the lab: a process with namespaces of its own, in a Debian root of its own.

A machine leaves nothing on the host: no name in /run/netns, no mount, no interface. Its PID 1 ends when its standard
input ends. The kernel closes that input even if the process that built the lab is killed. With PID 1 all processes of
the machine end, and with them its namespaces, interfaces, mounts and files.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}

# $1: an empty directory to mount things on, beside the root that $2 names. $3: host name. Says the process id as the
# host knows it, and ends in the machine's root.
SET_UP = """
read pid _ </proc/self/stat
echo "$pid"
mount -t tmpfs -o mode=755 lab "$1"
cd "$1"
mkdir upper work root
mount -t overlay -o lowerdir="../$2",upperdir=upper,workdir=work lab root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
hostname "$3"
echo "$3" >etc/hostname
"""
# $4: PID 1.
START = """
mkdir run/network
echo 1000 >proc/sys/net/unix/max_dgram_qlen  # of the log, whose reader may be late
pivot_root . mnt
exec chroot . sh -ec 'umount -l /mnt; ip link set lo up; exec python3 -I -S -c "$1"' sh "$4"
"""

PID_1 = """
import os, select, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # daemons that lost their parent leave no zombie
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
os.chmod("/dev/log", 0o666)
syslog = open("/var/log/syslog", "ab", buffering=0)
print("ready", flush=True)
while True:
    ready, _, _ = select.select([log, 0], [], [])
    if log in ready:
        syslog.write(log.recv(65536).rstrip(bytes([0, 10])) + bytes([10]))
    elif not os.read(0, 1):
        break
"""


class CommandFailed(Exception):
    """A command in a machine of the lab ended with a status other than 0. The message has all its output."""


def wait_for(what: str, happened: Callable[[], bool], timeout_s: float = 30) -> None:
    """Calls `happened` every few milliseconds until it is true. TimeoutError after `timeout_s`; it says what did not
    come."""
    end = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.01)


class Node:
    """One machine, from `with Node(...)` to the end of the block."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        mount_point = root.parent / "mnt"
        mount_point.mkdir(exist_ok=True)
        self._init = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork",
             "sh", "-ec", SET_UP + START, "sh", str(mount_point), root.name, name, PID_1],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C reaches the lab, which then ends its machines in order
        )

    def await_ready(self) -> None:
        assert self._init.stdout
        self.pid = int(self._init.stdout.readline())
        if self._init.stdout.readline() != b"ready\n":
            raise CommandFailed(f"{self.name} did not come up; what it said is above")

    def __enter__(self) -> "Node":
        self.await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._init.stdin
        self._init.stdin.close()
        self._init.wait()

    def path(self, inside: str) -> Path:
        """A file of this machine, as the test sees it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def argv(self, *argv: str) -> list[str]:
        """The host's command that runs this one in the machine."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--uts", "--ipc", "--pid", "--root",
                "--wd", "--", *argv]

    def try_run(self, *argv: str, stdin: str = "", env: Mapping[str, str] = ENVIRONMENT,
                timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end, whatever its status. stdout and stderr are apart."""
        return subprocess.run(self.argv(*argv), input=stdin, env=env, timeout=timeout_s,
                              capture_output=True, text=True)

    def run(self, *argv: str, stdin: str = "", env: Mapping[str, str] = ENVIRONMENT) -> str:
        """Runs a command and returns its output. CommandFailed, with all its output, if it fails."""
        done = self.try_run(*argv, stdin=stdin, env=env)
        if done.returncode != 0:
            said = f"status {done.returncode}\n{done.stdout}{done.stderr}"
            raise CommandFailed(f"{self.name}: {' '.join(argv)}: {said}")
        return done.stdout

    def sh(self, script: str) -> str:
        """Runs a piece of shell in the machine. It stops at its first failure."""
        return self.run("sh", "-ec", script)

    def ip(self, command: str) -> Any:
        """The output of `ip -json`, decoded."""
        return json.loads(self.run("ip", "-json", *command.split()) or "[]")

    def python(self, program: Path, *arguments: str) -> "subprocess.Popen[str]":
        """Starts the host's own Python in this machine's network, with pipes to talk to it. It ends with the
        machine."""
        return subprocess.Popen(
            ["nsenter", f"--target={self.pid}", "--net", "--pid",
             sys.executable, "-I", str(program), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True,
        )

    @contextlib.contextmanager
    def capture(self, *argv: str) -> Iterator[list[str]]:
        """Collects the lines that a command (`ip monitor`) prints during the block. The list has them after the
        block."""
        lines: list[str] = []
        before = self._listeners()
        running = subprocess.Popen(self.argv("sh", "-c", '"$@" & read _; kill $!', "sh", *argv),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        try:
            wait_for(f"{' '.join(argv)} to listen", lambda: self._listeners() > before)
            yield lines
        finally:
            lines += running.communicate("\n")[0].splitlines()

    def _listeners(self) -> int:
        """The number of rtnetlink sockets that are subscribed to changes in this network."""
        table = Path(f"/proc/{self.pid}/net/netlink").read_text().splitlines()
        return sum(protocol == "0" and int(groups, 16) != 0
                   for _, protocol, _, groups, *_ in (line.split() for line in table[1:]))

    def log(self) -> list[str]:
        """The system log of this machine, without priorities and times."""
        lines = self.path("/var/log/syslog").read_text(errors="replace").splitlines()
        return [line.partition(">")[2] for line in lines]
