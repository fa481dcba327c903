"""Which link a probe leaves by, whatever state the link is in, and what is taken for its answer."""

import errno
import gc
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_INET

import pytest

from dhcp_lb.monitor.asks import Ask, Way
from dhcp_lb.monitor.probe import KEEP_S, MAX_STREAMS, Answer, Prober, counts
from dhcp_lb.targets import DNS, GATEWAY, HTTP, PING, TCP
from tests.beds import box
from tests.beds.netns import network, run
from tests.beds.provider import HOST, Provider

ROOT = Ask(DNS, HOST, 53, "", named=False)
ECHO = Ask(PING, HOST)
OPEN = Ask(TCP, HOST, 81)
CHECKOUT = Path(__file__).resolve().parents[1]


class Net:
    """A machine with the links eth0 and eth1, each to its own provider, and a prober."""

    def __init__(self, ways: list[Way], providers: list[Provider]) -> None:
        self.eth0, self.eth1 = ways
        self.isp0, self.isp1 = providers
        self.prober = Prober()
        self.now_s = 1000.0

    def ask(self, way: Way, ask: Ask) -> int:
        return self.prober.ask(way, ask, self.now_s)

    def answers(self, wait_s: float = 0.3, enough: int = 1) -> list[Answer]:
        """Those that come in this time; no more than `enough` are waited for."""
        found: list[Answer] = []
        end = time.monotonic() + wait_s
        while time.monotonic() < end and len(found) < enough:
            found += self.prober.answers(self.now_s)
            time.sleep(0.002)
        return found

    def answered(self, way: Way, ask: Ask, wait_s: float = 0.3) -> bool:
        assert self.ask(way, ask) == 0
        return [(one.interface, one.ask) for one in self.answers(wait_s)] == [(way.interface, ask)]

    def seen(self) -> tuple[list[str], list[str]]:
        """What came to each of the providers."""
        return self.isp0.seen(), self.isp1.seen()


@contextmanager
def links(ip: Callable[..., object], take: bool = True) -> Iterator[Net]:
    """`take` makes the devices, with their addresses and both defaults in main; else the caller has."""
    with ExitStack() as stack:
        ways, providers = [], []
        for number in 0, 1:
            name, gateway, source = f"eth{number}", f"10.100.{number}.1", f"10.100.{number}.10"
            if take:
                ip(f"link add {name} type veth peer name peer-{name}")
                ip(f"link set {name} up")
                ip(f"address add {source}/24 dev {name}")
                ip(f"route add default via {gateway} dev {name} metric {number}")
            providers.append(stack.enter_context(Provider(f"peer-{name}", f"{gateway}/24")))
            ways.append(Way(name, socket.if_nametoindex(name), source, gateway, (HOST,)))
        net = Net(ways, providers)
        stack.callback(net.prober.close)
        net.seen()
        yield net


@pytest.fixture
def net() -> Iterator[Net]:
    with network(), links(lambda command: run(f"ip {command}")) as net:
        yield net


# What is an answer

def in_short(value: object) -> str:
    if not isinstance(value, Ask):
        return str(value)
    return f"{value.kind} {value.name or value.address} {value.path or value.port}"


@pytest.mark.parametrize("ask, answered", [
    (ECHO, True),
    (ROOT, True),  # REFUSED: the path is what is tested
    (Ask(DNS, HOST, 53, "web.example"), True),
    (Ask(DNS, HOST, 53, "gone.example"), True),  # it knows that there is none
    (Ask(DNS, HOST, 53, "other.example"), False),  # SERVFAIL
    (OPEN, True),
    (Ask(TCP, HOST, 82), False),  # refused
    (Ask(HTTP, HOST, 80, HOST, "/ok"), True),
    (Ask(HTTP, HOST, 80, HOST, "/slow"), True),  # 204, in two parts
    (Ask(HTTP, HOST, 80, HOST, "/portal"), False),  # 302
    (Ask(HTTP, HOST, 80, HOST, "/broken"), False),
    (Ask(HTTP, HOST, 81, HOST, "/ok"), False),  # accepts, and says nothing
    (Ask(HTTP, "", 80, "web.example", "/ok"), True),
    (Ask(HTTP, "", 80, "gone.example", "/ok"), False),
    (Ask(GATEWAY, "10.100.1.1"), True),
    (Ask(GATEWAY, "10.100.1.77"), False),
], ids=in_short)
def test_what_is_an_answer(net: Net, ask: Ask, answered: bool) -> None:
    assert net.answered(net.eth1, ask) == answered
    here, there = net.seen()
    assert here == [] and there != []
    assert not [line for line in there if not line.startswith("10.100.1.10 ")]


def test_the_time_that_an_answer_took(net: Net) -> None:
    net.ask(net.eth1, ECHO)
    net.now_s += 0.25
    assert [answer.took_s for answer in net.answers()] == [0.25]


def test_an_answer_that_comes_too_late_is_none(net: Net) -> None:
    net.ask(net.eth1, ECHO)
    time.sleep(0.1)
    net.now_s += KEEP_S + 0.1
    assert net.answers() == []


def test_a_host_is_looked_up_once_and_again_when_its_time_is_over(net: Net) -> None:
    page = Ask(HTTP, "", 80, "web.example", "/ok")
    for wait_s, queries in (0.0, 1), (59.0, 0), (2.0, 1):
        net.now_s += wait_s
        assert net.answered(net.eth1, page)
        assert len([line for line in net.seen()[1] if line.endswith(" 17")]) == queries


def test_a_host_without_a_name_server_is_not_asked(net: Net) -> None:
    assert net.ask(net.eth1._replace(servers=()), Ask(HTTP, "", 80, "web.example", "/ok")) == errno.EOPNOTSUPP
    assert net.seen() == ([], [])


def test_a_stale_entry_of_a_nat_is_left_behind_by_another_identity(net: Net) -> None:
    assert net.answered(net.eth1, ECHO) and net.answered(net.eth1, ROOT)
    identity, port = net.prober.identities[net.eth1.key], net.prober.udp[AF_INET][-1][0].getsockname()
    net.now_s += KEEP_S
    net.prober.renew(net.eth1, net.now_s)
    assert net.answered(net.eth1, ECHO) and net.answered(net.eth1, ROOT)
    assert net.prober.identities[net.eth1.key] != identity
    assert net.prober.udp[AF_INET][-1][0].getsockname() != port
    net.now_s += KEEP_S + 1
    net.answers(0.01)
    assert len(net.prober.udp[AF_INET]) == 1


def test_what_was_asked_of_a_link_that_is_another_one_now_does_not_count(net: Net) -> None:
    for ask in ECHO, ROOT, Ask(HTTP, HOST, 80, HOST, "/slow"), Ask(GATEWAY, "10.100.1.1"):
        net.ask(net.eth1, ask)
    net.prober.forget(*net.eth1.key)
    assert net.answers() == []


def test_connections_do_not_pile_up(net: Net) -> None:
    net.isp1.die()
    assert [net.ask(net.eth1, OPEN) for _ in range(MAX_STREAMS + 1)] == [0] * MAX_STREAMS + [errno.EBUSY]
    net.now_s += KEEP_S + 1
    net.answers(0.01)
    assert net.ask(net.eth1, OPEN) == 0 and len(net.prober.streams) == 1


# Hostile answers. The provider is dead, so that what comes is the test's.

def sent_echo(net: Net) -> bytes:
    """What an answer to the probe that leaves now has to hold."""
    net.isp1.die()
    net.ask(net.eth1, ECHO)
    content, = net.prober.pings
    return bytes(content)  # type: ignore[call-overload, no-any-return]


def icmp(content: bytes, kind: int = 0, code: int = 0) -> bytes:
    data = bytes([kind, code, 0, 0]) + content
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1]))
    total = (total & 0xffff) + (total >> 16)
    return data[:2] + (~(total + (total >> 16)) & 0xffff).to_bytes(2, "big") + data[4:]


def altered(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]


def test_a_spoofed_echo_is_no_answer_and_the_right_one_is(net: Net) -> None:
    content = sent_echo(net)
    to = net.eth1.source
    run("ip address add 10.100.1.11/24 dev eth1")
    net.isp0.sh("ip route add 10.100.1.0/24 dev cable")
    net.isp0.send(HOST, to, 1, icmp(content))  # by the other link
    net.isp1.send("198.51.100.2", to, 1, icmp(content))  # by another host
    net.isp1.send("10.100.1.1", to, 1, icmp(content))  # by the gateway
    net.isp1.send(HOST, "10.100.1.11", 1, icmp(content))  # to another address of ours
    net.isp1.send(HOST, to, 1, icmp(content, 8))  # an echo
    net.isp1.send(HOST, to, 1, icmp(content, 0)[:8])
    for place in range(len(content)):  # another identity, number, cookie
        net.isp1.send(HOST, to, 1, icmp(altered(content, place)))
    for length in range(len(content)):
        net.isp1.send(HOST, to, 1, icmp(content[:length]))
    assert net.answers(0.2) == []
    net.isp1.send(HOST, to, 1, icmp(content))
    assert [answer.ask for answer in net.answers()] == [ECHO]
    net.isp1.send(HOST, to, 1, icmp(content))  # once more
    assert net.answers(0.1) == []


def udp(port: int, data: bytes, source_port: int = 53) -> bytes:
    return struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data


def sent_query(net: Net, ask: Ask = ROOT) -> tuple[int, bytes]:
    """The port that an answer has to come to, and the answer."""
    net.isp1.die()
    net.ask(net.eth1, ask)
    (key, sent), = net.prober.queries.items()
    assert isinstance(key, tuple)
    return (net.prober.udp[AF_INET][0][0].getsockname()[1],
            struct.pack("!6H", key[1], 0x8185, 1, 0, 0, 0) + sent.asked)


def test_a_spoofed_answer_of_a_name_server_is_none_and_the_right_one_is(net: Net) -> None:
    port, data = sent_query(net)
    to = net.eth1.source
    run("ip address add 10.100.1.11/24 dev eth1")
    net.isp0.sh("ip route add 10.100.1.0/24 dev cable")
    net.isp0.send(HOST, to, 17, udp(port, data))
    net.isp1.send("198.51.100.2", to, 17, udp(port, data))
    net.isp1.send(HOST, "10.100.1.11", 17, udp(port, data))
    for place in 0, 1, 5, 12, 13, 14, 16:  # number, count, question
        net.isp1.send(HOST, to, 17, udp(port, altered(data, place)))
    for length in range(len(data)):
        net.isp1.send(HOST, to, 17, udp(port, data[:length]))
    assert net.answers(0.2) == []
    net.isp1.send(HOST, to, 17, udp(port, data))
    assert [answer.ask for answer in net.answers()] == [ROOT]


def unreachable(source: str, to: str, port: int, data: bytes, server_port: int = 53) -> bytes:
    inner = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 0, 0, 64, 17, 0, socket.inet_aton(source),
                        socket.inet_aton(to)) + udp(server_port, data, port)
    return icmp(bytes(4) + inner, 3, 3)


def test_the_target_s_own_word_that_nobody_is_there_is_an_answer_and_nobody_else_s_is(net: Net) -> None:
    port, data = sent_query(net)
    to = net.eth1.source
    net.isp0.sh("ip route add 10.100.1.0/24 dev cable")
    right = unreachable(to, HOST, port, data)
    net.isp0.send(HOST, to, 1, right)
    net.isp1.send("10.100.1.1", to, 1, right)
    net.isp1.send(HOST, to, 1, icmp(right[4:], 3, 1))  # no route to it
    net.isp1.send(HOST, to, 1, unreachable(to, HOST, port ^ 1, data))
    net.isp1.send(HOST, to, 1, unreachable(to, HOST, port, data, 54))
    net.isp1.send(HOST, to, 1, unreachable("10.100.1.11", HOST, port, data))
    net.isp1.send(HOST, to, 1, unreachable(to, "198.51.100.2", port, data))
    net.isp1.send(HOST, to, 1, unreachable(to, HOST, port, altered(data, 1)))
    for length in range(8, 38):
        net.isp1.send(HOST, to, 1, icmp(right[4:length & ~1], 3, 3))
    assert net.answers(0.2) == []
    net.isp1.send(HOST, to, 1, right)
    assert [answer.ask for answer in net.answers()] == [ROOT]


def test_of_a_name_that_it_should_know_a_closed_port_is_no_answer(net: Net) -> None:
    ask = Ask(DNS, HOST, 53, "web.example")
    port, data = sent_query(net, ask)
    net.isp1.send(HOST, net.eth1.source, 1, unreachable(net.eth1.source, HOST, port, data))
    assert net.answers(0.1) == []


@pytest.mark.parametrize("quad", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_a_host_that_no_link_leads_to_is_not_connected_to(net: Net, quad: str) -> None:
    port, data = sent_query(net, Ask(HTTP, "", 80, "web.example", "/ok"))
    answer = data[:6] + b"\0\1" + data[8:] + bytes.fromhex("c00c 0001 0001 0000003c 0004") + socket.inet_aton(quad)
    answer = answer[:3] + b"\x80" + answer[4:]
    net.isp1.send(HOST, net.eth1.source, 17, udp(port, answer))
    assert net.answers(0.1) == [] and net.prober.streams == {} and net.prober.names == {}


def test_a_flood_of_packets_does_not_hold_up_the_loop(net: Net) -> None:
    net.ask(net.eth1, ROOT)
    assert net.answers() != []
    port = net.prober.udp[AF_INET][0][0].getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        for _ in range(2000):
            noise.sendto(bytes(12), ("127.0.0.1", port))
    started = time.monotonic()
    assert net.prober.answers(net.now_s) == []
    assert time.monotonic() - started < 0.2
    assert net.answered(net.eth1, ECHO)


def test_the_echoes_of_others_wake_nobody(net: Net) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ping:
        ping.sendto(icmp(bytes(32), 8), (HOST, 0))
        ping.settimeout(2)
        assert ping.recv(2048)[20] == 0  # an echo reply
    assert net.prober.poll.poll(0) == []


# By which link: the table in doc/design.md

ALL = (ECHO, ROOT, OPEN)


def assert_all_by_its_own_link(net: Net, answered: bool = True) -> None:
    for way, number in (net.eth0, 0), (net.eth1, 1):
        for ask in ALL:
            assert net.answered(way, ask) == answered, (way, ask)
            seen = net.seen()
            assert seen[1 - number] == []
            assert [line for line in seen[number] if f"{way.source} > {HOST}" in line] != []
            assert {line.split()[0] for line in seen[number]} == {way.source}


def nothing_by_the_other(net: Net, ask: Ask) -> int:
    """What asking by eth1 says; nothing comes, and nobody at eth0's provider sees it."""
    said = net.ask(net.eth1, ask)
    assert net.answers(0.1) == []
    assert net.isp0.seen() == []
    return said


def test_without_us_when_main_has_both_defaults(net: Net) -> None:
    assert_all_by_its_own_link(net)


def test_a_vpn_s_halves_of_the_world_by_another_link(net: Net) -> None:
    run("ip route add 0.0.0.0/1 via 10.100.0.1 dev eth0")
    run("ip route add 128.0.0.0/1 via 10.100.0.1 dev eth0")
    run(f"ip route add {HOST}/32 via 10.100.0.1 dev eth0")
    assert_all_by_its_own_link(net)


def test_a_blackhole_for_the_target_is_silence(net: Net) -> None:
    run(f"ip route add blackhole {HOST}/32")
    for ask in ALL:
        nothing_by_the_other(net, ask)
    assert set(net.isp1.seen()) <= {f"10.100.1.10 who has {HOST}"}  # nobody's neighbour


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_no_carrier(net: Net, ask: Ask) -> None:
    net.isp1.sh("ip link set cable down")
    assert counts(nothing_by_the_other(net, ask) or errno.ENETUNREACH)


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_an_interface_that_is_down(net: Net, ask: Ask) -> None:
    run("ip link set eth1 down")
    assert nothing_by_the_other(net, ask) == errno.ENETUNREACH


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_an_interface_that_is_gone(net: Net, ask: Ask) -> None:
    run("ip link delete eth1")
    assert nothing_by_the_other(net, ask) in (errno.ENODEV, errno.ENETUNREACH, errno.EADDRNOTAVAIL)


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_an_address_that_is_gone(net: Net, ask: Ask) -> None:
    run("ip address flush dev eth1")
    said = nothing_by_the_other(net, ask)
    assert said and counts(said)
    assert net.isp1.seen() == []


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_a_dead_gateway_is_silence(net: Net, ask: Ask) -> None:
    net.isp1.sh("ip link set cable arp off")
    assert nothing_by_the_other(net, ask) == 0
    assert net.answers(3.3) == []  # the kernel gives up, and tells so in our own name


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_a_provider_that_is_dead_behind_its_gateway_is_silence(net: Net, ask: Ask) -> None:
    assert net.answered(net.eth1, ask)
    net.isp0.seen()
    net.isp1.die()
    assert nothing_by_the_other(net, ask) == 0
    net.isp1.revive()
    net.now_s += KEEP_S
    net.answers(0.01)
    assert net.answered(net.eth1, ask)


@pytest.mark.parametrize("ask", ALL, ids=in_short)
@pytest.mark.parametrize("code", ["net-unreachable", "host-unreachable", "admin-prohibited"])
def test_a_provider_s_word_that_there_is_no_way_is_silence(net: Net, ask: Ask, code: str) -> None:
    net.isp1.sh("nft add table ip no; nft add chain ip no in '{ type filter hook input priority 0; }'; "
                f"nft add rule ip no in reject with icmp type {code}")
    assert nothing_by_the_other(net, ask) == 0


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_a_firewall_of_our_own_that_lets_nothing_out_is_no_sign_of_anything(net: Net, ask: Ask) -> None:
    run("nft add table ip f")
    run("nft add chain ip f out { type filter hook output priority 0 ; policy drop ; }")
    assert not counts(net.ask(net.eth1, ask)) or ask == OPEN  # TCP tells nobody
    assert net.isp1.seen() == []


@pytest.mark.parametrize("ask", ALL, ids=in_short)
def test_a_firewall_of_our_own_that_takes_nothing_in_is_silence(net: Net, ask: Ask) -> None:
    run("nft add table ip f")
    run("nft add chain ip f in { type filter hook input priority 0 ; policy drop ; }")
    assert not net.answered(net.eth1, ask)


def test_a_gateway_s_entry_that_an_administrator_wrote_stays(net: Net) -> None:
    mac = net.isp1.sh("cat /sys/class/net/cable/address || ip -o link show cable").split("link/ether ")[-1].split()[0]
    run(f"ip neigh replace 10.100.1.1 lladdr {mac} dev eth1 nud permanent")
    assert net.ask(net.eth1, Ask(GATEWAY, "10.100.1.1")) == errno.EOPNOTSUPP
    assert "PERMANENT" in run("ip neigh show dev eth1")


def test_a_gateway_that_has_gone_is_silence_and_one_that_is_back_answers(net: Net) -> None:
    gateway = Ask(GATEWAY, "10.100.1.1")
    assert net.answered(net.eth1, gateway)
    net.isp1.sh("ip link set cable arp off")
    net.prober.forget(*net.eth1.key)
    assert not net.answered(net.eth1, gateway, 3.5)  # the kernel has asked three times
    net.isp1.sh("ip link set cable arp on")
    assert net.answered(net.eth1, gateway, 3.5)
    assert net.isp0.seen() == []


# With the program's rules

def with_program(work: Callable[[Net], None]) -> None:
    box.add_links(2)
    for number in 0, 1:
        lease = box.given(number)
        box.set_address(f"eth{number}", lease)
        box.event("BOUND", f"eth{number}", lease)
    with links(box.ip, take=False) as net:
        work(net)


@box.boxed
def test_both_links_in_the_balance() -> None:
    with_program(assert_all_by_its_own_link)


@box.boxed
def test_a_link_that_is_drained() -> None:
    def drained(net: Net) -> None:
        box.verb("drain", "eth1")
        assert_all_by_its_own_link(net)
    with_program(drained)


@box.boxed
def test_a_link_that_is_disabled_asks_nobody_by_another() -> None:
    def disabled(net: Net) -> None:
        box.verb("disable", "eth1")
        for ask in ALL:
            assert nothing_by_the_other(net, ask) == 0
        assert {line for line in net.isp1.seen()} <= {f"10.100.1.10 who has {HOST}"}
    with_program(disabled)


@box.boxed
def test_strict_reverse_path_filters() -> None:
    def strict(net: Net) -> None:
        box.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1", "net.ipv4.conf.eth1.rp_filter=1")
        assert_all_by_its_own_link(net)
    with_program(strict)


# What it costs

def test_it_takes_no_module_that_is_not_built_in_and_little_memory() -> None:
    program = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        def rss():
            return int(open("/proc/self/statm", "rb").read().split()[1]) * 4
        before, known = rss(), set(sys.modules)
        import dhcp_lb.monitor.health, dhcp_lb.monitor.probe
        new = set(sys.modules) - known
        print(rss() - before, *sorted(name for name in new
              if not name.startswith("dhcp_lb") and name not in sys.builtin_module_names))"""
    array = {"collections", "collections.abc", "_collections_abc", "itertools", "keyword", "operator", "reprlib"}
    said = subprocess.run([sys.executable, "-I", "-S", "-c", program, str(CHECKOUT)], capture_output=True, text=True,
                          check=True).stdout.split()
    assert set(said[1:]) <= array  # what the built-in array imports
    assert int(said[0]) < 4000  # KB


def test_twenty_thousand_probes_leave_nothing_behind(net: Net) -> None:
    """Those by eth0 are answered, those by eth1 are not."""
    net.isp1.die()
    descriptors = Path("/proc/self/fd")

    def left_after(number: int) -> tuple[int, int]:
        for place in range(number // 2):
            net.now_s += 0.01
            ask = OPEN if not place % 16 else ROOT if place % 2 else ECHO
            for way in net.eth0, net.eth1:
                net.prober.ask(way, ask, net.now_s)
            if not place % 8:
                net.prober.answers(net.now_s)
            if not place % 1000:
                net.prober.renew(net.eth1, net.now_s)
        for _ in range(2):  # the first one has what came last
            net.now_s += 2 * KEEP_S
            net.prober.answers(net.now_s)
        gc.collect()
        return sys.getallocatedblocks(), len(list(descriptors.iterdir()))
    blocks, open_before = left_after(2000)
    more, open_after = left_after(20_000)
    print(f"{more - blocks} blocks of memory more")
    assert more - blocks < 100 and open_after <= open_before + 1
