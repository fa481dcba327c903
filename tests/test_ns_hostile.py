"""Providers may send any bytes to the real clients. Each provider harms its own link and nothing else.

Several providers have a link to the router, all at once. Their cases are cheap, because most of a case is waiting.
DHCP_LB_HOSTILE_S: the seconds under each client, at the least, instead of 6.
DHCP_LB_HOSTILE_SEED: the seed of an earlier run."""

import collections
import contextlib
import itertools
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.beds.lab import Isp, Lab, Node, hostile
from tests.beds.lab.hostile import MARKER, Cases
from tests.beds.lab.lab import Router, add_cable
from tests.beds.lab.node import ENVIRONMENT
from tests.test_ns_clients import root_of

SECONDS = float(os.environ.get("DHCP_LB_HOSTILE_S", "6"))
SEED = int(os.environ.get("DHCP_LB_HOSTILE_SEED", "0")) or random.randrange(2**32)
LINKS = range(2, 8)  # eth2 to eth7; eth1 is the good one
LEAST = 21  # cases of each link, so that all clients together get 500 answers on a slow machine, too
COMPARED = 5  # of the cases of each link, one in so many

SERVER = Path(hostile.__file__)
QUAD = rb"(-|\d+\.\d+\.\d+\.\d+)"
LEASE = re.compile(rb"(\d+ 1\|1?\|[0-9./ |]{,999}\n)?2 %s \d+ %s %s \d+ \d+ %s(,%s)* [A-Za-z0-9 ,:./'-]*\n" % (
    QUAD, QUAD, QUAD, QUAD, QUAD))
ENDS = {"BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT", "EXPIRE", "FAIL", "NAK", "STOPPED"}

Told = tuple[str, ...]  # how a client ended, and what it told its hooks


class Client:
    """A DHCP client, with the files that a link's own process needs."""

    hooks: str

    def __init__(self, suite: str) -> None:
        self.suite = suite

    def __str__(self) -> str:
        return f"{self.suite}-{type(self).__name__.lower()}"

    def prepare(self, router: Router) -> None:
        raise NotImplementedError

    def ask(self, interface: str, renews: bool) -> str:
        """The command that gets a lease or gives up. It goes on running if it `renews`."""
        raise NotImplementedError


class Dhclient(Client):
    hooks = "/etc/dhcp/dhclient-exit-hooks.d"

    def prepare(self, router: Router) -> None:
        with router.path("/etc/dhcp/dhclient.conf").open("a") as configuration:
            configuration.write("timeout 1; retry 1; initial-interval 1;\n")

    def ask(self, interface: str, renews: bool) -> str:
        return f"dhclient -4 -1 -q -pf /run/{interface}.pid -lf /run/{interface}.leases {interface}"


class Dhcpcd(Client):
    def __init__(self, suite: str) -> None:
        super().__init__(suite)
        self.hooks = "/usr/libexec/dhcpcd-hooks" if suite == "sid" else "/usr/lib/dhcpcd/dhcpcd-hooks"

    def prepare(self, router: Router) -> None:
        """Without udev, and without the seconds in which it probes for its address."""
        with router.path("/etc/dhcpcd.conf").open("a") as configuration:
            configuration.write("nodev\nipv4only\nnoarp\nnoipv4ll\nnodelay\ntimeout 1\nreboot 1\n")

    def ask(self, interface: str, renews: bool) -> str:
        return f"dhcpcd {'' if renews else '-1'} {interface}"


CLIENTS = [Dhclient("bookworm"), Dhcpcd("bookworm"), Dhcpcd("trixie"), Dhcpcd("sid")]


class Hostile:
    """A link with a hostile provider: the server, and the client that asks it."""

    def __init__(self, lab: Lab, node: Node, client: Client, number: int) -> None:
        self.router, self.client = lab.router, client
        self.interface = f"eth{number}"
        server, address = f"192.0.2.{32 * number - 31}", f"192.0.2.{32 * number - 12}"
        add_cable(node, self.interface, self.router, self.interface)
        node.sh(f"ip address add {server}/27 dev {self.interface}; ip link set {self.interface} mtu 9000")
        self.cases = Cases(server, address, SEED + number)
        self.server = node.python(SERVER, self.interface, server, address, str(SEED + number))
        self._wait()
        self.taken = 0
        self.told: dict[int, Told] = {}
        self.end()

    def _wait(self) -> None:
        assert self.server.stdout and self.server.stdout.readline() == "ready\n"

    def case(self, number: int, patience: int = 1) -> Told:
        """Runs one case: one lease or none, and in some cases a renewal."""
        assert self.server.stdin
        self.cases.take(number)
        print(number, file=self.server.stdin, flush=True)
        self._wait()
        renews = self.cases.renews
        done = self.router.try_run("timeout", "-k", "1", str(3 * patience), "sh", "-c",
                                   f"exec {self.client.ask(self.interface, renews)} >/dev/null 2>&1")
        enough = 1 + (renews and self._leases() == 1)
        end = time.monotonic() + 2 * patience
        while self._leases() < enough and renews and time.monotonic() < end:
            time.sleep(0.05)
        told: list[str] = []
        for event in self._events():
            told.append(event)
            enough -= event.split()[0] in ENDS
            if not enough:
                break
        return (str(done.returncode), *told)

    def _events(self) -> list[str]:
        path = self.router.path(f"/run/told-{self.interface}")
        return path.read_text().splitlines() if path.exists() else []

    def _leases(self) -> int:
        return sum(event.split()[0] in ENDS for event in self._events())

    def end(self) -> str:
        """Ends the client and its scripts, and removes what they have left. Returns the routes of ours that were
        there."""
        return self.router.sh(f"""
            ip -4 -N route show table all dev {self.interface} proto 109
            pkill -9 -f '^(dhclient .* {self.interface}$|dhcpcd:? .*{self.interface}\\b)' || :
            while grep -qsz '^interface={self.interface}$' /proc/[0-9]*/environ; do sleep 0.02; done
            ip -4 address flush dev {self.interface}
            ip link set {self.interface} up mtu 9000
            rm -rf /run/{self.interface}.* /run/told-{self.interface} /run/dhcpcd/*{self.interface}* \\
                /var/lib/dhcpcd/*{self.interface}*
        """)

    def next(self) -> tuple[bool, bool]:
        """Counts a case: whether there was a lease, and whether it was used."""
        number, self.taken = self.taken, self.taken + 1
        told = self.case(number)
        assert_no_text_of_the_server(self.router, self.interface)
        used = bool(self.end())
        if number % COMPARED == 0:
            self.told[number] = told
        return any(event.startswith(("BOUND", "REBOOT")) for event in told), used

    def differing(self) -> dict[int, tuple[Told, Told]]:
        """The cases with another result now."""
        found = {}
        for number, before in self.told.items():
            now = self.case(number)
            self.end()
            if now != before:
                found[number] = before, now
        return found


class Watch(threading.Thread):
    """Looks at the good link all the time."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.before, _ = of_the_good_link(lab)
        assert len(self.before) == 6
        self.ended = threading.Event()
        self.looks, self.failure = 0, ""

    def run(self) -> None:
        while not self.ended.wait(0.2) and not self.failure:
            try:
                self._look()
                assert_no_text_of_the_server(self.lab.router)
                self.looks += 1
            except Exception as error:
                self.failure = str(error)

    def _look(self) -> None:
        """If the kernel refuses the multipath because of another link's lease, there is none until it is written
        again. The good link's own rules and routes are never away. The kernel may leave routes out of a list while
        others beside them change, so `ip monitor` tells that none was deleted."""
        for _ in range(20):
            seen, nexthops = of_the_good_link(self.lab)
            assert set(nexthops) <= {"", " weight 2"}, "\n".join([*nexthops, *self.lab.router.log()[-60:]])
            if nexthops and seen == self.before:
                return
            time.sleep(0.05)
        raise AssertionError("\n".join(["eth1 is not as it was:", *seen, *self.lab.router.log()[-60:]]))

    def __enter__(self) -> "Watch":
        self.monitor = subprocess.Popen(self.lab.router.argv(
            "sh", "-c", "exec ip -N -4 -o monitor route rule >/run/monitor"), env=ENVIRONMENT)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()
        self.monitor.kill()
        self.monitor.wait()
        changes = self.lab.router.path("/run/monitor").read_text().splitlines()
        assert any("Deleted" in line for line in changes)
        deleted = [line for line in changes if line.startswith("Deleted") and is_of_the_good_link(line)]
        self.failure = self.failure or "\n".join(deleted)


def of_the_good_link(lab: Lab) -> tuple[list[str], list[str]]:
    """The rules and routes of eth1, and the weight of its nexthop in each multipath. A changed multipath is there
    twice for a moment."""
    listed = lab.router.run("ip", "-N", "-4", "-d", "-batch", "-", stdin="rule show\nroute show table all\n")
    lines = [" ".join(line.split()) for line in re.sub(r"\n\t", " ", listed).splitlines() if "proto 109" in line]
    multipath = [line for line in lines if " table 252 " in line and " metric " not in line]
    found = [re.search(r"via 192\.0\.2\.1 dev eth1( weight \d+)?", line) for line in multipath]
    return (sorted(line for line in lines if is_of_the_good_link(line)),
            [(weight[1] or "").removesuffix(" weight 1") if weight else f"missing in {line}"
             for line, weight in zip(multipath, found, strict=True)])


def is_of_the_good_link(line: str) -> bool:
    """Whether a line of ip(8) is a rule or route of ours, but neither a multipath nor the copy in which a new one is
    tried."""
    return (re.search(r" eth1( |$)| (lookup|table) 200( |$)", line) is not None and "proto 109" in line
            and (" table 252 " not in line or " metric 1000" in line))


def assert_no_text_of_the_server(router: Router, interface: str = "") -> None:
    """No file has text from the server. With `interface`, only the file of that link's lease is looked at."""
    leases = router.path("/run/dhcp-lb/leases")
    for path in [leases / interface] if interface else [*leases.rglob("*"), *leases.parent.rglob("*"),
                                                        *router.path("/etc/iproute2").rglob("*")]:
        assert MARKER not in os.fsencode(path.name)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            content = path.read_bytes()
            assert MARKER not in content, path
            if path.parent.name == "leases" and " " not in path.name:  # that one is not yet written
                assert LEASE.fullmatch(content), content
    assert not [path for path in router.path("/").iterdir() if MARKER in os.fsencode(path.name)]


@pytest.fixture(params=CLIENTS, ids=str)
def links(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, list[Hostile]]]:
    """eth1 is up, with a good provider. The other providers are hostile."""
    client = request.param
    root = root_of(client.suite)
    with Lab([Isp("eth1", weight=2)], root) as lab, Node("hostile", root) as node:
        router = lab.router
        with router.path("/etc/dhcp-lb").open("a") as configuration:
            configuration.writelines(f"eth{number} table-eth{number} {199 + number} 1\n" for number in LINKS)
        router.sh("ip link set eth1 up; ip address add 192.0.2.20/27 dev eth1")
        router.run("dhcp-lb", env={
            "reason": "BOUND", "interface": "eth1", "new_ip_address": "192.0.2.20", "new_routers": "192.0.2.1",
            "new_subnet_mask": "255.255.255.224", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        client.prepare(router)
        router.path(f"{client.hooks}/zz-told").write_text(
            'echo "$reason ${new_ip_address-}" >>"/run/told-$interface"\n')
        yield lab, [Hostile(lab, node, client, number) for number in LINKS]


def until_the_end(link: Hostile, end: float) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    while time.monotonic() < end or counts["answers"] < LEAST:
        bound, used = link.next()
        counts.update(answers=1, bound=bound, used=used)
    return counts


def test_a_hostile_dhcp_server_harms_its_own_link_and_nothing_else(links: tuple[Lab, list[Hostile]]) -> None:
    lab, hostiles = links
    router = lab.router
    print(f"seed {SEED}")
    with ThreadPoolExecutor() as pool:
        with lab.prober(router) as prober, Watch(lab) as watch:
            end = time.monotonic() + SECONDS
            counts = sum(pool.map(until_the_end, hostiles, itertools.repeat(end)), collections.Counter[str]())
        assert not watch.failure, f"seed {SEED}: {watch.failure}"
        # A client sets its address before it calls its hooks. If the address is 127.0.0.5, the kernel finds a nexthop
        # of the lease before, and would have to send from 127.0.0.5.
        assert set(prober.lookups) <= {"found", "EINVAL"}, prober.lookups
        assert "please report" not in "\n".join(router.log())
        assert router.dhcp_lb("apply") == router.dhcp_lb("plan") == ""
        assert lab.connect(router, 20, device="eth1") == {"eth1": 20}
        assert_the_same_without_us(router, hostiles, pool)
    compared = sum(len(link.told) for link in hostiles)
    print(f"{counts['answers']} cases: {counts['bound']} bound, {counts['used']} used; {compared} compared with a "
          f"client that has no hook of ours; {watch.looks} looks at the good link, lookups: {dict(prober.lookups)}")
    assert counts["used"] and counts["bound"] < counts["answers"] or SECONDS < 5


def assert_the_same_without_us(router: Router, hostiles: list[Hostile], pool: ThreadPoolExecutor) -> None:
    """On a busy machine a client may run out of time once, but not again and again."""
    hook = f"{hostiles[0].client.hooks}/dhcp-lb"
    router.run("mv", hook, "/etc/hook")
    differing = list(pool.map(Hostile.differing, hostiles))
    router.run("mv", "/etc/hook", hook)
    for link, found in zip(hostiles, differing, strict=True):
        for number, (before, without) in found.items():
            print(f"again: {link.interface}, case {number}: {before} with us, {without} without us")
            seen_with, seen_without = {before}, {without}
            for _ in range(6):
                if as_good(seen_with, seen_without):
                    break
                seen_with.add(link.case(number, patience=4))
                link.end()
                router.run("mv", hook, "/etc/hook")
                seen_without.add(link.case(number, patience=4))
                link.end()
                router.run("mv", "/etc/hook", hook)
            assert as_good(seen_with, seen_without), \
                f"seed {SEED}, {link.interface}, case {number}: {seen_with} with us, {seen_without} without us"


def as_good(with_us: set[Told], without: set[Told]) -> bool:
    """Whether the result was the same once, or better. If a server is outside the prefix that it hands out, its
    client's unicast renewal reaches it only with us."""
    return any(told[:len(other)] == other
               and all(event.startswith(("RENEW ", "REBIND ")) for event in told[len(other):])
               for told in with_us for other in without)


def test_a_renewal_that_gets_through_with_us_alone_is_no_harm() -> None:
    bound, renewed, failed = ("0", "BOUND 192.0.2.1"), ("0", "BOUND 192.0.2.1", "RENEW 192.0.2.1"), ("2", "FAIL ")
    assert as_good({bound, failed}, {bound}) and as_good({renewed}, {bound})
    assert not as_good({bound}, {renewed}) and not as_good({failed}, {bound})


REQUEST = bytes((1, 1, 6, 0, 1, 2, 3, 4)) + bytes(240)
RENEWAL = REQUEST[:12] + bytes((192, 0, 2, 20)) + REQUEST[16:]


def test_the_hostile_server_sends_what_it_says() -> None:
    cases, again = Cases("192.0.2.1", "192.0.2.20", 1), Cases("192.0.2.1", "192.0.2.20", 1)
    sent, shapes = set(), collections.Counter[str]()
    for number in range(1000):
        cases.take(number)
        shape = cases.first.shape
        shapes[shape.__name__] += 1
        for request in REQUEST, RENEWAL:
            offer, answer = (cases.reply(request, kind) for kind in (hostile.OFFER, hostile.ACK))
            assert len(answer) <= hostile.LONGEST
        again.take(number)
        assert again.reply(RENEWAL, hostile.ACK) == answer != cases.reply(REQUEST, hostile.ACK)
        if shape is hostile.plain:
            offer, answer = (cases.reply(REQUEST, kind) for kind in (hostile.OFFER, hostile.ACK))
            assert offer[240:243] == bytes((53, 1, 2)) and hostile.kind_of(answer) == hostile.ACK
            sent.add(answer)
    assert len(sent) > 500 and any(MARKER in answer for answer in sent)
    assert set(shapes) == {"plain", *(shape.__name__ for shape in hostile.SHAPES)}
