"""Changes that no program reports: systemd listens to the kernel and starts a look. A few lines of shell do here what
dhcp-lb-look.socket and dhcp-lb-look.service say. The tests in virtual machines have the real systemd
(debian/tests)."""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import CHECKOUT, Isp, Lab, wait_for
from tests.lab.node import ENVIRONMENT
from tests.two_links import BOTH, ETH0, assert_all_by, assert_shared, becomes

UNITS = CHECKOUT / "etc" / "systemd" / "system"

# $1: the socket's groups. Then the service's command. Each look prints a line.
SYSTEMD = """
import os, select, socket, subprocess, sys, time
groups, *command = sys.argv[1:]
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
kernel.bind((0, int(groups)))
os.dup2(kernel.fileno(), 3)
print("ready", flush=True)
while True:
    select.select([3], [], [])
    time.sleep(0.5)
    subprocess.run(command, pass_fds=[3], check=True, stdin=subprocess.DEVNULL,
                   env={**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "0", "reason": "look"})
    print("looked", flush=True)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.router.ifup()
        service = (UNITS / "dhcp-lb-look.service").read_text()
        assert "Environment=reason=look\n" in service and "ExecStartPre=-/bin/sleep 0.5\n" in service
        groups = re.search(r"^ListenNetlink=route (\d+)$", (UNITS / "dhcp-lb-look.socket").read_text(), re.M)
        command = re.search(r"^ExecStart=-(.*)$", service, re.M)
        assert groups and command
        looks = lab.router.path("/run/looks")
        with looks.open("w") as said:
            systemd = lab.router.argv("python3", "-c", SYSTEMD, groups[1], *shlex.split(command[1]))
            subprocess.Popen(systemd, stdout=said, env=ENVIRONMENT)
        wait_for("the socket", lambda: looks.read_text() != "")
        yield lab


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    """Both links are up before and after the test."""
    becomes(running, BOTH)
    yield running
    becomes(running, BOTH)
    assert_shared(running)
    assert not [line for line in running.router.log() if "report it" in line]


def looks(lab: Lab) -> int:
    return lab.router.path("/run/looks").read_text().count("looked")


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
    before = looks(lab)
    lab.router.dhcp_lb("flush")
    wait_for("a look", lambda: looks(lab) > before)
    lab.router.sh("ip rule add pref 5 lookup main; ip rule del pref 5")
    wait_for("another", lambda: looks(lab) > before + 1)
    assert "proto 109" not in lab.router.run("ip", "-N", "rule")
    lab.router.dhcp_lb("apply")


def test_a_configuration_with_a_mistake_is_not_told_at_each_change(lab: Lab) -> None:
    path = lab.router.path("/etc/dhcp-lb")
    text, logged, before = path.read_text(), len(lab.router.log()), looks(lab)
    path.write_text("eth0 table-eth0\n")
    lab.router.sh("ip rule add pref 5 lookup main; ip rule del pref 5")
    wait_for("a look", lambda: looks(lab) > before)
    path.write_text(text)
    assert lab.router.log()[logged:] == []


def test_what_we_change_ourselves_is_looked_at_once_more_and_then_it_is_quiet(lab: Lab) -> None:
    lab.router.dhcp_lb("drain", "eth1")
    lab.router.dhcp_lb("enable", "eth1")
    before = -1
    while looks(lab) != before:
        before = looks(lab)
        time.sleep(2)
    lab.router.sh("ip -batch - <<EOF\n" + "".join(
        f"rule add pref {pref} lookup main\nrule del pref {pref}\n" for pref in range(100, 400)) + "EOF\n")
    time.sleep(3)
    assert before < looks(lab) <= before + 3  # for 600 changes
