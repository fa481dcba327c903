"""Pure: the values of `check=`, `interval=`, `down=` and `up=` → whom the monitor asks whether a link works, and how
often."""

from _socket import AF_INET6, inet_ntop, inet_pton

from . import address
from .record import NamedTuple

LEASE = "lease"
GATEWAY = "gateway"
NONE = "none"
PING = "ping"
TCP = "tcp"
DNS = "dns"
HTTP = "http"

MAX_TARGETS = 8
HTTP_PORT = 80

FORMS = "lease, gateway, none, ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT, dns:NAME or http://HOST[:PORT]/PATH"
HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class Target(NamedTuple):
    """One target of `check=`, as it is written."""

    kind: str  # LEASE: the lease's name servers; GATEWAY: by the kernel's ARP; PING, TCP, DNS, HTTP
    host: str = ""  # an address in canonical form; of DNS a name; of HTTP either
    port: int = 0  # of TCP and HTTP
    path: str = ""  # of HTTP


def targets(text: str) -> tuple[Target, ...]:
    """The targets in a list with commas; () for `none`. ValueError says which target is wrong, and what it must be."""
    words = text.split(",")
    if len(words) > MAX_TARGETS:
        raise ValueError(f"{len(words)} targets: must be 1 to {MAX_TARGETS}")
    found: list[Target] = []
    for word in words:
        if word == NONE:
            if len(words) > 1:
                raise ValueError("none beside other targets: must be alone")
            return ()
        target = _target(word)
        if target in found:
            raise ValueError(f"{word} stands twice: must be there once")
        found.append(target)
    return tuple(found)


def seconds(text: str, least: float, most: float) -> float:
    """A time in seconds, `least` to `most`. ValueError says what it must be."""
    whole, point, rest = text.partition(".")
    if (len(whole) <= 4 and len(rest) <= 2 and bool(point) == bool(rest)
            and (whole + rest).isascii() and whole.isdecimal() and (not rest or rest.isdecimal())
            and least <= float(text) <= most):
        return float(text)
    raise ValueError(f"must be {least:g} to {most:g} seconds, with up to two digits after the point")


def _target(word: str) -> Target:
    if word in (LEASE, GATEWAY):
        return Target(word)
    kind, colon, rest = word.partition(":")
    if kind == "dns" and colon:
        if not _is_name(rest):
            raise ValueError(f"{word}: must be dns:NAME with the name of a domain")
        return Target(DNS, rest.rstrip(".").lower())
    if kind == "https":
        raise ValueError(f"{word}: must be http://, because a probe speaks no TLS, or ADDRESS:443, which tests "
                         "whether a connection is accepted")
    if kind == "http" and rest.startswith("//"):
        return _http(word, rest[2:])
    if word.startswith("["):
        host, bracket, port = word[1:].partition("]:")
        return Target(TCP, _ipv6(word, host), _port(word, port)) if bracket else _wrong(word)
    if word.count(":") > 1:
        return Target(PING, _ipv6(word, word))
    if "." not in kind:
        return _wrong(word)
    quad = _ipv4(word, kind)
    return Target(TCP, quad, _port(word, rest)) if colon else Target(PING, quad)


def _http(word: str, rest: str) -> Target:
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.partition("]:" if authority.startswith("[") else ":")
    if not slash or not host:
        raise ValueError(f"{word}: must be http://HOST[:PORT]/PATH")
    if not path.isascii() or not path.isprintable():
        raise ValueError(f"{word}: must have a path of printable ASCII characters")
    if host.startswith("["):
        host = _ipv6(word, host[1:].rstrip("]"))
    elif host.rpartition(".")[2].isdecimal():
        host = _ipv4(word, host)
    elif _is_name(host):
        host = host.rstrip(".").lower()
    else:
        raise ValueError(f"{word}: must have an address or the name of a host after http://")
    return Target(HTTP, host, _port(word, port) if colon else HTTP_PORT, "/" + path)


def _wrong(word: str) -> Target:
    raise ValueError(f"{word or 'nothing'}: must be {FORMS}")


def _ipv4(word: str, text: str) -> str:
    try:
        return address.unicast(text)
    except ValueError as error:
        raise ValueError(f"{word}: {error}: must be the address of a host") from None


def _ipv6(word: str, text: str) -> str:
    """An IPv6 address in canonical form. ValueError for a link-local one, too: it says nothing of what is behind the
    link."""
    try:
        packed = inet_pton(AF_INET6, text)
    except OSError:
        raise ValueError(f"{word}: is not an IPv6 address: must be the address of a host") from None
    if packed[0] == 0xff or packed[0] == 0xfe and packed[1] & 0xc0 == 0x80 or packed[:10] == bytes(10):
        raise ValueError(f"{word}: must be the address of a host on the Internet")
    return inet_ntop(AF_INET6, packed)


def _port(word: str, text: str) -> int:
    if len(text) <= 5 and text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError(f"{word}: port {text or 'is missing'}: must be 1 to 65535")


def _is_name(text: str) -> bool:
    """Whether this is a name that DNS can be asked for (RFC 1035, 2.3.4). Underscores are allowed, because many names
    have them."""
    name = text[:-1] if text.endswith(".") else text
    return (0 < len(name) <= 253 and HOST_CHARACTERS.issuperset(name.replace(".", ""))
            and all(0 < len(label) <= 63 for label in name.split(".")))
