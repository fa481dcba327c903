"""Addresses and prefixes as text, without the 3 ms that importing `ipaddress` takes. The family is IPv4 unless it is
named."""

from _socket import AF_INET, AF_INET6, inet_aton, inet_ntoa, inet_ntop, inet_pton

from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Family(NamedTuple):
    """What differs between IPv4 and IPv6, as far as it is a number, a word, or how an address is written."""

    number: int  # AF_INET or AF_INET6
    everywhere: str  # the destination of a default route
    option: str  # of ip(8)
    packed: "Callable[[str], bytes]"  # an address in canonical form → the 4 or 16 bytes that the kernel takes
    text: "Callable[[bytes], str]"  # and back


IPV4 = Family(AF_INET, "0.0.0.0/0", "-4", inet_aton, inet_ntoa)
IPV6 = Family(AF_INET6, "::/0", "-6", lambda text: inet_pton(AF_INET6, text), lambda data: inet_ntop(AF_INET6, data))
FAMILIES = {IPV4.number: IPV4, IPV6.number: IPV6}
EVERYWHERE = IPV4.everywhere


def number(text: str) -> int:
    """A canonical dotted quad as a 32-bit number."""
    return int.from_bytes(inet_aton(text), "big")


def parse(text: str) -> str:
    """`text` in canonical form. ValueError unless it is a dotted quad of four decimal numbers. inet_aton(3) would also
    take `1`, `0x7f.1`, `010.0.0.1` and anything after a space."""
    if not text:
        raise ValueError("is missing")
    parts = text.split(".") if len(text) <= 15 else []
    if len(parts) != 4 or not all(part.isascii() and part.isdecimal() and int(part) < 256 for part in parts):
        raise ValueError("is not an IPv4 address")
    return ".".join([str(int(part)) for part in parts])


def unicast(text: str) -> str:
    """The address in canonical form. ValueError if no router and no server can have it; it says why (RFC 6890). They
    may have a link-local one, as many a router of a /32 lease has."""
    quad = parse(text)
    first = int(quad[:quad.index(".")])
    if first == 0:
        raise ValueError(f"{quad} is in 0.0.0.0/8, which no host can have")
    if first == 127:
        raise ValueError(f"{quad} is a loopback address")
    if quad == "255.255.255.255":
        raise ValueError(f"{quad} is the broadcast address")
    if first >= 224:
        raise ValueError(f"{quad} is a multicast or reserved address")
    return quad


def own(text: str) -> str:
    """The address in canonical form; ValueError says why nobody can have given it to this host."""
    quad = unicast(text)
    if link_local(quad):
        raise ValueError(f"{quad} is a link-local address")
    return quad


def link_local(quad: str) -> bool:
    """Whether this is an address that a host gives itself because nobody else gave it one (RFC 3927)."""
    return quad.startswith("169.254.")


def mask_length(text: str) -> int:
    """The prefix length, 1 to 32, of a net mask that is dotted or a number of bits. ValueError if it is no mask."""
    if text.isascii() and text.isdecimal() and len(text) <= 2 and 1 <= int(text) <= 32:
        return int(text)
    bits = number(parse(text))
    length = bits.bit_count()
    if not length or bits != ((1 << length) - 1) << 32 - length:
        raise ValueError(f"{parse(text)} is not ones followed by zeros")
    return length


def network(quad: str, length: int) -> str:
    """The prefix of `length` bits that contains an address, as PREFIX/LENGTH."""
    mask = (1 << length) - 1 << 32 - length
    return f"{inet_ntoa((number(quad) & mask).to_bytes(4, 'big'))}/{length}"


def within(quad: str, prefix: str) -> bool:
    """Whether an address is in PREFIX/LENGTH."""
    return network(quad, int(prefix[prefix.index("/") + 1:])) == prefix


def overlap(one: str, other: str) -> bool:
    """Whether two prefixes have an address in common."""
    return within(one[:one.index("/")], other) or within(other[:other.index("/")], one)


def reserved(quad: str, prefix: str) -> bool:
    """Whether an address is the first (network) or the last (broadcast) of PREFIX/LENGTH. /31 and /32 have neither
    (RFC 3021)."""
    host_bits = 32 - int(prefix[prefix.index("/") + 1:])
    host = number(quad) & (1 << host_bits) - 1
    return host_bits > 1 and within(quad, prefix) and host in (0, (1 << host_bits) - 1)
