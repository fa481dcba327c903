"""What the package leaves behind, and what it must not touch, from its installation to its purge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.beds.lab.root import CHECKOUT

from .conftest import FILE, PRESEED, PROTOCOLS, TABLES, Machine

HOOK = "/etc/dhcp/dhclient-exit-hooks.d/dhcp-lb"
WANTED = "/etc/systemd/system/multi-user.target.wants/dhcp-lb.service"  # kept disabled or enabled until purge

LEASES = """\
lease {
  interface "eth0";
  fixed-address 192.0.2.34;
  option subnet-mask 255.255.255.0;
  option routers 192.0.2.1;
  option dhcp-server-identifier 192.0.2.1;
  expire never;
}
lease {
  interface "eth1";
  fixed-address 198.51.100.34;
  option subnet-mask 255.255.255.0;
  option routers 198.51.100.1;
  option dhcp-server-identifier 198.51.100.1;
  expire never;
}
"""


def running_router(machine: Machine) -> None:
    """Two links that dhclient has brought up: the default of the first is in main, that of the second is not."""
    machine.sh("""
        for link in 0 1; do
            ip link add eth$link type veth peer name isp$link
            ip link set eth$link up
            ip link set isp$link up
        done
        ip address add 192.0.2.34/24 dev eth0
        ip address add 198.51.100.34/24 dev eth1
        ip route add default via 192.0.2.1 dev eth0
        ip route add 10.0.0.0/8 via 198.51.100.9 dev eth1
        ip rule add pref 99 to 203.0.113.7 lookup main
        sysctl -qw net.ipv4.conf.eth0.rp_filter=1""")
    machine.path("/var/lib/dhcp/dhclient.leases").write_text(LEASES)


def routing(machine: Machine) -> tuple[str, str]:
    """Rules and routes, but for the kernel's own."""
    routes = machine.run("ip", "-4", "-N", "route", "show", "table", "all", "type", "unicast")
    return machine.run("ip", "-4", "-N", "rule"), routes


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (before.get(name), after.get(name)) for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)}


def name(key: str) -> str:
    """The path in a key of a snapshot, whose other word is its type or its content."""
    return next((word for word in key.split() if word.startswith("/")), key)


def test_install_upgrade_remove_install_purge_leave_the_machine_as_it_was(machine: Machine, old_deb: Path) -> None:
    running_router(machine)
    machine.put(old_deb, "/old")
    machine.quietly("ucf", "--purge", FILE)  # makes ucf's own files, if no package has done so
    before = machine.snapshot()
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install("/old")
    machine.run("dhcp-lb", "apply")
    balanced = routing(machine)
    assert balanced[0].count("lookup") > 8
    configured = machine.snapshot()
    machine.install()
    assert routing(machine) == balanced
    assert {name(path) for path in differences(configured, machine.snapshot())} <= {
        "/usr/share/dhcp-lb/dhcp_lb/__init__.py", "/usr/share/doc/dhcp-lb/changelog.gz"}
    hooks = {word for line in machine.text("/var/lib/dpkg/info/dhcp-lb.conffiles").splitlines()
             for word in (line, *map(str, Path(line).parents))}
    machine.quietly("dpkg", "--remove", "dhcp-lb")
    left = differences(before, machine.snapshot())
    assert {name(path) for path in left if not name(path).startswith("/var/lib/")} - {FILE, WANTED, *hooks} == set()
    machine.install()
    machine.run("dhcp-lb", "apply")
    assert routing(machine) == balanced
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert differences(before, machine.snapshot()) == {}
    assert machine.answers() == {}


def test_installed_without_an_answer_and_purged_nothing_is_left(machine: Machine) -> None:
    machine.quietly("ucf", "--purge", FILE)
    before = machine.snapshot()
    machine.install()
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert differences(before, machine.snapshot()) == {}


def test_debian_tests_container(machine: Machine) -> None:
    machine.install()
    machine.put(CHECKOUT / "debian/tests/container", "/test")
    machine.run("env", "AUTOPKGTEST_TMP=/tmp", "sh", "/test")


def test_purge_takes_the_companions_of_the_file_along_and_works_without_ucf(machine: Machine) -> None:
    machine.install()
    machine.sh("touch /etc/dhcp-lb.ucf-old /etc/dhcp-lb.ucf-dist /etc/dhcp-lb~; mv /usr/bin/ucf /usr/bin/ucf.away")
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert machine.inside("/etc/dhcp-lb*") == []


def test_what_others_have_in_the_directories_of_iproute2_stays(machine: Machine) -> None:
    machine.sh("mkdir -p /etc/iproute2/rt_tables.d; echo '77 mine' >/etc/iproute2/rt_tables.d/mine.conf")
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    assert machine.path(TABLES).exists() and machine.path(PROTOCOLS).exists()
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert machine.text("/etc/iproute2/rt_tables.d/mine.conf") == "77 mine\n"
    assert not machine.path(TABLES).exists() and not machine.path(PROTOCOLS).exists()


def test_in_a_chroot_the_routing_of_the_machine_around_it_is_left_alone(machine: Machine) -> None:
    running_router(machine)
    before = routing(machine)
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    assert routing(machine) == before
    machine.sh("ip rule add pref 20100 from 192.0.2.34 lookup 200 protocol 109")
    before = routing(machine)
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert routing(machine) == before


def test_links_that_are_up_are_taken_up_from_the_lease_files(machine: Machine) -> None:
    running_router(machine)
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    machine.run("dhcp-lb", "apply")
    assert machine.run("ip", "route", "show", "table", "dhcp-lb", "metric", "0").split() == (
        "default proto dhcp-lb nexthop via 192.0.2.1 dev eth0 weight 1 "
        "nexthop via 198.51.100.1 dev eth1 weight 2").split()
    assert machine.run("dhcp-lb", "plan") == ""


def test_removal_gives_main_a_default_through_a_link_that_works(machine: Machine) -> None:
    running_router(machine)
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    for lost, expected in [
        ("true", ["default via 192.0.2.1 dev eth0"]),
        ("ip route del default", ["default via 198.51.100.1 dev eth1"]),
        ("ip link set isp0 down", ["default via 198.51.100.1 dev eth1", "default via 192.0.2.1 dev eth0 linkdown"]),
    ]:
        machine.sh("ip link set isp0 up; ip route flush exact default; ip route add default via 192.0.2.1 dev eth0")
        machine.install()
        machine.run("dhcp-lb", "apply")
        machine.sh(lost)
        machine.sh("for i in 1 2 3 4 5; do dhcp-lb plan >/dev/null; done")
        machine.quietly("dpkg", "--purge", "dhcp-lb")
        found = machine.run("ip", "route", "show", "exact", "default").splitlines()
        assert [line.strip() for line in found] == expected
        machine.run("debconf-set-selections", stdin=PRESEED.read_text())


def test_a_python_and_a_program_of_the_administrator_s_own_do_no_harm(machine: Machine) -> None:
    """In /usr/local/bin, which comes first in the PATH of dpkg's scripts."""
    running_router(machine)
    for name in "python3", "dhcp-lb":
        machine.path(f"/usr/local/bin/{name}").write_text("#!/bin/sh\nexit 1\n")
        machine.path(f"/usr/local/bin/{name}").chmod(0o755)
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    assert "table-eth1" in machine.text(TABLES)
    machine.run("/usr/bin/dhcp-lb", "apply")
    machine.sh("ip route del default")
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert "proto 109" not in "".join(routing(machine))
    assert machine.run("ip", "route", "show", "exact", "default").strip() == "default via 198.51.100.1 dev eth1"


def test_removal_leaves_nothing_in_the_kernel_if_the_state_was_deleted(machine: Machine) -> None:
    """It may be at any time. That this is no chroot, systemd's own directory says."""
    running_router(machine)
    before = routing(machine)
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    machine.run("dhcp-lb", "apply")
    machine.sh("rm -r /run/dhcp-lb; mkdir -p /run/systemd/system")
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert routing(machine) == before


def test_an_event_in_the_middle_of_the_removal_leaves_nothing(machine: Machine) -> None:
    running_router(machine)
    before = routing(machine)
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    prerm = machine.path("/var/lib/dpkg/info/dhcp-lb.prerm")
    prerm.write_text(prerm.read_text() + "dhcp-lb apply\n")
    machine.quietly("dpkg", "--purge", "dhcp-lb")
    assert routing(machine) == before


def test_a_hook_that_the_administrator_deleted_or_changed_stays_so(machine: Machine, old_deb: Path) -> None:
    machine.put(old_deb, "/old")
    machine.install("/old")
    machine.path(HOOK).unlink()
    machine.install()
    assert not machine.path(HOOK).exists()
    machine.path(HOOK).write_text(":\n")
    machine.install()
    assert machine.text(HOOK) == ":\n"


def test_a_link_of_2009_to_the_program_becomes_the_hook(machine: Machine) -> None:
    machine.sh(f"mkdir -p /etc/dhcp/dhclient-exit-hooks.d; ln -s /usr/bin/dhcp-lb {HOOK}")
    machine.install()
    assert machine.path(HOOK).is_file() and not machine.path(HOOK).is_symlink()
    assert machine.text("/usr/bin/dhcp-lb").startswith("#!/usr/bin/python3 -ISB\n")
    assert machine.text(HOOK).startswith("# dhcp-lb(8)")
    assert machine.quietly("dhcp-lb", "--version").startswith("dhcp-lb 3")


def test_a_hook_that_the_administrator_has_turned_off_by_a_link_stays_off(machine: Machine, old_deb: Path) -> None:
    machine.put(old_deb, "/old")
    machine.install("/old")
    machine.sh(f"ln -sf /dev/null {HOOK}")
    machine.install()
    assert machine.text(HOOK) == ""


def test_a_mask_of_a_file_of_2_0_holds_for_its_new_name(machine: Machine) -> None:
    machine.sh("""
        mkdir -p /etc/systemd/networkd.conf.d
        ln -s /dev/null /etc/sysctl.d/dhcp-lb.conf
        ln -s /dev/null /etc/systemd/networkd.conf.d/dhcp-lb.conf
    """)
    for _ in range(2):
        machine.install()
        for directory in "/etc/sysctl.d", "/etc/systemd/networkd.conf.d":
            assert machine.sh(f"cd {directory}; ls *dhcp-lb*; readlink *dhcp-lb*") == "10-dhcp-lb.conf\n/dev/null\n"


def test_a_hook_left_behind_by_a_removed_package_does_nothing(machine: Machine) -> None:
    machine.run("debconf-set-selections", stdin=PRESEED.read_text())
    machine.install()
    machine.quietly("dpkg", "--remove", "dhcp-lb")
    assert machine.run("env", "reason=BOUND", "interface=eth0", "sh", "-eu", HOOK) == ""


def test_the_code_is_private_compiled_and_started_isolated(machine: Machine) -> None:
    machine.install()
    assert machine.text("/usr/bin/dhcp-lb").startswith("#!/usr/bin/python3 -ISB\n")
    code = machine.inside("/usr/share/dhcp-lb/dhcp_lb/*.py")
    compiled = {path.name.split(".")[0] for path in machine.inside("/usr/share/dhcp-lb/dhcp_lb/__pycache__/*.pyc")}
    assert {path.stem for path in code} == compiled
    assert machine.inside("/usr/lib/python3*/dist-packages/dhcp*") == []
