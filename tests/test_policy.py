"""The lines `SELECTOR… -> LINK… [only]` of /etc/dhcp-lb: what they mean, and the message for each mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.marks import ALL_BITS
from dhcp_lb.model import UNREACHABLE, Rule
from dhcp_lb.policy import OWN, SELECTORS, Policy, line_of, needs_passwd, parse, rules

MARKS = 0xff000000
TABLES = {"eth0": 200, "eth1": 201, "wwan0": 202}
LINKS = frozenset(["eth0", "eth1", "wwan0"])
PASSWD = (b"root:x:0:0:root:/root:/bin/bash\n# x\nbackup:x:34:34::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n"
          b"broken:x:none:1::/:\nshort:x\nj\xc3\xb6rg:x:1001:1001::/:\n")


def read(line: str) -> tuple[Policy, list[str]]:
    return parse(line.split(), LINKS, MARKS, PASSWD)


def mistakes(line: str) -> list[str]:
    return read(line)[1]


@pytest.mark.parametrize("line, want", [
    ("from 10.0.0.50 -> eth0", Policy(("eth0",), source="10.0.0.50/32")),
    ("from 10.0.5.0/24 -> eth1 only", Policy(("eth1",), True, "10.0.5.0/24")),
    ("from 10.0.5.7 -> balance", Policy((), source="10.0.5.7/32")),
    ("from 0.0.0.0/0 -> eth1 eth0", Policy(("eth1", "eth0"), source="0.0.0.0/0")),
    ("from 010.000.5.7 -> eth1", Policy(("eth1",), source="10.0.5.7/32")),
    ("from 2001:DB8:0:0::/64 -> eth1", Policy(("eth1",), source="2001:db8::/64")),
    ("to ::/0 -> eth1", Policy(("eth1",), destination="::/0")),
    ("from 10.0.0.1 to 203.0.113.9 -> eth1",
     Policy(("eth1",), source="10.0.0.1/32", destination="203.0.113.9/32")),
    ("in lan0 -> eth1", Policy(("eth1",), iif="lan0")),
    ("own -> eth1", Policy(("eth1",), iif=OWN)),
    ("user backup -> wwan0 eth1", Policy(("wwan0", "eth1"), iif=OWN, users=((34, 34),))),
    ("user www-data -> eth1", Policy(("eth1",), iif=OWN, users=((33, 33),))),
    ("user jörg -> eth1", Policy(("eth1",), iif=OWN, users=((1001, 1001),))),
    ("own user 0 -> eth1", Policy(("eth1",), iif=OWN, users=((0, 0),))),
    ("user 1000-4294967294 -> eth1", Policy(("eth1",), iif=OWN, users=((1000, 4294967294),))),
    ("tcp port 25 -> eth0 only", Policy(("eth0",), True, protocol=6, ports=((25, 25),))),
    ("port 80,443,8000-8999 tcp -> eth0",
     Policy(("eth0",), protocol=6, ports=((80, 80), (443, 443), (8000, 8999)))),
    ("to 203.0.113.9 udp port 51820 sport 1-1024 -> eth0",
     Policy(("eth0",), destination="203.0.113.9/32", protocol=17, ports=((51820, 51820),), sports=((1, 1024),))),
    ("proto 50 -> eth0", Policy(("eth0",), protocol=50)),
    ("proto 6 port 25 -> eth0", Policy(("eth0",), protocol=6, ports=((25, 25),))),
    ("mark 0x10/0xff -> eth1", Policy(("eth1",), mark=0x10, mask=0xff)),
    ("mark 16 -> eth1", Policy(("eth1",), mark=16, mask=0x00ffffff)),  # beside whatever is pinned
    ("mark 0/0XFF -> eth1", Policy(("eth1",), mark=0, mask=0xff)),
])
def test_what_a_line_means(line: str, want: Policy) -> None:
    assert read(line) == (want, [])


@pytest.mark.parametrize("line, message", [
    ("form 10.0.0.1 -> eth0", f"unknown selector 10.0.0.1: must be one of {SELECTORS}"),
    ("from -> eth0", "from has no value: must be from ADDRESS[/LENGTH]"),
    ("own user -> eth0", "user has no value: must be user NAME or UID[-UID]"),
    ("from 10.0.0 -> eth0", "from 10.0.0: is not an IPv4 address: must be ADDRESS[/LENGTH]"),
    ("from /24 -> eth0", "from /24: is missing: must be ADDRESS[/LENGTH]"),
    ("from lan0 -> eth0", "from lan0: is not an IPv4 address: must be ADDRESS[/LENGTH]"),
    ("to 2001:db8:::1 -> eth0", "to 2001:db8:::1: is not an IPv6 address: must be ADDRESS[/LENGTH]"),
    ("from 10.0.0.0/33 -> eth0", "from 10.0.0.0/33: must be 0 to 32"),
    ("from 10.0.0.0/ -> eth0", "from 10.0.0.0/: must be 0 to 32"),
    ("from 2001:db8::/129 -> eth0", "from 2001:db8::/129: must be 0 to 128"),
    ("from 10.0.0.0/255.255.255.0 -> eth0", "from 10.0.0.0/255.255.255.0: must be 0 to 32"),
    ("from 10.0.5.1/24 -> eth0",
     "from 10.0.5.1/24: must be the network 10.0.5.0/24, or the address 10.0.5.1 alone"),
    ("from 10.0.0.1 from 10.0.0.2 -> eth0", "from is the second from of this line: must be one"),
    ("tcp udp -> eth0", "udp is the second proto of this line: must be one"),
    ("tcp proto 6 -> eth0", "proto is the second proto of this line: must be one"),
    ("own own -> eth0", "own is the second own of this line: must be one"),
    ("from 10.0.0.1 to 2001:db8::1 -> eth0",
     "from 10.0.0.1/32 to 2001:db8::1/128: must be both IPv4 or both IPv6"),
    ("in a/b -> eth0", "in a/b: must be a name of up to 15 bytes without / and :"),
    ("in sixteen-bytes-xx -> eth0", "in sixteen-bytes-xx: must be a name of up to 15 bytes without / and :"),
    ("in lan0 own -> eth0", "in INTERFACE excludes own and user, because this machine's own packets came in by no "
     "interface: must be only one of them"),
    ("user root in lan0 -> eth0", "in INTERFACE excludes own and user, because this machine's own packets came in by "
     "no interface: must be only one of them"),
    ("user nobody -> eth0", "user nobody: must be a name in /etc/passwd, or a number"),
    ("user backu -> eth0", "user backu: must be a name in /etc/passwd, or a number"),
    ("user short -> eth0", "user short: must be a name in /etc/passwd, or a number"),
    ("user broken -> eth0", "user broken: must be 0 to 4294967294"),
    ("user 4294967295 -> eth0", "user 4294967295: must be 0 to 4294967294"),
    ("user 1000- -> eth0", "user 1000-: must be 0 to 4294967294"),
    ("user 2-1 -> eth0", "user 2-1: must begin with the smaller number"),
    ("proto esp -> eth0", "proto esp: must be 1 to 255"),
    ("proto 0 -> eth0", "proto 0: must be 1 to 255"),
    ("port 25 -> eth0", "port and sport need a protocol: must have tcp or udp, too"),
    ("proto 50 sport 25 -> eth0", "port and sport need a protocol: must have tcp or udp, too"),
    ("tcp port 0 -> eth0", "port 0: must be 1 to 65535"),
    ("tcp port 80, -> eth0", "port 80,: must be 1 to 65535"),
    ("tcp port http -> eth0", "port http: must be 1 to 65535"),
    ("udp sport 5-4 -> eth0", "sport 5-4: 5-4: must begin with the smaller number"),
    ("mark x -> eth0", "mark x: must be a number up to 0xffffffff"),
    ("mark 0x1_0 -> eth0", "mark 0x1_0: must be a number up to 0xffffffff"),
    ("mark 0x100000000 -> eth0", "mark 0x100000000: must be a number up to 0xffffffff"),
    ("mark 1/ -> eth0", "mark 1/: must be a number up to 0xffffffff"),
    ("mark 0x10/0x0f -> eth0", "mark 0x10/0x0f: must have a mask above 0, with all bits of the value"),
    ("mark 0/0 -> eth0", "mark 0/0: must have a mask above 0, with all bits of the value"),
    ("mark 0x1000000 -> eth0", "mark 0x1000000: must be outside of the bits 0xff000000, which are dhcp-lb's own "
     "(`marks = …`)"),
    ("mark 0x10/0xffffffff -> eth0", "mark 0x10/0xffffffff: must be outside of the bits 0xff000000, which are "
     "dhcp-lb's own (`marks = …`)"),
    ("own ->", "no link after ->: must be links in order of preference, or balance"),
    ("own -> only", "no link after ->: must be links in order of preference, or balance"),
    ("own -> eth2", "eth2 is not a link: must be one of eth0, eth1, wwan0"),
    ("own -> eth0 eth0", "link eth0 stands twice: must be one"),
    ("own -> only eth0", "only is not the last word: must stand behind the links"),
    ("own -> eth0 -> eth1", "a second ->: must be one"),
    ("own -> eth0 balance",
     "balance beside links: must stand alone; the balance comes after the links without it"),
    ("own -> balance only", "balance only: must be balance, or links and only"),
])
def test_every_mistake_says_what_it_must_be(line: str, message: str) -> None:
    assert message in mistakes(line)
    assert len(mistakes(line)) == 1 + (line == "form 10.0.0.1 -> eth0")  # both words are unknown


def test_all_mistakes_of_a_line_are_told() -> None:
    assert mistakes("from 1 tcp port x -> eth9 only only") == [
        "from 1: is not an IPv4 address: must be ADDRESS[/LENGTH]", "port x: must be 1 to 65535",
        "eth9 is not a link: must be one of eth0, eth1, wwan0",
        "only is not the last word: must stand behind the links"]


def test_a_file_without_links() -> None:
    assert parse("own -> eth0".split(), frozenset(), MARKS, b"")[1] == [
        "eth0 is not a link: must be one of the links of this file, which has none"]


@pytest.mark.parametrize("line, count", [
    ("own -> balance", 1), ("own -> eth0", 2), ("own -> eth0 only", 2), ("own -> eth0 eth1", 3),
    ("tcp port 1,2,3 -> eth0", 6), ("tcp port 1,2 sport 4-5,6 -> eth0 eth1", 12),
])
def test_how_many_rules_a_line_takes(line: str, count: int) -> None:
    assert read(line)[0].rules() == count == len(rules((read(line)[0],), TABLES, 252))


@pytest.mark.parametrize("line, needs", [
    ("user backup -> eth0", True), ("user 0 -> eth0", False), ("user -> eth0", True), ("own -> user", False),
    ("to 10.0.0.1 user 1-2 -> eth0", False),
])
def test_passwd_is_only_read_for_names(line: str, needs: bool) -> None:
    assert needs_passwd(line.split()) == needs


WORDS = ["from", "to", "in", "own", "user", "tcp", "proto", "port", "sport", "mark", "->", "only", "balance", "eth0",
         "10.0.0.1", "::1", "1-2", "0x1/0x3", "backup", "/", ",", "-", "0x"]


@given(st.lists(st.sampled_from(WORDS) | st.text("0123456789abcdefx/.,:-é", min_size=1, max_size=40), max_size=12),
       st.integers(0, 12))
def test_no_line_makes_it_fail_and_what_it_takes_is_in_range(words: list[str], place: int) -> None:
    words.insert(min(place, len(words)), "->")
    policy, wrong = parse(words, LINKS, MARKS, PASSWD)
    if not wrong:
        assert set(policy.links) <= LINKS and not policy.mask & MARKS and 0 <= policy.mark <= ALL_BITS
        assert all(1 <= low <= high <= 65535 for low, high in policy.ports + policy.sports)


@pytest.mark.parametrize("line, want", [
    ("from 10.0.0.50 -> eth0", [Rule(21000, 200, "10.0.0.50/32"), Rule(21001, 252, "10.0.0.50/32")]),
    ("from 10.0.5.0/24 -> eth1 only",
     [Rule(21000, 201, "10.0.5.0/24"), Rule(21001, 0, "10.0.5.0/24", action=UNREACHABLE)]),
    ("from 0.0.0.0/0 to 10.1.0.0/16 -> balance", [Rule(21000, 252, destination="10.1.0.0/16")]),
    ("user backup -> wwan0 eth1", [Rule(21000 + place, table, iif="lo", users=((34, 34),))
                                   for place, table in enumerate((202, 201, 252))]),
    ("tcp port 25,80-90 -> eth0 only", [
        Rule(21000, 200, protocol=6, ports=((25, 25),)), Rule(21001, 200, protocol=6, ports=((80, 90),)),
        Rule(21002, 0, action=UNREACHABLE, protocol=6, ports=((25, 25),)),
        Rule(21003, 0, action=UNREACHABLE, protocol=6, ports=((80, 90),))]),
    ("udp sport 7 in lan0 -> balance", [Rule(21000, 252, iif="lan0", protocol=17, sports=((7, 7),))]),
    ("mark 0x10/0xff -> balance", [Rule(21000, 252, mark=0x10, mask=0xff)]),
    ("from 2001:db8::/32 -> eth0", []),  # of IPv6
])
def test_the_rules_of_a_line(line: str, want: list[Rule]) -> None:
    policy, wrong = read(line)
    assert (rules((policy,), TABLES, 252), wrong) == (want, [])


def test_each_rule_belongs_to_its_line() -> None:
    lines = (read("tcp port 1,2 -> eth0")[0]._replace(line=7), read("own -> balance")[0]._replace(line=9))
    assert [line_of(lines, pref) for pref in range(20999, 21006)] == [0, 7, 7, 7, 7, 9, 0]
    assert line_of((), 21000) == 0


def test_a_link_that_takes_no_new_connections_leaves_a_gap_and_no_rule_moves() -> None:
    lines = tuple([read(line)[0] for line in ("own -> eth0 eth1", "to 2001:db8::1 -> eth0", "tcp -> eth1 only")])
    every = rules(lines, TABLES, 252)
    assert [rule.pref for rule in every] == [21000, 21001, 21002, 21005, 21006]
    assert rules(lines, {"eth0": 200}, 252) == [rule for rule in every if rule.table != 201]
