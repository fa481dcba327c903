"""Every client of IPv6 of every Debian release leads to the same routing. Clients and servers are real: the kernel
itself, dhclient, dhcpcd, NetworkManager and systemd-networkd; radvd, and ISC's dhcpd, which delegates prefixes.

The clients of a release run at the same time, each in a lab of its own, because most of it is waiting. Each test
begins and ends with both links up. The monitor runs, as it does on any machine with the package."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from dhcp_lb.monitor.looking import LOOK_S
from tests.beds.box import ENVIRONMENT, ip, run
from tests.beds.ipv6 import LAN_OF, PORT, PREFIXES, ours, own
from tests.beds.lab import debian_root, wait_for
from tests.beds.lab.clients6 import BARE, CLIENTS, KINDS, TOLD, Client, Delegating, Sharing
from tests.beds.lab.lab6 import PACKAGES, RENEW_S, Lab6
from tests.test_ns_ipv6 import leads

TABLES = {"eth0": 200, "eth1": 201}
QUIET_S = float(os.environ.get("DHCP_LB_QUIET_S", RENEW_S + 1))
BOTH = """\
19900: from all lookup 254 suppress_prefixlength 7 suppress_ifgroup 109 proto 109
20100: from 2001:db8:a::/64 lookup 200 proto 109
20100: from 2001:db8:b::/64 lookup 201 proto 109
20101: from 2001:db8:a::/64 7 proto 109
20101: from 2001:db8:b::/64 7 proto 109
20200: from all oif eth0 lookup 200 proto 109
20200: from all oif eth1 lookup 201 proto 109
30000: from all lookup 254 suppress_ifgroup 109 proto 109
30100: from all lookup 254 suppress_prefixlength 0 proto 109
32765: from all lookup 252 proto 109
2001:db8:a::/64 dev eth0 table 200 proto 109 metric 1024 pref medium
2001:db8:b::/64 dev eth1 table 201 proto 109 metric 1024 pref medium
7 default from {0} dev lo table 252 proto 109 metric 4294967295 pref medium
7 default from {1} dev lo table 252 proto 109 metric 4294967295 pref medium
default from {0} via fe80::1 dev eth0 table 252 proto 109 metric {2} pref medium
default from {1} via fe80::1 dev eth1 table 252 proto 109 metric {2} pref medium
default table 252 proto 109 metric 512 pref medium nexthop via fe80::1 dev eth0 weight 1 nexthop via fe80::1 dev eth1 \
weight 2
default via fe80::1 dev eth0 table 200 proto 109 metric 1024 pref medium
default via fe80::1 dev eth0 table 252 proto 109 metric 1001 pref medium
default via fe80::1 dev eth1 table 201 proto 109 metric 1024 pref medium
default via fe80::1 dev eth1 table 252 proto 109 metric 1000 pref medium
fe80::/64 dev eth0 table 200 proto 109 metric 1024 pref medium
fe80::/64 dev eth1 table 201 proto 109 metric 1024 pref medium
"""  # 7 is RTN_UNREACHABLE. The metric of a delegated prefix says whether a client has told it.


class Running:
    """A lab whose router has this client, and the monitor."""

    def __init__(self, kind: type[Client], lab: Lab6, stack: ExitStack) -> None:
        self.lab, self.router, self.client = lab, lab.router, kind(lab)
        self.router.path("/etc/dhcp-lb").write_text(self.client.lines)
        with lab.inside:
            Path("/proc/sys/net/unix/max_dgram_qlen").write_text("1000")  # the monitor waits for room
            self.systemd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.systemd.bind(str(self.router.path("/run/notify")))
        self.systemd.setblocking(False)
        monitor = subprocess.Popen(self.router.argv("dhcp-lb", "monitor"),
                                   env=ENVIRONMENT | {"NOTIFY_SOCKET": "/run/notify"})
        stack.callback(monitor.wait)
        stack.callback(monitor.terminate)
        with lab.inside:
            ip("address add fd00::1/64 dev lan0 nodad", *[
                f"address add {LAN_OF[name]}::1/64 dev lan0 nodad" for name in self.client.names_of_lan])
            self.client.prepare()
            for name in PREFIXES:
                self.up(name)
            self.becomes_both()

    def looks(self) -> int:
        """How often the monitor has looked since the last call."""
        found = 0
        with suppress(BlockingIOError):
            while True:
                found += self.systemd.recv(65536).startswith(b"STATUS=")
        return found

    def up(self, interface: str) -> None:
        """From within the router."""
        self.client.up(interface)
        self.lab.route_back(interface)

    def routing(self) -> list[str]:
        """Our rules and routes, but for the pins' (test_ns_pins6.py)."""
        return [line for line in ours() if " fwmark " not in line]

    def want(self) -> list[str]:
        """Those with both links up. An address of DHCPv6 has rules of its own, beside those of its network."""
        lines = BOTH.format(*self.client.prefixes, 513 if self.client.prefixes == TOLD else 512).splitlines()
        for line in run("ip", "-6", "-o", "address", "show", "scope", "global").splitlines():
            _, name, _, address, *_ = line.split()
            if name in PREFIXES and address.endswith("/128"):
                source = address.removesuffix("/128")
                lines += [f"20100: from {source} lookup {TABLES[name]} proto 109", f"20101: from {source} 7 proto 109"]
        return sorted(lines)

    def becomes_both(self) -> None:
        try:
            wait_for("both links", lambda: self.routing() == self.want())
        except TimeoutError:
            raise AssertionError("\n".join([
                "it has", *sorted({*self.routing()} - {*self.want()}), "it lacks",
                *sorted({*self.want()} - {*self.routing()}), *self.router.log()[-40:]])) from None


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def running(request: pytest.FixtureRequest) -> Iterator[list[Running]]:
    root = debian_root(request.param, sorted({*PACKAGES, *CLIENTS}))
    with ThreadPoolExecutor(len(KINDS)) as pool, ExitStack() as stack:
        labs = [Lab6(root) for _ in KINDS]
        stack.callback(lambda: list(pool.map(Lab6.close, labs)))
        list(pool.map(Lab6.open, labs))
        yield list(pool.map(lambda kind, lab: Running(kind, lab, stack), KINDS, labs))


def each(running: list[Running], work: Callable[[Running], None]) -> None:
    """Does this with all of them at the same time, from within the router. All are as before in the end."""
    def named(one: Running) -> None:
        try:
            with one.lab.inside:
                work(one)
                one.becomes_both()
                assert one.lab.astray() == 0
        except Exception as error:
            raise AssertionError(f"{type(one.client).__name__}: {error!r}") from error
    with ThreadPoolExecutor() as pool:
        list(pool.map(named, running))


def test_each_source_leaves_by_its_own_provider_whichever_client_it_is_from(running: list[Running]) -> None:
    def work(one: Running) -> None:
        for name in PREFIXES:
            assert one.lab.connects(100, own(name)) == {name: 100}
            assert one.lab.connects(100, f"{LAN_OF[name]}::2", lan=True) == {name: 100}
            assert one.lab.asks(20, f"{LAN_OF[name]}::2", PORT) == 20
        found = one.lab.connects(100)
        assert found.keys() == {"eth0", "eth1"} and found["eth0"] < found["eth1"]
    each(running, work)


def test_neither_an_advertisement_nor_a_renewal_without_change_costs_a_look_or_writes(running: list[Running]) -> None:
    """DHCP_LB_QUIET_S: for how long, instead of the least in which both routers advertise. The monitor looks once a
    minute without a reason."""
    without = [(looks, list[str]()) for looks in range(1 + int(QUIET_S // LOOK_S))]

    def work(one: Running) -> None:
        for _ in range(4):  # what the links' coming has begun may not have ended
            one.looks()
            before = one.lab.renewals()
            with one.router.capture("ip", "-6", "monitor", "route", "rule") as changes:
                time.sleep(QUIET_S)
            cost = one.looks(), [line for line in changes if "dhcp-lb" in line]
            if cost in without:
                break
        assert cost in without
        renewed.append(one.lab.renewals() - before)

    renewed: list[int] = []
    each(running, work)
    assert sum(renewed) >= 4  # the kernel renews nothing, and NetworkManager not always in time


def test_a_router_that_is_none_any_more_has_no_share_and_the_sources_of_its_link_go_on(running: list[Running]) -> None:
    def work(one: Running) -> None:
        one.lab.is_router("eth0", False)
        wait_for("eth1 alone", lambda: "nexthop" not in "".join(one.routing()))
        assert one.lab.connects(50) == {"eth1": 50}
        assert one.lab.connects(50, own("eth0")) == {"eth0": 50}
        for name in PREFIXES:
            assert one.lab.connects(50, f"{LAN_OF[name]}::2", lan=True) == {name: 50}
        one.lab.is_router("eth0", True)
    each(running, work)


def test_a_cable_that_is_cut_costs_its_own_sources_alone_whatever_the_client_does(
        running: list[Running]) -> None:
    """networkd 252 takes the other link's default, too, until that router advertises again."""
    def work(one: Running) -> None:
        one.lab.cable("eth0", "down")
        for wait_s in 0, 3:
            time.sleep(wait_s)
            assert one.lab.connects(50) == one.lab.connects(50, own("eth1")) == {"eth1": 50}
            assert one.lab.connects(50, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 50}
            assert one.lab.astray() == 0
        one.lab.cable("eth0", "up")
        one.lab.route_back("eth0")
        one.up("eth0")
    each(running, work)


def test_a_link_that_its_client_takes_down_has_no_rules_until_it_is_up(running: list[Running]) -> None:
    def work(one: Running) -> None:
        one.client.down("eth0")
        wait_for("no rule", lambda: f"from {PREFIXES['eth0']}::" not in "".join(
            [line for line in one.routing() if line.startswith("201")]))
        assert one.lab.connects(50) == {"eth1": 50}
        assert one.lab.connects(50, own("eth1")) == {"eth1": 50}
        assert one.lab.connects(50, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 50}
        one.up("eth0")
    each(running, work)


@contextmanager
def telling_nobody(release: str, kind: type[Client]) -> Iterator[tuple[Lab6, Client, Callable[[], list[str]]]]:
    """A router whose client gives the LAN networks and tells nobody whose they are; and what asks for our source
    routes."""
    lab = Lab6(debian_root(release, sorted({*PACKAGES, *CLIENTS})),
               prefixes={"eth0": "2001:db8:a", "eth1": "3fff:0:b"})

    def delegated() -> list[str]:
        lab.router.run("dhcp-lb", "apply")
        return [line for line in ours() if line.startswith("default from ")]
    with closing(lab):
        lab.open()
        lab.router.path("/etc/dhcp-lb").write_text(BARE)
        client = kind(lab)
        with lab.inside:
            client.prepare()
            for name in PREFIXES:
                client.up(name)
            yield lab, client, delegated


def source_route(lab: Lab6, name: str, network: str) -> str:
    return (f"default from {lab.prefixes[name]}:{network}::/64 via fe80::1 dev {name} table 252 proto 109 metric 512 "
            "pref medium")


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_prefix_that_networkd_tells_nobody_of_leaves_by_its_provider(release: str) -> None:
    with telling_nobody(release, Delegating) as (lab, client, delegated):
        both = [source_route(lab, name, "f05") for name in lab.prefixes]
        wait_for("both prefixes", lambda: delegated() == both)
        assert "2001:db8:a:f05::/64 is inferred from " in lab.router.run("dhcp-lb", "status")
        client.down("eth1")
        wait_for("the end of one", lambda: delegated() == both[:1])


@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_prefix_that_networkmanager_tells_nobody_of_leaves_by_its_provider(release: str) -> None:
    with telling_nobody(release, Sharing) as (lab, _, delegated):
        wait_for("the prefix", lambda: delegated() == [source_route(lab, "eth0", "f00")])
        assert "2001:db8:a:f00::/64 is inferred from " in lab.router.run("dhcp-lb", "status")
        assert leads(f"{LAN_OF['eth0']}::2") == "eth0"
