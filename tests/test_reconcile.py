"""Sequences of events on a model of the kernel: the routing in the end, and the lines in the log."""

from errno import EINVAL, ENETDOWN, ENOTSUP
from pathlib import Path

import pytest

from dhcp_lb import nfnetlink, reconcile
from dhcp_lb.config import Config
from dhcp_lb.model import LOADED, LOST, Change, Interface, Nexthop, Refusal, Route, Routing, State
from dhcp_lb.pinning import conntrack
from dhcp_lb.routing import PREF_PIN
from dhcp_lb.store import Store
from tests.beds.examples import (BOTH, COMMON_RULES, CONFIG, MAIN1, ONLY0, ONLY1, RULES1, SINGLE0, SINGLE1, TABLE1)
from tests.beds.world import FakeRtnetlink, World

NOTHING = Routing()
ALONE1 = Routing(TABLE1 | {ONLY1, SINGLE1, MAIN1}, RULES1 | COMMON_RULES)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
def bound(world: World) -> World:
    """Both links are up."""
    world.event("BOUND", "eth0")
    world.event("BOUND", "eth1")
    assert BOTH in world.routing.routes
    return world


def test_every_change_is_in_the_log_as_a_command_and_nothing_else_is(world: World) -> None:
    lines = world.event("BOUND", "eth0")
    assert len(lines) == len(world.routing.rules) + len(world.routing.routes) == 11
    assert lines[0] == "ip -4 route append 192.0.2.0/25 dev eth0 table 200 proto 109 scope link src 192.0.2.34"
    assert lines[-1] == ("ip -4 route append default via 192.0.2.1 dev eth0 table 254 proto 109 src 192.0.2.34 "
                         "metric 8101")


def test_where_the_kernel_has_no_ipv6_nothing_of_it_is_read(bound: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(reconcile, "access", lambda path, _: asked.append(path))  # there is no such file
    monkeypatch.setattr(Store, "load6", None)
    monkeypatch.setattr(FakeRtnetlink, "addresses6", None)
    before = bound.routing
    assert bound.apply() == [] and bound.is_settled() and bound.routing == before
    assert {*asked} == {"/proc/net/if_inet6"} and len(asked) == 2  # a look each


@pytest.mark.parametrize("reason", ["BOUND", "RENEW", "REBIND", "REBOOT"])
def test_a_renewal_without_change_writes_and_logs_nothing(bound: World, reason: str) -> None:  # faults 19, 52
    for moment in 2000, 3000:
        bound.now_s = moment
        assert (bound.event(reason, "eth0"), bound.kernel.writes) == ([], 0)
    leases = bound.store.load(frozenset(["eth0"]), 3000).leases
    assert (leases["eth0"].begin_s, bound.store.renewed(leases, 3000)["eth0"].begin_s) == (1000, 3000)


@pytest.mark.parametrize("reason", ["EXPIRE", "FAIL", "RELEASE", "STOP"])
def test_a_lease_that_ends_takes_its_link_out(bound: World, reason: str) -> None:  # fault 25
    bound.event(reason, "eth0")
    assert bound.routing == ALONE1
    bound.event(reason, "eth1")
    assert bound.routing == NOTHING


@pytest.mark.parametrize("reason, interface", [("", "eth0"), ("BOUND", ""), ("BOUND", "eth9"),
                                               ("BOUND", "../../etc/passwd"), ("STOP", "eth2")])
def test_what_concerns_no_link_changes_nothing(bound: World, reason: str, interface: str) -> None:  # fault 26
    before = bound.routing
    assert (bound.event(reason, interface), bound.kernel.writes, bound.routing) == ([], 0, before)


def test_a_hook_for_a_client_that_nobody_knows_says_which_there_are(bound: World) -> None:
    """As in a line of somebody's own: `dhcp-lb hook udhcp`."""
    assert bound.event("bound", "eth0", client="udhcp") == [
        "unknown client udhcp: after `dhcp-lb hook` must be one of dhclient, dhcpcd, udhcpc, ifupdown-static, "
        "ifupdown, networkmanager, ppp, networkd"]
    assert bound.kernel.writes == 0


@pytest.mark.parametrize("variables, reason", [
    ({"new_routers": "192.0.2.34"}, "gateway is the link's own address"),  # 4
    ({"new_routers": "<error>"}, "gateway is not an IPv4 address"),  # 10
    ({"new_subnet_mask": "255.0.255.0"}, "net mask 255.0.255.0 is not ones followed by zeros"),  # 14
    ({"new_ip_address": "192.0.2.99"}, "the interface does not have the address 192.0.2.99"),  # 17
    ({"new_ip_address": "169.254.1.2"}, "address 169.254.1.2 is a link-local address"),  # 21
], ids=["own address", "no address", "net mask", "not there", "link-local"])
@pytest.mark.parametrize("before", ["BOUND", "nothing"])
def test_an_unusable_lease_takes_out_that_link_with_one_line_that_says_why(
        world: World, variables: dict[str, str], reason: str, before: str) -> None:
    world.event("BOUND", "eth1")
    if before == "BOUND":
        world.event("BOUND", "eth0")
    lines = world.event("RENEW", "eth0", **variables)
    assert world.routing == ALONE1
    assert [line for line in lines if not line.startswith("ip -4 ")] == [f"eth0 is not used: {reason}"]
    assert world.event("RENEW", "eth0", **variables) == []
    assert world.is_settled()


def test_what_is_ignored_of_a_lease_is_in_the_log_once(world: World) -> None:  # fault 13
    lines = world.event("BOUND", "eth0", new_rfc3442_classless_static_routes="33 1 2 3")
    assert lines[0] == "eth0: option 121 is ignored: it has a width over 32"
    assert world.event("RENEW", "eth0", new_rfc3442_classless_static_routes="33 1 2 3") == []


@pytest.mark.parametrize("variables", [
    {"new_routers": "192.0.2.7"}, {"new_subnet_mask": "255.255.255.192"}, {"new_ip_address": "192.0.2.35"},
    {"new_ip_address": "192.0.2.99", "new_routers": "192.0.2.98", "new_subnet_mask": "255.255.255.224"},
    {"new_subnet_mask": "255.255.255.255", "new_routers": "203.0.113.1"},
    {"new_dhcp_server_identifier": "203.0.113.67"},
    {"new_rfc3442_classless_static_routes": "0 192 0 2 9"},
])
def test_a_renewal_with_something_else_is_as_if_it_had_been_there_from_the_beginning(  # fault 18
        bound: World, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = variables.get("new_ip_address", "192.0.2.34")
    bound.has("eth0", address)
    bound.event("RENEW", "eth0", **variables)
    assert bound.is_settled()
    fresh = World(tmp_path, monkeypatch, "fresh")
    fresh.has("eth0", address)
    fresh.event("BOUND", "eth0", **variables)
    fresh.event("BOUND", "eth1")
    assert bound.routing == fresh.routing


def test_the_same_address_on_two_links_is_one_link_and_a_message(bound: World) -> None:  # fault 2
    bound.has("eth1", "192.0.2.34")
    lines = bound.event("RENEW", "eth1", new_ip_address="192.0.2.34", new_routers="192.0.2.1")
    assert lines[-1] == "eth1 is not used: eth0 has the same address 192.0.2.34"
    assert ONLY0 in bound.routing.routes


def test_a_lost_store_takes_no_link_out(bound: World) -> None:  # fault 60
    before = bound.routing
    for name in ("eth0", "eth1"):
        bound.store.discard(f"{bound.store.path}/leases/{name}")
    assert (bound.event("RENEW", "eth1"), bound.routing) == ([], before)


@pytest.mark.parametrize("content", [b"", b"garbage", b"2 192.0.2.34 24 192.0.2.1 - 0 0 \n"])
def test_a_corrupt_lease_is_told_once_and_read_off_the_kernel(bound: World, content: bytes) -> None:  # fault 61
    before = bound.routing
    path = Path(bound.store.path, "leases/eth0")
    path.write_bytes(content)
    assert bound.event("RENEW", "eth1") == [f"{path} is corrupt and is removed"]
    assert (bound.event("RENEW", "eth1"), bound.routing) == ([], before)


@pytest.mark.parametrize("name", ["leases/eth0", "held", "settled", "leases/x"])
def test_a_directory_in_the_place_of_a_file_stops_nothing(bound: World, name: str) -> None:  # fault 64
    path = Path(bound.store.path, name)
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "full").mkdir()
    bound.event("STOP", "eth0")
    bound.event("RENEW", "eth1")
    assert bound.routing == ALONE1 or name == "leases/eth0"
    bound.has("eth1", "198.51.100.8")
    bound.event("RENEW", "eth1", new_ip_address="198.51.100.8")
    assert any(rule.source == "198.51.100.8/32" for rule in bound.routing.rules)


def test_a_stale_lease_of_the_last_boot_is_not_used(world: World) -> None:  # fault 75
    world.now_s = 90_000
    world.event("BOUND", "eth0")
    world.kernel.routes.clear()
    world.kernel.rules.clear()
    world.now_s = 50
    world.event("BOUND", "eth1")
    assert world.routing == ALONE1


def test_an_address_that_is_gone_decides_whatever_the_lease_says(bound: World) -> None:  # fault 74
    bound.has("eth0")
    lines = bound.event("RENEW", "eth1")
    assert bound.routing == ALONE1
    assert lines[-1] == "eth0 is not used: the interface does not have the address 192.0.2.34"
    bound.has("eth0", "192.0.2.34")
    bound.event("RENEW", "eth1")
    assert BOTH in bound.routing.routes


def test_a_link_that_left_the_configuration_goes_at_the_next_run(bound: World) -> None:  # fault 50
    bound.config = b"eth1 table-eth1 201 2\n"
    bound.event("RENEW", "eth1")
    single = SINGLE1
    assert bound.routing == Routing(TABLE1 | {ONLY1, single, MAIN1}, RULES1 | COMMON_RULES)
    assert not Path(bound.store.path, "leases/eth0").exists()
    bound.config = b""
    bound.apply()
    assert bound.routing == NOTHING


@pytest.mark.parametrize("config, line", [
    (b"eth0 table-eth0 200 0\neth1 table-eth1 201 2\n", "/etc/dhcp-lb:1: weight 0: must be 1 to 100000000"),
    (b"eth0 table-eth0 200 1\neth1\n",
     "/etc/dhcp-lb:2: 1 field: must be `interface routing-table table-id weight`"),
    (b"eth0 table-eth0 200 1\r\n",
     "/etc/dhcp-lb:1: the line ends with a carriage return: save the file with Unix line ends"),
], ids=["weight", "fields", "CRLF"])
def test_a_configuration_with_a_mistake_changes_nothing_and_says_so(bound: World, config: bytes, line: str) -> None:
    before, bound.config = bound.routing, config
    for reason in "STOP", "BOUND":
        lines = bound.event(reason, "eth0")
        assert lines[0] == line
        assert lines[-1] == "nothing is changed until this is corrected; then run `dhcp-lb apply`"
        assert (bound.routing, bound.kernel.writes) == (before, 0)


def test_what_happened_while_the_configuration_was_wrong_is_made_up_for(bound: World) -> None:
    good, bound.config = bound.config, b"eth0 table-eth0 200 0\neth1 table-eth1 201 2\n"
    bound.event("STOP", "eth0")
    bound.config = good
    bound.apply()
    assert bound.routing == ALONE1


class Refusing:
    """A kernel that refuses some of the changes."""

    def __init__(self, world: World, refuses: object, number: int, text: str) -> None:
        self.make, self.refuses, self.number, self.text = world.kernel.make, refuses, number, text
        world.kernel.make = self  # type: ignore[assignment]
        write = world.kernel.write
        world.kernel.write = lambda changes: tuple(  # type: ignore[method-assign]
            Refusal(change, number, text) for change, number, _ in write(changes))

    def __call__(self, change: Change, protocol: int) -> int:
        if change.add and isinstance(change.what, Route) and self.refuses(change.what):  # type: ignore[operator]
            return self.number
        return self.make(change, protocol)


def test_a_kernel_without_multipath_uses_the_heaviest_link(world: World) -> None:  # fault 54
    Refusing(world, lambda route: len(route.nexthops) > 1, ENOTSUP, "")
    world.event("BOUND", "eth0")
    lines = world.event("BOUND", "eth1")
    assert "refused: ip -4 route append default table 252 proto 109 nexthop via 192.0.2.1 dev eth0 weight 1 " \
           "nexthop via 198.51.100.1 dev eth1 weight 2: no reason given (ENOTSUP)" in lines
    assert world.kernel.lookup() == SINGLE1
    assert {SINGLE0, SINGLE1} < world.routing.routes
    for _ in range(2):
        assert (world.event("RENEW", "eth0"), world.event("RENEW", "eth1"), world.kernel.writes) == ([], [], 0)


def by_eth0(route: Route) -> bool:
    return any(nexthop.oif == 2 and nexthop.gateway for nexthop in route.nexthops)


@pytest.mark.parametrize("first", ["eth0", "eth1"])
def test_a_link_that_the_kernel_refuses_is_left_out(world: World, first: str) -> None:  # fault 58
    Refusing(world, by_eth0, EINVAL, "Nexthop has invalid gateway")
    logs = [line for name in (first, "eth1" if first == "eth0" else "eth0") for line in world.event("BOUND", name)]
    assert world.routing == ALONE1
    assert "refused: ip -4 route append default via 192.0.2.1 dev eth0 table 200 proto 109 src 192.0.2.34: " \
           "Nexthop has invalid gateway (EINVAL)" in logs
    assert "eth0 is not used: the kernel refuses it: Nexthop has invalid gateway (EINVAL)" in logs


def test_a_refused_link_is_not_asked_for_again_at_every_renewal(world: World) -> None:  # fault 58
    Refusing(world, by_eth0, EINVAL, "Nexthop has invalid gateway")
    world.event("BOUND", "eth1")
    world.event("BOUND", "eth0")
    for name in ("eth1", "eth0", "eth1", "eth0"):
        assert (world.event("RENEW", name), world.kernel.writes, world.routing) == ([], 0, ALONE1)


def test_a_link_by_whose_gateway_no_new_route_is_taken_keeps_those_that_it_has(world: World) -> None:  # fault 58
    for name in "eth0", "eth1":
        world.event("BOUND", name)
    before = world.routing
    Refusing(world, by_eth0, EINVAL, "Nexthop has invalid gateway")
    world.config += b"eth2 table-eth2 202 1\n"
    logs = world.event("BOUND", "eth2")
    assert "eth0 gets no new connections: the kernel refuses it: Nexthop has invalid gateway (EINVAL)" in logs
    assert before.routes - {BOTH} < world.routing.routes and before.rules < world.routing.rules
    lookup = world.kernel.lookup()
    assert lookup and {nexthop.oif for nexthop in lookup.nexthops} == {3, 4}
    for name in "eth0", "eth1", "eth2":
        assert (world.event("RENEW", name), world.kernel.writes) == ([], 0)
    world.event("STOP", "eth2")
    assert world.kernel.lookup() == ONLY1
    world.event("STOP", "eth1")  # the last one left goes on to be used
    assert world.kernel.lookup() == SINGLE0


def test_a_refused_link_is_tried_again_after_a_minute_and_costs_the_others_nothing(world: World) -> None:  # fault 58
    accepting = world.kernel.make
    world.event("BOUND", "eth1")
    Refusing(world, by_eth0, EINVAL, "Nexthop has invalid gateway")
    world.event("BOUND", "eth0")
    lookups: set[Route | None] = set()
    refusing = world.kernel.make

    def watched(change: Change, protocol: int) -> int:
        number = refusing(change, protocol)
        lookups.add(world.kernel.lookup())
        return number

    world.kernel.make = watched  # type: ignore[method-assign]
    world.now_s += 59
    assert world.event("RENEW", "eth1") == []
    world.now_s += 1
    logs = world.event("RENEW", "eth1")
    assert "eth0 is not used: the kernel refuses it: Nexthop has invalid gateway (EINVAL)" in logs
    assert (world.routing, lookups) == (ALONE1, {ONLY1})
    world.kernel.make = accepting  # type: ignore[method-assign]
    assert world.event("RENEW", "eth1") == []
    world.now_s += 60
    world.event("RENEW", "eth1")
    assert BOTH in world.routing.routes and world.is_settled()


def test_there_is_never_a_second_balancing_default_between_two_writes(bound: World) -> None:
    """The kernel deletes any route that does not contradict a removal, so it might delete another link's."""
    write, defaults = bound.kernel.write, []

    def watched(changes: tuple[Change, ...]) -> tuple[Refusal, ...]:
        refusals = write(changes)
        defaults.append([route for route in bound.routing.routes if route.table == 252 and not route.source])
        return refusals

    bound.kernel.write = watched  # type: ignore[method-assign]
    bound.config = bound.config.replace(b"200 1", b"200 7") + b"eth2 table-eth2 202 1\n"
    bound.event("BOUND", "eth2")
    bound.config = bound.config.replace(b"200 7", b"200 8")
    assert not [line for line in bound.apply() if "4294967295" in line]
    assert [len(found) for found in defaults] == [1] * len(defaults) and len(defaults) > 2
    assert {nexthop.weight for nexthop in defaults[-1][0].nexthops} == {8, 2, 1}


def test_an_interface_that_is_down_for_the_moment_of_the_write_is_not_refused(world: World) -> None:
    world.event("BOUND", "eth1")
    make, downs = world.kernel.make, iter([ENETDOWN])

    def down_once(change: Change, protocol: int) -> int:
        if change.add and isinstance(change.what, Route) and by_eth0(change.what):
            return next(downs, 0) or make(change, protocol)
        return make(change, protocol)

    world.kernel.make = down_once  # type: ignore[method-assign]
    world.event("BOUND", "eth0")
    assert BOTH in world.routing.routes and world.is_settled()


def test_a_gateway_that_is_taken_no_more_outlives_an_edit(world: World) -> None:  # fault 58
    """The heavier link has no lease, but counts in the ranks, which are the metrics of the single defaults."""
    for name in "eth0", "eth1":
        world.event("BOUND", name)
    before = world.routing
    Refusing(world, by_eth0, EINVAL, "Nexthop has invalid gateway")
    world.config += b"eth2 table-eth2 202 9\n"
    assert "eth0 gets no new connections: the kernel refuses it: Nexthop has invalid gateway (EINVAL)" in world.apply()
    assert {route for route in before.routes if by_eth0(route)} - {BOTH} < world.routing.routes
    assert before.rules == world.routing.rules
    world.event("STOP", "eth1")
    assert world.kernel.lookup() == SINGLE0


def test_while_a_refused_link_is_tried_the_others_are_used(world: World) -> None:  # fault 58
    world.event("BOUND", "eth0")
    world.event("BOUND", "eth1")
    Refusing(world, lambda route: by_eth0(route) and "192.0.2.7" in str(route), EINVAL, "Nexthop has invalid gateway")
    make = world.kernel.make
    lookups: list[Route | None] = []

    def watched(change: Change, protocol: int) -> int:
        number = make(change, protocol)
        lookups.append(world.kernel.lookup())
        return number

    world.kernel.make = watched  # type: ignore[method-assign]
    world.event("RENEW", "eth0", new_routers="192.0.2.7")
    assert world.routing == ALONE1
    assert all(lookups)


def test_an_address_that_goes_while_the_routing_is_written_leaves_the_others_balanced(world: World) -> None:  # 17
    world.event("BOUND", "eth0")
    make = world.kernel.make

    def vanishing(change: Change, protocol: int) -> int:
        if change == Change(True, BOTH):
            world.has("eth0")
        return make(change, protocol)

    world.kernel.make = vanishing  # type: ignore[method-assign]
    world.event("BOUND", "eth1")
    assert world.routing == ALONE1 and world.kernel.lookup() == ONLY1


def test_foreign_rules_and_routes_stay(bound: World) -> None:  # fault 51
    foreign = [Change(True, one) for one in (BOTH, ONLY0, *sorted(COMMON_RULES), *sorted(RULES1))]
    for change in foreign:
        bound.kernel.make(change, 3)
    before = bound.kernel.routing(3)
    bound.event("STOP", "eth0")
    assert (bound.routing, bound.kernel.routing(3)) == (ALONE1, before)
    bound.event("STOP", "eth1")
    assert (bound.routing, bound.kernel.routing(3)) == (NOTHING, before)


def test_what_somebody_altered_is_put_right(bound: World) -> None:  # fault 56
    before = bound.routing
    bound.kernel.routes = [there for there in bound.kernel.routes if there[0] != BOTH]
    bound.kernel.rules = [there for there in bound.kernel.rules if there[0].pref != 20100]
    bound.kernel.make(Change(True, Route(200, "10.0.0.0/8", 0, "", 0, (Nexthop("192.0.2.1", 2),))), 109)
    bound.event("RENEW", "eth1")
    assert bound.routing == before


def test_a_device_that_comes_back_with_another_index_is_rebuilt(bound: World) -> None:  # fault 31
    bound.has("eth0", up=False)
    bound.kernel.routes = [there for there in bound.kernel.routes if there[0] != BOTH]
    bound.interfaces["eth0"] = Interface(77, True, True, ("192.0.2.34",))
    bound.event("BOUND", "eth0")
    assert {nexthop.oif for route in bound.routing.routes for nexthop in route.nexthops} == {77, 3}
    assert bound.is_settled()


@pytest.fixture
def released(bound: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The marks that are released from now on. Both links are up, and the nft table is there."""
    marks: list[int] = []
    monkeypatch.setattr(conntrack, "release", lambda mark, mask, family, translated: marks.append(mark))
    monkeypatch.setattr(nfnetlink, "table_there", lambda: True)
    bound.store.pin(LOADED)
    return marks


def pins(world: World) -> list[int]:
    return [rule.table for rule in sorted(world.routing.rules) if rule.pref == PREF_PIN]


def test_while_the_table_is_there_links_have_pins(bound: World, released: list[int]) -> None:
    bound.event("RENEW", "eth0")
    assert pins(bound) == [200, 201]
    bound.hold(eth1="draining")
    assert (pins(bound), released) == ([200, 201], [])
    bound.hold(eth1="disabled")
    assert (pins(bound), released) == ([200], [0xc9000000])
    bound.hold()
    assert (pins(bound), released) == ([200, 201], [0xc9000000])


def test_a_link_is_out_before_its_connections_are_released(bound: World, released: list[int],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    monkeypatch.setattr(conntrack, "release",
                        lambda *_, **__: left.append((pins(bound), ONLY0 in bound.routing.routes)))
    bound.event("RENEW", "eth0")
    bound.hold(eth1="disabled")
    assert left == [([200], True)]


def test_a_table_that_is_gone_is_told_once_and_changes_no_rule(bound: World, released: list[int],
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    bound.event("RENEW", "eth0")
    monkeypatch.setattr(nfnetlink, "table_there", lambda: False)
    assert bound.event("RENEW", "eth0") == [
        "the nft table inet dhcp-lb is gone, which keeps connections on their links: `dhcp-lb apply` makes it again"]
    assert bound.event("RENEW", "eth0") == []
    assert bound.store.load(frozenset(), 0).pinned == LOST
    assert (pins(bound), released) == ([200, 201], [])
    monkeypatch.setattr(nfnetlink, "table_there", lambda: True)  # an include in /etc/nftables.conf, say
    assert bound.event("RENEW", "eth0") == []
    assert bound.store.load(frozenset(), 0).pinned == LOADED


def test_without_pins_nobody_is_released(bound: World, released: list[int]) -> None:
    bound.event("RENEW", "eth0")
    bound.config += b"pin = no\n"
    bound.event("RENEW", "eth0")
    bound.hold(eth1="disabled")
    assert (pins(bound), released) == ([], [])


def test_conntrack_that_does_not_answer_is_told_and_the_rest_is_done(bound: World, released: list[int],
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(EINVAL, "Invalid argument")
    bound.event("RENEW", "eth0")
    monkeypatch.setattr(conntrack, "release", refuse)
    bound.hold(eth1="disabled")
    assert ("the connections of a link that is out are not released, and may hang until they time out: "
            "Invalid argument") in bound.log
    assert pins(bound) == [200]


@pytest.mark.parametrize("meanwhile", ["nothing", "flush", "edit"])
def test_nft_makes_the_table_again_if_somebody_flushed_or_edited_while_it_ran(
        bound: World, monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    links = []

    def keep(kernel: object, config: Config, store: Store, state: State) -> str:
        links.append(len(config.links))
        store.pin("" if meanwhile == "flush" and len(links) == 1 else LOADED)
        if meanwhile == "edit":
            bound.config = CONFIG + b"eth2 table-eth2 202 1\n"
        return LOADED
    monkeypatch.setattr("dhcp_lb.pinning.pins.keep", keep)
    monkeypatch.setattr(nfnetlink, "table_there", lambda: True)
    bound.apply()
    assert links == {"nothing": [2], "flush": [2, 2], "edit": [2, 3]}[meanwhile]
    assert {rule.pref for rule in bound.routing.rules} >= {PREF_PIN}
