"""The machines and how they are wired; see the figure in `__init__.py`."""

import collections
import contextlib
import functools
import ipaddress
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .node import ENVIRONMENT, CommandFailed, Node, wait_for
from .root import CHECKOUT, debian_root

SERVERS = "198.51.100.0/24"  # one machine that has all of the network's addresses
A_SERVER = "198.51.100.1"
PORT = 80
TRAFFIC = Path(__file__).with_name("traffic.py")
Counts = collections.Counter[str]
_installing = threading.Lock()


class Isp:
    """One provider: its side of the cable, its DHCP server, its way to the Internet.

    As providers do, it forwards only packets from the addresses that it gave, and translates no address. So a packet
    that leaves by the wrong link is lost, and the server sees which link was used.
    """

    def __init__(self, interface: str, weight: int = 1, *, network: str = "", gateway: str = "",
                 pool: str = "", netmask: str = "", lease_s: int = 3600, renew_s: int = 0,
                 options: Mapping[int, str] | None = None, modem: bool = False) -> None:
        """`network`, `gateway` and `pool` (the network of the addresses that it gives out) have defaults: each
        provider has its own network. `renew_s`: when clients renew, if not after half of the lease; after twice that
        time they ask any server. `options`: more options to send, in dnsmasq's form. `modem`: it translates addresses,
        so that several providers may give out the same."""
        self.interface, self.weight = interface, weight
        self.network, self.gateway, self.pool, self.netmask = network, gateway, pool, netmask
        self.lease_s, self.renew_s, self.options, self.modem = lease_s, renew_s, dict(options or {}), modem

    def connect(self, number: int, root: Path, stack: contextlib.ExitStack) -> None:
        """Starts its machine. The lab calls this method of all providers first, so that the machines start at the same
        time."""
        self.number = number
        self.node = Node(f"isp-{self.interface}", root)
        stack.push(self.node)
        self.network = self.network or f"192.0.2.{32 * number}/27"
        network = ipaddress.IPv4Network(self.network)
        self.gateway = self.gateway or str(network[1])
        self.pool = self.pool or str(list(network.subnets())[1])
        self.upstream = f"203.0.113.{4 * number + 2}"  # its own address in the Internet

    def wire(self, router: "Router", internet: Node) -> None:
        """Adds a cable to the router, and a network with the Internet. The cable ends in a bridge, so that the
        provider's side stays up when the cable is pulled."""
        self.router, self.internet = router, internet
        here, there = self.upstream, f"203.0.113.{4 * self.number + 1}"
        self.node.sh(f"""
            sysctl -qw net.ipv4.ip_forward=1
            ip link add customers address 02:00:00:00:01:{self.number:02x} type bridge
            ip link set customers up
            sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.customers.rp_filter=0
        """)
        add_cable(self.node, "upstream", internet, self.interface)
        self.node.sh(f"ip address add {here}/30 dev upstream; ip route add default via {there}")
        internet.sh(f"ip link set {self.interface} up; ip address add {there}/30 dev {self.interface}")
        self.hand_out()
        self.replug()

    def hand_out(self, **changes: Any) -> None:
        """Changes the leases from now on: `changes` are keywords of the constructor. The provider's gateway and
        addresses change, too. Clients get the change when they renew."""
        for name, value in changes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        network = ipaddress.IPv4Network(self.network)
        self.node.sh(f"""
            ip -4 address flush dev customers
            ip address replace {network[1]}/{network.prefixlen} dev customers
            ip address replace {self.gateway}/32 dev customers
            nft flush ruleset
            nft add table ip lab
            nft 'add chain ip lab forward {{ type filter hook forward priority 0; }}'
            nft add rule ip lab forward iifname customers ip saddr != {self.pool} drop
        """)
        self.internet.run("ip", "route", "flush", "dev", self.interface, "proto", "static")
        if self.modem:
            self.node.sh("""
                nft add chain ip lab postrouting '{ type nat hook postrouting priority srcnat; }'
                nft add rule ip lab postrouting oifname upstream masquerade
            """)
        else:
            self.internet.run("ip", "route", "add", self.pool, "via", self.upstream, "proto", "static")
        self.restart_dhcp()

    def restart_dhcp(self) -> None:
        """Restarts the DHCP server. Its leases survive, as in any provider's server."""
        self.stop_dhcp()
        network, pool = ipaddress.IPv4Network(self.network), list(ipaddress.IPv4Network(self.pool).hosts())
        options = {1: self.netmask or str(network.netmask), 3: self.gateway, **self.options}
        if self.renew_s:
            options |= {58: str(self.renew_s), 59: str(2 * self.renew_s)}
        self.node.path("/etc/dnsmasq.conf").write_text("\n".join([
            "port=0", "interface=customers", "bind-dynamic", "no-ping", "dhcp-authoritative", "user=root",
            "dhcp-leasefile=/var/lib/misc/leases", "log-dhcp",
            f"dhcp-range={pool[0]},{pool[-1]},{network.netmask},{self.lease_s}",
            *(f"dhcp-option-force={number},{value}" for number, value in options.items()), "",
        ]))
        self.node.run("dnsmasq", "--pid-file=/run/dnsmasq.pid")

    def stop_dhcp(self) -> None:
        """Stops the DHCP server. No client can renew until `restart_dhcp`."""
        self.node.sh("""
            [ -e /run/dnsmasq.pid ] || exit 0
            pid=$(cat /run/dnsmasq.pid)
            kill "$pid"
            while [ -e "/proc/$pid" ]; do sleep 0.02; done
        """)

    def cut_cable(self) -> None:
        """Takes the carrier away. The router's interface stays, and stays up. No DHCP client is told."""
        self.node.run("ip", "link", "set", "cable", "down")

    def plug_cable(self) -> None:
        self.node.run("ip", "link", "set", "cable", "up")

    def die(self) -> None:
        """The provider forwards nothing any more. Its gateway still answers, and the cable is as it was."""
        self.node.sh("nft add table inet dead; "
                     "nft add chain inet dead forward '{ type filter hook forward priority 0; policy drop; }'")

    def revive(self) -> None:
        """The provider forwards as before."""
        self.node.sh("nft delete table inet dead")

    def unplug(self) -> None:
        """Removes the router's interface, as when a USB modem is pulled."""
        self.node.run("ip", "link", "delete", "cable")

    def replug(self) -> None:
        """Adds the router's interface again, with another index, down and without an address."""
        add_cable(self.node, "cable", self.router, self.interface, f"02:00:00:00:02:{self.number:02x}")
        self.node.run("ip", "link", "set", "cable", "master", "customers")

    def gave(self, address: str) -> bool:
        """Whether this address is in the pool of its customers, or is the one that they are translated to."""
        if self.modem:
            return address == self.upstream
        return ipaddress.IPv4Address(address) in ipaddress.IPv4Network(self.pool)


class Router(Node):
    """The Debian machine that dhcp-lb is installed on."""

    def __init__(self, isps: Sequence[Isp], root: Path) -> None:
        super().__init__("router", root)
        self.isps = isps

    def configure(self) -> None:
        """Configures it as an administrator does, with Debian's defaults for everything that matters to routing."""
        install_program(self)
        self.path("/etc/dhcp-lb").write_text("".join(
            f"{isp.interface} table-{isp.interface} {200 + isp.number} {isp.weight}\n" for isp in self.isps))
        self.path("/etc/network/interfaces").write_text("".join(
            f"allow-hotplug {isp.interface}\niface {isp.interface} inet dhcp\n" for isp in self.isps))
        self.path("/etc/dhcp/dhclient-exit-hooks.d/zz-lab").write_text(
            'echo "$reason $interface ${new_ip_address-}" >>/run/dhcp-events\n')
        self.path("/run/dhcp-events").touch()
        self.path("/etc/nftables.conf").write_text("""
            table ip nat {
                chain postrouting {
                    type nat hook postrouting priority srcnat
                    ip saddr 10.0.0.0/24 oifname != "lan0" masquerade
                }
            }
        """)
        self.sh("""
            sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=2
            sysctl -qp /usr/lib/sysctl.d/10-dhcp-lb.conf
            ip address add 10.0.0.1/24 dev lan0
            nft -f /etc/nftables.conf
        """)

    def dhcp_lb(self, *arguments: str) -> str:
        return self.run("dhcp-lb", *arguments)

    def ifup(self, *interfaces: str) -> None:
        """Brings these links up, or all."""
        for interface in interfaces or [isp.interface for isp in self.isps]:
            self.run("ifup", interface)

    def ifdown(self, interface: str) -> None:
        self.run("ifdown", interface)

    def dhclient(self, interface: str, *arguments: str) -> None:
        """Runs the client by hand, with the files that ifup names. With `-r` the client gives the lease back, with
        `-x` it only ends."""
        self.run("dhclient", "-4", "-i", "-pf", f"/run/dhclient.{interface}.pid",
                 "-lf", f"/var/lib/dhcp/dhclient.{interface}.leases", *arguments, interface)

    def addresses(self, interface: str) -> list[str]:
        return [address["local"] for link in self.ip(f"-4 address show dev {interface}")
                for address in link["addr_info"]]

    def events(self, interface: str) -> list[str]:
        """The client's reports about this interface, as `REASON ADDRESS`. A report is there after all hooks have
        run."""
        lines = (line.split(" ") for line in self.path("/run/dhcp-events").read_text().splitlines())
        return [f"{reason} {address}".strip() for reason, name, address in lines if name == interface]

    @contextlib.contextmanager
    def event(self, interface: str, reason: str, timeout_s: float = 30) -> Iterator[None]:
        """Runs the block, which makes the client report `reason`, and waits until the hooks have run."""
        before = len(self.events(interface))
        yield
        wait_for(f"{reason} of {interface}", lambda: any(
            event.split()[0] == reason for event in self.events(interface)[before:]), timeout_s)


class Prober:
    """The results of a prober's attempts, after its block."""

    def __init__(self) -> None:
        self.connections, self.lookups = Counts(), Counts()

    def failed(self) -> Counts:
        """Connections that got no answer, by the name of the error."""
        return errors(self.connections)


class Held:
    """Connections that stay open."""

    def __init__(self, running: "subprocess.Popen[str]") -> None:
        self._running = running
        self.opened = self._answers()

    def still_alive(self) -> int:
        """The number of connections that carry a byte there and back now."""
        assert self._running.stdin
        print("?", file=self._running.stdin, flush=True)
        return self._answers()["alive"]

    def _answers(self) -> Counts:
        assert self._running.stdout
        return Counts(json.loads(self._running.stdout.readline()))


class Streamed(NamedTuple):
    """What has happened to connections that send all the time, since the last look or the beginning."""

    broken: int  # TCP connections that were ended, or got no answer
    lost: int  # packets that did not come back, of the connection that lost most
    gap_s: float  # the longest time without an answer


class Stream:
    """Connections that send all the time."""

    def __init__(self, running: "subprocess.Popen[str]") -> None:
        self._running = running
        self.opened = self._answer()["opened"]

    def look(self) -> Streamed:
        """Lets the connections pause until everything that they have sent is back, or the time is over."""
        assert self._running.stdin
        print("?", file=self._running.stdin, flush=True)
        return Streamed(**self._answer())

    def _answer(self) -> Any:
        assert self._running.stdout
        return json.loads(self._running.stdout.readline())


class Lab:
    """All the machines, from `with Lab([Isp("eth0"), Isp("eth1", weight=2)])` to the end of the block. The router's
    links are down at first: `lab.router.ifup()`."""

    def __init__(self, isps: Sequence[Isp], root: Path | None = None) -> None:
        self.isps = list(isps)
        self.root = root or debian_root()

    def __enter__(self) -> "Lab":
        with contextlib.ExitStack() as stack:
            for number, isp in enumerate(self.isps):
                isp.connect(number, self.root, stack)
            self.internet, self.lan = Node("internet", self.root), Node("lan", self.root)
            self.router = Router(self.isps, self.root)
            machines = [self.internet, self.lan, self.router]
            for machine in machines:
                stack.push(machine)
            for machine in [*(isp.node for isp in self.isps), *machines]:
                machine.await_ready()
            add_cable(self.lan, "eth0", self.router, "lan0")
            self.lan.sh("ip address add 10.0.0.2/24 dev eth0; ip route add default via 10.0.0.1")
            self.router.run("ip", "link", "set", "lan0", "up")
            self.internet.run("ip", "route", "add", "local", SERVERS, "dev", "lo")
            self.internet.sh("sysctl -qw net.ipv4.conf.all.rp_filter=0")
            # A veth carries the hash of the sender's socket to the router, which balances by it. A real cable does
            # not, so the hash must not be drawn anew when a packet is lost (ip-sysctl.rst).
            for machine in self.lan, self.internet:
                machine.run("sysctl", "-qw", "net.core.txrehash=0")
            for isp in self.isps:
                isp.wire(self.router, self.internet)
            self.router.configure()
            for machine in (self.internet, self.router):
                _start(machine, "serve")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def isp(self, interface: str) -> Isp:
        return next(isp for isp in self.isps if isp.interface == interface)

    def connect(self, machine: Node, count: int, *, device: str = "", source: str = "", at_once: int = 100,
                timeout_s: float = 5, to: str = SERVERS) -> Counts:
        """Opens connections from this machine to the Internet, or to one address there, `at_once` at a time. Returns
        how many went by each provider, and how many failed, by the name of the error."""
        return self.name_isps(_traffic(machine, "connect", count=count, at_once=at_once, network=to,
                                       device=device, source=source, timeout_s=timeout_s))

    def failures(self, machine: Node, count: int, *, per_s: float, timeout_s: float = 2) -> list[float]:
        """Opens so many connections a second from this machine to the Internet. When those began that got no answer,
        by time.monotonic()."""
        running = _python(machine, "pace", count=count, per_s=per_s, network=SERVERS, device="", source="",
                          timeout_s=timeout_s)
        return [float(began_s) for began_s in json.loads(running.communicate()[0])]

    def serve_names(self) -> None:
        """From now on each address of the Internet is a name server, which answers that it knows nothing."""
        self.internet.run("dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-dynamic",
                          "--pid-file=/run/dns.pid")

    def serve(self, machine: Node) -> None:
        """From now on this machine, too, answers each connection to its port 80."""
        _start(machine, "serve")

    def serve_udp(self) -> None:
        """From now on one server of the Internet sends each UDP packet back."""
        _start(self.internet, "echo", address=A_SERVER)

    def connect_to_router(self, interface: str, count: int, timeout_s: float = 5, port: int = PORT) -> Counts:
        """Opens connections from the Internet to the router's address on this link, or from the LAN to the one on
        lan0. Returns how many were `answered`, and how many failed, by the name of the error. An answer by another
        link is lost at its provider."""
        machine, source = (self.lan, "10.0.0.2") if interface == "lan0" else (self.internet, A_SERVER)
        counts = _traffic(machine, "connect", count=count, at_once=100, timeout_s=timeout_s, device="",
                          port=port, network=self.router.addresses(interface)[0], source=source)
        return Counts({"answered" if name == source else name: count for name, count in counts.items()})

    @contextlib.contextmanager
    def prober(self, machine: Node, timeout_s: float = 5) -> Iterator[Prober]:
        """Connects without a pause during the block."""
        prober = Prober()
        running = _start(machine, "probe", network=SERVERS, device="", source="", timeout_s=timeout_s)
        try:
            yield prober
        finally:
            result = json.loads(running.communicate()[0])
            prober.connections = self.name_isps(Counts(result["connections"]))
            prober.lookups = Counts(result["lookups"])

    @contextlib.contextmanager
    def held(self, machine: Node, count: int, timeout_s: float = 5) -> Iterator[Held]:
        """Keeps connections from this machine to the Internet open during the block."""
        running = _python(machine, "hold", count=count, network=SERVERS, device="", source="",
                          timeout_s=timeout_s)
        try:
            yield Held(running)
        finally:
            running.communicate()

    @contextlib.contextmanager
    def stream(self, machine: Node, count: int, *, per_s: float = 20, udp: bool = False, timeout_s: float = 5,
               ) -> Iterator[Stream]:
        """Opens connections from this machine to the Internet, each of which sends `per_s` packets a second during the
        block. UDP needs `serve_udp`."""
        running = _python(machine, "stream", count=count, per_s=per_s, udp=udp, device="", source="",
                          network=f"{A_SERVER}/32" if udp else SERVERS, timeout_s=timeout_s)
        try:
            yield Stream(running)
        finally:
            running.communicate()

    def name_isps(self, by_address: Counts) -> Counts:
        """Answers of the Internet's servers, by the link whose provider has the address."""
        counts = errors(by_address)
        for address, count in (by_address - counts).items():
            isps = [isp.interface for isp in self.isps if isp.gave(address)]
            counts[isps[0] if isps else address] += count
        return counts


def _traffic(machine: Node, job: str, **wanted: Any) -> Counts:
    return Counts(json.loads(_python(machine, job, **wanted).communicate()[0]))


def _start(machine: Node, job: str, **wanted: Any) -> "subprocess.Popen[str]":
    running = _python(machine, job, **wanted)
    assert running.stdout
    if running.stdout.readline() != "ready\n":
        raise CommandFailed(f"{machine.name}: {job} did not start")
    return running


def _python(machine: Node, job: str, **wanted: Any) -> "subprocess.Popen[str]":
    return machine.python(TRAFFIC, job, json.dumps({"port": PORT, **wanted}))


def errors(counts: Counts) -> Counts:
    """Those answers that are the name of an error, not a provider or an address."""
    return Counts({name: count for name, count in counts.items() if name.isupper()})


def add_cable(one: Node, name: str, other: Node, other_name: str, other_address: str = "") -> None:
    """A pair of interfaces, one in each machine and never in the host's network; this machine's is up."""
    address = ["address", other_address] if other_address else []
    subprocess.run(
        ["nsenter", f"--target={one.pid}", "--net", "ip", "link", "add", name, "type", "veth",
         "peer", "name", other_name, *address, "netns", str(other.pid)], check=True)
    one.run("ip", "link", "set", name, "up")


def install_program(router: Node) -> None:
    """Installs the program as the package does, and the code is compiled beforehand."""
    with _installing:
        archive = _installed()
    subprocess.run(["tar", "-x", "-C", router.path("/")], input=archive, check=True)
    router.run("python3", "-m", "compileall", "-q", "/usr/share/dhcp-lb")


@functools.cache
def _installed() -> bytes:
    """An archive of the package's files in their places, which setup.py names. It is made once for all labs of this
    process. It is in memory, so a kill leaves nothing behind."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [sys.executable, "-W", "ignore", "setup.py", "-q", "build", "--build-base", f"{directory}/build",
             "install", "--no-compile", "--root", f"{directory}/root"],
            check=True, cwd=CHECKOUT, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        return subprocess.run(["tar", "-c", "-C", f"{directory}/root", "."], check=True,
                              stdout=subprocess.PIPE).stdout
