"""Everything that a run goes by, and how it is read."""

from marshal import dumps
from posix import F_OK, access
from time import CLOCK_BOOTTIME, clock_gettime

from . import VERSION
from .address import IPV4, IPV6
from .config import Config, with_servers
from .model import MAIN_TABLE, PROTOCOL, Interface, Lease, State
from .netlink import S32, attribute, attributes
from .record import NamedTuple
from .rtnetlink import (BODY, DST_LEN, KIND, OWNER, RTA_DST, RTA_GATEWAY, RTA_OIF, RTN_UNICAST, RTPROT_KERNEL, TOS,
                        Rtnetlink)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Delegated

MOST_OF_MAIN = 512  # routes, beside four for each of our tables; a routing daemon sets more
NOWHERE = attribute(RTA_DST, bytes(4))
PLAIN = 0  # of the versions of marshal's format, the one without references: equal values are equal bytes
IF_INET6 = "/proc/net/if_inet6"  # exists where the kernel has IPv6


class News(NamedTuple):
    """Facts that the caller knows, and that are in neither the kernel nor the store."""

    link: str = ""  # this link's lease has changed: the log says so if it is unusable
    unsaved: dict[str, Lease] = {}  # leases for which the store has no room
    edited: bool = False  # the configuration may have changed, so the kernel's objections are void;
    #                       and nft(8) may run
    mends: bool = False  # set the sysctls that somebody has set back
    family: int = 0  # the event concerns this family alone; 0 = it may concern both


class Sight(NamedTuple):
    """Everything on which the decision of a run depends, in one family."""

    config: Config
    state: State  # with the objections that count now
    interfaces: dict[str, Interface]
    rules: list[bytes]  # messages of our rules, from Rtnetlink.ours
    routes: list[bytes]  # messages of our routes
    others: list[bytes] = []  # messages of foreign rules
    lan_metric: int = -1  # routing.Foreign
    family: int = IPV4.number
    parts: list[bytes] = []  # main's routes by links to parts of the Internet, neither the kernel's nor ours
    settled: bool = False  # a run has found nothing left to do

    def fingerprint(self) -> bytes:
        """Bytes that are equal if the decisions are. The age of the leases does not matter."""
        state = self.state
        leases = [(name, *lease) if self.family != IPV4.number else (name, *lease[:4], *lease[6:8])
                  for name, lease in sorted(state.leases.items())]
        held = [(name, hold.reach) for name, hold in sorted(state.held.items())]
        checked = [(name, one.hold.reach if one.hold else "") for name, one in sorted(state.checked.items())]
        interfaces = [(name, *interface) for name, interface in sorted(self.interfaces.items())]
        facts = dumps((VERSION, leases, held, checked, f"{sorted(state.objections.items())}", state.pinned, interfaces,
                       self.lan_metric, self.config.settings.server_table), PLAIN)
        return b"\n".join([facts, self.config.text, *self.rules, *self.routes, *self.others, *self.parts])


def look(kernel: Rtnetlink, config: Config, state: State) -> Sight:
    """Reads the kernel's IPv4, and drops the objections that no longer count. If main is full of a routing daemon's
    routes, our routes are looked for only in the tables that a line or a rule of ours names. OSError if the kernel
    refuses."""
    interfaces = kernel.interfaces(config.interfaces)
    config = placed(config, state)
    tables = *[link.table for link in config.links], config.settings.balance_table, config.settings.server_table
    usual = MOST_OF_MAIN + 4 * len(tables)
    main = kernel.main(usual)
    full = len(main) > usual
    ours = kernel.ours(IPV4.number, tables, main) if full else kernel.ours()
    return Sight(config, standing_only(state, interfaces), interfaces, *ours,
                 lan_metric(kernel, interfaces, kernel.main_default(main)), IPV4.number,
                 [] if full else by_links(main, interfaces))


def by_links(main: list[bytes], interfaces: dict[str, Interface]) -> list[bytes]:
    """Pure: main's routes to networks by one link alone, if neither the kernel nor this program has set them. A prefix
    shorter than /8 is a piece of a default, and not among them. Neither is a route to 0.0.0.0, which dhcpcd sets if
    option 121 names that as a router."""
    parts = [message for message in main if message[DST_LEN] >= 8 and not message[TOS]
             and message[KIND] == RTN_UNICAST and message[OWNER] not in (PROTOCOL, RTPROT_KERNEL)
             and NOWHERE not in message]
    links = [attribute(RTA_OIF, S32.pack(one.ifindex)) for one in interfaces.values()] if parts else []
    return [message for message in parts if any([link in message for link in links])]


def by_routers(main: list[bytes], interfaces: dict[str, Interface]) -> list[bytes]:
    """Pure: the same in IPv6, but only routes by a router, because on-link prefixes are in a link's lease. [] if there
    are more than anybody sets by hand."""
    found = [message for message in by_links(main, interfaces) if RTA_GATEWAY in attributes(message, BODY.size)]
    return found if len(found) <= MOST_OF_MAIN else []


def placed(config: Config, state: State) -> Config:
    """Pure: the configuration with the servers' table where the store says, unless a line names that table or takes
    its place."""
    used = {*config.lines, config.settings.balance_table}
    if not state.servers[1] or config.settings.server_table in config.lines or state.servers[1] in used:
        return config
    return config._replace(settings=with_servers(config.settings, state.servers))


def look6(kernel: Rtnetlink, config: Config, state: State, interfaces: dict[str, Interface]) -> Sight | None:
    """The same as `look` for IPv6. None if there is nothing to do: this machine has no IPv6, or no interface has an
    address, no link has a prefix, and no rule or route is ours. `interfaces`: as `look` has seen them."""
    if not access(IF_INET6, F_OK):
        return None
    from .ipv6 import PROTOCOLS, read, recalled
    links = tuple([link for link in config.links if link.ipv6])
    addresses = kernel.addresses6()
    rules, routes, others = kernel.ours(IPV6.number)
    if not rules and not routes and not (links and addresses) and not any(
            [*state.told.values(), *[link.prefixes6 for link in links]]):
        return None
    if len(state.told) < len(links):
        state = state._replace(told={**recalled(routes, interfaces, now_s()), **state.told})
    main = [message for protocol in PROTOCOLS for message in kernel.routes6(MAIN_TABLE, protocol)]
    interfaces, leases, best = read(links, interfaces, addresses, main, routes, state.told)
    state = state._replace(leases=leases)
    return Sight(config, standing_only(state, interfaces), interfaces, rules, routes, others,
                 lan_metric(kernel, interfaces, best), IPV6.number, by_routers(main, interfaces))


def told_before(kernel: Rtnetlink, interface: str) -> "tuple[Delegated, ...]":
    """The prefixes that a link's DHCPv6 client has reported, for a store that has lost them."""
    from .ipv6 import recalled
    _, routes, _ = kernel.ours(IPV6.number)
    return recalled(routes, kernel.interfaces(frozenset([interface])), now_s()).get(interface, ())


def again(kernel: Rtnetlink, sight: Sight) -> Sight:
    """A new look, with the same configuration and state."""
    if sight.family == IPV4.number:
        return look(kernel, sight.config, sight.state)
    return (look6(kernel, sight.config, sight.state, kernel.interfaces(sight.config.interfaces))
            or sight._replace(state=sight.state._replace(leases={}), rules=[], routes=[], others=[], parts=[]))


def standing_only(state: State, interfaces: dict[str, Interface]) -> State:
    """The state with only those objections that count now."""
    if not state.objections:
        return state
    from .objections import standing
    return state._replace(objections=standing(state, interfaces, now_s()))


def lan_metric(kernel: Rtnetlink, interfaces: dict[str, Interface], best: tuple[int, int]) -> int:
    """The metric of main's `best` default (metric, interface index), if its device is neither a link nor a tunnel: a
    LAN whose DHCP server names a router. Otherwise -1."""
    metric, oif = best
    if not oif or oif in [interface.ifindex for interface in interfaces.values()]:
        return -1
    try:
        return metric if kernel.has_neighbours(oif) else -1
    except OSError:  # the device has gone in the meantime
        return -1


def now_s() -> int:
    """Seconds since boot, including sleep. Setting the clock does not change it."""
    return int(clock_gettime(CLOCK_BOOTTIME))
