"""Pure: what differs between IPv4 and IPv6 in the packet of a probe and in its answer.

Numbers are from uapi/linux: in.h, in6.h, icmp.h, icmpv6.h."""

from _socket import (AF_INET, AF_INET6, INADDR_ANY, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IP, IPPROTO_IPV6,
                     IPPROTO_UDP, inet_aton, inet_ntoa)

from .. import address
from ..address import IPV6
from ..record import NamedTuple
from .asks import Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
PKTINFO = Struct("=i4s4s")  # struct in_pktinfo: interface, this machine's address, the header's destination
PKTINFO6 = Struct("=16si")  # struct in6_pktinfo: this machine's address, interface
ICMP = Struct("!BBHHH")  # type, code, checksum, identity, number
UDP = Struct("!HHHH")
RECEIVE, CONTROL_SPACE = 2048, 256  # bytes of a packet, and of the control messages beside it
HEADER, HEADER6 = 20, 40  # the smallest length of an IP header, in bytes
SOURCE, DESTINATION, PROTOCOL = 12, 16, 9  # their places in the header
SOURCE6, DESTINATION6, PROTOCOL6 = 8, 24, 6


class Wire(NamedTuple):
    """The numbers of a family."""

    family: int
    protocol: int  # of its ICMP
    level: int  # of its socket options
    tells: int  # the socket option that asks for the device and the address of each packet
    names: int  # the type of the control message that has both
    echo: int  # ICMP types: RFC 792 and RFC 4443
    reply: int
    unreachable: int
    no_port: int  # the code of an `unreachable` because of its port


WIRES = {AF_INET: Wire(AF_INET, IPPROTO_ICMP, IPPROTO_IP, IP_PKTINFO, IP_PKTINFO, 8, 0, 3, 3),
         AF_INET6: Wire(AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6, IPV6_RECVPKTINFO, IPV6_PKTINFO, 128, 129, 1, 4)}


def control(wire: Wire, way: Way) -> bytes:
    """The control message that makes a packet leave by this way."""
    if wire.family == AF_INET:
        return PKTINFO.pack(way.ifindex, inet_aton(way.source), INADDR_ANY.to_bytes(4, "big"))
    return PKTINFO6.pack(IPV6.packed(way.source), way.ifindex)


def came(wire: Wire, value: bytes) -> tuple[int, str]:
    """The interface index and this machine's address that a packet came to, from its control message."""
    if wire.family == AF_INET:
        ifindex, local, _ = PKTINFO.unpack_from(value)
        return ifindex, inet_ntoa(local)
    local, ifindex = PKTINFO6.unpack_from(value)
    return ifindex, IPV6.text(local)


def peer(way: Way, to: str, port: int) -> "tuple[str, int] | tuple[str, int, int, int]":
    """The destination of a packet, in the form of a socket's address. A link-local address means another host on each
    link, so it has the interface."""
    if way.family == AF_INET:
        return to, port
    return to, port, 0, way.ifindex if address.within(to, "fe80::/10") else 0


def echo(wire: Wire, content: bytes) -> bytes:
    """An echo request with this content behind its checksum. In IPv6 the kernel fills in the checksum."""
    checksum = _checksum(bytes([wire.echo, 0]) + content) if wire.family == AF_INET else 0
    return bytes([wire.echo, 0]) + checksum.to_bytes(2, "big") + content


def icmp(wire: Wire, data: bytes) -> bytes:
    """The ICMP message in the data from a raw socket. In IPv4 the data begin with the IP header (raw(7))."""
    return data[(data[0] & 0x0f) * 4:] if wire.family == AF_INET else data


def udp(wire: Wire, data: bytes) -> tuple[str, str, bytes] | None:
    """Source, destination and content of a UDP packet that an ICMP error quotes; None if it quotes something else."""
    if wire.family == AF_INET:
        start = (data[0] & 0x0f) * 4 if data else 0
        if start < HEADER or len(data) < start or data[PROTOCOL] != IPPROTO_UDP:
            return None
        return (inet_ntoa(data[SOURCE:SOURCE + 4]), inet_ntoa(data[DESTINATION:DESTINATION + 4]), data[start:])
    if len(data) < HEADER6 or data[PROTOCOL6] != IPPROTO_UDP:  # a query of ours has no header between the two
        return None
    return (IPV6.text(data[SOURCE6:SOURCE6 + 16]), IPV6.text(data[DESTINATION6:DESTINATION6 + 16]), data[HEADER6:])


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum([int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2)])
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff
