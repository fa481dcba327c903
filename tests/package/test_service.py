"""The monitor as a service: in the sandbox of its unit, by the systemd of each release; and what becomes of the units
of 2.0."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.lab.booted import Booted, why_not
from tests.beds.lab.node import wait_for
from tests.beds.lab.root import debian_root

from . import vm

MONITOR = "dhcp-lb-monitor.service"
LOOKS = "dhcp-lb-look.socket", "dhcp-lb-look.service"
MONITORS = "dhcp-lb-monitor.socket", MONITOR
HOST = "203.0.113.1"
# Two providers, each the gateway of its link and, behind that, a host of the Internet.
LINKS = """
for number in 0 1; do
    ip netns add isp$number
    ip -n isp$number link set lo up
    ip -n isp$number address add 203.0.113.1/32 dev lo
done
"""
LINK = """
ip link add wan{0} type veth peer name customer netns isp{0}
ip -n isp{0} link set customer up
ip -n isp{0} address add 192.0.2.{1}/27 dev customer
ip link set wan{0} up
ip address add 192.0.2.{2}/27 dev wan{0}
ip route add default via 192.0.2.{1} dev wan{0} metric 10{0}
"""
# Something changes all the time, so that there is always somebody who looks.
RESTLESS = """
touch /run/restless
while [ -e /run/restless ]; do ip rule add pref 5 lookup main; ip rule del pref 5; sleep 0.1; done >/dev/null 2>&1 &
"""
CONFIG = f"""\
wan0 table-wan0 200 1
wan1 table-wan1 201 2
check = {HOST}
interval = 0.25
down = 1
up = 1
"""


@pytest.fixture
def booted(release: str) -> Iterator[Booted]:
    if reason := why_not():
        pytest.skip(reason)
    root = debian_root(release, [*vm.PACKAGES, vm.CLIENTS[release]])
    with Booted("router", root) as machine:
        machine.sh("systemctl stop NetworkManager networking ifupdown-pre || :")
        yield machine


def install(machine: Booted, deb: Path) -> str:
    machine.path("/deb").write_bytes(deb.read_bytes())
    done = machine.try_run("dpkg", "--force-confold", "-i", "/deb", timeout_s=300,
                           env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def plug(machine: Booted, number: int) -> None:
    machine.sh(LINK.format(number, 32 * number + 1, 32 * number + 2))


def connect(machine: Booted) -> None:
    """Two links are up, and configured."""
    machine.sh(LINKS)
    for number in range(2):
        plug(machine, number)
    machine.path("/etc/dhcp-lb").write_text(CONFIG)


def balance(machine: Booted) -> str:
    routes = machine.run("ip", "-N", "-o", "route", "show", "table", "252", "proto", "109")
    return " ".join(re.findall(r"dev (\S+)", "".join(
        [line for line in routes.splitlines() if " src " not in line and " metric " not in line])))


def becomes(machine: Booted, want: str) -> None:
    wait_for(f"the balance to be {want}", lambda: balance(machine) == want)


def states(machine: Booted, *units: str) -> list[str]:
    return machine.try_run("systemctl", "is-active", *units).stdout.split()


def failed(machine: Booted) -> str:
    return machine.run("systemctl", "list-units", "--failed", "--no-legend", "dhcp-lb*")


def test_the_service_is_confined(booted: Booted, deb: Path) -> None:
    install(booted, deb)
    done = booted.try_run("systemd-analyze", "security", "--no-pager", "--threshold=20", MONITOR)
    print(done.stdout[-200:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_its_sandbox_it_does_all_of_its_work(booted: Booted, deb: Path) -> None:
    install(booted, deb)
    connect(booted)
    booted.run("dhcp-lb", "apply")  # which has the monitor read its configuration again
    wait_for("the monitor", lambda: states(booted, MONITOR) == ["active"])
    becomes(booted, "wan0 wan1")

    # A route, and a rule.
    booted.sh("ip route flush table 252; ip rule del pref 32765")
    becomes(booted, "wan0 wan1")
    wait_for("the rule", lambda: "32765:" in booted.run("ip", "rule"))

    # Thousands of changes at once leave it listening.
    booted.sh("seq 1001 6000 | sed 's/.*/rule add pref & from 198.51.100.1 lookup main/' >/tmp/rules; "
              "ip -batch /tmp/rules; sed s/add/del/ /tmp/rules | ip -batch -; ip rule del pref 32765")
    wait_for("the rule", lambda: "32765:" in booted.run("ip", "rule"))

    # A verdict.
    booted.run("ip", "-n", "isp1", "address", "del", f"{HOST}/32", "dev", "lo")
    becomes(booted, "wan0")
    assert re.search(r"^wan1 +dead ", booted.run("dhcp-lb", "status"), re.M)
    booted.run("ip", "-n", "isp1", "address", "add", f"{HOST}/32", "dev", "lo")
    becomes(booted, "wan0 wan1")

    # A sysctl of an interface that came later.
    booted.run("ip", "-n", "isp1", "link", "delete", "customer")
    becomes(booted, "wan0")
    plug(booted, 1)
    becomes(booted, "wan0 wan1")
    key = "net.ipv4.conf.wan1.ignore_routes_with_linkdown"
    wait_for("the sysctl", lambda: booted.run("sysctl", "-n", key) == "1\n")
    booted.run("sysctl", "-w", f"{key}=0")
    wait_for("the sysctl again", lambda: booted.run("sysctl", "-n", key) == "1\n")

    # The names of tables; what others read; its state, after all of that.
    booted.sh("sed -i s/table-wan1/table-other/ /etc/dhcp-lb; dhcp-lb apply")
    assert "table-other" in booted.path("/etc/iproute2/rt_tables.d/dhcp-lb.conf").read_text()
    wait_for("everybody to be told", lambda: "2 of 2 links work" in booted.path("/run/dhcp-lb/brief").read_text())
    assert booted.run("systemctl", "show", "-P", "StatusText", MONITOR) == "2 of 2 links are checked; none is dead\n"
    booted.run("systemctl", "reload", MONITOR)
    assert booted.run("systemctl", "show", "-P", "NRestarts", MONITOR) == "0\n" and failed(booted) == ""

    # The manual's way to do without it. Then nobody can say that a dead link works again, so no link is dead.
    booted.run("ip", "-n", "isp1", "address", "del", f"{HOST}/32", "dev", "lo")
    becomes(booted, "wan0")
    booted.run("systemctl", "mask", "--now", *MONITORS)
    assert balance(booted) == "wan0 wan1"
    booted.sh("ip rule del pref 32765; sleep 1")
    assert "32765:" not in booted.run("ip", "rule") and failed(booted) == ""


def test_killed_it_is_back_at_once_and_stopped_its_socket_starts_it(booted: Booted, deb: Path) -> None:
    install(booted, deb)
    connect(booted)
    booted.run("dhcp-lb", "apply")
    becomes(booted, "wan0 wan1")
    booted.run("ip", "-n", "isp1", "address", "del", f"{HOST}/32", "dev", "lo")
    becomes(booted, "wan0")
    for act in "kill -s KILL", "restart", "stop":
        booted.sh(f"systemctl {act} {MONITOR}")
        assert act == "stop" or balance(booted) == "wan0"  # it leaves its verdicts to the next one
        booted.sh("ip rule del pref 32765")
        wait_for("the rule", lambda: "32765:" in booted.run("ip", "rule"))
        wait_for("the monitor", lambda: states(booted, MONITOR) == ["active"])
        becomes(booted, "wan0")
    assert failed(booted) == ""


def test_one_that_hangs_is_started_anew_and_its_verdicts_stay(booted: Booted, deb: Path) -> None:
    drop_in = booted.path(f"/etc/systemd/system/{MONITOR}.d/quick.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=2\n")
    install(booted, deb)
    connect(booted)
    booted.run("dhcp-lb", "apply")
    booted.run("ip", "-n", "isp1", "address", "del", f"{HOST}/32", "dev", "lo")
    becomes(booted, "wan0")
    booted.run("systemctl", "kill", "-s", "STOP", MONITOR)
    wait_for("the watchdog", lambda: booted.run("systemctl", "show", "-P", "NRestarts", MONITOR) == "1\n")
    wait_for("the next one", lambda: states(booted, MONITOR) == ["active"])
    assert balance(booted) == "wan0"
    booted.run("ip", "-n", "isp1", "address", "add", f"{HOST}/32", "dev", "lo")
    becomes(booted, "wan0 wan1")


@pytest.mark.parametrize("masked", [(), LOOKS[:1], LOOKS], ids=["none", "socket", "both"])
def test_an_upgrade_from_2_0_ends_its_looks_and_carries_a_mask_over(
        booted: Booted, deb_2_0: Path | None, deb: Path, masked: tuple[str, ...]) -> None:
    if not deb_2_0:
        pytest.skip("needs the checkout's history, for the package of 2.0")
    booted.run("debconf-set-selections", stdin="dhcp-lb dhcp-lb/interfaces multiselect wan0, wan1\n")
    booted.sh(LINKS)
    for number in range(2):
        plug(booted, number)
    install(booted, deb_2_0)
    becomes(booted, "wan0 wan1")
    assert states(booted, LOOKS[0]) == ["active"]
    booted.sh(RESTLESS)
    wait_for("a look", lambda: states(booted, LOOKS[1]) == ["activating"])
    if masked:
        booted.run("systemctl", "mask", "--now", *masked)
    install(booted, deb)
    booted.path("/run/restless").unlink()
    assert booted.run("systemctl", "list-units", "--all", "--no-legend", "dhcp-lb-look*") == ""
    assert booted.try_run("systemctl", "list-unit-files", "--no-legend", "dhcp-lb-look*").stdout == ""
    assert failed(booted) == ""
    assert states(booted, *MONITORS) == (["inactive"] * 2 if masked else ["active"] * 2)
    enabled = booted.try_run("systemctl", "is-enabled", *MONITORS).stdout.split()
    assert enabled.count("masked") == (2 if masked else 0), enabled
    assert balance(booted) == "wan0 wan1"
    # Nothing is pinned, so the hash stays what 2.0 had set until the next boot.
    assert booted.run("sysctl", "-n", "net.ipv4.fib_multipath_hash_policy") == "1\n"
    booted.sh("ip rule del pref 32765; sleep 1")
    assert ("32765:" in booted.run("ip", "rule")) == (not masked)
    journal = booted.run("journalctl", "-b", "-o", "cat", "-u", "dhcp-lb-look.socket", "-u", MONITOR)
    ends, begins = [journal.find(words) for words in ("Closed", "Started")]
    assert masked or 0 <= ends < begins, journal
