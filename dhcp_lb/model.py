"""The nouns. Frozen, comparable, without I/O; addresses are text in canonical form."""

from .address import IPV4, IPV6
from .record import NamedTuple


class Link(NamedTuple):
    """One line of /etc/dhcp-lb: an uplink and its share of the new connections."""

    interface: str  # as in `ip link`; bytes that are not UTF-8 as surrogates
    table_name: str
    table: int  # 1 to 2**32 - 1
    weight: int  # 1 or more; the kernel's 1 to 256 are routing.py's concern
    gateway: str = ""  # for an address that comes without one, or to overrule the one it comes with


ON_DEVICE = "0.0.0.0"
"""The gateway of a link that has none and needs none: all that is sent into the device arrives, as with PPP."""


class Lease(NamedTuple):
    """What a link was given, by DHCP or by hand. What cannot be used is left out, and `fault` says why."""

    address: str
    length: int  # of the prefix, in bits: 1 to 32
    gateway: str  # where it is left out, the link's own gateway= can stand in
    server: str = ""  # the DHCP server that renewals are sent to; "" = none
    begin_s: int = 0  # CLOCK_BOOTTIME when it was given or last renewed
    duration_s: int = 0  # of the lease; 0 = it does not end, or nobody said when
    fault: str = ""


NONE = Lease("", 0, "", fault="no lease")
"""What a link has after its lease ended: known to be nothing, where a missing lease says that nothing is known."""

ADMINISTRATOR = "administrator"  # who holds a link
KERNEL = "kernel"
NO_NEW = "no new connections"  # how far a hold reaches: the link keeps its table, its rules and what runs
OUT = "out"  # nothing of the link is in the kernel


class Hold(NamedTuple):
    """A reason why a link gets no new connections, or is out."""

    by: str  # ADMINISTRATOR or KERNEL
    reach: str  # NO_NEW or OUT
    why: str = ""  # in words; "" where who holds the link says it all
    since_s: int = 0  # CLOCK_BOOTTIME


class Objection(NamedTuple):
    """A hold of the kernel's: it refused something of a link, or the multipath of all (objections.py)."""

    hold: Hold
    said_of: str  # the facts that it was said of; of others it does not count


class State(NamedTuple):
    """What the store says. Links go by their interface."""

    leases: dict[str, Lease] = {}
    held: dict[str, Hold] = {}  # by the administrator
    objections: dict[str, Objection] = {}  # "" = to the multipath itself
    corrupt: tuple[str, ...] = ()  # files that make no sense; each is taken for absent

    def holds(self) -> dict[str, tuple[Hold, ...]]:
        """All holds of each link that has any, the administrator's first."""
        holds: dict[str, tuple[Hold, ...]] = {name: (hold,) for name, hold in self.held.items()}
        for name, objection in self.objections.items():
            holds[name] = (*holds.get(name, ()), objection.hold)
        return holds


class Interface(NamedTuple):
    """A network device as the kernel has it now."""

    ifindex: int
    up: bool
    carrier: bool
    addresses: tuple[str, ...]
    lengths: tuple[int, ...] = ()  # of the addresses' prefixes
    shared: tuple[str, ...] = ()  # those addresses by which the machine is known in another network, too: its LAN, say


class Nexthop(NamedTuple):
    """One way out. A gateway of "" is none: the device alone leads there, as with PPP."""

    gateway: str
    oif: int  # interface index
    weight: int = 1  # 1 to 256
    onlink: bool = False  # the gateway is reached through oif although no route says so


class Route(NamedTuple):
    """One route, of the family of its destination. `rest` holds attributes that this program never writes, so that a
    route that somebody altered differs from what is wanted and can still be named exactly when it is deleted."""

    table: int
    destination: str  # PREFIX/LENGTH
    metric: int
    source: str  # preferred source address; "" = the kernel chooses
    scope: int  # RT_SCOPE_*
    nexthops: tuple[Nexthop, ...]
    rest: bytes = b""

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return IPV6.number if ":" in self.destination else IPV4.number


class Rule(NamedTuple):
    """One policy rule: look up `table` for what fits. `rest` as in Route."""

    pref: int
    table: int
    source: str = ""  # ADDRESS/LENGTH; "" = all
    destination: str = ""  # PREFIX/LENGTH; "" = all
    oif: str = ""  # sockets bound to this interface; "" = all
    suppress_prefixlength: int = -1  # ignore what the table says if it is this short; -1 = never
    rest: bytes = b""
    family: int = IPV4.number  # a rule without addresses is of a family, too


class Routing(NamedTuple):
    """Everything that is ours in the kernel, or should be."""

    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()


class Change(NamedTuple):
    """One route or rule that is added or deleted."""

    add: bool
    what: Route | Rule


class Refusal(NamedTuple):
    """A change that the kernel would not make."""

    change: Change
    errno: int
    words: str  # the kernel's own; "" = it only gave the number


class Settings(NamedTuple):
    """The `name = value` lines of /etc/dhcp-lb."""

    balance_name: str = "dhcp-lb"
    balance_table: int = 252


PROTOCOL = 109
"""The owner of every route and rule of ours (`proto dhcp-lb`). Free in iproute2's rt_protos and the kernel's
uapi/linux/rtnetlink.h (RTPROT_*): 2-4, 8-18, 42, 99 and 186-192 are taken."""
PROTOCOL_NAME = "dhcp-lb"
