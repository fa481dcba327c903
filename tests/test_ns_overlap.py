"""Which of somebody else's nft rules use the bits of our marks."""

import pytest

from dhcp_lb.marks import marks
from dhcp_lb.model import Link
from dhcp_lb.pinning.nft import load, ruleset
from dhcp_lb.pinning.overlap import overlaps
from dhcp_lb.pinning.table import text
from tests.beds.netns import network, nft
from tests.test_ns_pinning import MASK, ODD


@pytest.mark.parametrize("rule, bits", [
    ("meta mark 0xc8000001", 0xc8000000),
    ("meta mark { 0x1, 0x02000000 }", 0x02000000),
    ("meta mark & 0xff0000ff == 0x10", 0xff000000),
    ("ct mark and 0x80000000 != 0", 0x80000000),
    ("meta mark & 0xff000000 { 0x01000000, 0x02000000 }", 0xff000000),
    ("meta mark & 0xf0000000 { 0x10000000 }", 0xf0000000),
    ("ct mark & 0x0f000000 vmap { 0x01000000 : accept }", 0x0f000000),
    ("ct mark vmap { 0x01000000 : accept }", 0x01000000),
    ("meta mark set 0xca6c0000", 0xca000000),
    ("ct mark set meta mark & 0x00ffffff | 0x01000000", 0x01000000),
    ("meta mark set ip saddr map { 10.0.0.1 : 0x03000000, 10.0.0.2 : 4 }", 0x03000000),
])
def test_a_rule_that_uses_our_bits_is_named(rule: str, bits: int) -> None:
    with network():
        nft(f"table ip other {{ chain c {{ type filter hook prerouting priority 0\n{rule}\n{rule}\n}}\n}}")
        assert overlaps(ruleset(), MASK) == [f"table ip other, chain c: 0x{bits:08x}"]


@pytest.mark.parametrize("rule", [
    "meta mark 0x10", "meta mark & 0x00ff0000 == 0x00080000", "meta mark set ct mark", "ct mark set meta mark",
    "meta mark set ct mark & 0x00ff0000", "ct mark set meta mark & 0xffffff00 | 0x10", "meta mark != 0 accept",
    "ct mark & 0xffffffff 0x10", "meta mark 0x10-0x20", "ip saddr 10.0.0.1 counter", "tcp dport 22 accept",
    "meta mark set numgen inc mod 2 map { 0 : 1, 1 : 2 }", "ip saddr vmap { 200.0.0.1 : accept }",
    "meta priority set 1:2", "ip dscp 0x20",
])
def test_who_uses_other_bits_or_whole_marks_is_not(rule: str) -> None:
    with network():
        load(text(marks(tuple([Link(name, name, 200, 1) for name in ODD if name.isprintable()]), MASK), MASK))
        nft(f"table ip other {{ chain c {{ type filter hook prerouting priority 0\n{rule}\n}}\n}}")
        assert overlaps(ruleset(), MASK) == []
