"""A machine for one test, made in a moment. It is for tests that need many runs of the program and no DHCP client.

`@boxed` runs a test in a process with namespaces of its own (network, mounts, processes). The box has its own /run,
/etc, /usr and /dev, and the program is installed. The links are devices without another end. If the test fails in the
box, it fails in pytest. Everything that the test leaves behind ends with its process. The host does not change."""

import contextlib
import ctypes
import functools
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
STORE = Path("/run/dhcp-lb")
CONFIG = Path("/etc/dhcp-lb")
PROGRAM = "/usr/bin/dhcp-lb"
NAMESPACES = 0x00020000 | 0x40000000 | 0x20000000  # CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID: sched.h

SET_UP = """
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 box /mnt
mkdir /mnt/etc /mnt/etc-work /mnt/usr /mnt/usr-work /mnt/var /mnt/var-work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etc-work etc /etc
mount -t overlay -o lowerdir=/usr,upperdir=/mnt/usr,workdir=/mnt/usr-work usr /usr
mount -t overlay -o lowerdir=/var/lib,upperdir=/mnt/var,workdir=/mnt/var-work var /var/lib
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 dev /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/urandom c 1 9
ln -s /proc/self/fd /dev/fd
mkdir /dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
rm -rf /etc/dhcp-lb /etc/iproute2/rt_*.d /usr/share/dhcp-lb
mkdir -p /usr/share/dhcp-lb
cp -r "$1/dhcp_lb" /usr/share/dhcp-lb
cp "$1/dhcp_lb/dhcp-lb" /usr/bin/dhcp-lb
chmod 755 /usr/bin/dhcp-lb
rm -rf /usr/share/dhcp-lb/dhcp_lb/__pycache__
/usr/bin/python3 -I -S -m compileall -q /usr/share/dhcp-lb
ip link set lo up
"""

Test = TypeVar("Test", bound=Callable[..., None])


def boxed(test: Test) -> Test:
    """The test, run in a box of its own."""
    @functools.wraps(test)
    def in_a_box(*arguments: Any, **named: Any) -> None:
        reader, writer = os.pipe()
        sys.stdout.flush()
        outside = os.fork()
        if outside == 0:
            said = "the box ended early"
            try:
                os.close(reader)
                said = _isolated(lambda: test(*arguments, **named))
            except BaseException:
                said = traceback.format_exc()
            finally:
                with contextlib.suppress(OSError):
                    os.write(writer, said.encode("utf-8", "backslashreplace")[:60000])
                sys.stdout.flush()
                os._exit(0)
        os.close(writer)
        try:
            with os.fdopen(reader, "rb") as pipe:
                said = pipe.read().decode()
        except BaseException:
            os.kill(outside, signal.SIGKILL)
            raise
        finally:
            os.waitpid(outside, 0)
        if said:
            pytest.fail(said, pytrace=False)
    return in_a_box  # type: ignore[return-value]


def _isolated(work: Callable[[], None]) -> str:
    """Runs the test as PID 1 of new namespaces, and returns what went wrong; "" = nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NAMESPACES):
        raise OSError(ctypes.get_errno(), "unshare")
    reader, writer = os.pipe()
    inside = os.fork()
    if inside == 0:
        said = ""
        try:
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            subprocess.run(["sh", "-ec", SET_UP, "sh", str(CHECKOUT)], check=True, env=ENVIRONMENT)
            os.chdir("/")
            work()
        except BaseException:
            said = traceback.format_exc()
        finally:
            os.write(writer, said.encode("utf-8", "backslashreplace")[:60000])
            sys.stdout.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(inside, 0)
    return said or (f"the box ended with status {status}" if status else "")


class Given(NamedTuple):
    """A lease: an address in a prefix, the gateway, the DHCP server."""

    address: str
    length: int = 24
    gateway: str = ""
    server: str = ""

    def variables(self) -> dict[str, str]:
        """The environment in which dhclient calls its hooks."""
        mask = 2**32 - 2**(32 - self.length)
        return {"new_ip_address": self.address, "new_subnet_mask": socket.inet_ntoa(mask.to_bytes(4, "big")),
                "new_routers": self.gateway, "new_dhcp_server_identifier": self.server,
                "new_dhcp_lease_time": "3600"}


def given(number: int, host: int = 10, gateway: int = 1) -> Given:
    """A lease in the link's own network: 10.100.NUMBER.0/24, from 250 on 10.101.…"""
    network = f"10.{100 + number // 250}.{number % 250}"
    return Given(f"{network}.{host}", 24, f"{network}.{gateway}", f"{network}.{gateway}")


def run(*argv: str, stdin: str = "", check: bool = True) -> str:
    """Runs a command, and returns what it prints. It must succeed, unless `check` is false."""
    done = subprocess.run(argv, input=stdin, env=ENVIRONMENT, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def ip(*commands: str) -> None:
    """Runs these commands of ip(8), all in one process."""
    run("ip", "-batch", "-", stdin="\n".join(commands) + "\n")


def add_links(number: int) -> list[str]:
    """Devices eth0, eth1, … that are up, and their configuration: table 200 and on, weights 1, 2, 3, 1, …"""
    names = [f"eth{place}" for place in range(number)]
    ip(*[f"link add {name} type veth peer name peer-{name}" for name in names],
       *[f"link set {end}{name} up" for name in names for end in ("", "peer-")])
    configure(names)
    return names


def configure(names: Sequence[str]) -> None:
    """Writes these links to /etc/dhcp-lb. The line of a link does not depend on the others."""
    CONFIG.write_text("".join(
        f"{name} table-{name} {1000 + int(name[3:])} {1 + int(name[3:]) % 3}\n" for name in names))


def environment(reason: str, interface: str, lease: Given | None = None) -> dict[str, str]:
    """The environment in which dhclient calls its hooks, with PATH and locale."""
    return ENVIRONMENT | {"reason": reason, "interface": interface} | (lease.variables() if lease else {})


def set_address(interface: str, lease: Given | None) -> None:
    """Does what dhclient-script does before the hooks: removes the old address, and sets the new one."""
    commands = [f"address flush dev {interface}"]
    if lease:
        commands.append(f"address add {lease.address}/{lease.length} dev {interface}")
    ip(*commands)


def event(reason: str, interface: str, lease: Given | None = None, timeout_s: float = 60) -> None:
    """Runs the hook to its end, and asserts that it prints nothing and that its status is 0."""
    done = subprocess.run([PROGRAM], env=environment(reason, interface, lease), capture_output=True, text=True,
                          timeout=timeout_s, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def start_event(reason: str, interface: str, lease: Given | None = None,
                wrapper: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Starts the hook."""
    return subprocess.Popen([*wrapper, PROGRAM], env=environment(reason, interface, lease),
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def verb(*arguments: str, check: bool = True) -> str:
    """Runs a verb, and returns its output."""
    return run(PROGRAM, *arguments, check=check)


class Kernel(NamedTuple):
    """Rules and routes, a line each as `ip -N -4 -d` prints them, sorted."""

    ours: tuple[str, ...]
    foreign: tuple[str, ...]


def kernel() -> Kernel:
    """The kernel's rules and routes now."""
    listed = run("ip", "-N", "-4", "-d", "-batch", "-", stdin="rule show\nroute show table all\n")
    lines = [re.sub(r"\s+", " ", line).strip() for line in re.sub(r"\n\t", " ", listed).splitlines()]
    ours = [line for line in lines if re.search(r" proto 109( |$)", line)]
    return Kernel(tuple(sorted(ours)), tuple(sorted(set(lines) - set(ours))))


def state() -> dict[str, bytes]:
    """Path → content of our files. What differs between any two runs is left out: the content of leases, which have an
    age, and what a run without work leaves: `settled`, and when clients have said the same again."""
    found = {}
    for place in STORE, Path("/etc/iproute2"):
        for path in sorted(place.rglob("*")):
            if path.is_file() and path != STORE / "settled" and path.parent.name != "renewed" and (
                    place == STORE or "dhcp-lb" in path.name):
                found[str(path)] = b"" if path.parent.name == "leases" else path.read_bytes()
    return found


def lookup(destination: str = "198.51.100.1", source: str = "", oif: str = "") -> bool:
    """Whether the kernel finds a route. It is asked by one message, as `ip route get` asks."""
    body = struct.pack("=8BI", socket.AF_INET, 32, 32 if source else 0, 0, 0, 0, 0, 0, 0)
    body += struct.pack("=HH4s", 8, 1, socket.inet_aton(destination))  # RTA_DST
    if source:
        body += struct.pack("=HH4s", 8, 2, socket.inet_aton(source))  # RTA_SRC
    if oif:
        body += struct.pack("=HHI", 8, 4, socket.if_nametoindex(oif))  # RTA_OIF
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as router:
        router.send(struct.pack("=IHHII", 16 + len(body), 26, 1, 0, 0) + body)  # RTM_GETROUTE, NLM_F_REQUEST
        _, kind, *_ = struct.unpack_from("=IHHII", router.recv(8192))
    return bool(kind != 2)  # NLMSG_ERROR


class Syslog:
    """The system log of the box, from now on. It has room for many lines, because a hook waits for room."""

    def __init__(self) -> None:
        Path("/proc/sys/net/unix/max_dgram_qlen").write_text("100000")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        self.socket.setblocking(False)

    def lines(self) -> list[str]:
        """The lines since the last call, without priority, time and process."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                line = self.socket.recv(65536).decode(errors="replace").rstrip("\0\n")
                found.append(re.sub(r"^<\d+>.{15} dhcp-lb\[\d+\]: ", "", line))
        return found


@contextlib.contextmanager
def watched_lookups(sources: Mapping[str, str] = {}) -> Iterator[list[str]]:
    """Looks up routes all the time, in a process of its own. If a lookup has found no way, the list has a line about
    it at the end."""
    failures: list[str] = []
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        failed = total = 0
        stop = False

        def end(*_: object) -> None:
            nonlocal stop
            stop = True
        signal.signal(signal.SIGTERM, end)
        while not stop:
            failed += not lookup()
            total += 1
            time.sleep(0.0005)
        os.write(writer, f"{failed} {total}".encode())
        os._exit(0)
    os.close(writer)
    try:
        yield failures
    finally:
        os.kill(child, signal.SIGTERM)
        with os.fdopen(reader) as pipe:
            said = "{} of {} lookups failed".format(*pipe.read().split())
        os.waitpid(child, 0)
        print(said)
        if not said.startswith("0 "):
            failures.append(said)


def two_links() -> Kernel:
    """Brings up eth0 and eth1 with leases. Returns the kernel's routing."""
    add_links(2)
    for number in range(2):
        set_address(f"eth{number}", given(number))
        event("BOUND", f"eth{number}", given(number))
    found = kernel()
    assert len(found.ours) == 17
    return found


def hook(**changes: object) -> "subprocess.CompletedProcess[str]":
    """Calls the hook for a renewal of eth0 with a new gateway. `changes`: other arguments of subprocess.run."""
    named: Any = {"env": environment("RENEW", "eth0", given(0, gateway=2)), "stdin": subprocess.DEVNULL, **changes}
    return subprocess.run([PROGRAM], capture_output=True, text=True, timeout=60, **named)


def assert_renewed(before: Kernel) -> None:
    """Asserts that the renewal of `hook` is in force: every route by the old gateway goes by the new one."""
    ours = [line.replace("via 10.100.0.1 ", "via 10.100.0.2 ") for line in before.ours]
    assert kernel() == Kernel(tuple(sorted(ours)), before.foreign)
