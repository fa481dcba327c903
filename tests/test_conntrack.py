"""Whose a connection is, by its address."""

import socket

import pytest

from dhcp_lb.address import family
from dhcp_lb.pinning.conntrack import Networks

MARKS = {"192.0.2.34/32": 1, "192.0.3.0/24": 2, "2001:db8::/32": 3, "2001:db8:b::/48": 4, "2001:db8:b::5/128": 5}


@pytest.mark.parametrize("address, mark", [
    ("192.0.2.34", 1), ("192.0.2.35", 0), ("192.0.3.255", 2), ("32.1.13.184", 0),  # whose bytes are those of 2001:db8
    ("2001:db8:a::1", 3), ("2001:db8:b:f00::1", 4), ("2001:db8:b::5", 5), ("2001:db9::1", 0),
    ("::ffff:192.0.2.34", 0), ("::", 0),
])
def test_an_address_is_its_longest_prefixs(address: str, mark: int) -> None:
    assert Networks(MARKS).mark(socket.inet_pton(family(address), address)) == mark


def test_where_there_are_no_prefixes_nobody_has_an_address() -> None:
    assert Networks({}).mark(bytes(16)) == 0
