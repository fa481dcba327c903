"""What only IPv6 has. A link's lease is what the kernel shows: perhaps a dozen addresses and routers, and prefixes for
the LAN. Loaded only if a run looks at IPv6 and the machine has it.

Pure. Numbers are from uapi/linux: if_addr.h (IFA_*), rtnetlink.h (RTN_*, RTPROT_*, RTM_F_*),
icmpv6.h (ICMPV6_ROUTER_PREF_*)."""

from . import address
from .address import IPV6
from .model import ON_DEVICE, Interface, Lease, Link, Routing
from .netlink import ATTRIBUTE, S32, U32, attribute, long_attributes
from .record import NamedTuple
from .rtmessages import (BODY, RTA_CACHEINFO, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PREF, RTA_PRIORITY,
                         RTN_UNICAST, decode_route, decoded, multipath, routing)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct

    from .model import Delegated

    Texts = dict[str, tuple[str, ...]]
    """Interface of a link → prefixes, or sentences."""
    Inferred = dict[str, tuple[tuple[str, str], ...]]
    """Interface of a link → prefixes, each with the address of this machine that it is inferred from."""
else:
    from _struct import Struct

IFA_F_TEMPORARY, IFA_F_OPTIMISTIC, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x1, 0x4, 0x8, 0x20, 0x40
RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC, RTPROT_RA, RTPROT_DHCP = 2, 3, 4, 9, 16
PROTOCOLS = (RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC, RTPROT_RA, RTPROT_DHCP)
"""The protocols of the routes that show a link's routers and networks. A routing daemon's million routes are not asked
for."""
RTM_F_CLONED = 0x200
IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY = 1, 2, 6, 8, 9
IFADDR = Struct("=4BL")  # struct ifaddrmsg: family, prefixlen, flags, scope, index
AGE = ATTRIBUTE.pack(36, RTA_CACHEINFO)  # with struct rta_cacheinfo
LIFETIMES = ATTRIBUTE.pack(20, IFA_CACHEINFO)  # with struct ifa_cacheinfo
METRIC = ATTRIBUTE.pack(8, IFA_RT_PRIORITY)
SRC_LEN = 2  # where struct rtmsg has it
PREFERENCES = {b"\1": 0, b"\3": 2}  # rank of a router's preference: high first, low last; medium is 1

SLAAC = 64  # bits of the prefix from which a host makes addresses by itself (RFC 4862)
MOST_NETWORKS = 64  # of a link, whose router may advertise thousands
PROVIDER = 32  # bits: a registry gives a provider at least such a prefix (RIPE-738, 5.1; ARIN NRPM, 6.5.2.1)


class Address(NamedTuple):
    """An IPv6 address of an interface. Link-local ones are left out."""

    ifindex: int
    text: str
    length: int
    flags: int  # IFA_F_*

    def usable(self) -> bool:
        """Whether packets can have this source now."""
        return not self.flags & IFA_F_DADFAILED and (not self.flags & IFA_F_TENTATIVE
                                                     or self.flags & IFA_F_OPTIMISTIC != 0)


class Main(NamedTuple):
    """What table main has by each interface (its index): the routers, the best first, and the on-link prefixes."""

    routers: dict[int, tuple[str, ...]]
    networks: dict[int, tuple[str, ...]]
    best: tuple[int, int] = (0, 0)  # the metric and the interface of the best default of all


def read_addresses(messages: list[bytes]) -> list[Address]:
    """The addresses in the messages of a dump."""
    return [*decoded(_read_address, messages)]


def _lasting(messages: list[bytes]) -> list[bytes]:
    """The messages of addresses without their lifetimes, which count down from dump to dump, unless a peer's address
    is in it, too. Before the lifetimes, the kernel writes the address, and the metric of its network's route if it has
    one (net/ipv6/addrconf.c, inet6_fill_ifaddr). So an address has the same message in the next look."""
    found = []
    for message in messages:
        start = 36 if message[28:32] == METRIC else 28
        found.append(message[:start] + message[start + 20:] if message[start:start + 4] == LIFETIMES else message)
    return found


def _read_address(message: bytes) -> Address:
    _, length, _, _, ifindex = IFADDR.unpack_from(message)
    found = long_attributes(message, IFADDR.size)
    own = found.get(IFA_LOCAL) or found[IFA_ADDRESS]  # if there are two, IFA_ADDRESS is the peer's
    return Address(ifindex, IPV6.text(own), length, U32.unpack(found[IFA_FLAGS])[0])


def read_main(messages: list[bytes]) -> Main:
    """What the messages of a dump of main say."""
    defaults: dict[int, list[tuple[int, int, str]]] = {}
    networks: dict[int, set[str]] = {}
    best = []
    for network, metric, rank, hops in decoded(_read_route, messages):
        if not network:
            best += [(metric, oif) for oif, _ in hops[:1]]
        for oif, gateway in hops:
            if network and not gateway:
                networks.setdefault(oif, set()).add(network)
            elif gateway and not network:
                defaults.setdefault(oif, []).append((metric, rank, gateway))
    return Main({oif: tuple([gateway for _, _, gateway in sorted(several)]) for oif, several in defaults.items()},
                {oif: tuple(sorted(several)[:MOST_NETWORKS]) for oif, several in networks.items()},
                min(best, default=(0, 0)))


def _ageless(messages: list[bytes]) -> list[bytes]:
    """The messages of routes without their age, which counts down from dump to dump. Behind the age, the kernel writes
    only the router's preference (net/ipv6/route.c, rt6_fill_node). So a route has the same message in the next
    look."""
    return [message[:-44] + message[-8:] if message[-44:-40] == AGE else message for message in messages]


def _read_route(message: bytes) -> tuple[str, int, int, list[tuple[int, str]]]:
    """A route of main: its network ("" = a default), its metric, its router's rank, and its ways: interface index and
    gateway ("" = none). A route that is not a plain one has no ways."""
    _, length, source_length, _, _, protocol, _, kind, flags = BODY.unpack_from(message)
    if source_length or kind != RTN_UNICAST or flags & RTM_F_CLONED:
        return "", 0, 0, []
    found, text = long_attributes(message, BODY.size), IPV6.text
    if RTA_OIF in found:
        ways = [(S32.unpack(found[RTA_OIF])[0], found.get(RTA_GATEWAY, b""))]
    else:
        ways = [(oif, values.get(RTA_GATEWAY, b"")) for _, _, oif, values in multipath(found.get(RTA_MULTIPATH, b""))]
    # A default into a device counts as one by a router, if somebody has set it.
    without = "" if length or protocol not in (RTPROT_BOOT, RTPROT_STATIC) else ON_DEVICE
    return (f"{text(found[RTA_DST])}/{length}" if length else "", U32.unpack(found.get(RTA_PRIORITY, bytes(4)))[0],
            PREFERENCES.get(found.get(RTA_PREF, b""), 1),
            [(oif, text(gateway) if gateway else without) for oif, gateway in ways])


def interfaces_of(interfaces: dict[str, Interface], addresses: list[Address]) -> dict[str, Interface]:
    """The interfaces with their usable IPv6 addresses, which are sorted: the order of the kernel's list has no
    meaning."""
    own: dict[int, list[tuple[str, int]]] = {}
    for one in addresses:
        if one.usable():
            own.setdefault(one.ifindex, []).append((one.text, one.length))
    found = {}
    for name, interface in interfaces.items():
        several = sorted(own.get(interface.ifindex, ()))
        found[name] = interface._replace(addresses=tuple([text for text, _ in several]),
                                         lengths=tuple([length for _, length in several]), lasting=())
    return found


class Found(NamedTuple):
    """What the kernel's messages say of the links."""

    interfaces: dict[str, Interface]  # with their IPv6 addresses
    leases: dict[str, Lease]
    best: tuple[int, int]  # of Main


_answer: tuple[tuple[object, ...], Found] = (), Found({}, {}, (0, 0))
"""The last question of `read`, and its answer. A monitor looks again and again, and in most of its looks nothing but
ages and lifetimes has changed."""


def read(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[bytes], main: list[bytes],
         routes: list[bytes], told: "dict[str, tuple[Delegated, ...]]") -> Found:
    """What the messages say of these links. `addresses`: from Rtnetlink.addresses6. `main`: from Rtnetlink.routes6.
    `routes`: ours, from Rtnetlink.ours. None of them has a header. `told`: as for `leases_of`."""
    global _answer
    question = links, interfaces, _lasting(addresses), _ageless(main), routes, told
    if question != _answer[0]:
        _, _, addresses, main, _, _ = question
        known, table = read_addresses(addresses), read_main(main)
        visible = interfaces_of(interfaces, known)
        lacking = any([one.ifindex not in table.routers for one in interfaces.values()])
        have = routing([], routes) if lacking else Routing()
        _answer = question, Found(visible, leases_of(links, visible, known, table, have, told), table.best)
    return _answer[1]


def leases_of(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[Address], main: Main,
              have: Routing, told: "dict[str, tuple[Delegated, ...]]" = {}) -> dict[str, Lease]:
    """Interface → lease, of those links that have anything in IPv6. `told`: the prefixes that their clients have
    reported. `have`: our own routing, which keeps a gateway that main has lost, for the connections that only this
    gateway can carry."""
    prefixes, refused = accepted(links, interfaces, addresses, told)
    guesses, doubts = inferred(links, interfaces, addresses, main, prefixes)
    for name, guessed in guesses.items():
        prefixes[name] = tuple([prefix for prefix, _ in guessed])
    shared = _shared(addresses)
    owners = {prefix: name for name, several in prefixes.items() for prefix in several}
    of_interface: dict[int, list[Address]] = {}
    for one in addresses:
        of_interface.setdefault(one.ifindex, []).append(one)
    preferred = {link.interface: _preferred(of_interface.get(interfaces[link.interface].ifindex, []))
                 for link in links if link.interface in interfaces}
    ours = {route.table: route.nexthops[0] for route in have.routes
            if len(route.nexthops) == 1 and route.destination == IPV6.everywhere and not route.only_from}
    # If no provider gave a global address, unique local ones are used: somebody may translate them.
    local = all([is_local(text) for several in preferred.values() for text, _ in several])
    of_links = {interface.ifindex for interface in interfaces.values()}
    leases = {}
    for link in links:
        name, interface = link.interface, interfaces.get(link.interface)
        if not interface:
            if prefixes[name] or refused[name]:
                leases[name] = Lease("", 0, "", prefixes=prefixes[name], refused=refused[name])
            continue
        sources = _sources(name, interface, shared, owners)
        gateway, lost, fault = "".join(main.routers.get(interface.ifindex, ())[:1]), False, ""
        before = ours.get(link.table)
        if not gateway and not link.gateway6:
            fault = "table main has no default route by it"
            if before and before.oif == interface.ifindex and (sources or prefixes[name]):
                gateway = before.gateway or ON_DEVICE
            lost = bool(gateway or sources)
        own = [(text, length) for text, length in preferred[name] if local or not is_local(text)]
        if not own and not fault:
            fault = "it has no usable address of its own"
        if sources or gateway or prefixes[name] or refused[name]:
            text, length = own[0] if own else ("", 0)
            asks_from = "" if own else _asks_from(interface.ifindex, prefixes[name], addresses, of_links)
            networks = [network for network in main.networks.get(interface.ifindex, ())
                        if network.removesuffix("/128") not in interface.addresses]
            leases[name] = Lease(text, length, gateway, fault=fault, sources=sources, prefixes=prefixes[name],
                                 networks=tuple(networks), lost=lost, refused=refused[name],
                                 inferred=guesses.get(name, ()), unsure=doubts.get(name, ()), asks_from=asks_from)
    return leases


def accepted(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[Address],
             told: "dict[str, tuple[Delegated, ...]]") -> "tuple[Texts, Texts]":
    """The prefixes of each link; and a sentence with the reason for each prefix that its client has reported and that
    is not used.

    A provider must not get packets from another provider's prefix, nor those of the LAN. So the administrator's word
    comes before a client's, and the client of an earlier line before that of a later one."""
    prefixes: Texts = {link.interface: link.prefixes6 for link in links}
    of_links = {interface.ifindex for interface in interfaces.values()}
    networks = [(one.text, one.length) for one in addresses if one.ifindex not in of_links]
    refused: Texts = {}
    for link in links:
        no = []
        for prefix in sorted([one.prefix for one in told.get(link.interface, ())]):
            start, _, bits = prefix.partition("/")
            length = int(bits)
            whose = [name for name, several in prefixes.items() if name != link.interface
                     and any([address.overlap(prefix, other) for other in several])]
            if not 16 <= length <= SLAAC:
                why = "must have 16 to 64 bits"
            elif not address.of_hosts(prefix) or is_local(start):
                why = "must be in 2000::/3; one in fc00::/7 counts if prefix6= names it"
            elif whose:
                why = f"overlaps a prefix of {whose[0]}"
            elif inside := [text for text, shorter in networks if shorter < length
                            and address.overlap(prefix, address.network(text, shorter))]:
                why = f"is a part of this machine's network of {inside[0]}"
            else:
                if not any([address.inside(prefix, other) for other in prefixes[link.interface]]):  # not known yet
                    prefixes[link.interface] += (prefix,)
                continue
            no.append(f"the delegated prefix {prefix} is not used: it {why}")
        refused[link.interface] = tuple(no)
    return prefixes, refused


def recalled(routes: list[bytes], interfaces: dict[str, Interface], now_s: int) -> "dict[str, tuple[Delegated, ...]]":
    """Interface → the prefixes that the link's client has reported, as far as our own routing shows them, for a store
    that was lost. It does not show when they end; the client will report that. `routes`: from Rtnetlink.ours."""
    sourced = [message for message in routes if message[SRC_LEN]]
    if not sourced:
        return {}
    from .model import Delegated
    from .routing import METRIC_TOLD
    names = {interface.ifindex: name for name, interface in interfaces.items()}
    metric = attribute(RTA_PRIORITY, U32.pack(METRIC_TOLD))
    found: dict[str, tuple[Delegated, ...]] = {}
    for route in sorted([decode_route(message) for message in sourced if metric in message]):
        if route.metric == METRIC_TOLD and not route.rest and (name := names.get(route.nexthops[0].oif)):
            found[name] = (*found.get(name, ()), Delegated(route.only_from, now_s, 0))
    return found


def inferred(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[Address], main: Main,
             known: "Texts") -> "tuple[Inferred, Texts]":
    """The networks of the LAN that can belong to one link only, although nobody has said so; and sentences about those
    that may belong to several links. `known`: the links' prefixes that the administrator or a client has named.

    A network belongs to a link's provider if its first bits are those of the link's addresses, and no other interface
    that leads to the Internet has such an address. A wrong guess would send the LAN's packets to a provider that drops
    them. So nothing is guessed if another link may have the same provider. Two kinds of links may: one with an address
    that cannot be used yet, and one with a router and without an address."""
    names = {interface.ifindex: name for name, interface in interfaces.items()}
    words = {prefix for prefixes in known.values() for prefix in prefixes}
    lengths = {int(prefix[prefix.index("/") + 1:]) for prefix in words}
    found: dict[str, str] = {}
    for text in sorted([one.text for one in addresses if one.ifindex not in names and one.ifindex not in main.routers
                        and one.length == SLAAC and one.usable() and not one.flags & IFA_F_TEMPORARY]):
        prefix = address.network(text, SLAAC)
        if (address.of_hosts(prefix) and not is_local(text)
                and not any([address.network(text, bits) in words for bits in lengths])):
            found.setdefault(prefix, text)
    if not found:
        return {}, {}
    # First bits → whose addresses have them; "" = an interface that is no link and leads to the Internet, like a
    # tunnel.
    owners: dict[str, set[str]] = {}
    for one in addresses:
        if one.ifindex in names or one.ifindex in main.routers:
            owners.setdefault(address.network(one.text, PROVIDER), set()).add(names.get(one.ifindex, ""))
    for name, prefixes in known.items():
        for prefix in prefixes:
            owners.setdefault(address.network(prefix[:prefix.index("/")], PROVIDER), set()).add(name)
    visible = {one.ifindex for one in addresses if not is_local(one.text)}
    routed = main.routers.keys() | {interfaces[link.interface].ifindex for link in links
                                    if link.gateway6 and link.interface in interfaces}
    unseen = {name for name, interface in interfaces.items()
              if interface.ifindex in routed - visible and not known.get(name)}
    guesses: Inferred = {}
    doubtful: dict[tuple[str, ...], list[str]] = {}
    for prefix, text in found.items():
        near = owners.get(address.network(text, PROVIDER), set())
        if near and "" not in near:
            may = tuple(sorted(near | unseen))
            if len(may) > 1:
                doubtful.setdefault(may, []).append(prefix)
            elif known.get(may[0]) == ():
                guesses[may[0]] = (*guesses.get(may[0], ()), (prefix, text))[:MOST_NETWORKS]
    doubts: Texts = {}
    for may, several in doubtful.items():
        if untold := [name for name in may if known.get(name) == ()]:
            more = f" and {len(several) - 1} more" if several[1:] else ""
            doubts[untold[0]] = (*doubts.get(untold[0], ()), (
                f"{several[0]}{more} of the LAN may be of {' or '.join(may)}, and so leaves by any link: "
                f"write prefix6={several[0]} in the line of its provider"))
    return guesses, doubts


def is_local(text: str) -> bool:
    """Whether this is a unique local address, which the Internet does not know (RFC 4193)."""
    return text[:2] in ("fc", "fd") and text.find(":") == 4  # in canonical form


def _preferred(addresses: list[Address]) -> list[tuple[str, int]]:
    """The addresses of an interface that the kernel would choose for a new connection, with their prefix lengths:
    global ones come before local ones, lasting ones before temporary ones. Deprecated ones are left out, because the
    kernel prefers an address of another link to them (RFC 6724, rule 3 before rule 5)."""
    found = sorted([(is_local(one.text), one.flags & IFA_F_TEMPORARY, one.text, one.length) for one in addresses
                    if one.usable() and not one.flags & IFA_F_DEPRECATED])
    return [(text, length) for _, _, text, length in found]


def _asks_from(ifindex: int, prefixes: tuple[str, ...], addresses: list[Address], of_links: set[int]) -> str:
    """An address of this machine to which the provider sends answers, although no new connection gets it: a deprecated
    one of the link, or one of the LAN in a prefix that the provider has delegated. "" if there is none."""
    found = sorted([(one.ifindex != ifindex, one.flags & (IFA_F_DEPRECATED | IFA_F_TEMPORARY), one.text)
                    for one in addresses if one.usable() and not is_local(one.text) and (
                        one.ifindex == ifindex or one.ifindex not in of_links
                        and any([address.within(one.text, prefix) for prefix in prefixes]))])
    return found[0][2] if found else ""


def _shared(addresses: list[Address]) -> set[str]:
    """The prefixes of 64 bits in which several interfaces have an address."""
    where: dict[str, int] = {}
    shared = set()
    for one in addresses:
        prefix = address.network(one.text, SLAAC)
        if where.setdefault(prefix, one.ifindex) != one.ifindex:
            shared.add(prefix)
    return shared


def _sources(name: str, interface: Interface, shared: set[str], owners: dict[str, str]) -> tuple[str, ...]:
    """The prefixes of the packets that this interface sends. If the /64 in which it makes addresses is its own, it is
    the whole /64, so that a new temporary address needs no event. Otherwise it is each address by itself: two routers
    may advertise the same /64, for instance of unique local addresses, or that of somebody's LAN. `owners`: prefix →
    interface of the link that has it."""
    found = set()
    lengths = {int(prefix[prefix.index("/") + 1:]) for prefix in owners}  # none is longer than 64
    for text, length in zip(interface.addresses, interface.lengths):
        prefix = address.network(text, SLAAC)
        alone = (length == SLAAC and not is_local(text) and prefix not in shared
                 and not any([owners.get(address.network(text, bits), name) != name for bits in lengths]))
        found.add(prefix if alone else f"{text}/128")
    return tuple(sorted(found))
