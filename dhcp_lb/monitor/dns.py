"""Pure: questions to a name server, and which messages count as its answer (RFC 1035, 4)."""

from ..address import IPV4, IPV6
from ..record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
    from struct import error as struct_error
else:
    from _struct import Struct
    from _struct import error as struct_error

A, NS, AAAA = 1, 2, 28
ADDRESSES = {IPV4.number: A, IPV6.number: AAAA}
LENGTHS = {A: (IPV4, 4), AAAA: (IPV6, 16)}
IN = 1
NOERROR, NXDOMAIN = 0, 3

HEADER = Struct("!6H")  # id, flags, numbers of questions, answers, authorities, others
RECORD = Struct("!HHLH")  # type, class, seconds it may be kept, length
QR, OPCODE, RD, RCODE = 0x8000, 0x7800, 0x0100, 0x000f
POINTER = 0xc0
MAX_RECORDS = 64


class Reply(NamedTuple):
    """What a name server said."""

    code: int  # RCODE
    addresses: tuple[str, ...] = ()  # of the family that was asked for
    keep_s: int = 0  # the shortest lifetime of these addresses


def question(name: str, kind: int) -> bytes:
    """The question section for a name and a record type (A, NS, AAAA). The name "" is the root."""
    labels = [label.encode() for label in name.split(".")] if name else []
    return b"".join([bytes([len(label)]) + label for label in labels]) + bytes([0, 0, kind, 0, IN])


def query(number: int, asked: bytes) -> bytes:
    """The message with the question `asked`. `number` has 16 bits."""
    return HEADER.pack(number, RD, 1, 0, 0, 0) + asked


def reply(data: bytes, number: int, asked: bytes) -> Reply | None:
    """What the message answers; None if it is not an answer to this question. Some servers send nothing but a header
    with an error."""
    try:
        found, flags, questions, answers, _, _ = HEADER.unpack_from(data)
        code = flags & RCODE
        if found != number or not flags & QR or flags & OPCODE:
            return None
        if questions == 1 and data[12:12 + len(asked)].lower() == asked.lower():
            return Reply(code, *_addresses(data, 12 + len(asked), min(answers, MAX_RECORDS), asked[-3]))
        return Reply(code) if questions == 0 and code != NOERROR and len(data) == HEADER.size else None
    except struct_error:
        return None


def _addresses(data: bytes, start: int, count: int, asked: int) -> tuple[tuple[str, ...], int]:
    """The addresses in the next `count` records that have the type `asked`, up to the first malformed record; and
    their shortest lifetime."""
    if asked not in LENGTHS:
        return (), 0
    family, size = LENGTHS[asked]
    found: list[str] = []
    keep_s = 0xffffffff
    try:
        for _ in range(count):
            start = _after_name(data, start)
            kind, group, seconds, length = RECORD.unpack_from(data, start)
            start += RECORD.size
            value = data[start:start + length]
            if (kind, group, len(value)) == (asked, IN, size):
                found.append(family.text(value))
                keep_s = min(keep_s, seconds)
            start += length
    except (IndexError, struct_error):
        pass  # the message is cut off: the complete records count
    return tuple(found), keep_s if found else 0


def _after_name(data: bytes, start: int) -> int:
    while data[start]:
        if data[start] >= POINTER:
            return start + 2
        start += 1 + data[start]
    return start + 1
