"""A machine of the lab that systemd of the root's own release has booted, in seconds: for units, their sandbox and
their order. It has no kernel of its own: that needs a virtual machine (tests/package/vm.py)."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from .node import ENVIRONMENT, SET_UP, CommandFailed, Node, wait_for

# $1 to $3 as in node.py. $4: a new group of processes, in a mount of cgroup2, of which systemd makes its own groups.
OUTSIDE = """
mkdir "$4"
echo 0 >"$4/cgroup.procs"
exec unshare --mount --net --uts --ipc --pid --cgroup --fork --kill-child sh -ec "$5" sh "$1" "$2" "$3"
"""
# Of /proc/sys all but net is the host's, too: no daemon of the machine may write there, nor set the host's clock.
START = """
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind -o ro proc/sysrq-trigger proc/sysrq-trigger
mount -t cgroup2 cgroup2 sys/fs/cgroup
ln -s null dev/console
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -sf /dev/null etc/systemd/system/getty.target
pivot_root . mnt
exec chroot . sh -ec '
    umount -l /mnt
    exec env -i container=lab PATH="$PATH" setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-sys_boot,-mknod \
        /sbin/init </dev/null >/dev/null 2>&1'
"""


class Booted(Node):
    """One such machine, from `with Booted(...)` to the end of the block."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        groups = _groups()
        self.group = groups / f"dhcp-lb-{os.getpid()}-{name}"
        for group in groups.glob("dhcp-lb-*-*"):
            if not Path("/proc", group.name.split("-")[2]).exists():  # the test was killed that had made it
                _remove(group)
        mount_point = root.parent / "mnt"
        mount_point.mkdir(exist_ok=True)
        self._init = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", "-ec", OUTSIDE, "sh", str(mount_point), root.name, name,
             str(self.group), SET_UP + START],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True)

    def __enter__(self) -> "Booted":
        super().__enter__()
        return self

    def await_ready(self) -> None:
        assert self._init.stdout
        said = self._init.stdout.readline()
        if not said:
            raise CommandFailed(f"{self.name} did not come up; what it said is above")
        self.pid = int(said)
        wait_for("systemd", lambda: self.path("/run/systemd/private").exists())
        self.try_run("systemctl", "is-system-running", "--wait")  # a unit that needs hardware may have failed

    def __exit__(self, *_: object) -> None:
        self._init.kill()  # and PID 1 with it, and all with that
        self._init.wait()
        end_s = time.monotonic() + 10
        while self.group.exists() and time.monotonic() < end_s:
            _remove(self.group)
            time.sleep(0.02)


def _remove(groups: Path) -> None:
    """A group of processes with the groups in it, as far as their last processes have ended."""
    for group in sorted(groups.glob("**/"), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()


def why_not() -> str:
    """Why no such machine can be booted here, in one line; "" if it can."""
    try:
        group = _groups() / f"dhcp-lb-{os.getpid()}-tried"
        group.mkdir()
        group.rmdir()
    except (CommandFailed, OSError) as error:
        return f"needs groups of processes for systemd: {error}"
    return ""


def _groups() -> Path:
    """Where cgroup2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise CommandFailed("cgroup2 is mounted nowhere: systemd needs it")
