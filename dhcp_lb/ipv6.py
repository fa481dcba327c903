"""What only IPv6 has: a link's lease is what the kernel shows of it, a dozen addresses and routers it may be, and
prefixes for others. Loaded only where a run looks at IPv6, and IPv6 is there.

Pure. Numbers are from uapi/linux: if_addr.h (IFA_F_*), rtnetlink.h (RTN_*, RTPROT_*, RTM_F_*),
icmpv6.h (ICMPV6_ROUTER_PREF_*)."""

from . import address
from .address import IPV6
from .model import ON_DEVICE, Interface, Lease, Link, Routing
from .netlink import S32, U32, attributes
from .record import NamedTuple
from .rtmessages import (BODY, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_PREF, RTA_PRIORITY, RTN_UNICAST,
                         multipath)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Delegated

    Texts = dict[str, tuple[str, ...]]
    """By the links' interfaces."""
    Inferred = dict[str, tuple[tuple[str, str], ...]]
    """The same: prefixes, each with the address of this machine that it is inferred from."""

IFA_F_TEMPORARY, IFA_F_OPTIMISTIC, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x1, 0x4, 0x8, 0x20, 0x40
RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC, RTPROT_RA, RTPROT_DHCP = 2, 3, 4, 9, 16
PROTOCOLS = (RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC, RTPROT_RA, RTPROT_DHCP)
"""Who tells of a link's routers and networks. A routing daemon's million routes are not asked for."""
RTM_F_CLONED = 0x200
PREFERENCES = {b"\1": 0, b"\3": 2}  # of a router: high comes first, low last; medium is between them

SLAAC = 64  # bits of the prefix from which a host makes addresses by itself (RFC 4862)
MOST_NETWORKS = 64  # of a link, whose router may advertise thousands
PROVIDER = 32  # bits: the least that a registry gives a provider (RIPE-738, 5.1; ARIN NRPM, 6.5.2.1)


class Address(NamedTuple):
    """An address of an interface, link-local ones left out."""

    ifindex: int
    text: str
    length: int
    flags: int  # IFA_F_*

    def usable(self) -> bool:
        """Whether packets can have it, now."""
        return not self.flags & IFA_F_DADFAILED and (not self.flags & IFA_F_TENTATIVE
                                                     or self.flags & IFA_F_OPTIMISTIC != 0)


class Main(NamedTuple):
    """What table main has by each interface: the routers, the best first, and the on-link prefixes."""

    routers: dict[int, tuple[str, ...]]
    networks: dict[int, tuple[str, ...]]
    best: tuple[int, int] = (0, 0)  # the metric and the interface of the best default of all


def read_main(messages: list[bytes]) -> Main:
    """The messages of a dump of main, without their headers."""
    defaults: dict[int, list[tuple[int, int, str]]] = {}
    networks: dict[int, set[str]] = {}
    best = []
    for message in messages:
        _, length, source_length, _, _, protocol, _, kind, flags = BODY.unpack_from(message)
        if source_length or kind != RTN_UNICAST or flags & RTM_F_CLONED:
            continue
        found = attributes(message, BODY.size)
        metric = U32.unpack(found.get(RTA_PRIORITY, bytes(4)))[0]
        hops = [(S32.unpack(found[RTA_OIF])[0], found.get(RTA_GATEWAY, b""))] if RTA_OIF in found else []
        hops = hops or [(oif, values.get(RTA_GATEWAY, b""))
                        for _, _, oif, values in multipath(found.get(RTA_MULTIPATH, b""))]
        if not length:
            best += [(metric, oif) for oif, _ in hops[:1]]
        for oif, gateway in hops:
            if not length and (gateway or protocol in (RTPROT_BOOT, RTPROT_STATIC)):
                rank = PREFERENCES.get(found.get(RTA_PREF, b""), 1)
                defaults.setdefault(oif, []).append((metric, rank, IPV6.text(gateway) if gateway else ON_DEVICE))
            elif length and not gateway:
                networks.setdefault(oif, set()).add(f"{IPV6.text(found[RTA_DST])}/{length}")
    return Main({oif: tuple([gateway for _, _, gateway in sorted(several)]) for oif, several in defaults.items()},
                {oif: tuple(sorted(several)[:MOST_NETWORKS]) for oif, several in networks.items()},
                min(best, default=(0, 0)))


def interfaces_of(interfaces: dict[str, Interface], addresses: list[Address]) -> dict[str, Interface]:
    """The interfaces with their usable IPv6 addresses. The order of the kernel's list says nothing."""
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


def leases_of(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[Address], main: Main,
              have: Routing, told: "dict[str, tuple[Delegated, ...]]" = {}) -> dict[str, Lease]:
    """The leases of those links that have anything. `told`: the prefixes, by their clients. `have`: our own routing,
    which keeps a gateway that main has lost, for the connections that only it can carry."""
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
    # Where no provider gave a global address, one behind a translation is as good as it gets.
    local = all([is_local(text) for several in preferred.values() for text, _ in several])
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
                gateway, lost = before.gateway or ON_DEVICE, True
        own = [(text, length) for text, length in preferred[name] if local or not is_local(text)]
        if not own and not fault:
            fault = "it has no usable address of its own"
        if sources or gateway or prefixes[name] or refused[name]:
            text, length = own[0] if own else ("", 0)
            networks = [network for network in main.networks.get(interface.ifindex, ())
                        if network.removesuffix("/128") not in interface.addresses]
            leases[name] = Lease(text, length, gateway, fault=fault, sources=sources, prefixes=prefixes[name],
                                 networks=tuple(networks), lost=lost, refused=refused[name],
                                 inferred=guesses.get(name, ()), unsure=doubts.get(name, ()))
    return leases


def accepted(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[Address],
             told: "dict[str, tuple[Delegated, ...]]") -> "tuple[Texts, Texts]":
    """The prefixes of each link, and those that its client has told and that are not used, with the reason.

    A provider must not get what another one's customers send, nor what the LAN does. So the administrator's word comes
    before any client's, and of two clients' that of the earlier line."""
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
                why = "must be in 2000::/3; name another one with prefix6="
            elif whose:
                why = f"is not apart from a prefix of {whose[0]}"
            elif inside := [text for text, shorter in networks if shorter < length
                            and address.overlap(prefix, address.network(text, shorter))]:
                why = f"is a part of the network of {inside[0]}"
            else:
                if not any([address.inside(prefix, other) for other in prefixes[link.interface]]):  # else it is known
                    prefixes[link.interface] += (prefix,)
                continue
            no.append(f"the delegated prefix {prefix} is not used: it {why}")
        refused[link.interface] = tuple(no)
    return prefixes, refused


def inferred(links: tuple[Link, ...], interfaces: dict[str, Interface], addresses: list[Address], main: Main,
             known: "Texts") -> "tuple[Inferred, Texts]":
    """Networks of the LAN that can only be a link's, though nobody has said so; and for those that may be of several
    links, what is to be said of them. `known`: the links' prefixes, which the administrator or a client has told.

    What begins as the addresses of one link do and as nothing else does that leads to the world, is of its provider. A
    wrong guess would send the LAN to a provider that drops it, so there is none where another link may be of the same
    provider: an address that nobody can use yet counts there, and a link with a router and without an address."""
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
    # Whose addresses begin so; "" = of an interface that is no link and leads to the world, a tunnel's say.
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
    """Whether this address is unknown to the Internet (RFC 4193)."""
    return text[:2] in ("fc", "fd") and text.find(":") == 4  # in canonical form


def _preferred(addresses: list[Address]) -> list[tuple[str, int]]:
    """Those of an interface's addresses that the kernel would choose for a new connection, lasting ones first. A
    deprecated one comes after the other links' (RFC 6724, rule 3 before rule 5)."""
    found = sorted([(is_local(one.text), one.flags & IFA_F_TEMPORARY, one.text, one.length) for one in addresses
                    if one.usable() and not one.flags & IFA_F_DEPRECATED])
    return [(text, length) for _, _, text, length in found]


def _shared(addresses: list[Address]) -> set[str]:
    """The networks of 64 bits in which several interfaces have an address."""
    where: dict[str, int] = {}
    shared = set()
    for one in addresses:
        prefix = address.network(one.text, SLAAC)
        if where.setdefault(prefix, one.ifindex) != one.ifindex:
            shared.add(prefix)
    return shared


def _sources(name: str, interface: Interface, shared: set[str], owners: dict[str, str]) -> tuple[str, ...]:
    """The prefixes of what comes from this interface: the /64 from which it makes addresses, so that a temporary
    address needs no event, if the /64 is its own. Two routers may advertise the same one, of unique local addresses
    for instance, or that of somebody's LAN. `owners`: the links' prefixes, and whose each is."""
    found = set()
    lengths = {int(prefix[prefix.index("/") + 1:]) for prefix in owners}  # none is longer than 64
    for text, length in zip(interface.addresses, interface.lengths):
        prefix = address.network(text, SLAAC)
        alone = (length == SLAAC and not is_local(text) and prefix not in shared
                 and not any([owners.get(address.network(text, bits), name) != name for bits in lengths]))
        found.add(prefix if alone else f"{text}/128")
    return tuple(sorted(found))
