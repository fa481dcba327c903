"""Promises 6 and 7: the same leases give the same routing in any order, and doing it again writes nothing."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dhcp_lb.model import Routing
from tests.beds.world import BOUND, World

CONFIG = b"eth0 table-eth0 200 1\neth1 table-eth1 201 2\neth2 table-eth2 202 300\n"
NAMES = sorted(BOUND)

leases = st.fixed_dictionaries({}, optional={
    "new_routers": st.sampled_from(["{net}1", "{net}2", "{net}2 {net}3", "<error>", "", "203.0.114.1", "127.0.0.1"]),
    "new_subnet_mask": st.sampled_from(["255.255.255.128", "255.255.255.192", "255.255.255.255", "255.0.255.0"]),
    "new_dhcp_server_identifier": st.sampled_from(["{net}1", "203.0.114.67", "<error>"]),
    "new_rfc3442_classless_static_routes": st.sampled_from(["33 1", "24 10 0 0 192 0 2 1"]),
})
links = st.sampled_from(NAMES)
comes = st.tuples(links, st.sampled_from(["BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT"]), leases)
goes = st.tuples(links, st.sampled_from(["EXPIRE", "FAIL", "RELEASE", "STOP"]), st.just({}))
nothing = st.tuples(links, st.sampled_from(["PREINIT", "WHAT"]), leases)
device = st.tuples(links, st.sampled_from(["down", "up", "carrier lost", "address lost", "address back"]), st.just({}))
held = st.tuples(links, st.sampled_from(["disabled", "draining", "free"]), st.just({}))
Step = tuple[str, str, dict[str, str]]
steps = st.lists(comes | goes | nothing | device | held, max_size=12)


def in_a_world(test: Callable[[Callable[[], World]], None]) -> None:
    """Runs `test` with a function that makes worlds. All are in one directory, which is removed afterwards."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        count = itertools.count()

        def make() -> World:
            world = World(Path(directory), patch, str(next(count)))
            world.config = CONFIG
            return world

        test(make)


def take(world: World, step: Step) -> None:
    name, what, variables = step
    address = BOUND[name]["new_ip_address"]
    here = world.interfaces[name]
    if what in ("disabled", "draining", "free"):
        world.held[name] = what
        world.hold(**{link: state for link, state in world.held.items() if state != "free"})
    elif what == "down":
        world.has(name, *here.addresses, up=False, carrier=False)
    elif what == "up":
        world.has(name, *here.addresses)
    elif what == "carrier lost":
        world.has(name, *here.addresses, up=here.up, carrier=False)
    elif what == "address lost":
        world.has(name, up=here.up, carrier=here.carrier)
    elif what == "address back":
        world.has(name, address, up=here.up, carrier=here.carrier)
    else:
        net = address.rpartition(".")[0] + "."
        world.event(what, name, **{key: value.replace("{net}", net) for key, value in variables.items()})


def settles(world: World) -> None:
    """After a run the next one has nothing to do, and an `apply` writes and logs nothing."""
    world.apply()
    assert world.is_settled()
    before = world.routing
    assert (world.apply(), world.kernel.writes, world.routing) == ([], 0, before)
    assert world.kernel.count() == len(before.routes) + len(before.rules)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_after_any_events_the_second_run_writes_and_logs_nothing(events: list[Step]) -> None:
    def test(make: Callable[[], World]) -> None:
        world = make()
        for step in events:
            take(world, step)
        settles(world)

    in_a_world(test)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({name: comes | goes for name in NAMES}), st.permutations(NAMES), st.permutations(NAMES),
       steps)
def test_the_last_event_of_each_link_decides_whatever_the_order_and_the_past(
        last: dict[str, Step], one: list[str], other: list[str], past: list[Step]) -> None:
    def test(make: Callable[[], World]) -> None:
        routings = []
        for order, before in (one, []), (other, []), (one, past):
            world = make()
            for step in before:
                take(world, step)
            for name in NAMES:
                world.has(name, BOUND[name]["new_ip_address"])
            world.hold()
            for name in order:
                take(world, (name, *last[name][1:]))
            routings.append(world.routing)
        assert routings[0] == routings[1] == routings[2]

    in_a_world(test)


@settings(max_examples=60, deadline=None)
@given(steps, leases)
def test_a_lease_on_one_link_changes_only_that_link(events: list[Step], lease: dict[str, str]) -> None:
    def others(routing: Routing) -> set[object]:
        return {one for one in (*routing.routes, *routing.rules) if one.table in (200, 201)}

    def test(make: Callable[[], World]) -> None:
        world = make()
        for step in events:
            take(world, step)
        world.apply()
        before = others(world.routing)
        take(world, ("eth2", "BOUND", lease))
        assert others(world.routing) == before
        take(world, ("eth2", "STOP", {}))
        assert others(world.routing) == before

    in_a_world(test)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_wiped_store_takes_no_link_out(events: list[Step]) -> None:
    def test(make: Callable[[], World]) -> None:
        world = make()
        for name in NAMES:
            take(world, (name, "BOUND", {}))
        for step in events:
            if step[1] in ("RENEW", "BOUND", "carrier lost"):
                take(world, step)
        world.apply()
        before = world.routing
        for name in NAMES:
            world.store.discard(f"{world.store.path}/leases/{name}")
        assert (world.apply(), world.routing) == ([], before)

    in_a_world(test)
