"""A connection of IPv6 lives as long as its link does, too (doc/design.md, "Pins")."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dhcp_lb.pinning import conntrack
from tests.beds.box import CONFIG, boxed, ip, run, verb
from tests.beds.held import Held
from tests.beds.ipv6 import LAN_OF, LINES, Providers, apply, ours, providers

MASK = 0xff000000
ETH0, ETH1 = 0xc8000000, 0xc9000000
LOCAL = "fd00:db8"  # what the LAN numbers itself with


def tcp(mark: int) -> int:
    return conntrack.count(mark, MASK).tcp


@contextmanager
def translated(lines: str = LINES) -> Iterator[Providers]:
    """The LAN has addresses of its own, and an administrator masquerades them."""
    with providers(lines) as world:
        ip(f"address add {LOCAL}::1/64 dev lan0 nodad")
        with world.lan:
            ip(f"address add {LOCAL}::2/64 dev eth0 nodad")
        run("nft", "-f", "-", stdin="table ip6 nat { chain postrouting { type nat hook postrouting priority srcnat\n"
            f"ip6 saddr {LOCAL}::/64 oifname eth* masquerade\n}}\n}}")
        yield world


@boxed
def test_a_link_that_comes_and_one_that_is_drained_break_no_connection() -> None:
    with translated() as world:
        verb("disable", "eth1")
        apply()
        with world.held(100, f"{LOCAL}::2") as old:
            assert old.by("2001:db8:a:") == 100
            verb("enable", "eth1")
            assert old.alive() == 100
            with world.held(100, f"{LOCAL}::2") as new:
                assert 40 < new.by("2001:db8:b:") < 95
                verb("drain", "eth1")
                assert new.alive() == old.alive() == 100
                with world.held(50, f"{LOCAL}::2") as newer:
                    assert newer.by("2001:db8:a:") == 50
        assert world.astray() == 0


@boxed
def test_drain_waits_for_connections_of_ipv6_and_can_cut_them() -> None:
    with translated() as world:
        apply()
        with world.held(50, f"{LOCAL}::2") as held:
            by_eth1 = held.by("2001:db8:b:")
            said = verb("drain", "eth1", "--wait", "1", check=False).splitlines()
            assert said[0] == f"eth1: {by_eth1} connections are left: {by_eth1} of TCP, 0 of UDP, 0 others"
            verb("drain", "eth1", "--cut")
            assert (tcp(ETH0), tcp(ETH1)) == (50 - by_eth1, 0)
            begin = time.monotonic()
            assert held.alive() == 50 - by_eth1
            assert time.monotonic() - begin < 2  # the others are told


@boxed
def test_connections_that_were_there_before_the_table_belong_to_the_link_of_their_address() -> None:
    with translated("pin = no\n" + LINES) as world:
        apply()
        with (world.held(50, f"{LOCAL}::2") as balanced, world.held(20, f"{LAN_OF['eth0']}::2"),
              world.held(10, f"{LAN_OF['eth1']}::2")):
            by_eth1 = balanced.by("2001:db8:b:")
            assert tcp(ETH0) == tcp(ETH1) == 0
            CONFIG.write_text(LINES)
            apply()
            assert (tcp(ETH0), tcp(ETH1)) == (50 - by_eth1 + 20, by_eth1 + 10)
            verb("drain", "eth1")
            assert balanced.alive() == 50


@boxed
def test_what_stays_within_the_lan_is_no_links_connection() -> None:
    with providers() as world:
        run("nft", "add table ip6 other; add chain ip6 other c { type filter hook input priority 0; }; "
            "add rule ip6 other c ct state new counter")
        apply()
        with world.lan_talks_to_the_router():
            apply()
            assert tcp(ETH0) == tcp(ETH1) == 0


@boxed
def test_a_port_that_is_forwarded_to_the_lan_is_answered_by_the_link_that_was_asked() -> None:
    with translated() as world:
        apply()
        run("nft", "-f", "-", stdin="table ip6 forward { chain c { type nat hook prerouting priority dstnat\n"
            f"iifname eth* tcp dport 8080 dnat to [{LOCAL}::2]:80\n}}\n}}")
        for name, prefix in LAN_OF.items():
            assert world.asks(100, f"{prefix}::1", 8080) == 100, name
        assert world.astray() == 0 and ours()


@boxed
def test_a_link_that_is_out_releases_what_can_go_on_elsewhere_and_nothing_else() -> None:
    with translated() as world:
        run("nft", "-f", "-", stdin="table ip6 firewall { chain f { type filter hook forward priority filter\n"
            "ct state established,related accept\niifname eth* drop\n}\n}")
        apply()
        with world.held(50, f"{LOCAL}::2") as balanced, world.held(20, f"{LAN_OF['eth0']}::2") as own:
            by_eth0 = balanced.by("2001:db8:a:")
            assert 0 < by_eth0 < 50 and tcp(ETH0) == by_eth0 + 20
            verb("disable", "eth0")
            assert tcp(ETH0) == 20
            begin = time.monotonic()
            assert balanced.alive() == 50 - by_eth0
            assert time.monotonic() - begin < 2  # the others are told
            verb("enable", "eth0")
            # The other ends speak first: a firewall lets them in because it knows these connections.
            assert Held([pair[::-1] for pair in own.pairs]).alive() == 20
