"""The kernel's notifications of changes that concern the links: interfaces, their sysctls, addresses, rules, our
routes, all defaults, and routes that somebody has set in main by a link. A filter drops other routes, such as a
routing daemon's.

IPv6 addresses are not among these notifications, because each unchanged advertisement of a router would cause one. But
an address that can be used, or that is gone, is a route in table local, and its network is one in main. Routes of the
LAN's addresses count, too: a link's prefix may be inferred from such an address (ipv6.py)."""

from _socket import AF_INET6, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, if_indextoname, socket

from ..model import MAIN_TABLE, PROTOCOL
from ..netlink import AF_NETLINK, RECEIVE, S32, SO_RCVBUFFORCE, SOL_NETLINK, U16, attributes, messages
from ..nfnetlink import NETLINK_NETFILTER
from ..rtnetlink import NETCONFA_IFINDEX, NETLINK_ROUTE
from ..sysctl import ALL
from . import bpf

RTM_NEWLINK, RTM_DELLINK, RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNETCONF = 16, 17, 24, 25, 80
IFLA_IFNAME = 3
RTA_DST, RTA_OIF = 1, 4
RTN_LOCAL = 2
GLOBAL, GLOBAL_MASK = 0x20, 0xe0  # of an IPv6 address's first byte: 2000::/3 (RFC 4291, 2.5.4)
RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC, RTPROT_RA, RTPROT_DHCP = 2, 3, 4, 9, 16
# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, and the bits of RTNLGRP_IPV6_RULE and
# _IPV4_NETCONF; dhcp-lb-monitor.socket, too
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x400 | 1 << 18 | 1 << 23
NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES = 1, 7  # uapi/linux: netlink.h, netfilter/nfnetlink.h
BUFFER = 1 << 24

# Places in a message: nlmsg_type, rtm_family, rtm_dst_len, rtm_table, rtm_protocol, and what follows struct rtmsg.
TYPE, FAMILY, LENGTH, TABLE, OWNER, ATTRIBUTES = 4, 16, 16 + 1, 16 + 4, 16 + 5, 16 + 12
FARTHEST = 250  # how many instructions a jump can skip
MOST_FOLLOWED = 1000  # interfaces: a filter and its predecessor may take 20 KB together (net.core.optmem_max)
LINK = 16  # bytes of struct ifinfomsg; the index is at 4
NETCONF = 4  # bytes of struct netconfmsg
ROUTE = 12  # bytes of struct rtmsg


def _as_loaded(number: int) -> int:
    """A number of 16 bits as BPF loads it from a netlink message. BPF reads big-endian, and the message has this
    machine's byte order."""
    return int.from_bytes(U16.pack(number), "big")


def concerns_us(indexes: frozenset[int]) -> list[bpf.Instruction]:
    """The filter that lets the messages through which concern us, if the links' interfaces have these indexes."""
    program = [
        (bpf.LOAD_HALF, 0, 0, TYPE),
        (bpf.EQUAL, 1, 0, _as_loaded(RTM_NEWROUTE)),
        (bpf.EQUAL, 0, 8, _as_loaded(RTM_DELROUTE)),
        (bpf.LOAD_BYTE, 0, 0, OWNER), (bpf.EQUAL, 6, 0, PROTOCOL),
        (bpf.EQUAL, 1, 0, RTPROT_KERNEL), (bpf.EQUAL, 0, 2, RTPROT_RA),
        (bpf.LOAD_BYTE, 0, 0, FAMILY), (bpf.EQUAL, 2, 0, AF_INET6),
        (bpf.LOAD_BYTE, 0, 0, LENGTH), (bpf.EQUAL, 0, 1, 0),
        (bpf.RETURN, 0, 0, bpf.ALL),
        (bpf.LOAD_BYTE, 0, 0, OWNER),
        (bpf.EQUAL, 3, 0, RTPROT_BOOT), (bpf.EQUAL, 2, 0, RTPROT_STATIC), (bpf.EQUAL, 1, 0, RTPROT_DHCP),
        (bpf.RETURN, 0, 0, bpf.NOTHING),
        (bpf.LOAD_BYTE, 0, 0, TABLE), (bpf.EQUAL, 1, 0, MAIN_TABLE),
        (bpf.RETURN, 0, 0, bpf.NOTHING),
        (bpf.LOAD, 0, 0, ATTRIBUTES), (bpf.LOAD_X, 0, 0, RTA_OIF), (bpf.LOAD_WORD, 0, 0, bpf.ATTRIBUTE),
        (bpf.EQUAL, 0, 1, 0),
        (bpf.RETURN, 0, 0, bpf.NOTHING),
        (bpf.COPY_TO_X, 0, 0, 0), (bpf.LOAD_WORD_X, 0, 0, 4)]  # behind the attribute's own header
    wanted = sorted(indexes)[:MOST_FOLLOWED]
    for start in range(0, len(wanted), FARTHEST):
        several = wanted[start:start + FARTHEST]
        program += [(bpf.EQUAL, left, not left, int.from_bytes(S32.pack(index), "big"))
                    for left, index in zip(reversed(range(len(several))), several)]
        program.append((bpf.RETURN, 0, 0, bpf.ALL))
    return [*program, (bpf.RETURN, 0, 0, bpf.NOTHING)]


class Changes:
    """The socket that receives the notifications. `descriptor`: a socket that systemd has kept, with the messages that
    came while no monitor ran; -1 = a new one."""

    def __init__(self, descriptor: int = -1) -> None:
        self.followed: frozenset[int] = frozenset()
        self.of_sysctls = True  # the links' sysctls may have changed since somebody set this to False
        if descriptor >= 0:
            self.socket = socket(fileno=descriptor)
            self.socket.setblocking(False)
            bpf.attach(self.socket, concerns_us(self.followed))
        else:
            self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)
            bpf.attach(self.socket, concerns_us(self.followed))
            self.socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self.socket.bind((0, GROUPS))

    def follow(self, indexes: frozenset[int]) -> bool:
        """From now on main's routes by the interfaces with these indexes are let through. True: these are other
        indexes than before, so a change of such a route may have been missed."""
        if indexes == self.followed:
            return False
        self.followed = indexes
        bpf.attach(self.socket, concerns_us(indexes))
        return True

    def came(self, names: frozenset[str], indexes: frozenset[int]) -> bool:
        """Reads all notifications. Whether one of them concerns the interfaces with these names, or those that had
        these indexes."""
        found = False
        while True:
            try:
                data = self.socket.recv(RECEIVE)
            except BlockingIOError:
                return found
            except OSError:  # some were lost for want of room, and nobody knows which
                found = self.of_sysctls = True
                continue
            for kind, _, _, body in messages(data):
                sets = kind in (RTM_NEWLINK, RTM_NEWNETCONF)  # a new interface has sysctls of its own
                if (not found or sets and not self.of_sysctls) and _concerns(kind, body, names, indexes):
                    found = True
                    self.of_sysctls = self.of_sysctls or sets


def tables() -> socket | None:
    """A socket that is ready when somebody has changed anything in nftables, for instance by `flush ruleset`. None if
    this kernel has no netfilter."""
    try:
        return _tables()
    except OSError:
        return None


def _tables() -> socket:
    found = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER)
    # Without this bind() the socket's port would be 0, which is the kernel's, and the kernel does not notify itself
    # (af_netlink.c, do_one_broadcast).
    found.bind((0, 0))
    found.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
    return found


def drain(found: socket) -> None:
    """Reads all that has come, and drops it."""
    while True:
        try:
            found.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            pass  # some were lost for want of room


def _concerns(kind: int, body: bytes, names: frozenset[str], indexes: frozenset[int]) -> bool:
    if kind == RTM_NEWNETCONF:  # a sysctl of an interface, or of all
        index = attributes(body, NETCONF).get(NETCONFA_IFINDEX, b"")
        return len(index) == S32.size and S32.unpack(index)[0] in {ALL, *indexes}
    if kind in (RTM_NEWROUTE, RTM_DELROUTE) and body[0] == AF_INET6 and body[1] and body[5] != PROTOCOL:
        found = attributes(body, ROUTE)
        return (body[7] == RTN_LOCAL and found.get(RTA_DST, b"\0")[0] & GLOBAL_MASK == GLOBAL
                or _is_by(found.get(RTA_OIF, bytes(4)), names))
    if kind not in (RTM_NEWLINK, RTM_DELLINK) or len(body) < LINK:
        return True
    name = attributes(body, LINK).get(IFLA_IFNAME, b"").rstrip(b"\0")
    return S32.unpack_from(body, 4)[0] in indexes or name.decode("utf-8", "surrogateescape") in names


def _is_by(oif: bytes, names: frozenset[str]) -> bool:
    """Whether a route leads by an interface with one of these names, or by one that is gone."""
    try:
        return if_indextoname(S32.unpack(oif)[0]) in names
    except OSError:
        return True
