"""The traffic in a machine's network: a server, many connections, a prober. It speaks JSON on its pipes.

serve     answers each connection with the address it came from, then echoes
connect   opens connections and prints how often each answer, or each error, came
pace      opens so many connections a second, and prints when those began that got no answer
probe     connects without a pause until its standard input ends, then prints the same
hold      opens connections and keeps them; at each line that it reads, it prints how many are alive
stream    opens connections and sends by each of them all the time; at each line, it prints what has come back
echo      a server of UDP at one address
"""

import collections
import concurrent.futures
import contextlib
import errno
import ipaddress
import json
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

NLM_F_REQUEST, NLMSG_ERROR, RTM_GETROUTE, RTA_DST = 1, 2, 26, 1  # linux/netlink.h, linux/rtnetlink.h


def serve(port: int) -> None:
    listener = socket.create_server(("0.0.0.0", port), backlog=4096)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            try:
                if ready is listener:
                    client, (address, _) = listener.accept()
                    client.sendall(address.encode())
                    selector.register(client, selectors.EVENT_READ)
                elif data := ready.recv(4096):
                    ready.sendall(data)
                else:
                    raise ConnectionResetError
            except OSError:
                if ready is not listener:
                    selector.unregister(ready)
                    ready.close()


class Target:
    """Whom to connect to, and from where. The addresses of the network take turns."""

    def __init__(self, network: str, port: int, device: str, source: str, timeout_s: float) -> None:
        self.addresses = [str(address) for address in ipaddress.IPv4Network(network).hosts()]
        self.port, self.device, self.source, self.timeout_s = port, device, source, timeout_s

    def open(self, number: int) -> tuple[socket.socket | None, str]:
        """Returns the connection and its answer, or None and the name of the error."""
        connection = socket.socket()
        try:
            connection.settimeout(self.timeout_s)
            if self.device:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
            if self.source:
                connection.bind((self.source, 0))
            connection.connect((self.addresses[number % len(self.addresses)], self.port))
            return connection, connection.recv(64).decode()
        except OSError as error:
            connection.close()
            return None, error_name(error)

    def open_udp(self, number: int) -> tuple[socket.socket, str]:
        """Returns a UDP connection, which has no answer yet."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection.connect((self.addresses[number % len(self.addresses)], self.port))
        return connection, ""

    def ask(self, number: int) -> str:
        connection, answer = self.open(number)
        if connection:
            connection.close()
        return answer

    def has_route(self, number: int) -> str:
        """One lookup in the routing tables and no packet, as `ip route get` makes it.

        Connecting a socket takes two lookups. The second one fails if a DHCP client removes the address that the first
        one has chosen. That would not be a missing route.
        """
        destination = socket.inet_aton(self.addresses[number % len(self.addresses)])
        header = struct.pack("=IHHII", 36, RTM_GETROUTE, NLM_F_REQUEST, 0, 0)
        route = struct.pack("=8BI", socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.send(header + route + struct.pack("=HH4s", 8, RTA_DST, destination))
            _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", kernel.recv(4096))
        return errno.errorcode[-error] if kind == NLMSG_ERROR else "found"


def error_name(error: OSError) -> str:
    return errno.errorcode[error.errno] if error.errno else "ETIMEDOUT"


def connect(count: int, at_once: int, target: Target) -> None:
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        say(collections.Counter(pool.map(target.ask, range(count))))


def pace(count: int, per_s: float, target: Target) -> None:
    """The times are those of time.monotonic(), which all machines of the lab share."""
    begin_s = time.monotonic()

    def attempt(number: int) -> tuple[float, str]:
        time.sleep(max(0.0, begin_s + number / per_s - time.monotonic()))
        return time.monotonic(), target.ask(number)

    at_once = int(per_s * (target.timeout_s + 1))
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        print(json.dumps([began_s for began_s, answer in pool.map(attempt, range(count)) if answer.isupper()]))


def probe(target: Target) -> None:
    """Four connections at any time, and some thousand lookups a second."""
    ended = threading.Event()

    def repeat(attempt: Any, pause_s: float) -> "collections.Counter[str]":
        answers: collections.Counter[str] = collections.Counter()
        while not ended.is_set():
            answers[attempt(answers.total())] += 1
            time.sleep(pause_s)
        return answers

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        lookups = pool.submit(repeat, target.has_route, 0.0002)
        connections = [pool.submit(repeat, target.ask, 0.005) for _ in range(4)]
        print("ready", flush=True)
        sys.stdin.read()
        ended.set()
    answers = sum((run.result() for run in connections), collections.Counter[str]())
    print(json.dumps({"connections": answers, "lookups": lookups.result()}))


def hold(count: int, target: Target) -> None:
    with concurrent.futures.ThreadPoolExecutor(100) as pool:  # a connection without an answer waits for its timeout
        opened = list(pool.map(target.open, range(count)))
        say(collections.Counter(answer for _, answer in opened))
        connections = [connection for connection, _ in opened if connection]
        for _ in sys.stdin:
            say(collections.Counter(pool.map(echo, connections)))


def echo(connection: socket.socket) -> str:
    try:
        connection.sendall(b"?")
        return "alive" if connection.recv(1) == b"?" else "closed"
    except OSError as error:
        return error_name(error)


def echo_udp(address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        print("ready", flush=True)
        while True:
            server.sendto(*server.recvfrom(64))


class Flow:
    """A connection by which numbers go and come back."""

    def __init__(self, connection: socket.socket, udp: bool) -> None:
        connection.setblocking(False)
        self.connection, self.udp, self.number, self.broken = connection, udp, 0, False
        self.begin()

    def begin(self) -> None:
        """Counts from here on."""
        self.waiting: dict[int, None] = {}  # numbers that have not come back, the oldest first
        self.last_s, self.gap_s = time.monotonic(), 0.0

    def send(self) -> None:
        with self.errors():
            self.connection.send(struct.pack("!L", self.number))
            self.waiting[self.number] = None
            self.number += 1

    def receive(self) -> None:
        with self.errors():
            came = self.connection.recv(4 if self.udp else 4096)
            if not came and not self.udp:
                raise ConnectionResetError
            for number in struct.unpack("!L", came) if self.udp else list(self.waiting)[:len(came) // 4]:
                self.waiting.pop(number, None)
            now_s = time.monotonic()
            self.gap_s, self.last_s = max(self.gap_s, now_s - self.last_s), now_s

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """An error that ends a TCP connection is only a lost packet for UDP."""
        try:
            yield
        except BlockingIOError:
            pass
        except OSError:
            self.broken = not self.udp


def stream(count: int, per_s: float, udp: bool, target: Target) -> None:
    opened = [(target.open_udp if udp else target.open)(number)[0] for number in range(count)]
    flows = [Flow(connection, udp) for connection in opened if connection]
    selector = selectors.DefaultSelector()
    for flow in flows:
        selector.register(flow.connection, selectors.EVENT_READ, flow)
    selector.register(sys.stdin, selectors.EVENT_READ)

    def listen(until_s: float) -> bool:
        """Returns whether somebody asks."""
        asked = False
        for key, _ in selector.select(max(0, until_s - time.monotonic())):
            if key.data:
                key.data.receive()
                if key.data.broken:
                    selector.unregister(key.data.connection)
            else:
                asked = True
        return asked

    say(collections.Counter(opened=len(flows)))
    next_s = time.monotonic()
    while True:
        if listen(next_s):
            if not sys.stdin.readline():
                return
            end_s = time.monotonic() + target.timeout_s
            while any(flow.waiting and not flow.broken for flow in flows) and time.monotonic() < end_s:
                listen(time.monotonic() + 0.05)
            print(json.dumps({
                "broken": sum(flow.broken or not flow.udp and bool(flow.waiting) for flow in flows),
                "lost": max(len(flow.waiting) for flow in flows),
                "gap_s": max(flow.gap_s for flow in flows)}), flush=True)
            for flow in flows:
                flow.begin()
        elif time.monotonic() >= next_s:
            next_s = time.monotonic() + 1 / per_s
            for flow in flows:
                if not flow.broken:
                    flow.send()


def say(answers: "collections.Counter[str]") -> None:
    print(json.dumps(answers), flush=True)


def main(job: str, argument: str) -> None:
    wanted = json.loads(argument)
    if job == "serve":
        serve(**wanted)
    elif job == "connect":
        connect(wanted.pop("count"), wanted.pop("at_once"), Target(**wanted))
    elif job == "pace":
        pace(wanted.pop("count"), wanted.pop("per_s"), Target(**wanted))
    elif job == "probe":
        probe(Target(**wanted))
    elif job == "hold":
        hold(wanted.pop("count"), Target(**wanted))
    elif job == "stream":
        stream(wanted.pop("count"), wanted.pop("per_s"), wanted.pop("udp"), Target(**wanted))
    elif job == "echo":
        echo_udp(**wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
