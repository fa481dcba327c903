"""Two providers of IPv6, the Internet behind them, a LAN with addresses of both, and the router between them. The
router is a box (`boxed`), with the program installed.

Provider eth0 has 2001:db8:a::/48 and weight 1, provider eth1 has 2001:db8:b::/48 and weight 2. Each advertises the
first /64 of its prefix on its link, and has delegated the rest to the router. It drops packets from any other source
(BCP 38)."""

import contextlib
import errno
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .box import CONFIG, ip, run, verb
from .held import Held
from .netns import Network

PREFIXES = {"eth0": "2001:db8:a", "eth1": "2001:db8:b"}
LAN_OF = {name: f"{prefix}:f00" for name, prefix in PREFIXES.items()}
INTERNET = "2001:db8:ffff"
PORT = 80
ROUTER_ADVERTISEMENT, PREFIX_INFORMATION, NAME_SERVERS = 134, 3, 25  # RFC 4861, RFC 8106
SERVERS = {name: f"{prefix}:5::53" for name, prefix in PREFIXES.items()}  # name servers behind each provider's router
DISCOVERY = "nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert"
IPV6_FREEBIND = 78  # uapi/linux/in6.h
ON_LINK, AUTONOMOUS = 0x80, 0x40
LINES = ("eth0 table-eth0 200 1 prefix6=2001:db8:a::/48\n"
         "eth1 table-eth1 201 2 prefix6=2001:db8:b::/48\n")


def sysctl(**values: object) -> None:
    """Sets net.ipv6.conf.INTERFACE.KEY in this network for each INTERFACE__KEY=VALUE."""
    for name, value in values.items():
        Path(f"/proc/sys/net/ipv6/conf/{name.replace('__', '/')}").write_text(str(value))


def advertise(internet: Network, interface: str, prefix: str = "", *, router_s: int = 1800, valid_s: int = 7200,
              preferred_s: int = 3600, flags: int = ON_LINK | AUTONOMOUS, length: int = 64,
              servers: Sequence[str] = ()) -> None:
    """Sends one router advertisement of the provider on its link, with a prefix ("" = its own) and these name
    servers."""
    network = socket.inet_pton(socket.AF_INET6, prefix or f"{PREFIXES[interface]}::")
    body = struct.pack("!BBHBBHLL", ROUTER_ADVERTISEMENT, 0, 0, 64, 0, router_s, 0, 0)
    body += struct.pack("!BBBBLLL", PREFIX_INFORMATION, 4, length, flags, valid_s, preferred_s, 0) + network
    if servers:
        body += struct.pack("!BBHL", NAME_SERVERS, 1 + 2 * len(servers), 0, router_s)
        body += b"".join([socket.inet_pton(socket.AF_INET6, server) for server in servers])
    with internet, socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        scope = socket.if_nametoindex(interface)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.bind(("fe80::1", 0, 0, scope))
        sender.sendto(body, ("ff02::1", 0, 0, scope))


class Providers:
    """The networks around the router, and what a test can do to them."""

    def __init__(self, internet: Network, lan: Network, server: socket.socket) -> None:
        self.internet, self.lan, self.server = internet, lan, server

    def advertise(self, interface: str, prefix: str = "", **changes: Any) -> None:
        advertise(self.internet, interface, prefix, **changes)

    def serve_names(self) -> None:
        """Starts a name server of each provider, in the Internet. It answers each question with REFUSED."""
        with self.internet:
            ip(*[f"address add {server}/128 dev lo nodad" for server in SERVERS.values()])
            server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            server.bind(("::", 53))

        def serve() -> None:
            while True:
                data, control, _, sender = server.recvmsg(2048, 256)
                answer = data[:2] + b"\x81\x85" + data[4:6] + bytes(6) + data[12:]
                source = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, control[0][2][:16] + bytes(4)
                server.sendmsg([answer], [source], 0, sender)
        threading.Thread(target=serve, daemon=True).start()

    def die(self, interface: str, family: str = "ip6", wholly: bool = False) -> None:
        """The provider drops every packet of a family. Its router still answers its neighbours, unless it is `wholly`
        dead."""
        rules = [f"iifname {interface} drop\n"]
        if family == "ip6" and not wholly:
            rules.insert(0, f"iifname {interface} icmpv6 type {{ {DISCOVERY} }} accept\n")
        with self.internet:
            run("nft", "-f", "-", stdin=f"table {family} dead {{\nchain in {{\n"
                f"type filter hook prerouting priority -500\n{''.join(rules)}}}\n}}\n")

    def revive(self, family: str = "ip6") -> None:
        """Both providers forward as before."""
        with self.internet:
            run("nft", "delete", "table", family, "dead")

    def introduce(self, interface: str, prefix: str = "") -> None:
        """The provider advertises until the router has an address."""
        for _ in range(300):
            if not own(interface):
                self.advertise(interface, prefix)
                time.sleep(0.01)
                continue
            return
        raise AssertionError(f"{interface} has no address: {run('ip', '-6', 'address')}")

    def cable(self, interface: str, state: str) -> None:
        """Takes the carrier `down`, and waits until the kernel has seen it; or brings it `up`. No program is told."""
        with self.internet:
            run("ip", "link", "set", interface, state)
            if state == "up":
                self._furnish(interface)
        while state == "down" and " state UP " in run("ip", "-o", "link", "show", "dev", interface):
            time.sleep(0.001)  # another thread of the kernel notices it: net/core/link_watch.c

    def plug(self, interface: str) -> None:
        """Makes a new device on the router that is connected to the provider."""
        run("ip", "link", "add", interface, "type", "veth", "peer", "name", interface, "netns", self.internet.path)
        with self.internet:
            run("ip", "link", "set", interface, "up")
            self._furnish(interface)
        sysctl(**{f"{interface}__accept_ra": 2})
        ip(f"link set {interface} up", f"address add fe80::2/64 dev {interface} nodad")

    def _furnish(self, interface: str) -> None:
        ip(f"address replace fe80::1/64 dev {interface} nodad",
           f"route replace {PREFIXES[interface]}::/48 via fe80::2 dev {interface}")

    def astray(self) -> int:
        """How many packets have come to a provider with a source outside of its prefix, since the last call."""
        with self.internet:
            listed = run("nft", "reset", "counters", "table", "ip6", "bcp38")
        return sum(int(line.split()[1]) for line in listed.splitlines() if "packets" in line)

    def connects(self, number: int, source: str = "", lan: bool = False, oif: str = "",
                 timeout_s: float = 2.0) -> "Counter[str]":
        """Opens `number` connections to different machines, one after the other. Returns how many came through by each
        link, or failed, by the error. The link is the one whose provider has the source."""
        found: Counter[str] = Counter()
        for place in range(number):
            with contextlib.ExitStack() as stack:
                if lan:
                    stack.enter_context(self.lan)
                client = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
                client.settimeout(timeout_s)
                try:
                    if oif:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, oif.encode())
                    if source:
                        client.bind((source, 0))
                    client.connect((f"{INTERNET}::{1 + place % 250:x}", PORT))
                    own = client.getsockname()[0]
                    found[next(name for name, prefix in PREFIXES.items() if own.startswith(f"{prefix}:"))] += 1
                except TimeoutError:
                    found["timeout"] += 1
                except OSError as error:
                    found[error.strerror or str(error)] += 1
        self.drain()
        return found

    @contextlib.contextmanager
    def held(self, number: int, source: str) -> Iterator[Held]:
        """Opens `number` connections from the LAN to different machines, and keeps them open during the block."""
        pairs = []
        try:
            for place in range(number):
                with self.lan:
                    client = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
                client.settimeout(2)
                client.bind((source, 0))
                client.connect((f"{INTERNET}::{1 + place % 250:x}", PORT))
                pairs.append((client, self.server.accept()[0]))
            yield Held(pairs)
        finally:
            Held(pairs).close()

    @contextlib.contextmanager
    def lan_talks_to_the_router(self) -> Iterator[None]:
        """During the block, there is a connection from the LAN to the router's address there."""
        with socket.create_server((f"{LAN_OF['eth0']}::1", PORT), family=socket.AF_INET6):
            with self.lan:
                client = socket.create_connection((f"{LAN_OF['eth0']}::1", PORT), 2)
            with client:
                yield

    def asks(self, number: int, address: str, port: int) -> int:
        """Opens `number` connections from the Internet to an address of the router, behind which a machine of the LAN
        answers. Returns how many it has answered."""
        answered = 0
        with self.lan:
            server = socket.create_server(("::", PORT), family=socket.AF_INET6, backlog=number)
        with server:
            for place in range(number):
                with self.internet, socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as client:
                    client.settimeout(1)
                    client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
                    client.bind((f"{INTERNET}::{1 + place % 250:x}", 0))
                    answered += client.connect_ex((address, port)) == 0
        return answered

    def told(self, number: int, source: str, within_s: float, lan: bool = False) -> int:
        """Opens `number` connections at once. Returns how many have got an error within this time."""
        end = time.monotonic() + within_s
        with contextlib.ExitStack() as stack:
            if lan:
                stack.enter_context(self.lan)
            waiting = set()
            for place in range(number):
                client = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
                client.setblocking(False)
                client.bind((source, 0))
                if client.connect_ex((f"{INTERNET}::{1 + place:x}", PORT)) == errno.EINPROGRESS:
                    waiting.add(client)
            while waiting and time.monotonic() < end:
                time.sleep(0.01)
                waiting -= {client for client in waiting if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)}
        return number - len(waiting)

    def drain(self) -> None:
        """Closes the connections that have come to the server."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.server.accept()[0].close()


def internet_of(internet: Network) -> socket.socket:
    """Makes this network both providers and the Internet: it forwards for both, and drops packets from outside of a
    provider's prefix. Returns the socket on which all machines of the Internet listen."""
    with internet:
        sysctl(default__dad_transmits=0, all__forwarding=1)
        run("ip", "link", "set", "lo", "up")
        ip(f"route add local {INTERNET}::/64 dev lo")
        rules = [f"iifname {name} ip6 saddr != {{ {prefix}::/48, fe80::/10, :: }} counter name wrong drop\n"
                 for name, prefix in PREFIXES.items()]
        run("nft", "-f", "-", stdin="table ip6 bcp38 {\ncounter wrong { }\nchain in {\n"
            f"type filter hook prerouting priority -400\n{''.join(rules)}}}\n}}\n")
        server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        server.bind(("::", PORT))
        server.listen(4096)
        server.setblocking(False)
    return server


@contextlib.contextmanager
def providers(lines: str = LINES, names: Sequence[str] = ("eth0", "eth1"), told: bool = True) -> Iterator[Providers]:
    """Wires the networks. The router has these lines as its configuration, and none of our routing yet. The providers
    have advertised themselves, if `told`."""
    internet, lan = Network(), Network()
    # The link-local addresses are set below. The kernel would make other ones some time later.
    sysctl(default__dad_transmits=0, default__accept_ra=2, all__forwarding=1, default__addr_gen_mode=1)
    server = internet_of(internet)
    found = Providers(internet, lan, server)
    with server:
        run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", lan.path)
        ip("link set lan0 up", "address add fe80::3/64 dev lan0 nodad",
           *[f"address add {LAN_OF[name]}::1/64 dev lan0 nodad" for name in names])
        with lan:
            sysctl(default__dad_transmits=0)
            ip("link set eth0 up", *[f"address add {LAN_OF[name]}::2/64 dev eth0 nodad" for name in names],
               "route add default via fe80::3 dev eth0")
        for name in names:
            found.plug(name)
        CONFIG.write_text(lines)
        for name in names if told else ():
            found.introduce(name)
        yield found
        internet.close()
        lan.close()


def own(interface: str) -> str:
    """The router's global address on a link; "" if it has none."""
    listed = run("ip", "-6", "-o", "address", "show", "dev", interface, "scope", "global", "-tentative")
    return listed.split()[3].partition("/")[0] if listed.strip() else ""


def ours() -> list[str]:
    """Our rules and routes of IPv6 in the words of ip(8), without tables' names."""
    lines = (run("ip", "-6", "-N", "rule") + run("ip", "-6", "-N", "-o", "route", "show", "table", "all")).splitlines()
    return sorted(" ".join(line.replace("\\", "").split()) for line in lines if " proto 109" in line)


def apply() -> None:
    """Runs `apply`, and asserts that nothing is left to do."""
    verb("apply")
    plan = verb("plan")
    assert plan == "", plan
