"""Random histories against the real kernel and a small model of the wanted routing, in both families: events, edits,
other people's rules and routes, kills, a wiped store. hypothesis shrinks a history that fails.

DHCP_LB_HISTORIES: the number of histories, instead of 12; a quarter as many of IPv6."""

import itertools
import os
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.beds import box
from tests.beds.box import CONFIG, Given, boxed, event, ip, kernel, set_address, start_event
from tests.beds.ipv6 import ours
from tests.test_ns_ipv6 import Prefix, told

HISTORIES = int(os.environ.get("DHCP_LB_HISTORIES", "12"))
LINKS = ("eth0", "eth1", "eth2", "eth3")


class Line(NamedTuple):
    """A link's line of the configuration."""

    name: str
    table: int
    weight: int


def expected(lines: list[Line], leases: dict[str, Given], balance: int, lan: bool) -> set[str]:
    """All our routing in the kernel, as `ip -N -4 -d` should print it. It is written down from the tables in
    doc/design.md and from nothing else. `lan`: main's best default is by somebody else's LAN."""
    found = set()
    nexthops = []
    most = max((line.weight for line in lines), default=1)
    ranking = sorted(lines, key=lambda line: (-line.weight, line.table))
    for name, table, weight in lines:
        lease = leases.get(name)
        if not lease:
            continue
        network = lease.address.rpartition(".")[0]
        inside = lease.length == 24 and lease.gateway.rpartition(".")[0] == network
        way = f"via {lease.gateway} dev {name}"
        metric = 1000 + [line.name for line in ranking].index(name)
        ends = "" if inside else " onlink"
        if lease.length == 24:
            found.add(f"1 {network}.0/24 dev {name} table {table} proto 109 scope 253 src {lease.address}")
        found.add(f"1 default {way} table {table} proto 109 scope 0 src {lease.address}{ends}")
        found.add(f"20100: from {lease.address} lookup {table} proto 109")
        found.add(f"20200: from all oif {name} lookup {table} proto 109")
        found.add(f"1 default {way} table {balance} proto 109 scope 0 src {lease.address} metric {metric}{ends}")
        found.add(f"1 default {way} table 254 proto 109 scope 0 src {lease.address} metric {metric + 7100}{ends}")
        alone = [leases[line.name].server for line in lines if line.name in leases].count(lease.server) == 1
        if alone and (lease.length == 32 or lease.server.rpartition(".")[0] != network):
            found.add(f"1 {lease.server} {way} table 251 proto 109 scope 0 src {lease.address} metric 67{ends}")
            found.add("20300: from all ipproto ipproto-17 dport 67 lookup 251 proto 109")
        hops = weight if most <= 256 else max(1, int(weight * 256 / most + 0.5))
        nexthops.append((table, f"{way} weight {hops}{ends}", f"{way}", ends))
    if nexthops:
        found |= {"19900: from all lookup 254 suppress_prefixlength 7 suppress_ifgroup 109 proto 109",
                  *([] if lan else ["30000: from all lookup 254 suppress_ifgroup 109 proto 109"]),
                  "30100: from all lookup 254 suppress_prefixlength 0 proto 109",
                  f"32765: from all lookup {balance} proto 109"}
        head = f"1 default %s{'table'} {balance} proto 109 scope 0"
        if len(nexthops) == 1:
            found.add(head % f"{nexthops[0][2]} " + nexthops[0][3])
        else:
            found.add(" ".join([head % "", *(f"nexthop {hop}" for _, hop, _, _ in sorted(nexthops))]))
    return found


ADDRESSES = st.sampled_from(["10.0.%d.10", "10.0.%d.11"])
NAMES = st.sampled_from(LINKS)
STEPS = st.one_of(
    st.tuples(st.just("lease"), NAMES, ADDRESSES, st.sampled_from([24, 24, 24, 32]),
              st.sampled_from(["10.0.%d.1", "10.0.%d.2", "10.99.%d.1"]), st.sampled_from(["10.0.%d.1", "172.16.0.1"]),
              st.booleans()),
    st.tuples(st.just("renew"), NAMES),
    st.tuples(st.just("end"), NAMES, st.sampled_from(["EXPIRE", "RELEASE", "STOP", "FAIL"])),
    st.tuples(st.just("configure"), st.lists(st.tuples(NAMES, st.integers(300, 303), st.sampled_from([1, 2, 7, 1000])),
                                             max_size=4, unique_by=(lambda line: line[0], lambda line: line[1])),
              st.sampled_from([252, 260])),
    st.tuples(st.just("break the configuration"), st.sampled_from(["eth0 t 0 1\n", "eth0\n", "\0", "x = y\n"])),
    st.tuples(st.just("foreign"), st.sampled_from([
        "rule add pref 20100 from 10.0.0.10 lookup 300", "rule add pref 32765 lookup 252",
        "rule add pref 5 fwmark 7 lookup 9", "rule del pref 5",
        "route add 10.50.0.0/16 dev lo table 300", "route del 10.50.0.0/16 dev lo table 300",
        "route add unreachable default metric 4000 table 252", "route append default dev peer-eth0 table 301 proto 4",
        "route add default dev peer-eth1 table 254 metric 900", "route add 10.51.0.0/16 dev peer-eth2 table 252"])),
    st.tuples(st.just("vandal"), st.sampled_from([
        "rule flush protocol 109", "route flush table 252 proto 109", "route flush table 300 proto 109",
        "rule del pref 30100 protocol 109", "route del default table 252 proto 109"])),
    st.tuples(st.just("wipe"), st.sampled_from(["/run/dhcp-lb", "/run/dhcp-lb/leases", "/run/dhcp-lb/settled",
                                                "/run/dhcp-lb/waiting", "/run/dhcp-lb/lock"])),
    st.tuples(st.just("garbage"), NAMES),
    st.tuples(st.just("kill"), NAMES, st.integers(0, 60)),
    st.tuples(st.just("twice at once"), NAMES, NAMES),
)


class World:
    """The kernel, and the model of the wanted routing."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.balance = 252
        self.valid = True
        self.leases: dict[str, Given] = {}
        self.known: dict[str, Given] = {}  # those that an event told while its link was configured
        self.steps = 0

    def write_config(self) -> None:
        text = "".join(f"{name} t-{name} {table} {weight}\n" for name, table, weight in self.lines)
        CONFIG.write_text(text + (f"balance-table = b {self.balance}\n" if self.balance != 252 else ""))
        self.valid = True

    def configured(self, name: str) -> bool:
        return name in [line.name for line in self.lines]

    def tell(self, reason: str, name: str) -> None:
        """The client's hook."""
        event(reason, name, self.leases.get(name))
        self.heard(name)

    def heard(self, name: str) -> None:
        if self.valid and self.configured(name):
            self.known.pop(name, None)
            if name in self.leases:
                self.known[name] = self.leases[name]

    def step(self, kind: str, *words: object) -> None:
        getattr(self, kind.replace(" ", "_"))(*words)
        self.steps += 1

    def lease(self, name: str, quad: str, length: int, gateway: str, server: str, renewed: bool) -> None:
        number = LINKS.index(name)
        server = server % number if "%" in server else server
        self.leases[name] = Given(quad % number, length, gateway % number, server)
        set_address(name, self.leases[name])
        self.tell("RENEW" if renewed else "BOUND", name)

    def renew(self, name: str) -> None:
        if name in self.leases:
            self.tell("RENEW", name)

    def end(self, name: str, reason: str) -> None:
        if self.leases.pop(name, None):
            set_address(name, None)
        self.tell(reason, name)

    def configure(self, lines: list[tuple[str, int, int]], balance: int) -> None:
        self.lines, self.balance = [Line(*line) for line in lines], balance
        self.write_config()
        self.known = {name: lease for name, lease in self.known.items() if self.configured(name)}
        box.verb("apply")
        self.hear_of_all()

    def hear_of_all(self) -> None:
        """Links that were in use before they were configured have an event at some time."""
        for name in sorted(self.leases):
            self.tell("RENEW", name)

    def break_the_configuration(self, text: str) -> None:
        before = kernel()
        CONFIG.write_text(text)
        for name in LINKS[:2]:
            event("RENEW", name, self.leases.get(name))
        assert "dhcp-lb: /etc/dhcp-lb:1: " in subprocess.run(
            [box.PROGRAM, "apply"], env=box.ENVIRONMENT, capture_output=True, text=True).stderr
        assert kernel() == before
        self.write_config()

    def foreign(self, command: str) -> None:
        box.run("ip", *command.split(), check=False)

    def vandal(self, command: str) -> None:
        box.run("ip", *command.split(), check=False)

    def wipe(self, path: str) -> None:
        box.run("rm", "-rf", path)
        self.hear_of_all()

    def garbage(self, name: str) -> None:
        path = box.STORE / "leases" / name
        if path.exists():
            path.write_bytes(b"\xff\0garbage")
            self.hear_of_all()

    def kill(self, name: str, after_ms: int) -> None:
        if name not in self.leases:
            return
        lease = self.leases[name]
        changed = lease._replace(gateway=lease.gateway[:-1] + ("2" if lease.gateway.endswith("1") else "1"))
        running = start_event("RENEW", name, changed)
        time.sleep(after_ms / 1000)
        running.kill()
        running.wait()
        self.leases[name] = changed
        self.tell("RENEW", name)

    def twice_at_once(self, one: str, other: str) -> None:
        there = [name for name in (one, other) if name in self.leases]
        running = [start_event("RENEW", name, self.leases[name]) for name in there]
        assert [hook.wait(timeout=60) for hook in running] == [0] * len(there)
        for name in there:
            self.heard(name)

    def check(self) -> None:
        """After one more event of any link the routing is that of the model. The next event writes nothing. Rules and
        routes of others are as before."""
        foreign = kernel().foreign
        box.verb("apply")
        found = kernel()
        lan = "default dev peer-eth1" in box.run("ip", "route")
        assert {line.strip() for line in found.ours} == {
            line.strip() for line in expected(self.lines, self.known, self.balance, lan)}
        assert found.foreign == foreign
        self.assert_nothing_is_written()
        assert kernel() == found
        leftovers = [path.name for path in box.STORE.rglob("*") if " " in path.name]
        assert leftovers == [] and list(box.STORE.glob("waiting/*")) == []

    def assert_nothing_is_written(self) -> None:
        for command in [[name] for name in sorted(self.known)[:1]] + [["apply"]]:
            name, trace = command[0], Path("/run/trace")
            environ = box.ENVIRONMENT if name == "apply" else box.environment("RENEW", name, self.known[name])
            subprocess.run(["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=sendto,sendmsg", box.PROGRAM,
                            *([name] if name == "apply" else [])], check=True, capture_output=True, env=environ)
            written = re.findall("RTM_(?:NEW|DEL)(?:ROUTE|RULE)", trace.read_text(errors="replace"))
            assert written == [], written


@settings(max_examples=HISTORIES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
          print_blob=True)
@given(st.lists(STEPS, min_size=5, max_size=15))
def histories(steps: list[tuple[object, ...]]) -> None:
    """Each history starts from the beginning: links configured, nothing known."""
    world = World()
    box.run("ip", "rule", "flush", "protocol", "109")
    box.run("ip", "route", "flush", "table", "all", "proto", "109")
    box.run("rm", "-rf", str(box.STORE))
    for name in LINKS:
        set_address(name, None)
    world.configure([(name, 300 + number, 1 + number) for number, name in enumerate(LINKS)], 252)
    for number, name in enumerate(LINKS[:3]):
        world.lease(name, "10.0.%d.10", 24, "10.0.%d.1", "10.0.%d.1", False)
    for place, (kind, *words) in enumerate(steps):
        note(f"{place}: {kind} {words}")
        foreign = kernel().foreign if kind in ("renew", "vandal", "wipe", "garbage", "kill", "twice at once") else None
        world.step(str(kind), *words)
        assert foreign is None or kernel().foreign == foreign
        world.check()


@boxed
def test_any_history_ends_in_the_routing_of_its_leases_and_leaves_what_is_not_ours_alone() -> None:
    box.add_links(len(LINKS))
    histories()


@boxed
def test_the_same_leases_in_any_order_and_number_give_the_same_routing() -> None:
    names = box.add_links(4)
    leases = {name: box.given(number) for number, name in enumerate(names)}
    for name in names:
        set_address(name, leases[name])
    ends = set()
    for order in itertools.permutations(names):
        box.run("rm", "-rf", str(box.STORE))
        box.verb("flush")
        for name in (*order, order[0]):
            event("BOUND", name, leases[name])
        ends.add(kernel())
    assert len(ends) == 1


class Side6:
    """What a link has of IPv6."""

    def __init__(self, name: str) -> None:
        place = LINKS.index(name)
        self.name, self.number = name, 1 + place  # that of its provider's prefix
        self.table, self.weight, self.metric = 300 + place, 1 + place, 1002 - place
        self.address, self.length, self.router = "", 64, ""
        self.kept = ""  # the gateway that our own routing has
        self.led: set[str] = set()  # the prefixes for which it has a way
        self.told: set[str] = set()

    def source(self) -> str:
        return self.address if self.length == 128 or not self.address else f"2001:db8:{self.number}::/64"


LINKS6 = LINKS[:3]
NAMES6 = st.sampled_from(LINKS6)
# The last one may be told by several.
PREFIXES6 = st.sampled_from(["2001:db8:%d:f00::/56", "2001:db8:%d:e00::/60", "2001:db8:ff::/48"])
STEPS6 = st.one_of(
    st.tuples(st.just("address"), NAMES6, st.sampled_from(["2001:db8:%d::a", "2001:db8:%d::b"]),
              st.sampled_from([64, 64, 128])),
    st.tuples(st.just("no address"), NAMES6),
    st.tuples(st.just("router"), NAMES6, st.sampled_from(["fe80::1", "fe80::2", ""])),
    st.tuples(st.just("delegated"), NAMES6, PREFIXES6, st.sampled_from(["BOUND6", "RENEW6", "RELEASE6", "EXPIRE6"])),
    st.tuples(st.just("killed"), NAMES6, PREFIXES6, st.integers(0, 60)),
    st.tuples(st.just("of ipv4"), NAMES6, st.sampled_from(["BOUND", "RENEW", "STOP"])),
    st.tuples(st.just("foreign"), st.sampled_from([
        "rule add pref 20100 from 2001:db8:1::/64 lookup 300", "rule add pref 20101 from 2001:db8:7::/64 unreachable",
        "route add 2001:db8:50::/48 dev lo table 300", "route add unreachable default metric 600 table 252",
        "route append default from 2001:db8:9::/48 dev peer-eth0 metric 7", "rule del pref 20101"])),
    st.tuples(st.just("vandal"), st.sampled_from([
        "rule flush protocol 109", "route flush table 252 proto 109", "route flush table 300 proto 109",
        "rule del pref 30100 protocol 109", "route del default table 301 proto 109"])),
    st.tuples(st.just("wipe"), st.sampled_from(["/run/dhcp-lb", "/run/dhcp-lb/settled6", "/run/dhcp-lb/prefixes"])),
)


class World6:
    """The kernel, and the model of the wanted routing of IPv6."""

    def __init__(self) -> None:
        self.sides = {name: Side6(name) for name in LINKS6}

    def expected(self) -> list[str]:
        """All our routing of IPv6, as `ours` should print it, written down from doc/design.md."""
        found, nexthops, up = [], [], []
        for side in self.sides.values():
            # Of two that tell the same, the earlier line's has it.
            earlier = [other for other in self.sides.values() if other.number < side.number]
            prefixes = {prefix for prefix in side.told if not any(prefix in other.told for other in earlier)}
            gateway = side.router or (side.kept if side.address or prefixes else "")
            side.kept, side.led = gateway, prefixes if gateway else set()
            found += [f"7 default from {prefix} dev lo table 252 proto 109 metric 4294967295 pref medium"
                      for prefix in prefixes]
            if not gateway and not side.address:
                continue
            way, ends = f"via {gateway} dev {side.name}", "pref medium"
            networks = ["fe80::/64", *([side.source()] if side.address and side.length == 64 else [])]
            found += [f"{network} dev {side.name} table {side.table} proto 109 metric 1024 {ends}"
                      for network in networks]
            found.append(f"20200: from all oif {side.name} lookup {side.table} proto 109")
            if side.address:
                found += [f"20100: from {side.source()} lookup {side.table} proto 109",
                          f"20101: from {side.source()} 7 proto 109"]
            if gateway:
                found += [f"default {way} table {side.table} proto 109 metric 1024 {ends}",
                          *[f"default from {prefix} {way} table 252 proto 109 metric 513 {ends}"
                            for prefix in prefixes]]
            if gateway and side.address:
                found.append(f"default {way} table 252 proto 109 metric {side.metric} {ends}")
                nexthops.append((side.router, way, side.weight))
                up += [side.name] * bool(side.router)
        if any(side.kept or side.address for side in self.sides.values()):
            found += ["19900: from all lookup 254 suppress_prefixlength 7 suppress_ifgroup 109 proto 109",
                      "30000: from all lookup 254 suppress_ifgroup 109 proto 109",
                      "30100: from all lookup 254 suppress_prefixlength 0 proto 109",
                      "32765: from all lookup 252 proto 109"]
        # If none has a router, all stay.
        hops = [(way, weight) for router, way, weight in nexthops if router or not up]
        if len(hops) == 1:
            found.append(f"default {hops[0][0]} table 252 proto 109 metric 512 pref medium")
        elif hops:
            found.append("default table 252 proto 109 metric 512 pref medium "
                         + " ".join([f"nexthop {way} weight {weight}" for way, weight in hops]))
        return sorted(found)

    def step(self, kind: str, *words: object) -> None:
        getattr(self, kind.replace(" ", "_"))(*words)

    def address(self, name: str, text: str, length: int) -> None:
        self.no_address(name)
        side = self.sides[name]
        side.address, side.length = text % side.number, length
        ip(f"address add {side.address}/{length} dev {name} nodad")

    def no_address(self, name: str) -> None:
        self.sides[name].address = ""
        box.run("ip", "-6", "address", "flush", "dev", name, "scope", "global")

    def router(self, name: str, gateway: str) -> None:
        side = self.sides[name]
        side.router = gateway
        words = f"default dev {name} metric {1024 + side.number} proto ra"
        box.run("ip", "-6", "route", "del", *words.split(), check=False)
        if gateway:
            box.run("ip", "-6", "route", "add", *words.split(), "via", gateway)

    def delegated(self, name: str, prefix: str, reason: str) -> None:
        side = self.sides[name]
        prefix = prefix % side.number if "%" in prefix else prefix
        told(reason, name, prefix)
        if reason in ("BOUND6", "RENEW6"):
            side.told.add(prefix)
        else:
            side.told.discard(prefix)

    def killed(self, name: str, prefix: str, after_ms: int) -> None:
        text = prefix % self.sides[name].number if "%" in prefix else prefix
        running = start_event("BOUND6", name, Prefix(text))
        time.sleep(after_ms / 1000)
        running.kill()
        running.wait()
        self.delegated(name, prefix, "RENEW6")

    def of_ipv4(self, name: str, reason: str) -> None:
        before = ours()
        event(reason, name, Given(f"10.0.{LINKS.index(name)}.10", 24, f"10.0.{LINKS.index(name)}.1"))
        assert ours() == before

    def foreign(self, command: str) -> None:
        box.run("ip", "-6", *command.split(), check=False)

    def vandal(self, command: str) -> None:
        box.run("ip", "-6", *command.split(), check=False)
        for side in self.sides.values():
            if f"table {side.table} " in command and not side.router:
                side.kept = ""  # nobody knows any more what it was

    def wipe(self, path: str) -> None:
        box.run("rm", "-rf", path)
        if not path.endswith("settled6"):
            for side in self.sides.values():
                side.told = set(side.led)  # our own routing tells

    def check(self) -> None:
        """The routing is that of the model, there is nothing left to do, and what is not ours is as before."""
        before = theirs()
        box.verb("apply")
        assert ours() == self.expected()
        assert box.verb("plan") == "" and theirs() == before


def theirs() -> list[str]:
    """The rules and routes of IPv6 that are neither ours nor the kernel's own."""
    listed = box.run("ip", "-6", "-N", "rule") + box.run("ip", "-6", "-N", "-o", "route", "show", "table", "all")
    return sorted(line for line in listed.splitlines() if not re.search(" proto (109|2)( |$)", line))


@settings(max_examples=max(1, HISTORIES // 4), deadline=None, database=None,
          suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.lists(STEPS6, min_size=5, max_size=15))
def histories6(steps: list[tuple[object, ...]]) -> None:
    """Each begins with three links, two of which are up."""
    box.run("rm", "-rf", str(box.STORE))
    for line in theirs():
        if re.match(r"2010[01]:", line):
            box.run("ip", "-6", "rule", "del", "pref", line.partition(":")[0])
    for table in "252", "300":
        box.run("ip", "-6", "route", "flush", "table", table, check=False)
    box.verb("flush")
    world = World6()
    for name in LINKS6:
        world.no_address(name)
        world.router(name, "fe80::1" if name != "eth2" else "")
    for name in LINKS6[:2]:
        world.address(name, "2001:db8:%d::a", 64)
    world.check()
    for place, (kind, *words) in enumerate(steps):
        note(f"{place}: {kind} {words}")
        world.step(str(kind), *words)
        world.check()


@boxed
def test_any_history_of_ipv6_ends_in_the_routing_of_what_the_links_have_and_leaves_the_rest_alone() -> None:
    CONFIG.write_text("pin = no\n" + "".join([f"{name} t-{name} {300 + number} {1 + number}\n"
                                              for number, name in enumerate(LINKS6)]))
    box.run("sysctl", "-qw", "net.ipv6.conf.default.dad_transmits=0")
    for name in LINKS6:
        ip(f"link add {name} type veth peer name peer-{name}")
        ip(f"link set {name} up", f"link set peer-{name} up")
    while box.run("ip", "-6", "-o", "address", "show", "-tentative", "scope", "link").count("\n") < 2 * len(LINKS6):
        time.sleep(0.05)
    histories6()
