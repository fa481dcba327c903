"""A DHCP server that sends any bytes in any option: what a client's hooks must take from a provider.

What it sends is decided by the seed and the number of the case, which it reads from its standard input, so that a
case can be had again. It knows one customer, and answers whoever asks on its cable.

    python3 hostile.py INTERFACE SERVER ADDRESS SEED
"""

import random
import select
import socket
import struct
import sys
from collections.abc import Iterator

DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5  # RFC 2132, 9.6
COOKIE = bytes((99, 130, 83, 99))
MARKER = b"HOSTILE"  # no file of dhcp-lb's may hold it
SHELL = [b"$(touch /HOSTILE)", b"`touch /HOSTILE`", b"; touch /HOSTILE;", b"() { :;}; touch /HOSTILE",
         b"'\"; touch /HOSTILE #", b"\ntouch /HOSTILE\n", b"HOSTILE\0x", b"../../HOSTILE", b"HOSTILE %s%n",
         b"\xff\xfeHOSTILE", b"-HOSTILE --help", b"${HOSTILE:=x}"]
ADDRESSES = [socket.inet_aton(quad) for quad in (
    "0.0.0.0", "127.0.0.5", "255.255.255.255", "224.0.0.1", "169.254.1.1", "240.0.0.1", "10.0.0.1", "198.51.100.7",
    "100.64.0.1")]
MASKS = [socket.inet_aton(quad) for quad in (
    "255.255.255.0", "255.255.255.255", "0.0.0.0", "255.0.255.0", "128.0.0.0", "255.255.255.254", "255.255.255.252",
    "0.255.255.255")]


class Cases:
    """What is sent in each case."""

    def __init__(self, server: str, address: str, seed: int) -> None:
        self.server, self.address = socket.inet_aton(server), socket.inet_aton(address)
        self.seed = seed
        self.take(0)

    def take(self, number: int) -> None:
        """From now on the answers of this case, which are the same to each request."""
        self.random = random.Random(f"{self.seed} {number}")
        chance = self.random.random()
        self.given = self.address if chance < 0.85 else self.random.choice(ADDRESSES)
        self.extra = list(self._options())
        self.random.shuffle(self.extra)

    def _options(self) -> Iterator[tuple[int, bytes]]:
        any_of = self.random.choice
        good = {1: b"\xff\xff\xff\xe0", 3: self.server, 51: struct.pack(">L", 3600)}
        for code, value in good.items():
            chance = self.random.random()
            if chance < (0.95 if code == 51 else 0.5):  # without a time most clients take no lease
                yield code, value
            elif chance < 0.9 or code == 51:
                yield code, self._value(code)
        for _ in range(self.random.randrange(6)):
            code = any_of([1, 3, 6, 12, 15, 17, 28, 33, 42, 43, 51, 56, 58, 59, 60, 66, 67, 119, 121, 121, 249, 252,
                           self.random.randrange(1, 255)])
            if code not in (50, 52, 53, 54, 55, 61, 82):
                yield code, self._value(code)

    def _value(self, code: int) -> bytes:
        any_of = self.random.choice
        noise = self.random.randbytes(self.random.choice([0, 1, 2, 3, 4, 5, 8, 16, 64, 200, 255]))
        if code == 1:
            return any_of([*MASKS, noise])
        if code in (3, 6, 28, 42):
            return any_of([*ADDRESSES, self.address, b"".join(ADDRESSES) * 7, self.server + any_of(ADDRESSES), noise,
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
        text = self.random.choice(SHELL)
        head = struct.pack(">BBBB4sHH4s4s4s4s16s64s128s", 2, 1, 6, 0, request[4:8], 0, 0x8000, b"", self.given,
                           self.server, b"", request[28:44], text * 2, text * 3)
        options = b"".join(bytes((code, len(value))) + value for code, value in self.extra)
        identity = bytes((53, 1, kind, 54, 4)) + self.server
        return (head + COOKIE + identity + options)[:1400] + b"\xff"


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
