"""The real daemons that configure links: NetworkManager, systemd-networkd."""

from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab, daemons, debian_root, wait_for
from tests.beds.lab.lab import add_cable
from tests.beds.lab.root import PACKAGES
from tests.beds.two_links import BOTH, ETH0, assert_all_by, assert_shared, becomes

ASKED = """\
30200: from all ipproto ipproto-17 dport 53 lookup 251
30201: from all ipproto ipproto-6 dport 53 lookup 251
9.9.9.9 via 192.0.2.33 dev eth1 table 251 src ETH1 metric 53
198.51.100.53 via 192.0.2.33 dev eth1 table 251 src ETH1 metric 53
"""  # what comes to BOTH with eth1's name servers

DAEMONS = ["dbus", "network-manager", "networkd-dispatcher", "ppp", "systemd"]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lab(suite: str) -> Iterator[Lab]:
    """eth0 is up under dhclient. eth1 is down."""
    root = debian_root(suite, sorted([*PACKAGES, *DAEMONS]))
    with Lab([Isp("eth0"), Isp("eth1", weight=2)], root) as lab:
        lab.router.ifup("eth0")
        yield lab
        assert not [line for line in lab.router.log() if "report it" in line]


def leave_to_others(lab: Lab) -> None:
    """eth1 is none of ifupdown's, and its program can be started."""
    lab.router.path("/etc/network/interfaces").write_text("auto eth0\niface eth0 inet dhcp\n")
    daemons.start_dbus(lab.router)


def start_networkd(lab: Lab) -> None:
    daemons.start_networkd(lab.router)
    wait_for("networkd's lease", lambda: "acquired" in lab.router.path(daemons.NETWORKD_LOG).read_text())


def start_networkmanager(lab: Lab, ipv4: str = "method=auto") -> None:
    lab.router.path("/etc/NetworkManager/conf.d/lab.conf").write_text(
        "[keyfile]\nunmanaged-devices=interface-name:eth0;interface-name:lan0\n")
    profile = lab.router.path("/etc/NetworkManager/system-connections/wired.nmconnection")
    profile.write_text("[connection]\nid=wired\ntype=ethernet\ninterface-name=eth1\n"
                       f"[ipv4]\n{ipv4}\n[ipv6]\nmethod=disabled\n")
    profile.chmod(0o600)
    last = lab.router.path("/etc/NetworkManager/dispatcher.d/99-lab")
    last.write_text('#!/bin/sh\necho "$1 $2" >>/run/dispatched\n')
    last.chmod(0o755)
    lab.router.run("NetworkManager")


def test_a_link_of_networkd_s(lab: Lab) -> None:
    leave_to_others(lab)
    lab.router.path("/etc/systemd/network/eth1.network").write_text("[Match]\nName=eth1\n[Network]\nDHCP=ipv4\n")
    start_networkd(lab)
    lab.router.sh("networkd-dispatcher --run-startup-triggers >/run/networkd-dispatcher.log 2>&1 &")
    becomes(lab, BOTH)
    assert_shared(lab)
    # At a restart, by the signal in its unit, it leaves rules and routes alone: networkd.conf.d/10-dhcp-lb.conf.
    with lab.router.capture("ip", "-4", "monitor", "rule") as changes:
        lab.router.sh("""
            kill -USR2 $(pidof systemd-networkd)
            while pidof systemd-networkd >/dev/null; do sleep 0.1; done
        """)
        start_networkd(lab)
    assert changes == []
    # The one of Debian 13 takes the address away for a moment. There is no systemd here that would look
    # (test_ns_look.py).
    lab.router.dhcp_lb("apply")
    becomes(lab, BOTH)
    lab.isp("eth1").cut_cable()
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.isp("eth1").plug_cable()
    becomes(lab, BOTH)
    lab.isp("eth1").unplug()
    becomes(lab, ETH0)
    lab.isp("eth1").replug()
    becomes(lab, BOTH)
    assert_shared(lab)


def test_an_administrator_s_own_setting_of_networkd_wins(lab: Lab) -> None:
    own = lab.router.path("/etc/systemd/networkd.conf.d/50-local.conf")
    own.parent.mkdir(parents=True)
    own.write_text("[Network]\nManageForeignRoutes=yes\n")
    read = lab.router.run("systemd-analyze", "cat-config", "systemd/networkd.conf")
    settings = [line for line in read.splitlines() if line.startswith("ManageForeignRoutes=")]
    assert settings == ["ManageForeignRoutes=no", "ManageForeignRoutes=yes"]  # the last one counts


def test_an_administrator_s_own_sysctls_win(lab: Lab) -> None:
    policy = "net.ipv4.fib_multipath_hash_policy"
    path = lab.router.path("/etc/sysctl.d/99-local.conf")
    for program in "sysctl --system", "/lib/systemd/systemd-sysctl":
        for value in "0", "2":
            path.write_text(f"{policy} = {value}\n")
            lab.router.run("sysctl", "-qw", f"{policy}=1")
            lab.router.run(*program.split())
            assert lab.router.run("sysctl", "-n", policy) == f"{value}\n"


def name_servers(lab: Lab) -> str:
    return lab.router.path("/run/dhcp-lb/leases/eth1").read_text().split(" ")[-2]


def test_a_link_of_networkd_s_has_its_name_servers(lab: Lab) -> None:
    lab.isp("eth1").hand_out(options={6: "198.51.100.53,9.9.9.9"})
    leave_to_others(lab)
    lab.router.path("/etc/systemd/network/eth1.network").write_text("[Match]\nName=eth1\n[Network]\nDHCP=ipv4\n")
    start_networkd(lab)
    lab.router.sh("while ! ip route show default dev eth1 | grep -q via; do sleep 0.1; done")
    lab.router.dhcp_lb("apply")
    becomes(lab, BOTH + ASKED)
    assert name_servers(lab) == "198.51.100.53,9.9.9.9"
    lab.isp("eth1").hand_out(options={6: "198.51.100.54"})
    lab.router.run("networkctl", "renew", "eth1")
    wait_for("a renewal", lambda: "198.51.100.54" in lab.router.sh("cat /run/systemd/netif/leases/*"))
    lab.router.sh("reason=look dhcp-lb hook networkd")
    assert name_servers(lab) == "198.51.100.54"


def test_a_link_of_networkmanager_s_has_its_name_servers(lab: Lab) -> None:
    lab.isp("eth1").hand_out(options={6: "198.51.100.53,9.9.9.9"})
    leave_to_others(lab)
    start_networkmanager(lab)
    becomes(lab, BOTH + ASKED)
    wait_for("its `up`", lambda: name_servers(lab) == "198.51.100.53,9.9.9.9")
    lab.router.sh("reason=look dhcp-lb hook networkd")  # which the kernel says nothing about
    assert name_servers(lab) == "198.51.100.53,9.9.9.9"


def test_a_link_whose_default_networkd_puts_into_another_table(lab: Lab) -> None:
    leave_to_others(lab)
    lab.router.path("/etc/systemd/network/eth1.network").write_text(
        "[Match]\nName=eth1\n[Network]\nDHCP=ipv4\n[DHCPv4]\nRouteTable=211\n")
    start_networkd(lab)
    lab.router.sh("while ! ip route show table 211 | grep -q default; do sleep 0.1; done")
    lab.router.sh("reason=look dhcp-lb hook networkd")
    becomes(lab, BOTH)
    assert_shared(lab)


def test_a_last_resort_of_networkd_s_ends_nothing_and_a_vpn_s_default_takes_all(lab: Lab) -> None:
    """Beside links of networkd's own, whose defaults have metrics: R1 and R3 of doc/faults.md."""
    leave_to_others(lab)
    lab.router.ifdown("eth0")
    last = "[Route]\nDestination=0.0.0.0/0\nType=unreachable\nMetric=9999\n"
    for number in range(2):
        lab.router.path(f"/etc/systemd/network/eth{number}.network").write_text(
            f"[Match]\nName=eth{number}\n[Network]\nDHCP=ipv4\n[DHCPv4]\nRouteMetric={101 + number}\n{last * number}")
    start_networkd(lab)
    wait_for("all of main", lambda: lab.router.run("ip", "-4", "route").count("default") >= 3)
    lab.router.sh("reason=look dhcp-lb hook networkd")
    becomes(lab, BOTH)
    assert_shared(lab)
    tunnel = "link set tun0 address 02:00:00:00:09:09 arp off\naddress add 10.8.0.{}/30 dev tun0\nlink set tun0 up\n"
    add_cable(lab.router, "tun0", lab.internet, "tun0")  # to the routing, a device without ARP is a tunnel
    lab.internet.run("ip", "-batch", "-", stdin=tunnel.format(1))
    lab.router.run("ip", "-batch", "-", stdin=tunnel.format(2) + "route add default dev tun0 metric 50\n")
    for machine in lab.lan, lab.router:
        assert lab.connect(machine, 50) == {"10.8.0.2": 50}
    lab.router.run("ip", "link", "delete", "tun0")
    assert_shared(lab)
    lab.isp("eth0").unplug()
    lab.router.sh("reason=look dhcp-lb hook networkd")
    assert "unreachable default" in lab.router.run("ip", "-4", "route")
    assert_all_by(lab, "eth1")


def test_a_link_of_networkmanager_s(lab: Lab) -> None:
    leave_to_others(lab)
    start_networkmanager(lab)
    becomes(lab, BOTH)
    assert_shared(lab)
    assert not [line for line in lab.router.log() if "is not used" in line]
    lab.isp("eth1").unplug()
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.isp("eth1").replug()
    becomes(lab, BOTH)
    lab.router.run("nmcli", "device", "disconnect", "eth1")
    becomes(lab, ETH0)
    lab.router.run("nmcli", "connection", "up", "wired")
    becomes(lab, BOTH)
    assert_shared(lab)


@pytest.mark.parametrize("ipv4", [
    "method=auto\nnever-default=true",
    "method=auto\nroute-table=211",
    "method=manual\naddress1=192.0.2.62/32\nroute1=0.0.0.0/0",
], ids=["never-default", "route-table", "device route"])
def test_a_link_that_networkmanager_names_no_gateway_of(lab: Lab, ipv4: str) -> None:
    leave_to_others(lab)
    want = BOTH
    if "manual" in ipv4:
        lab.isp("eth1").node.run("sysctl", "-qw", "net.ipv4.conf.customers.proxy_arp=1")  # the link is all there is
        want = "".join(line.replace("via 192.0.2.33 dev eth1", "dev eth1")
                       for line in BOTH.splitlines(keepends=True) if "192.0.2.32/27" not in line)
    start_networkmanager(lab, ipv4)
    becomes(lab, want)
    assert_shared(lab)
    with lab.router.capture("ip", "-4", "monitor", "rule") as changes:
        lab.router.run("nmcli", "device", "reapply", "eth1")
        wait_for("the dispatcher", lambda: "eth1 reapply\n" in lab.router.path("/run/dispatched").read_text())
    assert changes == []
    becomes(lab, want)
    assert not [line for line in lab.router.log() if "is not used" in line]
