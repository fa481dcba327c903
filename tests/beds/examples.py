"""The two links of most tests: eth0 of provider A (weight 1) and eth1 of provider B (weight 2)."""

from socket import AF_INET6, inet_pton

from dhcp_lb.ipv6 import IFA_ADDRESS, IFA_FLAGS, IFADDR, Address
from dhcp_lb.model import ADMINISTRATOR, NO_NEW, OUT, Hold, Interface, Lease, Link, Nexthop, Route, Rule
from dhcp_lb.netlink import U32, attribute

ETH0 = Link("eth0", "table-eth0", 200, 1)
ETH1 = Link("eth1", "table-eth1", 201, 2)
LEASE0 = Lease("192.0.2.34", 24, "192.0.2.1", "192.0.2.1", 1000, 3600)
LEASE1 = Lease("198.51.100.7", 25, "198.51.100.1", "198.51.100.1", 1000, 3600)
LEASES = {"eth0": LEASE0, "eth1": LEASE1}
INTERFACES = {"eth0": Interface(2, True, True, ("192.0.2.34",)),
              "eth1": Interface(3, True, True, ("198.51.100.7",))}

REACHES = {"disabled": OUT, "draining": NO_NEW}


def held(**words: str) -> dict[str, Hold]:
    """The administrator's holds: INTERFACE="disabled" or "draining"."""
    return {name: Hold(ADMINISTRATOR, REACHES[word]) for name, word in words.items()}


def written(address: Address) -> bytes:
    """The message of an IPv6 address that lasts for ever, as the kernel dumps it."""
    ifindex, text, length, flags = address
    return (IFADDR.pack(AF_INET6, length, flags & 0xff, 0, ifindex)
            + attribute(IFA_ADDRESS, inet_pton(AF_INET6, text)) + attribute(IFA_FLAGS, U32.pack(flags)))


CONFIG = b"eth0 table-eth0 200 1\neth1 table-eth1 201 2\n"

# The kernel's routing for the two links, part by part.
TABLE0 = frozenset((
    Route(200, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", 2),)),
    Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),)),
))
TABLE1 = frozenset((
    Route(201, "198.51.100.0/25", 0, "198.51.100.7", 253, (Nexthop("", 3),)),
    Route(201, "0.0.0.0/0", 0, "198.51.100.7", 0, (Nexthop("198.51.100.1", 3),)),
))
RULES0 = frozenset((
    Rule(20100, 200, "192.0.2.34/32"),
    Rule(20200, 200, oif="eth0"),
))
RULES1 = frozenset((
    Rule(20100, 201, "198.51.100.7/32"),
    Rule(20200, 201, oif="eth1"),
))
COMMON_RULES = frozenset((
    Rule(19900, 254, suppress_prefixlength=7, suppress_group=109),
    Rule(30000, 254, suppress_group=109),
    Rule(30100, 254, suppress_prefixlength=0),
    Rule(32765, 252),
))
MAIN0 = Route(254, "0.0.0.0/0", 8101, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),))
MAIN1 = Route(254, "0.0.0.0/0", 8100, "198.51.100.7", 0, (Nexthop("198.51.100.1", 3),))
SHARED = (252, 251, 254)  # the tables with routes by all links
SINGLE0 = Route(252, "0.0.0.0/0", 1001, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),))
SINGLE1 = Route(252, "0.0.0.0/0", 1000, "198.51.100.7", 0, (Nexthop("198.51.100.1", 3),))
BOTH = Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 2, 1), Nexthop("198.51.100.1", 3, 2)))
ONLY0 = Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 2, 1),))
ONLY1 = Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("198.51.100.1", 3, 1),))
