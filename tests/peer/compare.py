"""`tests/compare`: the same things happen to each peer, and the tables of doc/comparison.md come out."""

import argparse
import contextlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from tests.beds.lab import Isp, Lab, debian_root
from tests.beds.lab.lab import Counts
from tests.beds.lab.root import PACKAGES

from . import at_will, daemons, with_dhcp
from .at_will import KINDS, Cost, Costs, Kills, Pairs
from .daemons import Daemons
from .events import Runner
from .flush import Flush
from .lartc import Lartc
from .networkd import Networkd
from .networkmanager import NetworkManager
from .ours import Ours
from .peer import Daemon, Peer, uninstall_dhcp_lb
from .shorewall import Shorewall
from .with_dhcp import GATEWAYS, Gap, Seen

Result = TypeVar("Result")
ALL: list[Peer] = [Ours(), Peer(), Lartc(), Flush(), Shorewall(), NetworkManager(), Networkd()]
QUICK = ["dhcp-lb", "LARTC script"]


class Amount(NamedTuple):
    """How often what is done."""

    connections: int
    rounds: int  # with real DHCP
    costs: int
    pairs: int
    kills: int
    daemons: int
    later_s: float = 8


FULL = Amount(connections=200, rounds=3, costs=10, pairs=50, kills=60, daemons=10)
LITTLE = Amount(connections=30, rounds=1, costs=1, pairs=1, kills=3, daemons=1, later_s=0.5)


class Machines:
    """A lab for each peer, with both links up."""

    def __init__(self, peers: Sequence[Peer], stack: contextlib.ExitStack) -> None:
        self.labs: dict[str, Lab] = {}
        for peer in peers:
            root = debian_root(packages=sorted([*PACKAGES, *peer.packages]))
            isps = [Isp("eth0"), Isp("eth1", weight=2, renew_s=peer.renew_s, gateway=GATEWAYS[0])]
            lab = self.labs[peer.name] = stack.enter_context(Lab(isps, root))
            if peer.name != "dhcp-lb":
                uninstall_dhcp_lb(lab.router)
            peer.install(lab)
            peer.up(lab.router, "eth1", "eth0")


def compare(peers: Sequence[Peer], amount: Amount) -> None:
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    kernel = ".".join(os.uname().release.split(".")[:2])
    print(f"{system}, Linux {kernel}, {os.cpu_count()} CPUs.\n")
    print("\n".join(f"- {peer.name}: {peer.about}" for peer in peers), "\n", flush=True)
    with contextlib.ExitStack() as stack:
        labs = Machines(peers, stack).labs
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))  # two peers at a time, but for what is timed

        def each(measure: Callable[[Peer], Result], of: Sequence[Peer]) -> dict[str, Result]:
            return {peer.name: result for peer, result in zip(of, pool.map(measure, of))}

        print_seen(each(lambda peer: watch(labs[peer.name], peer, amount), peers))
        own_clients = [peer for peer in peers if isinstance(peer, Daemon)]
        print_daemons(dict(zip([peer.name for peer in own_clients], pool.map(
            lambda peer: daemons.measure(labs[peer.name], peer, amount.daemons), own_clients))))
        runners = {peer.name: Runner(labs[peer.name].router, peer) for peer in peers if not isinstance(peer, Daemon)}
        if not runners:
            return
        for runner in runners.values():
            stack.callback(runner.close)
        started = {name: at_will.processes(runner) for name, runner in runners.items()}
        print_costs(at_will.costs(runners, amount.costs), started)
        hooked = [peer for peer in peers if peer.hook]
        print_pairs(each(lambda peer: at_will.pairs(runners[peer.name], amount.pairs), hooked))
        print_kills(each(lambda peer: at_will.kills(runners[peer.name], amount.kills), hooked))


def watch(lab: Lab, peer: Peer, amount: Amount) -> Seen:
    begin = time.monotonic()
    seen = with_dhcp.watch(lab, peer, amount.rounds, amount.connections, amount.later_s)
    print(f"{peer.name}, {time.monotonic() - begin:.0f} s: {seen}", file=sys.stderr, flush=True)
    return seen


def print_seen(seen: dict[str, Seen]) -> None:
    def share(counts: Counts) -> str:
        return f"{counts['eth0'] / counts.total():.0%} : {counts['eth1'] / counts.total():.0%}{failed(counts)}"

    def failed(counts: Counts) -> str:
        lost = counts.total() - counts["eth0"] - counts["eth1"]
        return f", {lost} of {counts.total()} failed" if lost else ""

    def gap(gap: Gap) -> str:
        return (f"{gap.failed_lookups:,} of {gap.lookups:,} ({gap.no_route_ms:.1f} ms); "
                f"{gap.failed_connections} of {gap.connections}")

    def broken(counted: tuple[int, int]) -> str:
        return f"{counted[0]} of {counted[1]}" if counted[1] else "there are none"

    def cable(pair: tuple[Counts, Counts]) -> str:
        return ", ".join(f"{counts.total() - counts['eth0'] - counts['eth1']} of {counts.total()}" for counts in pair)

    def answered(one: Seen) -> str:
        return ", ".join(f"{counts['answered']} of {counts.total()}" for counts in one.answered.values())

    table(["with real DHCP", "share eth0 : eth1, weights 1 : 2", "after eth1 went and came",
           "connections from outside that are answered: by eth0, by eth1",
           "new connections with a cable pulled that fail, at once and later: eth0", "eth1"],
          [[name, share(one.share), share(one.share_after), answered(one), cable(one.cable["eth0"]),
            cable(one.cable["eth1"])] for name, one in seen.items()])
    table(["failed lookups on the router (ms without a route an event); failed connections in the LAN",
           "eth1 renews, another gateway", "eth1 goes", "eth1 comes"],
          [[name, gap(one.change), gap(one.goes), gap(one.comes)] for name, one in seen.items()])
    table(["open connections that break", "renewals without change", "another gateway of eth1",
           "those by eth0 when eth1 goes", "those by eth0 when eth1 comes",
           "new ones that fail when the old gateway of eth1 has gone"],
          [[name, broken(one.renewal_broken), broken(one.change_broken), broken(one.goes_broken),
            broken(one.comes_broken), f"{one.stale.total() - one.stale['eth0'] - one.stale['eth1']} of "
            f"{one.stale.total()}"] for name, one in seen.items()])


def print_daemons(measured: dict[str, Daemons]) -> None:
    if measured:
        table(["of the whole daemon", "ms of CPU a renewal", "processes and threads a renewal",
               "two events at once: wrong end state", "killed while a link comes, started again: wrong after 10 s"],
              [[name, f"{one.cpu_ms:.1f}", f"{one.processes:.1f}", f"{one.pairs_wrong} of {one.times}",
                f"{one.killed_wrong} of {one.times}"] for name, one in measured.items()])


def print_costs(costs: dict[str, Costs], started: dict[str, dict[str, int]]) -> None:
    """Medians, and against dhclient-script without anybody's hook in the same round."""
    def cell(name: str, kind: str, what: str) -> str:
        values = [getattr(cost, what) for cost in costs[name][kind]]
        text = f"{statistics.median(values):.0f}"
        if "nothing" not in costs or name == "nothing":
            return text
        bare: list[Cost] = costs["nothing"][kind]
        ratio = statistics.median([value / getattr(alone, what) for value, alone in zip(values, bare)])
        return f"{text} ({ratio:.1f} ×)"

    for what, title in ("wall_ms", "ms an event, dhclient-script included"), ("cpu_ms", "ms of CPU"):
        table([title, *KINDS], [[name, *[cell(name, kind, what) for kind in KINDS]] for name in costs])
    table(["processes", *KINDS], [[name, *[str(one[kind]) for kind in KINDS]] for name, one in started.items()])


def print_pairs(pairs: dict[str, dict[str, Pairs]]) -> None:
    def cell(one: Pairs) -> str:
        return f"{one.wrong} of {one.times} ({one.no_default} without a route)"

    kinds = list(next(iter(pairs.values())))
    table(["two events at once: wrong end state", *kinds],
          [[name, *[cell(of_kind[kind]) for kind in kinds]] for name, of_kind in pairs.items()])


def print_kills(kills: dict[str, Kills]) -> None:
    table(["killed while a link comes", "before it changed anything", "half done", "done", "no route then",
           "still wrong after the other link's renewal", "and after its own"],
          [[name, *[f"{count} of {one.times}" for count in one[1:]]] for name, one in kills.items()])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in [head, ["---"] * len(head), *rows]:
        print("|", " | ".join(row), "|")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two peers and little of all, to see that it works")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(peer.name for peer in ALL)}")
    wanted = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("compare: only root can make network namespaces; try sudo")
    names = wanted.peers or (QUICK if wanted.quick else [peer.name for peer in ALL])
    if unknown := set(names) - {peer.name for peer in ALL}:
        parser.error(f"{', '.join(sorted(unknown))}: no such peer")
    compare([peer for peer in ALL if peer.name in names], LITTLE if wanted.quick else FULL)


if __name__ == "__main__":
    main()
