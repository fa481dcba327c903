"""IPv4 addresses as text. A value from a DHCP server must be an address, not something that only resembles one."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb import address


@pytest.mark.parametrize("text, quad", [
    ("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
    ("010.0.0.1", "10.0.0.1"),  # decimal, as dhclient means it; inet_aton would read octal
])
def test_a_dotted_quad_is_an_address(text: str, quad: str) -> None:
    assert address.parse(text) == quad


@pytest.mark.parametrize("text", [
    "1", "0x7f.1", "192.0.2", "192.0.2.1.", "192.0.2.1 ", " 192.0.2.1", "192.0.2.1\n", "192.0.2.1;id", "192.0.2.256",
    "192.0.2.-1", "192.0.2.+1", "192..2.1", "192.0.2.1_0", "192.0.2.\u0661", "192.0.2.²", "<error>", "::1",
    "() { :;}; id", "$(id)", "0000000192.0.2.1",
])
def test_what_only_resembles_an_address_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="^is not an IPv4 address$"):
        address.parse(text)


def test_an_empty_address_is_missing() -> None:
    with pytest.raises(ValueError, match="^is missing$"):
        address.parse("")


@pytest.mark.parametrize("quad", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "1.1.1.1", "223.255.255.254",
                                  "169.253.0.1", "169.255.0.1"])
def test_private_and_carrier_grade_addresses_are_good(quad: str) -> None:  # fault 22
    assert address.unicast(quad) == address.own(quad) == quad


def test_a_router_may_have_a_link_local_address_and_a_host_is_not_given_one() -> None:  # fault 21
    assert address.unicast("169.254.0.1") == "169.254.0.1"
    with pytest.raises(ValueError, match=r"^169\.254\.0\.1 is a link-local address$"):
        address.own("169.254.0.1")


@pytest.mark.parametrize("quad, why", [
    ("0.0.0.0", "0.0.0.0 is in 0.0.0.0/8, which no host can have"),
    ("0.1.2.3", "0.1.2.3 is in 0.0.0.0/8, which no host can have"),
    ("127.0.0.5", "127.0.0.5 is a loopback address"),
    ("224.0.0.1", "224.0.0.1 is a multicast or reserved address"),
    ("240.0.0.1", "240.0.0.1 is a multicast or reserved address"),
    ("255.255.255.255", "255.255.255.255 is the broadcast address"),
    ("255.255.255.0", "255.255.255.0 is a multicast or reserved address"),
])
def test_what_no_host_can_have_is_refused_with_the_reason(quad: str, why: str) -> None:  # faults 5, 6, 16, 21
    with pytest.raises(ValueError) as refusal:
        address.unicast(quad)
    assert str(refusal.value) == why
    with pytest.raises(ValueError) as refusal:
        address.own(quad)
    assert str(refusal.value) == why


def test_each_mask_has_its_length() -> None:
    for length in range(1, 33):
        assert address.mask_length(str(ipaddress.ip_network((0, length)).netmask)) == length


@pytest.mark.parametrize("mask", ["255.0.255.0", "0.0.0.0", "0.255.255.255", "255.255.255.1", "254.255.255.255"])
def test_a_mask_that_is_no_row_of_ones_is_refused(mask: str) -> None:  # faults 14, 15
    with pytest.raises(ValueError) as refusal:
        address.mask_length(mask)
    assert str(refusal.value) == f"{mask} is not ones followed by zeros"


quads = st.integers(0, 2**32 - 1).map(lambda bits: str(ipaddress.IPv4Address(bits)))
lengths = st.integers(1, 32)


@given(quads, lengths, quads)
def test_prefixes_are_those_of_the_ipaddress_module(quad: str, length: int, other: str) -> None:
    net = ipaddress.ip_network(f"{quad}/{length}", strict=False)
    prefix = address.network(quad, length)
    assert prefix == str(net)
    for one in quad, other:
        there = ipaddress.IPv4Address(one)
        assert address.within(one, prefix) == (there in net)
        assert address.reserved(one, prefix) == (length < 31 and there in (net[0], net[-1]))


def test_everything_is_within_everywhere() -> None:
    assert address.within("203.0.113.9", address.EVERYWHERE)
    assert address.network("203.0.113.9", 0) == address.EVERYWHERE


@pytest.mark.parametrize("quad, prefix", [("192.0.2.0", "192.0.2.0/31"), ("192.0.2.1", "192.0.2.0/31"),
                                          ("192.0.2.1", "192.0.2.1/32")])
def test_point_to_point_prefixes_have_no_reserved_address(quad: str, prefix: str) -> None:  # RFC 3021
    assert not address.reserved(quad, prefix)
