"""The leases of providers, and their changes at a renewal, under the real dhclient."""

from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab
from tests.beds.lab.lab import Prober

SECOND_NETWORK = {"network": "198.18.5.0/24", "gateway": "198.18.5.1", "pool": "198.18.5.128/28"}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two links that are up; the lease of eth1 is renewed every few seconds."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2, renew_s=2)]) as lab:
        lab.router.ifup()
        yield lab


def assert_both_links_work(lab: Lab) -> None:
    """Connections are balanced, bound to the device, bound to the address, and answered from outside."""
    balanced = lab.connect(lab.lan, 200)
    assert set(balanced) == {"eth0", "eth1"}, balanced
    for name in "eth0", "eth1":
        assert lab.connect(lab.router, 50, device=name) == {name: 50}
        assert lab.connect(lab.router, 50, source=lab.router.addresses(name)[0]) == {name: 50}
        assert lab.connect_to_router(name, 50) == {"answered": 50}


def assert_never_without_a_route(prober: Prober) -> None:
    assert set(prober.lookups) == {"found"} and prober.lookups["found"] > 100, prober.lookups


def our_state(lab: Lab) -> object:
    return [lab.router.ip("-N -4 rule"), lab.router.ip("-N -4 route show table all")]


def test_both_providers_may_use_the_same_network_and_gateway() -> None:
    with Lab([Isp("eth0", network="192.168.1.0/24", pool="192.168.1.96/28"),
              Isp("eth1", network="192.168.1.0/24", pool="192.168.1.160/28")]) as lab:
        lab.router.ifup()
        assert_both_links_work(lab)


def test_a_provider_that_hands_out_the_lan_s_own_address_cuts_nobody_off() -> None:
    with Lab([Isp("eth0"), Isp("eth1", network="10.0.0.0/24", gateway="10.0.0.254", pool="10.0.0.8/30")]) as lab:
        lab.router.ifup()
        [address] = lab.router.addresses("eth1")
        lab.router.ifdown("eth1")
        lab.router.sh(f"ip address flush dev lan0; ip address add {address}/24 dev lan0")
        lab.router.ifup("eth1")
        assert lab.router.addresses("eth1") == [address] == lab.router.addresses("lan0")
        assert lab.connect_to_router("lan0", 20) == {"answered": 20}


def test_a_gateway_may_be_outside_a_lease_of_one_address() -> None:
    with Lab([Isp("eth0"), Isp("eth1", gateway="198.18.0.1", netmask="255.255.255.255")]) as lab:
        lab.router.ifup()
        assert "onlink" in lab.router.run("ip", "route", "show", "table", "table-eth1")
        assert_both_links_work(lab)


def test_a_gateway_may_have_a_link_local_address() -> None:
    with Lab([Isp("eth0"), Isp("eth1", gateway="169.254.0.1", netmask="255.255.255.255")]) as lab:
        lab.router.ifup()
        assert_both_links_work(lab)
        # The same, where only the configuration names it.
        path = lab.router.path("/etc/dhcp-lb")
        path.write_text(path.read_text().replace("201 1", "201 1 gateway=169.254.0.1"))
        lab.isp("eth1").hand_out(options={3: "192.0.2.61"})  # an address that nobody has
        lab.router.sh("ifdown eth1; ifup eth1")
        assert_both_links_work(lab)


def test_strict_reverse_path_filtering_is_no_obstacle() -> None:
    with Lab([Isp("eth0"), Isp("eth1")]) as lab:
        lab.router.run("sysctl", "-w", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1",
                       "net.ipv4.conf.eth0.rp_filter=1", "net.ipv4.conf.eth1.rp_filter=1")
        lab.router.ifup()
        assert_both_links_work(lab)


def test_option_121_has_the_default_before_option_3_and_its_other_routes_stay_with_its_link() -> None:
    routes = "0.0.0.0/0,192.0.2.33,198.18.0.0/24,192.0.2.62"  # option 3 names an address that nobody has
    with Lab([Isp("eth0"), Isp("eth1", options={3: "192.0.2.61", 121: routes})]) as lab:
        lab.router.ifup()
        assert "default via 192.0.2.33 " in lab.router.run("ip", "route", "show", "table", "table-eth1")
        for name in "eth0", "eth1":
            assert lab.connect(lab.router, 50, source=lab.router.addresses(name)[0]) == {name: 50}
        others = lab.router.ip("route show proto dhcp-lb table all to exact 198.18.0.0/24")
        assert [(route["table"], route["gateway"]) for route in others] == [("table-eth1", "192.0.2.62")]


def test_a_renewal_without_change_writes_nothing(lab: Lab) -> None:
    logged = len(lab.router.log())
    with lab.router.capture("ip", "-4", "monitor", "route", "rule") as changes:
        with lab.router.event("eth1", "RENEW"):
            pass
    assert changes == []
    assert [line for line in lab.router.log()[logged:] if "dhcp-lb" in line] == []


def test_a_renewal_breaks_no_connection_that_is_open(lab: Lab) -> None:
    with lab.held(lab.lan, 200) as held:
        with lab.router.event("eth1", "RENEW"):
            pass
        assert held.still_alive() == 200
        with lab.router.event("eth1", "RENEW"):
            lab.isp("eth1").hand_out(gateway="192.0.2.34")
        assert held.still_alive() == 200


def test_a_new_gateway_is_used_from_the_renewal_on(lab: Lab) -> None:
    with lab.prober(lab.router) as prober, lab.prober(lab.lan) as in_lan:
        with lab.router.event("eth1", "RENEW"):
            lab.isp("eth1").hand_out(gateway="192.0.2.34")
    assert "192.0.2.33" not in str(our_state(lab))
    assert_both_links_work(lab)
    assert_never_without_a_route(prober)
    assert not prober.failed() and not in_lan.failed()


@pytest.mark.parametrize("changes", [{"pool": "192.0.2.40/29"}, SECOND_NETWORK], ids=["address", "subnet"])
def test_a_new_lease_takes_the_place_of_the_old_one(lab: Lab, changes: dict[str, str]) -> None:
    old = lab.router.addresses("eth1")[0]
    with lab.prober(lab.router) as prober:
        with lab.router.event("eth1", "BOUND"):
            lab.isp("eth1").hand_out(**changes)
    assert old not in str(our_state(lab))
    assert_both_links_work(lab)
    assert_never_without_a_route(prober)


def test_a_default_of_option_121_without_a_router_leads_into_the_device() -> None:
    with Lab([Isp("eth0"), Isp("eth1", options={121: "0.0.0.0/0,0.0.0.0"})]) as lab:
        lab.isp("eth1").node.run("sysctl", "-qw", "net.ipv4.conf.customers.proxy_arp=1")  # the link is all there is
        lab.router.ifup()
        assert "default dev eth1 " in lab.router.run("ip", "route", "show", "table", "table-eth1")
        assert_both_links_work(lab)
