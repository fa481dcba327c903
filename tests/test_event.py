"""A DHCP client's environment → what it means for a link. (faults.md, Leases: the part that one lease decides)"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.address import unicast
from dhcp_lb.event import Event, classless_routes, parse
from dhcp_lb.model import NONE, ON_DEVICE, Lease

BOUND = {"reason": "BOUND", "interface": "eth0", "new_ip_address": "192.0.2.34", "new_subnet_mask": "255.255.255.0",
         "new_routers": "192.0.2.1", "new_dhcp_server_identifier": "192.0.2.3", "new_dhcp_lease_time": "3600"}
LEASE = Lease("192.0.2.34", 24, "192.0.2.1", "192.0.2.3", 1000, 3600)


def event(**changes: str | None) -> Event | None:
    """The event of BOUND's environment, with these variables changed, or absent if None."""
    environ = {name: value for name, value in {**BOUND, **changes}.items() if value is not None}
    return parse({name.encode(): value.encode("utf-8", "surrogateescape") for name, value in environ.items()}, 1000)


def lease(**changes: str | None) -> Lease:
    found = event(**changes)
    assert found and found.lease
    return found.lease


@pytest.mark.parametrize("reason", ["BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT"])
def test_these_reasons_bring_a_link_in(reason: str) -> None:  # fault 24
    assert event(reason=reason) == Event("eth0", LEASE)


@pytest.mark.parametrize("reason", ["EXPIRE", "FAIL", "RELEASE", "STOP"])
def test_these_reasons_take_a_link_out(reason: str) -> None:  # fault 25
    assert event(reason=reason) == Event("eth0", NONE)


@pytest.mark.parametrize("reason", ["MEDIUM", "ARPCHECK", "ARPSEND", "NBI", "BOUND6", "EXPIRE6", "PREINIT6",
                                    "", "bound", "BOUND ", "WHATEVER", None])
def test_other_reasons_are_nothing(reason: str | None) -> None:  # fault 26
    assert event(reason=reason) is None


def test_a_client_that_begins_knows_nothing_yet() -> None:
    assert event(reason="PREINIT") == Event("eth0", None, early=True)


@pytest.mark.parametrize("interface", ["", None])
@pytest.mark.parametrize("reason", ["BOUND", "STOP"])
def test_without_an_interface_it_is_nothing(interface: str | None, reason: str) -> None:  # fault 26
    assert event(interface=interface, reason=reason) is None


def test_an_interface_may_have_any_bytes() -> None:
    found = parse({b"reason": b"STOP", b"interface": b"\xff\xc3\xa9"}, 0)
    assert found == Event("\udcffé", NONE)


@pytest.mark.parametrize("changes, fault", [
    ({"new_routers": "192.0.2.34"}, "gateway is the link's own address"),  # 4
    ({"new_routers": "0.0.0.0"}, "gateway 0.0.0.0 is in 0.0.0.0/8, which no host can have"),  # 5
    ({"new_routers": "192.0.2.0"}, "gateway 192.0.2.0 is the network or broadcast address of 192.0.2.0/24"),  # 5
    ({"new_routers": "192.0.2.255"}, "gateway 192.0.2.255 is the network or broadcast address of 192.0.2.0/24"),  # 6
    ({"new_routers": "127.0.0.1"}, "gateway 127.0.0.1 is a loopback address"),  # 6
    ({"new_routers": "224.0.0.1"}, "gateway 224.0.0.1 is a multicast or reserved address"),  # 6
    ({"new_routers": "255.255.255.255"}, "gateway 255.255.255.255 is the broadcast address"),  # 6
    ({"new_routers": None}, "gateway is missing"),  # 9
    ({"new_routers": ""}, "gateway is missing"),  # 9
    ({"new_routers": "  "}, "gateway is missing"),  # 9
    ({"new_routers": "<error>"}, "gateway is not an IPv4 address"),  # 10
    ({"new_routers": "$(reboot)"}, "gateway is not an IPv4 address"),  # 42
    ({"new_routers": "() { :;}; id"}, "gateway is not an IPv4 address"),  # 42
])
def test_a_lease_without_a_usable_gateway_says_why(changes: dict[str, str | None], fault: str) -> None:
    assert lease(**changes) == LEASE._replace(gateway="", fault=fault)


@pytest.mark.parametrize("mask, fault", [
    ("255.0.255.0", "net mask 255.0.255.0 is not ones followed by zeros"),  # 14
    (None, "net mask is missing"),  # 15
    ("0.0.0.0", "net mask 0.0.0.0 is not ones followed by zeros"),  # 15
    ("33", "net mask is not an IPv4 address"),
    ("0", "net mask is not an IPv4 address"),
    ("1.5", "net mask is not an IPv4 address"),
    ("<error>", "net mask is not an IPv4 address"),
])
def test_a_lease_with_an_absurd_mask_says_why(mask: str | None, fault: str) -> None:
    assert lease(new_subnet_mask=mask) == LEASE._replace(length=0, gateway="", fault=fault)


@pytest.mark.parametrize("address, fault", [
    ("0.0.0.0", "address 0.0.0.0 is in 0.0.0.0/8, which no host can have"),  # 16
    ("127.0.0.5", "address 127.0.0.5 is a loopback address"),  # 16
    ("255.255.255.255", "address 255.255.255.255 is the broadcast address"),  # 16
    ("169.254.7.8", "address 169.254.7.8 is a link-local address"),  # 21
    (None, "address is missing"),
    ("192.0.2.34\n", "address is not an IPv4 address"),
])
def test_a_lease_with_an_absurd_address_says_why(address: str | None, fault: str) -> None:
    assert lease(new_ip_address=address) == LEASE._replace(address="", length=0, gateway="", fault=fault)


@pytest.mark.parametrize("address, gateway", [("100.64.1.2", "100.64.1.1"), ("192.168.1.2", "192.168.1.1"),
                                              ("10.0.0.2", "10.0.0.1")])
def test_private_and_carrier_grade_leases_are_fine(address: str, gateway: str) -> None:  # fault 22
    assert lease(new_ip_address=address, new_routers=gateway).fault == ""


def test_a_slash_32_with_a_gateway_outside_is_fine() -> None:  # fault 3
    assert lease(new_subnet_mask="255.255.255.255", new_routers="203.0.113.1") == LEASE._replace(
        length=32, gateway="203.0.113.1")


def test_a_router_may_have_a_link_local_address() -> None:
    assert lease(new_subnet_mask="255.255.255.255", new_routers="169.254.0.1") == LEASE._replace(
        length=32, gateway="169.254.0.1")
    assert lease(new_rfc3442_classless_static_routes="0 169 254 0 1").gateway == "169.254.0.1"


def test_a_server_may_have_a_link_local_address() -> None:
    """As that of Google's machines has, which is off-link."""
    assert lease(new_dhcp_server_identifier="169.254.169.254") == LEASE._replace(server="169.254.169.254")


def test_of_several_routers_the_first_good_one_counts() -> None:  # fault 7
    assert lease(new_routers="192.0.2.9 192.0.2.1").gateway == "192.0.2.9"
    assert lease(new_routers="<error> 0.0.0.0 192.0.2.34 192.0.2.8 192.0.2.9").gateway == "192.0.2.8"


def test_if_no_router_is_good_the_fault_is_that_of_the_first() -> None:
    assert lease(new_routers="127.0.0.1 0.0.0.0").fault == "gateway 127.0.0.1 is a loopback address"


def test_sixty_three_routers_are_fine_and_a_million_bounded() -> None:  # fault 8
    bad = "127.0.0.1 "
    assert lease(new_routers=bad * 62 + "192.0.2.1").gateway == "192.0.2.1"
    assert lease(new_routers=bad * 1_000_000).fault == "gateway 127.0.0.1 is a loopback address"


DEFAULT, OTHER = "0 192 0 2 9", "24 203 0 113 192 0 2 8"


@pytest.mark.parametrize("option", [DEFAULT, f"{OTHER} {DEFAULT}", f"{DEFAULT} {OTHER}", f"  {DEFAULT}  ",
                                    f"{DEFAULT} {DEFAULT}"])
def test_option_121s_default_route_wins_over_option_3(option: str) -> None:  # fault 11
    assert event(new_rfc3442_classless_static_routes=option) == Event("eth0", LEASE._replace(gateway="192.0.2.9"))


def test_option_121_needs_no_option_3() -> None:
    assert lease(new_rfc3442_classless_static_routes=DEFAULT, new_routers=None).gateway == "192.0.2.9"


def test_option_121_without_a_default_means_no_default_through_this_link() -> None:  # fault 12
    assert event(new_rfc3442_classless_static_routes=OTHER) == Event(
        "eth0", LEASE._replace(gateway="", fault="gateway is missing: option 121 has no default route"))


def test_a_halved_default_of_option_121_is_not_a_default() -> None:
    """TunnelVision (CVE-2024-3661) captures traffic with the routes 0.0.0.0/1 and 128.0.0.0/1."""
    assert lease(new_rfc3442_classless_static_routes="1 0 192 0 2 9 1 128 192 0 2 9").fault == (
        "gateway is missing: option 121 has no default route")


@pytest.mark.parametrize("option, why", [
    ("24 203 0 113 192 0 2", "it is cut off"),  # 13
    (f"{DEFAULT} 24", "it is cut off"),  # 13
    ("0", "it is cut off"),  # 13
    ("33 1 2 3 4 5 192 0 2 9", "it has a width over 32"),  # 13
    ("255 " * 5, "it has a width over 32"),
    ("<error>", "it is not a list of octets"),
    ("0 192 0 2 256", "it is not a list of octets"),
    ("0 192 0 2 -9", "it is not a list of octets"),
    ("0,192,0,2,9", "it is not a list of octets"),
    ("0 192.0.2.9", "it is not a list of octets"),
    ("$(id)", "it is not a list of octets"),
    (" ", "it is not a list of octets"),
])
def test_a_broken_option_121_is_ignored_with_a_note(option: str, why: str) -> None:
    assert event(new_rfc3442_classless_static_routes=option) == Event(
        "eth0", LEASE, (f"option 121 is ignored: {why}",))


@pytest.mark.parametrize("option, routers", [
    ("0 0 0 0 0", "192.0.2.1"), ("0 0 0 0 0", None), (f"24 203 0 113 192 0 2 8 0 0 0 0 0 {DEFAULT}", "192.0.2.1"),
])
def test_a_default_of_option_121_without_a_router_is_on_the_link(option: str, routers: str | None) -> None:
    """RFC 3442: 0.0.0.0 stands for the link itself."""
    assert lease(new_rfc3442_classless_static_routes=option, new_routers=routers) == LEASE._replace(gateway=ON_DEVICE)
    assert lease(new_rfc3442_classless_static_routes=f"{DEFAULT} {option}").gateway == "192.0.2.9"


def test_a_router_of_option_3_is_never_the_link_itself() -> None:
    assert lease(new_routers="0.0.0.0").fault == "gateway 0.0.0.0 is in 0.0.0.0/8, which no host can have"


def test_an_unusable_default_of_option_121_is_the_leases_fault() -> None:
    assert lease(new_rfc3442_classless_static_routes="0 192 0 2 34").fault == "gateway is the link's own address"


@pytest.mark.parametrize("text, routes", [
    ("0 192 0 2 1", [("0.0.0.0/0", "192.0.2.1")]),
    ("1 128 192 0 2 1", [("128.0.0.0/1", "192.0.2.1")]),
    ("8 10 192 0 2 1", [("10.0.0.0/8", "192.0.2.1")]),
    ("9 10 128 192 0 2 1", [("10.128.0.0/9", "192.0.2.1")]),
    ("24 203 0 113 192 0 2 1", [("203.0.113.0/24", "192.0.2.1")]),
    ("25 203 0 113 128 192 0 2 1", [("203.0.113.128/25", "192.0.2.1")]),
    ("32 203 0 113 5 192 0 2 1", [("203.0.113.5/32", "192.0.2.1")]),
    ("16 172 16 192 0 2 1 0 192 0 2 2", [("172.16.0.0/16", "192.0.2.1"), ("0.0.0.0/0", "192.0.2.2")]),
])
def test_option_121_has_as_many_octets_as_its_widths_need(text: str, routes: list[tuple[str, str]]) -> None:
    assert classless_routes(text) == routes


@pytest.mark.parametrize("text, seconds", [
    ("3600", 3600), ("4294967294", 4294967294),
    ("4294967295", 0),  # 20: for ever
    ("", 0), (None, 0), ("-1", 0), ("1e3", 0), ("<error>", 0), ("9" * 100_000, 0),
])
def test_the_lease_time_is_a_number_of_seconds_or_does_not_end(text: str | None, seconds: int) -> None:
    assert lease(new_dhcp_lease_time=text) == LEASE._replace(duration_s=seconds)


@pytest.mark.parametrize("server", [None, "", "<error>", "0.0.0.0", "255.255.255.255", "127.0.0.1"])
def test_a_server_that_is_none_is_left_out(server: str | None) -> None:
    assert lease(new_dhcp_server_identifier=server) == LEASE._replace(server="")


@pytest.mark.parametrize("text, servers", [
    ("198.51.100.53", ("198.51.100.53",)),
    ("198.51.100.53 192.0.2.1 9.9.9.9 149.112.112.112", ("198.51.100.53", "192.0.2.1", "9.9.9.9")),
    ("9.9.9.9 9.9.9.9 09.9.9.9 192.0.2.53", ("9.9.9.9", "192.0.2.53")),
    ("127.0.0.1 0.0.0.0 255.255.255.255 224.0.0.251 169.254.169.254", ("169.254.169.254",)),
    ("<error> ns.example 2001:db8::53 $(id) 1 9.9.9.9", ("9.9.9.9",)),
    ("9.9.9.9,149.112.112.112", ()), ("", ()), ("  ", ()), (None, ()), ("127.0.0.1 " * 1_000_000 + "9.9.9.9", ()),
])
def test_of_the_name_servers_the_first_three_that_are_addresses_count(text: str | None, servers: tuple[str, ...]
                                                                      ) -> None:
    assert lease(new_domain_name_servers=text) == LEASE._replace(name_servers=servers)


def test_a_lease_that_cannot_be_used_has_its_name_servers_all_the_same() -> None:
    assert lease(new_routers=None, new_domain_name_servers="9.9.9.9").name_servers == ("9.9.9.9",)


def test_text_options_are_not_read() -> None:  # fault 42
    assert event(new_host_name="() { :;}; id", new_domain_name="`id`\n$(id)", old_routers="127.0.0.1") == Event(
        "eth0", LEASE)


def test_values_of_128_kib_and_bytes_that_are_no_utf8_are_taken_for_what_they_are() -> None:  # fault 37
    assert lease(new_routers="192.0.2.1 " * 13_000).gateway == "192.0.2.1"
    assert lease(new_ip_address="9" * 131_072).fault == "address is not an IPv4 address"
    assert lease(new_routers="\udcff\udcfe").fault == "gateway is not an IPv4 address"
    assert lease(new_subnet_mask="255.255.255.0\udc80").fault == "net mask is not an IPv4 address"


words = st.sampled_from([b"0", b"24", b"192", b"192.0.2.1", b"192.0.2.34", b"0.0.0.0/0", b"33", b"-"])
noise = st.binary(max_size=60) | st.lists(words, max_size=12).map(b" ".join)


@given(st.fixed_dictionaries({name.encode(): noise for name in BOUND if name.startswith("new_")},
                             optional={b"new_rfc3442_classless_static_routes": noise,
                                       b"new_domain_name_servers": noise}))
def test_whatever_a_server_sends_is_a_canonical_lease(values: dict[bytes, bytes]) -> None:
    found = parse({b"reason": b"BOUND", b"interface": b"eth0", **values}, 7)
    assert found and found.lease
    address, length, gateway, server, begin_s, duration_s, fault, name_servers = found.lease[:8]
    assert 0 <= length <= 32 and begin_s == 7 and 0 <= duration_s < 2**34
    assert len(name_servers) <= 3
    for quad in address, gateway, server, *name_servers:
        assert quad in ("", ON_DEVICE) or unicast(quad) == quad
    assert bool(fault) == (not gateway)
    assert "\n" not in fault and fault.isascii() and fault.isprintable() and len(fault) < 100
