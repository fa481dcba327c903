"""Probes of IPv6: which link they leave by, and what is taken for their answers."""

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dhcp_lb.monitor.asks import ROOT, Ask, Way
from dhcp_lb.monitor.probe import Answer, Prober, counts
from dhcp_lb.targets import DNS, GATEWAY, PING, TCP
from tests.beds.box import boxed, run, verb
from tests.beds.ipv6 import INTERNET, LAN_OF, PORT, PREFIXES, SERVERS, Providers, own, providers

HOST = f"{INTERNET}::7"
ECHO, OPEN = Ask(PING, HOST), Ask(TCP, HOST, PORT)


class Net:
    """The two ways, and a prober."""

    def __init__(self, world: Providers) -> None:
        self.world = world
        self.ways = {name: Way(name, socket.if_nametoindex(name), own(name), "fe80::1") for name in PREFIXES}
        self.prober = Prober()
        self.now_s = 1000.0

    def ask(self, name: str, ask: Ask) -> int:
        return self.prober.ask(self.ways[name], ask, self.now_s)

    def answers(self, wait_s: float = 0.5) -> list[Answer]:
        found: list[Answer] = []
        end = time.monotonic() + wait_s
        while time.monotonic() < end and not found:
            found += self.prober.answers(self.now_s)
            time.sleep(0.002)
        return found

    def answered(self, name: str, ask: Ask, wait_s: float = 0.5) -> bool:
        assert self.ask(name, ask) == 0
        return [one[:3] for one in self.answers(wait_s)] == [(name, socket.AF_INET6, ask)]

    def send(self, source: str, to: str, message: bytes, name: str = "") -> None:
        """A message of ICMPv6 from an address of the Internet's, and by the provider of this link."""
        with self.world.internet:
            run("ip", "address", "replace", f"{source}/128", "dev", "lo", "nodad")
            sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        with sender:
            if name:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
            sender.bind((source, 0))
            sender.sendto(message, (to, 0))


@contextmanager
def net() -> Iterator[Net]:
    with providers() as world:
        world.serve_names()
        found = Net(world)
        yield found
        found.prober.close()


def server(name: str) -> Ask:
    return Ask(DNS, SERVERS[name], 53, ROOT, named=False)


@boxed
def test_what_is_an_answer() -> None:
    with net() as found:
        for name in PREFIXES:
            for ask, answered in ((ECHO, True), (server(name), True), (OPEN, True), (Ask(TCP, HOST, 82), False),
                                  (Ask(DNS, SERVERS[name], 53, "web.example"), False),  # it refuses to say
                                  (Ask(GATEWAY, "fe80::1"), True), (Ask(GATEWAY, "fe80::77"), False)):
                assert found.answered(name, ask) == answered, (name, ask)
        assert found.world.astray() == 0


@boxed
def test_that_nobody_is_at_the_port_is_the_target_s_own_answer() -> None:
    with net() as found:
        with found.world.internet:
            run("ip", "address", "add", "2001:db8:ffff::99/128", "dev", "lo", "nodad")
            run("nft", "add", "table", "ip6", "shut")
            run("nft", "add", "chain", "ip6", "shut", "in", "{ type filter hook input priority 0 ; }")
            run("nft", "add", "rule", "ip6", "shut", "in", "udp", "dport", "53", "reject")  # port-unreachable
        nobody = Ask(DNS, "2001:db8:ffff::99", 53, ROOT, named=False)
        for name in PREFIXES:
            assert found.answered(name, nobody)
            assert not found.answered(name, nobody._replace(name="web.example"))


@boxed
def test_each_leaves_by_its_own_link_whatever_main_says() -> None:
    with net() as found:
        run("ip", "-6", "route", "add", "2000::/4", "via", "fe80::1", "dev", "eth0")
        run("ip", "-6", "route", "add", f"{HOST}/128", "via", "fe80::1", "dev", "eth0")
        for name in PREFIXES:
            for ask in ECHO, OPEN, server(name):
                assert found.answered(name, ask), (name, ask)
        assert found.world.astray() == 0


@boxed
def test_a_link_that_is_out_asks_nobody_by_another() -> None:
    with net() as found:
        for ask in ECHO, OPEN, server("eth1"):
            found.world.cable("eth1", "down")
            assert counts(found.ask("eth1", ask) or errno.ENETUNREACH) and found.answers(0.1) == []
            found.world.cable("eth1", "up")
        run("ip", "-6", "address", "flush", "dev", "eth1", "scope", "global")
        for ask in ECHO, OPEN, server("eth1"):
            said = found.ask("eth1", ask)
            assert said and counts(said) and found.answers(0.1) == []
        run("ip", "link", "delete", "eth1")
        for ask in ECHO, OPEN, server("eth1"):
            said = found.ask("eth1", ask)
            assert said and counts(said) and found.answers(0.1) == []
        assert found.world.astray() == 0


@boxed
def test_a_link_without_an_address_asks_from_one_of_the_lan_in_its_delegated_prefix() -> None:
    with net() as found:
        run("ip", "-6", "address", "flush", "dev", "eth0", "scope", "global")
        verb("apply")
        found.ways["eth0"] = found.ways["eth0"]._replace(source=f"{LAN_OF['eth0']}::1")
        for ask in ECHO, server("eth0"), OPEN, Ask(GATEWAY, "fe80::1"):
            assert found.answered("eth0", ask), ask
        found.world.die("eth0")
        for ask in ECHO, server("eth0"), OPEN:
            assert not found.answered("eth0", ask, 0.2), ask
        found.world.revive()
        found.world.cable("eth0", "down")
        for ask in ECHO, OPEN, server("eth0"):
            assert counts(found.ask("eth0", ask) or errno.ENETUNREACH) and found.answers(0.1) == []
        assert found.world.astray() == 0


@boxed
def test_a_firewall_of_our_own_that_lets_nothing_out_is_no_sign_of_anything() -> None:
    with net() as found:
        run("nft", "add", "table", "ip6", "f")
        run("nft", "add", "chain", "ip6", "f", "out", "{ type filter hook output priority 0 ; policy drop ; }")
        for ask in ECHO, server("eth1"):
            assert not counts(found.ask("eth1", ask))


@boxed
def test_a_spoofed_echo_is_no_answer_and_the_right_one_is() -> None:
    with net() as found:
        found.world.die("eth1")
        found.ask("eth1", ECHO)
        found.world.revive()
        content, = found.prober.pings
        assert isinstance(content, bytes)
        to, right = found.ways["eth1"].source, struct.pack("!BBH", 129, 0, 0) + content
        found.send(f"{INTERNET}::8", to, right)  # from somebody else
        found.send(HOST, found.ways["eth0"].source, right)  # by the other link
        for place in range(4, len(right)):
            found.send(HOST, to, right[:place] + bytes([right[place] ^ 1]) + right[place + 1:])
        for length in range(len(right)):
            found.send(HOST, to, right[:length] if length >= 8 else bytes([129]) + bytes(7))
        assert found.answers(0.2) == []
        found.send(HOST, to, right)
        assert [one.ask for one in found.answers()] == [ECHO]


@boxed
def test_what_others_send_and_hear_wakes_nobody() -> None:
    with net() as found:
        assert found.answered("eth0", ECHO)
        for name in PREFIXES:
            found.world.advertise(name)
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as ping:
            ping.sendto(bytes([128]) + bytes(31), (HOST, 0))
            ping.settimeout(2)
            while ping.recv(2048)[0] != 129:
                pass
        assert found.prober.poll.poll(0) == []


@boxed
def test_no_socket_of_ipv6_is_there_before_the_first_probe() -> None:
    with net() as found:
        assert found.prober.icmp.keys() == {socket.AF_INET} and not found.prober.udp
        assert found.answered("eth0", ECHO)
        assert found.prober.icmp.keys() == {socket.AF_INET, socket.AF_INET6}
