"""The verb `explain`: asks the kernel which way a connection takes; explain.py says why."""

from __future__ import annotations

import os
from argparse import Namespace

from .. import address, iproute2, sysctl
from ..change import interface_names, is_translated, judged
from ..config import Invalid, read_config
from ..log import printable
from ..marks import translators
from ..pinning.table import becomes
from ..policy import line_of
from ..rtnetlink import Rtnetlink
from ..sight import Sight
from .common import FAILED, fail, in_words, see, valid
from .explain import RTN_LOCAL, Packet, chosen, ended, explanation, no_way
from .status import shares


def explain(options: Namespace) -> int | None:
    """Explains one lookup. Returns the exit status; Invalid if the arguments are wrong."""
    for name in ("destination", "source") if options.source else ("destination",):
        quad = getattr(options, name)
        try:
            setattr(options, name, address.host6(quad) if ":" in quad else address.parse(quad))
        except ValueError:
            raise Invalid(f"{quad or name} is not an IPv4 or IPv6 address") from None
    if options.iif and not options.source:
        raise Invalid("--in without --from: must have --from with the address of the machine that connects")
    family = address.family(options.destination)
    if options.source and address.family(options.source) != family:
        raise Invalid(f"{options.destination} from {options.source}: must be both IPv4 or both IPv6")
    sights, _ = see(valid(read_config()))
    sight = sights[-1] if family == address.IPV6.number else sights[0]
    kernel = Rtnetlink()
    if options.source and not options.oif and not options.iif:
        options.iif = _way_in(kernel, options.source)
    there = kernel.interfaces(frozenset([options.oif, options.iif]))
    for name in options.oif, options.iif:
        if name and name not in there:
            raise Invalid(f"{name} is not an interface of this machine")
    protocol, port = options.wanted
    packet = Packet(options.destination, options.source, options.oif, options.iif, protocol, port, options.mark,
                    0 if options.iif else os.getuid())
    view = judged(sight)
    policies = sight.config.policies
    oif, iif = (there[name].ifindex if name else 0 for name in (packet.oif, packet.iif))
    try:
        route = kernel.lookup(packet.destination, packet.source, oif, iif, packet.protocol, packet.port, packet.mark)
    except OSError as error:
        rule = ended(kernel.rules(family), error.errno or 0, packet)
        refused = sysctl.is_strict(packet.iif) or _is_own(kernel, packet.source)
        line = line_of(policies, rule.pref) if rule else 0
        return fail(no_way(packet, error.errno or 0, in_words(error), rule, line, view.have,
                           sysctl.forwards(packet.iif), refused), FAILED)
    group = next((one.group for nexthop in route.nexthops[:1] for one in kernel.interfaces(
        frozenset(interface_names([route]).values())).values() if one.ifindex == nexthop.oif), 0)
    by = chosen(kernel.rules(family), route, packet, group)
    settings = sight.config.settings
    carriers = {interface.ifindex: interface.carrier for interface in sight.interfaces.values()}
    names = {name.number: name.name for name in iproute2.names("rt_tables")}
    ours = {link.table: link.table_name for link in sight.config.links} | {
        settings.balance_table: settings.balance_name, settings.server_table: settings.server_name}
    for text in explanation(packet, route, by, names | ours, interface_names([route]),
                            shares(view.have, settings.balance_table, carriers),
                            line_of(policies, by.pref) if by else 0, view.have, _sources(sight, packet)):
        print(printable(text))
    return None


def _sources(sight: Sight, packet: Packet) -> dict[int, str]:
    """Interface index → what a packet's source becomes, for each link that translates it."""
    if not is_translated(sight) or not packet.source:
        return {}
    several = translators(sight.config.links, sight.config.settings)
    found = {link.interface: becomes(packet.source, link, several) for link in several}
    return {interface.ifindex: found[name] for name, interface in sight.interfaces.items() if found.get(name)}


def _way_in(kernel: Rtnetlink, source: str) -> str:
    """The interface by which a connection from this address comes in; "" if the address is this machine's own. Invalid
    if that is not clear."""
    try:
        back = kernel.lookup(source)
    except OSError as error:
        raise Invalid(f"no route leads to {source} ({in_words(error)}): --in must say by which interface it comes"
                      ) from None
    names = sorted(interface_names([back]).values())
    if back.rest[1:2] == RTN_LOCAL:
        return ""
    if len(names) != 1:
        raise Invalid(f"{source} is behind {' or '.join(names)}: --in must say by which of them it comes")
    return names[0]


def _is_own(kernel: Rtnetlink, source: str) -> bool:
    """Whether this machine has the address."""
    try:
        return bool(source) and kernel.lookup(source).rest[1:2] == RTN_LOCAL
    except OSError:
        return False
