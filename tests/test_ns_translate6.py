"""`translate6 = failover`: a LAN with addresses of one provider goes on by another one."""

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dhcp_lb.pinning import conntrack
from tests.beds.box import CONFIG, boxed, event, given, run, verb
from tests.beds.held import receives
from tests.beds.ipv6 import (INTERNET, IPV6_FREEBIND, LAN_OF, LINES, PORT, PREFIXES, Providers, apply, ours, own,
                             providers)
from tests.test_ns_ipv6 import monitor, told, until

MASK = 0xff000000
ETH0, ETH1 = 0xc8000000, 0xc9000000
A, B = (f"{prefix}::2" for prefix in LAN_OF.values())  # a machine of the LAN, and its address at the other provider
IPV6_RECVERR = 25  # uapi/linux/in6.h
FAILOVER = LINES + "translate6 = failover\n"


def sources(world: Providers, number: int) -> "Counter[str]":
    """With which addresses so many new connections of that machine come to the Internet."""
    with world.held(number, A) as held:
        return Counter([there.getpeername()[0] for _, there in held.pairs])


def cut(world: Providers) -> None:
    """Takes the carrier of eth0 and tells nobody. A connection comes through within half a second."""
    begin = time.monotonic()
    world.cable("eth0", "down")
    while world.connects(1, A, lan=True, timeout_s=0.1) != {"eth0": 1}:
        assert time.monotonic() - begin < 0.5
    assert time.monotonic() - begin < 0.5


def mend(world: Providers) -> None:
    """Brings it back."""
    world.cable("eth0", "up")
    time.sleep(1.2)  # the kernel takes up to a second to see it: net/core/link_watch.c


@boxed
def test_a_lan_with_one_prefix_goes_on_by_the_other_link_and_all_lives_when_its_own_is_back() -> None:
    with providers(FAILOVER) as world:
        apply()
        with world.held(300, A) as before:
            assert before.by(A) == 300
            cut(world)
            with world.held(300, A) as meanwhile:
                assert meanwhile.by(B) == meanwhile.alive() == 300
                mend(world)
                assert (before.alive(), meanwhile.alive()) == (300, 300)
                assert sources(world, 300) == {A: 300}
                assert (before.alive(), meanwhile.alive()) == (300, 300)
        assert world.connects(100, B, lan=True) == {"eth1": 100}
        assert world.astray() == 0 and verb("plan") == ""


@pytest.mark.parametrize("other", ["", "prefix6=2001:db8:b:f00::/56"], ids=["no prefix", "a longer one"])
@boxed
def test_where_the_other_link_has_no_prefix_as_long_its_address_is_taken(other: str) -> None:
    with providers(f"eth0 t0 200 1 prefix6=2001:db8:a::/48\neth1 t1 201 2 {other}\ntranslate6 = failover\n") as world:
        apply()
        with world.held(50, A) as before:
            cut(world)
            with world.held(50, A) as meanwhile:
                assert meanwhile.by(own("eth1")) == meanwhile.alive() == 50
                mend(world)
                assert (before.alive(), meanwhile.alive()) == (50, 50)
        assert world.astray() == 0


@boxed
def test_a_link_that_is_drained_or_has_no_router_keeps_its_connections_alone() -> None:
    with providers(FAILOVER) as world:
        apply()
        with world.held(50, A) as before:
            verb("drain", "eth0")
            assert sources(world, 50) == {B: 50} and before.alive() == 50
            verb("enable", "eth0")
            assert sources(world, 50) == {A: 50}
            world.advertise("eth0", router_s=0)
            time.sleep(0.1)
            apply()
            assert sources(world, 50) == {B: 50} and before.alive() == 50
            world.advertise("eth0")
            time.sleep(0.1)
            apply()
            assert sources(world, 50) == {A: 50} and before.alive() == 50
        assert world.astray() == 0


@boxed
def test_a_link_that_is_disabled_releases_its_connections_which_are_told_or_move() -> None:
    with providers(FAILOVER) as world, telephone(world) as (here, there):
        apply()
        assert said(here, there) == A
        with world.held(50, A) as idle, world.held(50, A) as before:
            verb("disable", "eth0")
            assert sources(world, 50) == {B: 50} and conntrack.count(ETH0, MASK) == (0, 0, 0)
            begin = time.monotonic()
            assert before.alive() == 0
            assert time.monotonic() - begin < 2  # they are told
            assert said(here, there) == B
            with world.held(50, A) as meanwhile:
                verb("enable", "eth0")
                assert sources(world, 50) == {A: 50}
                assert (idle.alive(), meanwhile.alive()) == (50, 50)
                assert said(here, there) == B  # it stays where it is
        assert world.astray() == 0


@contextmanager
def watched() -> Iterator[Providers]:
    """With a monitor, which asks the gateways of IPv4."""
    with providers(FAILOVER) as world:
        for number, name in enumerate(PREFIXES):
            lease = given(number)
            with world.internet:
                run("ip", "address", "add", f"{lease.gateway}/24", "dev", name)
            run("ip", "address", "add", f"{lease.address}/24", "dev", name)
            event("BOUND", name, lease)
        apply()
        with monitor():
            yield world


class telephone:
    """A socket of the LAN, and one of the Internet that it speaks to by UDP."""

    def __init__(self, world: Providers) -> None:
        with world.internet:
            self.there = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with world.lan:
            self.here = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.there.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        self.there.bind((f"{INTERNET}::5", 5060))
        self.here.bind((A, 0))
        self.here.connect((f"{INTERNET}::5", 5060))

    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        return self.here, self.there

    def __exit__(self, *_: object) -> None:
        self.here.close()
        self.there.close()


def said(here: socket.socket, there: socket.socket) -> str:
    """From which address the other end hears this one; the answer comes back."""
    here.send(b"?")
    there.settimeout(1)
    _, whose = there.recvfrom(1)
    there.sendto(b"?", whose)
    assert receives(here, 1)
    return str(whose[0])


@boxed
def test_what_cannot_be_translated_any_more_is_told_and_does_not_go_astray() -> None:
    with providers(FAILOVER) as world, telephone(world) as (here, there):
        apply()
        said(here, there)
        with world.held(10, A) as before:
            cut(world)
            here.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            here.send(b"?")
            here.settimeout(1)
            with pytest.raises(OSError, match="unreachable"):
                here.recv(1)
            assert before.alive() == 0  # TCP waits
            mend(world)
            assert before.alive() == 10 and said(here, there) == A
        assert world.astray() == 0


@boxed
def test_the_monitor_has_a_connection_wait_for_a_moment_and_then_lets_it_go() -> None:
    with watched() as world, telephone(world) as (here, there):
        until("pauses", lambda: run("ip", "-6", "rule").count("blackhole") == 2)
        assert said(here, there) == A
        with world.held(20, A) as idle, world.held(20, A) as before:
            cut(world)
            time.sleep(2)
            assert conntrack.count(ETH0, MASK).tcp >= 40
            mend(world)
            assert before.alive() == 20
            until("eth0 is back", lambda: "returning" not in verb("status") and "no carrier" not in verb("status"))
            cut(world)
            until("the release", lambda: conntrack.count(ETH0, MASK).tcp == 0, 10)
            assert said(here, there) == B and before.alive() == 0
            with world.held(20, A) as meanwhile:
                mend(world)
                until("eth0 is back", lambda: sources(world, 1) == {A: 1})
                assert (idle.alive(), meanwhile.alive()) == (20, 20)
        assert world.astray() == 0


@boxed
def test_apply_20_times_breaks_no_translated_connection() -> None:
    with providers(FAILOVER) as world:
        apply()
        cut(world)
        with world.held(50, A) as meanwhile:
            for _ in range(20):
                verb("apply")
                assert meanwhile.alive() == 50


@boxed
def test_connections_from_outside_are_answered_by_the_link_that_was_asked() -> None:
    with providers(FAILOVER) as world:
        apply()
        for address in A, B:
            assert world.asks(100, address, PORT) == 100
        assert world.astray() == 0


@boxed
def test_a_line_of_policy_sends_any_source_by_its_link() -> None:
    with providers(FAILOVER + "in lan0 tcp port 80 -> eth1\n") as world:
        apply()
        assert sources(world, 50) == {B: 50}
        assert f"line 4 of {CONFIG} says so" in verb("explain", f"{INTERNET}::1", "--from", A, "--tcp", "80")
        assert world.astray() == 0


@boxed
def test_without_its_table_nothing_leaves_untranslated() -> None:
    with providers(FAILOVER) as world:
        apply()
        before = ours()
        run("nft", "delete", "table", "inet", "dhcp-lb")
        event("BOUND6", "eth0")
        assert [line for line in ours() if line not in before] == [
            f"7 default from {prefix}::/48 dev lo table 252 proto 109 metric 4294967295 pref medium"
            for prefix in PREFIXES.values()]
        world.cable("eth0", "down")
        assert world.told(5, A, 2.1, lan=True) == 5
        apply()
        assert sources(world, 5) == {B: 5}
        world.cable("eth0", "up")
        until("the cable", lambda: ours() == before)
        assert world.astray() == 0


@pytest.mark.parametrize("lines", [
    LINES, LINES + "translate6 = no\n",
    "eth0 t0 200 1 prefix6=2001:db8:a::/48\neth1 t1 201 2 ipv6=no\ntranslate6 = failover\n",
    'eth0 t0 200 1 prefix6=2001:db8:a::/48\neth1 t1 201 2\n"" t2 202 1\ntranslate6 = failover\n',
], ids=["not asked for", "no", "one link alone", "a name that nft cannot write"])
@boxed
def test_where_it_cannot_be_translated_a_source_is_told(lines: str) -> None:
    with providers(lines) as world:
        apply()
        assert "snat" not in run("nft", "list", "table", "inet", "dhcp-lb")
        world.cable("eth0", "down")
        assert world.told(5, A, 2.1, lan=True) == 5 and world.astray() == 0


@boxed
def test_a_prefix_that_only_a_client_tells_of_is_not_translated() -> None:
    with providers("eth0 t0 200 1\neth1 t1 201 2 prefix6=2001:db8:b::/48\ntranslate6 = failover\n") as world:
        assert verb("check").splitlines() == [
            f"{CONFIG}:1: eth0 has no prefix6=, so translate6 = failover does not know which addresses are its "
            "provider's", *verb("check").splitlines()[1:]]
        apply()
        told("BOUND6", "eth0", "2001:db8:a:f00::/56")
        assert sources(world, 5) == {A: 5}
        world.cable("eth0", "down")
        assert world.told(5, A, 2.1, lan=True) == 5 and world.astray() == 0


@boxed
def test_explain_says_what_becomes_of_a_source() -> None:
    with providers(FAILOVER) as world:
        apply()
        question = "explain", f"{INTERNET}::1", "--from", A
        assert "default from 2001:db8:a::/48" in verb(*question) and "becomes" not in verb(*question)
        cut(world)
        way = "link   eth1 via fe80::1, 100% of the connections\n         Its source becomes"
        assert f"{way} 2001:db8:b::/48 there (translate6).\n" in verb(*question)
        CONFIG.write_text(FAILOVER.replace("eth1 table-eth1 201 2 prefix6=2001:db8:b::/48", "eth1 table-eth1 201 2"))
        apply()
        assert f"{way} the link's address there (translate6).\n" in verb(*question)


@boxed
def test_a_change_of_the_setting_is_seen_in_plan_and_comes_with_apply() -> None:
    with providers() as world:
        apply()
        CONFIG.write_text(FAILOVER)
        assert [line for line in verb("plan").splitlines() if "del unreachable default from" not in line] == []
        apply()
        cut(world)
        with world.held(5, A) as held:
            assert held.by(B) == 5
            CONFIG.write_text(LINES)
            apply()
            assert world.told(5, A, 2.1, lan=True) == 5
            assert world.astray() == 0 and held.alive() == 0


@boxed
def test_who_connects_in_the_moment_of_a_change_is_told_and_does_not_go_astray() -> None:
    """A SYN that nobody has answered is not held to its link. The next one may meet another, with the address that the
    first one left with."""
    with providers(FAILOVER) as world:
        apply()
        with world.internet:
            run("nft", "add table ip6 deaf; add chain ip6 deaf c { type filter hook prerouting priority -300; }; "
                "add rule ip6 deaf c tcp dport 81 drop")
        for change in cut, mend:
            with world.lan:
                client = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            with client:
                client.bind((A, 0))
                client.setblocking(False)
                client.connect_ex((f"{INTERNET}::1", 81))
                change(world)
                poll = select.poll()
                poll.register(client, select.POLLOUT)
                poll.poll(5000)
                assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETUNREACH
        assert world.astray() == 0
