"""The environment of a DHCP client's hook → an event of a link. Every value is hostile until it is parsed."""

from . import address
from .model import NONE, ON_DEVICE, Lease
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Environ = Mapping[bytes, bytes]


class Event(NamedTuple):
    """Something has happened to a link. `lease` is NONE after the lease has ended. It is None if the event does not
    say what the lease is: then the kernel decides."""

    interface: str  # "" = any link
    lease: Lease | None
    notes: tuple[str, ...] = ()  # the ignored parts of the lease, for the log
    early: bool = False  # the client begins with this interface, and knows nothing yet
    sure: bool = True  # this is the link's lease; False: it is only if nothing else is known of the link


class Client(NamedTuple):
    """The words of one program that configures links: its reasons, and the variables with the fields of a lease. A
    reason that is in none of the first four fields changes no IPv4 lease."""

    comes: frozenset[bytes] = frozenset()  # the reasons that mean: there is a lease
    goes: frozenset[bytes] = frozenset()  # the lease has ended
    look: frozenset[bytes] = frozenset()  # see what the kernel has
    early: frozenset[bytes] = frozenset()  # the client begins with this interface
    reason: bytes = b"reason"
    interface: bytes = b"interface"
    address: bytes = b""  # the prefix length may follow, and a gateway
    addresses: int = 1  # the number of variables with an address; if more than 1, numbers follow their name
    mask: bytes = b""  # dotted, or a prefix length
    gateway: bytes = b""  # the gateway that the client has chosen; without it, routers and classless count
    routers: bytes = b""
    server: bytes = b""
    duration: bytes = b""
    classless: bytes = b""  # option 121, in octets or as PREFIX/LENGTH GATEWAY
    name_servers: tuple[bytes, ...] = ()
    all: bool = False  # if the program names no interface, it means all of them
    partial: bool = False  # if the program names no gateway, another source may know one


def _set(words: bytes) -> frozenset[bytes]:
    return frozenset(words.split())


CLIENTS = {
    "dhclient": Client(  # dhclient-script(8)
        _set(b"BOUND RENEW REBIND REBOOT TIMEOUT"), _set(b"EXPIRE FAIL RELEASE STOP"), early=_set(b"PREINIT"),
        address=b"new_ip_address", mask=b"new_subnet_mask", routers=b"new_routers",
        server=b"new_dhcp_server_identifier", duration=b"new_dhcp_lease_time",
        classless=b"new_rfc3442_classless_static_routes", name_servers=(b"new_domain_name_servers",)),
    "dhcpcd": Client(  # dhcpcd-run-hooks(8)
        _set(b"BOUND RENEW REBIND REBOOT TIMEOUT INFORM STATIC"),
        _set(b"EXPIRE FAIL NAK RELEASE STOP"),
        _set(b"CARRIER NOCARRIER STOPPED DEPARTED"),  # a daemon that stops may leave the address; Debian's does
        _set(b"PREINIT"),
        address=b"new_ip_address", mask=b"new_subnet_cidr", routers=b"new_routers",
        server=b"new_dhcp_server_identifier", duration=b"new_dhcp_lease_time",
        classless=b"new_classless_static_routes", name_servers=(b"new_domain_name_servers",)),
    "udhcpc": Client(  # udhcpc(8): the variables of its script, and its argument
        _set(b"bound renew"), _set(b"deconfig"), address=b"ip", mask=b"subnet", routers=b"router",
        server=b"serverid", duration=b"lease", classless=b"staticroutes", name_servers=(b"dns",)),
    "ifupdown-static": Client(  # interfaces(5); ifupdown2 and ifupdown-ng call their phases by the directories' names
        _set(b"post-up up"), _set(b"post-down down"), reason=b"PHASE", interface=b"IFACE",
        # ifupdown reports each stanza by itself. A stanza without a gateway may be a second address of a link that has
        # its lease from elsewhere, or a command sets its default route. Otherwise the link has no gateway.
        address=b"IF_ADDRESS", mask=b"IF_NETMASK", routers=b"IF_GATEWAY",
        name_servers=(b"IF_DNS_NAMESERVERS", b"IF_DNS_NAMESERVER"), partial=True),  # resolvconf(8)
    "ifupdown": Client(  # any other method: another client has reported the lease, or no client will
        goes=_set(b"post-down down"), look=_set(b"post-up up"), reason=b"PHASE", interface=b"IFACE"),
    "networkmanager": Client(  # NetworkManager-dispatcher(8)
        # NetworkManager reports the end of a connection late, when the next one may have the interface already.
        # dhcp4-change comes before up, and without variables.
        _set(b"up reapply"), look=_set(b"down dhcp4-change"),
        # The server is left out, because the client's socket to it is bound to the device. A lease without a server
        # makes the next look ask the kernel, and only a look shows that a renewal has brought a new gateway.
        address=b"IP4_ADDRESS_", addresses=16, duration=b"DHCP4_DHCP_LEASE_TIME",
        # IP4_GATEWAY is 0.0.0.0 if NetworkManager sets no default route in main (ipv4.never-default,
        # ipv4.route-table), or one into the device.
        gateway=b"IP4_GATEWAY", routers=b"DHCP4_ROUTERS", classless=b"DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES",
        name_servers=(b"IP4_NAMESERVERS",), partial=True),
    "ppp": Client(  # pppd(8); only the peer is at the other end, so no router is named
        _set(b"ip-up"), _set(b"ip-down"), interface=b"PPP_IFACE", address=b"PPP_LOCAL",
        name_servers=(b"DNS1", b"DNS2")),
    "networkd": Client(look=_set(b"look"), interface=b"IFACE", all=True),  # networkd-dispatcher(8)
}

STATIC_METHODS = (b"static", b"", b"none")  # of ifupdown; ifupdown2, where the stanza names no family; ifupdown-ng
MAX_ROUTERS = 64  # a DHCP option of 255 bytes has no room for more routers, nor for more name servers
MAX_NAME_SERVERS = 3
# The variables with which dhclient and dhcpcd report a lease, in the order of etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb.
# A change of the list needs another SAID_FORM, here and in the hook: the hook's version may not be the program's.
SAID = (b"new_ip_address", b"new_subnet_mask", b"new_subnet_cidr", b"new_routers", b"new_dhcp_server_identifier",
        b"new_dhcp_lease_time", b"new_rfc3442_classless_static_routes", b"new_classless_static_routes",
        b"new_domain_name_servers")
SAID_FORM = b"1"
MAX_SAID = 1000


def client(environ: "Environ", name: str = "") -> Client:
    """The client that this environment belongs to. dhclient and dhcpcd source the same hook, which starts the program
    without a name, as dhclient did in 2009. ifupdown's environment names the interface's method. KeyError if no client
    has this name."""
    if name == "ifupdown" and environ.get(b"METHOD", b"") in STATIC_METHODS:
        if b"." in environ.get(b"IF_ADDRESS", b""):  # ifupdown2 calls an interface static if one family is
            name = "ifupdown-static"
    if name == "ifupdown" and environ.get(b"METHOD") == b"NetworkManager":
        name = "networkmanager"  # its dispatcher calls ifupdown's hooks, too, and they say nothing new
    return CLIENTS[name or ("dhcpcd" if b"if_up" in environ else "dhclient")]


def parse(environ: "Environ", now_s: int, name: str = "") -> Event | None:
    """The event in the environment of a client's hook, at CLOCK_BOOTTIME `now_s`. None if it changes no lease. No
    value makes it raise: an unusable lease has a `fault`."""
    words = client(environ, name)
    interface = environ.get(words.interface, b"").decode("utf-8", "surrogateescape")
    reason = environ.get(words.reason, b"")
    if not interface and not words.all:
        return None
    if reason in words.comes:
        found, notes = lease(environ, now_s, words)
        return Event(interface, found, notes, sure=not words.partial or not found.address or bool(found.gateway))
    if reason in words.goes:
        return Event(interface, NONE)
    if reason in words.look or reason in words.early:
        return Event(interface, None, early=reason in words.early)
    return None


def lease(environ: "Environ", now_s: int, words: Client) -> tuple[Lease, tuple[str, ...]]:
    """The lease in a client's variables at CLOCK_BOOTTIME `now_s`, and notes on its ignored parts."""
    quad, length, gateway, fault = "", 0, "", ""
    notes: list[str] = []
    offers = _offers(environ, words, notes)
    what = "address"
    try:
        own, _, behind = _address(environ, words, offers).partition("/")
        quad = address.own(own)
        if words.routers:
            what = "net mask"
            length = address.mask_length(behind or _text(environ, words.mask))
            what = "gateway"
            gateway = _gateway(offers, quad, address.network(quad, length))
        else:
            length, gateway = 32, ON_DEVICE
    except ValueError as error:
        fault = f"{what} {error}"
    try:
        server = address.unicast(_text(environ, words.server))
    except ValueError:
        server = ""
    duration = _text(environ, words.duration)
    duration_s = int(duration) if len(duration) <= 10 and duration.isascii() and duration.isdecimal() else 0
    if duration_s >= 0xffffffff:  # RFC 2131, 3.3: for ever; a larger number is no lease time
        duration_s = 0
    servers = name_servers(" ".join([_text(environ, name) for name in words.name_servers]))
    return Lease(quad, length, gateway, server, now_s, duration_s, fault, servers), tuple(notes)


def said(environ: "Environ") -> str:
    """All that dhclient or dhcpcd says of a lease, in one line, as their hook puts it together. "" if the line has
    other characters than addresses and numbers have, or is too long: such a line is not kept."""
    values = [environ.get(name, b"") for name in SAID]
    line = b"|".join([SAID_FORM, b"1" if b"if_up" in environ else b"", *values, b""])
    strange = b"".join(values).translate(None, b"0123456789./ ")
    return "" if strange or len(line) > MAX_SAID else line.decode("ascii")


def name_servers(text: str, host: "Callable[[str], str]" = address.unicast) -> tuple[str, ...]:
    """The first three addresses in a list that a name server can have, each once. `host` returns an address in
    canonical form, and raises ValueError if no host can have it."""
    found: list[str] = []
    for word in text.split()[:MAX_ROUTERS]:
        try:
            quad = host(word)
        except ValueError:  # for instance 127.0.0.1: this machine, which needs no route
            continue
        if quad not in found:
            found.append(quad)
    return tuple(found[:MAX_NAME_SERVERS])


class Offers(NamedTuple):
    """The default gateways that a lease offers, as unparsed text, the best first."""

    gateways: list[str]
    missing: str = "is missing"  # the fault if there is none
    on_link: bool = False  # 0.0.0.0 means the link itself


def _offers(environ: "Environ", words: Client, notes: list[str]) -> Offers:
    """The gateway that the client has chosen. Without it, those of option 121. Without that option, those of option 3
    (RFC 3442)."""
    if words.gateway and (chosen := _text(environ, words.gateway)) not in ("", ON_DEVICE):
        return Offers([chosen])
    if classless := _text(environ, words.classless):
        try:
            return Offers([gateway for destination, gateway in classless_routes(classless)
                           if destination == address.EVERYWHERE],
                          "is missing: option 121 has no default route", on_link=True)
        except ValueError as error:
            notes.append(f"option 121 is ignored: {error}")
    return Offers(_text(environ, words.routers).split()[:MAX_ROUTERS])


def _address(environ: "Environ", words: Client, offers: Offers) -> str:
    """The text of the address. Of several addresses, the one whose prefix contains the gateway, or else the first."""
    if words.addresses == 1:
        return _text(environ, words.address)
    found = [text.partition(" ")[0] for text in
             [_text(environ, b"%s%d" % (words.address, number)) for number in range(words.addresses)] if text]
    for text in found:
        quad, _, length = text.partition("/")
        try:
            prefix = address.network(address.parse(quad), address.mask_length(length))
            if address.within(address.parse("".join(offers.gateways[:1])), prefix):
                return text
        except ValueError:
            pass
    return "".join(found[:1])


def next_hop(text: str, quad: str, prefix: str) -> str:
    """The gateway in `text` in canonical form. ValueError if a host with the address `quad` in `prefix` cannot send to
    it; it says why. The kernel would accept the host's own address and that of the network."""
    gateway = address.unicast(text)
    if gateway == quad:
        raise ValueError("is the link's own address")
    if address.reserved(gateway, prefix):
        raise ValueError(f"{gateway} is the network or broadcast address of {prefix}")
    return gateway


def _gateway(offers: Offers, quad: str, prefix: str) -> str:
    """The first usable default gateway. ValueError if there is none; it says what is wrong with the first one."""
    fault = ValueError(offers.missing)
    for number, offer in enumerate(offers.gateways):
        if offers.on_link and offer == ON_DEVICE:
            return ON_DEVICE
        try:
            return next_hop(offer, quad, prefix)
        except ValueError as error:
            fault = fault if number else error
    raise fault


def classless_routes(text: str) -> list[tuple[str, str]]:
    """Option 121 (RFC 3442) → (PREFIX/LENGTH, gateway) pairs. dhclient prints `WIDTH OCTET… ROUTER-OCTETS …` with as
    many octets of the destination as its width needs, dhcpcd `PREFIX/LENGTH ROUTER …`. ValueError if it is cut off or
    makes no sense."""
    words = text.split()[:256]
    if "/" in text:
        if len(words) % 2:
            raise ValueError("it is cut off")
        return list(zip(words[::2], words[1::2]))
    numbers = [int(word) if word.isascii() and word.isdecimal() and len(word) <= 3 else 256 for word in words]
    if max(numbers, default=256) > 255:
        raise ValueError("it is not a list of octets")
    routes = []
    while numbers:
        width = numbers[0]
        octets = (width + 7) // 8
        if width > 32 or len(numbers) < 1 + octets + 4:
            raise ValueError("it has a width over 32" if width > 32 else "it is cut off")
        destination = ".".join([str(octet) for octet in (numbers[1:1 + octets] + [0, 0, 0, 0])[:4]])
        gateway = ".".join([str(octet) for octet in numbers[1 + octets:5 + octets]])
        routes.append((f"{destination}/{width}", gateway))
        del numbers[:5 + octets]
    return routes


def _text(environ: "Environ", name: bytes) -> str:
    # No option has as many as 4096 bytes.
    return environ.get(name, b"")[:4096].decode("ascii", "replace")
