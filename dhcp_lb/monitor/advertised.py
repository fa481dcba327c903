"""The name servers that routers advertise (RFC 8106). The monitor receives the advertisements itself, whichever other
program uses them: the kernel, a DHCP client, networkd or NetworkManager."""

from _socket import (AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, socket)

from ..address import IPV6, within
from ..netlink import U32
from . import bpf
from .wire import CONTROL_SPACE, PKTINFO6, RECEIVE, WIRES, came

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

IPV6_MULTICAST_HOPS, IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT = 18, 51, 52  # uapi/linux/in6.h
SOLICITATION, ADVERTISEMENT = 133, 134  # RFC 4861, 4.1 and 4.2
HEADER = 16  # bytes before the options of an advertisement
RDNSS = 25
LIFE = Struct("!4xL")  # how long the name servers of an option count, in seconds
ALL_ROUTERS = "ff02::2"
NOT_ROUTED = 255  # the hop limit of a packet that no router has forwarded
MOST = 8  # name servers of a link
MAX_RECEIVED = 64


class Advertisements:
    """Receives advertisements, and asks for them. `socket` is ready when a router has advertised itself."""

    def __init__(self) -> None:
        """PermissionError without CAP_NET_RAW."""
        self.socket = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6)
        bpf.attach(self.socket, [(bpf.LOAD_BYTE, 0, 0, 0), (bpf.EQUAL, 0, 1, ADVERTISEMENT),
                                 (bpf.RETURN, 0, 0, bpf.ALL), (bpf.RETURN, 0, 0, bpf.NOTHING)])
        wire = WIRES[AF_INET6]
        for option, value in (wire.tells, 1), (IPV6_RECVHOPLIMIT, 1), (IPV6_MULTICAST_HOPS, NOT_ROUTED):
            self.socket.setsockopt(IPPROTO_IPV6, option, value)
        self.until_s: dict[int, dict[str, float]] = {}  # interface index → name server → until when it counts

    def hear(self, now_s: float, indexes: frozenset[int]) -> bool:
        """Takes the advertisements that have come by the interfaces with these indexes, and forgets those of other
        interfaces. `now_s` is CLOCK_BOOTTIME. Returns whether the name servers that count have changed: a router
        advertises the same again every few minutes, and a hostile one all the time."""
        before = self.known(now_s)
        self._take(now_s, indexes)
        return self.known(now_s) != before

    def _take(self, now_s: float, indexes: frozenset[int]) -> None:
        for ifindex in self.until_s.keys() - indexes:
            del self.until_s[ifindex]
        for _ in range(MAX_RECEIVED):
            try:
                data, messages, _, sender = self.socket.recvmsg(RECEIVE, CONTROL_SPACE)
            except OSError:
                return
            told = {kind: value for level, kind, value in messages if level == IPPROTO_IPV6}
            ifindex, _ = came(WIRES[AF_INET6], told.get(WIRES[AF_INET6].names, bytes(PKTINFO6.size)))
            if (ifindex in indexes and told.get(IPV6_HOPLIMIT, b"")[:4] == U32.pack(NOT_ROUTED)
                    and within(sender[0], "fe80::/10")):
                known = self.until_s.setdefault(ifindex, {})
                for server, lasts_s in name_servers(data):
                    known.pop(server, None)
                    if lasts_s and len(known) < MOST:
                        known[server] = now_s + lasts_s

    def known(self, now_s: float) -> dict[int, tuple[str, ...]]:
        """Interface index → the name servers that count at `now_s`."""
        return {ifindex: tuple(sorted([server for server, until_s in several.items() if now_s < until_s]))
                for ifindex, several in self.until_s.items()}

    def solicit(self, ifindex: int) -> None:
        """Asks the routers of a link to advertise themselves, as a new host does."""
        try:
            self.socket.sendto(bytes([SOLICITATION]) + bytes(7), (ALL_ROUTERS, 0, 0, ifindex))
        except OSError:
            pass  # they advertise themselves sooner or later


def name_servers(data: bytes) -> list[tuple[str, int]]:
    """Pure: the name servers in an advertisement, and for how many seconds each counts. Options after a malformed one
    are ignored."""
    found: list[tuple[str, int]] = []
    start = HEADER
    while start + 2 <= len(data):
        kind, size = data[start], data[start + 1] * 8
        if not size or start + size > len(data):
            break
        if kind == RDNSS and size >= LIFE.size + 16:
            lasts_s = LIFE.unpack_from(data, start)[0]
            found += [(IPV6.text(data[place:place + 16]), lasts_s)
                      for place in range(start + LIFE.size, start + size - 15, 16)]
        start += size
    return found
