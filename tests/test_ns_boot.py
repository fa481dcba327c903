"""From boot on: what dhcp-lb-boot.service does before the first interface has an address."""

import re
from collections.abc import Iterator

import pytest

from tests.beds.lab import CHECKOUT, Isp, Lab

UNIT = (CHECKOUT / "etc/systemd/system/dhcp-lb-boot.service").read_text()
HOOK = "/etc/dhcp/dhclient-exit-hooks.d/dhcp-lb"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A router that has started, and none of its links has."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        config = lab.router.path("/etc/dhcp-lb")
        config.write_text(config.read_text() + "from 10.0.0.60 -> eth1 only\n")
        lab.lan.ip("address add 10.0.0.60/24 dev eth0")
        yield lab


def start(lab: Lab) -> None:
    """What systemd runs."""
    command, = re.findall("^ExecStart=(.*)$", UNIT, re.MULTILINE)
    lab.router.sh(command)


def ifup_before_any_event(lab: Lab, interface: str) -> None:
    """The link is up, and nothing of ours has heard of it yet."""
    lab.router.run("mv", HOOK, "/run/hook")
    lab.router.dhclient(interface)
    lab.router.run("mv", "/run/hook", HOOK)


def test_only_lets_nothing_out_elsewhere_before_the_first_event(lab: Lab) -> None:
    start(lab)
    assert not lab.router.addresses("eth0")
    ifup_before_any_event(lab, "eth0")
    assert lab.connect(lab.lan, 20, source="10.0.0.2") == {"eth0": 20}  # by the default that the client left in main
    lost = lab.connect(lab.lan, 20, source="10.0.0.60", timeout_s=1)
    assert set(lost) <= {"ENETUNREACH", "ETIMEDOUT"} and lost["ENETUNREACH"], lost
    lab.router.dhcp_lb("apply")
    assert lab.connect(lab.lan, 20, source="10.0.0.2") == {"eth0": 20}
    assert set(lab.connect(lab.lan, 20, source="10.0.0.60", timeout_s=1)) <= {"ENETUNREACH", "ETIMEDOUT"}
    lab.router.ifup("eth1")
    assert lab.connect(lab.lan, 20, source="10.0.0.60") == {"eth1": 20}


def test_without_that_unit_it_would_let_all_out(lab: Lab) -> None:
    ifup_before_any_event(lab, "eth0")
    assert lab.connect(lab.lan, 20, source="10.0.0.60") == {"eth0": 20}


def test_connections_of_before_the_first_event_keep_their_link(lab: Lab) -> None:
    start(lab)
    assert "table inet dhcp-lb" in lab.router.run("nft", "list", "tables")
    ifup_before_any_event(lab, "eth0")
    with lab.held(lab.lan, 100) as held:
        lab.router.ifup("eth1")
        lab.router.dhcp_lb("apply")
        assert set(lab.connect(lab.lan, 50, source="10.0.0.2")) == {"eth0", "eth1"}
        assert held.still_alive() == 100


def test_it_is_ordered_before_the_network_and_after_what_flushes_rules() -> None:
    ordered = {line.partition("=")[0]: line.partition("=")[2] for line in UNIT.splitlines()}
    assert "network-pre.target" in ordered["Before"].split() and ordered["Wants"] == "network-pre.target"
    assert {"nftables.service", "systemd-sysctl.service", "local-fs.target"} <= set(ordered["After"].split())
    assert ordered["Conflicts"] == "shutdown.target" and "shutdown.target" in ordered["Before"].split()
    wanted = (CHECKOUT / "debian/dhcp-lb.service").read_text()
    assert re.search("^Wants=.*dhcp-lb-boot.service", wanted, re.M)
    assert re.search("^After=.*dhcp-lb-boot.service", wanted, re.M)
