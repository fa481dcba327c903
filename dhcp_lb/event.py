"""What a DHCP client tells its hook → what it means for a link. Every value is hostile until it is parsed."""

from . import address
from .model import Lease
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Environ = Mapping[bytes, bytes]


class Event(NamedTuple):
    """A link got a lease, or (None) lost what it had."""

    interface: str
    lease: Lease | None
    notes: tuple[str, ...] = ()  # what was ignored, for the log


class Client(NamedTuple):
    """The words of one DHCP client: its reasons, and the variables that hold the fields of a lease."""

    comes: frozenset[bytes]
    goes: frozenset[bytes]
    address: bytes = b"new_ip_address"
    mask: bytes = b"new_subnet_mask"
    routers: bytes = b"new_routers"
    server: bytes = b"new_dhcp_server_identifier"
    duration: bytes = b"new_dhcp_lease_time"
    classless: bytes = b"new_rfc3442_classless_static_routes"


# dhclient-script(8). The others (PREINIT, MEDIUM, ARPCHECK, NBI, those that end in 6) change no IPv4 lease.
DHCLIENT = Client(
    comes=frozenset((b"BOUND", b"RENEW", b"REBIND", b"REBOOT", b"TIMEOUT")),
    goes=frozenset((b"EXPIRE", b"FAIL", b"RELEASE", b"STOP")),
)

MAX_ROUTERS = 64  # a DHCP option of 255 bytes has no room for more


def parse(environ: "Environ", now_s: int, client: Client = DHCLIENT) -> Event | None:
    """The event that the environment of a client's hook describes, at CLOCK_BOOTTIME `now_s`; None if it
    changes no lease. Never raises: a lease that cannot be used comes with its fault."""
    interface = environ.get(b"interface", b"").decode("utf-8", "surrogateescape")
    reason = environ.get(b"reason", b"")
    if interface and reason in client.goes:
        return Event(interface, None)
    if not interface or reason not in client.comes:
        return None
    return Event(interface, *lease(environ, now_s, client))


def lease(environ: "Environ", now_s: int, client: Client = DHCLIENT) -> tuple[Lease, tuple[str, ...]]:
    """The lease in a client's variables, and notes on what of it was ignored."""
    quad, length, gateway, fault = "", 0, "", ""
    notes: list[str] = []
    what = "address"
    try:
        quad = address.unicast(_text(environ, client.address))
        what = "net mask"
        length = address.mask_length(_text(environ, client.mask))
        what = "gateway"
        gateway = _gateway(environ, client, quad, address.network(quad, length), notes)
    except ValueError as error:
        fault = f"{what} {error}"
    try:
        server = address.unicast(_text(environ, client.server))
    except ValueError:
        server = ""
    duration = _text(environ, client.duration)
    duration_s = int(duration) if len(duration) <= 10 and duration.isascii() and duration.isdecimal() else 0
    if duration_s == 0xffffffff:  # RFC 2131, 3.3: for ever
        duration_s = 0
    return Lease(quad, length, gateway, server, now_s, duration_s, fault), tuple(notes)


def next_hop(text: str, quad: str, prefix: str) -> str:
    """The gateway in `text` in canonical form; ValueError says why a host with address `quad` in `prefix`
    cannot send to it. The kernel itself would take the host's own address and the network's."""
    gateway = address.unicast(text)
    if gateway == quad:
        raise ValueError("is its own address")
    if address.reserved(gateway, prefix):
        raise ValueError(f"{gateway} is the network or broadcast address of {prefix}")
    return gateway


def _gateway(environ: "Environ", client: Client, quad: str, prefix: str, notes: list[str]) -> str:
    """The default gateway: that of option 121 if it is given, else the first good one of option 3
    (RFC 3442)."""
    offers = _text(environ, client.routers).split()[:MAX_ROUTERS]
    fault = ValueError("is missing")
    if classless := _text(environ, client.classless):
        try:
            offers = [gateway for destination, gateway in classless_routes(classless)
                      if destination == address.EVERYWHERE]
            fault = ValueError("is missing: option 121 has no default route")
        except ValueError as error:
            notes.append(f"option 121 is ignored: {error}")
    for number, offer in enumerate(offers):
        try:
            return next_hop(offer, quad, prefix)
        except ValueError as error:
            fault = fault if number else error
    raise fault


def classless_routes(text: str) -> list[tuple[str, str]]:
    """Option 121 as dhclient prints it, `WIDTH OCTET… ROUTER-OCTETS …` with as many octets of the destination
    as its width needs (RFC 3442) → (PREFIX/LENGTH, gateway) pairs. ValueError if it is cut off or absurd."""
    numbers = [int(word) if word.isascii() and word.isdecimal() and len(word) <= 3 else 256
               for word in text.split()[:256]]
    if max(numbers, default=256) > 255:
        raise ValueError("not a list of octets")
    routes = []
    while numbers:
        width = numbers[0]
        octets = (width + 7) // 8
        if width > 32 or len(numbers) < 1 + octets + 4:
            raise ValueError("a width over 32" if width > 32 else "cut off")
        destination = ".".join([str(octet) for octet in (numbers[1:1 + octets] + [0, 0, 0, 0])[:4]])
        gateway = ".".join([str(octet) for octet in numbers[1 + octets:5 + octets]])
        routes.append((f"{destination}/{width}", gateway))
        del numbers[:5 + octets]
    return routes


def _text(environ: "Environ", name: bytes) -> str:
    # 4096 bytes are more than any of these options can say; a longer value is no option's.
    return environ.get(name, b"")[:4096].decode("ascii", "replace")
