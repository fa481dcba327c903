"""The words of DHCPv6 clients → prefixes, their ends, and what is refused of them."""

from pathlib import Path

import pytest

from dhcp_lb.delegation import Event6, merged, parse
from dhcp_lb.ipv6 import Address, accepted
from dhcp_lb.model import Delegated, Interface, Link
from dhcp_lb.routing import METRIC_GUARD
from dhcp_lb.store import Store
from tests.beds.world import World

# As dhclient -6 -N -P called its hooks: one address, then one prefix; a renewal; the end.
ADDRESS = {b"reason": b"BOUND6", b"interface": b"eth0", b"new_ip6_address": b"2001:db8:a::1000",
           b"new_ip6_prefixlen": b"128", b"new_max_life": b"7200"}
BOUND = {b"reason": b"BOUND6", b"interface": b"eth0", b"new_ip6_prefix": b"2001:db8:a:f00::/56",
         b"new_max_life": b"7200", b"new_preferred_life": b"3600"}
RELEASE = {b"reason": b"RELEASE6", b"interface": b"eth0", b"old_ip6_prefix": b"2001:db8:a:f00::/56"}
# As dhcpcd 9.4 calls them.
DHCPCD = {b"reason": b"BOUND6", b"interface": b"eth0", b"if_up": b"true",
          b"new_dhcp6_ia_na1_ia_addr1": b"2001:db8:a::1000",
          b"new_dhcp6_ia_pd1_prefix1": b"2001:db8:a:f00::", b"new_dhcp6_ia_pd1_prefix1_length": b"56",
          b"new_dhcp6_ia_pd1_prefix1_vltime": b"7200",
          b"new_dhcp6_ia_pd1_prefix2": b"2001:db8:a:e00::", b"new_dhcp6_ia_pd1_prefix2_length": b"60",
          b"new_dhcp6_ia_pd2_prefix1": b"2001:db8:c::", b"new_dhcp6_ia_pd2_prefix1_length": b"48",
          b"new_dhcp6_ia_pd2_prefix1_vltime": b"4294967295"}
PREFIX = Delegated("2001:db8:a:f00::/56", 1000, 8200)


def test_dhclient_tells_of_an_address_and_of_a_prefix_by_themselves() -> None:
    assert parse(ADDRESS, 1000) == Event6("eth0", (), ())
    assert parse(BOUND, 1000) == Event6("eth0", (PREFIX,), ())
    assert parse({**BOUND, b"reason": b"RENEW6", b"old_ip6_prefix": b"2001:db8:a:f00::/56"}, 1000) == Event6(
        "eth0", (PREFIX,), ())
    assert parse(RELEASE, 1000) == Event6("eth0", (), ("2001:db8:a:f00::/56",))


def test_dhcpcd_tells_of_all_at_once() -> None:
    assert parse(DHCPCD, 1000) == Event6("eth0", (PREFIX, Delegated("2001:db8:a:e00::/60", 1000, 0),
                                                  Delegated("2001:db8:c::/48", 1000, 0)), ())


@pytest.mark.parametrize("text, servers", [
    (b"2001:db8:a::53 2001:db8:a::54", ("2001:db8:a::53", "2001:db8:a::54")),
    (b"2001:DB8:A:0::53  2001:db8:a::53", ("2001:db8:a::53",)),
    (b"::1 ff02::1 192.0.2.1 $(id) \xff fe80::53", ("fe80::53",)),
    (b" ".join([b"2001:db8:a::%x" % number for number in range(1, 300)]),
     ("2001:db8:a::1", "2001:db8:a::2", "2001:db8:a::3")),
    (b"", ()),
])
def test_its_name_servers_are_those_that_can_be_asked(text: bytes, servers: tuple[str, ...]) -> None:
    for reason in b"BOUND6", b"RENEW6", b"INFORM6":
        event = parse({b"reason": reason, b"interface": b"eth0", b"new_dhcp6_name_servers": text}, 1000)
        assert event == Event6("eth0", (), (), servers)


def test_the_store_keeps_the_name_servers_of_links_alone(store: Store) -> None:
    store.prepare()
    for name in "eth0", "eth1":
        store.keep_name_servers6(name, ("2001:db8:a::53",))
        store.keep_prefixes(name, (PREFIX,))
    store.tidy(frozenset({"eth0"}))
    assert (store.name_servers6("eth0"), store.name_servers6("eth1")) == (("2001:db8:a::53",), ())
    assert store.prefixes("eth0", 2000) == (PREFIX,)
    Path(store.path, "prefixes", "eth0:dns").write_text("2001:db8:a::53\nx\n")
    assert store.name_servers6("eth0") == ()


@pytest.mark.parametrize("reason", [b"DEPREF6", b"PREINIT6", b"DELEGATED6", b"BOUND", b""])
def test_other_reasons_change_nothing(reason: bytes) -> None:
    assert parse({**BOUND, b"reason": reason}, 1000) is None
    assert parse({**BOUND, b"interface": b""}, 1000) is None


def test_a_prefix_ends_by_its_value_and_an_old_one_lives_on_beside_a_new_one() -> None:
    other = Delegated("2001:db8:b::/56", 1000, 8200)
    renewed = PREFIX._replace(begin_s=5000, until_s=12200)
    assert merged((), Event6("eth0", (PREFIX,), ())) == (PREFIX,)
    assert merged((PREFIX,), Event6("eth0", (other,), ())) == (other, PREFIX)
    assert merged((PREFIX, other), Event6("eth0", (renewed,), ())) == (renewed, other)
    assert merged((PREFIX, other), Event6("eth0", (), (other.prefix,))) == (PREFIX,)
    assert merged((PREFIX,), Event6("eth0", (), ())) == (PREFIX,)


def test_a_link_has_no_more_than_sixteen() -> None:
    many = tuple([Delegated(f"2001:db8:{number:x}::/48", 1, 0) for number in range(40)])
    assert len(merged(many, Event6("eth0", many, ()))) == 16


def test_the_store_keeps_a_prefix_for_as_long_as_it_is_valid(store: Store) -> None:
    ever = Delegated("2001:db8:c::/48", 1000, 0)
    store.keep_prefixes("eth0", (PREFIX, ever))
    assert store.prefixes("eth0", 1000) == (PREFIX, ever)
    assert store.prefixes("eth0", 8199) == (PREFIX, ever)
    assert store.prefixes("eth0", 8200) == (ever,)
    assert store.prefixes("eth0", 999) == ()  # of the last boot
    assert store.prefixes("eth1", 1000) is None
    store.tidy(frozenset(["eth1"]))
    assert store.prefixes("eth0", 1000) is None
    store.keep_prefixes("eth0", ())
    assert store.prefixes("eth0", 1000) == ()


@pytest.mark.parametrize("text", ["1 2001:db8::/32 5\n", "2 2001:db8::/32 1 0\n", "1 x/32 1 0\n", "1 ::/x 1 0\n",
                                  "1 2001:db8::/32 1 0", "\udcff\n", "1 2001:DB8::/32 1 0\n",
                                  "1 2001:db8::1/32 1 0\n", "1 192.0.2.0/24 1 0\n"])
def test_a_file_that_nobody_can_have_written_is_none(store: Store, text: str) -> None:
    with open(f"{store.path}/prefixes/eth0", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    assert store.prefixes("eth0", 1000) is None


def test_what_a_wiped_store_has_lost_our_own_routing_tells_until_the_client_does(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    world.config = b"eth0 a 200 1 prefix6=2001:db8:a::/48\neth1 b 201 1\n"
    for name in "eth0", "eth1":
        world.has6(name, (f"3fff:{name[-1]}::2", 64, 0), router="fe80::1")
    ours = [f"2001:db8:b:{number}00::/56" for number in range(1, 4)]

    def prefixes() -> list[str]:
        return sorted([route.only_from for route in world.routing.routes
                       if route.only_from and route.metric != METRIC_GUARD])

    def wipe() -> None:
        for name in "eth0", "eth1":
            world.store.discard(f"{world.store.path}/prefixes/{name}")

    for prefix in ours:
        world.told("BOUND6", "eth1", prefix, "7200")
    assert prefixes() == ["2001:db8:a::/48", *ours]
    wipe()
    assert world.look() == [] and world.kernel.writes == 0
    assert [one.prefix for one in world.store.prefixes("eth1", world.now_s) or ()] == ours
    assert world.store.prefixes("eth0", world.now_s) is None  # nobody has told that one
    for reason, left in ("RENEW6", ours), ("RELEASE6", ours[1:]):
        wipe()
        world.told(reason, "eth1", ours[0], "7200")
        assert prefixes() == ["2001:db8:a::/48", *left]
    wipe()
    world.config = b"eth0 a 200 1\neth1 b 201 1\n"  # what a line has named is no client's word
    world.look()
    assert prefixes() == ours[1:]
    world.now_s += 90000  # its client has not said that it has ended
    world.look()
    assert prefixes() == ours[1:]


LINKS = (Link("eth0", "a", 200, 1, prefixes6=("2001:db8:a::/48",)), Link("eth1", "b", 201, 1),
         Link("eth2", "c", 202, 1))
DEVICES = {name: Interface(2 + number, True, True, ()) for number, name in enumerate(("eth0", "eth1", "eth2"))}
LAN = Address(9, "2001:db8:dead:f00::1", 56, 0)


@pytest.mark.parametrize("prefix, why", [
    ("2001:db8:b:f00::/56", ""),
    ("2001:db8:dead:f00::/56", ""),  # the LAN has it because it was delegated
    ("2001:db8:dead::/48", ""),
    ("2001:db8:dead:f01::/64", "is a part of this machine's network of 2001:db8:dead:f00::1"),
    ("::/1", "must have 16 to 64 bits"),
    ("2000::/3", "must have 16 to 64 bits"),
    ("2001:db8:b::/65", "must have 16 to 64 bits"),
    ("fe80::/16", "must be in 2000::/3; one in fc00::/7 counts if prefix6= names it"),
    ("fd00::/48", "must be in 2000::/3; one in fc00::/7 counts if prefix6= names it"),
    ("ff00::/16", "must be in 2000::/3; one in fc00::/7 counts if prefix6= names it"),
    ("2001:db8::/32", "overlaps a prefix of eth0"),
    ("2001:db8:a:f00::/56", "overlaps a prefix of eth0"),
    ("2001:db8:c::/48", ""),
], ids=lambda text: "" if " " in text else text)
def test_a_provider_gets_nothing_that_is_somebody_else_s(prefix: str, why: str) -> None:
    found, refused = accepted(LINKS, DEVICES, [LAN], {"eth1": (Delegated(prefix, 1, 0),)})
    assert found == {"eth0": LINKS[0].prefixes6, "eth1": () if why else (prefix,), "eth2": ()}
    assert refused["eth1"] == ((f"the delegated prefix {prefix} is not used: it {why}",) if why else ())


def test_of_two_providers_that_delegate_the_same_the_earlier_line_has_it() -> None:
    same = (Delegated("2001:db8:c::/48", 1, 0),)
    found, refused = accepted(LINKS, DEVICES, [], {"eth2": same, "eth1": same})
    assert (found["eth1"], found["eth2"]) == (("2001:db8:c::/48",), ())
    assert refused["eth2"] == ("the delegated prefix 2001:db8:c::/48 is not used: it overlaps a prefix of eth1",)


def test_what_the_administrator_has_named_already_is_there_once() -> None:
    found, refused = accepted(LINKS, DEVICES, [], {"eth0": (Delegated("2001:db8:a:f00::/56", 1, 0),)})
    assert found["eth0"] == ("2001:db8:a::/48",) and refused["eth0"] == ()
