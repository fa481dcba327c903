"""Pure: the environment of a DHCPv6 client's hook → the prefixes that a provider has delegated, and its name servers.
Every value is hostile until it is parsed. Only an event of a DHCPv6 client loads this module."""

from . import address
from .event import name_servers
from .model import Delegated
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .event import Environ

COMES = frozenset(b"BOUND6 RENEW6 REBIND6 REBOOT6 INFORM6".split())  # dhclient-script(8), dhcpcd-run-hooks(8)
GOES = frozenset(b"RELEASE6 EXPIRE6 STOP6".split())
FOR_EVER = 0xffffffff  # RFC 8415, 7.7
MOST = 16  # prefixes of a link


class Event6(NamedTuple):
    """Something has happened to a link's IPv6. The kernel shows its addresses, so they are not in here."""

    interface: str
    comes: tuple[Delegated, ...]  # prefixes that are there now, beside others
    goes: tuple[str, ...]  # prefixes that have ended: PREFIX/LENGTH
    servers: tuple[str, ...] = ()  # name servers; () = the client does not say


def parse(environ: "Environ", now_s: int) -> Event6 | None:
    """The event in the environment of dhclient's or dhcpcd's hook, at CLOCK_BOOTTIME `now_s`. None if it changes
    nothing. Never raises: a value that is not a prefix is left out."""
    reason, interface = environ.get(b"reason", b""), environ.get(b"interface", b"").decode("utf-8", "surrogateescape")
    if not interface or reason not in COMES | GOES:
        return None
    if reason in GOES:  # a client that ends one of several leases names what ends
        return Event6(interface, (), tuple([prefix for prefix, _ in _prefixes(environ, b"old_")]))
    return Event6(interface, tuple([Delegated(prefix, now_s, now_s + valid_s if valid_s != FOR_EVER else 0)
                                    for prefix, valid_s in _prefixes(environ, b"new_") if valid_s]), (),
                  name_servers(environ.get(b"new_dhcp6_name_servers", b"")[:4096].decode("ascii", "replace"),
                               address.router6))


def _prefixes(environ: "Environ", which: bytes) -> list[tuple[str, int]]:
    """The prefixes, and for how many seconds each is valid."""
    # dhclient reports one prefix at a time, dhcpcd all of them.
    found = [(environ.get(which + b"ip6_prefix", b""), environ.get(which + b"max_life", b""))]
    for place in range(MOST):
        name = b"%sdhcp6_ia_pd%d_prefix%d" % (which, place // 4 + 1, place % 4 + 1)
        if name in environ:
            found.append((environ[name] + b"/" + environ.get(name + b"_length", b""),
                          environ.get(name + b"_vltime", b"")))
    return [(prefix, _seconds(valid)) for text, valid in found if (prefix := _prefix(text))]


def _prefix(text: bytes) -> str:
    """PREFIX/LENGTH in canonical form; "" if the text is not a prefix."""
    quad, _, length = text[:64].decode("ascii", "replace").partition("/")
    try:
        if length.isascii() and length.isdecimal() and 0 < int(length) <= 128:
            return address.network(address.host6(quad), int(length))
    except ValueError:
        pass
    return ""


def _seconds(text: bytes) -> int:
    """A number of seconds; FOR_EVER if the text is not a number."""
    return int(text) if text.isdigit() and len(text) <= 10 and int(text) < FOR_EVER else FOR_EVER


def merged(known: tuple[Delegated, ...], event: Event6) -> tuple[Delegated, ...]:
    """The prefixes of a link that are known after an event, at most MOST. An old prefix lives on beside a new one,
    until it ends."""
    names = [one.prefix for one in event.comes]
    stays = [one for one in known if one.prefix not in names and one.prefix not in event.goes]
    return tuple([*event.comes, *stays][:MOST])
