"""Whether a gateway answers the kernel's own ARP: no packet is ours, so none can have a wrong sender."""

from _socket import AF_INET, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, inet_aton, inet_ntoa, socket
from errno import ENOENT, EOPNOTSUPP

from ..rtnetlink import (AF_NETLINK, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, RECEIVE, attribute, attributes, message,
                         messages, refusal)
from . import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
NLM_F_CREATE = 0x400
RTMGRP_NEIGH = 0x4
NDA_DST = 1
NTF_USE = 0x01
NUD_REACHABLE, NUD_PROBE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x10, 0x40, 0x80  # linux/neighbour.h
U16 = Struct("=H")
NEIGHBOUR = Struct("=B3xiHBB")  # struct ndmsg: family, interface, state, flags, type
STATE = 16 + 8  # where it is in a message


class Neighbours:
    """Asks, and hears. `socket` is ready when a neighbour has answered its kernel's question, whoever put it."""

    def __init__(self) -> None:
        self.asker = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        # The kernel's numbers are in this machine's byte order, BPF's in the network's.
        reachable = int.from_bytes(U16.pack(NUD_REACHABLE), "big")
        bpf.attach(self.socket, [(bpf.LOAD_HALF, 0, 0, STATE), (bpf.EQUAL, 0, 1, reachable),
                                 (bpf.RETURN, 0, 0, bpf.ALL), (bpf.RETURN, 0, 0, bpf.NOTHING)])
        self.socket.bind((0, RTMGRP_NEIGH))

    def ask(self, ifindex: int, gateway: str) -> int:
        """Has the kernel ask; an errno, 0 = it does. One that never asks for this neighbour is EOPNOTSUPP: the device
        has no ARP, or an administrator has written the entry down, which must stay."""
        to = attribute(NDA_DST, inet_aton(gateway))
        errno, state = self._call(RTM_GETNEIGH, 0, NEIGHBOUR.pack(AF_INET, ifindex, 0, 0, 0) + to)
        if state & (NUD_NOARP | NUD_PERMANENT):
            return EOPNOTSUPP
        if not errno:
            errno, _ = self._call(RTM_NEWNEIGH, NLM_F_ACK, NEIGHBOUR.pack(AF_INET, ifindex, NUD_PROBE, 0, 0) + to)
        if errno:  # it does not know the neighbour's address, so that it cannot be asked for confirmation
            errno, _ = self._call(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE,
                                  NEIGHBOUR.pack(AF_INET, ifindex, 0, NTF_USE, 0) + to)
        return errno

    def heard(self) -> list[tuple[int, str]]:
        """Interface index and address of those who have answered."""
        found: list[tuple[int, str]] = []
        while True:
            try:
                data = self.socket.recv(RECEIVE)
            except OSError:  # nothing more, or more than there was room for: it is asked again
                return found
            for kind, _, _, body in messages(data):
                if kind == RTM_NEWNEIGH and len(body) >= NEIGHBOUR.size:
                    family, ifindex, state, _, _ = NEIGHBOUR.unpack_from(body)
                    to = attributes(body, NEIGHBOUR.size).get(NDA_DST, b"")
                    if family == AF_INET and state == NUD_REACHABLE and len(to) == 4:
                        found.append((ifindex, inet_ntoa(to)))

    def close(self) -> None:
        """Ends it."""
        self.asker.close()
        self.socket.close()

    def _call(self, kind: int, flags: int, body: bytes) -> tuple[int, int]:
        """The errno of an answer, and the state of the neighbour in it. The kernel answers before `send` returns."""
        self.asker.send(message(kind, NLM_F_REQUEST | flags, 0, body))
        got, flags, _, answer = messages(self.asker.recv(RECEIVE))[0]
        if got == NLMSG_ERROR:
            return refusal(flags, answer)[0], 0
        return (0, NEIGHBOUR.unpack_from(answer)[2]) if got == RTM_NEWNEIGH else (ENOENT, 0)
