"""Takes up links whose lease no event has reported."""

from __future__ import annotations

import time

from .address import link_local, network, within
from .config import Config
from .event import name_servers, parse
from .model import MAIN_TABLE, NONE, ON_DEVICE, Interface, Lease, Link
from .rtmessages import by_ipv6
from .rtnetlink import Rtnetlink
from .sight import now_s
from .store import Store, read

NETWORKD = "/run/systemd/netif/leases"  # a file for each interface, named by its index: systemd's networkd-dhcp4.c


def take_up(config: Config, store: Store, interfaces: frozenset[str]) -> frozenset[str]:
    """Keeps in the store what `current` finds. Returns the interfaces of those links that have a usable lease. OSError
    if the store cannot be written."""
    known = store.load(interfaces, now_s()).leases
    found = current(config, known, interfaces)
    for interface, lease in found.items():
        before = known.get(interface, NONE)
        if lease != before:
            store.prepare()
            # The link's client may have reported a lease in the meantime, and that one counts.
            if store.load(frozenset([interface]), now_s()).leases.get(interface, NONE) == before:
                store.save(interface, lease)
    return frozenset([interface for interface, lease in found.items() if not lease.fault])


def current(config: Config, known: dict[str, Lease], interfaces: frozenset[str]) -> dict[str, Lease]:
    """Interface → lease, of those links with these `interfaces` that have an address and about which something is
    known. A `known` lease counts if it names a DHCP server and the interface has its address.

    For the other links, the kernel is asked for the address and a default route: they may be static, or have a client
    without a hook. dhclient's lease files know more, such as the server and the end of the lease. If no dhclient runs,
    they count only if the kernel knows nothing. An event of a client must not ask for that default route: some clients
    set it after they have called their hooks."""
    kernel = Rtnetlink()
    there = kernel.interfaces(interfaces)
    leases = {}
    unknown = []
    for link in config.links:
        interface = there.get(link.interface)
        if interface and interface.addresses:
            lease = known.get(link.interface, NONE)
            if lease.server and lease.address in interface.addresses:
                leases[link.interface] = lease
            else:
                unknown.append((link, interface, lease))
    noted = _from_dhclient(there) if unknown else {}
    for link, interface, lease in unknown:
        found = noted.get(link.interface)
        if not found or not found.server:
            found = from_kernel(kernel, link, interface) or found
            if found:
                found = _with_name_servers(found, lease, interface.ifindex)
        if found:  # the known lease may say more than the kernel
            same = found[:4] == lease[:4] and found.name_servers == lease.name_servers
            leases[link.interface] = lease if same else found
    return leases


def _with_name_servers(found: Lease, known: Lease, ifindex: int) -> Lease:
    """The lease that the kernel shows, with the name servers of networkd's lease, or else of the known lease."""
    try:
        text = read(f"{NETWORKD}/{ifindex}", 1 << 16).decode("ascii", "replace")
    except (OSError, ValueError):
        text = ""
    values = dict([line.partition("=")[::2] for line in text.split("\n")])
    if values.get("ADDRESS") == found.address:
        return found._replace(name_servers=name_servers(values.get("DNS", "")))
    return found._replace(name_servers=known.name_servers) if known.address == found.address else found


def _from_dhclient(there: dict[str, Interface]) -> dict[str, Lease]:
    """The leases in dhclient's files, by interface. A lease names its server only if a dhclient runs that can renew
    it."""
    from . import dhclient_leases  # only here, because it needs more imports than the rest of the program
    noted = {}
    for name, environ in dhclient_leases.environments(
            dhclient_leases.read(), time.time(),
            lambda name, quad: name in there and quad in there[name].addresses).items():
        event = parse(environ, now_s())
        if event and event.lease:
            lease = event.lease
            if lease.duration_s and b"new_expiry" in environ:
                remaining_s = int(environ[b"new_expiry"]) - int(time.time())
                lease = lease._replace(begin_s=now_s() + min(0, remaining_s - lease.duration_s))
            noted[name] = lease if dhclient_leases.running(name) else lease._replace(server="")
    return noted


def from_kernel(kernel: Rtnetlink, link: Link, interface: Interface) -> Lease | None:
    """The lease of an interface, as the kernel shows it. None if there is no gateway. If no server answers, dhcpcd and
    avahi-autoipd set a link-local address and a default route; that is not a lease."""
    gateway, source = "", ""
    # A client may put its default route into another table than main (networkd's RouteTable=). If the configuration
    # names a gateway, that route is not needed, and the walk through all tables is saved.
    routes = kernel.default_routes(MAIN_TABLE, interface.ifindex)
    if not routes and not link.gateway:
        routes = kernel.default_routes(0, interface.ifindex)
    for route in [route for route in routes if not link_local(route.source)][:1]:
        source = route.source
        if by_ipv6(route):  # a lease of IPv4 cannot name this gateway, and without it the device leads nowhere
            return None
        gateway = next((nexthop.gateway or ON_DEVICE for nexthop in route.nexthops
                        if nexthop.oif == interface.ifindex), "")
    if not gateway and not link.gateway:
        return None
    own = [(quad, length) for quad, length in zip(interface.addresses, interface.lengths, strict=True)
           if not link_local(quad)]
    for quad, length in own:
        if quad == source or not source and within(gateway or link.gateway, network(quad, length)):
            return Lease(quad, length, gateway, begin_s=now_s())
    # The gateway is outside every prefix. If only the configuration names it, an address of the interface need not
    # lead to it: the address may be in a modem's own network, which stays when the lease has ended.
    own = [(quad, length) for quad, length in own if gateway or length == 32]
    return Lease(*own[0], gateway, begin_s=now_s()) if own else None
