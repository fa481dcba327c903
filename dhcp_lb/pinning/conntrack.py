"""The only door to the kernel's connections: ctnetlink, as conntrack(8) speaks it.

Numbers are from uapi/linux/netfilter: nfnetlink_conntrack.h (IPCTNL_*, CTA_*) and nf_conntrack_tcp.h (TCP states)."""

from _socket import AF_UNSPEC
from errno import ENOENT
from os import strerror
from struct import Struct

from ..address import FAMILIES, family
from ..netlink import Netlink, attribute, attributes
from ..nfnetlink import CONNTRACK, NETLINK_NETFILTER, header
from ..record import NamedTuple

CT_NEW, CT_GET, CT_DELETE = CONNTRACK | 0, CONNTRACK | 1, CONNTRACK | 2
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO, CTA_MARK, CTA_ZONE = 1, 2, 3, 4, 8, 18
CTA_MARK_MASK, CTA_STATUS_MASK = 21, 26
IPS_SRC_NAT = 1 << 4  # nf_conntrack_common.h
CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_PROTO_NUM = 1, 2, 1
CTA_IP_V4_DST, CTA_IP_V6_DST = 2, 4
CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE = 1, 1
NLA_F_NESTED = 0x8000
TCP, UDP = 6, 17
OVER = (6, 7, 8)  # LAST_ACK, TIME_WAIT, CLOSE: both sides have finished; before that, one of them may still send
U32 = Struct("!L")
AT_ONCE = 1000  # messages in one send


class Counts(NamedTuple):
    """How many connections there are, by protocol."""

    tcp: int  # those that can still carry data
    udp: int
    others: int


def count(mark: int, mask: int) -> Counts:
    """How many connections of both families have this mark in the bits of `mask`. OSError without CAP_NET_ADMIN."""
    tcp = udp = others = 0
    for message in Netlink(NETLINK_NETFILTER).dump(CT_GET, header(AF_UNSPEC) + _marked(mark, mask)):
        found = attributes(message, len(header(AF_UNSPEC)))
        protocol = attributes(attributes(found[CTA_TUPLE_ORIG], 0)[CTA_TUPLE_PROTO], 0)[CTA_PROTO_NUM][0]
        if protocol == TCP:
            tcp += _tcp_state(found) not in OVER
        elif protocol == UDP:
            udp += 1
        else:
            others += 1
    return Counts(tcp, udp, others)


def release(mark: int, mask: int, family: int = AF_UNSPEC, translated: bool = False) -> None:
    """Deletes the entries of those connections of a family that have this mark in the bits of `mask`. With
    `translated`, only connections whose source is translated. Their next packets are new ones to the kernel, which
    chooses a link for them and translates them anew. TCP behind NAT cannot move: its other end resets it.

    The routing must lead elsewhere by then, or the next packet would make the same entry again. It takes one message:
    a flush with a filter (net/netfilter/nf_conntrack_netlink.c, ctnetlink_flush_conntrack). In a message of version 0
    the family would not count (ctnetlink_del_conntrack). A kernel without CTA_STATUS_MASK would delete all of them;
    Linux 6.1 has it. OSError if the kernel refuses."""
    which = _marked(mark, mask)
    if translated:
        which += attribute(CTA_STATUS, U32.pack(IPS_SRC_NAT)) + attribute(CTA_STATUS_MASK, U32.pack(IPS_SRC_NAT))
    _send(Netlink(NETLINK_NETFILTER), [(CT_DELETE, 0, header(family, version=1) + which)])


def seed(marks: dict[str, int], mask: int) -> int:
    """Marks the connections that have nothing in the bits of `mask`. `marks`: PREFIX/LENGTH of a link → the link's
    mark. The prefix is that of the source with which a connection left, or of the destination that it asked for. A
    connection between two such prefixes stays within the LAN and gets no mark. Returns how many were marked. OSError
    if the kernel refuses."""
    wanted = Networks(marks)
    kernel = Netlink(NETLINK_NETFILTER)
    requests = []
    for message in kernel.dump(CT_GET, header(AF_UNSPEC) + _marked(0, mask)):
        found = attributes(message, len(header(AF_UNSPEC)))
        left, asked = [wanted.mark(_destination(found[side])) for side in (CTA_TUPLE_REPLY, CTA_TUPLE_ORIG)]
        if bool(left) != bool(asked):
            zone = attribute(CTA_ZONE, found[CTA_ZONE]) if CTA_ZONE in found else b""
            tuple_ = attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, found[CTA_TUPLE_ORIG])
            requests.append((CT_NEW, 0, header(message[0]) + tuple_ + zone + _marked(left or asked, mask)))
    _send(kernel, requests)
    return len(requests)


class Networks:
    """Finds the mark of an address by its prefix, in both families."""

    def __init__(self, marks: dict[str, int]) -> None:
        found: dict[tuple[int, int], dict[int, int]] = {}  # bytes of an address, host bits → network → mark
        for prefix, mark in marks.items():
            text, _, length = prefix.partition("/")
            packed = FAMILIES[family(text)].packed(text)
            host_bits = 8 * len(packed) - int(length)
            found.setdefault((len(packed), host_bits), {})[int.from_bytes(packed, "big") >> host_bits] = mark
        self.longest_first = sorted(found.items())

    def mark(self, packed: bytes) -> int:
        """The mark of the longest prefix that contains the address, which has 4 or 16 bytes; 0 = there is none."""
        number = int.from_bytes(packed, "big")
        for (size, host_bits), networks in self.longest_first:
            if size == len(packed) and (mark := networks.get(number >> host_bits)):
                return mark
        return 0


def _send(kernel: Netlink, requests: list[tuple[int, int, bytes]]) -> None:
    """Sends messages, AT_ONCE at a time. A connection that has ended in the meantime is not an error."""
    for start in range(0, len(requests), AT_ONCE):
        for _, errno, words in kernel.send(requests[start:start + AT_ONCE]):
            if errno != ENOENT:
                raise OSError(errno, words or strerror(errno))


def _marked(mark: int, mask: int) -> bytes:
    """In a filter: connections with this mark in these bits. In a change: these bits become the mark, others stay."""
    return attribute(CTA_MARK, U32.pack(mark)) + attribute(CTA_MARK_MASK, U32.pack(mask))


def _tcp_state(found: dict[int, bytes]) -> int:
    states = attributes(attributes(found[CTA_PROTOINFO], 0)[CTA_PROTOINFO_TCP], 0)
    return states[CTA_PROTOINFO_TCP_STATE][0]


def _destination(side: bytes) -> bytes:
    addresses = attributes(attributes(side, 0)[CTA_TUPLE_IP], 0)
    return addresses.get(CTA_IP_V4_DST) or addresses[CTA_IP_V6_DST]
