"""A DHCP server that sends arbitrary bytes in arbitrary options, because a client's hooks must survive them.

The seed and the number of the case decide what the server sends, so a case can be repeated. It reads the number from
its standard input. It has one address to give, and answers everybody who asks on its cable.

    python3 hostile.py INTERFACE SERVER ADDRESS SEED
"""

import random
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5  # RFC 2132, 9.6
COOKIE = bytes((99, 130, 83, 99))
END = b"\xff"
LONGEST = 65507  # bytes that a UDP packet can carry
MARKER = b"HOSTILE"  # no file of dhcp-lb may contain it
SHELL = [b"$(touch /HOSTILE)", b"`touch /HOSTILE`", b"; touch /HOSTILE;", b"() { :;}; touch /HOSTILE",
         b"'\"; touch /HOSTILE #", b"\ntouch /HOSTILE\n", b"HOSTILE\0x", b"../../HOSTILE", b"HOSTILE %s%n",
         b"\xff\xfeHOSTILE", b"-HOSTILE --help", b"${HOSTILE:=x}"]
ADDRESSES = [socket.inet_aton(quad) for quad in (
    "0.0.0.0", "127.0.0.5", "255.255.255.255", "224.0.0.1", "169.254.1.1", "240.0.0.1", "10.0.0.1", "198.51.100.7",
    "100.64.0.1", "192.0.2.1")]  # the last one is the gateway of another provider
MASKS = [socket.inet_aton(quad) for quad in (
    "255.255.255.0", "255.255.255.255", "0.0.0.0", "255.0.255.0", "128.0.0.0", "255.255.255.254", "255.255.255.252",
    "0.255.255.255")]

Options = list[tuple[int, bytes]]


class Message(NamedTuple):
    """An answer before it is encoded."""

    head: bytes  # the fixed fields before sname
    sname: bytes
    file: bytes
    options: Options

    def packet(self, options: bytes, end: bytes = END) -> bytes:
        return struct.pack("44s64s128s", self.head, self.sname, self.file) + COOKIE + options + end


class Draw(NamedTuple):
    """A case: everything that does not depend on the request."""

    given: bytes  # the address that it gives
    text: bytes  # in the fields for the names of a server and a file
    extra: Options
    shape: "Callable[[Message, random.Random], bytes]"
    salt: str  # of the shape's random numbers, which are the same for each answer


def encode(options: Options) -> bytes:
    """The options as bytes. A value of more than 255 bytes continues in a second option with the same code (RFC
    3396)."""
    return b"".join(bytes((code, len(part))) + part for code, value in options
                    for part in [value[at:at + 255] for at in range(0, max(1, len(value)), 255)])


def plain(message: Message, _: random.Random) -> bytes:
    return message.packet(encode(message.options)[:1160])


def split(message: Message, chance: random.Random) -> bytes:
    """Each option in two pieces, with pieces of other options between them (RFC 3396)."""
    pieces: Options = []
    for code, value in message.options:
        at = chance.randint(0, len(value))
        pieces += [(code, value[:at]), (code, value[at:])]
    kind, *rest = pieces  # the type of the message comes first
    return message.packet(encode([kind, *sorted(rest, key=lambda _: chance.random())]))


def contradicting(message: Message, chance: random.Random) -> bytes:
    """Each option twice, with the value of any option the second time."""
    values = [value for _, value in message.options]
    return message.packet(encode(message.options + [(code, chance.choice(values)) for code, _ in message.options[1:]]))


def overloaded(message: Message, chance: random.Random) -> bytes:
    """Options continue in `file` and `sname` (RFC 2132, 9.3), or only claim to. They have an end there, or none."""
    first, *rest = message.options
    places = chance.choice([0, 1, 2, 3, 3, 3, 255])
    end = chance.choice([END, b"", b"\x03\xff"])
    there = [(encode([option for option in rest if chance.random() < 0.5]) + end)[:length] for length in (64, 128)]
    if chance.random() < 0.8:
        message = message._replace(sname=there[0], file=there[1])
    return message.packet(encode([first, (52, bytes((places,))), *rest]))


def overrunning(message: Message, chance: random.Random) -> bytes:
    """The last option claims to be longer than the packet."""
    code, value = chance.choice(message.options)
    return message.packet(encode(message.options) + bytes((code, chance.randint(1, 255))) + value[:3], b"")


def endless(message: Message, chance: random.Random) -> bytes:
    """The options have no end, or end after the code of an option."""
    return message.packet(encode(message.options), chance.choice([b"", b"\x03", bytes(300)]))


def trailing(message: Message, chance: random.Random) -> bytes:
    """Padding between the options, and more options behind the end."""
    padded = b"".join(bytes(chance.randrange(4)) + encode([option]) for option in message.options)
    return message.packet(padded, END + encode([(3, chance.choice(SHELL)), (12, chance.choice(SHELL))]))


def cut(message: Message, chance: random.Random) -> bytes:
    """The first part of a packet."""
    whole = plain(message, chance)
    return whole[:chance.choice([chance.randrange(len(whole)), chance.randrange(236, len(whole))])]


def unmarked(message: Message, chance: random.Random) -> bytes:
    """The packet has no cookie, or a wrong one, so no options follow, as in BOOTP (RFC 951)."""
    whole = plain(message, chance)
    return whole[:236] + chance.choice([bytes(4), b"\x63\x82\x53\x64", chance.randbytes(4)]) + whole[240:]


def large(message: Message, chance: random.Random) -> bytes:
    """A packet that is larger than the 576 bytes that clients accept, larger than a frame, or as large as UDP
    allows."""
    room = chance.choice([577, 1473, 1501, 4097, 8972, 9001, LONGEST]) - 241 - len(encode(message.options))
    ballast = encode([(chance.choice([12, 43, 224, 3, 121]), chance.choice(SHELL) * 40) for _ in range(160)])
    front = chance.random() < 0.5
    kind, *rest = message.options
    parts = [ballast[:room], encode(rest)] if front else [encode(rest), ballast[:room]]
    return message.packet(encode([kind]) + b"".join(parts))[:LONGEST]


def odd(message: Message, chance: random.Random) -> bytes:
    """The fixed fields have random values, except for the number by which the client knows its answer."""
    whole = bytearray(plain(message, chance))
    for _ in range(chance.randint(1, 4)):
        whole[chance.choice([1, 2, 3, *range(8, 16), *range(20, 44)])] = chance.randrange(256)
    return bytes(whole)


def another(message: Message, chance: random.Random) -> bytes:
    """A message of another type, or of two."""
    kind = (53, bytes((chance.choice([0, 1, 4, 6, 8, 255]),)))
    first, *rest = message.options
    return message.packet(encode(chance.choice([[kind, *rest], [first, kind, *rest], [first, *rest, kind]])))


SHAPES = [split, contradicting, overloaded, overrunning, endless, trailing, cut, unmarked, large, odd, another]


class Cases:
    """The answers of each case."""

    def __init__(self, server: str, address: str, seed: int) -> None:
        self.server, self.address = socket.inet_aton(server), socket.inet_aton(address)
        self.seed = seed
        self.take(0)

    def take(self, number: int) -> None:
        """Switches to the answers of this case. They are the same for each request, except for a renewal, which in
        some cases is due at once."""
        self.renews = random.Random(f"{self.seed} {number} renews").random() < 0.2
        self.first, self.later = (self._draw(f"{self.seed} {number} {turn}") for turn in range(2))

    def _draw(self, salt: str) -> Draw:
        chance = self.random = random.Random(salt)
        given = self.address if chance.random() < 0.85 else chance.choice(ADDRESSES)
        extra = list(self._options())
        chance.shuffle(extra)
        shape = plain if chance.random() < 0.6 else chance.choice(SHAPES)
        return Draw(given, chance.choice(SHELL), extra, shape, salt)

    def _options(self) -> Iterator[tuple[int, bytes]]:
        any_of = self.random.choice
        good = {1: b"\xff\xff\xff\xe0", 3: self.server, 51: struct.pack(">L", 3600)}
        for code, value in good.items():
            chance = self.random.random()
            if chance < (0.95 if code == 51 else 0.5):  # without a time most clients take no lease
                yield code, value
            elif chance < 0.9 or code == 51:
                yield code, self._value(code)
        yield 54, self.server if self.random.random() < 0.95 else any_of([self._value(3), any_of(ADDRESSES)])
        if self.renews:
            yield from [(58, b"\0\0\0\1"), (59, b"\0\0\0\2")]
        for _ in range(self.random.randrange(6)):
            code = any_of([1, 3, 6, 12, 15, 17, 26, 28, 33, 42, 43, 51, 56, 58, 59, 60, 66, 67, 119, 121, 121, 249,
                           252, self.random.randrange(1, 255)])
            if code not in (50, 52, 53, 54, 55, 61, 82):
                yield code, self._value(code)

    def _value(self, code: int) -> bytes:
        any_of = self.random.choice
        noise = self.random.randbytes(any_of([0, 1, 2, 3, 4, 5, 8, 16, 64, 200, 255]))
        if code == 1:
            return any_of([*MASKS, noise])
        if code in (3, 6, 28, 42):
            return any_of([*ADDRESSES, self.address, b"".join(ADDRESSES) * 6, self.server + any_of(ADDRESSES), noise,
                           self.server * 63, any_of(SHELL)])
        if code in (51, 58, 59):
            return any_of([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1", b"\x80\0\0\0", noise])
        if code in (121, 249):
            route = any_of([b"\0", b"\x18\x0a\0\0", b"\x21\1\2\3\4\5", b"\x20\1\2\3\4", b"\x01\x80"]) + any_of(
                [self.server, *ADDRESSES])
            return any_of([b"\0" + self.server, route, route + route[:-2], route * 20, noise])[:255]
        return any_of([any_of(SHELL), any_of(SHELL) * 9, noise])[:255]

    def reply(self, request: bytes, kind: int) -> bytes:
        """The answer to a request."""
        draw = self.later if request[12:16] != bytes(4) else self.first  # who has an address renews it
        head = struct.pack(">BBBB4sHH4s4s4s4s16s", 2, 1, 6, 0, request[4:8], 0, 0x8000, b"", draw.given,
                           self.server, b"", request[28:44])
        message = Message(head, draw.text * 2, draw.text * 3, [(53, bytes((kind,))), *draw.extra])
        return draw.shape(message, random.Random(draw.salt))


def kind_of(request: bytes) -> int:
    """The type of a DHCP message, option 53; 0 if it has none."""
    place = 240
    while place + 2 < len(request) and request[place] != 255:
        if request[place] == 53:
            return request[place + 2]
        place += 1 if request[place] == 0 else 2 + request[place + 1]
    return 0


def serve(interface: str, cases: Cases) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as cable:
        cable.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        cable.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        cable.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        cable.bind(("0.0.0.0", 67))
        print("ready", flush=True)
        while True:
            for ready in select.select([cable, sys.stdin], [], [])[0]:
                if ready is cable:
                    request = cable.recv(4096)
                    answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind_of(request))
                    if answer and len(request) > 240:
                        cable.sendto(cases.reply(request, answer), ("255.255.255.255", 68))
                elif line := sys.stdin.readline():
                    cases.take(int(line))
                    print("ready", flush=True)
                else:
                    return


if __name__ == "__main__":
    serve(sys.argv[1], Cases(sys.argv[2], sys.argv[3], int(sys.argv[4])))
