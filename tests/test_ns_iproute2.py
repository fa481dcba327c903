"""Against iproute2: ip(8) reads what we write, we read what ip(8) writes, and ip(8) can run what we print.

Each test has a network namespace of its own, with eth0 and eth1 as in examples.py."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhcp_lb.commands import command
from dhcp_lb.model import BLACKHOLE, UNREACHABLE, Change, Interface, Nexthop, Route, Routing, Rule, Settings, State
from dhcp_lb.plan import changes
from dhcp_lb.routing import desired, judge
from dhcp_lb.rtmessages import routing
from dhcp_lb.rtnetlink import Rtnetlink, Sysctl
from tests.beds.examples import ETH0, ETH1, LEASES, SHARED, held
from tests.beds.netns import ip, network, run, snapshot

CHECKOUT = Path(__file__).resolve().parents[1]
NOTHING = Routing()
A, B = 102, 103  # interface indices; the kernel itself may make some tunnels in a new namespace
INTERFACES = {"eth0": Interface(A, True, True, ("192.0.2.34",), (24,)),
              "eth1": Interface(B, True, True, ("198.51.100.7",), (25,))}
VIA0, VIA1 = Nexthop("192.0.2.1", A), Nexthop("198.51.100.1", B)
ONLINK = Nexthop("203.0.113.1", A, 1, True)
BOTH = Route(252, "0.0.0.0/0", 0, "", 0, (VIA0, VIA1._replace(weight=2)))


@pytest.fixture
def kernel() -> Iterator[Rtnetlink]:
    with network():
        for name, index, address in ("eth0", A, "192.0.2.34/24"), ("eth1", B, "198.51.100.7/25"):
            run(f"ip link add {name} index {index} type veth peer name peer-{name}")
            run(f"ip link set {name} up")
            run(f"ip link set peer-{name} up")
            run(f"ip address add {address} dev {name}")
        yield Rtnetlink()


def have(kernel: Rtnetlink) -> Routing:
    return routing(*kernel.ours()[:2])


def await_carrier(kernel: Rtnetlink, name: str, carrier: bool = True) -> None:
    """Waits until there is a carrier: the kernel says so a moment later."""
    for _ in range(500):
        if kernel.interfaces(frozenset([name]))[name].carrier == carrier:
            return
        time.sleep(0.01)


def write(kernel: Rtnetlink, want: Routing, balance_table: int = 252) -> None:
    planned = changes(have(kernel), want, (balance_table, *SHARED[1:]))
    if planned:
        assert kernel.write(planned) == ()


def want(**words: str) -> Routing:
    return desired(judge((ETH0, ETH1), LEASES, State(held=held(**words)).holds(), INTERFACES), Settings())


@pytest.mark.parametrize("what, meant", [
    (Route(200, "192.0.2.0/24", 0, "192.0.2.34", 253, (Nexthop("", A),)),
     {"dst": "192.0.2.0/24", "dev": "eth0", "scope": "253", "prefsrc": "192.0.2.34"}),
    (Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (VIA0,)),
     {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0", "prefsrc": "192.0.2.34"}),
    (Route(200, "0.0.0.0/0", 0, "192.0.2.34", 0, (ONLINK,)),
     {"dst": "default", "gateway": "203.0.113.1", "dev": "eth0", "prefsrc": "192.0.2.34",
      "flags": ["onlink"]}),
    (Route(252, "203.0.113.67/32", 1001, "192.0.2.34", 0, (VIA0,)),
     {"dst": "203.0.113.67", "gateway": "192.0.2.1", "dev": "eth0", "metric": 1001,
      "prefsrc": "192.0.2.34"}),
    (Route(252, "0.0.0.0/0", 0, "", 0, (VIA0,)),
     {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}),
    (Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("", A),)), {"dst": "default", "dev": "eth0"}),
    (Route(4294967295, "0.0.0.0/0", 4294967295, "", 0, (VIA0,)),
     {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0", "metric": 4294967295}),
    (BOTH, {"dst": "default", "nexthops": [
        {"gateway": "192.0.2.1", "dev": "eth0", "weight": 1, "flags": []},
        {"gateway": "198.51.100.1", "dev": "eth1", "weight": 2, "flags": []}]}),
    (Route(252, "0.0.0.0/0", 0, "", 0, (ONLINK, VIA1._replace(weight=256))),
     {"dst": "default", "nexthops": [
         {"gateway": "203.0.113.1", "dev": "eth0", "weight": 1, "flags": ["onlink"]},
         {"gateway": "198.51.100.1", "dev": "eth1", "weight": 256, "flags": []}]}),
    (Route(252, "0.0.0.0/0", 0, "", 0, (Nexthop("", A, 3), VIA1)), {"dst": "default", "nexthops": [
        {"dev": "eth0", "weight": 3, "flags": []},
        {"gateway": "198.51.100.1", "dev": "eth1", "weight": 1, "flags": []}]}),
])
def test_every_kind_of_route_that_we_write_is_read_by_ip_as_it_was_meant(kernel: Rtnetlink, what: Route,
                                                                         meant: dict[str, object]) -> None:
    assert kernel.write((Change(True, what),)) == ()
    shown = ip(f"route show table {what.table}")
    assert shown == [{"flags": [], **meant, "protocol": "109"}]
    assert have(kernel) == Routing(frozenset((what,)))
    assert kernel.write((Change(False, what),)) == ()
    assert have(kernel) == NOTHING


@pytest.mark.parametrize("what, meant", [
    (Rule(20000, 254, suppress_prefixlength=0), {"src": "all", "table": "254", "suppress_prefixlen": 0}),
    (Rule(19900, 254, suppress_prefixlength=7, suppress_group=109),
     {"src": "all", "table": "254", "suppress_prefixlen": 7, "suppress_ifgroup": "109"}),
    (Rule(20100, 200, "192.0.2.34/32"), {"src": "192.0.2.34", "table": "200"}),
    (Rule(19900, 200, "192.0.2.34/32", "192.0.2.0/24"),
     {"src": "192.0.2.34", "dst": "192.0.2.0", "dstlen": 24, "table": "200"}),
    (Rule(20200, 200, oif="eth0"), {"src": "all", "oif": "eth0", "table": "200"}),
    (Rule(20200, 200, oif="gone0"), {"src": "all", "oif": "gone0", "oif_detached": None, "table": "200"}),
    (Rule(32765, 252), {"src": "all", "table": "252"}),
    (Rule(1, 4294967295), {"src": "all", "table": "4294967295"}),
    (Rule(20000, 200, mark=0xc8000000, mask=0xff000000),
     {"src": "all", "fwmark": "0xc8000000", "fwmask": "0xff000000", "table": "200"}),
    (Rule(20001, 0, action=BLACKHOLE, mark=0xc8000000, mask=0xff000000, protocol=6),
     {"src": "all", "fwmark": "0xc8000000", "fwmask": "0xff000000", "ipproto": "ipproto-6", "action": "6"}),
    (Rule(21000, 0, "10.0.5.0/24", action=UNREACHABLE),
     {"src": "10.0.5.0", "srclen": 24, "action": "7"}),
    (Rule(21000, 200, iif="peer-eth0", protocol=17, sports=((1, 1024),), ports=((53, 53),)),
     {"src": "all", "iif": "peer-eth0", "ipproto": "ipproto-17", "sport_start": 1, "sport_end": 1024, "dport": 53,
      "table": "200"}),
    (Rule(21000, 200, iif="lo", users=((34, 35),)),
     {"src": "all", "iif": "lo", "uid_start": 34, "uid_end": 35, "table": "200"}),
    (Rule(21000, 200, mask=0xff), {"src": "all", "fwmark": "0", "fwmask": "0xff", "table": "200"}),
])
def test_every_kind_of_rule_that_we_write_is_read_by_ip_as_it_was_meant(kernel: Rtnetlink, what: Rule,
                                                                        meant: dict[str, object]) -> None:
    before = ip("rule")
    assert kernel.write((Change(True, what),)) == ()
    of_debian_13 = {("dport_mask", "0xffff"), ("sport_mask", "0xffff")}  # that all of a port counts
    assert [dict(rule.items() - of_debian_13) for rule in ip("rule") if rule not in before] == [
        {"priority": what.pref, **meant, "protocol": "109"}]
    assert have(kernel) == Routing(rules=frozenset((what,)))
    assert kernel.write((Change(False, what),)) == ()
    assert ip("rule") == before


ROUTES = [
    "default via 192.0.2.1 dev eth0", "192.0.2.0/24 dev eth0 scope link",
    "203.0.113.5 via 192.0.2.1 dev eth0 metric 7", "default via 203.0.113.1 dev eth0 onlink", "default dev eth0",
    "203.0.113.0/24 via 192.0.2.1 src 192.0.2.34",
    "default nexthop via 192.0.2.1 dev eth0 weight 3 nexthop via 198.51.100.1 dev eth1 weight 256",
    "default nexthop via 203.0.113.1 dev eth0 onlink nexthop dev eth1 weight 2",
]
STRANGE_ROUTES = [
    "blackhole 203.0.113.0/24", "unreachable default metric 9", "prohibit 203.0.113.0/24", "throw 203.0.113.0/24",
    "local 203.0.113.9 dev eth0", "default via 192.0.2.1 dev eth0 tos 0x10", "default via 192.0.2.1 dev eth0 mtu 1400",
    "default via 192.0.2.1 dev eth0 mtu lock 1400 advmss 1200",
    "default via 192.0.2.1 dev eth0 initcwnd 20 initrwnd 20", "default via 192.0.2.1 dev eth0 congctl reno",
    "default via 192.0.2.1 dev eth0 realm 5", "default via inet6 fe80::1 dev eth0",
    "default nexthop via 192.0.2.1 dev eth0 realm 5 nexthop via 198.51.100.1 dev eth1",
    "default nexthop via inet6 fe80::1 dev eth0 nexthop via 198.51.100.1 dev eth1",
    "default mtu 1400 nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1",
    "default via 192.0.2.1 dev eth0 quickack 1 features ecn", "192.0.2.0/24 dev eth0 scope 200",
    "203.0.113.0/24 nhid 7", "203.0.113.0/24 nhid 8",
]


@pytest.fixture
def nexthop_objects(kernel: Rtnetlink) -> None:
    run("ip nexthop add id 7 via 192.0.2.1 dev eth0")
    run("ip nexthop add id 9 via 198.51.100.1 dev eth1")
    run("ip nexthop add id 8 group 7/9")


@pytest.mark.parametrize("text", ROUTES + STRANGE_ROUTES)
@pytest.mark.usefixtures("nexthop_objects")
def test_every_route_that_ip_writes_is_read_and_deleted_exactly(kernel: Rtnetlink, text: str) -> None:
    before = snapshot()
    run(f"ip -4 route append table 200 proto 109 {text}")
    ours = ip("route show table 200")
    run(f"ip -4 route append table 200 proto 3 {text}")
    theirs = [route for route in ip("route show table 200") if route not in ours]
    assert len(ours) == len(theirs) == 1
    found, = have(kernel).routes
    assert (found.table, bool(found.rest)) == (200, text in STRANGE_ROUTES and "scope 200" not in text)
    assert found not in want().routes
    assert kernel.write((Change(False, found),)) == ()
    assert have(kernel) == NOTHING
    assert ip("route show table 200") == theirs
    run(f"ip -4 route del table 200 proto 3 {text}")
    assert snapshot() == before


@pytest.mark.parametrize("text", ROUTES)
def test_a_route_that_ip_writes_is_the_one_that_we_write(kernel: Rtnetlink, text: str) -> None:
    run(f"ip -4 route append table 200 proto 109 {text}")
    shown, found = ip("route show table 200"), have(kernel)
    run("ip -4 route flush table 200")
    write(kernel, found)
    assert ip("route show table 200") == shown


RULES = [
    "from all lookup 252", "from 192.0.2.34 lookup 200", "from 192.0.2.0/24 to 203.0.113.0/24 lookup 200",
    "from all oif eth0 lookup 200", "from all oif gone0 lookup 200", "from all lookup main suppress_prefixlength 0",
    "from all lookup 4294967295 suppress_prefixlength 24",
    "from all fwmark 1 lookup 200", "from all fwmark 0x10/0xff lookup 200", "from all iif eth0 lookup 200",
    "from all iif lo lookup 200", "from all uidrange 1000-2000 lookup 200", "from all uidrange 0-0 lookup 200",
    "from all ipproto tcp dport 443 lookup 200", "from all ipproto udp sport 1000-2000 lookup 200",
    "from all ipproto tcp sport 7 dport 443-444 lookup 200", "from 192.0.2.34 blackhole",
    "from 192.0.2.34 unreachable", "from 192.0.2.34 prohibit", "from all nop",
    "from all lookup 200 suppress_ifgroup 3", "from all lookup 200 suppress_prefixlength 7 suppress_ifgroup 109",
]
STRANGE_RULES = [
    "from all tos 0x10 lookup 200", "not from 192.0.2.34 lookup 200", "not from all fwmark 1 lookup 200",
    "from all goto 32766", "from all goto 30000", "from all l3mdev", "from all tun_id 7 lookup 200",
    "from all lookup 200 realms 3/4",
]


@pytest.mark.parametrize("text", RULES + STRANGE_RULES)
def test_every_rule_that_ip_writes_is_read_and_deleted_exactly(kernel: Rtnetlink, text: str) -> None:
    before = snapshot()
    inverted = "not " if text.startswith("not ") else ""
    text = text.removeprefix("not ")
    run(f"ip -4 rule add {inverted}pref 100 {text} protocol 3")
    theirs = snapshot()
    run(f"ip -4 rule add {inverted}pref 100 {text} protocol 109")
    assert len(snapshot()) == len(theirs) + 1
    found, = have(kernel).rules
    assert bool(found.rest) == (inverted + text in STRANGE_RULES)
    assert kernel.write((Change(False, found),)) == ()
    assert have(kernel) == NOTHING
    assert snapshot() == theirs
    run(f"ip -4 rule del {inverted}pref 100 {text} protocol 3")
    assert snapshot() == before


@pytest.mark.parametrize("text", RULES)
def test_a_rule_that_ip_writes_is_the_one_that_we_write(kernel: Rtnetlink, text: str) -> None:
    run(f"ip -4 rule add pref 100 {text} protocol 109")
    shown, found = snapshot(), have(kernel)
    run("ip -4 rule del pref 100")
    write(kernel, found)
    assert snapshot() == shown


def test_the_whole_routing_comes_and_goes_and_leaves_nothing(kernel: Rtnetlink) -> None:
    before = snapshot()
    write(kernel, want())
    assert have(kernel) == want()
    assert changes(have(kernel), want(), SHARED) == ()
    write(kernel, want(eth0="disabled"))
    assert have(kernel) == want(eth0="disabled")
    write(kernel, NOTHING)
    assert snapshot() == before


def test_the_commands_that_are_printed_make_what_is_written(kernel: Rtnetlink) -> None:
    names = {A: "eth0", B: "eth1"}
    for old, new in (NOTHING, want()), (want(), want(eth1="draining")), (want(eth1="draining"), NOTHING):
        planned = changes(old, new, SHARED)
        write(kernel, new)
        meant = snapshot()
        write(kernel, old)
        script = "set -e\n" + "\n".join(command(change, names) for change in planned)
        subprocess.run(["sh"], input=script, text=True, check=True)
        assert snapshot() == meant
        write(kernel, new)


NAMES = ["--help", "-4", "dev", "table", "via", "lock", "*", "$(id)", "`id`", "a'b", 'a"b', "é€",
         "fifteen-bytes-x", "eth0.100", "wan1", "wan10", "a\\b", "~", "if9", "\udcff\udcfe"]


@pytest.mark.parametrize("name", NAMES)
def test_an_interface_may_have_any_name_that_linux_takes(kernel: Rtnetlink, name: str) -> None:  # faults 27, 28
    raw = os.fsencode(name)
    run("ip link set eth0 down")
    subprocess.run([b"ip", b"link", b"set", b"dev", b"eth0", b"name", raw], check=True)
    subprocess.run([b"ip", b"link", b"set", b"dev", raw, b"up"], check=True)
    await_carrier(kernel, name)
    interface = kernel.interfaces(frozenset([name, "wan", name[:-1] or "x"]))
    assert interface == {name: Interface(A, True, True, ("192.0.2.34",), (24,))}
    link = ETH0._replace(interface=name)
    new = desired(judge((link, ETH1), {name: LEASES["eth0"], "eth1": LEASES["eth1"]}, {},
                        {**interface, "eth1": INTERFACES["eth1"]}), Settings())
    before = snapshot()
    write(kernel, new)
    meant = snapshot()
    assert have(kernel) == new
    write(kernel, NOTHING)
    assert snapshot() == before
    script = "set -e\n" + "\n".join(command(change, {A: name, B: "eth1"}) for change in changes(NOTHING, new, SHARED))
    subprocess.run(["sh"], input=script.encode("utf-8", "surrogateescape"), check=True)
    assert snapshot() == meant
    script = "set -e\n" + "\n".join(command(change, {A: name, B: "eth1"}) for change in changes(new, NOTHING, SHARED))
    subprocess.run(["sh"], input=script.encode("utf-8", "surrogateescape"), check=True)
    assert snapshot() == before


def test_a_multipath_of_three_hundred_nexthops_is_read(kernel: Rtnetlink) -> None:
    nexthops = [Nexthop(f"192.0.2.{1 + n % 30}", A, 1 + n % 256) for n in range(300)]
    many = Route(252, "0.0.0.0/0", 0, "", 0, tuple(nexthops))
    assert kernel.write((Change(True, many),)) == ()
    assert Rtnetlink().ours()[1] == kernel.ours()[1]
    assert have(Rtnetlink()) == Routing(frozenset((many,)))


def test_beside_a_long_main_our_routes_are_found_where_a_line_or_a_rule_of_ours_leads(kernel: Rtnetlink) -> None:
    mains = [Route(254, "0.0.0.0/0", 8100 + n, "", 0, (VIA0,)) for n in range(250)]
    routes = [BOTH, *[Route(table, "0.0.0.0/0", 0, "", 0, (VIA0,)) for table in (200, 70000, 77)], *mains]
    rules = [Rule(20100, 70000, "192.0.2.34/32"), Rule(20001, 0, action=BLACKHOLE, mark=1, mask=1)]
    assert kernel.write(tuple([Change(True, one) for one in (*routes, *rules)])) == ()
    whole, short = kernel.ours(), kernel.main(1000)
    assert sorted(kernel.ours(2, (200, 252, 77, 5), short)[1]) == sorted(whole[1])
    assert len(whole[1]) == len(routes) and len(short) == 250 + 2  # and the networks of eth0 and eth1
    subprocess.run(["ip", "-batch", "-"], check=True, text=True, input="".join(
        [f"route add 10.{n >> 8}.{n & 255}.0/24 via 192.0.2.1\n" for n in range(5000)]))
    main = kernel.main(300)
    assert 300 < len(main) < 2000
    assert kernel.main_default(main) == kernel.main_default(short) == (0, 0)
    ours = kernel.ours(2, (200, 252, 5), main)
    assert sorted(ours[1]) == sorted([one for one in whole[1] if one[4] != 77])  # nobody leads there
    assert (ours[0], ours[2]) == (whole[0], whole[2])


def test_two_hundred_and_fifty_links_go_in_one_send(kernel: Rtnetlink) -> None:
    links, leases, interfaces = [], {}, {}
    batch = []
    for n in range(250):
        name, address = f"up{n}", f"10.{n}.0.2"
        batch += [f"link add {name} index {1000 + n} type veth peer name peer-{name} index {2000 + n}",
                  f"link set {name} up", f"address add {address}/24 dev {name}"]
        links.append(ETH0._replace(interface=name, table_name=f"t{n}", table=1000 + n, weight=1 + n % 7))
        leases[name] = LEASES["eth0"]._replace(address=address, gateway=f"10.{n}.0.1", server="203.0.113.67")
        interfaces[name] = Interface(1000 + n, True, False, (address,), (24,))
    subprocess.run(["ip", "-batch", "-"], input="\n".join(batch), text=True, check=True)
    assert kernel.interfaces(frozenset(leases)) == interfaces
    new = desired(judge(tuple(links), leases, {}, interfaces), Settings())
    planned = changes(NOTHING, new, SHARED)
    sends = []

    class Socket:
        """Counts."""

        def __getattr__(self, name: str) -> object:
            return getattr(socket, name)

        def send(self, data: bytes) -> int:
            sends.append(len(data))
            return socket.send(data)

    socket, kernel.socket = kernel.socket, Socket()  # type: ignore[assignment]
    assert kernel.write(planned) == ()
    assert len(sends) == 1 and len(planned) == 250 * 6 + 5
    assert have(kernel) == new
    assert kernel.write(changes(new, NOTHING, SHARED)) == ()
    assert have(kernel) == NOTHING


@pytest.mark.parametrize("what, number, words", [
    (Route(200, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.255", A, 1, True),)), errno.EINVAL,
     "Nexthop has invalid gateway"),
    (Route(200, "0.0.0.0/0", 0, "", 0, (Nexthop("203.0.113.1", A),)), errno.ENETUNREACH,
     "Nexthop has invalid gateway"),
    (Route(200, "0.0.0.0/0", 0, "203.0.113.9", 0, (VIA0,)), errno.EINVAL, "Invalid prefsrc address"),
    (Route(252, "0.0.0.0/0", 0, "", 0, (VIA0, Nexthop("203.0.113.1", B))), errno.ENETUNREACH,
     "Nexthop has invalid gateway"),
    (Route(200, "0.0.0.0/0", 0, "", 0, (Nexthop("192.0.2.1", 77),)), errno.ENETUNREACH,
     "Nexthop has invalid gateway"),
    (Route(200, "0.0.0.0/0", 0, "", 0, (Nexthop("", 77),)), errno.ENODEV, ""),
], ids=["broadcast address", "off the link", "source", "one nexthop", "no such link", "no gateway either"])
def test_a_refusal_has_the_kernels_own_words_and_the_rest_is_made(kernel: Rtnetlink, what: Route, number: int,
                                                                  words: str) -> None:  # fault 58
    rest = Route(200, "203.0.113.0/24", 0, "", 0, (VIA0,))
    refusal, = kernel.write((Change(True, what), Change(True, rest)))
    assert (refusal.change.what, refusal.errno) == (what, number)
    assert refusal.words == words or not words
    assert have(kernel) == Routing(frozenset((rest,)))


def test_to_write_what_is_there_and_delete_what_is_not_is_no_refusal(kernel: Rtnetlink) -> None:
    route, rule = Route(200, "0.0.0.0/0", 0, "", 0, (VIA0,)), Rule(100, 200)
    for add in True, True, False, False:
        assert kernel.write((Change(add, route), *[Change(add, rule)] * (not add))) == ()
    assert have(kernel) == NOTHING


PROBER = """
import select, sys
sys.path.insert(0, sys.argv[1])
from dhcp_lb.rtnetlink import Rtnetlink
kernel, count, failed = Rtnetlink(), 0, 0
print("ready", flush=True)
while not select.select([0], [], [], 0)[0]:
    for _ in range(100):
        try:
            kernel.lookup("203.0.113.1", "", 0)
        except OSError:
            failed += 1
        count += 1
print(count, failed)
"""


def test_a_route_that_is_changed_is_never_absent(kernel: Rtnetlink) -> None:  # promise 1, doc/design.md
    run("ip rule add pref 32765 lookup 252")
    one, other = BOTH, BOTH._replace(nexthops=(VIA0._replace(weight=2), VIA1))
    third = BOTH._replace(nexthops=(Nexthop("192.0.2.2", A), VIA1))
    kernel.write((Change(True, one),))
    prober = subprocess.Popen([sys.executable, "-I", "-c", PROBER, str(CHECKOUT)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    assert prober.stdout and prober.stdout.readline() == "ready\n"
    for _ in range(3000):
        for old, new in (one, other), (other, third), (third, one):
            kernel.write((Change(True, new), Change(False, old)))
    count, failed = map(int, prober.communicate("\n")[0].split())
    assert count > 1000 and failed == 0
    assert have(kernel) == Routing(frozenset((one,)))


NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from dhcp_lb.model import Change, Rule
from dhcp_lb.rtnetlink import Rtnetlink
import dhcp_lb.rtmessages  # from a checkout that nobody else may read
os.setuid(65534)
kernel = Rtnetlink()
print(kernel.ours()[:2])
try:
    kernel.write((Change(True, Rule(1, 2)),))
except PermissionError as error:
    print(error.strerror)
"""


def test_without_the_right_one_can_read_and_not_write(kernel: Rtnetlink) -> None:  # fault 41
    done = subprocess.run([sys.executable, "-I", "-c", NOBODY, CHECKOUT], capture_output=True, text=True, check=True)
    assert done.stdout == "([], [])\nonly root can change the routing\n"


def test_sysctls_are_read_as_they_are(kernel: Rtnetlink) -> None:  # fault 53
    Path("/proc/sys/net/ipv4/conf/eth0/rp_filter").write_text("1")
    Path("/proc/sys/net/ipv4/conf/eth1/ignore_routes_with_linkdown").write_text("1")
    Path("/proc/sys/net/ipv4/conf/eth1/rp_filter").write_text("2")
    found = kernel.sysctls()
    assert (found[A], found[B]) == (Sysctl(1, 0), Sysctl(2, 1))
    assert found[-1].rp_filter == int(Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text())


@pytest.mark.parametrize("state, up, carrier", [
    ("eth0 down", False, False), ("peer-eth0 down", True, False), ("eth0 up", True, True)])
def test_interfaces_are_read_as_they_are(kernel: Rtnetlink, state: str, up: bool, carrier: bool) -> None:
    run(f"ip link set {state}")
    await_carrier(kernel, "eth0", carrier)
    run("ip address add 203.0.113.9/32 dev eth0")
    run("ip address add 203.0.113.10 peer 203.0.113.11 dev eth0 valid_lft 3600 preferred_lft 3600")
    run("ip -6 address add 2001:db8::1/64 dev eth0")
    assert kernel.interfaces(frozenset(["eth0", "gone0"])) == {
        "eth0": Interface(A, up, carrier, ("192.0.2.34", "203.0.113.9", "203.0.113.10"), (24, 32, 32),
                          lasting=(True, True, False))}
