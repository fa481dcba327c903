"""Whether a gateway answers the kernel's own ARP or neighbour discovery. The packets are the kernel's, so they cannot
have a wrong sender."""

from _socket import SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, socket
from errno import EOPNOTSUPP

from .. import address
from ..address import FAMILIES, IPV4, IPV6
from ..netlink import AF_NETLINK, NLM_F_ACK, NLM_F_CREATE, RECEIVE, U16, Netlink, attribute, attributes, messages
from ..rtnetlink import NETLINK_ROUTE
from . import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTMGRP_NEIGH = 0x4
NDA_DST = 1
NTF_USE = 0x01
NUD_REACHABLE, NUD_PROBE, NUD_NOARP, NUD_PERMANENT = 0x02, 0x10, 0x40, 0x80  # linux/neighbour.h
NEIGHBOUR = Struct("=B3xiHBB")  # struct ndmsg: family, interface, state, flags, type
STATE = 16 + 8  # the place of the state in a message
BYTES = {IPV4.number: 4, IPV6.number: 16}  # length of an address; a bridge's entries have another family


class Neighbours:
    """Makes the kernel ask, and hears of answers. `socket` is ready when a neighbour has answered the kernel, whoever
    caused the question."""

    def __init__(self) -> None:
        self.asker = Netlink(NETLINK_ROUTE)
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)
        # The kernel's numbers are in this machine's byte order, BPF's in the network's.
        reachable = int.from_bytes(U16.pack(NUD_REACHABLE), "big")
        bpf.attach(self.socket, [(bpf.LOAD_HALF, 0, 0, STATE), (bpf.EQUAL, 0, 1, reachable),
                                 (bpf.RETURN, 0, 0, bpf.ALL), (bpf.RETURN, 0, 0, bpf.NOTHING)])
        self.socket.bind((0, RTMGRP_NEIGH))

    def ask(self, ifindex: int, gateway: str) -> int:
        """Makes the kernel ask. Returns 0, or the errno of a refusal. EOPNOTSUPP: the kernel never asks for this
        neighbour, because the device has no ARP, or an administrator has set the entry, which must stay."""
        family = FAMILIES[address.family(gateway)]
        to = attribute(NDA_DST, family.packed(gateway))
        try:
            known = self.asker.ask(RTM_GETNEIGH, 0, NEIGHBOUR.pack(family.number, ifindex, 0, 0, 0) + to)
            if NEIGHBOUR.unpack_from(known)[2] & (NUD_NOARP | NUD_PERMANENT):
                return EOPNOTSUPP
            self.asker.ask(RTM_NEWNEIGH, NLM_F_ACK, NEIGHBOUR.pack(family.number, ifindex, NUD_PROBE, 0, 0) + to)
            return 0
        except OSError:
            pass  # the kernel does not know the neighbour's hardware address, which it could confirm
        try:
            self.asker.ask(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE,
                           NEIGHBOUR.pack(family.number, ifindex, 0, NTF_USE, 0) + to)
            return 0
        except OSError as error:
            return error.errno or EOPNOTSUPP

    def heard(self) -> list[tuple[int, str]]:
        """Interface index and address of each neighbour that has answered."""
        found: list[tuple[int, str]] = []
        while True:
            try:
                data = self.socket.recv(RECEIVE)
            except OSError:  # nothing more; or some were lost for want of room, and the next probe asks again
                return found
            for kind, _, _, body in messages(data):
                if kind == RTM_NEWNEIGH and len(body) >= NEIGHBOUR.size:
                    family, ifindex, state, _, _ = NEIGHBOUR.unpack_from(body)
                    to = attributes(body, NEIGHBOUR.size).get(NDA_DST, b"")
                    if state == NUD_REACHABLE and len(to) == BYTES.get(family):
                        found.append((ifindex, FAMILIES[family].text(to)))

    def close(self) -> None:
        """Closes the sockets."""
        self.asker.socket.close()
        self.socket.close()
