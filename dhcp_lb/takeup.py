"""Links that are up without an event that said what they were given: taken up from what is there."""

from __future__ import annotations

import time

from .address import link_local, network, within
from .config import Config
from .event import parse
from .model import NONE, ON_DEVICE, Interface, Lease, Link
from .routing import MAIN_TABLE
from .rtmessages import by_ipv6
from .rtnetlink import Rtnetlink
from .sight import now_s
from .store import Store


def take_up(config: Config, store: Store, interfaces: frozenset[str]) -> frozenset[str]:
    """Keeps the leases of those links that have an address and no lease of a DHCP server for it in the store. Returns
    the interfaces of the links that have a lease that can be used.

    For links that are static, or of a client that has no hook, the kernel is asked for the address and the default
    route of table main. dhclient's lease files know more, its server and its end; without a dhclient they are only
    asked for what the kernel does not know. A client's own hook must not ask for that route: clients differ in what
    comes first."""
    kernel = Rtnetlink()
    there = kernel.interfaces(interfaces)
    unknown = []
    usable = set()
    for link in config.links:
        interface = there.get(link.interface)
        if interface and interface.addresses:
            lease = _known(store, link.interface)
            if not (lease.server and lease.address in interface.addresses):
                unknown.append((link, interface, lease))
            elif not lease.fault:
                usable.add(link.interface)
    noted = _from_dhclient(there) if unknown else {}
    for link, interface, lease in unknown:
        found = noted.get(link.interface)
        if not found or not found.server:
            found = from_kernel(kernel, link, interface) or found
        if found and not found.fault:
            usable.add(link.interface)
        if found and found[:4] != lease[:4]:  # what is known may say more than the kernel
            store.prepare()
            if _known(store, link.interface) == lease:  # its client may have told meanwhile, and knows best
                store.save(link.interface, found)
    return frozenset(usable)


def _known(store: Store, interface: str) -> Lease:
    return store.load(frozenset([interface]), now_s()).leases.get(interface, NONE)


def _from_dhclient(there: dict[str, Interface]) -> dict[str, Lease]:
    """The leases in dhclient's files, by interface; with their server where a dhclient is there to renew them."""
    from . import dhclient_leases  # only here: it reads text, which takes more imports than all the rest
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
    """What an interface has been given, as the kernel shows it; None if nothing says how to go on from there. dhcpcd
    and avahi-autoipd give it a link-local address, and a default route, when nobody answers; that is nothing."""
    gateway, source = "", ""
    # In another table it is where its client was told to put it (networkd's RouteTable=).
    routes = kernel.default_routes(MAIN_TABLE, interface.ifindex) or kernel.default_routes(0, interface.ifindex)
    for route in [route for route in routes if not link_local(route.source)][:1]:
        source = route.source
        if by_ipv6(route):  # the device alone would lead nowhere
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
    # The gateway is outside. One that only the configuration names is no sign that an address leads there: it may be
    # that of a modem's own network, which stays when the lease has ended.
    own = [(quad, length) for quad, length in own if gateway or length == 32]
    return Lease(*own[0], gateway, begin_s=now_s()) if own else None
