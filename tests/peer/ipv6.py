"""Measures IPv6 with two providers that drop packets from other prefixes: which addresses work, with both cables and
with one, and whether a connection that cannot work gets an error.

With every peer, the LAN has a network of each provider's prefix. The providers' DHCPv6 servers ask for no renewal
while the peers are measured."""

import contextlib
import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.beds.box import ip, run
from tests.beds.ipv6 import INTERNET, IPV6_FREEBIND, LAN_OF, PORT, PREFIXES, own
from tests.beds.lab import wait_for
from tests.beds.lab.clients6 import BARE, Client, Dhclient, Networkd, NetworkManager
from tests.beds.lab.lab6 import Lab6
from tests.beds.netns import Network

from .peer import uninstall_dhcp_lb

RENEW_S = 900
FAIL_S = 2.0  # a connection that has not come through by then has failed
TOLD_S = 5.0
PREFERRED = {"eth0": 150, "eth1": 100}


class NetworkManagerByMetric(NetworkManager):
    def more(self, interface: str) -> str:
        """Lines of the group [ipv6], which is open, and one by which it connects again when a cable is back."""
        return f"route-metric={PREFERRED[interface]}\n[connection]\nautoconnect=yes\n"


class NetworkManagerWithRules(NetworkManagerByMetric):
    def more(self, interface: str) -> str:
        if interface != "eth0":
            return super().more(interface)
        return (f"route-table=200\nrouting-rule1=priority 20100 from {PREFIXES[interface]}::/48 table 200\n"
                f"routing-rule2=priority 32767 from ::/0 table 200\n{super().more(interface)}")


class NetworkdWithRules(Networkd):
    def more(self, interface: str) -> str:
        if interface != "eth0":
            return ""
        return (f"[RoutingPolicyRule]\nFrom={PREFIXES[interface]}::/48\nTable=200\nPriority=20100\n"
                "[RoutingPolicyRule]\nFamily=ipv6\nTable=200\nPriority=32767\n[IPv6AcceptRA]\nRouteTable=200\n")


class Peer6(NamedTuple):
    """A peer of IPv6. `process`: what takes CPU time while nothing changes, as pgrep -f finds it; "" = the kernel
    alone."""

    name: str
    about: str
    client: type[Client]
    process: str = ""


ALL = [
    Peer6("dhcp-lb", "this program with its monitor; dhclient -6 by ifupdown, the kernel's router advertisements",
          Dhclient, "dhcp-lb monitor"),
    Peer6("nothing", "the same without dhcp-lb; eth1 first", Dhclient),
    Peer6("NetworkManager", "two connections, eth1 preferred by its metric", NetworkManagerByMetric,
          "NetworkManager"),
    Peer6("NetworkManager, rules", "eth0's routes in a table of their own, a rule for eth0's prefix, and a last one "
          "for all", NetworkManagerWithRules, "NetworkManager"),
    Peer6("systemd-networkd", "two .network files", Networkd, "systemd-networkd"),
    Peer6("systemd-networkd, rules", "eth0's routes in a table of their own, a rule for eth0's prefix, and a last one "
          "for all", NetworkdWithRules, "systemd-networkd"),
]


class Outcome(NamedTuple):
    """What became of a connection. `what`: the link whose provider has its source; "" = no provider has its source;
    "told" = it got an error; "nothing" = nothing happened in time."""

    what: str
    after_s: float


class Told(NamedTuple):
    """Connections at once from an address that cannot work: how many got an error, and when the last one did."""

    told: int
    of: int
    last_s: float


class Cut(NamedTuple):
    """What was measured with one cable cut."""

    unbound: "Counter[str]"  # the router's connections with no address chosen, by what became of them
    other: "Counter[str]"  # with an address of the provider that works, from the router and from the LAN
    router: Told
    lan: Told
    astray: int


class Seen6(NamedTuple):
    """What was measured with one peer. `passed`: (router or LAN, link) → how many of `connections` came through with
    an address of that link's provider. `answered`: link → how many from the Internet were answered."""

    connections: int
    passed: dict[tuple[str, str], int]
    unbound: "Counter[str]"
    answered: dict[str, int]
    astray: int
    cpu_ms_a_minute: float | None  # None: no process
    cuts: dict[str, tuple[Cut, Cut]]  # at once, and later


def start(lab: Lab6, peer: Peer6) -> None:
    """Installs the peer, and brings both links up, eth1 first."""
    client = peer.client(lab)
    with lab.inside:
        ip(*[f"address add {prefix}::1/64 dev lan0 nodad" for prefix in LAN_OF.values()])
        if peer.name == "dhcp-lb":
            lab.router.path("/etc/dhcp-lb").write_text(BARE)
            lab.router.sh("dhcp-lb apply; dhcp-lb monitor </dev/null >/dev/null 2>&1 &")
        else:
            uninstall_dhcp_lb(lab.router)
        client.prepare()
        for name in "eth1", "eth0":
            client.up(name)
            lab.route_back(name)
        await_links(lab)
        if peer.name == "dhcp-lb":
            wait_for("the delegated prefixes", lambda: all(
                f"from {prefix}::/56 via" in run("ip", "-6", "route", "show", "table", "252")
                for prefix in LAN_OF.values()))


def await_links(lab: Lab6) -> None:
    def has(name: str) -> bool:
        routes = [line for line in run("ip", "-6", "-o", "route", "show", "table", "all").splitlines()
                  if f"via fe80::1 dev {name} " in line and "linkdown" not in line]
        return routes != [] and own(name) != ""
    wait_for("an address and a router on both links", lambda: all(has(name) for name in PREFIXES), 60)
    time.sleep(2)  # until every program has heard of it
    lab.drain()


def measure(lab: Lab6, peer: Peer6, connections: int, cables: Sequence[str], later_s: float, quiet_s: float) -> Seen6:
    """Measures with both links up, then with each of these cables cut. `quiet_s`: for how long the CPU time is counted
    while nothing comes but unchanged advertisements. `later_s`: how long after a cut it measures once more."""
    with lab.inside:
        lab.astray()
        sources = {("router", name): own(name) for name in PREFIXES} | {
            ("LAN", name): f"{prefix}::2" for name, prefix in LAN_OF.items()}
        passed = {(where, name): by(opened(lab, connections, source, where == "LAN"))[name]
                  for (where, name), source in sources.items()}
        unbound = by(opened(lab, connections))
        answered = {name: asked(lab, connections, f"{prefix}::2") for name, prefix in LAN_OF.items()}
        astray = lab.astray()
        cpu = cpu_of(lab, peer, quiet_s)
        cuts = {}
        for name in cables:
            lab.cable(name, "down")
            now = cut(lab, name, connections)
            time.sleep(later_s)
            cuts[name] = now, cut(lab, name, connections)
            if name != cables[-1]:
                lab.cable(name, "up")
                lab.route_back(name)
                await_links(lab)
        return Seen6(connections, passed, unbound, answered, astray, cpu, cuts)


def cut(lab: Lab6, dead: str, connections: int) -> Cut:
    other, = [name for name in PREFIXES if name != dead]
    lab.astray()
    unbound = by(opened(lab, connections))
    source = own(other)
    assert source, f"{other} has lost its address, because {dead} has no cable"
    works = by(opened(lab, connections, source)) + by(opened(lab, connections, f"{LAN_OF[other]}::2", lan=True))
    router, lan = told(lab, own(dead), False), told(lab, f"{LAN_OF[dead]}::2", True)
    return Cut(unbound, works, router, lan, lab.astray())


def told(lab: Lab6, source: str, lan: bool) -> Told:
    """Opens ten connections at once from this source; none if the source is ""."""
    outcomes = opened(lab, 10, source, lan, TOLD_S) if source else []
    times = [after_s for what, after_s in outcomes if what == "told"]
    return Told(len(times), len(outcomes), max(times, default=0))


def cpu_of(lab: Lab6, peer: Peer6, seconds: float) -> float | None:
    """The CPU time of the peer's process over these seconds, in milliseconds a minute; None if it has none."""
    def so_far() -> float:
        processes = lab.router.run("pgrep", "-f", peer.process).split()
        return sum(int(task.read_text().split()[0]) for process in processes
                   for task in lab.router.path(f"/proc/{process}/task").glob("*/schedstat")) / 1e6

    if not peer.process:
        return None
    before = so_far()
    time.sleep(seconds)
    return (so_far() - before) * 60 / seconds


def by(outcomes: Sequence[Outcome]) -> "Counter[str]":
    return Counter([outcome.what for outcome in outcomes])


def opened(lab: Lab6, number: int, source: str = "", lan: bool = False, within_s: float = FAIL_S) -> list[Outcome]:
    """Opens `number` connections to machines of the Internet, from the router or from the LAN."""
    there = [f"{INTERNET}::{1 + place % 250:x}" for place in range(number)]
    outcomes = attempts([(source, address) for address in there], within_s, lab.lan if lan else None)
    lab.drain()
    return outcomes


def asked(lab: Lab6, number: int, address: str) -> int:
    """Opens `number` connections from machines of the Internet to one of the LAN. Returns how many were answered."""
    with lab.lan:
        server = socket.create_server(("::", PORT), family=socket.AF_INET6, backlog=number)
    with server:
        outcomes = attempts([(f"{INTERNET}::{1 + place % 250:x}", address) for place in range(number)], FAIL_S,
                            lab.internet)
    return by(outcomes)[""]


def attempts(ends: Sequence[tuple[str, str]], within_s: float, network: Network | None = None) -> list[Outcome]:
    """Opens a connection from each first to each second address, all at once, from this thread's network or another
    one."""
    found: list[Outcome] = []
    with network or contextlib.nullcontext(), contextlib.ExitStack() as stack:
        poll, waiting = select.poll(), {}
        for source, address in ends:
            client = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
            client.setblocking(False)
            begin = time.monotonic()
            try:
                if source.startswith(INTERNET):  # the Internet has all of its addresses, but not on a device
                    client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
                if source:
                    client.bind((source, 0))
                client.connect((address, PORT))
            except BlockingIOError:
                poll.register(client, select.POLLOUT)
                waiting[client.fileno()] = client, begin
            except OSError:
                found.append(Outcome("told", time.monotonic() - begin))
        end = time.monotonic() + within_s
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(1000 * left):
                client, begin = waiting.pop(descriptor)
                poll.unregister(descriptor)
                found.append(Outcome(outcome(client), time.monotonic() - begin))
        found += [Outcome("nothing", within_s)] * len(waiting)
    return found


def outcome(client: socket.socket) -> str:
    if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return "told"
    source = client.getsockname()[0]
    return next((name for name, prefix in PREFIXES.items() if source.startswith(f"{prefix}:")), "")
