"""Two providers of IPv6 with Debian's own servers, a router, and a LAN with a prefix of both.

The addresses, and what a test can do to the providers, are those of `beds/ipv6.py`. Each machine has a Debian system
of its own, as in `lab.py`, except that one machine is both providers and the Internet: radvd advertises, and ISC's
dhcpd gives an address and delegates PREFIX:f00::/56."""

import contextlib
from pathlib import Path

from tests.beds.box import ip, run
from tests.beds.ipv6 import LAN_OF, PREFIXES, Providers, internet_of, sysctl
from tests.beds.netns import Network

from .lab import install_program
from .node import Node, wait_for

PACKAGES = ("iproute2", "isc-dhcp-server", "nftables", "procps", "python3", "radvd")
LAN_ROUTER = "fe80::3"  # the router's address in the LAN
RENEW_S = 4

ADVERTISED = """\
interface {name} {{
    AdvSendAdvert on;
    AdvManagedFlag on;
    MinRtrAdvInterval 3;
    MaxRtrAdvInterval 4;
    AdvDefaultLifetime {router_s};
    prefix {prefix}::/64 {{ }};
}};
"""
SERVED = """\
subnet6 {prefix}::/64 {{
    range6 {prefix}::d000 {prefix}::dfff;
    prefix6 {prefix}:f00:: {prefix}:f00:: /56;
}}
"""
SERVER = """\
default-lease-time 3600;
preferred-lifetime 1800;
option dhcp-renewal-time {0};
option dhcp-rebinding-time {1};
option dhcp6.preference 255;
"""  # 255: a client waits for no other server (RFC 8415, 18.2.1)


class Lab6(Providers):
    """The machines, from `open` to `close`. The router's links are down at first. A test works in the router's
    network: `with lab.inside`."""

    def __init__(self, root: Path, renew_s: int = RENEW_S, prefixes: dict[str, str] = PREFIXES) -> None:
        """`prefixes`: the prefixes from which the providers advertise and delegate. They forward only packets from
        PREFIXES."""
        self.root, self.renew_s, self.prefixes, self._stack = root, renew_s, prefixes, contextlib.ExitStack()

    def open(self) -> None:
        with contextlib.ExitStack() as stack:
            self.provider, self.host, self.router = [
                Node(name, self.root) for name in ("internet", "lan", "router")]
            machines = self.provider, self.host, self.router
            for machine in machines:
                stack.push(machine)
            for machine in machines:
                machine.await_ready()
            networks = [Network(f"/proc/{machine.pid}/ns/net") for machine in machines]
            for network in networks:
                stack.callback(network.close)
            internet, lan, self.inside = networks
            super().__init__(internet, lan, stack.enter_context(internet_of(internet)))
            with self.inside:
                self._wire()
            self._serve()
            install_program(self.router)
            self.router.sh("sysctl -qp /usr/lib/sysctl.d/10-dhcp-lb.conf")
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def _wire(self) -> None:
        sysctl(default__dad_transmits=0, default__accept_ra=2, all__forwarding=1)
        run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", self.lan.path)
        sysctl(lan0__accept_ra=0)
        ip("link set lan0 up", f"address add {LAN_ROUTER}/64 dev lan0 nodad")
        with self.lan:
            sysctl(default__dad_transmits=0)
            ip("link set eth0 up", *[f"address add {prefix}::2/64 dev eth0 nodad" for prefix in LAN_OF.values()],
               f"route add default via {LAN_ROUTER} dev eth0")
        for name in PREFIXES:
            run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", self.internet.path)
            with self.internet:
                sysctl(**{f"{name}__addr_gen_mode": 1})
                ip(f"link set {name} up", f"address add fe80::1/64 dev {name} nodad",
                   f"address add {self.prefixes[name]}::1/64 dev {name} nodad")

    def _serve(self) -> None:
        self.provider.path("/etc/dhcp/dhcpd6.conf").write_text(
            SERVER.format(self.renew_s, 4 * self.renew_s)
            + "".join([SERVED.format(prefix=prefix) for prefix in self.prefixes.values()]))
        self._advertise()
        self.provider.sh("""
            touch /var/lib/dhcp/dhcpd6.leases
            dhcpd -6 -q -cf /etc/dhcp/dhcpd6.conf -lf /var/lib/dhcp/dhcpd6.leases -pf /run/dhcpd6.pid eth0 eth1
            radvd -m syslog -p /run/radvd.pid
        """)

    def _advertise(self, gone: str = "") -> None:
        self.provider.path("/etc/radvd.conf").write_text("".join(
            [ADVERTISED.format(name=name, prefix=prefix, router_s=0 if name == gone else 1800)
             for name, prefix in self.prefixes.items()]))

    def is_router(self, interface: str, yes: bool) -> None:
        """The provider's router advertises that it is a router, or that it no longer is one."""
        self._advertise("" if yes else interface)
        self.provider.sh("kill -HUP $(cat /run/radvd.pid)")

    def route_back(self, interface: str) -> None:
        """The provider routes its customer's prefix to the router, as it must after it has delegated the prefix."""
        def link_local() -> str:
            shown = run("ip", "-6", "-o", "address", "show", "dev", interface, "scope", "link", "-tentative")
            return shown.split()[3].partition("/")[0] if shown else ""
        wait_for(f"a link-local address of {interface}", lambda: link_local() != "")
        router = link_local()
        with self.internet:
            ip(f"route replace {self.prefixes[interface]}::/48 via {router} dev {interface}")

    def renewals(self) -> int:
        """How many renewals the clients of both links have asked for."""
        return sum("Renew message" in line for line in self.provider.log())
