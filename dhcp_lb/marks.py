"""Pure: the links → the mark of each. nft(8) and the kernel's rules know a link's connections by this mark."""

from .model import FAILOVER, Link, Settings

ALL_BITS = 0xffffffff


def most(mask: int) -> int:
    """How many links the bits of a mask can tell apart. The value 0 is not a mark."""
    return mask // lowest(mask)


def writable(interface: str) -> bool:
    """Whether nft(8) can write this name (1.0.6 and 1.1.3). nft has no escape for a `"`. It drops all backslashes
    before a `*` at the end, so it would take `a\\*` for `a*`."""
    return '"' not in interface and not interface.endswith("\\*")


def marks(links: tuple[Link, ...], mask: int) -> dict[str, int]:
    """Interface → the mark of its link, in the bits of `mask`, which must be a row of ones.

    The mark's number is the table id if that fits, otherwise (id mod most) + 1. If another link has that number, the
    next free one follows. So if a line is added, removed or moved, the other links keep their marks, and the live
    connections keep their links.

    A link whose name nft(8) cannot write has no mark. If there are more links than marks, no link has one."""
    named = sorted([(link.table, link.interface) for link in links if writable(link.interface)])
    count = most(mask)
    if len(named) > count:
        return {}
    taken: dict[int, str] = {}
    for table, interface in named:
        number = table if table <= count else table % count + 1
        while number in taken:
            number = number % count + 1
        taken[number] = interface
    return {interface: number * lowest(mask) for number, interface in taken.items()}


def translators(links: tuple[Link, ...], settings: Settings) -> tuple[Link, ...]:
    """The links between which nft(8) translates the sources of IPv6: packets have an address in the `prefix6=` of one
    link and leave by another. () if the setting does not ask for it, if there is nothing to translate, or if nft
    cannot write all of these links."""
    several = tuple([link for link in links if link.ipv6])
    names = marks(links, settings.marks)
    if (settings.translate6 != FAILOVER or len(several) < 2 or not any([link.prefixes6 for link in several])
            or not all([link.interface in names for link in several])):
        return ()
    return several


def lowest(mask: int) -> int:
    """The lowest bit of a mask."""
    return mask & -mask


def is_row(mask: int) -> bool:
    """Whether a mask is one row of ones, with zeros around it."""
    row = mask // lowest(mask) if mask else 0
    return bool(row) and row & row + 1 == 0


def parse_mark(text: str) -> int:
    """The mark in a text, a decimal number or one with 0x. ValueError says what it must be."""
    digits, base = (text[2:], 16) if text[:2] in ("0x", "0X") else (text, 10)
    if digits.isascii() and digits.isalnum() and len(digits) <= 10:
        try:
            number = int(digits, base)
        except ValueError:
            number = -1
        if 0 <= number <= ALL_BITS:
            return number
    raise ValueError(f"must be a number up to 0x{ALL_BITS:x}")
