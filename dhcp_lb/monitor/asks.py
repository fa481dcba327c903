"""Pure: a link's targets, and what it was given → whom the link is asked through."""

from _socket import AF_INET, inet_pton

from .. import address
from ..event import MAX_NAME_SERVERS
from ..model import ON_DEVICE
from ..record import NamedTuple
from ..targets import DNS, GATEWAY, HTTP, LEASE, Target

DNS_PORT = 53
ROOT = ""  # a name that any server may be asked for, and none has to be reached for


class Way(NamedTuple):
    """How a packet leaves by a link. Both the device and the address are named: bound to the device alone, the kernel
    may choose another link's address; bound to the address alone, it takes another link when this one is out."""

    interface: str
    ifindex: int
    source: str  # the link's address
    gateway: str  # ON_DEVICE: it has none
    servers: tuple[str, ...] = ()  # the name servers that came with the lease

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return address.family(self.source)

    @property
    def key(self) -> tuple[str, int]:
        """The interface and the family: no two ways that are in use have the same."""
        return self.interface, self.family


class Ask(NamedTuple):
    """One who is asked by a packet."""

    kind: str  # GATEWAY, PING, TCP, DNS or HTTP
    address: str  # where the packet goes; of HTTP "" if a name server has to be asked for it
    port: int = 0
    name: str = ""  # of DNS: the name that is asked for, ROOT for that of the root; of HTTP: the host's
    path: str = ""  # of HTTP
    named: bool = True  # the administrator named it


def asks(targets: tuple[Target, ...], way: Way) -> tuple[Ask, ...]:
    """Who is asked, each once; nobody if the lease has neither name server nor gateway that could be asked, or all
    targets are of the other family. A host that is known by name may have no address in IPv6, so it proves nothing
    there before it has answered."""
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
    """The name servers of a lease that can be asked through the link. What a provider says may be anything."""
    found: list[str] = []
    for server in way.servers:
        if address.family(server) == way.family and (host := reachable(server)) not in ("", way.source, *found):
            found.append(host)
    return tuple(found[:MAX_NAME_SERVERS])


def reachable(text: str) -> str:
    """The address in canonical form, of either family; "" if no packet can be sent to it by a link."""
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
