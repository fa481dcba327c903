"""The only door to the kernel's routing: the program's questions and its changes.

Numbers are from uapi/linux: rtnetlink.h (RTM_*, RTPROT_*, RTNH_F_*), if_link.h (IFLA_*), if_addr.h (IFA_*), netconf.h
(NETCONFA_*), if.h (IFF_*)."""

from _socket import AF_INET, AF_INET6, inet_aton, inet_ntoa
from errno import EEXIST, EHOSTUNREACH, EMSGSIZE, ENODEV, ENOENT, ESRCH
from posix import listdir, strerror

from .model import MAIN_TABLE, PROTOCOL, Change, Interface, Nexthop, Refusal, Route, Rule
from .netlink import ATTRIBUTE, NLM_F_ACK, NLM_F_CREATE, S32, U32, Netlink, attribute, attributes
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

NETLINK_ROUTE = 0

RTM_GETLINK, RTM_SETLINK, RTM_GETADDR = 18, 19, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_GETRULE = 34
RTM_GETNETCONF = 82

RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH = 1, 2, 3, 4, 5, 6, 9
RTA_TABLE, RTA_MARK, RTA_IP_PROTO, RTA_DPORT = 15, 16, 27, 29
RTN_UNICAST = 1
RTPROT_KERNEL, RTPROT_BOOT = 2, 3
RTNH_F_ONLINK = 4
IPPROTO_ICMP, IPPROTO_ICMPV6 = 1, 58
RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x1000, 0x2000
FRA_TABLE, FRA_PROTOCOL = 15, 21

IFLA_LINKINFO, IFLA_INFO_KIND = 18, 1
IFLA_IFNAME, IFLA_GROUP, IFLA_EXT_MASK, IFLA_ALT_IFNAME = 3, 27, 29, 53
RTEXT_FILTER_SKIP_STATS = 8
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_PERMANENT, IFA_F_NOPREFIXROUTE = 0x80, 0x200
RT_SCOPE_UNIVERSE = 0
NETCONFA_IFINDEX, NETCONFA_RP_FILTER, NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN = 1, 3, 6
IFF_UP, IFF_POINTOPOINT, IFF_RUNNING, IFF_NOARP = 0x1, 0x10, 0x40, 0x80

BODY = Struct("=8BL")  # struct rtmsg and struct fib_rule_hdr: rtmessages.py
DST_LEN, TOS, OWNER, KIND = 1, 3, 5, 7  # bytes in a route's message: rtm_dst_len, rtm_tos, rtm_protocol, rtm_type
LINK = Struct("=BxHlLL")  # struct ifinfomsg: family, type, index, flags, change
TUNNELS = b"tun", b"gretap", b"ip6gretap", b"vxlan", b"geneve", b"l2tpeth"  # rtnl_link_ops.kind; a tap is a tun, too
NO_STATS = attribute(IFLA_EXT_MASK, U32.pack(RTEXT_FILTER_SKIP_STATS))
ADDRESS = Struct("=4BLHH4sHH4s")  # struct ifaddrmsg (family, prefixlen, flags, scope, index) and two attributes
SCOPE = 3  # byte in it
OUR_RULE = attribute(FRA_PROTOCOL, bytes([PROTOCOL]))
IPV4_CONF = "/proc/sys/net/ipv4/conf"  # shows the network namespace of the process that reads it


class Sysctl(NamedTuple):
    """Those sysctls net.ipv4.conf.IF.* or net.ipv6.conf.IF.* of one interface that the program needs."""

    rp_filter: int  # 0 in IPv6, which has no such sysctl
    ignore_routes_with_linkdown: int


def _at_zero(message: bytes) -> bool:
    """Whether a route's prefix begins at 0.0.0.0. Such routes come first in a dump of a table."""
    return not any(attributes(message, BODY.size).get(RTA_DST, b""))


class Rtnetlink(Netlink):
    """A socket to the kernel's routing. Its methods raise OSError if the kernel refuses."""

    of = "the routing"

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE)

    def ours(self, family: int = AF_INET, tables: tuple[int, ...] = (), main: list[bytes] = [],
             ) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """The messages of our rules, of our routes, and of foreign rules, without their headers. The rules are read
        first: the kernel dumps a multipath of more than some 230 nexthops only after a receive with a large buffer.
        Before that it silently leaves such a route out.

        To find our routes in all tables, the kernel walks all of main, which takes 0.2 s if main has a million routes.
        With `tables`, only these tables and those that our rules name are read, and of main only its beginning
        counts, which is in `main`."""
        rules = self.dump(RTM_GETRULE, BODY.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        our_rules = [message for message in rules if OUR_RULE in message]
        wanted = BODY.pack(family, 0, 0, 0, 0, PROTOCOL, 0, 0, 0)
        if not tables:
            routes = self.dump(RTM_GETROUTE, wanted)
        else:
            routes = [message for message in main if message[OWNER] == PROTOCOL]
            named = [U32.unpack(attributes(message, BODY.size)[FRA_TABLE])[0] for message in our_rules]
            for table in sorted({*tables, *named} - {0, MAIN_TABLE}):  # 0: a rule that leads nowhere
                try:
                    routes += self.dump(RTM_GETROUTE, wanted + attribute(RTA_TABLE, U32.pack(table)))
                except FileNotFoundError:  # there is no such table
                    pass
        return our_rules, routes, [message for message in rules if OUR_RULE not in message]

    def addresses6(self) -> list[bytes]:
        """The messages of the global IPv6 addresses of all interfaces, without their headers."""
        return [message for message in self.dump(RTM_GETADDR, bytes([AF_INET6]) + bytes(7))
                if message[SCOPE] == RT_SCOPE_UNIVERSE]

    def routes6(self, table: int, protocol: int) -> list[bytes]:
        """The messages of the IPv6 routes of this protocol (RTPROT_*) in a table with an id below 256, without their
        headers."""
        return self.dump(RTM_GETROUTE, BODY.pack(AF_INET6, 0, 0, 0, table, protocol, 0, 0, 0))

    def main(self, most: int) -> list[bytes]:
        """The messages of main's first IPv4 routes, without their headers: all of its defaults, the best first, and
        then its other routes. If there are more than `most` in all, the list ends soon after. A dump of main begins
        with the defaults (net/ipv4/fib_trie.c walks the keys in order), so this is quick even if main has a million
        routes."""
        try:
            return Rtnetlink().begin(RTM_GETROUTE, BODY.pack(AF_INET, 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0),
                                     lambda found: len(found) > most and not _at_zero(found[-1]))
        except FileNotFoundError:  # there is no such table yet
            return []

    def main_default(self, main: list[bytes]) -> tuple[int, int]:
        """The metric and the interface index of the best foreign default in `main`, which is main's beginning. The
        index is 0 if there is no such default, or if it is of an error type."""
        for message in main:
            if message[DST_LEN] == message[TOS] == 0 and message[OWNER] != PROTOCOL:
                values = attributes(message, BODY.size)
                oif = values.get(RTA_OIF) or values.get(RTA_MULTIPATH, bytes(8))[4:8]  # struct rtnexthop: rtnh_ifindex
                return U32.unpack(values.get(RTA_PRIORITY, bytes(4)))[0], S32.unpack(oif)[0]
        return 0, 0

    def has_neighbours(self, ifindex: int) -> bool:
        """Whether the interface leads to a LAN, and not into a tunnel. A tunnel has no neighbours, or carries Ethernet
        frames (OpenVPN's tap)."""
        found = self.ask(RTM_GETLINK, 0, LINK.pack(0, 0, ifindex, 0, 0) + NO_STATS)
        about = attributes(found, LINK.size).get(IFLA_LINKINFO, b"")
        kind = attributes(about, 0).get(IFLA_INFO_KIND, b"").rstrip(b"\0")
        return not LINK.unpack_from(found)[3] & (IFF_POINTOPOINT | IFF_NOARP) and kind not in TUNNELS

    def set_group(self, ifindex: int, group: int) -> None:
        """Puts the interface with this index into a group. PermissionError without CAP_NET_ADMIN."""
        try:
            self.ask(RTM_SETLINK, NLM_F_ACK, LINK.pack(0, 0, ifindex, 0, 0) + attribute(IFLA_GROUP, U32.pack(group)))
        except PermissionError as error:
            raise PermissionError(error.errno, "only root can change the routing") from None

    def rules(self, family: int = AF_INET) -> list[Rule]:
        """All rules of a family, ours and foreign ones, in the kernel's order."""
        from .rtmessages import decode_rule
        return [decode_rule(message) for message in self.dump(RTM_GETRULE, BODY.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))]

    def default_routes(self, table: int, oif: int = 0, longest: int = 0) -> list[Route]:
        """The foreign IPv4 default routes of a table, or of all tables if `table` is 0, the lowest metric first; only
        those by one interface if `oif` is given. Also the routes to prefixes of up to `longest` bits, which are pieces
        of a default; if `table` is given, only those pieces that begin at 0.0.0.0 are sure to be among them."""
        from .rtmessages import decode_route
        wanted = BODY.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        if table:
            # The kernel dumps a table in the order of its destinations (net/ipv4/fib_trie.c, fib_table_dump): prefixes
            # that begin at 0.0.0.0 come first, and a million routes of a routing daemon come after them.
            try:
                messages = Rtnetlink().begin(RTM_GETROUTE, wanted + attribute(RTA_TABLE, U32.pack(table)),
                                             lambda found: not _at_zero(found[-1]))
            except FileNotFoundError:  # there is no such table
                return []
        else:
            messages = self.dump(RTM_GETROUTE, wanted + (attribute(RTA_OIF, U32.pack(oif)) if oif else b""))
        routes = [decode_route(message) for message in messages
                  if message[DST_LEN] <= longest and message[OWNER] != PROTOCOL]
        return sorted([one for one in routes if not oif or any(hop.oif == oif for hop in one.nexthops)],
                      key=lambda one: one.metric)

    def prepend_default(self, table: int, nexthop: Nexthop) -> None:
        """Adds an IPv4 default route with `proto boot`, like an `ip route` without proto, and with metric 0. The route
        comes before every other one with that metric. No error if it is there already."""
        flags = RTNH_F_ONLINK if nexthop.onlink else 0
        body = BODY.pack(AF_INET, 0, 0, 0, table, RTPROT_BOOT, 0, RTN_UNICAST, flags)
        body += attribute(RTA_OIF, S32.pack(nexthop.oif))
        if nexthop.gateway:
            body += attribute(RTA_GATEWAY, inet_aton(nexthop.gateway))
        try:
            self.ask(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE, body)
        except FileExistsError:
            pass

    def interfaces(self, names: "frozenset[str]") -> dict[str, Interface]:
        """Those interfaces with these names that exist, by name, with their IPv4 addresses."""
        addresses: dict[int, list[str]] = {}
        lengths: dict[int, list[int]] = {}
        messages: dict[int, list[bytes]] = {}
        for message in self.dump(RTM_GETADDR, b"\x02" + bytes(7)):
            # First IFA_ADDRESS, which is the peer's address if there is a peer, then IFA_LOCAL: net/ipv4/devinet.c,
            # inet_fill_ifaddr.
            _, length, _, _, ifindex, _, first, address, _, second, local = ADDRESS.unpack_from(message)
            if first in (IFA_ADDRESS, IFA_LOCAL):
                addresses.setdefault(ifindex, []).append(inet_ntoa(local if second == IFA_LOCAL else address))
                lengths.setdefault(ifindex, []).append(length)
                messages.setdefault(ifindex, []).append(message)
        interfaces: dict[str, Interface] = {}
        existing = listdir(IPV4_CONF)  # each interface with IPv4 has a directory, beside `all` and `default`
        there = names.intersection(existing)
        for message in self._about(there, len(existing)):
            name, group = _name_and_group(message)
            if name in there:
                _, _, ifindex, flags, _ = LINK.unpack_from(message)
                several = messages[ifindex] if len(messages.get(ifindex, ())) > 1 else ()
                interfaces[name] = Interface(ifindex, flags & IFF_UP != 0, flags & IFF_RUNNING != 0,
                                             tuple(addresses.pop(ifindex, ())), tuple(lengths.pop(ifindex, ())),
                                             group, tuple([_lasts(message) for message in several]))
        return interfaces

    def _about(self, names: "frozenset[str]", existing: int) -> list[bytes]:
        """The messages about these interfaces, and perhaps about others. If they are more than half of the `existing`
        ones, the kernel is asked for all interfaces: in a dump, each takes half of the time."""
        if 2 * len(names) > existing:
            return self.dump(RTM_GETLINK, bytes(LINK.size) + NO_STATS)
        asked = [bytes(LINK.size) + attribute(IFLA_IFNAME, name.encode("utf-8", "surrogateescape") + b"\0") + NO_STATS
                 for name in names]
        found = self.ask_each(RTM_GETLINK, asked)
        for errno, _ in found:
            if errno not in (0, ENODEV):
                raise OSError(errno, strerror(errno))
        return [message for errno, message in found if not errno]

    def name_of(self, alias: str) -> str:
        """The name of the interface that has this alternative name (`altname` in ip-link(8)); "" if none has."""
        body = bytes(16) + attribute(IFLA_ALT_IFNAME, alias.encode("utf-8", "surrogateescape") + b"\0")
        try:
            found = attributes(self.ask(RTM_GETLINK, 0, body), 16)  # after struct ifinfomsg
        except OSError:  # ENODEV; another errno if no interface can have such a name
            return ""
        return found[IFLA_IFNAME].rstrip(b"\0").decode("utf-8", "surrogateescape")

    def sysctls(self, family: int = AF_INET) -> dict[int, Sysctl]:
        """Interface index → the sysctls of that interface; the index -1 is `all`."""
        found = [attributes(message, 4) for message in self.dump(RTM_GETNETCONF, bytes([family]) + bytes(3))]
        return {S32.unpack(one[NETCONFA_IFINDEX])[0]:
                Sysctl(one.get(NETCONFA_RP_FILTER, b"\0")[0], one[NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN][0])
                for one in found}

    def lookup(self, destination: str, source: str = "", oif: int = 0, iif: int = 0, protocol: int = 0, port: int = 0,
               mark: int = 0) -> Route:
        """The route that a connection takes, with its table and all its nexthops. It is a connection of this machine,
        or one that comes in by the interface with the index `iif`. A `source` of "" and an `oif` of 0 mean an unbound
        socket. `protocol` is IPPROTO_*, `port` that of the destination. If the route's table is 0, no route leads
        there, and the kernel takes the destination for a neighbour on the interface that the socket is bound to
        (net/ipv4/route.c, ip_route_output_key_hash_rcu). OSError with the kernel's errno if there is no way.

        Without a protocol, the kernel takes an incoming packet for UDP (net/ipv4/route.c,
        inet_rtm_getroute_build_skb)."""
        from .address import FAMILIES
        from .rtmessages import decode_route
        number, _, _, packed, _ = FAMILIES[AF_INET6 if ":" in destination else AF_INET]
        asked = attribute(RTA_DST, packed(destination))
        if source:
            asked += attribute(RTA_SRC, packed(source))
        for kind, value in (RTA_OIF, oif), (RTA_IIF, iif), (RTA_MARK, mark):
            if value:
                asked += attribute(kind, U32.pack(value))
        if protocol:
            if number == AF_INET6 and protocol == IPPROTO_ICMP:  # the kernel refuses that of the other family
                protocol = IPPROTO_ICMPV6
            asked += attribute(RTA_IP_PROTO, bytes([protocol]))
        if port:
            asked += attribute(RTA_DPORT, port.to_bytes(2, "big"))

        def ask(flags: int) -> Route:
            bits = 8 * len(packed(destination))
            if number == AF_INET:  # IPv6 always names the table, and refuses the flag
                flags |= RTM_F_LOOKUP_TABLE
            body = BODY.pack(number, bits, bits if source else 0, 0, 0, 0, 0, 0, flags)
            return decode_route(self.ask(RTM_GETROUTE, 0, body + asked))
        try:
            return ask(RTM_F_FIB_MATCH)
        except OSError as error:
            if error.errno == EHOSTUNREACH:  # it may also mean that no table's route is used: inet_rtm_getroute
                return ask(0)
            if error.errno != EMSGSIZE:
                raise
        # The kernel's answer has room for some 230 nexthops (net/ipv4/route.c, inet_rtm_getroute). Only a route of
        # ours has more, and it is in the table that the kernel names.
        table = ask(0).table
        return max([one for one in map(decode_route, self.ours(number)[1]) if one.table == table],
                   key=lambda one: len(one.nexthops))

    def write(self, changes: tuple[Change, ...]) -> tuple[Refusal, ...]:
        """Makes the changes in this order: all or none if this process is killed. Returns the changes that the kernel
        has refused; it has made the others. It does not count as a refusal if an addition exists already, or if a
        deletion finds nothing. PermissionError without CAP_NET_ADMIN."""
        from .rtmessages import encode
        try:
            refusals = self.send([encode(change) for change in changes])
        except PermissionError as error:
            raise PermissionError(error.errno, "only root can change the routing") from None
        return tuple([Refusal(changes[place], errno, words) for place, errno, words in refusals
                      if errno not in ((EEXIST,) if changes[place].add else (ENOENT, ESRCH))])


def _name_and_group(message: bytes) -> tuple[str, int]:
    """The name and the group in a message about an interface. They are among the first of some forty attributes, so
    this does not read all of them."""
    name = ""
    start = LINK.size
    while start < len(message):
        length, kind = ATTRIBUTE.unpack_from(message, start)
        if kind == IFLA_IFNAME:
            name = message[start + 4:start + length - 1].decode("utf-8", "surrogateescape")
        elif kind == IFLA_GROUP:
            return name, int(U32.unpack_from(message, start + 4)[0])
        start += length + 3 & ~3
    return name, 0


def _lasts(address: bytes) -> bool:
    """Whether an address is permanent and not a client's. A client's address ends with the lease. If the lease has no
    end, dhcpcd and NetworkManager still set the network's route themselves (IFA_F_NOPREFIXROUTE)."""
    flags: int = U32.unpack(attributes(address, 8)[IFA_FLAGS])[0]  # after struct ifaddrmsg
    return flags & (IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE) == IFA_F_PERMANENT
