"""The name servers in a router's advertisement (RFC 8106)."""

import struct
from socket import AF_INET6, inet_pton

import pytest

from dhcp_lb.monitor.advertised import name_servers

HEADER = bytes([134]) + bytes(15)
LINK_LAYER = bytes([1, 1]) + bytes(6)


def servers(*texts: str, lasts_s: int = 600) -> bytes:
    return struct.pack("!BBHL", 25, 1 + 2 * len(texts), 0, lasts_s) + b"".join(
        [inet_pton(AF_INET6, text) for text in texts])


@pytest.mark.parametrize("options, found", [
    (b"", []),
    (LINK_LAYER, []),
    (servers("2001:db8::53"), [("2001:db8::53", 600)]),
    (LINK_LAYER + servers("2001:db8::53", "fe80::1"), [("2001:db8::53", 600), ("fe80::1", 600)]),
    (servers("2001:db8::53", lasts_s=0) + servers("2001:db8::54"), [("2001:db8::53", 0), ("2001:db8::54", 600)]),
    (servers(), []),
    (servers("2001:db8::53")[:-1], []),  # cut off
    (bytes([25, 0]) + servers("2001:db8::53"), []),  # of no length
    (bytes([25, 2]) + bytes(14), []),  # of half an address
    (bytes([25]), []),
])
def test_the_name_servers_of_an_advertisement(options: bytes, found: list[tuple[str, int]]) -> None:
    assert name_servers(HEADER + options) == found
