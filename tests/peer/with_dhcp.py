"""Measures shares, gaps and broken connections, as users see them, with real DHCP clients and servers."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.beds.lab import Isp, Lab, wait_for
from tests.beds.lab.lab import Counts, Held, Router

from .peer import Peer, await_addresses

GATEWAYS = "192.0.2.34", "192.0.2.35"  # of eth1, in turns; neither is its DHCP server's own address


class Gap(NamedTuple):
    """The failures while one thing happened again and again."""

    lookups: int
    failed_lookups: int
    no_route_ms: float  # for each event
    connections: int
    failed_connections: int


class Drained(NamedTuple):
    """What a drained link did. `broken`: how many of its open connections broke, and how many there were. `new`: how
    many of the `opened` new ones went by it all the same."""

    broken: tuple[int, int]
    new: int
    opened: int


class Seen(NamedTuple):
    """The results of one peer. `*_broken`: how many of the open connections broke that should have lived on, and how
    many there were."""

    share: Counts
    answered: dict[str, Counts]  # connections from outside, by the link that they come to
    renewal_broken: tuple[int, int]
    change: Gap
    change_broken: tuple[int, int]
    stale: Counts
    goes: Gap
    goes_broken: tuple[int, int]
    comes: Gap
    comes_broken: tuple[int, int]
    drained: Drained | None
    share_after: Counts
    cable: dict[str, tuple[Counts, Counts]]


def watch(lab: Lab, peer: Peer, rounds: int, connections: int, later_s: float) -> Seen:
    """Measures one peer, with both links up. `later_s`: how long the peer may take to act."""
    share = lab.connect(lab.lan, 10 * connections)
    answered = {isp.interface: lab.connect_to_router(isp.interface, connections, timeout_s=2) for isp in lab.isps}
    with lab.held(lab.lan, connections, timeout_s=2) as held:
        for _ in range(2):
            with renewal(lab, peer):
                pass
        renewal_broken = broken(held, of=held.opened.total())
    change, change_broken, stale = new_gateways(lab, peer, rounds, connections)
    goes, goes_broken, comes, comes_broken = goes_and_comes(lab, peer, rounds, connections)
    drained = drain(lab, peer, connections)
    share_after = lab.connect(lab.lan, 10 * connections, timeout_s=2)
    cable = {isp.interface: cable_cut(lab, isp, connections, later_s) for isp in lab.isps}
    return Seen(share, answered, renewal_broken, change, change_broken, stale, goes, goes_broken, comes, comes_broken,
                drained, share_after, cable)


@contextlib.contextmanager
def renewal(lab: Lab, peer: Peer) -> Iterator[None]:
    """Runs the block, then waits until eth1 has renewed its lease and the peer has had time to act."""
    server = lab.isp("eth1").node
    yield
    before = acknowledged(server.log())
    wait_for("a renewal of eth1", lambda: acknowledged(server.log()) > before,
             timeout_s=150)  # if a packet was lost, the client tries again after a minute
    time.sleep(peer.settle_s)


def acknowledged(log: list[str]) -> int:
    return sum("DHCPACK(" in line for line in log)


def broken(held: Held, of: int) -> tuple[int, int]:
    return max(0, of - held.still_alive()), of


class Gaps:
    """Adds up the failures in the LAN and on the router while the same thing happens again and again."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.times = lab, 0
        self.lookups, self.connections, self.failed = Counts(), 0, 0
        self.no_route_ms = 0.0

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        with self.lab.prober(self.lab.lan, timeout_s=2) as lan, self.lab.prober(self.lab.router, 2) as router:
            begin = time.monotonic()
            yield
            took_ms = (time.monotonic() - begin) * 1e3
        found, total = router.lookups["found"], router.lookups.total()
        self.times += 1
        self.no_route_ms += took_ms * (total - found) / total
        self.lookups += router.lookups
        self.connections += lan.connections.total()
        self.failed += lan.failed().total()

    def sum(self) -> Gap:
        total = self.lookups.total()
        return Gap(total, total - self.lookups["found"], self.no_route_ms / self.times, self.connections, self.failed)


def new_gateways(lab: Lab, peer: Peer, rounds: int, connections: int) -> tuple[Gap, tuple[int, int], Counts]:
    """Gives the provider of eth1 another gateway, again and again. The old gateway works until the client has renewed.
    The last old one is removed. A connection that still leaves by it fails as soon as the router forgets its hardware
    address."""
    isp, gaps = lab.isp("eth1"), Gaps(lab)
    with lab.held(lab.lan, connections, timeout_s=2) as held:
        for number in range(rounds):
            old, isp.gateway = isp.gateway, GATEWAYS[(number + 1) % 2]
            isp.node.run("ip", "address", "replace", f"{isp.gateway}/32", "dev", "customers")
            with gaps.once(), renewal(lab, peer):
                isp.restart_dhcp()
        alive = broken(held, of=held.opened.total())
        isp.node.run("ip", "address", "del", f"{old}/32", "dev", "customers")
        lab.router.run("ip", "neigh", "flush", "dev", "eth1")
    stale = lab.connect(lab.lan, connections, timeout_s=2)
    return gaps.sum(), alive, stale


def goes_and_comes(lab: Lab, peer: Peer, rounds: int, connections: int,
                   ) -> tuple[Gap, tuple[int, int], Gap, tuple[int, int]]:
    """Takes eth1 down and brings it up, and watches the connections by the other link."""
    acts: list[Callable[[Router, str], None]] = [peer.down, peer.up]
    gaps = [Gaps(lab) for _ in acts]
    broken_first: list[tuple[int, int]] = []
    for _ in range(rounds):
        for gap, act in zip(gaps, acts, strict=True):
            with lab.held(lab.lan, connections, timeout_s=2) as held:
                by_other = sum(count for quad, count in held.opened.items() if customer_of(lab, quad) == "eth0")
                with gap.once():
                    act(lab.router, "eth1")
                    time.sleep(peer.settle_s)
                if len(broken_first) < len(acts):
                    broken_first.append(broken(held, of=by_other))
    return gaps[0].sum(), broken_first[0], gaps[1].sum(), broken_first[1]


def drain(lab: Lab, peer: Peer, connections: int) -> Drained | None:
    """Keeps new connections off eth1, and watches those that it has. None if the peer cannot do that."""
    with lab.held(lab.lan, connections, timeout_s=2) as held:
        opened = Counts({name: count for name, count in held.opened.items() if customer_of(lab, name)})
        if not peer.drain(lab.router, "eth1"):
            return None
        new = lab.connect(lab.lan, connections, timeout_s=2)
        lived = broken(held, of=opened.total())
    peer.refill(lab.router, "eth1")
    time.sleep(peer.settle_s)
    return Drained(lived, new["eth1"], new.total())


def customer_of(lab: Lab, answer: str) -> str:
    """The link whose provider has given this address; "" if none has, or if the answer is the name of an error."""
    return next((isp.interface for isp in lab.isps if answer[0].isdigit() and isp.gave(answer)), "")


def cable_cut(lab: Lab, isp: Isp, connections: int, later_s: float) -> tuple[Counts, Counts]:
    """Opens new connections with one cable pulled: as soon as the kernel has noticed, and some seconds later. On a
    busy machine the kernel may need a moment."""
    isp.cut_cable()
    state = lab.router.path(f"/sys/class/net/{isp.interface}/operstate")
    wait_for(f"the kernel to see that {isp.interface} has no carrier", lambda: state.read_text() != "up\n")
    at_once = lab.connect(lab.lan, connections, at_once=connections, timeout_s=2)
    time.sleep(later_s)
    later = lab.connect(lab.lan, connections, at_once=connections, timeout_s=2)
    isp.plug_cable()
    await_addresses(lab.router, isp.interface)
    time.sleep(later_s)
    return at_once, later
