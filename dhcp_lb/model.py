"""The nouns. They are frozen and comparable, and do no I/O. Addresses are text in canonical form."""

from .address import IPV4, IPV6
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .targets import Target


class Link(NamedTuple):
    """One line of /etc/dhcp-lb: an uplink and its share of the new connections."""

    interface: str  # as in `ip link`; bytes that are not UTF-8 are surrogates
    table_name: str
    table: int  # 1 to 2**32 - 1
    weight: int  # 1 or more; routing.py scales it to the kernel's 1 to 256
    gateway: str = ""  # for an address without a gateway, or instead of the lease's
    tier: int = 1  # 1 to 9: the link serves while no link of a lower tier can
    targets: "tuple[Target, ...] | None" = None  # whom the monitor asks; None = the line names none, which is `lease`
    interval_s: float = 2.0  # between two probes
    down_s: float = 4.0  # how long nobody answers until the link is dead
    up_s: float = 30.0  # how long somebody answers until a dead link is up again
    dns: bool = True  # whether its name servers are reached through it
    gateway6: str = ""  # the same as `gateway`, for IPv6
    prefixes6: tuple[str, ...] = ()  # PREFIX/LENGTH: this provider takes packets from these addresses
    ipv6: bool = True  # whether the program looks after the link's IPv6

    def of(self, family: int) -> "Link":
        """The link with the gateway of this family (AF_INET or AF_INET6) in `gateway`."""
        return self if family == IPV4.number else self._replace(gateway=self.gateway6)


ON_DEVICE = "0.0.0.0"
"""The gateway of a link that has none and needs none, such as PPP: every packet into the device arrives."""


class Lease(NamedTuple):
    """What a link was given in one family, by DHCP, by a router or by hand. An unusable part is left out, and `fault`
    says why."""

    address: str
    length: int  # of the prefix, in bits: 1 to 32 in IPv4, 1 to 128 in IPv6
    gateway: str  # if it is left out, the link's gateway= can replace it
    server: str = ""  # the DHCP server for renewals; "" = none
    begin_s: int = 0  # CLOCK_BOOTTIME of the last renewal, or of the first answer
    duration_s: int = 0  # 0 = it does not end, or its end is not known
    fault: str = ""
    name_servers: tuple[str, ...] = ()  # up to three, as many as a resolver asks (resolv.conf(5), MAXNS)
    # The following fields but `said` are of IPv6, where a link has many addresses, and whole prefixes for other
    # machines (ipv6.py). Prefixes are PREFIX/LENGTH.
    sources: tuple[str, ...] = ()  # packets from these addresses leave by this link
    networks: tuple[str, ...] = ()  # on-link prefixes
    prefixes: tuple[str, ...] = ()  # delegated to this machine, for its LAN
    lost: bool = False  # main has no default by this link; `gateway` is its last one, or "" if nobody knows it
    refused: tuple[str, ...] = ()  # a sentence for each prefix that its client has reported and that is not used
    inferred: tuple[tuple[str, str], ...] = ()  # those `prefixes` that nobody reported, each with the LAN's address
    unsure: tuple[str, ...] = ()  # sentences: what of the LAN may belong to it or to another link, and what to write
    asks_from: str = ""  # without an `address`, the monitor's source; "" = answers would come back to none
    said: str = ""  # IPv4: its client's very words, for the hook to compare (event.said); "" = it must not compare


NONE = Lease("", 0, "", fault="no lease")
"""The lease of a link whose lease has ended. It is known that there is none; a missing lease means that nothing is
known."""

ADMINISTRATOR = "administrator"  # who holds a link
KERNEL = "kernel"
MONITOR = "monitor"
NO_NEW = "no new connections"  # how far a hold reaches: the link keeps its table, its rules and its connections
GIVEN_UP = "given up"  # the link keeps its table and its rules, so that the monitor can ask whether it works again
GONE = "gone"  # the same, because its carrier has been away for longer than a connection waits
OUT = "out"  # nothing of the link is in the kernel


class Hold(NamedTuple):
    """A reason why a link gets no new connections, or is out."""

    by: str  # ADMINISTRATOR, KERNEL or MONITOR
    reach: str  # NO_NEW, GIVEN_UP, GONE or OUT
    why: str = ""  # in words; "" if `by` says enough
    since_s: int = 0  # CLOCK_BOOTTIME


class Objection(NamedTuple):
    """A hold by the kernel: it refused a route or rule of a link, or the multipath of all links (objections.py)."""

    hold: Hold
    said_of: str  # the facts at that time; it does not count if they change


class Checked(NamedTuple):
    """What the monitor has found out about a link in one family."""

    hold: Hold | None  # None = the link works, as far as anybody can tell
    source: str  # the link's address at that time
    relapses: int = 0  # how often the link has died soon after it came back
    since_s: int = 0  # CLOCK_BOOTTIME when it died, or came back; 0 = neither
    took_ms: int = -1  # how long the last answer took; -1 = there is none
    lost: int = 0  # percentage of the last probes that nobody has answered
    by: str = ""  # whom the monitor asks, in words; "" = nobody


class Delegated(NamedTuple):
    """A prefix that a provider has delegated to this machine, as a DHCPv6 client has reported."""

    prefix: str  # PREFIX/LENGTH
    begin_s: int  # CLOCK_BOOTTIME of the last report
    until_s: int  # CLOCK_BOOTTIME when its valid lifetime ends; 0 = never


LOADED, LOST, NO_NFT = "loaded", "lost", "no-nft"  # what has become of the nft table


class State(NamedTuple):
    """The content of the store. The keys are the links' interfaces."""

    leases: dict[str, Lease] = {}
    held: dict[str, Hold] = {}  # by the administrator
    objections: dict[str, Objection] = {}  # "" = to the multipath itself
    corrupt: tuple[str, ...] = ()  # corrupt files; each counts as absent
    checked: dict[str, Checked] = {}  # by the monitor; empty if there is no monitor
    pinned: str = ""  # the nft table: LOADED, LOST since, NO_NFT to make it, or "" where there should be none
    servers: tuple[str, int] = ("", 0)  # name and id of the servers' table, if it had to move; otherwise "" and 0
    told: dict[str, tuple[Delegated, ...]] = {}  # prefixes that the links' DHCPv6 clients have reported

    def holds(self) -> dict[str, tuple[Hold, ...]]:
        """All holds of each link that has any, the administrator's first."""
        holds: dict[str, tuple[Hold, ...]] = {name: (hold,) for name, hold in self.held.items()}
        for name, objection in self.objections.items():
            holds[name] = (*holds.get(name, ()), objection.hold)
        for name, checked in self.checked.items():
            if checked.hold:
                holds[name] = (*holds.get(name, ()), checked.hold)
        return holds


class Interface(NamedTuple):
    """A network device as the kernel has it now."""

    ifindex: int
    up: bool
    carrier: bool
    addresses: tuple[str, ...]
    lengths: tuple[int, ...] = ()  # of the addresses' prefixes
    group: int = 0  # `group` in ip-link(8)
    lasting: tuple[bool, ...] = ()  # if there are several addresses: whether each is permanent, and no client's lease


class Nexthop(NamedTuple):
    """One way out. A gateway of "" means that no gateway is needed, as with PPP."""

    gateway: str
    oif: int  # interface index
    weight: int = 1  # 1 to 256
    onlink: bool = False  # oif leads to the gateway although no route says so


class Route(NamedTuple):
    """One route. Its family is that of its destination. `rest` has the attributes that this program never writes. So a
    route that somebody has altered differs from the wanted one, and can still be deleted exactly."""

    table: int
    destination: str  # PREFIX/LENGTH
    metric: int
    source: str  # preferred source address; "" = the kernel chooses
    scope: int  # RT_SCOPE_*
    nexthops: tuple[Nexthop, ...]
    rest: bytes = b""
    only_from: str = ""  # PREFIX/LENGTH: only packets with a source in this prefix (IPv6); "" = all

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return IPV6.number if ":" in self.destination else IPV4.number


LOOKUP, BLACKHOLE, UNREACHABLE = 1, 6, 7  # what a rule does: FR_ACT_*, uapi/linux/fib_rules.h
Range = tuple[int, int]  # from, to; both included


class Rule(NamedTuple):
    """One policy rule: packets that match look up `table`, or meet another `action`. `rest` is as in Route."""

    pref: int
    table: int
    source: str = ""  # ADDRESS/LENGTH; "" = all
    destination: str = ""  # PREFIX/LENGTH; "" = all
    oif: str = ""  # sockets bound to this interface; "" = all
    suppress_prefixlength: int = -1  # ignore a route whose prefix is this short or shorter; -1 = never
    rest: bytes = b""
    family: int = IPV4.number  # a rule without addresses has a family, too
    action: int = LOOKUP
    mark: int = 0  # of the packet, in the bits of `mask`
    mask: int = 0  # 0 = whatever the mark
    iif: str = ""  # packets that came in by this interface; "lo" = this machine's own; "" = all
    protocol: int = 0  # IPPROTO_*; 0 = all
    sports: tuple[Range, ...] = ()  # ports of the source: no range or one
    ports: tuple[Range, ...] = ()  # ports of the destination: no range or one
    users: tuple[Range, ...] = ()  # uids of the socket's owner: no range or one
    suppress_group: int = -1  # ignore a route by an interface of this group; -1 = never


class Routing(NamedTuple):
    """All our routes and rules, in the kernel or wanted."""

    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()


class Change(NamedTuple):
    """One route or rule that is added or deleted."""

    add: bool
    what: Route | Rule


class Refusal(NamedTuple):
    """A change that the kernel refused."""

    change: Change
    errno: int
    words: str  # the kernel's own; "" = it gave only the errno


MAIN_TABLE = 254  # RT_TABLE_MAIN: uapi/linux/rtnetlink.h
YES, NO = "yes", "no"
FAILOVER = "failover"
CONNECTION, PAIR, SOURCE = "connection", "pair", "source"


class Settings(NamedTuple):
    """The `name = value` lines of /etc/dhcp-lb."""

    balance_name: str = "dhcp-lb"
    balance_table: int = 252
    balance: str = ""  # what chooses a connection's link: CONNECTION, PAIR or SOURCE; "" = whatever sysctl.d says
    pin: str = ""  # YES or NO; "" = if this machine forwards and has nft(8)
    marks: int = 0xff000000  # the bits of marks that are ours, a row of ones
    metrics: str = ""  # the file for prometheus-node-exporter, or "none"; "" = in its directory if that exists
    server_name: str = "dhcp-lb-servers"
    server_table: int = 251
    group: int = 109  # of the links' interfaces
    main_default: str = ""  # NO: no default of ours in table main; YES, or "" if the file does not say: there is one
    enabled: str = YES  # NO: nothing of ours in the kernel
    translate6: str = NO  # FAILOVER: packets that their own provider cannot take leave by another link, translated

    def shared(self) -> tuple[int, ...]:
        """The tables with routes by all links."""
        return self.balance_table, self.server_table, MAIN_TABLE


PROTOCOL = 109
"""The owner of all our routes and rules (`proto dhcp-lb`). It is free in iproute2's rt_protos and the kernel's
uapi/linux/rtnetlink.h (RTPROT_*): 2-4, 8-18, 42, 99 and 186-192 are taken."""
PROTOCOL_NAME = "dhcp-lb"
