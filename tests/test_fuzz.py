"""Any bytes in the configuration, a client's environment, the store, dhclient's lease files or an advertisement of a
router are taken for what they say or refused, in bounded time. Only addresses, numbers and known words come out.

DHCP_LB_FUZZ: the number of inputs for each parser, instead of 1000. corpus/ has the inputs that found something."""

import ipaddress
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET6

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dhcp_lb import address, config, delegation, dhclient_leases, event, iproute2
from dhcp_lb.ipv6 import Address, Main, interfaces_of, leases_of
from dhcp_lb.marks import marks, translators
from dhcp_lb.model import FAILOVER, NO, NONE, Delegated, Interface, Lease, Link, Route, Routing, Settings
from dhcp_lb.monitor.advertised import name_servers
from dhcp_lb.pinning.table import text as table_text
from dhcp_lb.routing import desired, judge
from dhcp_lb.store import HELD, OBJECTIONS, Store
from tests.beds.examples import ETH0, ETH1, INTERFACES, LEASE1

INPUTS = int(os.environ.get("DHCP_LB_FUZZ", "1000"))
CORPUS = Path(__file__).with_name("corpus")
INTERFACES1 = {"eth1": INTERFACES["eth1"]}
SLOW_S = 0.5  # the largest input takes a tenth of it; what grows faster than the input takes far more

fuzz = settings(max_examples=INPUTS, deadline=None, database=None, derandomize=False,
                suppress_health_check=list(HealthCheck))

# Words that a parser knows, so that inputs get past its first line, and values that have broken parsers.
WORDS = [b"eth0", b"eth1", b"table-eth0", b"dhcp-lb", b"balance-table", b"=", b"gateway=", b"#", b"\n", b" ", b"\t",
         b"\r", b"\0", b"200", b"252", b"0", b"1", b"-1", b"1e9", b"255", b"256", b"4294967295",
         b"4294967296", b"00", b"0x10",
         "٣".encode(), "²".encode(), b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"/", b"..", b"main", b"all",
         b"198.51.100.7", b"198.51.100.1", b"192.0.2.1", b"192.0.2.34", b"192.0.2.0", b"255.255.255.0",
         b"255.0.255.0", b"0.0.0.0", b"127.0.0.1",
         b"169.254.1.1", b"224.0.0.1", b"255.255.255.255", b"1.2.3", b"1.2.3.4.5", b"01.2.3.4", b"1.2.3.4 ",
         b"0 192 0 2 1", b"24 10 0 0 192 0 2 1", b"33 1 2 3 4 5", b"0.0.0.0/0", b"10.0.0.0/8", b",", b"<error>",
         b"$(touch /tmp/x)", b"`id`", b"() { :;};", b";", b"'", b'"', b"\\", b"{", b"}", b"lease", b"interface",
         b"fixed-address", b"option", b"routers", b"subnet-mask", b"expire", b"never", b"epoch", b"renew",
         b"4 2099/01/01 00:00:00", b"dhcp-server-identifier", b"1 ", b"disabled", b"draining", b"9" * 5000,
         b"pin", b"no", b"translate6", b"failover", b"ipv6=no", b"prefix6=2001:db8:a::/48", b"prefix6=2001:db8::/32",
         b"prefix6=", b"::", b"fe80::1", b"2001:db8::/33", b"2001:db8:b:f00::", b"2001:db8:b:f00::/56",
         b"2001:DB8:B::/48", b"2000::/3", b"::/0", b"fe80::/10", b"::ffff:192.0.2.1", b"2001:db8:a::53", b"64", b"56"]
BYTES = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(WORDS), max_size=60).map(b"".join),
                  st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=8)), max_size=60).map(b" ".join))


def quickly(work: Callable[[], None]) -> None:
    """It ends in time, even on a busy machine."""
    started_s = time.process_time()
    work()
    assert time.process_time() - started_s < SLOW_S


def assert_canonical(lease: Lease) -> None:
    for quad in lease.address, lease.gateway, lease.server, *lease.name_servers:
        assert not quad or str(ipaddress.IPv4Address(quad)) == quad
    assert 0 <= lease.length <= 32 and 0 <= lease.duration_s < 2**32
    assert re.fullmatch(r"[A-Za-z0-9 ,:./+<>'-]*", lease.fault) and len(lease.fault) < 200, lease.fault
    if not lease.fault:
        assert lease.address and lease.length and lease.gateway
        assert lease.gateway != lease.address
    assert_routable(lease)


def assert_routable(lease: Lease) -> None:
    """The routing that follows from it can be computed, and no part of it is another link's."""
    assert of_eth1(lease) == of_eth1(NONE) != []


def of_eth1(lease: Lease) -> list[object]:
    """The wanted routing of eth1 with this lease, beside eth0."""
    interfaces = {"eth0": Interface(2, True, True, (lease.address,), (lease.length,)), **INTERFACES1}
    found = desired(judge((ETH1, ETH0), {"eth0": lease, "eth1": LEASE1}, {}, interfaces), Settings())
    own = [one for one in (*found.routes, *found.rules) if one.table == ETH1.table]
    balanced = [(route.metric, nexthop) for route in found.routes if route.table == Settings().balance_table
                and route.destination == address.EVERYWHERE for nexthop in route.nexthops if nexthop.oif == 3]
    assert len([metric for metric, _ in balanced if not metric]) == 1  # its weight counts only among several
    return sorted(map(repr, own + [one for one in balanced if one[0]]))


def check_config(text: bytes) -> None:
    def work() -> None:
        found = config.parse(text, "FILE")
        for error in found.errors:
            assert re.match(r"FILE:\d+: .", error), error
        if not found.errors:
            tables = [link.table for link in found.links] + [found.settings.balance_table]
            assert len(set(tables)) == len(tables) and all(0 < table < 2**32 for table in tables)
            assert not {253, 254, 255} & set(tables)
            assert len({link.interface for link in found.links}) == len(found.links)
            assert all(1 <= link.weight <= config.MAX_WEIGHT for link in found.links)
            for link in found.links:
                assert len(os.fsencode(link.interface)) <= 15 and not set(link.interface) & set("/: \t\n\0")
                assert link.interface not in (".", "..")
                assert not link.gateway or address.unicast(link.gateway) == link.gateway
                assert all(str(ipaddress.IPv6Network(prefix)) == prefix for prefix in link.prefixes6)
            table = table_text(marks(found.links, found.settings.marks), found.settings.marks,
                               translators(found.links, found.settings))
            assert "translate" not in table or found.settings.translate6 == FAILOVER and found.settings.pin != NO
    quickly(work)


LINES = st.lists(st.tuples(st.sampled_from([b"eth0", b"eth1", b"\xc3\xa9", b"--help", b"lock", b"a/b", b"$(id)"]),
                           st.sampled_from([b"t0", b"t1", b"main", b"9t", b"$(id)"]),
                           st.sampled_from([b"200", b"201", b"252", b"0", b"253", b"4294967296", b"-1"]),
                           st.sampled_from([b"1", b"0", b"300", b"1000000000", b"x"]),
                           st.sampled_from([b"", b"gateway=192.0.2.1", b"gateway=", b"x=y", b"# text", b"ipv6=no",
                                            b"prefix6=2001:db8:a::/48", b"prefix6=2001:db8:b::/48"])),
                 max_size=6).map(lambda lines: b"\n".join(b" ".join(line) for line in lines))
SETTING_LINES = st.sampled_from([b"", b"\ntranslate6 = failover", b"\npin = no", b"\ntranslate6 = failover\npin = no"])


@fuzz
@given(st.one_of(BYTES, LINES, st.tuples(LINES, SETTING_LINES).map(b"".join)))
def test_any_bytes_as_the_configuration_are_links_or_mistakes_with_their_line(text: bytes) -> None:
    check_config(text)


def check_environment(environ: dict[bytes, bytes], client: str) -> None:
    def work() -> None:
        found = event.parse(environ, 1000, client)
        if found and found.lease and found.lease != NONE:
            assert_canonical(found.lease)
            for note in found.notes:
                assert re.fullmatch(r"[A-Za-z0-9 ,:.()/-]*", note), note
    quickly(work)


VALUES = BYTES.filter(lambda value: b"\0" not in value)  # what an environment can hold


GOOD = [b"192.0.2.34", b"255.255.255.0", b"192.0.2.1", b"192.0.2.1", b"3600", b"0 192 0 2 1", b"192.0.2.1",
        b"9.9.9.9 192.0.2.53"]

# The program, the name that its hook gives us, and the variables by which we tell it from others of that name.
CALLS: list[tuple[str, str, dict[bytes, bytes]]] = [
    ("dhclient", "", {}), ("dhcpcd", "", {b"if_up": b"true"}), ("ifupdown", "ifupdown", {b"METHOD": b"dhcp"}),
    ("ifupdown-static", "ifupdown", {b"METHOD": b"static"}),
    *[(name, name, {}) for name in ("udhcpc", "networkmanager", "ppp", "networkd")]]


def variables_of(words: event.Client) -> list[bytes]:
    """All that a lease is read from, in the order of GOOD."""
    return [words.address + b"0" * (words.addresses > 1), words.mask, words.routers, words.server, words.duration,
            words.classless, words.gateway, b"".join(words.name_servers[:1])]


@st.composite
def environments(draw: st.DrawFn) -> tuple[str, dict[bytes, bytes]]:
    name, called, environ = draw(st.sampled_from(CALLS))
    words, environ = event.CLIENTS[name], dict(environ)
    reasons = sorted(words.comes | words.goes | words.look | words.early) * 3 + [b"", b"PREINIT"]
    variables = variables_of(words)
    environ |= {words.reason: draw(st.sampled_from(reasons)),
                words.interface: draw(st.sampled_from([b"eth0", b"\xff", b""]))}
    good = dict(zip(variables, GOOD))
    if name != "dhclient":
        good |= {words.mask: b"24", words.classless: b"198.51.100.0/24 192.0.2.9 0.0.0.0/0 192.0.2.1"}
    if name == "networkmanager":
        good |= {variables[0]: b"192.0.2.34/24 192.0.2.1", words.gateway: b"192.0.2.1"}
    for variable in variables:
        if variable:
            value = draw(st.one_of(st.none(), st.just(good[variable]), st.just(good[variable]), VALUES))
            if value is not None:
                environ[variable] = value
    if draw(st.integers(0, 9)) == 0:
        environ |= draw(st.sampled_from([{b"if_up": b"true"}, {b"METHOD": b"static"}, {b"METHOD": b"\xff"}]))
    else:
        expected = words
        if name == "ifupdown-static" and b"." not in environ.get(words.address, b""):  # that of IPv6, then
            expected = event.CLIENTS["ifupdown"]
        assert event.client(environ, called) is expected
    return called, environ


@fuzz
@given(environments())
def test_any_value_in_any_clients_environment_gives_addresses_or_a_fault(
        drawn: tuple[str, dict[bytes, bytes]]) -> None:
    name, environ = drawn
    check_environment(environ, name)


@pytest.mark.parametrize("name", ["lease-time"])
def test_what_was_found_in_an_environment_is_settled(name: str) -> None:
    variables = (CORPUS / f"environment-{name}").read_bytes().rstrip(b"\n").split(b"\0")
    check_environment(dict(variable.split(b"=", 1) for variable in variables), "dhclient")  # type: ignore[misc]


@pytest.mark.parametrize("value", [b"9" * 131072, b"1 " * 65536, b"\xff" * 131072, b"1." * 65536, b"/" * 131072,
                                   b"0.0.0.0/0 " * 13000, b"32 1 2 3 4 5 6 7 8 " * 7000], ids=range(7))
@pytest.mark.parametrize("name", event.CLIENTS)
def test_values_of_128_kib_cost_no_time(name: str, value: bytes) -> None:
    words = event.CLIENTS[name]
    address, *others = variables_of(words)
    for variable in address, *others:
        for reason in sorted(words.comes)[:1]:
            check_environment({words.reason: reason, words.interface: b"eth0", address: b"192.0.2.34",
                               words.mask: b"24", words.routers: b"192.0.2.1", variable: value}, name)


def check_store(store: Store, text: bytes) -> None:
    path = Path(store.path, "leases", "eth0")
    path.write_bytes(text)
    for name in HELD, OBJECTIONS:
        Path(store.path, name).write_bytes(text)

    def work() -> None:
        found = store.load(frozenset(["eth0"]), 1000)
        for lease in found.leases.values():
            assert_routable(lease)
            store.save("eth0", lease)
            assert store.load(frozenset(["eth0"]), 1000).leases == found.leases
        assert set(found.corrupt) <= {str(path), f"{store.path}/{HELD}", f"{store.path}/{OBJECTIONS}"}
        assert "eth0" in found.leases or found.corrupt or not text or b" " in text
    quickly(work)


FIELDS = st.lists(st.one_of(st.sampled_from([b"1", b"-", b"24", b"192.0.2.34", b"192.0.2.1", b"999", b"3600", b"\n",
                                             b"-5", b"99", b"1e3", b"0.0.0.0", b"1.2.3", "٣".encode(), b"fault\n"]),
                            st.binary(max_size=6)), min_size=6, max_size=10).map(b" ".join)


@fuzz
@given(text=st.one_of(BYTES, FIELDS, FIELDS.map(lambda text: b"2 " + text + b"\n")))
def test_any_bytes_in_the_store_are_a_lease_or_corrupt(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(str(tmp_path_factory.getbasetemp() / "store"))
    store.prepare()
    check_store(store, text)


GOOD6 = {b"ip6_prefix": b"2001:db8:b:f00::/56", b"max_life": b"7200", b"dhcp6_name_servers": b"2001:db8:b::53 fe80::1",
         **{b"dhcp6_ia_pd%d_prefix%d%s" % (place, number, what): value
            for place in (1, 2) for number in (1, 2)
            for what, value in ((b"", b"2001:db8:b:%d00::" % (2 * place + number)), (b"_length", b"56"),
                                (b"_vltime", b"7200"))}}
OWNER, OTHER = Link("eth0", "t0", 200, 1, prefixes6=("2001:db8:a::/48",)), Link("eth1", "t1", 201, 2)
DEVICES6 = {"eth0": Interface(2, True, True, ()), "eth1": Interface(3, True, True, ())}
ADDRESSES6 = [Address(2, "2001:db8:a::2", 64, 0), Address(3, "2001:db8:b::2", 64, 0),
              Address(9, "2001:db8:dead:f00::1", 56, 0)]
MAIN6 = Main({2: ("fe80::1",), 3: ("fe80::2",)}, {2: ("2001:db8:a::/64",), 3: ("2001:db8:b::/64",)})


@st.composite
def environments6(draw: st.DrawFn) -> dict[bytes, bytes]:
    environ = {b"reason": draw(st.sampled_from(sorted(delegation.COMES | delegation.GOES) * 3 + [b"", b"PREINIT6"])),
               b"interface": draw(st.sampled_from([b"eth1", b"\xff", b""]))}
    which = b"new_" if environ[b"reason"] in delegation.COMES else b"old_"
    for name in draw(st.lists(st.sampled_from(sorted(GOOD6)), max_size=8)):
        environ[which + name] = draw(st.one_of(st.just(GOOD6[name]), VALUES))
    return environ


def of_eth0(told: tuple[Delegated, ...]) -> list[str]:
    """The wanted routing of IPv6 that is eth0's, or leads by it, when the client of eth1 has told this."""
    leases = leases_of((OWNER, OTHER), interfaces_of(DEVICES6, ADDRESSES6), ADDRESSES6, MAIN6, Routing(),
                       {"eth1": told})
    found = desired(judge((OWNER, OTHER), leases, {}, interfaces_of(DEVICES6, ADDRESSES6)), Settings(),
                    family=AF_INET6)
    return sorted([repr(one) for one in (*found.routes, *found.rules) if one.table == OWNER.table
                   or isinstance(one, Route) and {hop.oif for hop in one.nexthops} == {2}])


@fuzz
@given(environ=environments6())
def test_whatever_a_server_sends_is_a_canonical_prefix_or_nothing(
        environ: dict[bytes, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    def work() -> None:
        found = delegation.parse(environ, 1000)
        if not found:
            return
        for prefix in [*[one.prefix for one in found.comes], *found.goes]:
            assert str(ipaddress.IPv6Network(prefix)) == prefix
        assert all([str(ipaddress.IPv6Address(server)) == server for server in found.servers])
        known = delegation.merged((Delegated("2001:db8:b:f00::/56", 900, 0),), found)
        assert of_eth0(known) == of_eth0(()) != []
        store = Store(str(tmp_path_factory.getbasetemp() / "store"))
        store.prepare()
        store.keep_prefixes("eth1", known)
        assert store.prefixes("eth1", 1000) == known
    quickly(work)


FIELDS6 = st.lists(st.tuples(
    st.sampled_from([b"1", b"2"]),
    st.sampled_from([b"2001:db8:b::/48", b"2001:DB8:B::/48", b"2001:db8::1/32", *WORDS]),
    st.sampled_from([b"1", b"900", b"1_0", b"-5", "٣".encode(), b" 1"]),
    st.sampled_from([b"0", b"8000", b"-1", b"1e9", b"9" * 30])).map(lambda words: b" ".join(words) + b"\n"),
    max_size=4).map(b"".join)


@fuzz
@given(text=st.one_of(BYTES, FIELDS6))
def test_any_bytes_in_the_store_are_prefixes_and_name_servers_of_ipv6_or_nothing(
        text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(str(tmp_path_factory.getbasetemp() / "store"))
    store.prepare()
    for name in "eth1", "eth1:dns":
        Path(store.path, "prefixes", name).write_bytes(text)

    def work() -> None:
        found = store.prefixes("eth1", 1000) or ()
        for prefix, begin_s, until_s in found:
            assert str(ipaddress.IPv6Network(prefix)) == prefix and begin_s <= 1000 < (until_s or 1001)
        assert of_eth0(found) == of_eth0(()) != []
        store.keep_prefixes("eth1", found)
        assert store.prefixes("eth1", 1000) == found
        assert all([str(ipaddress.IPv6Address(server)) == server for server in store.name_servers6("eth1")])
    quickly(work)


OPTIONS = st.lists(st.tuples(st.sampled_from([1, 3, 5, 24, 25, 31]), st.integers(0, 6) | st.just(255),
                             st.binary(max_size=64)), max_size=8).map(
    lambda options: bytes([134]) + bytes(15) + b"".join([bytes([kind, size]) + body for kind, size, body in options]))


@fuzz
@given(OPTIONS | st.binary(max_size=300))
def test_whatever_a_router_says_ends(data: bytes) -> None:
    def work() -> None:
        found = name_servers(data)
        assert len(found) <= len(data) // 16
        for server, lasts_s in found:
            assert str(ipaddress.IPv6Address(server)) == server and 0 <= lasts_s < 2**32
    quickly(work)


def check_leases(text: str) -> None:
    def work() -> None:
        for interface, environ in dhclient_leases.environments([text], 1e9, lambda name, quad: True).items():
            assert isinstance(interface, str)
            found = event.parse(environ, 1000)
            if found and found.lease:
                assert_canonical(found.lease)
    quickly(work)


STATEMENTS = st.lists(st.sampled_from([
    'interface "eth0";', "fixed-address 192.0.2.34;", "option subnet-mask 255.255.255.0;",
    "option routers 192.0.2.1,1.2.3;", "option dhcp-server-identifier 192.0.2.1;", "expire 4 2099/01/01 00:00:00;",
    "expire never;", "expire epoch 9999999999;", "expire epoch x;", "expire 4 9999999/99/99 99:99:99;",
    'option host-name "a\\"}{;b";', "lease {", "}", "lease6 {", "# x\n",
    'option rfc3442-classless-static-routes 0,192,0,2,1;', 'interface "', "option", ";", 'interface "\udcff";',
    "expire epoch 99999999999999999999;", "fixed-address ;", "expire epoch ٣;", '\\"', "renew 4;"]),
    max_size=25).map(lambda parts: "lease {\n" + "\n".join(parts) + "\n}\n")


@fuzz
@given(st.one_of(STATEMENTS, BYTES.map(lambda text: text.decode("utf-8", "surrogateescape"))))
def test_any_text_in_dhclients_lease_files_gives_addresses_or_nothing(text: str) -> None:
    check_leases(text)


@pytest.mark.parametrize("text", ["{" * 100000, "}" * 100000, '"' + "\\" * 100000, "lease {" * 20000, ";" * 100000,
                                  '"' * 100001, " " * 100000 + '"', "#" * 100000], ids=range(8))
def test_lease_files_that_nest_without_end_cost_no_time(text: str) -> None:
    check_leases(text)


@fuzz
@given(text=st.one_of(BYTES, st.lists(st.sampled_from([b"200 t\n", b"0xzz t\n", b"0x t\n", b"1 \n",
                                                       b"9" * 5000 + b" t\n", b"\xff \xff\n", "٣ t\n".encode(),
                                                       b"# 1 2\n", b"200\tt\r\n"]))
                      .map(b"".join)))
def test_any_bytes_in_iproute2s_names_are_read(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    etc = tmp_path_factory.getbasetemp() / "iproute2"
    etc.mkdir(exist_ok=True)
    for kind in "rt_tables", "rt_protos":
        (etc / kind).write_bytes(text)
    quickly(lambda: iproute2.clashes(config.parse(b"eth0 t 200 1\n"), iproute2.known(str(etc), str(etc))) and None)
