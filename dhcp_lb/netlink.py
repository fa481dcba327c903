"""Netlink (netlink(7)): a socket, messages, attributes. This module knows nothing of routes.

Numbers are from uapi/linux/netlink.h (NLM_F_*, NLMSG_*) and asm-generic/socket.h (SO_*)."""

from _socket import SO_RCVBUF, SO_SNDBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from errno import EINTR, EMSGSIZE, EPERM
from posix import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct
else:
    from _struct import Struct

AF_NETLINK = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x400, 0x800
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3  # no dump has another type below 16 (NLMSG_MIN_TYPE)
NLMSGERR_ATTR_MSG = 1

HEADER = Struct("=LHHLL")  # struct nlmsghdr: length, type, flags, sequence, port
BEGINNING = Struct("=LHH")  # length, type, flags
ATTRIBUTE = Struct("=HH")  # struct nlattr: length, type
QUADS = Struct("=HH4s")
U16 = Struct("=H")
U32 = Struct("=L")
S32 = Struct("=l")

RECEIVE = 1 << 16
DUMP_TRIES = 10
AT_ONCE = 16  # answers: the kernel counts up to 5 KB for each; a socket has room for 200 KB (net.core.rmem_default)
MIN_BUFFER = 1 << 17


class Netlink:
    """A socket to one of the kernel's netlink families. Its methods raise OSError if the kernel refuses."""

    of = "what it is about"  # in an error message: `of` changed while it was read

    def __init__(self, protocol: int) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self.sequence = 0
        for option in NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK:
            self.socket.setsockopt(SOL_NETLINK, option, 1)

    def ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """The first answer to one message, without its header; b"" if the answer is an acknowledgement. OSError in the
        kernel's words if the kernel refuses."""
        self.sequence += 1
        self.socket.send(message(kind, NLM_F_REQUEST | flags, self.sequence, body))
        answer, answer_flags, _, reply = messages(self.socket.recv(RECEIVE))[0]
        if answer != NLMSG_ERROR:
            return reply
        errno, words = refusal(answer_flags, reply)
        if errno:
            raise OSError(errno, words or strerror(errno))
        return b""

    def ask_each(self, kind: int, bodies: list[bytes]) -> list[tuple[int, bytes]]:
        """The kernel's answer to each of these messages: an errno (0 = none) and the answer without its header. Up to
        AT_ONCE messages go in one send, which takes two thirds of the time."""
        found = []
        for start in range(0, len(bodies), AT_ONCE):
            part = bodies[start:start + AT_ONCE]
            self.socket.send(b"".join([message(kind, NLM_F_REQUEST, 0, body) for body in part]))
            for _ in part:
                (answer, flags, _, reply), = messages(self.socket.recv(RECEIVE))
                found.append((refusal(flags, reply)[0] if answer == NLMSG_ERROR else 0, reply))
        return found

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The messages of a dump, without their headers. OSError if the kernel refuses, or if the dump was interrupted
        DUMP_TRIES times."""
        for _ in range(DUMP_TRIES):
            found, interrupted = self._dump_once(kind, body)
            if not interrupted:
                return found
        raise InterruptedError(EINTR, f"{self.of} changed during each of {DUMP_TRIES} attempts to read it")

    def begin(self, kind: int, body: bytes, enough: "Callable[[list[bytes]], bool]") -> list[bytes]:
        """The first messages of a dump, without their headers: it ends when `enough` says so. The kernel keeps the
        rest of the dump for this socket, so the socket is of no more use."""
        return self._dump_once(kind, body, enough)[0]

    def send(self, requests: list[tuple[int, int, bytes]]) -> list[tuple[int, int, str]]:
        """Sends messages (type, flags, body) and returns the refusals: the message's place, the errno, and the
        kernel's own words, or "" if it gave only the errno. PermissionError if this user may not ask.

        All messages go in one send. The kernel works them off before the call returns, so a process that is killed has
        made all of its changes or none. The kernel reports a refusal even if no answer was asked for. Only the last
        message asks for an acknowledgement, which ends the answers."""
        first = self.sequence + 1
        self.sequence += len(requests)
        last = len(requests) - 1
        data = b"".join([
            message(kind, NLM_F_REQUEST | flags | (NLM_F_ACK if place == last else 0), first + place, body)
            for place, (kind, flags, body) in enumerate(requests)])
        self._make_room(SO_SNDBUF, SO_SNDBUFFORCE, MIN_BUFFER + len(data))
        self._make_room(SO_RCVBUF, SO_RCVBUFFORCE, MIN_BUFFER + len(requests) * 2048)  # an answer to each
        if self.socket.send(data) != len(data):
            raise OSError(EMSGSIZE, "the kernel took only a part of the messages")
        refusals = []
        while True:
            for _, flags, sequence, reply in messages(self.socket.recv(RECEIVE)):
                place = sequence - first
                errno, words = refusal(flags, reply)
                if errno == EPERM:
                    raise PermissionError(errno, words or strerror(errno))
                if errno:
                    refusals.append((place, errno, words))
                if place == last:
                    return refusals

    def _make_room(self, option: int, force: int, size: int) -> None:
        try:
            self.socket.setsockopt(SOL_SOCKET, force, size)
        except PermissionError:
            # Root of a user namespace gets only what everybody gets (net.core.wmem_max, rmem_max). That is enough for
            # hundreds of links.
            self.socket.setsockopt(SOL_SOCKET, option, size)

    def _dump_once(self, kind: int, body: bytes, enough: "Callable[[list[bytes]], bool] | None" = None,
                   ) -> tuple[list[bytes], bool]:
        """The messages of a dump, without their headers, to its end or until `enough` says so; and whether something
        changed during the dump, so that the messages may not fit together."""
        self.sequence += 1
        self.socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, body))
        found: list[bytes] = []
        every = 0  # flag that any message has
        unpack, add = BEGINNING.unpack_from, found.append
        while not (enough and found and enough(found)):
            data = self.socket.recv(RECEIVE)
            start, end = 0, len(data)
            while start < end:  # as in `messages`, which takes twice as long for thousands
                length, answer, flags = unpack(data, start)
                every |= flags
                if answer <= NLMSG_DONE:
                    if answer == NLMSG_DONE:
                        return found, bool(every & NLM_F_DUMP_INTR)
                    errno, words = refusal(flags, data[start + 16:start + length])
                    raise OSError(errno, words or strerror(errno))
                add(data[start + 16:start + length])
                start += length + 3 & ~3
        return found, bool(every & NLM_F_DUMP_INTR)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A netlink message. `body` must be padded to a multiple of 4 bytes."""
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The netlink messages in received data: type, flags, sequence number, and the rest after the header."""
    found = []
    start, end, unpack = 0, len(data), HEADER.unpack_from
    while start < end:
        length, kind, flags, sequence, _ = unpack(data, start)
        found.append((kind, flags, sequence, data[start + 16:start + length]))
        start += length + 3 & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to a multiple of 4 bytes."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes, start: int) -> dict[int, bytes]:
    """The attributes from `start` to the end of a message: type → value."""
    if (len(data) - start) % 8 == 0:
        # Nearly all attributes take eight bytes with their header. To read them in one go takes half the time, which
        # matters with hundreds of links. If one takes more, the count of those that fit shows it.
        found = {kind: value[:length - 4] for length, kind, value in QUADS.iter_unpack(data[start:])
                 if 4 < length <= 8}
        if len(found) == (len(data) - start) // 8:
            return found
    return long_attributes(data, start)


def long_attributes(data: bytes, start: int) -> dict[int, bytes]:
    """The same as `attributes`, faster if some take more than eight bytes, as IPv6 addresses do."""
    found = {}
    end, unpack = len(data), ATTRIBUTE.unpack_from
    while start < end:
        length, kind = unpack(data, start)
        found[kind & 0x3fff] = data[start + 4:start + length]  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
        start += length + 3 & ~3
    return found


def refusal(flags: int, reply: bytes) -> tuple[int, str]:
    """The errno (0 = done) and the kernel's words ("" = none) in an acknowledgement with these flags."""
    errno = -S32.unpack_from(reply)[0]
    words = b""
    if flags & NLM_F_ACK_TLVS:
        asked = 16 if flags & NLM_F_CAPPED else U32.unpack_from(reply, 4)[0]
        words = attributes(reply, 4 + (asked + 3 & ~3)).get(NLMSGERR_ATTR_MSG, b"")
    return errno, words.rstrip(b"\0").decode("utf-8", "replace")
