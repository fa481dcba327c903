"""The kernel's netfilter: how a message to it begins, and the one question that an event asks it.

Numbers are from uapi/linux/netfilter: nfnetlink.h (NFNL_SUBSYS_*), nf_tables.h (NFT_*); NFPROTO_INET: netfilter.h."""

from .netlink import Netlink, attribute

NETLINK_NETFILTER = 12
CONNTRACK, TABLES = 1 << 8, 10 << 8  # the upper bytes of a message's type

NFPROTO_INET = 1
NFT_MSG_GETTABLE, NFTA_TABLE_NAME = TABLES | 1, 1
TABLE = "dhcp-lb"


def header(family: int, version: int = 0) -> bytes:
    """The bytes before the attributes of a message, struct nfgenmsg: the family (AF_* or NFPROTO_*) and the
    version."""
    return bytes([family, version, 0, 0])


def table_there() -> bool:
    """Whether the kernel has our nft table. False if this user may not ask, or if there is no netfilter."""
    name = attribute(NFTA_TABLE_NAME, TABLE.encode() + b"\0")
    try:
        Netlink(NETLINK_NETFILTER).ask(NFT_MSG_GETTABLE, 0, header(NFPROTO_INET) + name)
    except OSError:
        return False
    return True
