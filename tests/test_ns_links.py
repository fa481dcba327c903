"""Links go and come back in every way. While one link is left, there is always a route."""

import time
from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab, wait_for
from tests.beds.lab.lab import Prober
from tests.beds.two_links import settles


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.router.ifup()
        yield lab


@pytest.fixture
def lab(running: Lab) -> Lab:
    """Two links that are up. Each test ends with both up again."""
    assert_shared_again(running)
    return running


@pytest.fixture
def prober(lab: Lab) -> Iterator[Prober]:
    """Looks up in the router during the whole test. No lookup may fail."""
    with lab.prober(lab.router) as prober:
        yield prober
    assert set(prober.lookups) == {"found"} and prober.lookups["found"] > 100, prober.lookups


def assert_all_by(lab: Lab, interface: str) -> None:
    assert lab.connect(lab.lan, 100) == {interface: 100}
    assert lab.connect(lab.router, 100) == {interface: 100}


def assert_shared_again(lab: Lab) -> None:
    wait_for("both links", lambda: set(lab.connect(lab.lan, 50)) == {"eth0", "eth1"}, timeout_s=10)
    assert set(lab.connect(lab.router, 50)) == {"eth0", "eth1"}
    settles(lab)


def test_a_released_lease_takes_its_link_out(lab: Lab, prober: Prober) -> None:
    lab.router.ifdown("eth1")
    assert_all_by(lab, "eth0")
    lab.router.ifup("eth1")
    assert_shared_again(lab)


def test_the_first_link_may_go_as_well_as_the_last(lab: Lab, prober: Prober) -> None:
    lab.router.ifdown("eth0")
    assert_all_by(lab, "eth1")
    lab.router.ifup("eth0")
    assert_shared_again(lab)


def test_an_expired_lease_takes_its_link_out(lab: Lab, prober: Prober) -> None:
    isp = lab.isp("eth1")
    lab.router.ifdown("eth1")
    configuration = lab.router.path("/etc/dhcp/dhclient.conf")
    before = configuration.read_text()
    configuration.write_text(before + 'interface "eth1" { supersede dhcp-lease-time 6; '
                             "supersede dhcp-renewal-time 2; supersede dhcp-rebinding-time 4; }\n")
    lab.router.dhclient("eth1")
    assert_shared_again(lab)
    with lab.router.event("eth1", "EXPIRE"):
        isp.stop_dhcp()
    assert_all_by(lab, "eth0")
    lab.router.dhclient("eth1", "-x")
    configuration.write_text(before)
    isp.restart_dhcp()
    lab.router.ifup("eth1")
    assert_shared_again(lab)


def test_a_pulled_cable_is_skipped_at_once_and_used_again_when_it_is_back(lab: Lab, prober: Prober) -> None:
    for isp, other in (("eth0", "eth1"), ("eth1", "eth0")):
        lab.isp(isp).cut_cable()
        assert_all_by(lab, other)
        lab.isp(isp).plug_cable()
        assert_shared_again(lab)


def test_an_unplugged_device_takes_its_link_out_and_comes_back_with_it(lab: Lab, prober: Prober) -> None:
    for isp, other in (("eth0", "eth1"), ("eth1", "eth0")):
        lab.isp(isp).unplug()
        assert_all_by(lab, other)
        lab.isp(isp).replug()
        lab.router.run("ifdown", "--force", isp)
        lab.router.ifup(isp)
        assert_shared_again(lab)


def test_a_link_set_down_and_up_is_back_at_its_next_event(lab: Lab, prober: Prober) -> None:
    lab.router.run("ip", "link", "set", "eth1", "down")
    assert_all_by(lab, "eth0")
    lab.router.run("ip", "link", "set", "eth1", "up")
    lab.router.dhcp_lb("apply")
    assert_shared_again(lab)
    assert lab.connect(lab.router, 50, device="eth1") == {"eth1": 50}


def test_all_links_down_and_one_back(lab: Lab) -> None:
    lab.router.ifdown("eth0")
    lab.router.ifdown("eth1")
    assert lab.connect(lab.router, 5) == {"ENETUNREACH": 5}
    lab.router.ifup("eth1")
    assert_all_by(lab, "eth1")
    lab.router.ifup("eth0")
    assert_shared_again(lab)


def test_the_lan_loses_no_connection_when_a_link_is_given_up(lab: Lab) -> None:
    with lab.prober(lab.lan) as prober:
        time.sleep(0.3)
        lab.router.ifdown("eth1")
        time.sleep(0.3)
        lab.router.ifup("eth1")
        time.sleep(0.3)
    assert prober.failed() == {}
