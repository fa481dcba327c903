"""VPNs that take all connections, as their own programs set them up, beside two links. The tunnel is OpenVPN's, and it
is real: what goes by it is seen by its address, and its own packets leave by the links."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from tests.beds.lab import Isp, Lab, Node, debian_root, wait_for
from tests.beds.lab.root import PACKAGES
from tests.beds.two_links import assert_shared

ROOT = sorted([*PACKAGES, "iptables", "openvpn"])
SERVER = "198.51.100.9"  # where the tunnel ends
OTHERS = "198.51.100.128/25"
INSIDE = "10.8.0.2"  # the router's address in the tunnel
COMMON = ["--auth-nocache", "--cipher", "AES-256-CBC", "--secret", "/run/key", "--daemon",
          "--log", "/run/openvpn.log", "--writepid", "/run/openvpn.pid", "--verb", "4"]


class Vpn(NamedTuple):
    """How a VPN's program takes everything: the tunnel's device, what OpenVPN is told, rules and routes for ip(8)."""

    device: str
    openvpn: Sequence[str] = ()
    rules: Sequence[str] = ()
    routes: Sequence[str] = ()
    kind: str = "tun"


BY_ETH0 = f"{SERVER} via 192.0.2.1 dev eth0"  # its own packets
VPNS = {
    "OpenVPN's halves": Vpn("tun0", ["--redirect-gateway", "def1"]),
    "vpnc-script": Vpn("tun0", ["--route-noexec"], [], [BY_ETH0, "default dev tun0"]),
    # a VPN of Ethernet's frames has neighbours, and may look like a LAN
    "OpenVPN's tap": Vpn("tap0", ["--route-noexec"], [], [BY_ETH0, "default via 10.8.0.1 dev tap0"], kind="tap"),
    "quarters": Vpn("tun0", ["--route-noexec"], [],  # as those who do not want to clash with the halves
                    [BY_ETH0, *[f"{quarter}.0.0.0/2 dev tun0" for quarter in (0, 64, 128, 192)]]),
    # wg-quick 1.0, add_default
    "wg-quick": Vpn("wg0", ["--route-noexec", "--mark", "51820"],
                    ["not fwmark 51820 table 51820", "table main suppress_prefixlength 0"],
                    ["0.0.0.0/0 dev wg0 table 51820"]),
    # Tailscale 1.76, router_linux.go, baseIPRules; an exit node, with --exit-node-allow-lan-access
    "Tailscale": Vpn("tailscale0", ["--route-noexec", "--mark", str(0x80000)],
                     ["pref 5210 fwmark 0x80000/0xff0000 lookup main",
                      "pref 5230 fwmark 0x80000/0xff0000 lookup default",
                      "pref 5250 fwmark 0x80000/0xff0000 unreachable",
                      "pref 5270 lookup 52"],
                     ["default dev tailscale0 table 52", "throw 10.0.0.0/24 table 52"]),
}
FIRST = ["the VPN first", "dhcp-lb first"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Isp("eth0"), Isp("eth1")], debian_root(packages=ROOT)) as lab:
        lab.internet.run("openvpn", "--genkey", "secret", "/run/key")
        lab.router.path("/run/key").write_text(lab.internet.path("/run/key").read_text())
        for machine in lab.internet, lab.router:
            machine.sh("mkdir /dev/net; mknod /dev/net/tun c 10 200")
        lab.internet.sh("""
            nft add table ip vpn
            nft 'add chain ip vpn input { type filter hook prerouting priority -400; }'
            nft add rule ip vpn input iifname inside ip saddr != %s drop
        """ % INSIDE)
        lab.router.dhcp_lb("apply")
        yield lab
        assert not [line for line in lab.router.log() if "report it" in line]


def start(lab: Lab, vpn: Vpn) -> None:
    ours, theirs = ("255.255.255.0",) * 2 if vpn.kind == "tap" else ("10.8.0.1", INSIDE)
    lab.internet.run("openvpn", "--dev", "inside", "--dev-type", vpn.kind, "--ifconfig", "10.8.0.1", theirs,
                     "--local", SERVER, "--float", *COMMON)
    lab.router.run("openvpn", "--dev", vpn.device, "--dev-type", vpn.kind, "--ifconfig", INSIDE, ours,
                   "--remote", SERVER, "--nobind", *vpn.openvpn, *COMMON)
    wait_for("the tunnel", lambda: "Initialization Sequence Completed" in lab.router.path(
        "/run/openvpn.log").read_text())


def stop(lab: Lab) -> None:
    lab.router.sh("""
        pid=$(cat /run/openvpn.pid)
        kill "$pid"
        while [ -e "/proc/$pid" ]; do sleep 0.05; done
    """)


def batch(machine: Node, begin: str, words: Sequence[str]) -> None:
    machine.run("ip", "-batch", "-", stdin="".join(f"{begin} {each}\n" for each in words))


def assert_all_by_the_tunnel(lab: Lab) -> None:
    for machine in lab.lan, lab.router:
        assert lab.connect(machine, 40, to=OTHERS) == {INSIDE: 40}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("name", VPNS)
def test_a_vpn_that_takes_all_takes_all(lab: Lab, name: str, first: str) -> None:  # R2, R3
    vpn = VPNS[name]
    if first == "the VPN first":
        batch(lab.router, "rule add", vpn.rules)
    lab.router.ifup("eth0")
    start(lab, vpn)
    if first != "the VPN first":
        lab.router.ifup("eth1")
        batch(lab.router, "rule add", vpn.rules)
    batch(lab.router, "route replace", vpn.routes)
    lab.router.ifup("eth1")
    assert_all_by_the_tunnel(lab)
    lab.router.sh("reason=look dhcp-lb hook networkd")  # what the monitor does then
    assert_all_by_the_tunnel(lab)
    if vpn.rules:  # its own packets find the other link, whichever goes
        for interface in "eth0", "eth1":
            lab.router.ifdown(interface)
            assert_all_by_the_tunnel(lab)
            lab.router.ifup(interface)
    before_ours = name == "Tailscale" or name == "wg-quick" and first == "dhcp-lb first"
    for interface in () if before_ours else ("eth0", "eth1"):
        assert lab.connect_to_router(interface, 20) == {"answered": 20}
        assert lab.connect(lab.router, 20, source=lab.router.addresses(interface)[0], to=OTHERS) == {interface: 20}
    status = json.loads(lab.router.dhcp_lb("status", "--json"))
    assert status["in_order"] == (name != "Tailscale"), status["warnings"]  # whose last rule has no condition
    stop(lab)
    lab.router.sh("ip route replace default via 192.0.2.1 dev eth0")  # which vpnc-script replaced, and puts back
    assert_shared(lab)
