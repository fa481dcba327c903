"""What nobody tells: the monitor hears the kernel's word, and has the routing put in order."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab, wait_for
from tests.beds.lab.node import ENVIRONMENT
from tests.beds.two_links import BOTH, ETH0, assert_all_by, assert_shared, becomes


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.router.ifup()
        subprocess.Popen(lab.router.argv("dhcp-lb", "monitor"), env=ENVIRONMENT)
        wait_for("the monitor", lambda: lab.router.path("/run/dhcp-lb/watched").exists())
        yield lab


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    """Both links are up before and after the test."""
    becomes(running, BOTH)
    yield running
    becomes(running, BOTH)
    assert_shared(running)
    assert not [line for line in running.router.log() if "report it" in line]


def test_rules_that_somebody_flushed_are_back(lab: Lab) -> None:
    lab.router.sh("ip rule flush; ip rule add lookup main pref 32766")
    becomes(lab, BOTH)


def test_routes_that_somebody_flushed_are_back(lab: Lab) -> None:
    lab.router.sh("ip route flush table dhcp-lb; ip route flush table table-eth1")
    becomes(lab, BOTH)


def test_a_link_without_a_client_follows_the_default_route_of_main(lab: Lab) -> None:
    """eth1 changes as at a renewal of systemd-networkd, which tells nobody."""
    address = lab.router.addresses("eth1")[0]
    lab.router.dhclient("eth1", "-x")
    becomes(lab, ETH0)
    lab.router.sh(f"ip address add {address}/27 dev eth1; ip route add default via 192.0.2.33 dev eth1 metric 50")
    becomes(lab, BOTH)
    lab.router.sh("ip route replace default via 192.0.2.34 dev eth1 metric 50")
    becomes(lab, BOTH.replace("192.0.2.33", "192.0.2.34"))
    lab.router.sh("ip address flush dev eth1; ifdown --force eth1; ifup eth1")


def test_an_address_that_was_deleted_by_hand_takes_its_link_out_and_one_that_is_set_by_hand_in(lab: Lab) -> None:
    address = lab.router.addresses("eth1")[0]
    lab.router.run("ip", "address", "flush", "dev", "eth1")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.router.run("ip", "address", "add", f"{address}/27", "dev", "eth1")


def test_a_lease_whose_hook_was_killed_is_taken_up(lab: Lab) -> None:
    hook = "/etc/dhcp/dhclient-exit-hooks.d/dhcp-lb"
    lab.router.ifdown("eth1")
    lab.router.sh(f"mv {hook} /etc/hook; mv /etc/network/if-up.d/dhcp-lb /etc/if-up")
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    lab.router.sh(f"mv /etc/hook {hook}; mv /etc/if-up /etc/network/if-up.d/dhcp-lb")


def test_an_unplugged_device_takes_its_link_out(lab: Lab) -> None:
    lab.isp("eth1").unplug()
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.isp("eth1").replug()
    lab.router.sh("ifdown --force eth1; ifup eth1")


def test_a_renamed_interface_is_the_link_of_its_new_name(lab: Lab) -> None:
    lab.router.sh("ip link set eth1 down; ip link set eth1 name usb0; ip link set usb0 up")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.router.sh("ip link set usb0 down; ip link set usb0 name eth1; ip link set eth1 up")


def test_an_interface_that_was_down_gets_its_table_back_without_a_client_s_word(lab: Lab) -> None:
    lab.router.sh("ip link set eth1 down")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.router.sh("ip link set eth1 up")


def test_flush_lasts_until_something_is_asked_for(lab: Lab) -> None:
    lab.router.dhcp_lb("flush")
    lab.router.sh("ip rule add pref 5 lookup main; sleep 1; ip rule del pref 5; sleep 1")
    assert "proto 109" not in lab.router.run("ip", "-N", "rule")
    lab.router.dhcp_lb("apply")


def test_a_configuration_with_a_mistake_is_told_once(lab: Lab) -> None:
    path = lab.router.path("/etc/dhcp-lb")
    text, logged = path.read_text(), len(lab.router.log())
    path.write_text("eth0 table-eth0\n")
    lab.router.sh("for _ in 1 2 3; do ip rule add pref 5 lookup main; ip rule del pref 5; sleep 0.3; done")
    path.write_text(text)
    said = [line.partition(": ")[2] for line in lab.router.log()[logged:]]
    assert [line for line in said if line.startswith("/etc/dhcp-lb:1: ")] == said[:1] and len(said) == 2


def test_what_we_change_ourselves_is_looked_at_once_more_and_then_it_is_quiet(lab: Lab) -> None:
    lab.router.dhcp_lb("drain", "eth1")
    lab.router.dhcp_lb("enable", "eth1")
    time.sleep(1)
    before_s = cpu_s(lab)
    time.sleep(4)
    assert cpu_s(lab) - before_s <= 0.03
    lab.router.sh("ip -batch - <<EOF\n" + "".join(
        f"rule add pref {pref} lookup main\nrule del pref {pref}\n" for pref in range(100, 400)) + "EOF\n")
    time.sleep(1)
    assert cpu_s(lab) - before_s <= 0.3  # for 600 changes


def cpu_s(lab: Lab) -> float:
    """What the monitor has used."""
    pid = lab.router.path("/run/dhcp-lb/monitor").read_text().strip()
    fields = lab.router.path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
