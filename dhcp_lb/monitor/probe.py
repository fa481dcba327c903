"""The sockets that probes leave by, and what counts as an answer.

Every packet names the device and the address that it leaves by. One raw socket and one UDP socket for each family
serve all links (IP_PKTINFO, ip(7); IPV6_PKTINFO, ipv6(7)); a TCP connection has a socket of its own. The IPv6 sockets
are opened for the first probe. An answer counts if it comes from the host that was asked, by the link that was asked,
to the address that asked, and contains what only that probe has said."""

from _socket import (AF_INET, IPPROTO_IPV6, SO_ERROR, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_STREAM,
                     SOL_SOCKET, socket)
from errno import EACCES, EAGAIN, EBUSY, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, EOPNOTSUPP, EPERM
from posix import urandom
from select import EPOLLIN, EPOLLOUT, epoll

from ..record import NamedTuple
from ..targets import DNS, GATEWAY, HTTP, PING
from . import bpf, dns
from .asks import DNS_PORT, ROOT, Ask, Way, reachable, usable
from .neighbours import Neighbours
from .wire import CONTROL_SPACE, ICMP, RECEIVE, UDP, WIRES, Wire, came, control, echo, icmp, peer, udp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SO_BINDTOIFINDEX = 62  # asm-generic/socket.h
IPV6_V6ONLY = 26  # uapi/linux/in6.h

KEEP_S = 10.0  # an answer that comes later does not count
MIN_NAME_S, MAX_NAME_S = 30, 3600  # bounds of the time for which a host's address counts as known
MAX_STREAMS = 8  # connections that are being tried to one target by one link; the kernel repeats the SYN of each
MAX_RECEIVED = 512  # packets in one go: a flood must not keep the probes from leaving

NOT_ASKED = frozenset([EPERM, EACCES, EAGAIN, EBUSY, EMFILE, ENFILE, ENOBUFS, ENOMEM, EOPNOTSUPP])
"""Errnos for which nobody was asked, because of this machine: a firewall of its own, for instance. Every other errno,
such as ENETUNREACH, counts as silence: the link led nowhere."""


class Sent(NamedTuple):
    """A probe that has left."""

    way: Way
    ask: Ask
    at_s: float
    asked: bytes = b""  # the question to a name server
    resolves: bool = False  # it asks for the address of an HTTP target's host


class Answer(NamedTuple):
    """An answer to a probe."""

    interface: str
    family: int
    ask: Ask
    took_s: float


class Stream:
    """A connection that is being tried."""

    def __init__(self, sent: Sent, connection: socket, request: bytes) -> None:
        self.sent, self.socket, self.request = sent, connection, request
        self.received = b""


class Prober:
    """Sends the probes of all links, and receives the answers. `fileno()` is ready when `answers()` may have some.
    Times are CLOCK_BOOTTIME."""

    def __init__(self) -> None:
        """PermissionError without CAP_NET_RAW."""
        self.poll = epoll()
        self.magic = urandom(4)
        self.icmp = {AF_INET: self._open_icmp(WIRES[AF_INET])}  # by family
        self.udp: dict[int, list[tuple[socket, float]]] = {}  # by family, with the time of opening; the last one sends
        self.neighbours: Neighbours | None = None
        self.pings: dict[object, Sent] = {}  # by the packet's content
        self.queries: dict[object, Sent] = {}  # by server and number
        self.gateways: dict[object, Sent] = {}  # by interface and address
        self.streams: dict[int, Stream] = {}  # by descriptor
        self.identities: dict[tuple[str, int], bytes] = {}  # way → the identity of its echo requests
        # Way and host → the host's address, and until when it counts as known.
        self.names: dict[tuple[tuple[str, int], str], tuple[str, float]] = {}
        self.number = 0
        self.now_s = 0.0

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self.poll.fileno()

    def close(self) -> None:
        """Closes all sockets."""
        for stream in self.streams.values():
            stream.socket.close()
        for one in [*self.icmp.values(), *[one for several in self.udp.values() for one, _ in several]]:
            one.close()
        if self.neighbours:
            self.neighbours.close()
        self.poll.close()

    def ask(self, way: Way, ask: Ask, now_s: float) -> int:
        """Sends a probe. Returns 0, or the errno that kept it from leaving."""
        sent = Sent(way, ask, now_s)
        try:
            if ask.kind == PING:
                self._ping(sent)
            elif ask.kind == DNS:
                self._query(sent, ask.address,
                            dns.question(ask.name, dns.ADDRESSES[way.family] if ask.name else dns.NS))
            elif ask.kind == GATEWAY:
                return self._gateway(sent)
            elif ask.kind == HTTP and not ask.address:
                return self._by_name(sent)
            else:
                self._connect(sent, ask.address)
        except OSError as error:
            return error.errno or EBUSY
        return 0

    def renew(self, way: Way, now_s: float) -> None:
        """From now on the link's probes look different, so a stale entry in a firewall or a router does not keep them
        from being answered."""
        self.identities.pop(way.key, None)
        if (sockets := self.udp.get(way.family)) and now_s - sockets[-1][1] >= KEEP_S:
            self._open_udp(way.family, now_s)

    def forget(self, interface: str, family: int) -> None:
        """Forgets the probes by a link whose way has changed, and the addresses that its name servers gave."""
        key = interface, family
        self.identities.pop(key, None)
        for outstanding in self.pings, self.queries, self.gateways:
            for place in [place for place, sent in outstanding.items() if sent.way.key == key]:
                del outstanding[place]
        for descriptor in [fd for fd, stream in self.streams.items() if stream.sent.way.key == key]:
            self._close(descriptor)
        for name in [name for name in self.names if name[0] == key]:
            del self.names[name]

    def answers(self, now_s: float) -> list[Answer]:
        """The answers since the last call."""
        found: list[Sent] = []
        self.now_s = now_s
        for descriptor, _ in self.poll.poll(0):
            if self.neighbours and descriptor == self.neighbours.socket.fileno():
                heard = [self.gateways.pop(key, None) for key in self.neighbours.heard()]
                found += [sent for sent in heard if sent]
            elif descriptor in self.streams:
                found += self._progress(descriptor)
            else:
                found += self._received(descriptor)
        self._expire(now_s)
        return [Answer(*sent.way.key, sent.ask, now_s - sent.at_s) for sent in found if now_s - sent.at_s <= KEEP_S]

    # Leaving

    def _socket(self, wire: Wire, kind: int, protocol: int = 0) -> socket:
        one = socket(wire.family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)
        one.setsockopt(wire.level, wire.tells, 1)
        self.poll.register(one.fileno(), EPOLLIN)
        return one

    def _open_icmp(self, wire: Wire) -> socket:
        """A raw socket with a filter. It receives the replies to our own echo requests, and errors that say that
        nobody is at a port."""
        one = self._socket(wire, SOCK_RAW, wire.protocol)
        bpf.attach(one, [
            # X is the beginning of the message: behind the IP header, which an IPv6 socket does not show.
            (bpf.LOAD_IP_HEADER_LENGTH, 0, 0, 0) if wire.family == AF_INET else (bpf.LOAD_X, 0, 0, 0),
            (bpf.LOAD_BYTE_X, 0, 0, 0), (bpf.EQUAL, 0, 2, wire.reply),
            (bpf.LOAD_WORD_X, 0, 0, ICMP.size), (bpf.EQUAL, 4, 5, int.from_bytes(self.magic, "big")),
            (bpf.EQUAL, 0, 4, wire.unreachable), (bpf.LOAD_BYTE_X, 0, 0, 1), (bpf.EQUAL, 0, 2, wire.no_port),
            (bpf.RETURN, 0, 0, bpf.ALL), (bpf.RETURN, 0, 0, bpf.ALL), (bpf.RETURN, 0, 0, bpf.NOTHING)])
        return one

    def _open_udp(self, family: int, now_s: float) -> socket:
        one = self._socket(WIRES[family], SOCK_DGRAM)
        if family != AF_INET:
            one.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        one.bind(("", 0))
        self.udp.setdefault(family, []).append((one, now_s))
        return one

    def _ping(self, sent: Sent) -> None:
        way = sent.way
        wire = WIRES[way.family]
        if way.family not in self.icmp:
            self.icmp[way.family] = self._open_icmp(wire)
        identity = self.identities.setdefault(way.key, urandom(2))
        self.number = self.number + 1 & 0xffff
        content = identity + self.number.to_bytes(2, "big") + self.magic + urandom(4)
        self.pings[content] = sent
        _send(self.icmp[way.family], echo(wire, content), way, sent.ask.address, 0)

    def _query(self, sent: Sent, server: str, asked: bytes, resolves: bool = False) -> None:
        family = sent.way.family
        sockets = self.udp.get(family)
        sender = sockets[-1][0] if sockets else self._open_udp(family, sent.at_s)
        if family not in self.icmp:  # this socket hears the error if there is no name server
            self.icmp[family] = self._open_icmp(WIRES[family])
        number = int.from_bytes(urandom(2), "big")
        self.queries[server, number] = sent._replace(asked=asked, resolves=resolves)
        _send(sender, dns.query(number, asked), sent.way, server, DNS_PORT)

    def _gateway(self, sent: Sent) -> int:
        if not self.neighbours:
            self.neighbours = Neighbours()
            self.poll.register(self.neighbours.socket.fileno(), EPOLLIN)
        self.gateways.setdefault((sent.way.ifindex, sent.ask.address), sent)
        return self.neighbours.ask(sent.way.ifindex, sent.ask.address)

    def _by_name(self, sent: Sent) -> int:
        """Probes an HTTP target that is a name. The link's own name servers are asked for its address. When the time
        of that address is over, they are asked again; until they answer, the old address is used."""
        host, until_s = self.names.get((sent.way.key, sent.ask.name), ("", 0.0))
        if sent.at_s >= until_s:
            servers = usable(sent.way)
            if not servers:
                return EOPNOTSUPP
            server = servers[int(sent.at_s) % len(servers)]
            self._query(sent, server, dns.question(sent.ask.name, dns.ADDRESSES[sent.way.family]), resolves=True)
        if host:
            self._connect(sent, host)
        return 0

    def _connect(self, sent: Sent, host: str) -> None:
        way, ask = sent.way, sent.ask
        if sum([stream.sent[:2] == sent[:2] for stream in self.streams.values()]) >= MAX_STREAMS:
            raise OSError(EBUSY, "too many connections are being tried")
        connection = socket(way.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        try:
            # The address comes first: a socket that is bound to a device accepts only addresses of that device
            # (net/ipv6/af_inet6.c, __inet6_bind), and a link without its own address is asked from one of the LAN.
            connection.bind((way.source, 0))
            connection.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, way.ifindex)
            errno = connection.connect_ex(peer(way, host, ask.port))
            if errno not in (0, EINPROGRESS):
                raise OSError(errno, "")
        except OSError:
            connection.close()
            raise
        request = b""
        if ask.kind == HTTP:
            name = f"[{ask.name}]" if ":" in ask.name else ask.name
            name = name if ask.port == 80 else f"{name}:{ask.port}"
            request = (f"GET {ask.path} HTTP/1.0\r\nHost: {name}\r\nUser-Agent: dhcp-lb\r\nAccept: */*\r\n"
                       "Connection: close\r\n\r\n").encode()
        self.streams[connection.fileno()] = Stream(sent, connection, request)
        self.poll.register(connection.fileno(), EPOLLOUT)

    # Coming back

    def _received(self, descriptor: int) -> list[Sent]:
        for family, one in self.icmp.items():
            if one.fileno() == descriptor:
                return self._receive(one, WIRES[family], self._icmp_answer)
        for family, sockets in self.udp.items():
            for one, _ in sockets:
                if one.fileno() == descriptor:
                    return self._receive(one, WIRES[family], self._dns_answer)
        return []

    def _receive(self, receiver: socket, wire: Wire,
                 understand: "Callable[[Wire, bytes, str, int, str], Sent | None]") -> list[Sent]:
        found = []
        for _ in range(MAX_RECEIVED):
            try:
                data, messages, _, sender = receiver.recvmsg(RECEIVE, CONTROL_SPACE)
            except OSError:  # nothing more; or the error of a packet that was sent, which counts as silence
                break
            for level, kind, value in messages:
                if (level, kind) == (wire.level, wire.names):
                    sent = understand(wire, data, sender[0], *came(wire, value))
                    if sent:
                        found.append(sent)
        return found

    def _icmp_answer(self, wire: Wire, data: bytes, sender: str, ifindex: int, local: str) -> Sent | None:
        message = icmp(wire, data)
        if len(message) < ICMP.size:
            return None
        kind, code, _, _, _ = ICMP.unpack_from(message)
        if kind == wire.reply:
            content = message[4:16]
            sent = self.pings.get(content)
            if sent and _came_back(sent, sent.ask.address, sender, ifindex, local):
                return self.pings.pop(content)
        elif (kind, code) == (wire.unreachable, wire.no_port):
            return self._refused(wire, message[ICMP.size:], sender, ifindex, local)
        return None

    def _refused(self, wire: Wire, inner: bytes, sender: str, ifindex: int, local: str) -> Sent | None:
        """The probe whose packet an ICMP error quotes in `inner`: the server's machine has answered, although there is
        no name server on it. A question for the root only asks whether the path works, and it does."""
        packet = udp(wire, inner)
        if not packet or len(packet[2]) < UDP.size + 2:
            return None
        source, destination, content = packet
        port, server_port, _, _ = UDP.unpack_from(content)
        key = destination, int.from_bytes(content[UDP.size:UDP.size + 2], "big")
        sent = self.queries.get(key)
        if (sent and sent.ask.kind == DNS and sent.ask.name == ROOT and (source, server_port) == (local, DNS_PORT)
                and port in [one.getsockname()[1] for one, _ in self.udp.get(wire.family, ())]
                and _came_back(sent, destination, sender, ifindex, local)):
            return self.queries.pop(key)
        return None

    def _dns_answer(self, _: Wire, data: bytes, sender: str, ifindex: int, local: str) -> Sent | None:
        key = sender, int.from_bytes(data[:2], "big")
        sent = self.queries.get(key)
        if not sent or not _came_back(sent, sender, sender, ifindex, local):
            return None
        reply = dns.reply(data, key[1], sent.asked)
        if not reply:
            return None
        del self.queries[key]
        if sent.resolves:
            self._resolved(sent, reply)
            return None
        known = sent.ask.name == ROOT or reply.code in (dns.NOERROR, dns.NXDOMAIN)
        return sent if known else None

    def _resolved(self, sent: Sent, reply: dns.Reply) -> None:
        """Notes the address of an HTTP target's host, and sends the probe there."""
        for host in [host for host in reply.addresses if reachable(host)]:
            try:
                name = sent.way.key, sent.ask.name
                known = name in self.names
                self.names[name] = host, self.now_s + min(max(reply.keep_s, MIN_NAME_S), MAX_NAME_S)
                if not known:  # otherwise the probe has gone to the address that was known
                    self._connect(sent, host)
                return
            except OSError:
                pass

    def _progress(self, descriptor: int) -> list[Sent]:
        """Deals with a connection that is established, or whose answer has come."""
        stream = self.streams[descriptor]
        try:
            if errno := stream.socket.getsockopt(SOL_SOCKET, SO_ERROR):
                raise OSError(errno, "")
            if stream.request:
                stream.socket.send(stream.request)
                stream.request = b""
                self.poll.modify(descriptor, EPOLLIN)
                return []
            works = stream.sent.ask.kind != HTTP
            if not works:
                data = stream.socket.recv(RECEIVE)
                stream.received += data
                if data and len(stream.received) < len("HTTP/1.0 200"):
                    return []
                works = _is_success(stream.received)
        except OSError:  # refused or reset: that does not show that the link works
            works = False
        self._close(descriptor)
        return [stream.sent] if works else []

    def _close(self, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        self.streams.pop(descriptor).socket.close()

    def _expire(self, now_s: float) -> None:
        """Forgets old probes. Each of these dicts has the oldest probe first."""
        for outstanding in self.pings, self.queries, self.gateways:
            old = []
            for key, sent in outstanding.items():
                if now_s - sent.at_s <= KEEP_S:
                    break
                old.append(key)
            for key in old:
                del outstanding[key]
        for descriptor in [fd for fd, stream in self.streams.items() if now_s - stream.sent.at_s > KEEP_S]:
            self._close(descriptor)
        for sockets in self.udp.values():
            while len(sockets) > 1 and now_s - sockets[1][1] > KEEP_S:
                one, _ = sockets.pop(0)
                self.poll.unregister(one.fileno())
                one.close()


def counts(errno: int) -> bool:
    """Whether a probe for which `ask` has returned this errno counts as one that could be answered."""
    return errno not in NOT_ASKED


def _send(sender: socket, data: bytes, way: Way, to: str, port: int) -> None:
    wire = WIRES[way.family]
    message = [data], [(wire.level, wire.names, control(wire, way))], 0, peer(way, to, port)
    if way.family == AF_INET:
        sender.sendmsg(*message)
        return
    # An IPv6 packet with a source follows a route by another device, such as a VPN's, whatever device it names, unless
    # its socket is bound to the device (net/ipv6/route.c, ip6_route_output_flags). So it is bound for this one packet.
    sender.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, way.ifindex)
    try:
        sender.sendmsg(*message)
    finally:
        sender.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, 0)


def _came_back(sent: Sent, asked: str, sender: str, ifindex: int, local: str) -> bool:
    return (asked, sent.way.ifindex, sent.way.source) == (sender, ifindex, local)


def _is_success(data: bytes) -> bool:
    """Whether an HTTP answer has a status of 200 to 299. A redirect does not count: it comes from a portal."""
    return data[:7] == b"HTTP/1." and data[8:10] == b" 2" and data[10:12].isdigit() and len(data) >= 12
