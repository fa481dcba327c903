"""Random histories against the real kernel and a small model of the wanted routing: events, edits, other people's
rules and routes, kills, a wiped store. hypothesis shrinks a history that fails.

DHCP_LB_HISTORIES: the number of histories, instead of 12."""

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
from tests.beds.box import CONFIG, Given, boxed, event, kernel, set_address, start_event

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
