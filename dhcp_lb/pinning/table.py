"""Pure: the links of /etc/dhcp-lb → a mark for each, and the nft(8) text that records and restores the marks.

The text knows the names and numbers of the configuration and nothing else, so no lease ever changes it."""

from ..marks import lowest
from ..nfnetlink import TABLE

REMOVE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"  # the first line makes the second one succeed always

# At mangle + 5: behind everybody at mangle. Tailscale's `ct state established,related meta mark set
# ct mark & 0xff0000` wipes all other bits there.
#
# came:    A connection that comes in by a link belongs to it. Packets from a link are recorded only. Their mark is
#          never restored: it would send them out again.
# leaves:  A connection belongs to the link that it leaves by. Each packet says so, not only the first: a script that
#          saves the whole mark at postrouting (`CONNMARK --save-mark`) wipes ours each time. After an answer that came
#          by a link nothing would be left for the next packet of the LAN, so there the link that it came by counts.
#          (Linux 5.7, 28f8bfd1ac94.) Otherwise it does not: of two links in one network either may be given an answer.
# by:      A packet of the LAN is given the mark of its connection. Rule 20000 routes by it. TCP that nobody has
#          answered is not held to its link: if that has just lost its cable, the next SYN may take another.
# forward: The mark is there for the routing decision alone. Whoever compares whole marks afterwards, for QoS say,
#          must see his own. Other values in these bits are somebody else's.
# output:  Replies of this machine to what was forwarded to its own address in the LAN (`dnat to`). The sockets that
#          have a mark of their own (WireGuard, Tailscale) are left alone, and so is what this machine begins.
#
# A map to chains costs the same with 2 and with 250 links. To merge two marks in one expression needs Linux 6.13.
TEXT = """\
{remove}table inet {name} {{
  comment "dhcp-lb(8): the link of each connection, in the bits {mask} of its mark"
  map came {{
    type ifname : verdict
    elements = {{
{came}
    }}
  }}
  map leaves {{
    type ifname : verdict
    elements = {{
{leaves}
    }}
  }}
  map pinned {{
    type mark : verdict
    elements = {{
{pinned}
    }}
  }}
{chains}
  chain prerouting {{
    type filter hook prerouting priority mangle + 5
    iifname vmap @came
    ct state new meta l4proto tcp return
    ct mark & {mask} vmap @pinned
  }}
  chain forward {{
    type filter hook forward priority mangle + 5
    meta mark & {mask} {{ {ours} }} meta mark set meta mark & {rest}
  }}
  chain output {{
    type route hook output priority mangle + 5
    ct direction reply meta mark & {mask} == 0 ct mark & {mask} vmap @pinned
  }}
  chain postrouting {{
    type filter hook postrouting priority mangle + 5
    oifname vmap @leaves
    ct mark & {mask} == 0 iifname vmap @leaves
  }}
}}
"""
CHAINS = """\
  chain came-{number} {{
    ct state new ct mark set ct mark & {rest} | {mark}
  }}
  chain leaves-{number} {{
    ct mark set ct mark & {rest} | {mark}
  }}
  chain by-{number} {{
    meta mark set meta mark & {rest} | {mark}
  }}"""


def text(marks: dict[str, int], mask: int) -> str:
    """What `nft -f` makes the table of, in one transaction, whether there was one or not; without marks it removes the
    table."""
    if not marks:
        return REMOVE
    numbers = sorted([(mark, mark // lowest(mask), _quoted(interface)) for interface, mark in marks.items()])
    rest = _hex(~mask & 0xffffffff)
    return TEXT.format(
        remove=REMOVE, name=TABLE, mask=_hex(mask), rest=rest,
        came=",\n".join([f"      {name} : goto came-{number}" for _, number, name in numbers]),
        leaves=",\n".join([f"      {name} : goto leaves-{number}" for _, number, name in numbers]),
        pinned=",\n".join([f"      {_hex(mark)} : goto by-{number}" for mark, number, _ in numbers]),
        chains="\n".join([CHAINS.format(number=number, rest=rest, mark=_hex(mark)) for mark, number, _ in numbers]),
        ours=", ".join([_hex(mark) for mark, _, _ in numbers]))


def _hex(mark: int) -> str:
    return f"0x{mark:08x}"


def _quoted(interface: str) -> str:
    """A name in nft's quotes, in which nothing is special but a `*` at the end, which would stand for any rest."""
    if interface.endswith("*"):
        interface = interface[:-1] + "\\*"
    return f'"{interface}"'
