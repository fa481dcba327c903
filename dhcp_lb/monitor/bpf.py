"""Filters that the kernel runs on each packet for a socket (classic BPF, linux/bpf_common.h), so that irrelevant
packets do not wake the process."""

from _socket import SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct
else:
    from _struct import Struct

SO_ATTACH_FILTER = 26  # asm-generic/socket.h

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30  # counted from the beginning of the message
LOAD_WORD_X, LOAD_HALF_X, LOAD_BYTE_X = 0x40, 0x48, 0x50  # from X on
LOAD_IP_HEADER_LENGTH = 0xb1  # into X: four times the lower four bits of a byte
LOAD, LOAD_X = 0x00, 0x01  # a constant, and a constant into X
COPY_TO_X = 0x07
ATTRIBUTE = 0xfffff000 + 12  # LOAD_WORD: the place of the first attribute of type X after A, or 0 (SKF_AD_NLATTR)
EQUAL = 0x15
RETURN = 0x06
ALL, NOTHING = 0xffffffff, 0

INSTRUCTION = Struct("=HBBL")  # struct sock_filter
PROGRAM = Struct("@HP")  # struct sock_fprog

Instruction = tuple[int, int, int, int]
"""Code, how many instructions to skip if true, how many if false, constant."""


def attach(receiver: socket, program: list[Instruction]) -> None:
    """From now on `receiver` receives only what the program lets through. What it has received before is still there.
    OSError if the kernel refuses the program."""
    code = b"".join([INSTRUCTION.pack(*instruction) for instruction in program])
    # CPython has the bytes behind the head of their object. The module `array` would say where, and takes 0.9 MB.
    address = id(code) + bytes.__basicsize__ - 1
    receiver.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM.pack(len(program), address))
