"""Pure: a link's targets and what the link was given → whom the monitor asks through the link."""

from _socket import AF_INET, inet_pton

from .. import address
from ..event import MAX_NAME_SERVERS
from ..model import ON_DEVICE
from ..record import NamedTuple
from ..targets import DNS, GATEWAY, HTTP, LEASE, Target

DNS_PORT = 53
ROOT = ""  # the name of the DNS root: a server knows it without asking anybody else


class Way(NamedTuple):
    """How a packet leaves by a link. It names both the device and the address. With the device alone, the kernel may
    choose the address of another link. With the address alone, the packet would leave by another link when this one is
    out."""

    interface: str
    ifindex: int
    source: str  # the link's address, or another address of this machine whose answers come back by the link
    gateway: str  # ON_DEVICE: the link has none
    servers: tuple[str, ...] = ()  # the name servers that came with the lease

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return address.family(self.source)

    @property
    def key(self) -> tuple[str, int]:
        """The interface and the family. No two ways that are in use have the same key."""
        return self.interface, self.family


class Ask(NamedTuple):
    """Somebody whom the monitor asks by packets."""

    kind: str  # GATEWAY, PING, TCP, DNS or HTTP
    address: str  # where the packet goes; of HTTP "" if a name server must be asked for it first
    port: int = 0
    name: str = ""  # of DNS: the name in the question (ROOT for the root); of HTTP: the host
    path: str = ""  # of HTTP
    named: bool = True  # whether the administrator has named it


def asks(targets: tuple[Target, ...], way: Way) -> tuple[Ask, ...]:
    """Whom the monitor asks, each once. () if the lease names neither a name server nor a gateway that could be asked,
    or if all targets are of the other family. A host that is named may have no IPv6 address, so in IPv6 its silence
    proves nothing before it has answered."""
    found: list[Ask] = []
    servers = usable(way)
    gateway = Ask(GATEWAY, way.gateway)
    for kind, host, port, path in targets:
        if kind == LEASE and servers:
            found += [Ask(DNS, server, DNS_PORT, ROOT, named=False) for server in servers]
        elif kind in (LEASE, GATEWAY):
            if way.gateway != ON_DEVICE:
                found.append(gateway._replace(named=kind == GATEWAY))
        elif kind == DNS:
            found += [Ask(DNS, server, DNS_PORT, host) for server in servers]
        elif kind == HTTP and not _is_ipv4(host) and ":" not in host:
            if servers:
                found.append(Ask(HTTP, "", port, host, path, named=way.family == AF_INET))
        elif address.family(host) == way.family:
            found.append(Ask(kind, host, port, host if kind == HTTP else "", path))
    return tuple(dict.fromkeys(found))


def usable(way: Way) -> tuple[str, ...]:
    """Those name servers of a lease that can be asked through the link. A provider may name anything."""
    found: list[str] = []
    for server in way.servers:
        if address.family(server) == way.family and (host := reachable(server)) not in ("", way.source, *found):
            found.append(host)
    return tuple(found[:MAX_NAME_SERVERS])


def reachable(text: str) -> str:
    """The address, of either family, in canonical form; "" if a link cannot carry a packet to it."""
    try:
        return address.router6(text) if ":" in text else address.unicast(text)
    except ValueError:
        return ""


def _is_ipv4(text: str) -> bool:
    try:
        inet_pton(AF_INET, text)
    except OSError:
        return False
    return True
