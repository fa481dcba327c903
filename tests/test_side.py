"""What the monitor concludes of the links of one family; the other family has a side of its own."""

from socket import AF_INET, AF_INET6

import pytest

from dhcp_lb.model import GIVEN_UP, Interface, Lease, Link
from dhcp_lb.monitor import health as machine
from dhcp_lb.monitor.asks import ROOT, Ask
from dhcp_lb.monitor.health import DEAD, NEVER, UP
from dhcp_lb.monitor.side import Side
from dhcp_lb.monitor.watch import Watch
from dhcp_lb.routing import DRAINING, NO_ADDRESS, NO_ROUTER, Uplink
from dhcp_lb.routing import UP as WORKS
from dhcp_lb.targets import DNS, GATEWAY, PING, targets

LINK = Link("eth0", "table-eth0", 200, 1)
FOUR = Lease("192.0.2.34", 24, "192.0.2.1")
SIX = Lease("2001:db8:a::2", 64, "fe80::1", sources=("2001:db8:a::/64",))
OF4, OF6 = ("198.51.100.53",), ("2001:db8:a::53",)
THERE = Interface(2, True, True, ())
SERVER4, SERVER6 = [Ask(DNS, server, 53, ROOT, named=False) for server in (*OF4, *OF6)]


def watch(family: int, *, link: Link = LINK, lease: Lease | None = None, state: str = WORKS,
          servers: tuple[str, ...] = ()) -> Watch:
    one = Watch(link, family)
    one.stands(Uplink(link, lease or (FOUR if family == AF_INET else SIX), 2, state, "", False, state == WORKS), THERE,
               servers)
    return one


def silent(one: Watch, ask: Ask, since_s: float) -> None:
    """It answers once, then to nothing any more."""
    one.health = machine.answered(one.health, ask, since_s, one.pace)
    for past_s in 1, 2, 3:
        one.health = machine.sent(one.health, (ask,), since_s + past_s)
    one.health = machine.judged(one.health, since_s + 1 + one.link.down_s, one.pace)


@pytest.mark.parametrize("text, four, six", [
    ("lease", [SERVER4], [SERVER6]),
    ("gateway", [Ask(GATEWAY, "192.0.2.1")], [Ask(GATEWAY, "fe80::1")]),
    ("198.51.100.7", [Ask(PING, "198.51.100.7")], []),
    ("2001:db8::7", [], [Ask(PING, "2001:db8::7")]),
    ("198.51.100.7,2001:db8::7", [Ask(PING, "198.51.100.7")], [Ask(PING, "2001:db8::7")]),
    ("none", [], []),
])
def test_a_target_is_of_its_own_family(text: str, four: list[Ask], six: list[Ask]) -> None:
    link = LINK._replace(targets=targets(text))
    assert list(watch(AF_INET, link=link, servers=OF4).asks) == four
    assert list(watch(AF_INET6, link=link, servers=OF6).asks) == six


def test_a_link_that_dies_in_one_family_lives_on_in_the_other() -> None:
    sides = [Side(AF_INET), Side(AF_INET6)]
    asks = SERVER4, SERVER6
    for side in sides:
        side.watches["eth0"] = watch(side.family, servers=OF4 if side.family == AF_INET else OF6)
        side.survey()
    for dead, lives in (0, 1), (1, 0):
        one = sides[dead].watches["eth0"]
        silent(one, asks[dead], 100)
        touched = {other for side in sides for other in side.watches.values()}
        assert sides[dead].conclude(touched, 105) == [(one, UP, DEAD)]
        assert sides[lives].conclude(touched, 105) == []
        hold = sides[dead].checked()["eth0"].hold
        assert hold and hold.reach == GIVEN_UP and sides[lives].checked()["eth0"].hold is None
        assert (sides[dead].working, sides[lives].working) == (set(), {"eth0"})
        one.health = machine.answered(one.health, asks[dead], 110, one.pace, sides[dead].alone(one, 110))
        assert sides[dead].conclude({one}, 110) == [(one, DEAD, UP)]  # nobody else works there


def test_the_tiers_of_a_family_serve_by_what_works_in_it() -> None:
    side = Side(AF_INET6)
    for name, tier in ("eth0", 1), ("eth1", 2):
        side.watches[name] = watch(AF_INET6, link=Link(name, name, tier, 1, tier=tier), servers=OF6)
    side.survey()
    assert side.serving == 1
    first, second = side.watches.values()
    for one in first, second:
        one.health = one.health._replace(asked_s=100)
    assert (side.ask_s(first), side.ask_s(second)) == (102, 120)
    silent(first, SERVER6, 100)
    side.conclude({first, second}, 105)
    assert side.serving == 2
    side.forget("eth0")
    assert side.checked().keys() == {"eth1"} and side.working == {"eth1"}


@pytest.mark.parametrize("state, lease, probed", [
    (WORKS, SIX, True), (DRAINING, SIX, True), (NO_ROUTER, SIX._replace(lost=True), True),
    (NO_ROUTER, SIX._replace(lost=True, gateway=""), False),  # nothing leads anywhere
    (NO_ADDRESS, SIX._replace(address="", length=0), False),  # no answer would come back
    (NO_ADDRESS, SIX._replace(address="", length=0, asks_from="2001:db8:a:f00::1"), True),
    ("disabled", SIX, False), ("unusable", SIX._replace(gateway=""), False),
])
def test_nobody_is_asked_without_a_way_and_an_address_for_the_answer(state: str, lease: Lease, probed: bool) -> None:
    one = watch(AF_INET6, lease=lease, state=state)
    side = Side(AF_INET6)
    side.watches["eth0"] = one
    side.conclude({one}, 100)
    assert one.probed == probed and (one.due_s < NEVER) == probed


def test_a_link_that_lost_its_address_when_it_was_dead_starts_without_a_past() -> None:
    one = watch(AF_INET6, servers=OF6)
    silent(one, SERVER6, 100)
    assert one.health.dead
    one.stands(Uplink(LINK, SIX._replace(address="", length=0), 2, NO_ADDRESS), THERE, OF6)
    assert not one.health.dead


def test_name_servers_that_are_advertised_later_take_the_gateway_s_place_and_raise_nobody() -> None:
    one = watch(AF_INET6)
    gateway, = one.asks
    assert gateway.kind == GATEWAY
    silent(one, gateway, 100)
    one.stands(Uplink(LINK, SIX, 2, "dead"), THERE, OF6)
    assert one.asks == (SERVER6,) and one.health.dead and not one.health.proven
    assert one.checked().by == "the provider's name servers"


@pytest.mark.parametrize("family, servers, due_s", [(AF_INET, OF4, [100, 100.5, 101, 101.5]),
                                                    (AF_INET6, OF6, [101, 101.5, 102, 102.5])])
def test_new_links_are_asked_soon_but_one_after_another(family: int, servers: tuple[str, ...],
                                                        due_s: list[float]) -> None:
    """In IPv6 after the answer to a solicitation."""
    side = Side(family)
    side.watches = {name: watch(family, link=Link(name, name, 200, 1), servers=servers)
                    for name in ("eth0", "eth1", "eth2", "eth3")}
    side.survey()
    side.spread(100)
    side.conclude(set(side.watches.values()), 100)
    assert [one.due_s for one in side.watches.values()] == due_s
    side.watches["eth0"].health = machine.sent(side.watches["eth0"].health, (), 100)
    side.spread(101)
    assert side.ask_s(side.watches["eth0"]) == 102
