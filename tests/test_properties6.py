"""Promises 6 and 7 for IPv6: the same facts give the same routing, in any order, and a second run writes nothing.
What happens to one link's IPv6 moves nothing of another's. What comes from a link leaves by it, or is told that it
cannot."""

from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dhcp_lb.address import IPV4, IPV6, overlap, within
from dhcp_lb.ipv6 import IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TEMPORARY, IFA_F_TENTATIVE
from dhcp_lb.model import GIVEN_UP, MONITOR, Checked, Hold, Route
from dhcp_lb.routing import ERROR, METRIC_TOLD, PREF_SOURCE
from tests.beds import examples
from tests.beds.world import World
from tests.test_properties import CONFIG, NAMES, Step, comes, device, goes, held, in_a_world, settles, take

NETS = {"eth0": "2001:db8:a", "eth1": "3fff:1:b", "eth2": "3fff:2:c"}  # a /48 of each provider
TABLES = {"eth0": 200, "eth1": 201, "eth2": 202}
OTHER = CONFIG.replace(b"201 2", b"201 2 gateway=fe80::9 prefix6=3fff:1::/36")
NOTHING: "dict[str, Facts]" = {name: ("", [], []) for name in NAMES}
SILENT = Hold(MONITOR, GIVEN_UP, "silent")

Step6 = tuple[str, str, object]
Facts = tuple[str, list[tuple[str, int, int]], list[str]]
"""Of a link: its router, its addresses with the lengths of their prefixes and their flags, its delegated prefixes."""
History = tuple[bytes, dict[str, Facts], list[Step6]]
"""The configuration, what the links have in the beginning, and what happens then."""

links = st.sampled_from(NAMES)
routers = st.sampled_from(["fe80::1", "fe80::2", "{net}::1"])
# Of the link's provider; and eth0's own, one of its network, and one that many a router advertises.
texts = st.sampled_from(["{net}::a", "{net}::b", "{net}:1::a", "2001:db8:a::a", "2001:db8:a::c", "fd00::a"])
flags = st.sampled_from([0, 0, IFA_F_TENTATIVE, IFA_F_DEPRECATED, IFA_F_TEMPORARY, IFA_F_TENTATIVE | IFA_F_DADFAILED])
addresses = st.tuples(texts, st.sampled_from([64, 128]), flags)
prefixes = st.sampled_from(["{net}:f00::/56", "{net}:e00::/60", "{net}::/48"]) | st.sampled_from([
    "::/0", "2000::/3", "fe80::/10", "fd00::/48", "2001:db8:a:f00::/56", "2001:db8::/32", "2001:db8:a::/64",
    "{net}:f00::/72", "3fff:f::/48", "no prefix", ""])
delegated = st.tuples(links, st.sampled_from(["BOUND6", "RENEW6", "REBIND6", "RELEASE6", "EXPIRE6", "STOP6"]),
                      prefixes)
of_ipv6 = st.one_of(
    st.tuples(links, st.just("router"), routers | st.just("")),
    st.tuples(links, st.sampled_from(["one default", "a default each"]), st.just("")),
    st.tuples(links, st.just("address"), addresses),
    st.tuples(links, st.just("no address"), texts),
    delegated)
of_all = st.one_of(
    device, held, comes, goes,
    st.tuples(links, st.sampled_from(["silent", "answers"]), st.just("")),
    st.tuples(links, st.just("later"), st.sampled_from([30, 3600])))
steps = st.lists(of_ipv6 | of_all, max_size=20)
facts = st.fixed_dictionaries({name: st.just(("", [], [])) | st.tuples(
    routers, st.lists(addresses, max_size=3, unique_by=lambda one: one[0]),
    st.lists(prefixes, max_size=3, unique=True))
    for name in NAMES})
configs = st.sampled_from([CONFIG, OTHER])
histories = st.tuples(configs, facts, steps)


def take6(world: World, step: Step6) -> None:
    """A client's event, or something after which the monitor looks."""
    name, what, value = step
    net = NETS[name]
    own = {one.text: one[1:] for one in world.kernel.addresses6 if one.ifindex == world.interfaces[name].ifindex}
    router = world.routers[name]
    if what.endswith("6"):
        world.told(what, name, str(value).replace("{net}", net), "1800")
        return
    if isinstance(value, dict):
        take(world, (name, what, value))
        if what.isupper():
            return
    elif isinstance(value, int):
        world.now_s += value
    elif what in ("silent", "answers"):
        checked = world.store.checked(world.now_s, IPV6.number)
        checked[name] = Checked(SILENT if what == "silent" else None, "")
        world.store.prepare()
        world.store.watch(checked, world.now_s, IPV6.number)
    elif world.interfaces[name].up:
        if isinstance(value, tuple):
            text, length, flags = value
            text = text.replace("{net}", net)
            own[text] = text, length, flags
        elif what == "no address":
            own.pop(str(value).replace("{net}", net), None)
        elif what == "router":
            router = str(value).replace("{net}", net)
        else:
            world.multipath = what == "one default"
        world.has6(name, *own.values(), router=router)
    world.look()


def comes_to_have(world: World, name: str, facts: Facts) -> None:
    router, addresses, prefixes = facts
    for one in addresses:
        take6(world, (name, "address", one))
    take6(world, (name, "router", router))
    for prefix in prefixes:
        take6(world, (name, "BOUND6", prefix))


def after(world: World, history: History) -> World:
    """The world after this history."""
    world.config, begin, happened = history
    for name in NAMES:
        comes_to_have(world, name, begin[name])
    for step in happened:
        take6(world, step)
    return world


def of(world: World, family: int) -> set[object]:
    """Our routing of a family."""
    return {one for part in world.routing for one in part if one.family == family}


@settings(max_examples=40, deadline=None)
@given(histories)
def test_after_any_history_of_ipv6_the_second_run_writes_and_logs_nothing(history: History) -> None:
    def test(make: Callable[[], World]) -> None:
        settles(after(make(), history))

    in_a_world(test)


@settings(max_examples=40, deadline=None)
@given(histories, facts, st.permutations(NAMES), st.permutations(NAMES))
def test_what_the_links_have_of_ipv6_decides_whatever_the_order_and_the_past(
        past: History, last: dict[str, Facts], one: list[str], other: list[str]) -> None:
    def test(make: Callable[[], World]) -> None:
        routings = []
        none = past[0], NOTHING, list[Step6]()
        for order, before in (one, none), (other, none), (one, past):
            world = after(make(), before)
            world.multipath = False
            world.store.unwatch()
            world.hold()
            for name in NAMES:
                world.has(name, *world.interfaces[name].addresses)
                for told in world.store.prefixes(name, world.now_s) or ():
                    take6(world, (name, "EXPIRE6", told.prefix))
                world.has6(name)
            world.look()
            for name in order:
                comes_to_have(world, name, last[name])
            routings.append(of(world, IPV6.number))
        assert routings[0] == routings[1] == routings[2]

    in_a_world(test)


def usable(world: World, name: str) -> list[str]:
    """A link's addresses that packets can have."""
    ifindex = world.interfaces[name].ifindex
    return [one.text for one in world.kernel.addresses6 if one.ifindex == ifindex and one.usable()]


def sources(world: World, name: str) -> list[str]:
    """The same, and an address in each prefix that was told for it alone, and that its provider can have given."""
    told = {other: [one.prefix for one in world.store.prefixes(other, world.now_s) or ()] for other in NAMES}
    elsewhere = [prefix for other in NAMES if other != name for prefix in told[other]]
    return usable(world, name) + [
        f"{start}5" for start, _, bits in [prefix.partition("/") for prefix in told[name]]
        if within(start, f"{NETS[name]}::/48") and int(bits) <= 64
        and not any([overlap(f"{start}/{bits}", prefix) for prefix in elsewhere])]


def owners(world: World, source: str, name: str) -> list[str]:
    """The links that have this address, which is of `name` or of one of its prefixes."""
    having = [one.ifindex for one in world.kernel.addresses6 if one.text == source and one.usable()]
    return [one for one in NAMES if world.interfaces[one].ifindex in having] or [name]


def leads(world: World, source: str) -> str:
    """The link by which a source leaves; "" if it is told that there is no way."""
    route = world.kernel.lookup6(source)
    names = {interface.ifindex: name for name, interface in world.interfaces.items()}
    return " ".join([names[hop.oif] for hop in route.nexthops]) if route else ""


@settings(max_examples=40, deadline=None)
@given(histories)
def test_what_comes_from_a_link_of_ipv6_leaves_by_it_or_is_told(history: History) -> None:
    def test(make: Callable[[], World]) -> None:
        config, begin, happened = history
        world = after(make(), (config, begin, []))
        for step in happened:
            take6(world, step)
            for name in NAMES:
                for source in sources(world, name):
                    assert len({rule.table for rule in world.routing.rules if rule.family == IPV6.number
                                and rule.pref == PREF_SOURCE and within(source, rule.source)}) <= 1
                    assert leads(world, source) in ("", *owners(world, source, name))

    in_a_world(test)


@example((CONFIG, {**NOTHING, "eth2": ("fe80::1", [("{net}::b", 64, 0), (f"{NETS['eth0']}::a", 64, 0)], [])}, [
    ("eth0", "address", ("{net}::a", 64, 0))]), [("eth2", "no address", "{net}::b")])
@settings(max_examples=40, deadline=None)
@given(histories, st.lists(of_ipv6, max_size=5))
def test_what_happens_to_one_link_s_ipv6_moves_no_source_of_another(history: History, hostile: list[Step6]) -> None:
    def test(make: Callable[[], World]) -> None:
        world = after(make(), history)
        world.store.unwatch()  # where all are dead none is given up, until one comes that works
        world.look()

        def of_others() -> set[Route]:
            return {route for route in world.routing.routes
                    if route.family == IPV6.number and route.table in (TABLES["eth0"], TABLES["eth1"])}

        def making_room() -> set[int]:
            """Where two links have the same address and one of them no router, the other one serves: the tables of
            such links."""
            return {TABLES[name] for name in NAMES[:2] if {*usable(world, name)} & {*usable(world, "eth2")}
                    and not any([one.table == TABLES[name] and one.destination == IPV6.everywhere for one in routes])}

        before = {source: (name, leads(world, source)) for name in NAMES[:2] for source in sources(world, name)}
        routes = of_others()
        made_room = making_room()
        for _, what, value in hostile:
            take6(world, ("eth2", what, value))
            others = {one for one in of_others() ^ routes if one.table not in made_room | making_room()}
            assert not others or not routes  # without any address IPv6 is no business of ours
            for source, (name, way) in before.items():
                assert leads(world, source) in ([way] if way else ["", *owners(world, source, name)])

    in_a_world(test)


@settings(max_examples=40, deadline=None)
@given(histories, comes | goes, delegated)
def test_an_event_of_one_family_leaves_the_other_one_alone(history: History, four: Step, six: Step6) -> None:
    def test(make: Callable[[], World]) -> None:
        world = after(make(), history)
        world.store.prepare()
        for name, tell, event, family in ("eth0", take, four, IPV6.number), ("eth1", take6, six, IPV4.number):
            world.store.hold(examples.held(**{name: "disabled"}))  # which concerns both, and nobody has looked yet
            before = of(world, family)
            tell(world, event)
            assert of(world, family) == before

    in_a_world(test)


@settings(max_examples=40, deadline=None)
@given(histories)
@example((CONFIG, {"eth0": ("", [], []), "eth1": ("fe80::1", [("2001:db8:a::a", 64, 0)], []),
                   "eth2": ("fe80::1", [("2001:db8:a::a", 64, 0)], ["{net}:f00::/56"])}, []))
def test_a_wiped_store_changes_nothing_unless_a_link_is_out(history: History) -> None:
    def test(make: Callable[[], World]) -> None:
        world = after(make(), history)
        world.store.unwatch()
        world.hold()
        for name in NAMES:
            world.has(name, *world.interfaces[name].addresses)
            take6(world, (name, "router", "fe80::1"))
        before = of(world, IPV6.number)
        guarded = {route.only_from for route in world.routing.routes if route.rest == ERROR}
        if guarded - {route.only_from for route in world.routing.routes if not route.rest}:
            return  # a link is out all the same, because another one has its address: its prefix has no way
        for name in NAMES:
            world.store.discard(f"{world.store.path}/prefixes/{name}")
        world.look()
        assert of(world, IPV6.number) == before
        settles(world)
        for name in NAMES:
            for told in world.store.prefixes(name, world.now_s) or ():
                take6(world, (name, "RELEASE6", told.prefix))
            world.store.discard(f"{world.store.path}/prefixes/{name}")
        world.look()
        assert METRIC_TOLD not in {route.metric for route in world.routing.routes}

    in_a_world(test)
