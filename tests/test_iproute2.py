"""Output for users of ip(8): commands that can be pasted, and names that respect existing names."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.commands import command, quoted
from dhcp_lb.config import Config, parse
from dhcp_lb.iproute2 import Name, clashes, known, names, remove_names, servers, write_names
from dhcp_lb.model import Change, Nexthop, Route, Rule
from tests.beds.examples import BOTH, CONFIG

INTERFACES = {2: "eth0", 3: "eth1", 4: "$(id)"}


@pytest.mark.parametrize("what, text", [
    (Route(200, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", 2),)),
     "192.0.2.0/24 dev eth0 table 200 proto 109 scope link src 192.0.2.34"),
    (Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),)),
     "default via 192.0.2.1 dev eth0 table 200 proto 109 src 192.0.2.34"),
    (Route(200, "0.0.0.0/0", 0, "203.0.113.5", 0, (Nexthop("192.0.2.1", 2, 1, True),)),
     "default via 192.0.2.1 dev eth0 onlink table 200 proto 109 src 203.0.113.5"),
    (Route(252, "203.0.113.67/32", 1001, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),)),
     "203.0.113.67/32 via 192.0.2.1 dev eth0 table 252 proto 109 src 192.0.2.34 metric 1001"),
    (BOTH, "default table 252 proto 109 nexthop via 192.0.2.1 dev eth0 weight 1 "
           "nexthop via 198.51.100.1 dev eth1 weight 2"),
    (Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("", 2, 7), Nexthop("192.0.2.1", 4, 256, True))),
     "default table 252 proto 109 nexthop dev eth0 weight 7 nexthop via 192.0.2.1 dev '$(id)' weight 256 onlink"),
    (Route(200, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 99),)),
     "default via 192.0.2.1 dev if99 table 200 proto 109"),
    (Route(252, "203.0.113.0/24", 0, "", 0, (), b"\0\x06"), "blackhole 203.0.113.0/24 table 252 proto 109"),
    (Route(252, "203.0.113.0/24", 0, "", 0, (), b"\x10\x07"), "unreachable 203.0.113.0/24 table 252 proto 109 tos 16"),
])
def test_a_route_as_a_command(what: Route, text: str) -> None:
    assert command(Change(True, what), INTERFACES) == f"ip -4 route append {text}"
    assert command(Change(False, what), INTERFACES) == f"ip -4 route del {text}"


@pytest.mark.parametrize("what, text", [
    (Rule(19900, 254, suppress_prefixlength=7, suppress_group=109),
     "pref 19900 from all lookup 254 suppress_prefixlength 7 suppress_ifgroup 109"),
    (Rule(20000, 254, suppress_prefixlength=0), "pref 20000 from all lookup 254 suppress_prefixlength 0"),
    (Rule(20100, 200, "192.0.2.34/32"), "pref 20100 from 192.0.2.34/32 lookup 200"),
    (Rule(19900, 200, "192.0.2.34/32", "192.0.2.0/24"), "pref 19900 from 192.0.2.34/32 to 192.0.2.0/24 lookup 200"),
    (Rule(20200, 4294967295, oif="eth0.100"), "pref 20200 from all oif eth0.100 lookup 4294967295"),
    (Rule(20200, 200, oif="a'b"), "pref 20200 from all oif 'a'\"'\"'b' lookup 200"),
    (Rule(20000, 200, mark=0xc8000000, mask=0xff000000),
     "pref 20000 from all fwmark 0xc8000000/0xff000000 lookup 200"),
    (Rule(20001, 0, action=6, mark=0xc8000000, mask=0xff000000, protocol=6),
     "pref 20001 from all fwmark 0xc8000000/0xff000000 ipproto tcp blackhole"),
    (Rule(21000, 0, "10.0.5.0/24", action=7, iif="a'b"),
     "pref 21000 from 10.0.5.0/24 iif 'a'\"'\"'b' unreachable"),
    (Rule(21000, 200, iif="lo", users=((34, 35),), protocol=17, sports=((1, 1024),), ports=((53, 53),)),
     "pref 21000 from all iif lo uidrange 34-35 ipproto udp sport 1-1024 dport 53 lookup 200"),
    (Rule(21000, 200, mask=0xff, protocol=50), "pref 21000 from all fwmark 0x0/0xff ipproto 50 lookup 200"),
])
def test_a_rule_as_a_command(what: Rule, text: str) -> None:
    assert command(Change(True, what), {}) == f"ip -4 rule add {text} protocol 109"
    assert command(Change(False, what), {}) == f"ip -4 rule del {text} protocol 109"


@pytest.mark.parametrize("word", ["eth0", "eth0.100", "--help", "wan-1_x@2%3+4=5:6,7"])
def test_a_plain_word_needs_no_quotes(word: str) -> None:
    assert quoted(word) == word


def test_a_shell_reads_every_word_back() -> None:
    words = ["", "a'b", "''", "$(id)", "`id`", "*", "é€", "a b", "\\", '"', "a\nb", "!x", "~", "#", "-4", ";", "&",
             "|", "{a,b}", "[a]", "$HOME", "\udcff", "x\\'y"] + [chr(code) for code in range(1, 256)]
    script = "printf '%s\\0' " + " ".join(quoted(word) for word in words)
    done = subprocess.run(["sh"], input=script.encode("utf-8", "surrogateescape"), capture_output=True, check=True)
    assert done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1] == words


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=15))
def test_quotes_hold_whatever_is_in_a_word(word: str) -> None:
    # POSIX: between single quotes every character is literal, up to the next quote.
    outside = quoted(word).replace("'\"'\"'", "")
    if quoted(word) != word:
        assert outside[0] == outside[-1] == "'" and "'" not in outside[1:-1]


class Files:
    """/etc/iproute2 and /usr/share/iproute2 in a directory of the test."""

    def __init__(self, path: Path) -> None:
        self.etc, self.usr = path / "etc", path / "usr"

    def write(self, path: str, text: str) -> None:
        file = self.etc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8", "surrogateescape"))

    def names(self, kind: str = "rt_tables") -> list[tuple[int, str]]:
        return [(name.number, name.name) for name in names(kind, str(self.etc), str(self.usr))]

    def clashes(self, config: Config) -> list[str]:
        return [line.replace(f"{self.etc.parent}/", "")
                for line in clashes(config, known(str(self.etc), str(self.usr)), "F")]

    def write_names(self, config: Config) -> list[str]:
        found = known(str(self.etc), str(self.usr))
        return [path.replace(f"{self.etc.parent}/", "") for path in write_names(config, found, str(self.etc))]

    def text(self, kind: str = "rt_tables") -> str:
        return (self.etc / f"{kind}.d" / "dhcp-lb.conf").read_text()

    def all(self) -> list[str]:
        return sorted(str(path.relative_to(self.etc.parent)) for path in self.etc.parent.rglob("*") if path.is_file())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_every_line_with_a_number_and_a_name_is_a_name(files: Files) -> None:  # fault 63
    files.write("etc/rt_tables", "#\n# reserved values\n255\tlocal\n0x64 hex\n\n  7   seven # mine\n8 eight too many\n"
                "word\nword word\n9\nx9 nine\n300\tcrlf\r\n12 \udcff\n10 last")
    assert files.names() == [(255, "local"), (100, "hex"), (7, "seven"), (8, "eight"), (300, "crlf"), (12, "\udcff"),
                             (10, "last")]
    assert names("rt_tables", str(files.etc), str(files.usr))[1] == Name(100, "hex", f"{files.etc}/rt_tables:4")


def test_a_file_in_etc_hides_the_one_in_usr(files: Files) -> None:
    files.write("usr/rt_tables", "1 usr")
    assert files.names() == [(1, "usr")]
    files.write("etc/rt_tables", "")
    assert files.names() == []


def test_drop_ins_of_both_are_read_and_one_in_etc_hides_its_namesake_in_usr(files: Files) -> None:
    files.write("usr/rt_tables.d/a.conf", "1 usr-a")
    files.write("usr/rt_tables.d/b.conf", "2 usr-b")
    files.write("etc/rt_tables.d/c.conf", "3 etc-c")
    assert files.names() == [(1, "usr-a"), (2, "usr-b"), (3, "etc-c")]
    files.write("etc/rt_tables.d/a.conf", "4 etc-a")
    assert sorted(files.names()) == [(2, "usr-b"), (3, "etc-c"), (4, "etc-a")]


def test_what_ip_does_not_read_is_not_read(files: Files) -> None:
    for name in "README", ".hidden.conf", ".conf", "x.conf~", "x.conf.dpkg-old", "dhcp-lb.conf.123":
        files.write(f"etc/rt_tables.d/{name}", "1 no")
    (files.etc / "rt_tables.d/directory.conf").mkdir()
    (files.etc / "rt_tables.d/loop.conf").symlink_to("loop.conf")
    (files.etc / "rt_tables.d/nowhere.conf").symlink_to("nowhere")
    assert files.names() == []


def test_a_fifo_among_the_drop_ins_does_not_hold_us_up(files: Files) -> None:
    files.write("etc/rt_tables.d/a.conf", "1 a")
    os.mkfifo(files.etc / "rt_tables.d/b.conf")
    assert files.names() == [(1, "a")]


def test_without_any_file_there_is_no_name(files: Files) -> None:
    assert (files.names(), files.clashes(parse(CONFIG))) == ([], [])


MOVE = "move the balance table with `balance-table = NAME ID`"


@pytest.mark.parametrize("text, messages", [
    ("200 table-eth0\n252 dhcp-lb\n300 others\n", []),  # as we would write it
    ("200 isp", ["F:1: table id 200 (table-eth0) is named isp in etc/rt_tables:1: choose another"]),
    ("#\n7 table-eth1", ["F:2: table table-eth1 (201) has the id 7 in etc/rt_tables:2: choose another"]),
    ("0xc8 isp", ["F:1: table id 200 (table-eth0) is named isp in etc/rt_tables:1: choose another"]),
    ("200 isp\r\n", ["F:1: table id 200 (table-eth0) is named isp in etc/rt_tables:1: choose another"]),
    ("252 isp", [f"F: table id 252 (dhcp-lb) is named isp in etc/rt_tables:1: {MOVE}"]),
    ("251 isp", []),  # the servers' table makes room, where no line names it
    ("7 dhcp-lb-servers", []),
    ("7 dhcp-lb", [f"F: table dhcp-lb (252) has the id 7 in etc/rt_tables:1: {MOVE}"]),
])
def test_a_clash_names_both_places(files: Files, text: str, messages: list[str]) -> None:  # faults 46, 63
    files.write("etc/rt_tables", text)
    assert files.clashes(parse(CONFIG)) == messages


@pytest.mark.parametrize("text, place", [
    ("", ("dhcp-lb-servers", 251)),
    ("251 dhcp-lb-servers", ("dhcp-lb-servers", 251)),  # as we would write it
    ("251 isp\n250 vpn\n249 more", ("dhcp-lb-servers", 248)),
    ("7 dhcp-lb-servers", ("dhcp-lb-servers-251", 251)),
    ("7 dhcp-lb-servers\n251 isp", ("dhcp-lb-servers-250", 250)),
    ("7 dhcp-lb-servers\n8 dhcp-lb-servers-251", ("dhcp-lb-servers-250", 250)),
])
def test_the_servers_table_makes_room_for_others(files: Files, text: str, place: tuple[str, int]) -> None:
    files.write("etc/rt_tables", text)
    config = parse(CONFIG)
    found = known(str(files.etc), str(files.usr))
    assert servers(config, found) == place and files.clashes(config) == []
    files.write_names(config)
    assert (f"{place[1]}\t{place[0]}\n" in files.text()) == (text != "251 dhcp-lb-servers")


def test_a_line_that_names_the_servers_table_is_taken_at_its_word(files: Files) -> None:
    files.write("etc/rt_tables", "251 isp\n7 named")
    config = parse(CONFIG + b"server-table = named 251\n")
    assert servers(config, known(str(files.etc), str(files.usr))) == ("named", 251)
    assert files.clashes(config) == [
        "F:3: table id 251 (named) is named isp in etc/rt_tables:1: choose another",
        "F:3: table named (251) has the id 7 in etc/rt_tables:2: choose another"]


def test_a_clash_with_a_drop_in_is_one_too_but_not_with_our_own(files: Files) -> None:
    files.write("usr/rt_tables.d/vpn.conf", "201 vpn")
    files.write("etc/rt_tables.d/dhcp-lb.conf", "200 old-name")
    assert files.clashes(parse(CONFIG)) == [
        "F:2: table id 201 (table-eth1) is named vpn in usr/rt_tables.d/vpn.conf:1: choose another"]


@pytest.mark.parametrize("text, messages", [
    ("109 dhcp-lb", []),
    ("16 dhcp", []),
    ("109 mine", ["F: the protocol dhcp-lb has the number 109, but etc/rt_protos:1 says 109 mine: change it there"]),
    ("9 dhcp-lb", ["F: the protocol dhcp-lb has the number 109, but etc/rt_protos:1 says 9 dhcp-lb: change it there"]),
])
def test_a_clash_of_the_protocol(files: Files, text: str, messages: list[str]) -> None:
    files.write("etc/rt_protos", text)
    assert files.clashes(parse(CONFIG)) == messages


WRITTEN = ["etc/rt_tables.d/dhcp-lb.conf", "etc/rt_protos.d/dhcp-lb.conf"]


def test_our_names_are_in_drop_ins_that_everybody_can_read(files: Files) -> None:
    umask = os.umask(0o077)
    try:
        files.etc.mkdir(0o755)
        assert files.write_names(parse(CONFIG)) == WRITTEN
    finally:
        os.umask(umask)
    head = "# Written by dhcp-lb(8) from /etc/dhcp-lb; changes here are lost.\n"
    assert files.text() == head + "200\ttable-eth0\n201\ttable-eth1\n252\tdhcp-lb\n251\tdhcp-lb-servers\n"
    assert files.text("rt_protos") == head + "109\tdhcp-lb\n"
    assert files.all() == sorted(WRITTEN)
    for name in WRITTEN:
        path = files.etc.parent / name
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.parent.stat().st_mode & 0o777 == 0o755


def test_names_are_written_once(files: Files) -> None:
    files.write_names(parse(CONFIG))
    assert files.write_names(parse(CONFIG)) == []


def test_what_is_named_already_is_not_named_again(files: Files) -> None:  # fault 63
    files.write("etc/rt_tables", "200 table-eth0\n252 dhcp-lb")
    files.write("usr/rt_protos", "109 dhcp-lb")
    assert files.write_names(parse(CONFIG)) == WRITTEN[:1]
    assert files.text().splitlines()[1:] == ["201\ttable-eth1", "251\tdhcp-lb-servers"]
    assert (files.etc / "rt_tables").read_text() == "200 table-eth0\n252 dhcp-lb"


def test_the_names_of_links_that_left_are_removed(files: Files) -> None:
    files.write_names(parse(CONFIG))
    assert files.write_names(parse(b"eth0 table-eth0 200 1")) == WRITTEN[:1]
    assert files.text().splitlines()[1:] == ["200\ttable-eth0", "252\tdhcp-lb", "251\tdhcp-lb-servers"]
    assert files.write_names(parse(b"")) == WRITTEN
    assert files.all() == []


def test_names_are_given_back(files: Files) -> None:
    files.write("etc/rt_tables", "1 mine")
    files.write_names(parse(CONFIG))
    remove_names(str(files.etc))
    assert files.all() == ["etc/rt_tables"]
    remove_names(str(files.etc))


def test_a_writer_that_was_killed_does_not_stop_the_next_one(files: Files) -> None:
    files.write("etc/rt_tables.d/dhcp-lb.conf.new", "half")
    assert files.write_names(parse(CONFIG)) == WRITTEN
    assert files.all() == sorted(WRITTEN)


def test_a_directory_in_the_place_of_our_file_is_an_error_and_leaves_nothing(files: Files) -> None:
    (files.etc / "rt_tables.d/dhcp-lb.conf").mkdir(parents=True)
    with pytest.raises(OSError):
        files.write_names(parse(CONFIG))
    assert files.all() == []
