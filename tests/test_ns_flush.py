"""The program's changes to a machine can be undone, redone and read beforehand."""

import re
from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab, Node


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A router with rules and routes of its administrator, some of them where ours would be. The links are down."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.router.sh("""
            ip rule add pref 20100 from 10.9.9.9 lookup 77
            ip rule add pref 30000 fwmark 7 lookup 77
            ip route add 10.9.0.0/16 dev lan0 table 77
            ip route add 10.8.0.0/16 dev lan0 table 200
            ip route add unreachable 10.7.0.0/16 metric 5
        """)
        yield lab


def kernel(machine: Node) -> str:
    """All rules and routes, without the times that count down."""
    listed = machine.sh("ip -N -4 -d rule; ip -N -4 -d route show table all")
    return re.sub(r" expires \S+", "", listed)


def foreign(machine: Node) -> list[str]:
    """The rules and routes that are not ours."""
    lines = re.sub(r"\n\t", " ", kernel(machine)).splitlines()
    return [line for line in lines if "proto 109" not in line]


def test_flush_leaves_the_machine_as_it_was_found(lab: Lab) -> None:
    rules = lab.router.ip("-N -4 rule")
    lab.router.ifup()
    beside_ours = foreign(lab.router)
    assert kernel(lab.router).splitlines() != beside_ours
    lab.router.dhcp_lb("flush")
    assert kernel(lab.router).splitlines() == beside_ours
    assert lab.router.ip("-N -4 rule") == rules
    assert lab.connect(lab.router, 10) == {"eth0": 10}  # by the default that its client had left in main


def test_what_is_not_ours_stays_through_every_event(lab: Lab) -> None:
    before = [line for line in foreign(lab.router) if "lan0" in line or "lookup" in line or "unreachable" in line]
    lab.router.ifup()
    lab.router.ifdown("eth0")
    lab.isp("eth1").unplug()
    lab.router.dhcp_lb("apply")
    assert set(before) <= set(foreign(lab.router))


def test_apply_brings_back_what_flush_took_and_then_has_nothing_to_do(lab: Lab) -> None:
    lab.router.ifup()
    lab.router.dhcp_lb("apply")
    before = kernel(lab.router)
    lab.router.dhcp_lb("flush")
    lab.router.dhcp_lb("apply")
    assert kernel(lab.router) == before
    with lab.router.capture("ip", "-4", "monitor", "route", "rule") as changes:
        lab.router.dhcp_lb("apply")
    assert changes == []
    assert lab.router.dhcp_lb("plan") == ""


def test_the_commands_of_plan_make_what_apply_makes(lab: Lab) -> None:
    lab.router.ifup()
    lab.router.dhcp_lb("apply")
    applied = kernel(lab.router)
    lab.router.dhcp_lb("flush")
    lab.router.sh(lab.router.dhcp_lb("plan"))
    assert kernel(lab.router) == applied
    assert lab.router.dhcp_lb("plan") == ""


@pytest.mark.parametrize("verb", ["apply", "flush"])
def test_there_may_be_nothing_to_do(lab: Lab, verb: str) -> None:
    lab.router.path("/etc/dhcp-lb").write_text("")
    before = kernel(lab.router)
    assert lab.router.dhcp_lb(verb) == ""
    assert kernel(lab.router) == before


def test_a_link_can_be_drained_disabled_and_enabled(lab: Lab) -> None:
    lab.router.ifup()
    for verb in "drain", "disable":
        lab.router.dhcp_lb(verb, "eth1")
        assert lab.connect(lab.lan, 50) == {"eth0": 50}
        lab.router.dhcp_lb("enable", "eth1")
        assert set(lab.connect(lab.lan, 50)) == {"eth0", "eth1"}


def test_a_drained_link_keeps_its_connections(lab: Lab) -> None:
    lab.router.ifup()
    with lab.held(lab.router, 50) as held:
        lab.router.dhcp_lb("drain", "eth1")
        assert held.still_alive() == 50
