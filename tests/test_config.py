"""The text of /etc/dhcp-lb: what it means, and the message for each mistake: FILE:LINE: what is wrong: what it
must be. (faults.md, Configuration)"""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.config import parse
from dhcp_lb.model import Link, Settings
from dhcp_lb.policy import Policy
from dhcp_lb.targets import DNS, GATEWAY as GATEWAY_TARGET, PING, Target


def mistakes(text: str) -> list[str]:
    """The messages, with `F:` for the file."""
    config = parse(text.encode(), "F")
    assert all(message.startswith("F:") for message in config.errors)
    return list(config.errors)


def test_the_servers_table_is_where_no_line_is_however_many_there_are() -> None:
    lines = "".join([f"eth{table} t{table} {table} 1\n" for table in range(1, 252)])
    assert parse(lines.encode()).settings.server_table == 2**32 - 1
    assert parse(lines.replace("t9 9 ", "t9 900 ").encode()).settings.server_table == 9
    moved = parse(b"eth0 dhcp-lb-servers 251 1\n").settings
    assert (moved.server_name, moved.server_table) == ("dhcp-lb-servers-250", 250)


def test_the_example_of_2009_and_comments_and_blank_lines() -> None:
    config = parse(b"# interface routing-table table-id weight\neth0 table-eth0 200 1\n\n  \t\n"
                   b"wlan0 table-wlan0 201 2\n")
    assert config.links == (Link("eth0", "table-eth0", 200, 1), Link("wlan0", "table-wlan0", 201, 2))
    assert config.errors == ()
    assert config.settings == Settings("dhcp-lb", 252)
    assert config.interfaces == {"eth0", "wlan0"}
    assert config.lines == {200: 2, 201: 5}


@pytest.mark.parametrize("line", ["eth0 a 200 1", "\teth0   a\t\t200 \t1  ", "eth0 a 200 1 # my fibre",
                                  "eth0 a 200 1 #", "eth0 a 200 1 #gateway=x", "eth0 a 0200 01"])
def test_any_white_space_separates_and_a_comment_may_follow(line: str) -> None:
    assert parse(line.encode()).links == (Link("eth0", "a", 200, 1),)


def test_the_last_line_needs_no_newline() -> None:
    assert parse(b"eth0 a 200 1\neth1 b 201 2").links[1] == Link("eth1", "b", 201, 2)


@pytest.mark.parametrize("text", [b"", b"\n", b"# eth0 a 200 1\n", b"   # x", b"#\0\r"])
def test_a_file_without_links_is_valid(text: bytes) -> None:  # fault 48
    config = parse(text)
    assert (config.links, config.errors) == ((), ())


def test_a_hash_within_a_word_is_a_part_of_it() -> None:
    assert parse(b"eth#0 a#b 200 1").links == (Link("eth#0", "a#b", 200, 1),)


@pytest.mark.parametrize("name", ["eth0.100", "fifteen-bytes-x", "é€", "--help", "-4", "dev", "table", "*", "$(id)",
                                  "a'b", "lock", "=", "wan1", "wan10"])
def test_any_name_that_linux_takes_is_an_interface(name: str) -> None:  # faults 27, 28
    assert parse(f"{name} a 200 1".encode()).links == (Link(name, "a", 200, 1),)


def test_an_interface_may_have_bytes_that_are_no_utf8() -> None:
    assert parse(b"\xff\xfe a 200 1").links[0].interface.encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize("table", ["1", "252", "256", "4294967295"])
def test_table_ids_go_as_far_as_the_kernels(table: str) -> None:
    settings = "balance-table = other 9\n"
    assert parse(f"{settings}eth0 a {table} 1".encode()).links == (Link("eth0", "a", int(table), 1),)


@pytest.mark.parametrize("weight", ["1", "256", "257", "100000000"])
def test_weights_may_be_bandwidths(weight: str) -> None:
    assert parse(f"eth0 a 200 {weight}".encode()).links[0].weight == int(weight)


def test_a_link_may_name_its_gateway() -> None:
    assert parse(b"eth0 a 200 1 gateway=192.0.2.1").links == (Link("eth0", "a", 200, 1, "192.0.2.1"),)
    assert parse(b"eth0 a 200 1 gateway=169.254.0.1").links == (Link("eth0", "a", 200, 1, "169.254.0.1"),)


def test_a_link_says_how_it_is_checked_and_when_it_serves() -> None:
    line = b"eth0 a 200 1 tier=9 check=192.0.2.1,dns:example.org interval=0.25 down=1 up=0 gateway=192.0.2.2"
    assert parse(line).links == (Link("eth0", "a", 200, 1, "192.0.2.2", 9, (
        Target(PING, "192.0.2.1"), Target(DNS, "example.org")), 0.25, 1.0, 0.0),)


@pytest.mark.parametrize("value", ["none", "/run/dhcp-lb/x.prom", "/var/lib/prometheus/node-exporter/links.prom"])
def test_where_the_metrics_are(value: str) -> None:
    assert parse(f"metrics = {value}".encode()).settings == Settings(metrics=value)


def test_a_setting_is_for_all_links_whose_lines_say_nothing_else_wherever_it_stands() -> None:
    text = b"eth0 a 200 1\ncheck = gateway\neth1 b 201 1 check=none up=5\nup = 60\ninterval = 10\ndown = 20"
    assert parse(text).links == (
        Link("eth0", "a", 200, 1, targets=(Target(GATEWAY_TARGET),), interval_s=10.0, down_s=20.0, up_s=60.0),
        Link("eth1", "b", 201, 1, targets=(), interval_s=10.0, down_s=20.0, up_s=5.0))


def test_who_says_nothing_of_checks_loads_nothing_for_them() -> None:
    program = "import sys; from dhcp_lb.config import parse; parse(sys.stdin.buffer.read()); print(*sys.modules)"
    for text, loaded in (b"eth0 a 200 1 gateway=192.0.2.1 tier=2", False), (b"up = 2", True):
        done = subprocess.run([sys.executable, "-S", "-c", program], input=text, capture_output=True, check=True,
                              cwd=Path(__file__).parents[1])
        assert (b"dhcp_lb.targets" in done.stdout.split()) == loaded


def test_the_balance_table_may_be_another() -> None:
    config = parse(b"balance-table = uplinks 7\neth0 dhcp-lb 252 1\n")
    assert (config.errors, config.settings) == ((), Settings("uplinks", 7))
    assert config.lines == {7: 1, 252: 2}


NAMES = "must be an ASCII name that does not start with a digit, and none of unspec, default, main, local, all, cache"
OPTIONS = ("must be gateway=ADDRESS, tier=TIER, dns=yes|no, prefix6=PREFIX, ipv6=yes|no, check=TARGET,…, "
           "interval=SECONDS, down=SECONDS, up=SECONDS")
SETTINGS = ("must be one of balance-table, balance, marks, pin, metrics, server-table, group, main-default, enabled, "
            "translate6, check, interval, down, up")
GATEWAY = "must be the IPv4 address of a router"
MOVE = "is the balance table's: choose another, or move the balance table with `balance-table = NAME ID`"


@pytest.mark.parametrize("text, messages", [
    # 43: syntax
    ("eth0", ["F:1: 1 field: must be `interface routing-table table-id weight`"]),
    ("eth0 a", ["F:1: 2 fields: must be `interface routing-table table-id weight`"]),
    ("eth0 a 200", ["F:1: 3 fields: must be `interface routing-table table-id weight`"]),
    ("eth0 a 200 #1", ["F:1: 3 fields: must be `interface routing-table table-id weight`"]),
    # 44: weights
    ("eth0 a 200 0", ["F:1: weight 0: must be 1 to 100000000"]),
    ("eth0 a 200 -1", ["F:1: weight -1: must be 1 to 100000000"]),
    ("eth0 a 200 +1", ["F:1: weight +1: must be 1 to 100000000"]),
    ("eth0 a 200 1e9", ["F:1: weight 1e9: must be 1 to 100000000"]),
    ("eth0 a 200 1000000000", ["F:1: weight 1000000000: must be 1 to 100000000"]),
    ("eth0 a 200 1.5", ["F:1: weight 1.5: must be 1 to 100000000"]),
    ("eth0 a 200 many", ["F:1: weight many: must be 1 to 100000000"]),
    ("eth0 a 200 1_0", ["F:1: weight 1_0: must be 1 to 100000000"]),
    ("eth0 a 200 ٣", ["F:1: weight ٣: must be 1 to 100000000"]),
    # 45: twice
    ("eth0 a 200 1\neth0 b 201 1", ["F:2: interface eth0 is already on line 1: each interface must have one line"]),
    ("eth0 a 200 1\n#\neth1 a 201 1", ["F:3: table a is already on line 1: each table must have its own name"]),
    ("eth0 a 200 1\neth1 b 200 1", ["F:2: table id 200 is already on line 1: each table must have its own id"]),
    ("eth0 a 200 1\neth1 b 0200 1", ["F:2: table id 200 is already on line 1: each table must have its own id"]),
    ("balance-table = a 7\neth0 a 200 1", ["F:2: table a is already on line 1: each table must have its own name"]),
    ("eth0 a 7 1\nbalance-table = b 7", ["F:2: table id 7 is already on line 1: each table must have its own id"]),
    ("balance-table = a 7\nbalance-table = a 7", ["F:2: balance-table is already on line 1: must be set once"]),
    ("eth0 a 252 1", [f"F:1: table id 252 {MOVE}"]),
    ("eth0 dhcp-lb 200 1", [f"F:1: table dhcp-lb {MOVE}"]),
    # 46: tables
    ("eth0 a 0 1", ["F:1: table id 0: must be 1 to 252, or 256 to 4294967295"]),
    ("eth0 a 253 1", ["F:1: table id 253 is the kernel's table default: must be 1 to 252, or 256 to 4294967295"]),
    ("eth0 a 254 1", ["F:1: table id 254 is the kernel's table main: must be 1 to 252, or 256 to 4294967295"]),
    ("eth0 a 255 1", ["F:1: table id 255 is the kernel's table local: must be 1 to 252, or 256 to 4294967295"]),
    ("eth0 a 4294967296 1", ["F:1: table id 4294967296: must be 1 to 252, or 256 to 4294967295"]),
    ("eth0 a 0x10 1", ["F:1: table id 0x10: must be 1 to 252, or 256 to 4294967295"]),
    ("eth0 main 200 1", [f"F:1: table main: {NAMES}"]),
    ("eth0 all 200 1", [f"F:1: table all: {NAMES}"]),
    ("eth0 200 200 1", [f"F:1: table 200: {NAMES}"]),
    ("eth0 tablé 200 1", [f"F:1: table tablé: {NAMES}"]),
    ("balance-table = main 254", [f"F:1: table main: {NAMES}",
                                  "F:1: table id 254 is the kernel's table main: "
                                  "must be 1 to 252, or 256 to 4294967295"]),
    # 47: options, settings, and text that is none
    ("eth0 a 200 1 fast", [f"F:1: unknown option fast: {OPTIONS}"]),
    ("eth0 a 200 1 wheight=2", [f"F:1: unknown option wheight=2: {OPTIONS}"]),
    ("eth0 a 200 1 gateway=", [f"F:1: gateway=: the gateway is missing: {GATEWAY}"]),
    ("eth0 a 200 1 gateway=fritz.box", [f"F:1: gateway=fritz.box: the gateway is not an IPv4 address: {GATEWAY}"]),
    ("eth0 a 200 1 gateway=127.0.0.1",
     [f"F:1: gateway=127.0.0.1: the gateway 127.0.0.1 is a loopback address: {GATEWAY}"]),
    ("eth0 a 200 1 gateway=10.0.0.1 gateway=10.0.0.2",
     ["F:1: gateway= is given twice: must be given once for each family"]),
    ("weights = 1 2", [f"F:1: unknown setting weights: {SETTINGS}"]),
    ("eth0 a 200 1 tier", [f"F:1: unknown option tier: {OPTIONS}"]),
    ("eth0 a 200 1 tier=0", ["F:1: tier=0: must be 1 to 9"]),
    ("eth0 a 200 1 tier=10", ["F:1: tier=10: must be 1 to 9"]),
    ("eth0 a 200 1 tier=٣", ["F:1: tier=٣: must be 1 to 9"]),
    ("eth0 a 200 1 tier=1 tier=1", ["F:1: tier= is given twice: must be given once"]),
    ("eth0 a 200 1 tier=x tier=1", ["F:1: tier=x: must be 1 to 9", "F:1: tier= is given twice: must be given once"]),
    ("eth0 a 200 1 check=none,lease", ["F:1: check=none,lease: none beside other targets: must be alone"]),
    ("eth0 a 200 1 interval=0.1", ["F:1: interval=0.1: must be 0.2 to 3600 seconds, with up to two digits after the "
                                   "point"]),
    ("eth0 a 200 1 down=0.4", ["F:1: down=0.4: must be 0.5 to 3600 seconds, with up to two digits after the point"]),
    ("eth0 a 200 1 up=-1", ["F:1: up=-1: must be 0 to 3600 seconds, with up to two digits after the point"]),
    ("up = 1\nup = 2", ["F:2: up is already on line 1: must be set once"]),
    ("up = x\nup = 2", ["F:1: up = x: must be 0 to 3600 seconds, with up to two digits after the point",
                        "F:2: up is already on line 1: must be set once"]),
    ("up =", ["F:1: up has 0 values: must be one"]),
    ("check = lease, gateway", ["F:1: check has 2 values: must be one, with commas and no spaces"]),
    *[(f"metrics = {path}", [f"F:1: metrics {path}: must be none or the path of a file *.prom in "
                             "/var/lib/prometheus/node-exporter or /run/dhcp-lb"])
      for path in ("yes", "/etc/x.prom", "/run/dhcp-lb/held", "/run/dhcp-lb/leases/x.prom", "/run/dhcp-lb/.prom",
                   "/var/lib/prometheus/node-exporter/../../../../etc/x.prom", "x.prom")],
    ("tier = 2", [f"F:1: unknown setting tier: {SETTINGS}"]),
    ("balance-table = 7", ["F:1: balance-table has 1 value: must be two, a name and an id"]),
    ("balance-table =", ["F:1: balance-table has 0 values: must be two, a name and an id"]),
    ("balance-table = a 7 8", ["F:1: balance-table has 3 values: must be two, a name and an id"]),
    ("\ufeffeth0 a 200 1", ["F:1: the line starts with a byte order mark: save the file without it"]),
    ("eth0 a 200 1\r\n", ["F:1: the line ends with a carriage return: save the file with Unix line ends"]),
    ("eth0 a\0b 200 1", ["F:1: the line has control characters: must be printable characters and tabs"]),
    ("eth0 a\x1b[2Jb 200 1", ["F:1: the line has control characters: must be printable characters and tabs"]),
    # names that Linux has no interface of
    *[(f"{name} a 200 1", [f"F:1: interface {name}: must be a name of at most 15 bytes, without / or :"])
      for name in ("sixteen-bytes-ab", "€€€€€€", "../lock", "..", ".", "eth0:1")],
])
def test_each_mistake_is_named_with_its_line_and_what_it_must_be(text: str, messages: list[str]) -> None:
    assert mistakes(text) == messages


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_the_lines() -> None:
    assert mistakes("eth0 a 252 0\n\neth0 a 254 1 x\neth1\n") == [
        "F:1: weight 0: must be 1 to 100000000",
        f"F:1: table id 252 {MOVE}",
        "F:3: interface eth0 is already on line 1: each interface must have one line",
        "F:3: table a is already on line 1: each table must have its own name",
        "F:3: table id 254 is the kernel's table main: must be 1 to 252, or 256 to 4294967295",
        f"F:3: unknown option x: {OPTIONS}",
        "F:4: 1 field: must be `interface routing-table table-id weight`"]


def test_a_file_of_another_systems_editor_is_read_on() -> None:
    text = "\ufeffeth0 a 200 0\r\neth1 b 201 1\r\n"
    assert mistakes(text) == [
        "F:1: the line starts with a byte order mark: save the file without it",
        "F:1: the line ends with a carriage return: save the file with Unix line ends",
        "F:1: weight 0: must be 1 to 100000000",
        "F:2: the line ends with a carriage return: save the file with Unix line ends"]
    assert parse(text.encode()).interfaces == {"eth0", "eth1"}


def test_a_line_with_a_mistake_still_tells_its_interface() -> None:
    """The hook must know that an event concerns a link although its line is wrong."""
    assert parse(b"eth0 a 200 0\n").interfaces == {"eth0"}


@given(st.binary(max_size=200) | st.text("eth0 a2\t\n#=.-\r\x00balance-table=gateway", max_size=200).map(str.encode))
def test_no_text_makes_it_fail(text: bytes) -> None:
    config = parse(text, "F")
    assert all(message.startswith("F:") and "\n" not in message for message in config.errors)
    if not config.errors:
        assert len({link.interface for link in config.links}) == len(config.links)
        tables = [link.table for link in config.links] + [config.settings.balance_table]
        assert len(set(tables)) == len(tables) and not {0, 253, 254, 255} & set(tables)


link_lines = st.lists(st.tuples(st.integers(1, 2**32 - 1).filter(lambda table: table not in (252, 253, 254, 255)),
                                st.integers(1, 10**8)), max_size=20, unique_by=lambda line: line[0])


@given(link_lines)
def test_what_is_written_is_what_is_read(lines: list[tuple[int, int]]) -> None:
    text = "".join(f"if{number} t{number} {table} {weight}\n" for number, (table, weight) in enumerate(lines))
    assert parse(text.encode()).links == tuple(
        Link(f"if{number}", f"t{number}", table, weight) for number, (table, weight) in enumerate(lines))


@pytest.mark.parametrize("word", ["connection", "pair", "source"])
def test_what_chooses_a_link(word: str) -> None:
    assert parse(f"balance = {word}".encode()).settings == Settings(balance=word)


def test_pins_and_their_bits() -> None:
    assert parse(b"eth0 a 200 1\n").settings == Settings("dhcp-lb", 252, "", "", 0xff000000)
    assert parse(b"pin = yes\nmarks = 0xf0\nbalance-table = b 9\n").settings == Settings("b", 9, "", "yes", 0xf0)
    assert parse(b"marks = 2147483648\npin = no\n").settings == Settings("dhcp-lb", 252, "", "no", 0x80000000)


@pytest.mark.parametrize("text, messages", [
    ("pin = maybe", ["F:1: pin maybe: must be yes or no"]),
    ("balance = fair", ["F:1: balance fair: must be connection, pair or source"]),
    ("pin = yes no", ["F:1: pin has 2 values: must be one"]),
    ("pin = yes\npin = yes", ["F:2: pin is already on line 1: must be set once"]),
    ("marks =", ["F:1: marks has 0 values: must be one"]),
    ("marks = x", ["F:1: marks x: must be a number up to 0xffffffff"]),
    ("marks = 0x1ffffffff", ["F:1: marks 0x1ffffffff: must be a number up to 0xffffffff"]),
    ("marks = 0", ["F:1: marks 0: must be a row of ones, as 0xff000000"]),
    ("marks = 0xf0f", ["F:1: marks 0xf0f: must be a row of ones, as 0xff000000"]),
    ("a a 1 1\nb b 2 1\nmarks = 0x1", ["F:3: 0x00000001 has 1 mark for 2 links: must have one for each, or pin = no"]),
    ("a a 1 1\nb b 2 1\nmarks = 0x1\npin = no", []),
])
def test_mistakes_about_pins_and_balance(text: str, messages: list[str]) -> None:
    assert mistakes(text) == messages


def test_more_links_than_marks_are_as_valid_as_in_2009() -> None:
    lines = "".join([f"e{number} t{number} {1000 + number} 1\n" for number in range(300)])
    assert mistakes(lines) == []
    assert mistakes(f"{lines}pin = yes") == [
        "F:301: 0xff000000 has 255 marks for 300 links: must have one for each, or pin = no"]


def test_policy_lines_may_stand_before_what_they_name() -> None:
    config = parse(b"from 10.0.0.50 -> eth0  # the phone\nmark 0x1000000 -> eth0 only\neth0 a 200 1\nmarks = 0xf\n"
                   b"user root -> eth0\n")
    assert config.errors == ()
    assert config.policies == (Policy(("eth0",), source="10.0.0.50/32", line=1),
                               Policy(("eth0",), True, mark=0x1000000, mask=0xfffffff0, line=2),
                               Policy(("eth0",), iif="lo", users=((0, 0),), line=5))
    assert len(config.links) == 1


def test_each_mistake_of_a_policy_has_its_line() -> None:
    assert mistakes("eth0 a 200 1\nfrom 1 -> eth1\n\ntcp port 0 -> eth0") == [
        "F:2: from 1: is not an IPv4 address: must be ADDRESS[/LENGTH]",
        "F:2: eth1 is not a link: must be one of eth0",
        "F:4: port 0: must be 1 to 65535"]


def test_policies_that_need_more_rules_than_there_is_room_for() -> None:
    ports = ",".join([str(1 + number) for number in range(4500)])
    assert mistakes(f"eth0 a 200 1\ntcp port {ports} -> eth0") == []
    assert mistakes(f"eth0 a 200 1\ntcp port {ports} -> eth0\nown -> eth0\nown -> eth0") == [
        "F:3: 9002 rules up to this line: must be at most 9000"]
