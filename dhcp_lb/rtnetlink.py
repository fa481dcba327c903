"""The only door to the kernel's routing: routes and rules ↔ rtnetlink messages (rtnetlink(7)).

Numbers are from uapi/linux: netlink.h (NLM_F_*, NLMSG_*), rtnetlink.h (RTM_*, RTA_*, RTNH_F_*), fib_rules.h
(FRA_*, FR_ACT_*), if_addr.h (IFA_*), netconf.h (NETCONFA_*), sockios.h (SIOC*), if.h (IFF_*). All of them are IPv4."""

from _socket import AF_INET, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, inet_aton, inet_ntoa, socket
from errno import EEXIST, EINTR, ENODEV, ENOENT, EPERM, ESRCH
from fcntl import ioctl
from posix import F_OK, access, strerror

from .address import EVERYWHERE
from .model import PROTOCOL, Interface, Nexthop, Route, Routing, Rule
from .plan import Change
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

AF_NETLINK = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_CREATE, NLM_F_APPEND = 0x400, 0x800
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1

RTM_GETADDR = 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_GETNETCONF = 82

RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE = 1, 2, 4, 5, 6, 7, 9, 15
RTA_VIA, RTA_NH_ID = 18, 30
RTN_UNICAST = 1
RTPROT_BOOT = 3
RTNH_F_ONLINK = 4
RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x1000, 0x2000

FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_OIFNAME, FRA_PROTOCOL = 1, 2, 6, 14, 15, 17, 21
FR_ACT_TO_TBL = 1
FIB_RULE_DETACHED = 0x8 | 0x10  # the rule's interface is not there at the moment

IFA_ADDRESS, IFA_LOCAL = 1, 2
NETCONFA_IFINDEX, NETCONFA_RP_FILTER, NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN = 1, 3, 6
SIOCGIFFLAGS, SIOCGIFINDEX = 0x8913, 0x8933
IFF_UP, IFF_RUNNING = 0x1, 0x40

HEADER = Struct("=LHHLL")  # struct nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = Struct("=HH")  # struct rtattr: length, type
QUADS = Struct("=HH4s")
BODY = Struct("=8BL")  # struct rtmsg and struct fib_rule_hdr
ADDRESS = Struct("=4BLHH4sHH4s")  # struct ifaddrmsg and two attributes
NEXTHOP = Struct("=HBBl")  # struct rtnexthop: length, flags, hops, interface
U16 = Struct("=H")
U32 = Struct("=L")
S32 = Struct("=l")

OURS = bytes([PROTOCOL])
ALL_IPV4 = BODY.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
RECEIVE = 1 << 16
DUMP_TRIES = 10
MIN_BUFFER = 1 << 17
IPV4_CONF = "/proc/sys/net/ipv4/conf"  # of the network namespace of who asks


class Refusal(NamedTuple):
    """A change that the kernel would not make."""

    change: Change
    errno: int
    words: str  # the kernel's own; "" = it only gave the number


class Sysctl(NamedTuple):
    """Of one interface, net.ipv4.conf.IF.*; index -1 is `all`."""

    rp_filter: int
    ignore_routes_with_linkdown: int


class Rtnetlink:
    """A socket to the kernel's routing. Its methods raise OSError for what the kernel would not tell or do."""

    def __init__(self) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
        self.sequence = 0
        for option in NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK:
            self.socket.setsockopt(SOL_NETLINK, option, 1)

    def dump(self) -> tuple[list[bytes], list[bytes]]:
        """The messages of our rules and of our routes, without their headers. The rules come first: only after a
        receive with a large buffer does the kernel dump a multipath of more than some 230 nexthops; before, it
        leaves it out without a word."""
        rules = self._dump(RTM_GETRULE, ALL_IPV4)
        routes = self._dump(RTM_GETROUTE, BODY.pack(AF_INET, 0, 0, 0, 0, PROTOCOL, 0, 0, 0))
        return [message for message in rules if OUR_RULE in message], routes

    def rules(self) -> list[Rule]:
        """All rules, whosever they are, in the kernel's order."""
        return [rule(message) for message in self._dump(RTM_GETRULE, ALL_IPV4)]

    def default_routes(self, table: int, oif: int = 0) -> list[Route]:
        """The default routes of a table with an id below 256, whosever they are; those by one interface if `oif`
        is given."""
        wanted = BODY.pack(AF_INET, 0, 0, 0, table, 0, 0, 0, 0)
        messages = self._dump(RTM_GETROUTE, wanted + (attribute(RTA_OIF, U32.pack(oif)) if oif else b""))
        return sorted([route(message) for message in messages if message[1] == 0],  # rtm_dst_len
                      key=lambda route: route.metric)

    def prepend_default(self, table: int, nexthop: Nexthop) -> None:
        """Adds a default route that is nobody's in particular (`proto boot`, as of an `ip route` without proto),
        before any other with its metric, 0."""
        flags = RTNH_F_ONLINK if nexthop.onlink else 0
        body = BODY.pack(AF_INET, 0, 0, 0, table, RTPROT_BOOT, 0, RTN_UNICAST, flags)
        body += attribute(RTA_OIF, S32.pack(nexthop.oif))
        if nexthop.gateway:
            body += attribute(RTA_GATEWAY, inet_aton(nexthop.gateway))
        self.sequence += 1
        self.socket.send(message(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, self.sequence, body))
        _, flags, _, reply = messages(self.socket.recv(RECEIVE))[0]
        errno, words = refusal(flags, reply)
        if errno and errno != EEXIST:
            raise OSError(errno, words or strerror(errno))

    def interfaces(self, names: "frozenset[str]") -> dict[str, Interface]:
        """The interfaces with these names, as far as they are there. What an address is that one of them shares with
        any other interface is told only of addresses that stand for a network there; a tunnel may borrow one."""
        addresses: dict[int, list[str]] = {}
        lengths: dict[int, list[int]] = {}
        for message in self._dump(RTM_GETADDR, b"\x02" + bytes(7)):
            # IFA_ADDRESS, which is the peer's if there is one, then IFA_LOCAL: net/ipv4/devinet.c, inet_fill_ifaddr.
            _, length, _, _, ifindex, _, first, address, _, second, local = ADDRESS.unpack_from(message)
            if first in (IFA_ADDRESS, IFA_LOCAL):
                addresses.setdefault(ifindex, []).append(inet_ntoa(local if second == IFA_LOCAL else address))
                lengths.setdefault(ifindex, []).append(length)
        interfaces: dict[str, Interface] = {}
        descriptor = self.socket.fileno()
        for name in names:
            # Asked for an interface that is not there, the kernel would look for a module of that name and run
            # modprobe(8) twice (net/core/dev_ioctl.c, dev_load). Each that speaks IPv4 has a directory.
            if not access(f"{IPV4_CONF}/{name}", F_OK):
                continue
            request = bytearray(name.encode("utf-8", "surrogateescape").ljust(40, b"\0"))  # struct ifreq
            try:
                ioctl(descriptor, SIOCGIFINDEX, request)
                ifindex = S32.unpack_from(request, 16)[0]
                ioctl(descriptor, SIOCGIFFLAGS, request)
                flags = U16.unpack_from(request, 16)[0]
            except OSError as error:
                if error.errno != ENODEV:
                    raise
            else:
                interfaces[name] = Interface(ifindex, flags & IFF_UP != 0, flags & IFF_RUNNING != 0,
                                             tuple(addresses.pop(ifindex, ())), tuple(lengths.pop(ifindex, ())))
        others = frozenset([quad for ifindex, quads in addresses.items()
                            for quad, length in zip(quads, lengths[ifindex]) if length < 32])
        for name, interface in interfaces.items():
            if not others.isdisjoint(interface.addresses):
                shared = tuple([quad for quad in interface.addresses if quad in others])
                interfaces[name] = interface._replace(shared=shared)
        return interfaces

    def sysctls(self) -> dict[int, Sysctl]:
        """The sysctls of every interface, by index."""
        found = [attributes(message, 4) for message in self._dump(RTM_GETNETCONF, b"\x02" + bytes(3))]
        return {S32.unpack(one[NETCONFA_IFINDEX])[0]:
                Sysctl(one[NETCONFA_RP_FILTER][0], one[NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN][0]) for one in found}

    def lookup(self, destination: str, source: str, oif: int) -> Route:
        """The route that a connection of this machine takes, with the table that it is in and all its nexthops;
        a `source` of "" and an `oif` of 0 are an unbound socket."""
        body = BODY.pack(AF_INET, 32, 32 if source else 0, 0, 0, 0, 0, 0, RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH)
        body += attribute(RTA_DST, inet_aton(destination))
        if source:
            body += attribute(RTA_SRC, inet_aton(source))
        if oif:
            body += attribute(RTA_OIF, U32.pack(oif))
        self.sequence += 1
        self.socket.send(message(RTM_GETROUTE, NLM_F_REQUEST, self.sequence, body))
        kind, flags, _, reply = messages(self.socket.recv(RECEIVE))[0]
        if kind == NLMSG_ERROR:
            errno, words = refusal(flags, reply)
            raise OSError(errno, words or strerror(errno))
        return route(reply)

    def write(self, changes: tuple[Change, ...]) -> tuple[Refusal, ...]:
        """Makes the changes in this order, and returns those that the kernel refused; it has made the others.
        To add what is there and to delete what is not is no refusal.

        All messages go in one send, which the kernel works off before the call returns: a process that is killed
        has made all of the changes or none. The kernel tells refusals unasked; the last message asks for an
        acknowledgement, which is the end."""
        first = self.sequence + 1
        self.sequence += len(changes)
        data = b"".join([encode(change, first + place, place + 1 == len(changes))
                         for place, change in enumerate(changes)])
        try:
            self.socket.setsockopt(SOL_SOCKET, SO_SNDBUFFORCE, MIN_BUFFER + len(data))
            self.socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, MIN_BUFFER + len(changes) * 2048)  # an answer each
        except PermissionError as error:
            raise PermissionError(error.errno, "only root can change the routing") from None
        if self.socket.send(data) != len(data):
            raise OSError(ENOENT, "the kernel took a part of the changes")
        refusals = []
        while True:
            for _, flags, sequence, reply in messages(self.socket.recv(RECEIVE)):
                place = sequence - first
                errno, words = refusal(flags, reply)
                change = changes[place]
                if errno == EPERM:
                    raise PermissionError(errno, words or "only root can change the routing")
                if errno and not (change.add and errno == EEXIST or not change.add and errno in (ENOENT, ESRCH)):
                    refusals.append(Refusal(change, errno, words))
                if place + 1 == len(changes):
                    return tuple(refusals)

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        for _ in range(DUMP_TRIES):
            found, interrupted = self._dump_once(kind, body)
            if not interrupted:
                return found
        raise InterruptedError(EINTR, f"the routing changed during each of {DUMP_TRIES} attempts to read it")

    def _dump_once(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        """The messages of a dump, without their headers, and whether something changed meanwhile, so that they
        may not fit together."""
        self.sequence += 1
        self.socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, body))
        found: list[bytes] = []
        interrupted = 0
        while True:
            for kind, flags, _, body in messages(self.socket.recv(RECEIVE)):
                interrupted |= flags & NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    return found, bool(interrupted)
                if kind == NLMSG_ERROR:
                    errno, words = refusal(flags, body)
                    raise OSError(errno, words or strerror(errno))
                found.append(body)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A netlink message. `body` is padded already, as a body and its attributes are."""
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The netlink messages in what was received: type, flags, sequence number, and what follows the header."""
    found = []
    start = 0
    while start < len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        found.append((kind, flags, sequence, data[start + 16:start + length]))
        start += length + 3 & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes, start: int) -> dict[int, bytes]:
    """The attributes from `start` to the end."""
    if (len(data) - start) % 8 == 0:
        # Nearly all take eight bytes with their header. Read in one go they need half the time, which a router
        # with hundreds of links notices; if one takes more, the count of those that fit gives it away.
        found = {kind: value[:length - 4] for length, kind, value in QUADS.iter_unpack(data[start:])
                 if 4 < length <= 8}
        if len(found) == (len(data) - start) // 8:
            return found
    found = {}
    while start < len(data):
        length, kind = ATTRIBUTE.unpack_from(data, start)
        found[kind & 0x3fff] = data[start + 4:start + length]  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
        start += length + 3 & ~3
    return found


OUR_RULE = attribute(FRA_PROTOCOL, OURS)


def routing(rules: list[bytes], routes: list[bytes]) -> Routing:
    """What these messages of a dump say."""
    return Routing(frozenset([route(message) for message in routes]),
                   frozenset([rule(message) for message in rules]))


def route(message: bytes) -> Route:
    """The route in a message from the kernel, without its header."""
    _, length, _, tos, table, _, scope, kind, flags = BODY.unpack_from(message)
    found = attributes(message, 12)
    destination = found.pop(RTA_DST, b"")
    metric = found.pop(RTA_PRIORITY, b"")
    source = found.pop(RTA_PREFSRC, b"")
    nexthops: tuple[Nexthop, ...] = ()
    if RTA_NH_ID in found:  # the kernel shows its nexthops, too, but takes no message with both
        for shown in RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH:
            found.pop(shown, None)
    elif RTA_OIF in found:
        gateway = found.pop(RTA_GATEWAY, b"")
        nexthops = (Nexthop(inet_ntoa(gateway) if gateway else "", U32.unpack(found.pop(RTA_OIF))[0], 1,
                            flags & RTNH_F_ONLINK != 0),)
    elif RTA_MULTIPATH in found:
        nexthops = tuple(_nexthops(found[RTA_MULTIPATH]))
        if nexthops:
            del found[RTA_MULTIPATH]
    if RTA_TABLE in found:
        table = U32.unpack(found.pop(RTA_TABLE))[0]
    rest = b""
    if found or tos or kind != RTN_UNICAST:
        rest = bytes([tos, kind]) + b"".join([attribute(kind, found[kind]) for kind in sorted(found)])
    return Route(table, f"{inet_ntoa(destination)}/{length}" if destination else EVERYWHERE,
                 U32.unpack(metric)[0] if metric else 0, inet_ntoa(source) if source else "", scope, nexthops, rest)


def by_ipv6(route: Route) -> bool:
    """Whether the gateway of a route has an address of IPv6."""
    return RTA_VIA in attributes(route.rest, 2)


def _nexthops(data: bytes) -> list[Nexthop]:
    """The nexthops of a multipath; none if there is something about them that this program never writes."""
    nexthops = []
    start = 0
    while start < len(data):
        length, flags, hops, oif = NEXTHOP.unpack_from(data, start)
        found = attributes(data[start:start + length], 8)
        gateway = found.pop(RTA_GATEWAY, b"")
        if found:
            return []
        nexthops.append(Nexthop(inet_ntoa(gateway) if gateway else "", oif, hops + 1, bool(flags & RTNH_F_ONLINK)))
        start += length
    return nexthops


def rule(message: bytes) -> Rule:
    """The rule in a message from the kernel, without its header; whose it is is not part of it."""
    _, destination_length, source_length, tos, table, _, _, action, flags = BODY.unpack_from(message)
    found = attributes(message, 12)
    found.pop(FRA_PROTOCOL, b"")
    source, destination = found.pop(FRA_SRC, b""), found.pop(FRA_DST, b"")
    pref, suppress = found.pop(FRA_PRIORITY, b""), found.pop(FRA_SUPPRESS_PREFIXLEN, b"")
    oif = found.pop(FRA_OIFNAME, b"").rstrip(b"\0").decode("utf-8", "surrogateescape")
    if FRA_TABLE in found:
        table = U32.unpack(found.pop(FRA_TABLE))[0]
    rest = b""
    flags &= ~FIB_RULE_DETACHED
    if found or tos or action != FR_ACT_TO_TBL or flags:
        rest = BODY.pack(0, 0, 0, tos, 0, 0, 0, action, flags)
        rest += b"".join([attribute(kind, found[kind]) for kind in sorted(found)])
    return Rule(U32.unpack(pref)[0] if pref else 0, table, f"{inet_ntoa(source)}/{source_length}" if source else "",
                f"{inet_ntoa(destination)}/{destination_length}" if destination else "", oif,
                S32.unpack(suppress)[0] if suppress else -1, rest)


def encode(change: Change, sequence: int, acknowledge: bool) -> bytes:
    """The message that makes a change.

    A route is appended, not replaced, so that one which somebody else has put there is left alone; it is deleted
    with all that is known of it, its protocol included. Rules have no NLM_F_EXCL: the same rule of somebody else
    must not stop ours, because it may go at any time."""
    add, what = change
    flags = NLM_F_REQUEST | (NLM_F_ACK if acknowledge else 0)
    if isinstance(what, Route):
        flags |= NLM_F_CREATE | NLM_F_APPEND if add else 0
        return message(RTM_NEWROUTE if add else RTM_DELROUTE, flags, sequence, _route_body(what))
    flags |= NLM_F_CREATE if add else 0
    return message(RTM_NEWRULE if add else RTM_DELRULE, flags, sequence, _rule_body(what))


def _route_body(route: Route) -> bytes:
    table, destination, metric, source, scope, nexthops, rest = route
    quad, _, length = destination.partition("/")
    tos, kind = rest[:2] or (0, RTN_UNICAST)
    flags = RTNH_F_ONLINK if len(nexthops) == 1 and nexthops[0].onlink else 0
    parts = [BODY.pack(AF_INET, int(length), 0, tos, 0, PROTOCOL, scope, kind, flags),
             attribute(RTA_TABLE, U32.pack(table))]
    if length != "0":
        parts.append(attribute(RTA_DST, inet_aton(quad)))
    if metric:
        parts.append(attribute(RTA_PRIORITY, U32.pack(metric)))
    if source:
        parts.append(attribute(RTA_PREFSRC, inet_aton(source)))
    if len(nexthops) == 1:
        gateway, oif, _, _ = nexthops[0]
        if gateway:
            parts.append(attribute(RTA_GATEWAY, inet_aton(gateway)))
        parts.append(attribute(RTA_OIF, U32.pack(oif)))
    elif nexthops:
        parts.append(attribute(RTA_MULTIPATH, b"".join([_nexthop(nexthop) for nexthop in nexthops])))
    parts.append(rest[2:])
    return b"".join(parts)


def _nexthop(nexthop: Nexthop) -> bytes:
    gateway, oif, weight, onlink = nexthop
    via = attribute(RTA_GATEWAY, inet_aton(gateway)) if gateway else b""
    return NEXTHOP.pack(8 + len(via), RTNH_F_ONLINK if onlink else 0, weight - 1, oif) + via


def _rule_body(rule: Rule) -> bytes:
    pref, table, source, destination, oif, suppress, rest = rule
    _, _, _, tos, _, _, _, action, flags = BODY.unpack_from(rest) if rest else (0,) * 7 + (FR_ACT_TO_TBL, 0)
    source_quad, _, source_length = source.partition("/")
    destination_quad, _, destination_length = destination.partition("/")
    parts = [BODY.pack(AF_INET, int(destination_length or 0), int(source_length or 0), tos, 0, 0, 0, action, flags),
             attribute(FRA_PROTOCOL, OURS), attribute(FRA_PRIORITY, U32.pack(pref))]
    if table:
        parts.append(attribute(FRA_TABLE, U32.pack(table)))
    if destination:
        parts.append(attribute(FRA_DST, inet_aton(destination_quad)))
    if source:
        parts.append(attribute(FRA_SRC, inet_aton(source_quad)))
    if oif:
        parts.append(attribute(FRA_OIFNAME, oif.encode("utf-8", "surrogateescape") + b"\0"))
    if suppress >= 0:
        parts.append(attribute(FRA_SUPPRESS_PREFIXLEN, U32.pack(suppress)))
    parts.append(rest[BODY.size:])
    return b"".join(parts)


def refusal(flags: int, reply: bytes) -> tuple[int, str]:
    """The errno (0 = done) and the kernel's words in an acknowledgement with these flags."""
    errno = -S32.unpack_from(reply)[0]
    words = b""
    if flags & NLM_F_ACK_TLVS:
        asked = 16 if flags & NLM_F_CAPPED else U32.unpack_from(reply, 4)[0]
        words = attributes(reply, 4 + (asked + 3 & ~3)).get(NLMSGERR_ATTR_MSG, b"")
    return errno, words.rstrip(b"\0").decode("utf-8", "replace")
