"""`tests/compare`: lets the same things happen to each peer, and prints the tables of doc/comparison.md."""

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from tests.beds.ipv6 import PREFIXES
from tests.beds.lab import Isp, Lab, debian_root
from tests.beds.lab.clients6 import CLIENTS
from tests.beds.lab.lab import Counts
from tests.beds.lab.lab6 import PACKAGES as PACKAGES6
from tests.beds.lab.lab6 import Lab6
from tests.beds.lab.root import PACKAGES, host_suite

from . import at_will, daemons, ipv6, watching, with_dhcp
from .at_will import KINDS, Cost, Costs, Kills, Pairs
from .daemons import Daemons
from .events import Runner
from .flush import Flush
from .ipv6 import Cut, Peer6, Seen6, Told
from .lartc import Lartc
from .networkd import Networkd
from .networkmanager import NetworkManager
from .ours import Beside, Ours
from .peer import Daemon, Peer, uninstall_dhcp_lb
from .shorewall import Shorewall
from .watching import NAME_SERVER, NEVER, Watched, Watching
from .with_dhcp import GATEWAYS, Drained, Gap, Seen

Result = TypeVar("Result")
ALL: list[Peer] = [Ours(), Peer(), Lartc(), Flush(), Shorewall(), NetworkManager(), Networkd()]
WATCHING = watching.ALL
QUICK = ["dhcp-lb", "LARTC script"]


class Amount(NamedTuple):
    """How often, or for how long, each thing is done."""

    connections: int
    rounds: int  # with real DHCP
    costs: int
    pairs: int
    kills: int
    daemons: int
    deaths: int  # of a provider
    healthy_s: float
    connections6: int
    quiet_s: float  # IPv6, with nothing but unchanged advertisements
    cables6: Sequence[str] = tuple(PREFIXES)
    later_s: float = 8


FULL = Amount(connections=200, rounds=3, costs=10, pairs=50, kills=60, daemons=10, deaths=3, healthy_s=300,
              connections6=300, quiet_s=30)
LITTLE = Amount(connections=30, rounds=1, costs=1, pairs=1, kills=3, daemons=1, deaths=1, healthy_s=1,
                connections6=20, quiet_s=1, cables6=["eth0"], later_s=0.5)


def machines(peers: Sequence[Peer], stack: contextlib.ExitStack, options: Mapping[int, str]) -> dict[str, Lab]:
    """Peer's name → its lab, with both links up. `options`: DHCP options that both providers send."""
    labs = {}
    for peer in peers:
        root = debian_root(packages=sorted([*PACKAGES, *peer.packages]))
        isps = [Isp("eth0", options=options),
                Isp("eth1", weight=2, renew_s=peer.renew_s, gateway=GATEWAYS[0], options=options)]
        lab = labs[peer.name] = stack.enter_context(Lab(isps, root))
        if not isinstance(peer, Ours):
            uninstall_dhcp_lb(lab.router)
        peer.install(lab)
        peer.up(lab.router, "eth1", "eth0")
    return labs


def compare(peers: Sequence[Peer], watching_peers: Sequence[Watching], peers6: Sequence[Peer6], amount: Amount,
            release: str) -> None:
    kernel = ".".join(os.uname().release.split(".")[:2])
    print(f"Debian {release or host_suite()}, Linux {kernel}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}.\n")
    if peers:
        compare_routing(peers, amount)
    if watching_peers:
        compare_monitors(watching_peers, amount)
    if peers6:
        compare_ipv6(peers6, amount, release)


def compare_routing(peers: Sequence[Peer], amount: Amount) -> None:
    print_peers(peers)
    with contextlib.ExitStack() as stack:
        labs = machines(peers, stack, {})
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))  # two peers at a time, but for what is timed

        def each(measure: Callable[[Peer], Result], of: Sequence[Peer]) -> dict[str, Result]:
            return {peer.name: result for peer, result in zip(of, pool.map(measure, of))}

        print_seen(each(lambda peer: watch(labs[peer.name], peer, amount), peers))
        own_clients = [peer for peer in peers if isinstance(peer, Daemon)]
        print_daemons(dict(zip([peer.name for peer in own_clients], pool.map(
            lambda peer: daemons.measure(labs[peer.name], peer, amount.daemons), own_clients))))
        beside = [Beside()] if "dhcp-lb" in labs else []
        labs |= machines(beside, stack, {})
        runners = {peer.name: Runner(labs[peer.name].router, peer)
                   for peer in [*peers, *beside] if not isinstance(peer, Daemon)}
        if not runners:
            return
        for runner in runners.values():
            stack.callback(runner.close)
        started = {name: at_will.processes(runner) for name, runner in runners.items()}
        print_costs(at_will.costs(runners, amount.costs), started)
        hooked = [peer for peer in peers if peer.hook]
        print_pairs(each(lambda peer: at_will.pairs(runners[peer.name], amount.pairs), hooked))
        print_kills(each(lambda peer: at_will.kills(runners[peer.name], amount.kills), hooked))


def compare_monitors(peers: Sequence[Watching], amount: Amount) -> None:
    print_peers(peers)
    with contextlib.ExitStack() as stack:
        labs = machines(peers, stack, {6: NAME_SERVER})
        pool = stack.enter_context(ThreadPoolExecutor())  # all at a time: they wait
        print_watched(dict(zip([peer.name for peer in peers], pool.map(
            lambda peer: watching.measure(labs[peer.name], peer, amount.deaths, amount.healthy_s), peers))))


def compare_ipv6(peers: Sequence[Peer6], amount: Amount, release: str) -> None:
    print_peers(peers)
    root = debian_root(release, sorted({*PACKAGES6, *CLIENTS}))
    labs = [Lab6(root, ipv6.RENEW_S) for _ in peers]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max_workers=3) as pool:
        for lab in labs:
            stack.callback(lab.close)
        list(pool.map(Lab6.open, labs))
        list(pool.map(ipv6.start, labs, peers))
        print_ipv6(dict(zip([peer.name for peer in peers], pool.map(
            lambda lab, peer: ipv6.measure(lab, peer, amount.connections6, amount.cables6, amount.later_s,
                                           amount.quiet_s), labs, peers))))


def print_peers(peers: Sequence[Peer | Peer6]) -> None:
    print("\n".join(f"- {peer.name}: {peer.about}" for peer in peers), "\n", flush=True)


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

    def drained(one: Drained | None) -> str:
        return f"{broken(one.broken)}; {one.new} of {one.opened} new ones by it" if one else "it has no drain"

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
           "those by eth0 when eth1 goes", "those by eth0 when eth1 comes", "all when eth1 is drained",
           "new ones that fail when the old gateway of eth1 has gone"],
          [[name, broken(one.renewal_broken), broken(one.change_broken), broken(one.goes_broken),
            broken(one.comes_broken), drained(one.drained),
            f"{one.stale.total() - one.stale['eth0'] - one.stale['eth1']} of "
            f"{one.stale.total()}"] for name, one in seen.items()])


def print_daemons(measured: dict[str, Daemons]) -> None:
    if measured:
        table(["of the whole daemon", "ms of CPU a renewal", "processes and threads a renewal",
               "two events at once: wrong end state", "killed while a link comes, started again: wrong after 10 s"],
              [[name, f"{one.cpu_ms:.1f}", f"{one.processes:.1f}", f"{one.pairs_wrong} of {one.times}",
                f"{one.killed_wrong} of {one.times}"] for name, one in measured.items()])


def print_costs(costs: dict[str, Costs], started: dict[str, dict[str, int]]) -> None:
    """Prints medians, and median ratios to dhclient-script without any hook in the same round."""
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


def print_watched(watched: dict[str, Watched]) -> None:
    def spoken(values: Sequence[float]) -> str:
        if NEVER in values:
            return "never"
        return f"{statistics.median(values):.1f} s ({min(values):.1f} to {max(values):.1f})"

    table(["new connections by a link", "none after its provider has died", "looks while it is dead that find some",
           "some after its provider works again", "with 1 % loss: how often there were none",
           "its modem boots: seconds with some, of those between the cable and the line"],
          [[name, spoken(one.out_s), f"{one.wrongly_in[0]} of {one.wrongly_in[1]}", spoken(one.back_s),
            f"{one.wrongly_out} in {one.healthy_s:.0f} s", f"{one.boots[0]:.1f} of {one.boots[1]:.1f}"]
           for name, one in watched.items()])


def print_ipv6(seen: dict[str, Seen6]) -> None:
    def through(one: Seen6, where: str) -> str:
        return ", ".join([str(one.passed[where, name]) for name in PREFIXES])

    def share(one: Seen6) -> str:
        return " : ".join([f"{one.unbound[name] / one.connections:.0%}" for name in PREFIXES])

    def failed(counts: Counts) -> int:
        return counts.total() - sum([counts[name] for name in PREFIXES])

    def cpu(one: Seen6) -> str:
        return "no process" if one.cpu_ms_a_minute is None else f"{one.cpu_ms_a_minute:.1f}"

    def told(one: Told) -> str:
        if not one.of:
            return "the address is gone"
        return f"{one.told} of {one.of}" + (f" in {one.last_s:.2f} s" if one.told else "")

    def pair(cuts: tuple[Cut, Cut], say: Callable[[Cut], object]) -> str:
        return "; ".join([str(say(one)) for one in cuts])

    number = next(iter(seen.values())).connections
    table([f"IPv6: of {number} connections", "router, with an address of eth0's provider, of eth1's: through",
           "LAN, the same", "router, no address chosen: share eth0 : eth1, weights 1 : 2", "of these, failed",
           "from the Internet to the LAN, by eth0, by eth1: answered", "packets at the wrong provider",
           "ms of CPU a minute, while nothing comes but advertisements without change"],
          [[name, through(one, "router"), through(one, "LAN"), share(one), str(failed(one.unbound)),
            ", ".join([str(one.answered[link]) for link in PREFIXES]), f"{one.astray:,}", cpu(one)]
           for name, one in seen.items()])
    for link in next(iter(seen.values())).cuts:
        table([f"IPv6: the cable of {link} is cut, at once; later", f"router, no address chosen: of {number} fail",
               f"the other provider's addresses: of {2 * number} fail",
               "its own addresses: told that there is no way: router", "LAN", "packets at the wrong provider"],
              [[name, pair(one.cuts[link], lambda cut: failed(cut.unbound)),
                pair(one.cuts[link], lambda cut: failed(cut.other)),
                pair(one.cuts[link], lambda cut: told(cut.router)),
                pair(one.cuts[link], lambda cut: told(cut.lan)),
                pair(one.cuts[link], lambda cut: f"{cut.astray:,}")]
               for name, one in seen.items()])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in [head, ["---"] * len(head), *rows]:
        print("|", " | ".join(row), "|")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two peers and few rounds, to see that it works")
    all_names = list(dict.fromkeys([peer.name for peer in (*ALL, *WATCHING)] + [peer.name for peer in ipv6.ALL]))
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--monitors", action="store_true", help="only what watches the links")
    only.add_argument("--ipv6", action="store_true", help="only IPv6")
    parser.add_argument("--release", default="", metavar="NAME",
                        help="with --ipv6: of this release of Debian, trixie for instance, instead of this machine's")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {'; '.join(all_names)}")
    wanted = parser.parse_args()
    if wanted.release and not wanted.ipv6:
        parser.error("--release needs --ipv6: the others are compared on this machine's release alone")
    if os.geteuid() != 0:
        sys.exit("compare: only root can make network namespaces; try sudo")
    names = wanted.peers or (QUICK if wanted.quick else all_names)
    if unknown := set(names) - set(all_names):
        parser.error(f"{', '.join(sorted(unknown))}: no such peer")
    compare([peer for peer in ALL if peer.name in names and not wanted.monitors and not wanted.ipv6],
            [peer for peer in WATCHING if peer.name in names and not wanted.ipv6],
            [peer for peer in ipv6.ALL if peer.name in names and not wanted.monitors],
            LITTLE if wanted.quick else FULL, wanted.release)


if __name__ == "__main__":
    main()
