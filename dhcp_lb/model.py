"""The nouns. They are frozen, comparable and without I/O. Addresses are text in canonical form."""

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
    gateway: str = ""  # for an address without one, or to overrule the lease's
    tier: int = 1  # 1 to 9: it serves while no link of a lower tier can
    targets: "tuple[Target, ...] | None" = None  # they tell whether it works; None = `lease`, as nobody names any
    interval_s: float = 2.0  # between two probes
    down_s: float = 4.0  # of silence, until it is dead
    up_s: float = 30.0  # of answers, until a dead link is up again
    dns: bool = True  # its name servers are reached through it
    gateway6: str = ""  # the same as `gateway`, for IPv6
    prefixes6: tuple[str, ...] = ()  # PREFIX/LENGTH: whatever has such an address is this provider's customer
    ipv6: bool = True  # whether its IPv6 is any business of ours

    def of(self, family: int) -> "Link":
        """The link as one family sees it: with that family's gateway."""
        return self if family == IPV4.number else self._replace(gateway=self.gateway6)


ON_DEVICE = "0.0.0.0"
"""The gateway of a link that has none and needs none, as with PPP: every packet into the device arrives."""


class Lease(NamedTuple):
    """What a link was given in one family, by DHCP, by a router or by hand. An unusable part is left out, and `fault`
    says why."""

    address: str
    length: int  # of the prefix, in bits: 1 to 32, or to 128
    gateway: str  # if it is left out, the link's gateway= can replace it
    server: str = ""  # the DHCP server for renewals; "" = none
    begin_s: int = 0  # CLOCK_BOOTTIME of the last renewal, or of the first answer
    duration_s: int = 0  # 0 = it does not end, or its end is not known
    fault: str = ""
    name_servers: tuple[str, ...] = ()  # up to three, as many as a resolver asks (resolv.conf(5), MAXNS)
    # The rest is of IPv6, where a link has many addresses, and whole prefixes for others (ipv6.py). PREFIX/LENGTH.
    sources: tuple[str, ...] = ()  # what leaves by this link, because it comes from there
    networks: tuple[str, ...] = ()  # on-link
    prefixes: tuple[str, ...] = ()  # delegated to this machine, for its LAN
    lost: bool = False  # main has no default by its gateway any more
    refused: tuple[str, ...] = ()  # prefixes that its client has told, and why they are not used
    inferred: tuple[tuple[str, str], ...] = ()  # of `prefixes`, those that nobody told, and the LAN's address of each
    unsure: tuple[str, ...] = ()  # what of the LAN may be its own or another link's, and what to write
    said: str = ""  # IPv4: its client's very words, for the hook to compare (event.said); "" = it must not


NONE = Lease("", 0, "", fault="no lease")
"""The lease of a link whose lease has ended. It is known that there is none; of a missing lease nothing is known."""

ADMINISTRATOR = "administrator"  # who holds a link
KERNEL = "kernel"
MONITOR = "monitor"
NO_NEW = "no new connections"  # how far a hold reaches: the link keeps its table, its rules and its connections
GIVEN_UP = "given up"  # the link keeps its table and its rules, by which the monitor asks whether it works again
GONE = "gone"  # the same, since its carrier has been away for longer than a connection is to wait
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
    """What the monitor found out about a link."""

    hold: Hold | None  # None = it works, as far as anybody can tell
    source: str  # the link's address, of which it was found out
    relapses: int = 0  # how often it died soon after it came back
    since_s: int = 0  # CLOCK_BOOTTIME when it died, or came back; 0 = neither
    took_ms: int = -1  # for an answer; -1 = there is none
    lost: int = 0  # of a hundred probes, among the last ones
    by: str = ""  # whom it asked, in words; "" = nobody


class Delegated(NamedTuple):
    """A prefix that a provider has delegated to this machine, as a DHCPv6 client has told."""

    prefix: str  # PREFIX/LENGTH
    begin_s: int  # CLOCK_BOOTTIME, when it was told last
    until_s: int  # the same, when its valid lifetime ends; 0 = never


LOADED, LOST, NO_NFT = "loaded", "lost", "no-nft"


class State(NamedTuple):
    """The content of the store. The keys are the links' interfaces."""

    leases: dict[str, Lease] = {}
    held: dict[str, Hold] = {}  # by the administrator
    objections: dict[str, Objection] = {}  # "" = to the multipath itself
    corrupt: tuple[str, ...] = ()  # corrupt files; each counts as absent
    checked: dict[str, Checked] = {}  # by the monitor; empty if there is none
    pinned: str = ""  # of the nft table: LOADED, LOST since, NO_NFT to make it, or "" where there should be none
    servers: tuple[str, int] = ("", 0)  # name and id of their table, if it once had to make room; otherwise "" and 0
    told: dict[str, tuple[Delegated, ...]] = {}  # by the links' DHCPv6 clients

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
    lasting: tuple[bool, ...] = ()  # of several addresses, whether each is there for good, by no client's lease


class Nexthop(NamedTuple):
    """One way out. A gateway of "" means that the device alone leads there, as with PPP."""

    gateway: str
    oif: int  # interface index
    weight: int = 1  # 1 to 256
    onlink: bool = False  # oif leads to the gateway although no route says so


class Route(NamedTuple):
    """One route, of the family of its destination. `rest` has the attributes that this program never writes. So a
    route that somebody altered differs from the wanted one, and can still be deleted exactly."""

    table: int
    destination: str  # PREFIX/LENGTH
    metric: int
    source: str  # preferred source address; "" = the kernel chooses
    scope: int  # RT_SCOPE_*
    nexthops: tuple[Nexthop, ...]
    rest: bytes = b""
    only_from: str = ""  # PREFIX/LENGTH: only packets with such a source (IPv6); "" = all

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return IPV6.number if ":" in self.destination else IPV4.number


LOOKUP, BLACKHOLE, UNREACHABLE = 1, 6, 7  # what a rule does: FR_ACT_*, uapi/linux/fib_rules.h
Range = tuple[int, int]  # from, to


class Rule(NamedTuple):
    """One policy rule: packets that match look up `table`, or meet another `action`. `rest` as in Route."""

    pref: int
    table: int
    source: str = ""  # ADDRESS/LENGTH; "" = all
    destination: str = ""  # PREFIX/LENGTH; "" = all
    oif: str = ""  # sockets bound to this interface; "" = all
    suppress_prefixlength: int = -1  # ignore a route with a prefix this short; -1 = never
    rest: bytes = b""
    family: int = IPV4.number  # a rule without addresses has a family, too
    action: int = LOOKUP
    mark: int = 0  # of the packet, in the bits of `mask`
    mask: int = 0  # 0 = whatever the mark
    iif: str = ""  # came in by this interface; "lo" = this machine's own; "" = all
    protocol: int = 0  # IPPROTO_*; 0 = all
    sports: tuple[Range, ...] = ()  # of the source: none or one
    ports: tuple[Range, ...] = ()  # of the destination: none or one
    users: tuple[Range, ...] = ()  # whose socket: none or one
    suppress_group: int = -1  # ignore a route by an interface of this group; -1 = of none


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
    words: str  # the kernel's own; "" = it gave only the number


MAIN_TABLE = 254  # RT_TABLE_MAIN: uapi/linux/rtnetlink.h
YES, NO = "yes", "no"
FAILOVER = "failover"
CONNECTION, PAIR, SOURCE = "connection", "pair", "source"


class Settings(NamedTuple):
    """The `name = value` lines of /etc/dhcp-lb."""

    balance_name: str = "dhcp-lb"
    balance_table: int = 252
    balance: str = ""  # what chooses a connection's link: CONNECTION, PAIR or SOURCE; "" = whatever sysctl.d says
    pin: str = ""  # YES or NO; "" = where this machine forwards and has nft(8)
    marks: int = 0xff000000  # the bits of marks that are ours, a row of ones
    metrics: str = ""  # the file for prometheus-node-exporter; "none", or "" = in its directory if that is there
    server_name: str = "dhcp-lb-servers"
    server_table: int = 251
    group: int = 109  # of the links' interfaces
    main_default: str = ""  # NO: no default of ours in table main; "" = there is, and nobody has said so
    enabled: str = YES  # or NO: nothing of ours in the kernel
    translate6: str = NO  # or FAILOVER: what its own provider cannot take leaves by another's link, translated

    def shared(self) -> tuple[int, ...]:
        """The tables with routes by all links."""
        return self.balance_table, self.server_table, MAIN_TABLE


PROTOCOL = 109
"""The owner of all our routes and rules (`proto dhcp-lb`). It is free in iproute2's rt_protos and the kernel's
uapi/linux/rtnetlink.h (RTPROT_*): 2-4, 8-18, 42, 99 and 186-192 are taken."""
PROTOCOL_NAME = "dhcp-lb"
