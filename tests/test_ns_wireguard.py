"""A WireGuard tunnel of the router's, with the kernel's own WireGuard."""

from collections.abc import Iterator

import pytest

from tests.beds.lab import CHECKOUT, Isp, Lab, debian_root, wait_for
from tests.beds.lab.root import PACKAGES
from tests.beds.netns import network, run

SERVER = "198.51.100.1"
INSIDE = "10.9.0.1"  # the server's address in the tunnel
EXAMPLE = CHECKOUT / "doc/examples/notify/wireguard"
NOTIFY = "/etc/dhcp-lb-notify.d"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two links that are watched, a line that prefers eth0 for the tunnel, and the tunnel."""
    with network():
        try:
            run("ip link add wg0 type wireguard")
        except AssertionError:
            pytest.skip("this kernel has no WireGuard")
    root = debian_root(packages=sorted([*PACKAGES, "wireguard-tools"]))
    with Lab([Isp("eth0"), Isp("eth1", weight=2)], root) as lab:
        config = lab.router.path("/etc/dhcp-lb")
        config.write_text(config.read_text() + "own udp port 51820 -> eth0\ncheck = 198.51.100.1:80\n"
                          "interval = 0.5\ndown = 1.5\nup = 1\n")
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        lab.router.sh("dhcp-lb monitor </dev/null >/dev/null 2>&1 &")
        wait_for("the monitor to be there", lambda: lab.router.run("ip", "rule").count("blackhole") == 2)
        tunnel(lab)
        yield lab


def tunnel(lab: Lab) -> None:
    ends = (lab.internet, INSIDE), (lab.router, "10.9.0.2")
    for machine, address in ends:
        machine.sh(f"""
            umask 077
            wg genkey >/run/key
            ip link add wg0 type wireguard
            wg set wg0 listen-port 51820 private-key /run/key
            ip address add {address}/24 dev wg0
            ip link set wg0 up
        """)
    keys = [machine.run("wg", "show", "wg0", "public-key").strip() for machine, _ in ends]
    lab.internet.run("wg", "set", "wg0", "peer", keys[1], "allowed-ips", "10.9.0.2/32")
    lab.router.run("wg", "set", "wg0", "peer", keys[0], "allowed-ips", f"{INSIDE}/32", "endpoint",
                   f"{SERVER}:51820", "persistent-keepalive", "1")


def carries(lab: Lab) -> bool:
    return lab.router.try_run("ping", "-c1", "-W1", INSIDE).returncode == 0


def by(lab: Lab) -> str:
    """The link by which the other end hears from the tunnel."""
    address = lab.internet.run("wg", "show", "wg0", "endpoints").split()[-1].partition(":")[0]
    return next((isp.interface for isp in lab.isps if address[0].isdigit() and isp.gave(address)), "")


def goes_by(lab: Lab, interface: str, timeout_s: float = 60) -> None:
    wait_for(f"the tunnel to go by {interface}", lambda: carries(lab) and by(lab) == interface, timeout_s)


def test_a_tunnel_keeps_its_link_while_others_come_and_go_and_when_it_is_drained(lab: Lab) -> None:
    goes_by(lab, "eth0")
    lab.router.dhcp_lb("disable", "eth1")
    lab.router.dhcp_lb("enable", "eth1")
    lab.router.dhcp_lb("drain", "eth0")
    lab.router.dhcp_lb("apply")
    for _ in range(10):
        assert carries(lab) and by(lab) == "eth0"


def test_a_tunnel_leaves_a_dead_link_and_comes_back_with_the_example(lab: Lab) -> None:
    goes_by(lab, "eth0")
    script = lab.router.path(f"{NOTIFY}/wireguard")
    script.parent.mkdir()
    script.write_bytes(EXAMPLE.read_bytes())
    script.chmod(0o755)
    lab.isp("eth0").die()
    goes_by(lab, "eth1")
    lab.isp("eth0").revive()
    goes_by(lab, "eth0")


def test_without_the_example_a_tunnel_stays_where_it_is_when_the_preferred_link_is_back(lab: Lab) -> None:
    lab.isp("eth0").cut_cable()
    goes_by(lab, "eth1")
    lab.isp("eth0").plug_cable()
    wait_for("eth0 to be back", lambda: lab.router.run("ip", "rule").count("blackhole") == 2)
    for _ in range(10):
        assert carries(lab) and by(lab) == "eth1"
    lab.router.sh(f"DHCP_LB_EVENT=link-up sh -s <<'END'\n{EXAMPLE.read_text()}\nEND")
    goes_by(lab, "eth0")
