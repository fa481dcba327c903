"""The marks of links, and the text of the nft table that records and restores them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.marks import marks, most, writable
from dhcp_lb.model import Link
from dhcp_lb.pinning.table import REMOVE, text

MASK = 0xff000000


def links(*tables: int) -> tuple[Link, ...]:
    """A link for each table id, with an interface of that number."""
    return tuple([Link(f"eth{table}", f"table-{table}", table, 1) for table in tables])


def numbers(*tables: int, mask: int = MASK) -> list[int]:
    """The marks of links with these tables, shifted down."""
    found = marks(links(*tables), mask)
    return [found[f"eth{table}"] // (mask & -mask) for table in tables]


@pytest.mark.parametrize("tables, want", [
    ((200, 201), [200, 201]),
    ((1, 255), [1, 255]),
    ((201, 200), [201, 200]),  # not the place of the line
    ((256, 1000), [2, 236]),  # (id mod 255) + 1
    ((254, 509), [254, 255]),  # 509 mod 255 + 1 = 255
    ((255, 509, 764), [255, 1, 2]),  # both would be 255; the next free one upward, from the first again
    ((4294967295,), [1]),
    ((200, 454, 709), [200, 201, 202]),
])
def test_a_mark_is_the_table_id_if_it_fits_and_otherwise_its_remainder(tables: tuple[int, ...],
                                                                       want: list[int]) -> None:
    assert numbers(*tables) == want


def test_a_mark_lies_in_the_bits_of_the_mask() -> None:
    assert marks(links(200, 5), 0xff000000) == {"eth200": 0xc8000000, "eth5": 0x05000000}
    assert marks(links(5, 200), 0x00000f00) == {"eth5": 0x500, "eth200": 0x600}  # 200 mod 15 + 1
    assert marks(links(3000000000), 0xffffffff) == {"eth3000000000": 3000000000}
    assert marks(links(7), 0x80000000) == {"eth7": 0x80000000}


@given(st.sets(st.integers(1, 2**32 - 1), min_size=1, max_size=15), st.integers(0, 28), st.data())
def test_every_link_has_a_mark_of_its_own_that_is_not_0(tables: set[int], shift: int, data: st.DataObject) -> None:
    mask = 0xf << shift
    order = data.draw(st.permutations(sorted(tables)))
    found = marks(links(*order), mask)
    assert found == marks(links(*sorted(tables)), mask)
    assert len(set(found.values())) == len(tables)
    assert all(mark and not mark & ~mask for mark in found.values())


def test_where_there_are_more_links_than_marks_nobody_has_one() -> None:
    assert len(marks(links(*range(1, 16)), 0xf0)) == most(0xf0) == 15
    assert marks(links(*range(1, 17)), 0xf0) == {}


@pytest.mark.parametrize("name, can", [
    ("eth0", True), ("*", True), ("a*", True), ("a*b", True), ("a\\", True), ("a\\b", True), ("$(id)", True),
    ("é€", True), ("\udcff", True), ("--help", True), ("a'b", True), ("#;{}", True),
    ('a"b', False), ('"', False), ("a\\*", False), ("\\*", False), ("a\\\\*", False),
])
def test_a_link_that_nft_cannot_name_has_no_mark(name: str, can: bool) -> None:
    assert writable(name) == can
    pair = (Link(name, "t", 200, 1), Link("eth1", "u", 201, 1))
    assert marks(pair, MASK) == ({name: 0xc8000000} if can else {}) | {"eth1": 0xc9000000}


def test_without_marks_the_text_removes_the_table() -> None:
    assert text({}, MASK) == REMOVE == "table inet dhcp-lb\ndelete table inet dhcp-lb\n"


def test_the_whole_text_of_two_links() -> None:
    assert text({"wlan*": 0xc9000000, "eth0": 0xc8000000}, MASK) == """\
table inet dhcp-lb
delete table inet dhcp-lb
table inet dhcp-lb {
  comment "dhcp-lb(8): the link of each connection, in the bits 0xff000000 of its mark"
  map came {
    type ifname : verdict
    elements = {
      "eth0" : goto came-200,
      "wlan\\*" : goto came-201
    }
  }
  map leaves {
    type ifname : verdict
    elements = {
      "eth0" : goto leaves-200,
      "wlan\\*" : goto leaves-201
    }
  }
  map pinned {
    type mark : verdict
    elements = {
      0xc8000000 : goto by-200,
      0xc9000000 : goto by-201
    }
  }
  chain came-200 {
    ct state new ct mark set ct mark & 0x00ffffff | 0xc8000000
  }
  chain leaves-200 {
    ct mark set ct mark & 0x00ffffff | 0xc8000000
  }
  chain by-200 {
    meta mark set meta mark & 0x00ffffff | 0xc8000000
  }
  chain came-201 {
    ct state new ct mark set ct mark & 0x00ffffff | 0xc9000000
  }
  chain leaves-201 {
    ct mark set ct mark & 0x00ffffff | 0xc9000000
  }
  chain by-201 {
    meta mark set meta mark & 0x00ffffff | 0xc9000000
  }
  chain prerouting {
    type filter hook prerouting priority mangle + 5
    iifname vmap @came
    ct state new meta l4proto tcp return
    ct mark & 0xff000000 vmap @pinned
  }
  chain forward {
    type filter hook forward priority mangle + 5
    meta mark & 0xff000000 { 0xc8000000, 0xc9000000 } meta mark set meta mark & 0x00ffffff
  }
  chain output {
    type route hook output priority mangle + 5
    ct direction reply meta mark & 0xff000000 == 0 ct mark & 0xff000000 vmap @pinned
  }
  chain postrouting {
    type filter hook postrouting priority mangle + 5
    oifname vmap @leaves
    ct mark & 0xff000000 == 0 iifname vmap @leaves
  }
}
"""
