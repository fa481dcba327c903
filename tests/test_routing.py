"""Links, leases and interfaces → the state of each link, and the wanted routing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.model import (ADMINISTRATOR, BLACKHOLE, GIVEN_UP, GONE, KERNEL, MONITOR, NO_NEW, NONE, OUT, Hold,
                           Interface, Lease, Link, Nexthop, Objection, Route, Routing, Rule, Settings, State)
from dhcp_lb.plan import changes
from dhcp_lb.policy import Policy
from dhcp_lb.policy import rules as policy_rules
from dhcp_lb.routing import PREF_PAUSE, PREF_PIN, Foreign, Uplink, desired, judge, recovered, released, scaled
from tests.beds.examples import (BOTH, COMMON_RULES, ETH0, ETH1, INTERFACES, LEASE0, LEASE1, LEASES, MAIN0, MAIN1,
                                 ONLY0, ONLY1, RULES0, RULES1, SHARED, SINGLE0, SINGLE1, TABLE0, TABLE1, held)

LINKS = (ETH0, ETH1)
DHCP = Rule(20300, 251, protocol=17, ports=((67, 67),))
DNS = {Rule(30200, 251, protocol=17, ports=((53, 53),)), Rule(30201, 251, protocol=6, ports=((53, 53),))}


def states(leases: dict[str, Lease] = LEASES, interfaces: dict[str, Interface] = INTERFACES,
           holds: dict[str, Hold] | None = None, links: tuple[Link, ...] = LINKS) -> list[str]:
    return [f"{uplink.state}: {uplink.reason}" if uplink.reason else uplink.state
            for uplink in judge(links, leases, State(held=holds or {}).holds(), interfaces)]


def routing(leases: dict[str, Lease] = LEASES, interfaces: dict[str, Interface] = INTERFACES,
            holds: dict[str, Hold] | None = None, links: tuple[Link, ...] = LINKS) -> Routing:
    return desired(judge(links, leases, State(held=holds or {}).holds(), interfaces), Settings())


def test_two_links_with_leases_are_up() -> None:
    assert judge(LINKS, LEASES, {}, INTERFACES) == (Uplink(ETH0, LEASE0, 2, "up", balanced=True),
                                                    Uplink(ETH1, LEASE1, 3, "up", balanced=True))


@pytest.mark.parametrize("lease", [{}, {"eth0": NONE}])
def test_a_link_without_a_lease(lease: dict[str, Lease]) -> None:
    assert states({**lease, "eth1": LEASE1}) == ["no lease", "up"]


@pytest.mark.parametrize("interface, state", [
    (Interface(2, False, False, ("192.0.2.34",)), "down"),
    (Interface(2, True, False, ("192.0.2.34",)), "no carrier"),
    (Interface(2, True, True, ()), "unusable: the interface does not have the address 192.0.2.34"),  # fault 17
    (Interface(2, True, True, ("203.0.113.8",)), "unusable: the interface does not have the address 192.0.2.34"),
    (Interface(2, True, True, ("203.0.113.8", "192.0.2.34")), "up"),  # fault 23
])
def test_the_interface_decides(interface: Interface, state: str) -> None:
    assert states(interfaces={**INTERFACES, "eth0": interface}) == [state, "up"]


def test_an_interface_that_is_gone() -> None:  # faults 29, 30
    assert states(interfaces={"eth1": INTERFACES["eth1"]}) == ["no interface", "up"]


def test_an_administrator_holds_a_link_back() -> None:
    assert states(holds=held(eth0="disabled", eth1="draining")) == ["disabled", "draining"]


def test_the_fault_of_a_lease_is_the_reason() -> None:
    assert states({**LEASES, "eth0": LEASE0._replace(gateway="", fault="gateway is missing")}) == [
        "unusable: gateway is missing", "up"]


def test_the_same_address_on_two_links_makes_the_second_unusable() -> None:  # fault 2
    twin = {name: Interface(interface.ifindex, True, True, ("192.0.2.34",)) for name, interface in INTERFACES.items()}
    assert states({"eth0": LEASE0, "eth1": LEASE0}, twin) == ["up", "unusable: eth0 has the same address 192.0.2.34"]
    assert states({"eth0": LEASE0, "eth1": LEASE0}, twin, held(eth0="disabled")) == ["disabled", "up"]


def test_a_gateway_that_is_this_machine_itself_is_unusable() -> None:  # fault 4
    other = LEASE0._replace(gateway="203.0.113.8")
    two = Interface(2, True, True, ("192.0.2.34", "203.0.113.8"))
    assert states({"eth0": other, "eth1": LEASE1}, {**INTERFACES, "eth0": two}) == [
        "unusable: gateway 203.0.113.8 is an address of this machine", "up"]


def test_an_address_that_is_another_link_s_gateway_takes_no_link_out() -> None:  # promise 6
    assert states({"eth0": LEASE0._replace(gateway="198.51.100.7"), "eth1": LEASE1}) == ["up", "up"]


def test_what_the_kernel_refused_is_unusable() -> None:
    assert states(holds={"eth1": Hold(KERNEL, OUT, "the kernel refuses it")}) == [
        "up", "unusable: the kernel refuses it"]


def test_by_whose_gateway_the_kernel_takes_nothing_more_gets_no_new_connections() -> None:
    assert states(holds={"eth1": Hold(KERNEL, NO_NEW, "the kernel refuses it")}) == [
        "up", "no new connections: the kernel refuses it"]


@pytest.mark.parametrize("word, reach, state", [
    ("disabled", OUT, "disabled"), ("disabled", NO_NEW, "disabled"), ("draining", OUT, "unusable: words"),
    ("draining", NO_NEW, "no new connections: words")])
def test_the_strongest_hold_counts(word: str, reach: str, state: str) -> None:
    holds = State(held=held(eth0=word), objections={"eth0": Objection(Hold(KERNEL, reach, "words"), "")}).holds()
    assert judge(LINKS, LEASES, holds, INTERFACES)[0][3:5] == tuple([*state.split(": "), ""][:2])


@pytest.mark.parametrize("gateway, state", [
    ("192.0.2.254", "up"),
    ("203.0.113.1", "up"),  # onlink
    ("192.0.2.34", "unusable: gateway is the link's own address"),
    ("192.0.2.255", "unusable: gateway 192.0.2.255 is the network or broadcast address"),
])
def test_a_gateway_in_the_configuration_stands_in_or_overrules(gateway: str, state: str) -> None:
    link = ETH0._replace(gateway=gateway)
    for lease in LEASE0, LEASE0._replace(gateway="", fault="gateway is missing"):
        assert states({"eth0": lease}, links=(link,)) == [state]


def test_nothing_is_nothing() -> None:  # fault 48
    assert desired((), Settings()) == Routing()
    assert routing({}) == Routing()


def test_two_links() -> None:
    assert routing() == Routing(TABLE0 | TABLE1 | {BOTH, SINGLE0, SINGLE1, MAIN0, MAIN1},
                                RULES0 | RULES1 | COMMON_RULES)


@pytest.mark.parametrize("leases, interfaces, holds", [
    ({"eth0": LEASE0}, INTERFACES, None),
    ({"eth0": LEASE0, "eth1": NONE}, INTERFACES, None),
    ({"eth0": LEASE0, "eth1": LEASE1._replace(gateway="", fault="gateway is missing")}, INTERFACES, None),
    (LEASES, {"eth0": INTERFACES["eth0"]}, None),
    (LEASES, INTERFACES, held(eth1="disabled")),
])
def test_one_link_of_two(leases: dict[str, Lease], interfaces: dict[str, Interface],
                         holds: dict[str, Hold] | None) -> None:
    """Whatever takes the other link out, this link has the same routes and rules as with both, except for the
    multipath."""
    assert routing(leases, interfaces, holds) == Routing(TABLE0 | {ONLY0, SINGLE0, MAIN0}, RULES0 | COMMON_RULES)


def test_a_link_without_carrier_keeps_its_routes() -> None:  # fault 32: the kernel leaves its nexthop out by itself
    assert routing(interfaces={**INTERFACES, "eth1": INTERFACES["eth1"]._replace(carrier=False)}) == routing()


def test_a_draining_link_gets_no_new_connections_and_keeps_the_rest() -> None:
    assert routing(holds=held(eth0="draining")) == Routing(TABLE0 | TABLE1 | {ONLY1, SINGLE0, SINGLE1, MAIN1},
                                                           RULES0 | RULES1 | COMMON_RULES)


def test_if_all_links_drain_the_single_defaults_serve() -> None:
    assert routing(holds=held(eth0="draining", eth1="draining")) == Routing(
        TABLE0 | TABLE1 | {SINGLE0, SINGLE1}, RULES0 | RULES1 | COMMON_RULES)


def test_a_slash_32_has_no_prefix_and_an_onlink_gateway() -> None:  # fault 3
    lease = Lease("203.0.113.5", 32, "192.0.2.1")
    assert routing({"eth0": lease}, {"eth0": Interface(2, True, True, ("203.0.113.5",))}) == Routing(frozenset((
        Route(200, "0.0.0.0/0", 0, "203.0.113.5", 0, (Nexthop("192.0.2.1", 2, 1, True),)),
        Route(252, "0.0.0.0/0", 1001, "203.0.113.5", 0, (Nexthop("192.0.2.1", 2, 1, True),)),
        Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 2, 1, True),)),
        Route(254, "0.0.0.0/0", 8101, "203.0.113.5", 0, (Nexthop("192.0.2.1", 2, 1, True),)),
    )), frozenset((Rule(20100, 200, "203.0.113.5/32"), Rule(20200, 200, oif="eth0"))) | COMMON_RULES)


def test_two_links_with_the_same_subnet_and_gateway_differ_by_address_and_table() -> None:  # fault 1
    leases = {"eth0": Lease("192.168.1.2", 24, "192.168.1.1"), "eth1": Lease("192.168.1.3", 24, "192.168.1.1")}
    interfaces = {"eth0": Interface(2, True, True, ("192.168.1.2",)),
                  "eth1": Interface(3, True, True, ("192.168.1.3",))}
    found = routing(leases, interfaces)
    assert {rule for rule in found.rules if rule.pref == 20100} == {
        Rule(20100, 200, "192.168.1.2/32"), Rule(20100, 201, "192.168.1.3/32")}
    assert Route(252, "0.0.0.0/0", 0, "", 0,
                 (Nexthop("192.168.1.1", 2, 1), Nexthop("192.168.1.1", 3, 2))) in found.routes


def test_a_dhcp_server_that_is_not_on_link_is_reached_through_its_own_link() -> None:
    host = Route(251, "203.0.113.67/32", 67, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),))
    for words in {}, {"eth0": "draining"}:
        without = routing(holds=held(**words))
        found = routing({**LEASES, "eth0": LEASE0._replace(server="203.0.113.67")}, holds=held(**words))
        assert found == Routing(without.routes | {host}, without.rules | {DHCP})


def named(*servers: str, interfaces: dict[str, Interface] = INTERFACES, lease: Lease = LEASE1, link: Link = ETH0,
          **words: str) -> set[str]:
    """The routes of the table of servers where eth0's lease has these name servers, and the prefs of its rules."""
    found = routing({"eth0": LEASE0._replace(name_servers=servers), "eth1": lease}, interfaces, held(**words),
                    (link, ETH1))
    return {f"{route.destination} {route.nexthops[0].oif}" for route in found.routes if route.table == 251} | {
        str(rule.pref) for rule in found.rules if rule.table == 251}


def test_the_name_servers_of_a_link_are_reached_through_it_and_no_other_traffic_is() -> None:
    host = Route(251, "203.0.113.53/32", 53, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),))
    found = routing({**LEASES, "eth0": LEASE0._replace(name_servers=("203.0.113.53",))})
    assert found == Routing(routing().routes | {host}, routing().rules | DNS)
    assert named("203.0.113.53", "203.0.113.54") == {"203.0.113.53/32 2", "203.0.113.54/32 2", "30200", "30201"}


def test_a_name_server_that_another_link_names_too_or_that_is_in_a_network_of_ours_is_no_matter() -> None:
    assert named("203.0.113.53", lease=LEASE1._replace(name_servers=("203.0.113.53",))) == set()
    assert named("192.0.2.1", "192.0.2.53", "198.51.100.9") == set()  # the gateway, and each link's own network
    modem = INTERFACES["eth1"]._replace(addresses=("198.51.100.7", "192.168.100.2"), lengths=(25, 24),
                                        lasting=(False, True))
    assert named("192.168.100.1", interfaces={**INTERFACES, "eth1": modem}) == set()
    assert named("192.168.100.1") == {"192.168.100.1/32 2", "30200", "30201"}


def test_a_link_that_gets_no_new_connections_or_has_dns_no_answers_no_queries() -> None:
    assert named("203.0.113.53", eth0="draining") == set()
    assert named("203.0.113.53", eth0="disabled") == set()
    assert named("203.0.113.53", link=ETH0._replace(dns=False)) == set()


def test_queries_do_not_leave_the_tunnel_of_a_vpn_that_was_there_first() -> None:
    uplinks = judge(LINKS, {**LEASES, "eth0": LEASE0._replace(name_servers=("203.0.113.53",))}, {}, INTERFACES)
    assert DNS <= desired(uplinks, Settings()).rules
    assert not DNS & desired(uplinks, Settings(), foreign=Foreign(vpn=True)).rules


def test_main_s_default_by_a_lan_does_not_take_all_and_one_behind_ours_is_no_matter() -> None:
    uplinks = judge(LINKS, LEASES, {}, INTERFACES)
    for metric, there in ((-1, True), (0, False), (8099, False), (8100, True), (20100, True)):
        rules = desired(uplinks, Settings(), foreign=Foreign(metric)).rules
        assert (Rule(30000, 254, suppress_group=109) in rules) == there
        assert rules | {Rule(30000, 254, suppress_group=109)} == RULES0 | RULES1 | COMMON_RULES
    assert Rule(30000, 254, suppress_group=109) not in desired(
        uplinks, Settings(main_default="no"), foreign=Foreign(20100)).rules


def test_main_gets_a_default_by_each_link_that_works() -> None:
    def mains(**words: str) -> set[Route]:
        return {route for route in routing(holds=held(**words)).routes if route.table == 254}
    assert mains() == {MAIN0, MAIN1}
    assert mains(eth1="draining") == mains(eth1="disabled") == {MAIN0}
    without = desired(judge(LINKS, LEASES, {}, INTERFACES), Settings(main_default="no"))
    assert without == Routing(routing().routes - {MAIN0, MAIN1}, routing().rules)


def test_a_network_beside_the_lease_is_in_all_links_tables_if_it_is_clear_where_it_is() -> None:
    both = INTERFACES["eth0"]._replace(addresses=("192.0.2.34", "192.168.100.2", "10.9.9.9"), lengths=(24, 24, 32),
                                       lasting=(False, True, True))
    routes = [Route(table, "192.168.100.0/24", 0, "192.168.100.2", 253, (Nexthop("", 2),)) for table in (200, 201)]
    assert routing(interfaces={**INTERFACES, "eth0": both}).routes == routing().routes | set(routes)
    twin = INTERFACES["eth1"]._replace(addresses=("198.51.100.7", "192.168.100.2"), lengths=(25, 24),
                                       lasting=(False, True))
    assert routing(interfaces={"eth0": both, "eth1": twin}).routes == routing().routes | {
        routes[0], routes[1]._replace(nexthops=(Nexthop("", 3),))}
    inside = INTERFACES["eth0"]._replace(addresses=("192.0.2.34", "198.51.100.9"), lengths=(24, 28),
                                         lasting=(False, True))
    assert routing(interfaces={**INTERFACES, "eth0": inside}).routes == routing().routes | {
        Route(200, "198.51.100.0/28", 0, "198.51.100.9", 253, (Nexthop("", 2),))}
    client_s = both._replace(lasting=(False, False, False))  # of a lease that it has not told yet
    assert routing(interfaces={**INTERFACES, "eth0": client_s}).routes == routing().routes


def test_of_a_program_that_is_not_enabled_nothing_is_wanted() -> None:
    assert desired(judge(LINKS, LEASES, {}, INTERFACES), Settings(enabled="no"), True, MARKS,
                   (Policy(("eth0",), True),)) == Routing()


def test_nexthops_are_in_the_order_of_the_tables_whatever_the_order_of_the_lines() -> None:
    """In another order every masqueraded connection would move."""
    assert BOTH in routing(links=(ETH1, ETH0)).routes


def test_a_link_that_comes_or_goes_leaves_the_metrics_of_the_others() -> None:
    links = tuple(Link(f"eth{n}", f"t{n}", 300 + n, 1 + n % 3) for n in range(6))
    leases = {f"eth{n}": Lease(f"10.{n}.0.2", 24, f"10.{n}.0.1") for n in range(6)}
    interfaces = {f"eth{n}": Interface(10 + n, True, True, (f"10.{n}.0.2",)) for n in range(6)}
    full = routing(leases, interfaces, links=links)
    singles = {route.metric: route.nexthops[0].oif for route in full.routes if 0 < route.metric < 8100}
    assert singles == {1000: 12, 1001: 15, 1002: 11, 1003: 14, 1004: 10, 1005: 13}  # the heaviest first
    for out in leases:
        fewer = routing({name: lease for name, lease in leases.items() if name != out}, interfaces, links=links)
        assert {route for route in fewer.routes if route.metric} < full.routes


def test_the_balance_table_may_be_another() -> None:
    found = desired(judge(LINKS, LEASES, {}, INTERFACES), Settings("uplinks", 7))
    assert BOTH._replace(table=7) in found.routes and Rule(32765, 7) in found.rules
    assert 252 not in {one.table for one in (*found.routes, *found.rules)}


@pytest.mark.parametrize("weights, kernel", [
    ([], []), ([1], [1]), ([1, 2], [1, 2]), ([256, 1], [256, 1]),
    ([257], [256]), ([100_000, 50_000], [256, 128]), ([1000, 1], [256, 1]), ([512, 512], [256, 256]),
    ([100_000_000, 1], [256, 1]), ([300, 200, 100], [256, 171, 85]),
])
def test_weights_over_256_are_scaled(weights: list[int], kernel: list[int]) -> None:
    assert scaled(weights) == kernel


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=50))
def test_scaled_weights_are_the_kernels_and_keep_their_ratios(weights: list[int]) -> None:
    kernel = scaled(weights)
    assert all(1 <= weight <= 256 for weight in kernel)
    if max(weights) <= 256:
        assert kernel == weights
    else:
        assert max(kernel) == 256
        for before, after in zip(weights, kernel, strict=True):
            assert after == 1 or abs(after / 256 - before / max(weights)) <= 0.5 / 256


@pytest.mark.parametrize("holds", [{}, held(eth1="draining")])
@pytest.mark.parametrize("lease", [
    LEASE0, LEASE0._replace(server="203.0.113.67"), LEASE0._replace(name_servers=("203.0.113.53",)),
    LEASE0._replace(gateway="203.0.113.1"),
    Lease("192.0.2.34", 32, "203.0.113.1"),
])
def test_a_lost_store_is_read_off_the_kernels_routes(lease: Lease, holds: dict[str, Hold]) -> None:  # faults 60, 61
    found = routing({**LEASES, "eth0": lease}, holds=holds)
    again = recovered(found, INTERFACES, Settings())
    assert set(again) == {"eth0", "eth1"}
    assert routing(again, holds=holds) == found


def test_a_lost_lease_is_that_of_the_interface_whatever_table_it_has_now() -> None:
    swapped = [route._replace(table={200: 201, 201: 200}.get(route.table, route.table)) for route in routing().routes]
    assert recovered(Routing(frozenset(swapped)), INTERFACES, Settings()) == recovered(
        routing(), INTERFACES, Settings())


def test_routes_of_somebody_with_our_protocol_number_are_no_lease() -> None:
    strange = [Route(252, "203.0.113.0/24", 0, "", 0, (), b"\0\x06"),  # blackhole
               Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (), b"\0\x06"),
               Route(200, "0.0.0.0/0", 5, "192.0.2.34", 0, (Nexthop("192.0.2.9", 2),)),
               Route(999, "0.0.0.0/0", 0, "192.0.2.34", 0, (Nexthop("192.0.2.1", 9),)),
               Route(200, "203.0.113.0/24", 0, "192.0.2.34", 0, (Nexthop("192.0.2.1", 2),))]
    assert recovered(Routing(frozenset(strange)), INTERFACES, Settings()) == {}
    assert set(recovered(Routing(routing().routes | set(strange)), INTERFACES, Settings())) == {"eth0", "eth1"}


# What the monitor says

SILENT = Hold(MONITOR, GIVEN_UP, "silent")
QUIET = Hold(MONITOR, NO_NEW, "no answer yet")
CUT0 = {**INTERFACES, "eth0": INTERFACES["eth0"]._replace(carrier=False)}
DEAD0 = SINGLE0._replace(metric=1_000_001)
DEAD1 = SINGLE1._replace(metric=1_000_000)


def watched(holds: dict[str, Hold], interfaces: dict[str, Interface] = INTERFACES) -> tuple[list[str], Routing]:
    """The states, and the routing."""
    uplinks = judge(LINKS, LEASES, {name: (hold,) for name, hold in holds.items()}, interfaces)
    return [uplink.state for uplink in uplinks], desired(uplinks, Settings())


def defaults(routing: Routing) -> set[Route]:
    """What the balance table has."""
    return {route for route in routing.routes if route.table == 252}


def test_a_dead_link_gets_no_new_connections_and_keeps_its_table_and_rules_to_be_asked_by() -> None:
    states, routing = watched({"eth0": SILENT})
    assert states == ["dead", "up"]
    assert defaults(routing) == {ONLY1, SINGLE1, DEAD0}  # and serves after the others if they are unplugged
    assert TABLE0 <= routing.routes and RULES0 <= routing.rules


def test_a_dead_link_leaves_its_address_to_another_one_that_has_it_too() -> None:
    """Two modems that hand out the same. The dead one is still asked by its device, and has the address back as soon
    as it works, being the earlier line."""
    twins = {name: one._replace(addresses=("192.0.2.34",)) for name, one in INTERFACES.items()}

    def judged(**holds: Hold) -> tuple[list[str], Routing]:
        uplinks = judge(LINKS, {"eth0": LEASE0, "eth1": LEASE0}, {name: (one,) for name, one in holds.items()}, twins)
        return [uplink.state for uplink in uplinks], desired(uplinks, Settings())

    def tables(routing: Routing) -> dict[str, int]:
        """Which table a rule leads to, by its source or its interface."""
        return {rule.source or rule.oif: rule.table for rule in routing.rules if rule.source or rule.oif}

    states, routing = judged(eth0=SILENT)
    assert states == ["dead", "up"]
    assert tables(routing) == {"192.0.2.34/32": 201, "eth0": 200, "eth1": 201}
    assert {route.nexthops for route in routing.routes if route.table == 200} == {
        (Nexthop("192.0.2.1", 2),), (Nexthop("", 2),)}
    [serves] = [route for route in routing.routes if route.table == 252 and not route.metric]
    assert serves.nexthops == (Nexthop("192.0.2.1", 3),)
    assert judged()[0] == ["up", "unusable"] and judged(eth1=SILENT)[0] == ["up", "dead"]
    states, routing = judged(eth0=SILENT, eth1=SILENT)
    assert states == ["dead", "dead"]
    [serves] = [route for route in routing.routes if route.table == 252 and not route.metric]
    assert serves.nexthops == (Nexthop("192.0.2.1", 2),) and tables(routing)["192.0.2.34/32"] == 200


def test_where_nobody_answers_all_stay() -> None:
    states, routing = watched({"eth0": SILENT, "eth1": SILENT})
    assert states == ["dead", "dead"]
    assert defaults(routing) == {BOTH, DEAD0, DEAD1}


def test_a_dead_link_stays_where_the_other_one_s_cable_is_out() -> None:
    states, routing = watched({"eth1": SILENT}, CUT0)
    assert states == ["no carrier", "dead"]
    assert defaults(routing) == {BOTH, SINGLE0, DEAD1}


def test_a_dead_link_stays_where_the_other_one_is_drained() -> None:
    uplinks = judge(LINKS, LEASES, {"eth0": (SILENT,), "eth1": (Hold(ADMINISTRATOR, NO_NEW),)}, INTERFACES)
    assert [uplink.state for uplink in uplinks] == ["dead", "draining"]
    assert ONLY0 in desired(uplinks, Settings()).routes


def test_a_link_that_has_not_answered_since_its_carrier_came_back_gets_no_new_connections() -> None:
    states, routing = watched({"eth0": QUIET})
    assert states == ["returning", "up"]
    assert defaults(routing) == {ONLY1, SINGLE0, SINGLE1}


def test_a_link_is_out_before_its_carrier_comes_back() -> None:
    states, routing = watched({"eth0": QUIET}, CUT0)
    assert states == ["no carrier", "up"]
    assert defaults(routing) == {ONLY1, SINGLE0, SINGLE1}


def test_two_links_that_return_serve_both() -> None:
    states, routing = watched({"eth0": QUIET, "eth1": QUIET})
    assert states == ["returning", "returning"]
    assert BOTH in routing.routes


def test_the_administrator_s_and_the_kernel_s_holds_are_stronger() -> None:
    for hold, state in ((Hold(ADMINISTRATOR, OUT), "disabled"), (Hold(ADMINISTRATOR, NO_NEW), "draining"),
                        (Hold(KERNEL, OUT, "no"), "unusable"), (Hold(KERNEL, NO_NEW, "no"), "no new connections")):
        assert judge(LINKS, LEASES, {"eth0": (SILENT, hold)}, INTERFACES)[0].state == state


# Tiers

ETH2 = Link("eth2", "table-eth2", 202, 5, tier=2)
ETH3 = Link("eth3", "table-eth3", 203, 3, tier=9)
LEASE2 = Lease("203.0.113.9", 24, "203.0.113.1")
LEASE3 = Lease("10.0.0.9", 24, "10.0.0.1")
FOUR = {**INTERFACES, "eth2": Interface(4, True, True, ("203.0.113.9",)),
        "eth3": Interface(5, True, True, ("10.0.0.9",))}


def tiered(**holds: Hold) -> set[Route]:
    """The defaults of four links in three tiers."""
    uplinks = judge((ETH0, ETH1, ETH2, ETH3), {**LEASES, "eth2": LEASE2, "eth3": LEASE3},
                    {name: (hold,) for name, hold in holds.items()}, FOUR)
    return defaults(desired(uplinks, Settings()))


SINGLE2 = Route(252, "0.0.0.0/0", 1002, "203.0.113.9", 0, (Nexthop("203.0.113.1", 4),))
SINGLE3 = Route(252, "0.0.0.0/0", 1003, "10.0.0.9", 0, (Nexthop("10.0.0.1", 5),))
TIER2 = Route(252, "0.0.0.0/0", 1, "", 0, (Nexthop("203.0.113.1", 4),))
TIER9 = Route(252, "0.0.0.0/0", 8, "", 0, (Nexthop("10.0.0.1", 5),))


def test_each_tier_is_a_default_of_its_own_and_a_single_default_s_rank_goes_by_the_tier_first() -> None:
    assert tiered() == {BOTH, TIER2, TIER9, SINGLE0, SINGLE1, SINGLE2, SINGLE3}


def test_a_dead_link_leaves_its_tier_and_a_tier_without_links_is_none() -> None:
    assert tiered(eth2=SILENT) == {BOTH, TIER9, SINGLE0, SINGLE1, SINGLE2._replace(metric=1_000_002), SINGLE3}


def test_a_tier_whose_links_are_all_drained_or_dead_makes_room() -> None:
    routes = tiered(eth0=Hold(ADMINISTRATOR, NO_NEW), eth1=SILENT)
    assert {route for route in routes if not route.source} == {TIER2, TIER9}


def test_the_links_of_a_tier_share_by_their_weights_alone() -> None:
    uplinks = judge((ETH0._replace(tier=3), ETH1._replace(tier=3)), LEASES, {}, INTERFACES)
    assert BOTH._replace(metric=2) in desired(uplinks, Settings()).routes


MARKS = {"eth0": 0xc8000000, "eth1": 0xc9000000}
PIN0, PIN1 = (Rule(PREF_PIN, table, mark=table << 24, mask=0xff000000) for table in (200, 201))


def pinned(*links: Link, **words: str) -> Routing:
    """The routing with pins; `words`: what the administrator does with which link."""
    uplinks = judge(links or LINKS, LEASES, State(held=held(**words)).holds(), INTERFACES)
    return desired(uplinks, Settings(), True, MARKS)


def test_a_link_that_is_up_or_drained_keeps_its_connections_and_no_other_one() -> None:
    assert pinned().rules == routing().rules | {PIN0, PIN1}
    assert pinned(eth1="draining").rules == routing().rules | {PIN0, PIN1}
    assert pinned(eth1="disabled").rules == RULES0 | COMMON_RULES | {PIN0}
    assert pinned(ETH0).rules == RULES0 | COMMON_RULES | {PIN0}


def pins_of(holds: dict[str, Hold], interfaces: dict[str, Interface] = INTERFACES,
            watch: tuple[str, ...] = ("eth0", "eth1")) -> tuple[list[str], set[Rule]]:
    """The states, and the rules that keep connections, with a monitor."""
    uplinks = judge(LINKS, LEASES, {name: (hold,) for name, hold in holds.items()}, interfaces)
    rules = desired(uplinks, Settings(), True, MARKS, (), watch).rules
    return [uplink.state for uplink in uplinks], {rule for rule in rules if rule.mask}


LONG_GONE = Hold(MONITOR, GONE, "its carrier was away")
PAUSE0, PAUSE1 = (Rule(PREF_PAUSE, 0, action=BLACKHOLE, mark=table << 24, mask=0xff000000, protocol=6)
                  for table in (200, 201))


def test_tcp_waits_for_the_cable_of_a_link_that_the_monitor_watches() -> None:
    assert pins_of({}) == (["up", "up"], {PIN0, PIN1, PAUSE0, PAUSE1})
    assert pins_of({}, watch=("eth1",)) == (["up", "up"], {PIN0, PIN1, PAUSE1})
    assert pins_of({}, CUT0) == pins_of({"eth0": QUIET}, CUT0) == (["no carrier", "up"], {PIN0, PIN1, PAUSE0, PAUSE1})


def test_it_does_not_wait_for_a_cable_that_is_gone_or_a_provider_that_is_dead() -> None:
    assert pins_of({"eth0": LONG_GONE}, CUT0) == (["no carrier", "up"], {PIN1, PAUSE1})
    assert pins_of({"eth0": SILENT}) == (["dead", "up"], {PIN1, PAUSE1})
    assert pins_of({"eth0": LONG_GONE}) == (["returning", "up"], {PIN1, PAUSE1})  # until the monitor sees it
    assert pins_of({"eth0": QUIET}) == (["returning", "up"], {PIN0, PIN1, PAUSE0, PAUSE1})


def test_where_no_link_works_connections_stay_where_they_are() -> None:
    assert pins_of({"eth0": SILENT, "eth1": SILENT})[1] == {PIN0, PIN1, PAUSE0, PAUSE1}
    assert pins_of({"eth0": LONG_GONE, "eth1": SILENT}, CUT0)[1] == {PIN0, PIN1, PAUSE0, PAUSE1}


def test_connections_of_a_link_that_is_out_are_released_if_there_is_another() -> None:
    def after(have: Routing, want: Routing) -> list[int]:
        return released(changes(have, want, SHARED), want)
    assert after(pinned(), pinned(eth1="disabled")) == [0xc9000000]
    assert after(pinned(), pinned(ETH0)) == [0xc9000000]
    assert after(pinned(), pinned(eth1="draining")) == after(pinned(eth1="draining"), pinned()) == []
    assert after(pinned(), pinned(eth0="disabled", eth1="disabled")) == []  # nowhere to go
    assert after(routing(), pinned()) == []


def test_policies_lead_to_links_that_take_new_connections_and_hold_where_there_is_none() -> None:
    lines = (Policy(("eth0", "eth1"), source="10.0.5.0/24"), Policy(("eth1",), True, iif="lo"))
    for words, tables in (({}, {"eth0": 200, "eth1": 201}), ({"eth0": "draining"}, {"eth1": 201}),
                          ({"eth0": "disabled", "eth1": "disabled"}, {})):
        uplinks = judge(LINKS, LEASES, State(held=held(**words)).holds(), INTERFACES)
        found = desired(uplinks, Settings(), True, {}, lines).rules
        assert found == (desired(uplinks, Settings()).rules | COMMON_RULES | set(policy_rules(lines, tables, 252)))
