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
    """The address in canonical form. ValueError if no router and no server can have it; it says why (RFC 6890). A
    link-local address is fine: many routers of a /32 lease have one."""
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
    """The address in canonical form. ValueError if nobody can have given it to this host; it says why."""
    quad = unicast(text)
    if link_local(quad):
        raise ValueError(f"{quad} is a link-local address")
    return quad


def family(text: str) -> int:
    """AF_INET or AF_INET6, of an address or a prefix."""
    return AF_INET6 if ":" in text else AF_INET


def host6(text: str) -> str:
    """The IPv6 address in canonical form; ValueError if it is none."""
    try:
        return IPV6.text(IPV6.packed(text))
    except (OSError, ValueError):
        raise ValueError("is not an IPv6 address") from None


def router6(text: str) -> str:
    """The IPv6 address in canonical form. ValueError if no router can have it; it says why (RFC 4291)."""
    found = host6(text)
    if not within(found, "fe80::/10") and not of_hosts(f"{found}/128"):
        raise ValueError(f"{found} is no unicast address")
    return found


def prefix6(text: str) -> str:
    """PREFIX/LENGTH in canonical form. ValueError if no provider can have it, neither for one customer nor for many of
    them; it says what it must be."""
    quad, _, length_text = text.partition("/")
    try:
        quad = IPV6.text(IPV6.packed(quad))
        length = int(length_text) if len(length_text) == 2 and length_text.isascii() and length_text.isdecimal() else 0
    except (OSError, ValueError):
        length = 0
    if not 16 <= length <= 64:
        raise ValueError("must be an IPv6 prefix of 16 to 64 bits, as 2001:db8::/32")
    prefix = network(quad, length)
    if not of_hosts(prefix):
        raise ValueError("must be in 2000::/3 or fc00::/7")
    if not prefix.startswith(f"{quad}/"):
        raise ValueError(f"must be the network {prefix}")
    return prefix


def of_hosts(prefix: str) -> bool:
    """Whether hosts can have the addresses of an IPv6 prefix: they are global, or unique local (RFC 4193)."""
    quad = prefix[:prefix.index("/")]
    return within(quad, "2000::/3") or within(quad, "fc00::/7")


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
    """The prefix of `length` bits that contains an address, of either family, as PREFIX/LENGTH."""
    if ":" in quad:
        bits = int.from_bytes(inet_pton(AF_INET6, quad), "big") >> 128 - length << 128 - length
        return f"{inet_ntop(AF_INET6, bits.to_bytes(16, 'big'))}/{length}"
    mask = (1 << length) - 1 << 32 - length
    return f"{inet_ntoa((number(quad) & mask).to_bytes(4, 'big'))}/{length}"


def within(quad: str, prefix: str) -> bool:
    """Whether an address is in PREFIX/LENGTH, which is of the same family."""
    return network(quad, int(prefix[prefix.index("/") + 1:])) == prefix


def inside(one: str, other: str) -> bool:
    """Whether a prefix is a part of another one of the same family, or the same."""
    return within(one[:one.index("/")], other) and int(one.partition("/")[2]) >= int(other.partition("/")[2])


def overlap(one: str, other: str) -> bool:
    """Whether two prefixes of the same family have an address in common."""
    return within(one[:one.index("/")], other) or within(other[:other.index("/")], one)


def reserved(quad: str, prefix: str) -> bool:
    """Whether an address is the first (network) or the last (broadcast) of PREFIX/LENGTH. /31 and /32 have neither
    (RFC 3021). IPv6 has neither: the first address is the routers' anycast address, and nothing refuses it."""
    if ":" in quad:
        return False
    host_bits = 32 - int(prefix[prefix.index("/") + 1:])
    host = number(quad) & (1 << host_bits) - 1
    return host_bits > 1 and within(quad, prefix) and host in (0, (1 << host_bits) - 1)
