"""`translate6 = failover`: what it is written as, and what follows for the nft table and the routing."""

from socket import AF_INET6

import pytest

from dhcp_lb.config import parse
from dhcp_lb.marks import marks, translators
from dhcp_lb.model import (ADMINISTRATOR, FAILOVER, GIVEN_UP, MONITOR, NO, NO_NEW, OUT, Hold, Interface, Lease, Link,
                           Route, Settings)
from dhcp_lb.pinning.table import becomes, text
from dhcp_lb.policy import Policy
from dhcp_lb.routing import METRIC_GUARD, desired, judge

SETTINGS = Settings(translate6=FAILOVER)
ETH0 = Link("eth0", "t0", 200, 1, prefixes6=("2001:db8:a::/48",))
ETH1 = Link("eth1", "t1", 201, 2, prefixes6=("2001:db8:b::/48", "2003::/19"))
ETH2 = Link("eth2", "t2", 202, 1)
ETH3 = Link("eth3", "t3", 203, 1, prefixes6=("2001:db8:c:100::/56",))
ALL = (ETH0, ETH1, ETH2, ETH3)


@pytest.mark.parametrize("word", [FAILOVER, NO])
def test_the_setting(word: str) -> None:
    config = parse(f"translate6 = {word}\n".encode())
    assert (config.errors, config.settings.translate6) == ((), word)
    assert parse(b"").settings.translate6 == NO


@pytest.mark.parametrize("lines, said", [
    ("translate6 = masquerade", "F:1: translate6 masquerade: must be failover or no"),
    ("translate6 = failover always", "F:1: translate6 has 2 values: must be one"),
    ("translate6 = no\ntranslate6 = no", "F:2: translate6 is already on line 1: must be set once"),
    ("pin = no\n\ntranslate6 = failover",
     "F:3: translate6 = failover needs pinned connections, and line 1 has pin = no: must be only one of the two"),
])
def test_mistakes_have_their_line(lines: str, said: str) -> None:
    assert parse(lines.encode(), "F").errors == (said,)


def test_without_pins_nothing_may_be_translated() -> None:
    assert parse(b"pin = no\ntranslate6 = no\n").errors == ()
    assert parse(b"pin = yes\ntranslate6 = failover\n").errors == ()


@pytest.mark.parametrize("links, settings, among", [
    (ALL, SETTINGS, ALL),
    (ALL, Settings(), ()),
    ((ETH0,), SETTINGS, ()),  # there is no other
    ((ETH0, ETH1._replace(ipv6=False)), SETTINGS, ()),
    ((ETH0, ETH1._replace(ipv6=False), ETH2), SETTINGS, (ETH0, ETH2)),
    ((ETH2, ETH2._replace(interface="eth4", table=204)), SETTINGS, ()),  # nobody knows a prefix
    ((ETH0, ETH2._replace(interface='"')), SETTINGS, ()),  # that link would take anything as it is
])
def test_the_links_among_which_sources_are_translated(links: tuple[Link, ...], settings: Settings,
                                                      among: tuple[Link, ...]) -> None:
    assert translators(links, settings) == among


@pytest.mark.parametrize("source, link, found", [
    ("2001:db8:a:f00::2", ETH0, ""), ("2001:db8:a:f00::2", ETH1, "2001:db8:b::/48"),
    ("2001:db8:a:f00::2", ETH2, "the link's address"),
    ("2001:db8:a:f00::2", ETH3, "the link's address"),  # a longer one
    ("2001:db8:b:f00::2", ETH0, "2001:db8:a::/48"), ("2003::2", ETH1, ""),
    ("2003::2", ETH0, "the link's address"),  # a shorter one
    ("2001:db8:c:1ff::2", ETH0, "the link's address"), ("2001:db8:c:200::2", ETH0, ""), ("fd00::2", ETH0, ""),
])
def test_what_becomes_of_a_source(source: str, link: Link, found: str) -> None:
    assert becomes(source, link, ALL) == found


def test_all_that_a_provider_has_is_no_prefix_to_translate_to() -> None:
    """A machine of another customer's would get the answers."""
    pair = (ETH0._replace(prefixes6=("2001:db8::/32",)), ETH1._replace(prefixes6=("2003::/32",)))
    assert becomes("2001:db8::2", pair[1], pair) == "the link's address"
    assert "snat" not in text(marks(pair, 0xff000000), 0xff000000, pair)


def test_a_link_that_is_not_to_be_touched_translates_nothing() -> None:
    assert becomes("2001:db8:a::2", ETH2, (ETH0, ETH1)) == ""


TEXT = """\
  chain forward {
    type filter hook forward priority mangle + 5
    meta mark & 0xff000000 { 0xc8000000, 0xc9000000 } meta mark set meta mark & 0x00ffffff
    ct status confirmed ct mark & 0xff000000 { 0xc8000000, 0xc9000000 } oifname vmap @stray
  }
  chain output {
    type route hook output priority mangle + 5
    ct direction reply meta mark & 0xff000000 == 0 ct mark & 0xff000000 vmap @pinned
  }
  chain postrouting {
    type filter hook postrouting priority mangle + 5
    oifname vmap @leaves
    ct mark & 0xff000000 == 0 iifname vmap @leaves
  }
  set translated {
    type ipv6_addr
    flags interval
    elements = {
      2001:db8:a::/48,
      2001:db8:b::/48,
      2003::/19
    }
  }
  set translated-48 {
    type ipv6_addr
    flags interval
    elements = {
      2001:db8:a::/48,
      2001:db8:b::/48
    }
  }
  map stray {
    type ifname : verdict
    elements = {
      "eth0" : goto stray-200,
      "eth1" : goto stray-201
    }
  }
  map translate {
    type ifname : verdict
    elements = {
      "eth0" : goto translate-200,
      "eth1" : goto translate-201
    }
  }
  chain stray-200 {
    ct mark & 0xff000000 == 0xc8000000 return
    ip6 saddr @translated reject with icmpv6 type no-route
  }
  chain translate-200 {
    ip6 saddr { 2001:db8:a::/48 } return
    ip6 saddr @translated-48 snat ip6 prefix to 2001:db8:a::/48
    ip6 saddr @translated masquerade
  }
  chain stray-201 {
    ct mark & 0xff000000 == 0xc9000000 return
    ip6 saddr @translated reject with icmpv6 type no-route
  }
  chain translate-201 {
    ip6 saddr { 2001:db8:b::/48, 2003::/19 } return
    ip6 saddr @translated-48 snat ip6 prefix to 2001:db8:b::/48
    ip6 saddr @translated masquerade
  }
  chain translation {
    type nat hook postrouting priority srcnat + 5
    oifname vmap @translate
  }
}
"""


def test_the_text_of_two_links_from_where_it_differs() -> None:
    named = marks((ETH0, ETH1), 0xff000000)
    before, after = text(named, 0xff000000), text(named, 0xff000000, (ETH0, ETH1))
    assert after[after.index("  chain forward"):] == TEXT
    assert after.startswith(before[:before.index("  chain forward")])


# The routing: eth0 and eth1 with a lease each

LEASES = {"eth0": Lease("2001:db8:a::5", 64, "fe80::1", prefixes=("2001:db8:a::/48",)),
          "eth1": Lease("2001:db8:b::5", 64, "fe80::2", prefixes=("2001:db8:b::/48",))}
DEVICES = {name: Interface(2 + place, True, True, (lease.address,))
           for place, (name, lease) in enumerate(LEASES.items())}


def of_eth0(*holds: Hold, leases: dict[str, Lease] = LEASES, devices: dict[str, Interface] = DEVICES,
            translated: bool = True, policies: tuple[Policy, ...] = (), **others: Hold) -> set[str]:
    """What is done with a source in eth0's prefix: `own`, `told` where that has no carrier; `policy` is not asked."""
    held = {"eth0": holds, **{name: (hold,) for name, hold in others.items()}}
    found = desired(judge((ETH0, ETH1), leases, held, devices), SETTINGS, family=AF_INET6, translated=translated,
                    policies=policies).routes
    return {"told" if route.metric == METRIC_GUARD else "own" if route.table == 252 else "policy"
            for route in found if route.only_from in leases["eth0"].prefixes}


DRAINED, DISABLED = Hold(ADMINISTRATOR, NO_NEW), Hold(ADMINISTRATOR, OUT)
DEAD, RETURNING = Hold(MONITOR, GIVEN_UP, "silent"), Hold(MONITOR, NO_NEW, "silent")


def test_a_source_leaves_by_its_own_link_and_nobody_is_told_that_there_is_no_way() -> None:
    assert of_eth0() == {"own"}
    assert of_eth0(translated=False) == {"own", "told"}


@pytest.mark.parametrize("hold", [DRAINED, DISABLED, DEAD, RETURNING])
def test_a_link_that_takes_no_new_connections_leaves_them_to_the_others(hold: Hold) -> None:
    assert of_eth0(hold) == set()


def test_a_link_without_a_router_leaves_them_to_the_others() -> None:
    lost = {**LEASES, "eth0": LEASES["eth0"]._replace(lost=True)}
    assert of_eth0(leases=lost) == set()
    assert of_eth0(leases=lost, translated=False) == {"own", "told"}


@pytest.mark.parametrize("hold", [DRAINED, DEAD, RETURNING])
@pytest.mark.parametrize("other", [DRAINED, DISABLED, DEAD])
def test_where_no_other_link_takes_them_a_source_stays_with_its_own(hold: Hold, other: Hold) -> None:
    drained_last = hold == DRAINED and other == DEAD  # a dead one counts as balanced then: nobody else is
    assert of_eth0(hold, eth1=other) == (set() if drained_last else {"own"})


def test_a_link_without_carrier_or_without_an_address_keeps_its_route() -> None:
    """The kernel skips the one; the other takes what comes from its prefix."""
    out = {**DEVICES, "eth0": DEVICES["eth0"]._replace(carrier=False)}
    assert of_eth0(devices=out) == {"own"}
    alone = {**LEASES, "eth0": LEASES["eth0"]._replace(address="", networks=("fe80::/64",))}
    assert of_eth0(leases=alone) == of_eth0(leases=alone, devices=out) == {"own"}


def test_a_prefix_that_only_a_client_tells_of_is_told_as_ever() -> None:
    told = {**LEASES, "eth0": LEASES["eth0"]._replace(prefixes=("2001:db8:d::/48",))}
    assert of_eth0(leases=told) == {"own", "told"} and "told" in of_eth0(DEAD, leases=told)
    shorter = {**LEASES, "eth0": LEASES["eth0"]._replace(prefixes=("2001:db8::/32",))}
    assert of_eth0(leases=shorter) == {"own", "told"}
    part = {**LEASES, "eth0": LEASES["eth0"]._replace(prefixes=("2001:db8:a:f00::/56",))}
    assert of_eth0(leases=part) == {"own"}


def test_a_policy_sends_no_source_to_another_provider_unless_it_is_translated() -> None:
    line = (Policy(("eth1",)),)
    assert of_eth0(policies=line) == {"own"}
    assert of_eth0(policies=line, translated=False) == {"own", "told", "policy"}
    told = {**LEASES, "eth0": LEASES["eth0"]._replace(prefixes=("2001:db8:d::/48",))}
    assert of_eth0(policies=line, leases=told) == {"own", "told", "policy"}


def test_the_rest_of_the_routing_is_the_same() -> None:
    uplinks = judge((ETH0, ETH1), LEASES, {"eth0": (DEAD,)}, DEVICES)
    both = [desired(uplinks, SETTINGS, family=AF_INET6, translated=translated) for translated in (False, True)]
    assert both[0].rules == both[1].rules
    others: list[set[Route]] = [{route for route in one.routes if not route.only_from} for one in both]
    assert others[0] == others[1]
