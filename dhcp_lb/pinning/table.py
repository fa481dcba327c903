"""Pure: the links of /etc/dhcp-lb → a mark for each, and the nft(8) text that records and restores the marks.

The text has the names and numbers of the configuration and nothing else, so no lease ever changes it."""

from .. import address
from ..marks import lowest
from ..model import Link
from ..nfnetlink import TABLE

DIRECTORY = "/var/lib/dhcp-lb"
FILE = f"{DIRECTORY}/dhcp-lb.nft"  # for a line `include "/var/lib/dhcp-lb/*.nft"` in /etc/nftables.conf
REMOVE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"  # the first line makes sure that the second one succeeds

# The chains are at mangle + 5, behind every other chain at mangle. One of those is Tailscale's, whose
# `ct state established,related meta mark set ct mark & 0xff0000` wipes all other bits.
#
# came:    A connection that comes in by a link belongs to that link. Packets that come from a link get no mark: it
#          would send them out again.
# leaves:  A connection belongs to the link by which it leaves. Each packet records that, not only the first one: a
#          script that saves the whole mark at postrouting (`CONNMARK --save-mark`) wipes ours each time. After an
#          answer that came by a link, such a script would leave nothing for the LAN's next packet. So if the
#          connection has no mark then, the link that the answer came by is recorded (Linux 5.7, 28f8bfd1ac94).
#          Otherwise it is not: if two links are in the same network, an answer may come by either.
# by:      A packet of the LAN gets the mark of its connection, and rule 20000 routes by it. TCP that nobody has
#          answered yet is not held to its link: if the link has just lost its cable, the next SYN may take another.
# forward: The mark is only for the routing decision. A rule that compares whole marks afterwards, for QoS for
#          instance, must see its own mark. Other values in these bits belong to somebody else.
# output:  This is for replies of this machine to connections that were forwarded to its own address in the LAN
#          (`dnat to`). Sockets with a mark of their own (WireGuard, Tailscale) are left alone, and so are connections
#          that this machine begins.
#
# A map to chains costs the same with 2 and with 250 links. Merging two marks in one expression needs Linux 6.13.
TEXT = """\
{remove}table inet {name} {{
  comment "dhcp-lb(8): the link of each connection, in the bits {mask} of its mark"
{came}{leaves}{pinned}{chains}
  chain prerouting {{
    type filter hook prerouting priority mangle + 5
    iifname vmap @came
    ct state new meta l4proto tcp return
    ct mark & {mask} vmap @pinned
  }}
  chain forward {{
    type filter hook forward priority mangle + 5
    meta mark & {mask} {{ {ours} }} meta mark set meta mark & {rest}{stray}
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
{translation}}}
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


# Sources in these IPv6 prefixes are translated if they leave by another link than their own.
#
# stray:     A connection keeps the address that its first packet left with. The provider of another link would drop
#            its packets without a word, so the sender gets an error.
# translate: A source is translated to the link's prefix if that is as long, so that machines of the LAN can be told
#            apart; otherwise to the link's address. The administrator's own translation comes first.
#
# The text grows with the number of links, not with that of their pairs.
STRAY = """
    ct status confirmed ct mark & {mask} {{ {ours} }} oifname vmap @stray"""
TRANSLATION = """\
{translated}{lengths}{stray}{translate}{chains}
  chain translation {{
    type nat hook postrouting priority srcnat + 5
    oifname vmap @translate
  }}
"""
WHOLE = 48  # bits: no customer gets more (RFC 6177, RIPE-690), so a shorter prefix is all that the provider has


def text(marks: dict[str, int], mask: int, translators: tuple[Link, ...] = ()) -> str:
    """The text from which `nft -f` makes the table, in one transaction, whether there was one or not. Without `marks`
    (interface → mark) it removes the table. Between the `translators`, IPv6 sources are translated."""
    if not marks:
        return REMOVE
    numbers = sorted([(mark, mark // lowest(mask), _quoted(interface)) for interface, mark in marks.items()])
    rest = _hex(~mask & 0xffffffff)
    ours = ", ".join([_hex(mark) for mark, _, _ in numbers])
    return TEXT.format(
        remove=REMOVE, name=TABLE, mask=_hex(mask), rest=rest,
        came=_map("came", "ifname", [f"{name} : goto came-{number}" for _, number, name in numbers]),
        leaves=_map("leaves", "ifname", [f"{name} : goto leaves-{number}" for _, number, name in numbers]),
        pinned=_map("pinned", "mark", [f"{_hex(mark)} : goto by-{number}" for mark, number, _ in numbers]),
        chains="\n".join([CHAINS.format(number=number, rest=rest, mark=_hex(mark)) for mark, number, _ in numbers]),
        ours=ours,
        stray=STRAY.format(mask=_hex(mask), ours=ours) if translators else "",
        translation=_translation(translators, marks, mask) if translators else "")


def becomes(source: str, link: Link, translators: tuple[Link, ...]) -> str:
    """What this table makes of an IPv6 source that leaves by the link, in words: a prefix of the link, or the link's
    address; "" if the source stays as it is."""
    named = [prefix for one in translators for prefix in one.prefixes6 if address.within(source, prefix)]
    if link not in translators or not named or named[0] in link.prefixes6:
        return ""
    return _whole(link).get(named[0].partition("/")[2], "the link's address")


def _whole(link: Link) -> dict[str, str]:
    """Length → the link's first prefix of this length, if sources of other links can be translated to it."""
    found: dict[str, str] = {}
    for prefix in link.prefixes6:
        length = prefix.partition("/")[2]
        if int(length) >= WHOLE:
            found.setdefault(length, prefix)
    return found


def _translation(translators: tuple[Link, ...], marks: dict[str, int], mask: int) -> str:
    links = [(link, marks[link.interface] // lowest(mask)) for link in translators]
    prefixes = [prefix for link, _ in links for prefix in link.prefixes6]
    lengths = sorted({length for link, _ in links for length in _whole(link)})
    return TRANSLATION.format(
        translated=_prefixes("translated", prefixes),
        lengths="".join([_prefixes(f"translated-{length}", [prefix for prefix in prefixes
                                                            if prefix.endswith(f"/{length}")]) for length in lengths]),
        stray=_map("stray", "ifname", [f"{_quoted(link.interface)} : goto stray-{number}" for link, number in links]),
        translate=_map("translate", "ifname", [f"{_quoted(link.interface)} : goto translate-{number}"
                                               for link, number in links]),
        chains="\n".join([_translator(link, number, mask) for link, number in links]))


def _translator(link: Link, number: int, mask: int) -> str:
    chains = {
        "stray": [f"ct mark & {_hex(mask)} == {_hex(number * lowest(mask))} return",
                  "ip6 saddr @translated reject with icmpv6 type no-route"],
        "translate": [*([f"ip6 saddr {{ {', '.join(link.prefixes6)} }} return"] if link.prefixes6 else []),
                      *[f"ip6 saddr @translated-{length} snat ip6 prefix to {prefix}"
                        for length, prefix in _whole(link).items()],
                      "ip6 saddr @translated masquerade"],
    }
    return "\n".join(["\n".join([f"  chain {name}-{number} {{", *[f"    {rule}" for rule in rules], "  }"])
                      for name, rules in chains.items()])


def _map(name: str, key: str, elements: list[str]) -> str:
    """A map from keys of this type to verdicts."""
    return _object(f"map {name}", f"    type {key} : verdict\n", elements)


def _prefixes(name: str, prefixes: list[str]) -> str:
    """A set of IPv6 prefixes."""
    return _object(f"set {name}", "    type ipv6_addr\n    flags interval\n", prefixes)


def _object(what: str, properties: str, elements: list[str]) -> str:
    lines = ",\n".join([f"      {element}" for element in elements])
    return f"  {what} {{\n{properties}    elements = {{\n{lines}\n    }}\n  }}\n"


def _hex(mark: int) -> str:
    return f"0x{mark:08x}"


def _quoted(interface: str) -> str:
    """A name in nft's quotes. In them, only a `*` at the end is special: it would stand for any rest."""
    if interface.endswith("*"):
        interface = interface[:-1] + "\\*"
    return f'"{interface}"'
