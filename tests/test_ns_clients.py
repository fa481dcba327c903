"""Every DHCP client of every Debian release leads to the same routing. The clients and the servers are real.

Each test begins and ends with both links up. The wanted routing is the same text for all clients (two_links.py).
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.beds.lab import Isp, Lab, NotOffered, debian_root, wait_for
from tests.beds.lab.lab import Router
from tests.beds.lab.node import ENVIRONMENT

from tests.beds.two_links import BOTH, ETH0, assert_all_by, assert_shared, becomes

PACKAGES = {"dhcpcd-base", "dnsmasq-base", "ifupdown", "iproute2", "isc-dhcp-client", "nftables", "procps", "python3",
            "udhcpc"}
LAST_RESORT = "blackhole default metric 9999"  # behind all that clients leave in main, so that it never counts
MISSING = {"sid": {"isc-dhcp-client"}}


class Client:
    """A DHCP client, as Debian's ifupdown starts it."""

    others = "dhclient udhcpc dhcpcd"  # which ifup would take
    keeps_address_without_carrier = True
    keeps_address_when_stopped = True
    keeps_address_when_started = True
    compares = True  # its hook starts nothing for a renewal in the same words

    def __init__(self, suite: str) -> None:
        self.suite = suite

    def __str__(self) -> str:
        return f"{self.suite}-{type(self).__name__.lower()}"

    def prepare(self, router: Router) -> None:
        router.sh(f"for other in {self.others}; do rm -f $(command -v $other); done")

    def up(self, router: Router, *interfaces: str) -> None:
        router.ifup(*interfaces)

    def release(self, router: Router, interface: str) -> None:
        router.ifdown(interface)

    def renew(self, router: Router, interface: str) -> None:
        """Most clients get the time of the renewal from the server."""

    def start(self, router: Router, interface: str) -> None:
        """Starts it again, after it was stopped or killed."""
        raise NotImplementedError

    def stop(self, router: Router, interface: str) -> None:
        raise NotImplementedError

    def kill(self, router: Router, interface: str) -> None:
        raise NotImplementedError

    def unplugged(self, router: Router, interface: str) -> None:
        """Does what systemd does then, and ifupdown's udev rule for a link with allow-hotplug."""
        router.sh(f"reason=look dhcp-lb hook networkd; ifdown --force {interface}")

    def plugged(self, router: Router, interface: str) -> None:
        router.ifup(interface)


class Dhclient(Client):
    others = "udhcpc dhcpcd"
    keeps_address_when_stopped = False

    def start(self, router: Router, interface: str) -> None:
        router.dhclient(interface)

    def stop(self, router: Router, interface: str) -> None:
        router.dhclient(interface, "-x")

    def kill(self, router: Router, interface: str) -> None:
        router.sh(f"kill -9 $(cat /run/dhclient.{interface}.pid)")


class Dhcpcd(Client):
    others = "dhclient udhcpc"
    keeps_address_without_carrier = False

    def prepare(self, router: Router) -> None:
        super().prepare(router)
        # Without udev, and without the five seconds in which it asks whether another host has the address.
        router.sh("""
            printf 'nodev\nipv4only\nnoarp\ndenyinterfaces lan0\n' >>/etc/dhcpcd.conf
            for directory in /usr/lib/dhcpcd/dhcpcd-hooks /usr/libexec/dhcpcd-hooks; do
                cp /etc/dhcp/dhclient-exit-hooks.d/zz-lab $directory/
            done
        """)

    def start(self, router: Router, interface: str) -> None:
        router.run("dhcpcd", interface)

    def stop(self, router: Router, interface: str) -> None:
        router.run("dhcpcd", "-x", interface)

    def kill(self, router: Router, interface: str) -> None:
        router.sh(f"kill -9 $(cat /run/dhcpcd/{interface}.pid)")


class DhcpcdAlone(Dhcpcd):
    """It gives itself an address when no server does. That takes it some ten seconds."""

    def prepare(self, router: Router) -> None:
        super().prepare(router)
        router.run("sed", "-i", "/^noarp$/d", "/etc/dhcpcd.conf")


class DhcpcdMaster(Dhcpcd):
    """One daemon for all interfaces. It finds them by itself."""

    def up(self, router: Router, *interfaces: str) -> None:
        if not router.path("/run/dhcpcd/pid").exists():
            router.run("dhcpcd")
        else:
            router.run("dhcpcd", "-n", *interfaces)

    def release(self, router: Router, interface: str) -> None:
        """The one of Debian 12 releases all leases or none."""
        router.run("dhcpcd", "-k", *([] if self.suite == "bookworm" else [interface]))

    def start(self, router: Router, interface: str) -> None:
        router.run("dhcpcd")

    def stop(self, router: Router, interface: str) -> None:
        router.run("dhcpcd", "-x")

    def kill(self, router: Router, interface: str) -> None:
        router.sh("kill -9 $(cat /run/dhcpcd/pid)")

    def unplugged(self, router: Router, interface: str) -> None:
        pass

    plugged = unplugged


class Udhcpc(Client):
    """With the line that dhcp-lb(8) gives in its script."""

    others = "dhclient dhcpcd"
    keeps_address_when_started = False
    compares = False

    def prepare(self, router: Router) -> None:
        super().prepare(router)
        router.sh("""
            cat >>/etc/udhcpc/default.script <<'EOF'
reason=$1 /usr/bin/dhcp-lb hook udhcpc </dev/null || :
echo "$(echo "$1" | tr a-z A-Z) $interface ${ip-}" >>/run/dhcp-events
EOF""")

    def renew(self, router: Router, interface: str) -> None:
        router.sh(f"kill -USR1 $(cat /run/udhcpc.{interface}.pid)")

    def start(self, router: Router, interface: str) -> None:
        router.run("udhcpc", "-n", "-p", f"/run/udhcpc.{interface}.pid", "-i", interface)

    def stop(self, router: Router, interface: str) -> None:
        router.sh(f"kill $(cat /run/udhcpc.{interface}.pid)")

    def kill(self, router: Router, interface: str) -> None:
        router.sh(f"kill -9 $(cat /run/udhcpc.{interface}.pid)")


CLIENTS = [Dhclient("bookworm"), Dhclient("trixie"), Udhcpc("bookworm"),
           *(kind(suite) for suite in ("bookworm", "trixie", "sid") for kind in (Dhcpcd, DhcpcdMaster))]


def root_of(suite: str) -> Path:
    """With all clients that this release has."""
    return debian_root(suite, sorted(PACKAGES - MISSING.get(suite, set())))


def with_roots(clients: Sequence[Client]) -> list[Client]:
    """Those whose release can be had; the tests of each client alone say why another one cannot."""
    found = []
    for client in clients:
        with suppress(NotOffered):
            root_of(client.suite)
            found.append(client)
    return found


class Running:
    """A lab whose router has this client."""

    def __init__(self, client: Client, stack: ExitStack) -> None:
        self.client = client
        self.lab = stack.enter_context(Lab([Isp("eth0"), Isp("eth1", weight=2, renew_s=2)], root_of(client.suite)))
        self.router, self.isp = self.lab.router, self.lab.isp("eth1")
        client.prepare(self.router)
        self.router.sh(f"ip route add {LAST_RESORT}")
        client.up(self.router, "eth0", "eth1")
        becomes(self.lab, BOTH)

    @contextmanager
    def renewal(self, reason: str = "RENEW") -> Iterator[None]:
        """Runs the block, then waits until eth1 has renewed its lease."""
        with self.router.event("eth1", reason):
            yield
            self.client.renew(self.router, "eth1")


@pytest.fixture(scope="module", params=CLIENTS, ids=str)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(request.param, stack)


@pytest.fixture
def link(running: Running) -> Iterator[Running]:
    """Two links. They are up before and after the test."""
    becomes(running.lab, BOTH)
    yield running
    becomes(running.lab, BOTH)
    assert_shared(running.lab)
    assert not [line for line in running.router.log() if "dhcp-lb" in line and "report it" in line]


def test_a_renewal_without_change_writes_nothing_whatever_main_has(link: Running) -> None:
    link.router.sh("ip route add default via 10.0.0.2 metric 5; dhcp-lb apply; logger all is said")
    wait_for("what apply has to say", lambda: any("all is said" in line for line in link.router.log()))
    logged = len(link.router.log())
    with link.router.capture("ip", "-4", "monitor", "route", "rule") as changes:
        with link.renewal():
            pass
    log = link.router.log()[logged:]
    link.router.sh("ip route del default metric 5; dhcp-lb apply")
    assert [line for line in changes if "dhcp-lb" in line] == []
    assert [line for line in log if " dhcp-lb[" in line] == []


@contextmanager
def counted(router: Router) -> Iterator[Callable[[], int]]:
    """How often the program was started since the last call. It does its work as ever."""
    router.sh("""
        cp -p /usr/bin/dhcp-lb /usr/bin/dhcp-lb.real
        printf '#!/bin/sh\necho >>/run/starts\nexec /usr/bin/dhcp-lb.real "$@"\n' >/usr/bin/dhcp-lb.new
        chmod +x /usr/bin/dhcp-lb.new
        mv /usr/bin/dhcp-lb.new /usr/bin/dhcp-lb
    """)
    try:
        yield lambda: int(router.sh("touch /run/starts; wc -l </run/starts; rm /run/starts"))
    finally:
        router.run("mv", "/usr/bin/dhcp-lb.real", "/usr/bin/dhcp-lb")


@contextmanager
def monitored(router: Router) -> Iterator[None]:
    """A monitor that has seen to all there is, and says so."""
    running = subprocess.Popen(router.argv("dhcp-lb", "monitor"), env=ENVIRONMENT)
    try:
        wait_for("the monitor", lambda: router.path("/run/dhcp-lb/watched").exists())
        # Its word does not hold for what was written just now.
        router.sh("""
            while [ ! -e /run/dhcp-lb/seen-leases ] || [ /run/dhcp-lb/leases -nt /run/dhcp-lb/seen-leases ]; do
                kill -HUP $(cat /run/dhcp-lb/monitor)
                sleep 0.3
            done
        """)
        yield
    finally:
        router.sh("kill $(cat /run/dhcp-lb/monitor)")
        running.wait()


def test_a_renewal_in_the_same_words_starts_nothing_beside_a_monitor(link: Running) -> None:
    renewed, kept = [link.router.path(f"/run/dhcp-lb/{name}/eth1") for name in ("renewed", "leases")]
    with monitored(link.router), counted(link.router) as starts:
        for _ in range(3):
            renewed.unlink(missing_ok=True)
            with link.renewal():
                pass
            wait_for("the time of the renewal to be noted", renewed.exists)
        assert starts() == 0 if link.client.compares else starts() >= 3
        with link.renewal():
            link.isp.hand_out(options={6: "9.9.9.9"})
        wait_for("other words to start it", lambda: starts() > 0)
        with link.renewal():
            link.isp.hand_out(options={})
        wait_for("the old words", lambda: " 9.9.9.9 " not in kept.read_text())


def test_a_new_gateway_is_used_from_the_renewal_on(link: Running) -> None:
    with link.renewal():
        link.isp.hand_out(gateway="192.0.2.34")
    becomes(link.lab, BOTH.replace("192.0.2.33", "192.0.2.34"))
    with link.renewal():
        link.isp.hand_out(gateway="192.0.2.33")


def test_a_default_of_option_121_without_a_router_leads_into_the_device(link: Running) -> None:
    with link.renewal():
        link.isp.hand_out(options={121: "0.0.0.0/0,0.0.0.0"})
    becomes(link.lab, BOTH.replace("via 192.0.2.33 dev eth1", "dev eth1"))
    with link.renewal():
        link.isp.hand_out(options={})


def test_its_name_servers_are_known_from_the_renewal_on(link: Running) -> None:
    for servers in "198.51.100.53,9.9.9.9", "198.51.100.54":
        with link.renewal():
            link.isp.hand_out(options={6: servers})
        kept = link.router.path("/run/dhcp-lb/leases/eth1")
        wait_for("the lease to be kept", lambda: kept.read_text().split(" ")[-2] == servers)
    with link.renewal():
        link.isp.hand_out(options={})


def test_a_new_address_takes_the_place_of_the_old_one(link: Running) -> None:
    old, pool = link.router.addresses("eth1"), link.isp.pool
    with link.renewal("BOUND"):
        link.isp.hand_out(pool="192.0.2.40/29")
    becomes(link.lab, BOTH)
    assert link.router.addresses("eth1") != old
    with link.renewal("BOUND"):
        link.isp.hand_out(pool=pool)


def test_a_released_lease_takes_its_link_out(link: Running) -> None:
    link.client.release(link.router, "eth1")
    if link.router.addresses("eth0"):
        becomes(link.lab, ETH0)
        assert_all_by(link.lab, "eth0")
    else:
        becomes(link.lab, "")
    link.client.up(link.router, "eth1")


def test_without_carrier_the_other_link_is_used_and_then_both(link: Running) -> None:
    link.isp.cut_cable()
    assert_all_by(link.lab, "eth0")
    if not link.client.keeps_address_without_carrier:
        becomes(link.lab, ETH0)
    link.isp.plug_cable()


def test_a_client_that_ends_keeps_the_link_if_it_keeps_the_address(link: Running) -> None:
    for end, kept in (link.client.kill, True), (link.client.stop, link.client.keeps_address_when_stopped):
        with link.lab.held(link.lab.lan, 50) as held:
            with link.router.capture("ip", "-4", "monitor", "route", "rule") as changes:
                end(link.router, "eth1")
                becomes(link.lab, BOTH if kept else ETH0)
                before = len(link.router.events("eth1"))
                link.client.start(link.router, "eth1")
                wait_for("a lease", lambda: any(event.startswith(("BOUND", "REBOOT"))
                                                for event in link.router.events("eth1")[before:]))
            if kept and link.client.keeps_address_when_started:
                assert [line for line in changes if "dhcp-lb" in line] == []
                assert held.still_alive() == 50
        becomes(link.lab, BOTH)


def test_an_unplugged_device_takes_its_link_out_and_brings_it_back(link: Running) -> None:
    link.isp.unplug()
    link.client.unplugged(link.router, "eth1")
    becomes(link.lab, ETH0)
    assert_all_by(link.lab, "eth0")
    link.isp.replug()
    link.client.plugged(link.router, "eth1")


def expire(client: Client) -> None:
    """A lease of 20 s is the shortest that dhcpcd accepts. dnsmasq has none so short, so nft rewrites it."""
    with ExitStack() as stack:
        link = Running(client, stack)
        link.isp.node.sh("""
            nft add chain ip lab leases '{ type filter hook output priority 0; }'
            nft add rule ip lab leases udp sport 67 @th,2072,32 set 20 udp checksum set 0
        """)
        with link.renewal():
            pass
        link.isp.stop_dhcp()
        becomes(link.lab, ETH0, timeout_s=60)
        assert_all_by(link.lab, "eth0")
        assert link.router.addresses("eth1") == []
        link.isp.restart_dhcp()
        becomes(link.lab, BOTH, timeout_s=60)


def test_an_expired_lease_takes_its_link_out_until_the_server_is_back() -> None:
    """All clients run at the same time, because most of the test is waiting."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(expire, with_roots(CLIENTS)))


def fall_back(client: Client) -> None:
    with ExitStack() as stack:
        link = Running(client, stack)
        link.isp.stop_dhcp()
        link.isp.cut_cable()
        becomes(link.lab, ETH0)
        link.isp.plug_cable()
        wait_for("a link-local address", lambda: any(quad.startswith("169.254.")
                                                     for quad in link.router.addresses("eth1")), timeout_s=60)
        link.router.sh("while ! ip route show default dev eth1 | grep -q 169.254; do sleep 0.1; done")
        link.router.sh("reason=look dhcp-lb hook networkd")
        becomes(link.lab, ETH0)
        assert_all_by(link.lab, "eth0")
        link.isp.restart_dhcp()
        becomes(link.lab, BOTH, timeout_s=90)


def test_an_address_that_dhcpcd_gives_itself_is_no_lease() -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(fall_back, with_roots([DhcpcdAlone(suite) for suite in ("bookworm", "trixie", "sid")])))
