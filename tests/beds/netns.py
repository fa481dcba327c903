"""A network namespace in the test's own process. The test neither sees nor touches the machine's network."""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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


class Network:
    """Another network namespace, for `with lan: …`: a new one, or the one at this path."""

    def __init__(self, path: str = "") -> None:
        with nullcontext() if path else network():
            self._descriptor = os.open(path or "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"  # for `ip link set … netns PATH`

    def __enter__(self) -> None:
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _call(LIBC.setns(self._descriptor, CLONE_NEWNET))

    def __exit__(self, *_: object) -> None:
        _call(LIBC.setns(self._before, CLONE_NEWNET))
        os.close(self._before)

    def close(self) -> None:
        """Gives the network up. It ends with the last socket that was opened in it."""
        os.close(self._descriptor)


SERVER = "203.0.113.1"
LAN = "10.0.0.2"


@contextmanager
def router(links: int) -> Iterator[tuple[Network, Network]]:
    """Puts this thread into a router with eth0, eth1, … (192.0.2.2, 192.0.3.2, … and gateways .1) and lan0 (10.0.0.1).
    Yields the LAN and the Internet. The router forwards and masquerades. Each link has a table, 200, 201, …, with its
    default, and no rule leads there yet. A link's provider drops packets that are not from the link's own address."""
    with network():
        lan, internet = Network(), Network()
        try:
            _wire(lan, internet, links)
            yield lan, internet
        finally:
            lan.close()
            internet.close()


def _wire(lan: Network, internet: Network, links: int) -> None:
    run(f"ip link add lan0 type veth peer name eth0 netns {lan.path}")
    batch("link set lan0 up", "address add 10.0.0.1/24 dev lan0")
    with lan:
        batch("link set eth0 up", f"address add {LAN}/24 dev eth0", "route add default via 10.0.0.1")
    with internet:
        nft("table ip provider { chain input { type filter hook prerouting priority -400\n"
            + "".join([f"iifname eth{number} ip saddr != 192.0.{2 + number}.2 drop\n" for number in range(links)])
            + "}\n}")
        batch(f"address add {SERVER}/32 dev lo")
    for number in range(links):
        name, network_ = f"eth{number}", f"192.0.{2 + number}"
        run(f"ip link add {name} type veth peer name {name} netns {internet.path}")
        with internet:
            batch(f"link set {name} up", f"address add {network_}.1/24 dev {name}")
        batch(f"link set {name} up", f"address add {network_}.2/24 dev {name}",
              f"route add default via {network_}.1 dev {name} table {200 + number}")
    for name, value in ("ip_forward", 1), ("conf.all.rp_filter", 0), ("fib_multipath_hash_policy", 1):
        with open(f"/proc/sys/net/ipv4/{name.replace('.', '/')}", "w", encoding="ascii") as file:
            file.write(str(value))
    batch("rule add pref 19900 lookup main suppress_prefixlength 0")
    nft("table ip nat { chain postrouting { type nat hook postrouting priority srcnat\n"
        "iifname lan0 masquerade\n}\n}")


def batch(*commands: str) -> None:
    """Runs these commands of ip(8)."""
    _fed(["ip", "-batch", "-"], "\n".join(commands) + "\n")


def nft(text: str) -> None:
    """Runs nft(8) with this text."""
    _fed(["nft", "-f", "-"], text)


def _fed(argv: list[str], text: str) -> None:
    done = subprocess.run(argv, input=text.encode(), capture_output=True, check=False)
    assert not done.returncode, f"{argv}: {text}: {done.stderr.decode()}"
