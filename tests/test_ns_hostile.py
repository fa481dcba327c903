"""A provider that sends whatever it likes, under the real dhclient: it harms its own link and nothing else.

DHCP_LB_HOSTILE_S: for how many seconds, instead of 60."""

import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Isp, Lab
from tests.lab import hostile
from tests.lab.hostile import MARKER

SECONDS = float(os.environ.get("DHCP_LB_HOSTILE_S", "60"))
HOOK = "/etc/dhcp/dhclient-exit-hooks.d/dhcp-lb"
SERVER = Path(hostile.__file__)
QUAD = rb"(-|\d+\.\d+\.\d+\.\d+)"
LEASE = re.compile(rb"1 %s \d+ %s %s \d+ \d+ [A-Za-z0-9 ,:./'-]*\n" % (QUAD, QUAD, QUAD))

CLIENT = "timeout 1; retry 1; initial-interval 1;\n"  # it asks for all that Debian's configuration names


@pytest.fixture
def lab() -> Iterator[Lab]:
    """eth1 is up, with a good provider; that of eth0 has no server yet."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        with lab.router.path("/etc/dhcp/dhclient.conf").open("a") as configuration:
            configuration.write(CLIENT)
        lab.router.ifup("eth1")
        lab.isp("eth0").stop_dhcp()
        yield lab


class Hostile:
    """The server at eth0's provider, and the client that asks it."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.router = lab, lab.router
        isp = lab.isp("eth0")
        self.server = isp.node.python(SERVER, "customers", isp.gateway, "192.0.2.20", str(seed))
        self.wait()

    def wait(self) -> None:
        assert self.server.stdout and self.server.stdout.readline() == "ready\n"

    def case(self, number: int) -> tuple[object, ...]:
        """One lease, or none: how the client ended, and what it told its hooks."""
        assert self.server.stdin
        print(number, file=self.server.stdin, flush=True)
        self.wait()
        before = len(self.router.events("eth0"))
        client = "dhclient -4 -1 -q -pf /run/hostile.pid -lf /run/hostile.leases eth0"
        status = self.router.try_run("timeout", "-k", "1", "20", "sh", "-c", f"rm -f /run/hostile.*; exec {client}")
        told = self.router.events("eth0")[before:]
        return status.returncode, [event.split()[0] for event in told], [event.split()[1:] for event in told]

    def is_the_same_without_us(self, number: int, with_us: tuple[object, ...]) -> bool:
        """On a machine that is too busy a client may give up in time once; it does not do so again and again."""
        seen_with, seen_without = {repr(with_us)}, set()
        for _ in range(4):
            self.router.run("mv", HOOK, "/etc/hook")
            seen_without.add(repr(self.case(number)))
            self.stop_client()
            self.router.run("mv", "/etc/hook", HOOK)
            if seen_with & seen_without:
                return True
            seen_with.add(repr(self.case(number)))
            self.stop_client()
        print(f"with us {seen_with}, without us {seen_without}")
        return False

    def stop_client(self) -> None:
        """Its script goes on without it, and may tell of a renewal."""
        self.router.try_run("sh", "-c", "kill -9 $(cat /run/hostile.pid) 2>/dev/null; "
                            "while pgrep -x dhclient-script; do sleep 0.02; done; ip address flush dev eth0")


def of_the_other_link(lab: Lab) -> list[str]:
    """Rules, routes and nexthop of eth1, whatever there is beside them."""
    listed = lab.router.run("ip", "-N", "-4", "-d", "-batch", "-", stdin="rule show\nroute show table all\n")
    address, gateway = lab.isp("eth1").pool.rpartition(".")[0], lab.isp("eth1").gateway
    assert address
    lines = []
    for line in re.sub(r"\n\t", " ", listed).splitlines():
        line = re.sub(r"\s+", " ", line).strip()
        if "proto 109" not in line:
            continue
        if " table 252 " in line and " metric " not in line:
            weight = re.search(rf"via {re.escape(gateway)} dev eth1( weight \d+)?", line)
            assert weight and weight[1] in (None, " weight 2"), line
        elif " eth1 " in line or re.search(r" lookup 201( |$)", line) or re.search(r" table 201( |$)", line):
            lines.append(line)
    return sorted(lines)


def assert_no_text_of_the_server(lab: Lab) -> None:
    for place in "/run/dhcp-lb", "/etc/iproute2":
        for path in lab.router.path(place).rglob("*"):
            assert MARKER not in os.fsencode(path.name)
            if path.is_file():
                content = path.read_bytes()
                assert MARKER not in content, path
                if path.parent.name == "leases":
                    assert LEASE.fullmatch(content), content
    assert not [path for path in lab.router.path("/").iterdir() if MARKER in os.fsencode(path.name)]


def test_a_hostile_dhcp_server_harms_its_own_link_and_nothing_else(lab: Lab) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    server = Hostile(lab, seed)
    before = of_the_other_link(lab)
    assert len(before) == 6
    bound = compared = used = cases = 0
    end = time.monotonic() + SECONDS
    with lab.prober(lab.router) as prober:
        while time.monotonic() < end:
            with_us = server.case(cases)
            assert of_the_other_link(lab) == before, f"seed {seed}, case {cases}"
            assert_no_text_of_the_server(lab)
            bound += "BOUND" in with_us[1]  # type: ignore[operator]
            used += bool(lab.router.ip("-4 route show table all dev eth0 proto dhcp-lb"))
            server.stop_client()
            if cases % 5 == 0:
                assert server.is_the_same_without_us(cases, with_us), f"seed {seed}, case {cases}: {with_us}"
                compared += 1
            cases += 1
    print(f"{cases} answers: {bound} bound, {used} used, {compared} compared with a client that has no hook of ours")
    assert bound > cases / 2 and 0 < used < bound
    assert set(prober.lookups) == {"found"}
    log = "\n".join(lab.router.log())
    assert "please report" not in log
    assert lab.router.dhcp_lb("apply") == ""
    assert lab.connect(lab.router, 20, device="eth1") == {"eth1": 20}


def test_the_hostile_server_sends_what_it_says() -> None:
    cases = hostile.Cases("192.0.2.1", "192.0.2.20", 1)
    request = bytes((1, 1, 6, 0)) + bytes(236)
    sent = set()
    for number in range(200):
        cases.take(number)
        first, second = cases.reply(request, hostile.OFFER), cases.reply(request, hostile.ACK)
        assert first[240:243] == bytes((53, 1, 2)) and hostile.kind_of(second) == hostile.ACK
        sent.add(first[243:])
    assert len(sent) > 190 and any(MARKER in answer for answer in sent)
