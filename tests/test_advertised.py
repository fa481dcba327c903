"""The name servers in a router's advertisement (RFC 8106), and what is known of them."""

import struct
from socket import AF_INET6, IPPROTO_IPV6, inet_pton

import pytest

from dhcp_lb.monitor.advertised import Advertisements, name_servers

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


class Router:
    """The socket of Advertisements. What it receives is sent by a router on the interface 2."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []

    def recvmsg(self, *_: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int, int, int]]:
        if not self.waiting:
            raise BlockingIOError
        local = inet_pton(AF_INET6, "ff02::1") + struct.pack("=i", 2)
        hops = struct.pack("=i", 255)
        return self.waiting.pop(0), [(IPPROTO_IPV6, 50, local), (IPPROTO_IPV6, 52, hops)], 0, ("fe80::1", 0, 0, 2)


@pytest.fixture
def heard() -> Advertisements:
    one = object.__new__(Advertisements)  # a raw socket is root's
    one.socket, one.until_s = Router(), {}
    return one


def test_what_a_router_says_again_is_no_news(heard: Advertisements) -> None:
    def hears(moment_s: float, *options: bytes, indexes: frozenset[int] = frozenset({2})) -> bool:
        heard.socket.waiting += [HEADER + one for one in options]
        return heard.hear(moment_s, indexes)
    first, other = servers("2001:db8::53"), servers("2001:db8::54")
    assert hears(1000, first) and heard.known(1000) == {2: ("2001:db8::53",)}
    assert not hears(1010, *[first] * 10) and not hears(1020, b"") and not hears(1020)
    assert hears(1030, other) and heard.known(1030) == {2: ("2001:db8::53", "2001:db8::54")}
    assert not hears(1300, first, other, other)
    assert heard.known(1899) == {2: ("2001:db8::53", "2001:db8::54")}  # for as long as the last word says
    assert hears(1400, servers("2001:db8::54", lasts_s=0)) and heard.known(1400) == {2: ("2001:db8::53",)}
    assert hears(1400, indexes=frozenset({3})) and heard.known(1400) == {}
