"""Lines `SELECTOR… -> LINK… [only]`: whose connections go by which link (doc/design.md, "Policy")."""

import re
from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab

POLICY = """
from 10.0.0.50 -> eth0
from 10.0.0.60 -> eth1 only
from 10.0.0.70 -> balance
from 10.0.0.64/26 -> eth2 eth1 only
to 198.51.100.10 -> eth2
own tcp port 80 to 198.51.100.20 -> eth1
user backup -> eth2 eth1
in lan0 tcp port 80 to 198.51.100.30 -> eth0
in eth0 to 198.51.100.31 -> eth1
mark 0x10/0xff -> eth2
tcp port 81,82-90 -> eth0
to 203.0.113.9 udp port 51820 -> eth1
in lan0 udp sport 5004-5005,5060 -> eth2
to 198.51.100.50 proto 1 -> eth0
"""
ONE_CONNECTION = """
import socket
print(socket.create_connection(("198.51.100.1", 80), 5).recv(64).decode())
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Isp("eth0"), Isp("eth1", weight=2), Isp("eth2")]) as lab:
        config = lab.router.path("/etc/dhcp-lb")
        config.write_text(POLICY + config.read_text())
        lab.lan.sh("for host in 50 60 70 71 72; do ip address add 10.0.0.$host/24 dev eth0; done")
        lab.router.sh("""
            nft add chain ip nat marks '{ type filter hook prerouting priority mangle; }'
            nft add rule ip nat marks ip saddr 10.0.0.2 ip daddr 198.51.100.40 meta mark set 0x310
        """)
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        yield lab


@pytest.fixture(autouse=True)
def all_links(lab: Lab) -> Iterator[None]:
    yield
    for isp in lab.isps:
        isp.plug_cable()
        lab.router.dhcp_lb("enable", isp.interface)


def by(lab: Lab, source: str = "", to: str = "", own: bool = False) -> dict[str, int]:
    """How 60 connections go."""
    machine = lab.router if own else lab.lan
    return dict(lab.connect(machine, 60, source=f"10.0.0.{source}" if source else "", **({"to": to} if to else {})))


def test_machines_and_networks_of_the_lan(lab: Lab) -> None:
    assert by(lab, "50") == {"eth0": 60}
    assert by(lab, "60") == {"eth1": 60}
    assert set(by(lab, "70")) == {"eth0", "eth1", "eth2"}  # an exception to the line below it
    assert by(lab, "71") == {"eth2": 60}
    assert set(by(lab, "2")) == {"eth0", "eth1", "eth2"}


def test_destinations_and_interfaces_and_marks_of_others(lab: Lab) -> None:
    assert by(lab, "2", "198.51.100.10") == by(lab, to="198.51.100.10", own=True) == {"eth2": 60}
    assert by(lab, to="198.51.100.20", own=True) == {"eth1": 60}
    assert set(by(lab, "2", "198.51.100.20")) == {"eth0", "eth1", "eth2"}
    assert by(lab, "2", "198.51.100.30") == {"eth0": 60}
    assert set(by(lab, "", "198.51.100.30", own=True)) == {"eth0", "eth1", "eth2"}
    assert set(by(lab, "2", "198.51.100.31")) == {"eth0", "eth1", "eth2"}
    assert by(lab, "2", "198.51.100.40") == {"eth2": 60}


@pytest.mark.parametrize("to, packet, by_links", [
    ("203.0.113.9", "17 dport 51820", ["eth1"]), ("203.0.113.9", "17 dport 51821", ["eth0", "eth1", "eth2"]),
    ("203.0.113.9", "6 dport 51820", ["eth0", "eth1", "eth2"]), ("198.51.100.1", "17 sport 5005", ["eth2"]),
    ("198.51.100.1", "17 sport 5060", ["eth2"]), ("198.51.100.1", "17 sport 5006", ["eth0", "eth1", "eth2"]),
    ("198.51.100.50", "1", ["eth0"]), ("198.51.100.51", "1", ["eth0", "eth1", "eth2"]),
])
def test_protocols_and_ports(lab: Lab, to: str, packet: str, by_links: list[str]) -> None:
    def way(host: int) -> str:
        """The kernel's word for a packet of this machine of the LAN."""
        protocol, *port = packet.split()
        line = lab.router.run("ip", "route", "get", to, "from", f"10.0.0.{host}", "iif", "lan0", "ipproto", protocol,
                              *port)
        return line.split(" dev ")[1].split()[0]
    assert sorted({way(host) for host in range(130, 170)}) == by_links


def test_users_of_this_machine_and_nobody_else(lab: Lab) -> None:
    def sees(uid: str) -> list[str]:
        answers = [lab.router.run("setpriv", f"--reuid={uid}", "--clear-groups", "python3", "-c", ONE_CONNECTION)
                   for _ in range(10)]
        return [isp.interface for isp in lab.isps for answer in answers if isp.gave(answer.strip())]
    assert sees("34") == ["eth2"] * 10  # backup
    assert len(set(sees("35"))) > 1


def test_the_next_link_serves_when_one_is_out_and_only_lets_nothing_else_out(lab: Lab) -> None:
    lab.isp("eth2").cut_cable()
    assert by(lab, "71") == {"eth1": 60}
    lab.router.dhcp_lb("drain", "eth1")
    lost = lab.connect(lab.lan, 20, source="10.0.0.71", timeout_s=2)
    assert set(lost) <= {"ENETUNREACH", "ETIMEDOUT"} and lost["ENETUNREACH"]  # the kernel does not tell all 20 of them
    assert by(lab, "50") == {"eth0": 60}
    lab.router.dhcp_lb("enable", "eth1")
    lab.router.dhcp_lb("disable", "eth0")
    assert by(lab, "50") == {"eth1": 60}  # the balance, after the links of a line without `only`


def test_only_lets_nothing_out_before_any_link_is_up_and_through_a_flush_of_the_links(lab: Lab) -> None:
    for isp in lab.isps:
        lab.router.dhcp_lb("disable", isp.interface)
    rules = lab.router.run("ip", "rule")
    assert "from 10.0.0.60 unreachable proto dhcp-lb" in rules
    assert "from 10.0.0.64/26 unreachable proto dhcp-lb" in rules
    assert "lookup main suppress_prefixlength 0" in rules  # the LAN goes on
    assert lab.connect_to_router("lan0", 20) == {"answered": 20}


def test_a_connection_that_runs_stays_when_a_new_line_would_send_it_elsewhere(lab: Lab) -> None:
    config = lab.router.path("/etc/dhcp-lb")
    before = config.read_text()
    with lab.held(lab.lan, 90) as held:
        config.write_text(f"in lan0 -> eth0\n{before}")
        lab.router.dhcp_lb("apply")
        assert held.still_alive() == 90
        assert by(lab, "60") == {"eth0": 60}
    config.write_text(before)
    lab.router.dhcp_lb("apply")


def test_explain_names_the_line_that_decides(lab: Lab) -> None:
    lines = lab.router.dhcp_lb("explain", "198.51.100.10").splitlines()
    assert lines[1] == "  rule   pref 21008 from all to 198.51.100.10/32 lookup 202"
    assert lines[2] == "         because line 6 of /etc/dhcp-lb says so"
    assert lines[-1] == "  link   eth2 via 192.0.2.65"
    assert "balanced" in lab.router.dhcp_lb("explain", "198.51.100.11")


def explained(lab: Lab, *arguments: str) -> set[str]:
    """The links that `explain` names."""
    return set(re.findall(r"^  link   (\S+)", lab.router.dhcp_lb("explain", *arguments), re.MULTILINE))


@pytest.mark.parametrize("source, to", [
    ("50", "198.51.100.1"), ("60", "198.51.100.1"), ("70", "198.51.100.1"), ("71", "198.51.100.1"),
    ("2", "198.51.100.1"), ("2", "198.51.100.10"), ("2", "198.51.100.20"), ("2", "198.51.100.30"),
    ("2", "198.51.100.31"),
])
def test_explain_says_of_a_machine_of_the_lan_what_its_packets_do(lab: Lab, source: str, to: str) -> None:
    assert explained(lab, to, "--from", f"10.0.0.{source}", "--tcp", "80") == set(by(lab, source, to))


def test_explain_goes_by_protocols_and_ports_and_marks_and_interfaces(lab: Lab) -> None:
    every = {"eth0", "eth1", "eth2"}
    of_lan = "--from", "10.0.0.2"
    assert explained(lab, "198.51.100.30", *of_lan, "--tcp", "81") == {"eth0"}  # the last line
    assert explained(lab, "198.51.100.1", *of_lan, "--tcp", "91") == every
    assert explained(lab, "198.51.100.1", *of_lan, "--udp", "81") == every
    assert explained(lab, "198.51.100.30", *of_lan) == every  # no line for TCP is meant
    assert explained(lab, "198.51.100.20", "--tcp", "80") == {"eth1"} == set(by(lab, "", "198.51.100.20", own=True))
    marked = explained(lab, "198.51.100.40", *of_lan, "--mark", "0x310")
    assert marked == {"eth2"} == set(by(lab, "2", "198.51.100.40"))
    assert explained(lab, "10.0.0.2", "--from", "198.51.100.9", "--in", "eth1", "--tcp", "80") == {"lan0"}
    assert "eth0 or eth1 or eth2: --in must say" in lab.router.try_run(
        "dhcp-lb", "explain", "10.0.0.2", "--from", "198.51.100.9").stderr
    assert "stays on this machine" in lab.router.dhcp_lb("explain", "10.0.0.1", *of_lan)
    assert "line 2 of /etc/dhcp-lb" in lab.router.dhcp_lb("explain", "198.51.100.1", "--from", "10.0.0.50")


def test_explain_names_the_line_that_lets_nothing_out(lab: Lab) -> None:
    lab.router.dhcp_lb("disable", "eth1")
    lost = lab.connect(lab.lan, 5, source="10.0.0.60", timeout_s=2)
    assert set(lost) <= {"ENETUNREACH", "ETIMEDOUT"}
    done = lab.router.try_run("dhcp-lb", "explain", "198.51.100.1", "--from", "10.0.0.60")
    assert done.returncode == 1 and done.stderr == (
        "dhcp-lb: there is no way to 198.51.100.1 from 10.0.0.60 that comes in by lan0: line 3 of /etc/dhcp-lb says "
        "so, and none of its links takes new connections (rule pref 21003 from 10.0.0.60/32 unreachable)\n")


def test_explain_says_what_the_kernel_drops(lab: Lab) -> None:
    lab.router.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    try:
        done = lab.router.try_run("dhcp-lb", "explain", "10.0.0.2", "--from", "10.0.0.7", "--in", "eth0")
    finally:
        lab.router.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=2")
    assert (done.returncode, done.stderr) == (
        1, "dhcp-lb: the kernel drops a connection to 10.0.0.2 from 10.0.0.7 that comes in by eth0: 10.0.0.7 must not "
        "be an address of this machine, and where rp_filter is 1, a route to it must lead by eth0\n")


def test_what_has_a_links_address_leaves_by_that_link_whatever_a_line_says(lab: Lab) -> None:
    """So a WireGuard tunnel, which keeps its address, does not follow a line by itself (doc/examples/notify)."""
    for isp in lab.isps:
        address = lab.router.addresses(isp.interface)[0]
        assert explained(lab, "198.51.100.10", "--from", address, "--udp", "51820") == {isp.interface}
        assert lab.connect(lab.router, 20, source=address, to="198.51.100.10") == {isp.interface: 20}
    assert explained(lab, "198.51.100.10", "--udp", "51820") == {"eth2"}
