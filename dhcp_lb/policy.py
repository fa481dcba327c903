"""Pure: a line `SELECTOR… -> LINK… [only]` of /etc/dhcp-lb → a policy → rules. Loaded only if there is such a line."""

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from . import address
from .marks import ALL_BITS, parse_mark
from .model import LOOKUP, UNREACHABLE, Range, Rule
from .record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARROW = "->"
PASSWD = "/etc/passwd"
OWN = "lo"  # as `iif`, the kernel's word for packets that this machine sends itself
PROTOCOLS = {"tcp": 6, "udp": 17}
MAX_UID = 2**32 - 2  # the next number means "no user": include/linux/uidgid.h
PREF_FIRST = 21000  # the pref of the first line's first rule; the last possible pref is 29999
MAX_RULES = 9000
SELECTORS = ("from ADDRESS[/LENGTH], to ADDRESS[/LENGTH], in INTERFACE, own, user NAME or UID[-UID], tcp, udp, "
             "proto NUMBER, port N[-M][,…], sport N[-M][,…], mark VALUE[/MASK]")
VALUES = {"from": "ADDRESS[/LENGTH]", "to": "ADDRESS[/LENGTH]", "in": "INTERFACE", "user": "NAME or UID[-UID]",
          "proto": "NUMBER", "port": "N[-M][,…]", "sport": "N[-M][,…]", "mark": "VALUE[/MASK]"}


class Policy(NamedTuple):
    """A policy line: connections that fit all of its selectors go by these links, the first one that can. A selector
    that the line does not have is left empty, and every connection fits it."""

    links: tuple[str, ...]  # interfaces; () = the balance
    only: bool = False  # if none of the links can, the connections have no other way
    source: str = ""  # PREFIX/LENGTH
    destination: str = ""
    iif: str = ""  # packets that came in by this interface; OWN = this machine's own
    users: tuple[Range, ...] = ()  # whose sockets
    protocol: int = 0
    ports: tuple[Range, ...] = ()  # of the destination
    sports: tuple[Range, ...] = ()  # of the source
    mark: int = 0
    mask: int = 0
    line: int = 0  # the number of the line

    def rules(self) -> int:
        """How many prefs it takes: one for each way and each pair of ranges of ports."""
        return (len(self.links) + 1) * max(1, len(self.ports)) * max(1, len(self.sports))

    def is_of(self, family: int) -> bool:
        """Whether it has rules in this family (AF_INET or AF_INET6). Without addresses it has rules in both."""
        addresses = self.source + self.destination
        return not addresses or (":" in addresses) == (family == AF_INET6)


def rules(policies: tuple[Policy, ...], tables: dict[str, int], balance_table: int,
          family: int = AF_INET) -> list[Rule]:
    """The rules of these lines in a family. `tables`: interface → table, of those links that take new connections.

    Each rule has a pref of its own, and a link that takes no new connections leaves a gap. So no other rule moves when
    that link comes or goes. The last way of each line takes every packet, so no later line sees it."""
    found = []
    pref = PREF_FIRST
    for policy in policies:
        ways = [(LOOKUP, tables.get(interface, 0)) for interface in policy.links]
        ways.append((UNREACHABLE, 0) if policy.only else (LOOKUP, balance_table))
        for action, table in ways:
            for sports in policy.sports or ((),):
                for ports in policy.ports or ((),):
                    if (table or action != LOOKUP) and policy.is_of(family):
                        found.append(Rule(
                            pref, table, _condition(policy.source), _condition(policy.destination), family=family,
                            action=action, mark=policy.mark, mask=policy.mask, iif=policy.iif,
                            protocol=policy.protocol, sports=(sports,) if sports else (),
                            ports=(ports,) if ports else (), users=policy.users))
                    pref += 1
    return found


def line_of(policies: tuple[Policy, ...], pref: int) -> int:
    """The number of the policy line that has a rule with this pref; 0 = there is none."""
    first = PREF_FIRST
    for policy in policies:
        if first <= pref < first + policy.rules():
            return policy.line
        first += policy.rules()
    return 0


def _condition(prefix: str) -> str:
    """A prefix as a rule has it: "" if the prefix contains every address."""
    return "" if prefix.endswith("/0") else prefix


def parse(fields: list[str], links: frozenset[str], marks: int, passwd: bytes) -> tuple[Policy, list[str]]:
    """The policy in the fields of a line with an arrow, and every mistake of the line: what is wrong, and what it must
    be. `links` are the interfaces of the link lines, `marks` the bits of marks that are ours, `passwd` the text of
    /etc/passwd. Never raises."""
    line = _Line(marks, passwd)
    arrow = fields.index(ARROW)
    line.read_selectors(fields[:arrow])
    line.read_links(fields[arrow + 1:], links)
    return line.policy, line.mistakes


def needs_passwd(fields: list[str]) -> bool:
    """Whether a policy line with these fields names a user."""
    return any(word == "user" and not name[0].isdecimal() for word, name in zip(fields, fields[1:]))


class _Line:
    """Reads word after word, and goes on after a mistake."""

    def __init__(self, marks: int, passwd: bytes) -> None:
        self.marks, self.passwd = marks, passwd
        self.policy = Policy(())
        self.mistakes: list[str] = []

    def read_selectors(self, words: list[str]) -> None:
        readers = {"from": self.read_source, "to": self.read_destination, "in": self.read_in, "user": self.read_user,
                   "proto": self.read_protocol, "port": self.read_ports, "sport": self.read_source_ports,
                   "mark": self.read_mark}
        seen: set[str] = set()
        rest = iter(words)
        for word in rest:
            kind = "proto" if word in PROTOCOLS else word
            if kind in seen:
                self.mistakes.append(f"{word} is the second {kind} of this line: must be one")
            seen.add(kind)
            if word in PROTOCOLS:
                self.set(protocol=PROTOCOLS[word])
            elif word == "own":
                self.set(iif=OWN)
            elif word not in readers:
                self.mistakes.append(f"unknown selector {word}: must be one of {SELECTORS}")
            elif (value := next(rest, None)) is None:
                self.mistakes.append(f"{word} has no value: must be {word} {VALUES[word]}")
            else:
                try:
                    readers[word](value)
                except ValueError as mistake:
                    self.mistakes.append(f"{word} {value}: {mistake}")
        if {"in", "own"} <= seen or {"in", "user"} <= seen:
            self.mistakes.append("in INTERFACE excludes own and user, because this machine's own packets came in by "
                                 "no interface: must be only one of them")
        if seen & {"port", "sport"} and self.policy.protocol not in PROTOCOLS.values():
            self.mistakes.append("port and sport need a protocol: must have tcp or udp, too")
        source, destination = self.policy.source, self.policy.destination
        if source and destination and (":" in source) != (":" in destination):
            self.mistakes.append(f"from {source} to {destination}: must be both IPv4 or both IPv6")

    def read_links(self, words: list[str], links: frozenset[str]) -> None:
        only = words[-1:] == ["only"]
        names = words[:-1] if only else words
        if not names:
            self.mistakes.append(f"no link after {ARROW}: must be links in order of preference, or balance")
        for place, name in enumerate(names):
            if name == ARROW:
                self.mistakes.append(f"a second {ARROW}: must be one")
            elif name in names[:place]:
                self.mistakes.append(f"link {name} stands twice: must be one")
            elif name == "only":
                self.mistakes.append("only is not the last word: must stand behind the links")
            elif name == "balance":
                if names != ["balance"]:
                    self.mistakes.append("balance beside links: must stand alone; the balance comes after the links "
                                         "without it")
                elif only:
                    self.mistakes.append("balance only: must be balance, or links and only")
            elif name not in links:
                self.mistakes.append(f"{name} is not a link: must be one of "
                                     + (", ".join(sorted(links)) or "the links of this file, which has none"))
        self.set(links=tuple(names) if names != ["balance"] else (), only=only)

    def set(self, **values: "Any") -> None:
        self.policy = self.policy._replace(**values)

    def read_source(self, text: str) -> None:
        self.set(source=_prefix(text))

    def read_destination(self, text: str) -> None:
        self.set(destination=_prefix(text))

    def read_in(self, text: str) -> None:
        if len(text.encode("utf-8", "surrogateescape")) > 15 or text in (".", "..") or "/" in text or ":" in text:
            raise ValueError("must be a name of up to 15 bytes without / and :")
        self.set(iif=text)

    def read_user(self, text: str) -> None:
        if text[0].isdecimal():
            low, dash, high = text.partition("-")
            users = (_number(low, 0, MAX_UID), _number(high, 0, MAX_UID) if dash else _number(low, 0, MAX_UID))
            if users[0] > users[1]:
                raise ValueError("must begin with the smaller number")
        else:
            users = _user(text, self.passwd)
        self.set(users=(users,), iif=OWN)  # to the kernel, forwarded packets are root's: net/ipv4/route.c

    def read_protocol(self, text: str) -> None:
        self.set(protocol=_number(text, 1, 255))

    def read_ports(self, text: str) -> None:
        self.set(ports=_ranges(text))

    def read_source_ports(self, text: str) -> None:
        self.set(sports=_ranges(text))

    def read_mark(self, text: str) -> None:
        value, slash, mask_text = text.partition("/")
        mark = parse_mark(value)
        mask = parse_mark(mask_text) if slash else ALL_BITS & ~self.marks
        if (mark if not slash else mask) & self.marks:
            raise ValueError(f"must be outside of the bits 0x{self.marks:08x}, which are dhcp-lb's own (`marks = …`)")
        if not mask or mark & ~mask:
            raise ValueError("must have a mask above 0, with all bits of the value")
        self.set(mark=mark, mask=mask)


def _prefix(text: str) -> str:
    """PREFIX/LENGTH in canonical form."""
    quad, slash, length_text = text.partition("/")
    family, bits = (AF_INET6, 128) if ":" in quad else (AF_INET, 32)
    try:
        packed = inet_pton(family, address.host6(quad) if ":" in quad else address.parse(quad))
    except ValueError as error:
        raise ValueError(f"{error}: must be ADDRESS[/LENGTH]") from None
    length = _number(length_text, 0, bits) if slash else bits
    number = int.from_bytes(packed, "big")
    network = number >> bits - length << bits - length
    prefix = f"{inet_ntop(family, network.to_bytes(bits // 8, 'big'))}/{length}"
    if network != number:
        raise ValueError(f"must be the network {prefix}, or the address {inet_ntop(family, packed)} alone")
    return prefix


def _number(text: str, least: int, most: int) -> int:
    if len(text) <= 10 and text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise ValueError(f"must be {least} to {most}")


def _ranges(text: str) -> tuple[Range, ...]:
    found = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        ports = (_number(low, 1, 65535), _number(high if dash else low, 1, 65535))
        if ports[0] > ports[1]:
            raise ValueError(f"{part}: must begin with the smaller number")
        found.append(ports)
    return tuple(found)


def _user(name: str, passwd: bytes) -> Range:
    wanted = name.encode("utf-8", "surrogateescape")
    for line in passwd.split(b"\n"):
        found = line.split(b":")
        if found[0] == wanted and len(found) > 2:
            uid = _number(found[2].decode("ascii", "replace"), 0, MAX_UID)
            return uid, uid
    raise ValueError(f"must be a name in {PASSWD}, or a number")
