"""Routes and rules ↔ messages, byte by byte, and the kernel's answers."""

import errno
import os
import socket
import subprocess
import sys
from socket import AF_INET, AF_INET6, inet_ntop

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhcp_lb import netlink
from dhcp_lb.model import Change, Nexthop, Refusal, Route, Routing, Rule
from dhcp_lb.netlink import HEADER, attribute, attributes, message, messages, refusal
from dhcp_lb.rtmessages import BODY, decode_route, decode_rule, encode, routing
from dhcp_lb.rtnetlink import RTM_GETLINK, RTM_GETROUTE, Rtnetlink
from tests.beds.netns import network, run

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the literal messages are little-endian")


def body(change: Change) -> bytes:
    """The message that makes a change, without its header."""
    return encode(change)[2]


def words(text: str) -> bytes:
    return bytes.fromhex(text)


# struct rtmsg: family, dst_len, src_len, tos; table, protocol 109, scope, type; flags. Then the attributes.
TABLE_200, TABLE_252, OIF_2 = "0800 0f00 c8000000", "0800 0f00 fc000000", "0800 0400 02000000"
VIA, SOURCE = "0800 0500 c0000201", "0800 0700 c0000222"


@little_endian
@pytest.mark.parametrize("what, text", [
    (Route(200, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", 2),)),
     f"02180000 006dfd01 00000000 {TABLE_200} 0800 0100 c0000200 {SOURCE} {OIF_2}"),
    (Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),)),
     f"02000000 006d0001 00000000 {TABLE_200} {SOURCE} {VIA} {OIF_2}"),
    (Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2, 1, True),)),
     f"02000000 006d0001 04000000 {TABLE_200} {SOURCE} {VIA} {OIF_2}"),
    (Route(252, "203.0.113.67/32", 1001, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),)),
     f"02200000 006d0001 00000000 {TABLE_252} 0800 0100 cb007143 0800 0600 e9030000 {SOURCE} {VIA} {OIF_2}"),
    (Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 2, 1), Nexthop("", 3, 256, True))),
     f"02000000 006d0001 00000000 {TABLE_252} 1c00 0900"
     " 1000 00 00 02000000 0800 0500 c0000201"  # rtnexthop: length, flags, weight - 1, interface
     " 0800 04 ff 03000000"),
    (Route(252, "203.0.113.0/24", 0, "", 0, (), b"\x10\x06"),  # blackhole with a tos
     f"02180010 006d0006 00000000 {TABLE_252} 0800 0100 cb007100"),
])
def test_a_route_as_a_message(what: Route, text: str) -> None:
    assert body(Change(True, what)) == body(Change(False, what)) == words(text)
    assert decode_route(words(text)) == what


# struct fib_rule_hdr: family, dst_len, src_len, tos; table, 0, 0, action; flags. Then FRA_PROTOCOL and others.
OURS = "0500 1500 6d000000"


@little_endian
@pytest.mark.parametrize("what, text", [
    (Rule(20000, 254, suppress_prefixlength=0),
     f"02000000 00000001 00000000 {OURS} 0800 0600 204e0000 0800 0f00 fe000000 0800 0e00 00000000"),
    (Rule(19900, 254, suppress_prefixlength=7, suppress_group=109),
     f"02000000 00000001 00000000 {OURS} 0800 0600 bc4d0000 0800 0f00 fe000000 0800 0e00 07000000"
     " 0800 0d00 6d000000"),
    (Rule(20100, 200, "192.0.2.34/32"),
     f"02002000 00000001 00000000 {OURS} 0800 0600 844e0000 0800 0f00 c8000000 0800 0200 c0000222"),
    (Rule(19900, 200, "192.0.2.34/32", "192.0.2.0/24"),
     f"02182000 00000001 00000000 {OURS} 0800 0600 bc4d0000 0800 0f00 c8000000 0800 0100 c0000200"
     " 0800 0200 c0000222"),
    (Rule(20200, 4294967295, oif="eth0"),
     f"02000000 00000001 00000000 {OURS} 0800 0600 e84e0000 0800 0f00 ffffffff 0900 1100 6574683000000000"),
    (Rule(20000, 200, mark=0xc8000000, mask=0xff000000),
     f"02000000 00000001 00000000 {OURS} 0800 0600 204e0000 0800 0f00 c8000000 0800 0a00 000000c8 0800 1000 000000ff"),
    (Rule(20001, 0, action=6, mark=0xc8000000, mask=0xff000000, protocol=6),
     f"02000000 00000006 00000000 {OURS} 0800 0600 214e0000 0800 0a00 000000c8 0800 1000 000000ff"
     " 0500 1600 06000000"),
    (Rule(21000, 200, iif="lan0", protocol=17, sports=((1, 1024),), ports=((53, 53),)),
     f"02000000 00000001 00000000 {OURS} 0800 0600 08520000 0800 0f00 c8000000 0900 0300 6c616e3000000000"
     " 0500 1600 11000000 0800 1700 01000004 0800 1800 35003500"),
    (Rule(21000, 0, action=7, iif="lo", users=((34, 35),), mask=0xff),
     f"02000000 00000007 00000000 {OURS} 0800 0600 08520000 0800 1000 ff000000 0700 0300 6c6f0000"
     " 0c00 1400 2200000023000000"),
])
def test_a_rule_as_a_message(what: Rule, text: str) -> None:
    assert body(Change(True, what)) == body(Change(False, what)) == words(text)
    assert decode_rule(words(text)) == what


@little_endian
@pytest.mark.parametrize("add, what, acknowledge, header", [
    (True, Route(200, "0.0.0.0/0", 0, "", 0, ()), False, "1400 1800 010c 07000000"),  # NEWROUTE CREATE APPEND
    (True, Route(200, "0.0.0.0/0", 0, "", 0, ()), True, "1400 1800 050c 07000000"),
    (True, Route(200, "::/0", 0, "", 0, ()), False, "1400 1800 0105 07000000"),  # NEWROUTE CREATE REPLACE
    (False, Route(200, "0.0.0.0/0", 0, "", 0, ()), False, "1400 1900 0100 07000000"),
    (True, Rule(1, 0), False, "2c00 2000 0104 07000000"),  # NEWRULE CREATE, without EXCL
    (False, Rule(1, 0), True, "2c00 2100 0500 07000000"),
])
def test_what_is_asked_for(kernel: Rtnetlink, add: bool, what: Route | Rule, acknowledge: bool, header: str) -> None:
    fake = answer(kernel, reply(7 if acknowledge else 8, 0))
    kernel.sequence = 6
    kernel.write((Change(add, what),) if acknowledge else (Change(add, what), CHANGES[0]))
    found = fake.sent[0]
    assert found[4:12] == words(header)[2:10]
    assert int.from_bytes(found[:4], "little") == len(encode(Change(add, what))[2]) + 16


@little_endian
@pytest.mark.parametrize("what, text", [
    (Route(200, "2001:db8:1::/64", 1024, "", 0, (Nexthop("", 2),)),
     f"0a400000 006d0001 00000000 {TABLE_200} 1400 0100 20010db8000100000000000000000000"
     f" 0800 0600 00040000 {OIF_2}"),
    (Route(252, "::/0", 512, "", 0, (Nexthop("fe80::1", 2, 1), Nexthop("fe80::2", 3, 2))),
     f"0a000000 006d0001 00000000 {TABLE_252} 0800 0600 00020000 3c00 0900"
     " 1c00 00 00 02000000 1400 0500 fe800000000000000000000000000001"
     " 1c00 00 01 03000000 1400 0500 fe800000000000000000000000000002"),
])
def test_a_route_of_ipv6_as_a_message(what: Route, text: str) -> None:
    assert body(Change(True, what)) == words(text)
    cache_and_preference = "2400 0c00" + " 00000000" * 8 + "0500 1400 00000000"
    assert decode_route(words(text + cache_and_preference)) == what


@little_endian
def test_a_rule_of_ipv6_as_a_message() -> None:
    what = Rule(20100, 200, "2001:db8:1::/64", family=AF_INET6)
    text = (f"0a004000 00000001 00000000 {OURS} 0800 0600 844e0000 0800 0f00 c8000000"
            " 1400 0200 20010db8000100000000000000000000")
    assert body(Change(True, what)) == words(text)
    assert decode_rule(words(text)) == what


octets = st.tuples(*[st.integers(0, 255)] * 4).map(lambda four: ".".join(map(str, four)))
quads = octets.filter(lambda quad: quad != "0.0.0.0")
prefixes = st.tuples(quads, st.integers(1, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}")
longs = st.binary(min_size=16, max_size=16).filter(any).map(lambda data: inet_ntop(AF_INET6, data))
long_prefixes = st.tuples(longs, st.integers(1, 128)).map(lambda pair: f"{pair[0]}/{pair[1]}")
numbers = st.integers(0, 2**32 - 1)


def nexthops(gateways: "st.SearchStrategy[str]") -> "st.SearchStrategy[tuple[Nexthop, ...]]":
    one = st.builds(Nexthop, gateways | st.just(""), st.integers(1, 2**31 - 1), st.integers(1, 256), st.booleans())
    return (st.just(()) | one.map(lambda nexthop: (nexthop._replace(weight=1),))
            | st.lists(one, min_size=2, max_size=9).map(tuple))


# Parts that we never write: a type of service, a kind, flags, and attributes, which are kept as they are.


def kept(kinds: list[int]) -> "st.SearchStrategy[bytes]":
    found = st.dictionaries(st.sampled_from(kinds), st.binary(min_size=1, max_size=12), max_size=3)
    return found.map(lambda values: b"".join(attribute(kind, values[kind]) for kind in sorted(values)))


bytes_ = st.integers(0, 255)
strange_routes = st.tuples(bytes_, bytes_, kept([8, 11, 22, 25])).map(lambda parts: bytes(parts[:2]) + parts[2])
strange_rules = st.tuples(bytes_, st.sampled_from([0, 1, 2, 4]), kept([4, 11, 18, 25])).map(
    lambda parts: BODY.pack(0, 0, 0, parts[0], 0, 0, 0, 0, parts[1]) + parts[2])
ordinary = st.just(b"")
NOT_STRANGE = bytes((0, 1)), BODY.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
routes = st.one_of(
    st.builds(Route, numbers, prefixes | st.just("0.0.0.0/0"), numbers, quads | st.just(""),
              bytes_, nexthops(quads), ordinary | strange_routes, st.just("")),
    st.builds(Route, numbers, long_prefixes | st.just("::/0"), numbers, longs | st.just(""),
              bytes_, nexthops(longs), ordinary | strange_routes, long_prefixes | st.just("")))
routes = routes.filter(lambda route: route.rest not in NOT_STRANGE)
names = st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name).map(
    lambda name: name.decode("utf-8", "surrogateescape"))
ports = st.just(()) | st.tuples(st.tuples(st.integers(1, 65535), st.integers(1, 65535)))
users = st.just(()) | st.tuples(st.tuples(numbers, numbers))
rules = st.one_of([
    st.builds(Rule, numbers, numbers, some | st.just(""), some | st.just(""), names | st.just(""),
              st.integers(-1, 32), ordinary | strange_rules, st.just(family), bytes_, numbers, numbers,
              names | st.just(""), bytes_, ports, ports, users, st.integers(-1, 2**31 - 1))
    for some, family in ((prefixes, AF_INET), (long_prefixes, AF_INET6))
]).filter(lambda rule: rule.rest not in NOT_STRANGE)


@given(routes)
def test_every_route_that_is_written_is_read_as_it_was_meant(what: Route) -> None:
    assert decode_route(body(Change(True, what))) == what


@given(rules)
def test_every_rule_that_is_written_is_read_as_it_was_meant(what: Rule) -> None:
    assert decode_rule(body(Change(True, what))) == what


@settings(max_examples=20)
@given(st.lists(routes, max_size=3), st.lists(rules, max_size=3))
def test_a_dump_is_what_its_messages_say(some_routes: list[Route], some_rules: list[Rule]) -> None:
    assert routing([body(Change(True, one)) for one in some_rules],
                   [body(Change(True, one)) for one in some_routes]) == Routing(frozenset(some_routes),
                                                                                frozenset(some_rules))


kinds = st.integers(1, 0x3fff)


@given(st.dictionaries(kinds, st.binary(min_size=1, max_size=24) | st.just(b"\x08\0\0\0" * 3), max_size=6))
def test_attributes_come_back_as_they_were(found: dict[int, bytes]) -> None:
    data = b"head" + b"".join(attribute(kind, value) for kind, value in found.items())
    assert attributes(data, 4) == found


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 0xffff), numbers, st.binary(max_size=40)), max_size=5))
def test_messages_are_taken_apart_as_they_were_put_together(several: list[tuple[int, int, int, bytes]]) -> None:
    data = b"".join(message(*one) + bytes(-len(one[3]) % 4) for one in several)
    assert messages(data) == several


def acknowledgement(number: int, text: str = "", capped: bool = True, asked: bytes = b"") -> tuple[int, bytes]:
    """Flags and body of NLMSG_ERROR, as the kernel answers a message with the body `asked`."""
    reply = (-number).to_bytes(4, sys.byteorder, signed=True) + HEADER.pack(16 + len(asked), 24, 1, 7, 0)
    flags = 0x100 if capped else 0
    if not capped:
        reply += asked
    if text:
        flags |= 0x200
        reply += attribute(1, text.encode() + b"\0")
    return flags, reply


@pytest.mark.parametrize("number, text", [(0, ""), (22, ""), (22, "Nexthop has invalid gateway"), (17, "x")])
@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_is_the_errno_and_the_kernels_words(number: int, text: str, capped: bool) -> None:
    assert refusal(*acknowledgement(number, text, capped, b"12345678")) == (number, text)


class Socket:
    """A netlink socket of a kernel that gives the test's answers."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.sent: list[bytes] = []
        self.options: dict[int, int] = {}

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)

    def recv(self, _: int) -> bytes:
        return self.replies.pop(0)

    def setsockopt(self, _: int, option: int, value: int) -> None:
        self.options[option] = value


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Rtnetlink:
    monkeypatch.setattr(netlink, "socket", lambda *_: Socket())
    return Rtnetlink()


def answer(kernel: Rtnetlink, *replies: bytes) -> Socket:
    fake = Socket(*replies)
    kernel.socket = fake  # type: ignore[assignment]
    return fake


def reply(sequence: int, number: int, text: str = "") -> bytes:
    flags, what = acknowledgement(number, text)
    return message(2, flags, sequence, what)


CHANGES = tuple(Change(add, Route(200 + place, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 2),)))
                for place, add in enumerate((True, True, False)))


def test_all_changes_go_in_one_send_and_the_last_asks_for_an_acknowledgement(kernel: Rtnetlink) -> None:
    fake = answer(kernel, reply(3, 0))
    assert kernel.write(CHANGES) == ()
    assert len(fake.sent) == 1
    assert [(kind, flags & 4, sequence) for kind, flags, sequence, _ in messages(fake.sent[0])] == [
        (24, 0, 1), (24, 0, 2), (25, 4, 3)]


def test_refusals_are_those_of_their_changes(kernel: Rtnetlink) -> None:
    answer(kernel, reply(1, errno.EINVAL, "Nexthop has invalid gateway") + reply(2, errno.ENETUNREACH), reply(3, 0))
    assert kernel.write(CHANGES) == (Refusal(CHANGES[0], errno.EINVAL, "Nexthop has invalid gateway"),
                                     Refusal(CHANGES[1], errno.ENETUNREACH, ""))


@pytest.mark.parametrize("place, number, refused", [
    (1, errno.EEXIST, 0), (1, errno.ESRCH, 1), (1, errno.ENOENT, 1),
    (3, errno.ESRCH, 0), (3, errno.ENOENT, 0), (3, errno.EEXIST, 1),
])
def test_to_add_what_is_there_and_delete_what_is_not_is_no_refusal(kernel: Rtnetlink, place: int, number: int,
                                                                   refused: int) -> None:
    answer(kernel, reply(place, number) + (reply(3, 0) if place < 3 else b""))
    assert len(kernel.write(CHANGES)) == refused


def test_without_the_right_it_is_a_permission_error(kernel: Rtnetlink) -> None:
    answer(kernel, reply(1, errno.EPERM))
    with pytest.raises(PermissionError, match="only root can change the routing"):
        kernel.write(CHANGES)


def test_the_buffers_fit_the_whole_write(kernel: Rtnetlink) -> None:
    fake = answer(kernel, reply(5000, 0))
    kernel.write(CHANGES[:1] * 5000)
    assert fake.options[32] > len(fake.sent[0])  # SO_SNDBUFFORCE
    assert fake.options[33] >= 5000 * 1024  # SO_RCVBUFFORCE


def done(sequence: int, flags: int = 0) -> bytes:
    return message(3, flags, sequence, bytes(4))


def test_an_interrupted_dump_is_read_again(kernel: Rtnetlink) -> None:  # fault 57
    one = body(CHANGES[0])
    rules = done(1)
    fake = answer(kernel, rules, message(24, 0x10, 2, one) + done(2, 0x10), message(24, 2, 3, one), done(3))
    assert kernel.ours() == ([], [one], [])
    assert len(fake.sent) == 3


def test_a_dump_that_is_always_interrupted_is_given_up_with_a_reason(kernel: Rtnetlink) -> None:  # faults 57, 65
    answer(kernel, *[done(sequence, 0x10) for sequence in range(1, 11)])
    with pytest.raises(InterruptedError) as failure:
        kernel.ours()
    assert failure.value.strerror == "the routing changed during each of 10 attempts to read it"


@pytest.mark.parametrize("number, text, said", [
    (errno.EINVAL, "Invalid values in header", "Invalid values in header"),
    (errno.EBUSY, "", "Device or resource busy"),  # fault 65
])
def test_a_refused_dump_says_why(kernel: Rtnetlink, number: int, text: str, said: str) -> None:
    answer(kernel, reply(1, number, text))
    with pytest.raises(OSError) as failure:
        kernel.ours()
    assert (failure.value.errno, failure.value.strerror) == (number, said)


def test_the_kernel_is_not_asked_for_an_interface_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface that has it for another name would answer."""
    kernel = Rtnetlink()
    monkeypatch.setattr("dhcp_lb.rtnetlink.listdir", lambda _: ["all", "default", "lo"])
    assert kernel.interfaces(frozenset(["unplugged0"])) == {}


@pytest.mark.parametrize("others", [0, 9], ids=["all are asked for", "each is asked for"])
def test_interfaces_are_the_same_however_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    with network():
        for command in ("link add eth0 group 7 type veth peer name eth1", "link set eth0 up",
                        "link property add dev eth1 altname away0", "address add 192.0.2.34/24 dev eth0",
                        *[f"link add other{number} type veth" for number in range(others)]):
            run(f"ip {command}")
        kernel, dumps = Rtnetlink(), []

        def dump(kind: int, body: bytes) -> list[bytes]:
            dumps.append(kind)
            return Rtnetlink().dump(kind, body)
        monkeypatch.setattr(kernel, "dump", dump)
        found = kernel.interfaces(frozenset(["eth0", "eth1", "away0", "lo"]))
        assert (RTM_GETLINK in dumps) == (not others)
    assert sorted(found) == ["eth0", "eth1", "lo"]
    assert found["eth0"][1:] == (True, False, ("192.0.2.34",), (24,), 7, ())
    assert found["eth1"][1:] == (False, False, (), (), 0, ())


def test_of_the_default_routes_ours_are_left_out() -> None:
    """Or a lease that has ended would be taken up from our own table."""
    with network():
        for command in ("link add eth1 type veth peer name peer", "address add 192.0.2.34/24 dev eth1",
                        "link set eth1 up", "link set peer up",
                        "route add default via 192.0.2.2 dev eth1 metric 5", "route add 198.51.100.0/24 dev eth1",
                        "route add default via 192.0.2.3 dev eth1 table 201 metric 3",
                        "route add default via 192.0.2.1 dev eth1 proto 109",
                        "route add default via 192.0.2.1 dev eth1 table 201 proto 109"):
            run(f"ip {command}")
        kernel = Rtnetlink()
        assert [route.nexthops[0].gateway for route in kernel.default_routes(254)] == ["192.0.2.2"]
        assert [route.nexthops[0].gateway for route in kernel.default_routes(0)] == ["192.0.2.3", "192.0.2.2"]


def test_the_defaults_of_a_table_are_read_without_its_other_routes() -> None:
    with network():
        commands = ["link add eth1 type veth peer name peer", "address add 192.0.2.34/24 dev eth1", "link set eth1 up",
                    "link set peer up", "route add 0.0.0.0/1 via 192.0.2.9 dev eth1",
                    "route add 0.0.0.0/8 via 192.0.2.9 dev eth1",
                    *(f"route add default via 192.0.2.2 dev eth1 metric {metric}" for metric in range(300)),
                    *(f"route add 10.{number >> 8}.{number & 255}.0/24 via 192.0.2.9" for number in range(20000))]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
        kernel = Rtnetlink()
        assert [route.metric for route in kernel.default_routes(254)] == list(range(300))
        assert len(kernel.default_routes(0)) == 300
        ifindex = socket.if_nametoindex("eth1")
        assert len(kernel.default_routes(254, ifindex)) == 300 and kernel.default_routes(254, ifindex + 1) == []
        wanted = BODY.pack(socket.AF_INET, 0, 0, 0, 254, 0, 0, 0, 0)
        assert len(Rtnetlink().begin(RTM_GETROUTE, wanted, lambda found: b"\x0a" in found[-1][20:28])) < 3000


NEEDS_TUN = pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="needs /dev/net/tun")


@pytest.mark.parametrize("commands, neighbours", [
    (["link add it type veth peer name peer"], True),
    (["link add it type bridge"], True),
    (["link add it type veth peer name peer", "link set it arp off"], False),
    pytest.param(["tuntap add it mode tun"], False, marks=NEEDS_TUN),
    pytest.param(["tuntap add it mode tap"], False, marks=NEEDS_TUN),
])
def test_a_tunnel_is_no_lan(commands: list[str], neighbours: bool) -> None:
    with network():
        for command in commands:
            run(f"ip {command}")
        assert Rtnetlink().has_neighbours(socket.if_nametoindex("it")) is neighbours


def test_what_the_last_dump_had_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def decode(one: bytes) -> Route:
        decoded.append(one)
        return decode_route(one)
    monkeypatch.setattr("dhcp_lb.rtmessages.decode_route", decode)
    wanted = [Route(200 + number, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", 2),)) for number in range(3)]
    of_ipv6 = [Route(200, "2001:db8::/32", 1024, "", 0, (Nexthop("", 2),))]
    first, second, third = [body(Change(True, one)) for one in wanted]
    for dump, new in ([first, second], 2), ([first, second], 0), ([third, first], 1), ([first, second], 1), ([], 0):
        decoded.clear()
        assert routing([], dump).routes == {decode_route(one) for one in dump}
        assert routing([], [body(Change(True, one)) for one in of_ipv6]).routes == set(of_ipv6)
        assert len([one for one in decoded if one[0] == AF_INET]) == new
