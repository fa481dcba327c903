"""A provider that is dead behind a live cable, with real DHCP: its link gets no new connections until it answers."""

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab, wait_for
from tests.beds.lab.node import ENVIRONMENT
from tests.beds.two_links import assert_shared, settles

NAME_SERVER = "198.51.100.53"
BUSY_S = 2.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Isp("eth0", options={6: NAME_SERVER}), Isp("eth1", weight=2, options={6: NAME_SERVER})]) as lab:
        lab.serve_names()
        path = lab.router.path("/etc/dhcp-lb")
        path.write_text(path.read_text() + "up = 0\n")
        lab.router.ifup()
        subprocess.Popen(lab.router.argv("dhcp-lb", "monitor"), env=ENVIRONMENT)
        wait_for("the monitor's findings", lambda: len(re.findall(r"\d+ ms, ", lab.router.dhcp_lb("status"))) == 2)
        yield lab


def balance(lab: Lab) -> list[str]:
    routes = lab.router.run("ip", "-N", "-o", "route", "show", "table", "252", "proto", "109")
    return re.findall(r"dev (\S+)", "".join([line for line in routes.splitlines() if " src " not in line]))


def test_new_connections_all_take_the_other_link_within_six_seconds(lab: Lab) -> None:
    took = []
    for interface, other in ("eth0", "eth1"), ("eth1", "eth0"), ("eth1", "eth0"), ("eth0", "eth1"):
        time.sleep(1.3)
        isp = lab.isp(interface)
        died_s = time.monotonic()
        isp.die()
        wait_for("the dead link to be out", lambda: balance(lab) == [other])
        took.append(time.monotonic() - died_s)
        assert lab.connect(lab.lan, 50) == {other: 50}
        assert lab.connect(lab.router, 50) == {other: 50}
        settles(lab)
        isp.revive()
        wait_for("it to be back", lambda: balance(lab) == ["eth0", "eth1"])
        assert_shared(lab)
    print(took)
    assert max(took) <= 6 + BUSY_S


def test_of_a_thousand_new_connections_in_twenty_seconds_only_those_of_the_first_six_fail(lab: Lab) -> None:
    """Two thirds of them would go by the provider that is dead."""
    isp = lab.isp("eth1")
    died_s = time.monotonic()
    isp.die()
    failed_s = [began_s - died_s for began_s in lab.failures(lab.lan, 1000, per_s=50)]
    print(f"{len(failed_s)} of 1000 fail, the last one after {max(failed_s):.2f} s")
    assert 30 < len(failed_s) <= 180 * (6 + BUSY_S) / 6 and max(failed_s) <= 6.1 + BUSY_S
    isp.revive()
    wait_for("it to be back", lambda: balance(lab) == ["eth0", "eth1"])


def test_status_tells_who_was_asked_and_for_how_long_nobody_answered(lab: Lab) -> None:
    lab.isp("eth1").die()
    wait_for("the dead link to be out", lambda: balance(lab) == ["eth0"])
    text = lab.router.dhcp_lb("status")
    assert re.search(r"^eth0 +up +100% .* \d+ ms, \d+ % lost: the provider's name servers  ", text, re.M)
    assert re.search(r"^eth1 +dead +0% .*  for \d+ s  ", text, re.M)
    assert "\neth1 dead: no answer from the provider's name servers\n" in text
    lab.isp("eth1").revive()
    wait_for("it to be back", lambda: balance(lab) == ["eth0", "eth1"])


def test_where_both_providers_are_dead_nothing_changes(lab: Lab) -> None:
    with lab.prober(lab.router) as prober:
        for isp in lab.isps:
            isp.die()
        wait_for("both to be dead", lambda: lab.router.dhcp_lb("status").count("dead:") == 2)
        assert balance(lab) == ["eth0", "eth1"]
        for isp in lab.isps:
            isp.revive()
        wait_for("both to be back", lambda: "dead:" not in lab.router.dhcp_lb("status"))
    assert set(prober.lookups) == {"found"}
    assert_shared(lab)
