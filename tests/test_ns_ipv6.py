"""IPv6 with two providers that drop what is not of theirs: each source by its own provider."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from dhcp_lb.config import Config
from dhcp_lb.reconcile import reconcile
from dhcp_lb.rtmessages import routing
from dhcp_lb.rtnetlink import Rtnetlink
from dhcp_lb.store import Store
from tests.beds.box import (CHECKOUT, CONFIG, ENVIRONMENT, PROGRAM, Syslog, boxed, event, given, ip, kernel, run,
                            verb)
from tests.beds.ipv6 import INTERNET, LAN_OF, LINES, PORT, PREFIXES, Providers, apply, ours, own, providers
from tests.test_ns_kill import Step, kill_points, killed_at, points

BARE = "eth0 table-eth0 200 1\neth1 table-eth1 201 2\n"
BUSY_S = 2.0  # a machine with other work to do


@boxed
def test_each_source_leaves_by_its_own_provider() -> None:
    with providers() as world:
        sources = {name: own(name) for name in LAN_OF}
        before = [world.connects(3, sources[name], timeout_s=0.3)["timeout"] for name in sources]
        assert sorted(before) == [0, 3]  # two thirds of it fail without us
        assert world.astray() >= 3
        apply()
        for name in sources:
            assert world.connects(300, sources[name]) == {name: 300}
            assert world.connects(300, oif=name) == {name: 300}
            assert world.connects(300, f"{LAN_OF[name]}::2", lan=True) == {name: 300}
        assert world.astray() == 0


@boxed
def test_the_routers_own_connections_are_balanced_with_the_right_sources() -> None:
    with providers() as world:
        apply()
        found = world.connects(600)
        assert sum(found.values()) == found["eth0"] + found["eth1"] == 600
        assert abs(found["eth0"] / 600 - 1 / 3) < 0.06
        assert world.astray() == 0


@boxed
def test_a_cable_that_is_cut_costs_its_own_sources_alone_and_those_are_told_at_once() -> None:
    with providers() as world:
        sources = {name: own(name) for name in LAN_OF}
        apply()
        for dead, other in ("eth0", "eth1"), ("eth1", "eth0"):
            world.cable(dead, "down")
            assert world.connects(300) == {other: 300}
            assert world.connects(300, sources[other]) == {other: 300}
            assert world.connects(300, f"{LAN_OF[other]}::2", lan=True) == {other: 300}
            assert world.told(10, sources[dead], 0.2) == 10
            assert world.told(10, f"{LAN_OF[dead]}::2", 2.1, lan=True) == 10
            world.cable(dead, "up")
            time.sleep(1.2)  # the kernel takes up to a second to see it: net/core/link_watch.c
            assert world.connects(100, sources[dead]) == {dead: 100}
            assert set(world.connects(100)) == {"eth0", "eth1"}
        assert world.astray() == 0 and verb("plan") == ""


@boxed
def test_a_device_that_is_unplugged_leaves_the_other_link_as_it_is() -> None:
    with providers() as world:
        apply()
        before = ours()
        run("ip", "link", "delete", "eth0")
        assert world.connects(200) == {"eth1": 200}
        assert world.connects(200, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 200}
        apply()
        assert world.connects(5, f"{LAN_OF['eth0']}::2", lan=True, timeout_s=5) == {"Network is unreachable": 5}
        world.plug("eth0")
        world.introduce("eth0")
        apply()
        assert ours() == before
        assert set(world.connects(200)) == {"eth0", "eth1"} and world.astray() == 0


@boxed
def test_a_default_that_goes_takes_a_link_out_of_the_balance_and_its_sources_go_on() -> None:
    with providers() as world:
        source = own("eth0")
        apply()
        before = ours()
        world.advertise("eth0", router_s=0)
        time.sleep(0.1)
        apply()
        assert "no router" in verb("status")
        assert world.connects(300) == {"eth1": 300}
        assert world.connects(100, source) == {"eth0": 100}
        assert world.connects(100, f"{LAN_OF['eth0']}::2", lan=True) == {"eth0": 100}
        world.advertise("eth0")
        time.sleep(0.1)
        apply()
        assert ours() == before and world.astray() == 0


@boxed
def test_what_comes_from_a_link_without_a_known_router_is_told_and_not_astray() -> None:
    with providers() as world:
        source = own("eth0")
        apply()
        before = ours()
        world.advertise("eth0", router_s=0)
        verb("flush")
        apply()
        assert "eth0  no router" in verb("status")
        assert world.connects(100) == world.connects(100, own("eth1")) == {"eth1": 100}
        assert world.told(10, source, 0.2) == 10
        assert world.told(10, f"{LAN_OF['eth0']}::2", 2.1, lan=True) == 10
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as near:
            near.bind((source, 0))
            near.connect((f"{PREFIXES['eth0']}::99", 9))
        assert world.astray() == 0
        world.introduce("eth0")
        world.advertise("eth0")
        time.sleep(0.1)
        apply()
        assert ours() == before and world.connects(50, source) == {"eth0": 50}


@boxed
def test_an_address_that_goes_takes_its_rules() -> None:
    with providers() as world:
        apply()
        run("ip", "-6", "address", "flush", "dev", "eth0", "scope", "global")
        apply()
        assert not [line for line in ours() if "from 2001:db8:a::/64" in line]
        assert world.connects(100) == {"eth1": 100}  # eth0 has no address of its own
        assert world.connects(100, f"{LAN_OF['eth0']}::2", lan=True) == {"eth0": 100}
        assert "eth0  no address" in verb("status") and world.astray() == 0
        world.introduce("eth0", "2001:db8:a:1::")  # renumbered
        apply()
        assert world.connects(100, own("eth0")) == {"eth0": 100} and world.astray() == 0


@boxed
def test_flush_leaves_the_machine_as_it_was() -> None:
    def machine() -> str:
        return run("ip", "-6", "rule") + run("ip", "-6", "route", "show", "table", "all") + run(
            "sysctl", "net.ipv6.conf.eth0.ignore_routes_with_linkdown", "net.ipv6.fib_multipath_hash_policy")
    with providers("balance = connection\n" + LINES):
        before = _without_times(machine())
        apply()
        assert ours() and "policy = 3" in machine()
        verb("flush")
        assert ours() == [] and _without_times(machine()) == before


def _without_times(text: str) -> str:
    return re.sub(r" expires \d+sec", "", text)


@boxed
def test_what_is_not_ours_stays_as_it_is() -> None:
    foreign = ("-6 route add default via fe80::1 dev eth0 table 252 metric 600",
               "-6 route add unreachable default table 252 metric 4294967295",
               "-6 route add default from 2001:db8:c::/48 via fe80::1 dev eth0 metric 7",
               "-6 rule add pref 20100 from 2001:db8:c::/48 lookup 77 protocol 77",
               "-6 rule add pref 20101 from 2001:db8:d::/48 unreachable")
    with providers() as world:
        for command in foreign:
            run("ip", *command.split())
        before = theirs()
        apply()
        assert theirs() == before
        world.cable("eth0", "down")
        verb("disable", "eth1")
        verb("flush")
        assert theirs() == before and ours() == []


def theirs() -> list[str]:
    lines = (run("ip", "-6", "-N", "rule") + run("ip", "-6", "-N", "-o", "route", "show", "table", "252")).splitlines()
    return [line.replace(" linkdown", "") for line in lines if " proto 109" not in line]


@boxed
def test_a_machine_without_ipv6_gets_not_one_object_of_it() -> None:
    with providers(told=False) as world:
        for name in "lo", "eth0", "eth1", "lan0":
            run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
        run("sed", "-i", "s/prefix6=[^ ]*//", "/etc/dhcp-lb")
        apply()
        assert ours() == [] and '"ipv6": null' in verb("status", "--json") and "IPV6" not in verb("status")
        assert world.connects(1, timeout_s=0.1) != {"eth0": 1}


@boxed
def test_a_link_that_says_ipv6_no_is_left_alone() -> None:
    with providers("eth0 table-eth0 200 1 ipv6=no\neth1 table-eth1 201 2\n") as world:
        apply()
        assert not [line for line in ours() if "eth0" in line or "2001:db8:a:" in line]
        assert world.connects(50, own("eth1")) == {"eth1": 50} and world.connects(50) == {"eth1": 50}


@boxed
def test_no_policy_sends_a_source_to_the_wrong_provider() -> None:
    with providers(LINES + "in lan0 -> eth0 eth1\n") as world:
        apply()
        for name in LAN_OF:
            assert world.connects(100, f"{LAN_OF[name]}::2", lan=True) == {name: 100}
        assert world.astray() == 0


@boxed
def test_a_vpn_that_takes_all_takes_the_lan_too() -> None:
    with providers() as world:
        run("ip", "link", "add", "vpn0", "type", "veth", "peer", "name", "peer-vpn0")
        run("ip", "link", "set", "vpn0", "up")
        run("ip", "-6", "route", "add", "default", "dev", "vpn0", "table", "77")
        run("ip", "-6", "rule", "add", "pref", "30863", "lookup", "77")
        apply()
        for place in "32764", "30863":
            run("ip", "-6", "rule", "del", "lookup", "77")
            run("ip", "-6", "rule", "add", "pref", place, "lookup", "77")
            for name in LAN_OF:
                found = run("ip", "-6", "route", "get", f"{INTERNET}::1", "from", f"{LAN_OF[name]}::2", "iif", "lan0")
                assert " dev vpn0 " in found
                assert f" dev {name} " in run("ip", "-6", "route", "get", f"{INTERNET}::1", "from", own(name))
        assert world.astray() == 0


@boxed
def test_an_event_of_ipv4_touches_ipv4_alone() -> None:
    with providers() as world:
        run("ip", "address", "add", "10.100.0.10/24", "dev", "eth0")
        event("BOUND", "eth0", given(0))
        assert ours() == [] and kernel().ours
        apply()
        before = ours()
        world.advertise("eth0", router_s=0)
        time.sleep(0.1)
        event("RENEW", "eth0", given(0, gateway=2))
        assert ours() == before
        apply()
        assert ours() != before


@boxed
def test_an_event_of_ipv4_makes_the_same_system_calls_with_ipv6_and_without() -> None:
    with providers():
        for number in 0, 1:
            ip(f"address add {given(number).address}/24 dev eth{number}")
            event("BOUND", f"eth{number}", given(number))

        def calls() -> list[list[str]]:
            """Of a renewal without change, of one with another gateway, and of the way back."""
            verb("apply")
            found = []
            for gateway in 1, 2, 1:
                step = Step("RENEW", "eth0", given(0, gateway=gateway))
                found.append([point.name for point in points(step)])
            return found
        calls()
        with_ipv6 = calls()
        assert ours() != []
        for name in "lo", "eth0", "eth1", "lan0":
            run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
        CONFIG.write_text(re.sub("prefix6=[^ \n]*", "", CONFIG.read_text()))
        calls()
        assert calls() == with_ipv6 and ours() == []
        assert len(with_ipv6[0]) < len(with_ipv6[1])


@boxed
def test_the_commands_that_plan_shows_of_ipv6_do_what_apply_does() -> None:
    with providers("pin = no\n" + LINES + "in lan0 -> eth1 eth0\n") as world:
        def follow() -> None:
            """Types what `plan` shows; then it has nothing left to show."""
            planned = verb("plan")
            assert "ip -6 " in planned
            run("sh", "-ec", planned)
            assert verb("plan") == "" and ours() != []

        follow()
        before = ours()
        verb("flush")
        apply()
        assert ours() == before
        world.advertise("eth0", router_s=0)
        time.sleep(0.1)
        follow()
        told("BOUND6", "eth1", "2001:db8:c:f00::/56")
        CONFIG.write_text(f"pin = no\n{BARE}")
        follow()
        assert world.connects(20, own("eth0")) == {"eth0": 20} and world.connects(20) == {"eth1": 20}


@boxed
def test_explain_knows_both_families() -> None:
    with providers():
        apply()
        balanced = verb("explain", f"{INTERNET}::1")
        assert "rule   pref 32765" in balanced and " 67% of" in balanced
        assert "rule   pref 20100" in verb("explain", f"{INTERNET}::1", "--from", own("eth0"))
        assert "default from 2001:db8:a::/48" in verb("explain", f"{INTERNET}::1", "--from", f"{LAN_OF['eth0']}::1")
        assert "stays on this machine" in verb("explain", own("eth1"))
        for wrong in ([":::1"], [f"{INTERNET}::1", "--from", "192.0.2.1"]):
            assert "must be both" in complaint(*wrong) or "is not an IPv4 or IPv6 address" in complaint(*wrong)


def complaint(*arguments: str) -> str:
    done = subprocess.run([PROGRAM, "explain", *arguments], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 2
    return done.stderr


@contextmanager
def monitor() -> Iterator[Callable[[], int]]:
    """A monitor. → How often it has looked since the last call: it tells systemd so after each look."""
    log = Syslog()  # which makes room for all that the monitor says to such sockets
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("/run/notify")
        systemd.setblocking(False)

        def looks() -> int:
            found = 0
            with suppress(BlockingIOError):
                while True:
                    found += systemd.recv(65536).startswith(b"STATUS=")
            return found
        process = subprocess.Popen([PROGRAM, "monitor"], env=ENVIRONMENT | {"NOTIFY_SOCKET": "/run/notify"})
        try:
            until("the monitor has looked", looks)
            yield looks
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), f"status {process.poll()}", *log.lines()])) from None
        finally:
            process.kill()
            process.wait()


def until(what: str, holds: Callable[[], object], timeout_s: float = 5) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"{what}: {ours()}"
        time.sleep(0.02)


@boxed
def test_the_monitor_looks_when_an_address_or_a_router_comes_or_goes() -> None:
    with providers("pin = no\n" + LINES, told=False) as world, monitor():
        for name, prefix in PREFIXES.items():
            world.introduce(name)
            until("a rule for the address", lambda: f"from {prefix}::/64 lookup" in "\n".join(ours()))
        until("both", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        world.advertise("eth0", router_s=0)
        until("no router", lambda: "nexthop" not in "\n".join(ours()))
        assert world.connects(50) == {"eth1": 50}
        world.advertise("eth0")
        until("the router again", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        run("ip", "-6", "address", "flush", "dev", "eth1", "scope", "global")
        until("no address", lambda: "from 2001:db8:b::/64 lookup" not in "\n".join(ours()))
        run("ip", "-6", "rule", "del", "pref", "20200")
        until("the rule that somebody deleted", lambda: verb("plan") == "")


@boxed
def test_a_device_that_comes_back_has_its_share_within_a_second_of_its_address() -> None:
    with providers("pin = no\n" + LINES) as world, monitor():
        until("both", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        run("ip", "link", "delete", "eth0")
        until("one", lambda: "nexthop" not in "\n".join(ours()))
        assert world.connects(100) == {"eth1": 100}
        world.plug("eth0")
        world.introduce("eth0")
        begin_s = time.monotonic()
        until("both again", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        took_s = time.monotonic() - begin_s
        assert took_s < 1 + BUSY_S, took_s
        found = world.connects(300)
        assert abs(found["eth0"] / 300 - 1 / 3) < 0.08 and sum(found.values()) == 300


@boxed
def test_a_provider_that_renumbers_at_once_is_followed_within_a_second_and_a_half() -> None:
    """Without a warning, as after a reboot of its own: the new prefixes are there, and the old ones lead nowhere."""
    with providers("pin = no\n" + BARE) as world, monitor():
        told("BOUND6", "eth0", f"{LAN_OF['eth0']}::/56")
        until("both", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        old = own("eth0")
        new, new_lan = "2001:db8:a:1", "2001:db8:a:e00"
        begin_s = time.monotonic()
        for prefix, lives in (f"{PREFIXES['eth0']}::", False), (f"{new}::", True):
            world.advertise("eth0", prefix, preferred_s=3600 * lives, valid_s=7200 * lives)
        told("RENEW6", "eth0", f"{new_lan}::/56")
        told("EXPIRE6", "eth0", f"{LAN_OF['eth0']}::/56")
        ip(f"address add {new_lan}::1/64 dev lan0 nodad")
        with world.lan:
            ip(f"address add {new_lan}::2/64 dev eth0 nodad")
        until("the new address", lambda: f"from {new}::/64 lookup" in "\n".join(ours()))
        took_s = time.monotonic() - begin_s
        assert took_s < 1.5 + BUSY_S, took_s
        address = next(line.split()[3].partition("/")[0] for line in run(
            "ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global").splitlines() if f" {new}:" in line)
        assert world.connects(200, address) == world.connects(200, f"{new_lan}::2", lan=True) == {"eth0": 200}
        assert set(world.connects(200)) == {"eth0", "eth1"}
        assert f"from {LAN_OF['eth0']}::/56" not in "\n".join(ours())
        assert world.connects(20, old) == {"eth0": 20}  # as long as the address is there
        run("ip", "-6", "address", "del", f"{old}/64", "dev", "eth0")
        until("the end of the old rules", lambda: f"from {PREFIXES['eth0']}::/64" not in "\n".join(ours()))
        assert world.astray() == 0


@boxed
def test_an_unchanged_advertisement_is_no_reason_for_a_look() -> None:
    with providers() as world, monitor() as looks:
        until("both", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        time.sleep(1.5)  # until nothing is left to be taken up
        looks()
        changes = subprocess.Popen(["ip", "-6", "monitor", "route", "rule"], env=ENVIRONMENT, stdout=subprocess.PIPE)
        for _ in range(20):
            for name in PREFIXES:
                world.advertise(name)
            time.sleep(0.05)
        assert looks() == 0
        changes.terminate()
        assert changes.communicate()[0] == b""
        world.advertise("eth0", router_s=0)
        until("a look", looks)


def told(reason: str, interface: str, prefix: str, valid_s: int = 7200) -> None:
    """dhclient -6 calls our hook about a prefix."""
    which = "old" if reason in ("RELEASE6", "EXPIRE6", "STOP6") else "new"
    hook = subprocess.run(["sh", "-euc", f". {CHECKOUT}/etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb"],
                          env=ENVIRONMENT | {"reason": reason, "interface": interface, f"{which}_ip6_prefix": prefix,
                                             f"{which}_max_life": str(valid_s)}, capture_output=True, text=True)
    assert (hook.returncode, hook.stdout, hook.stderr) == (0, "", "")


@boxed
def test_a_delegated_prefix_leaves_by_the_provider_that_delegated_it() -> None:
    with providers(BARE) as world:
        log = Syslog()
        apply()
        for name, prefix in LAN_OF.items():
            told("BOUND6", name, f"{prefix}::/56")
        log.lines()
        for name, prefix in LAN_OF.items():
            assert world.connects(300, f"{prefix}::2", lan=True) == {name: 300}
            told("RENEW6", name, f"{prefix}::/56")
        assert log.lines() == [] and world.astray() == 0 and verb("plan") == ""
        before = ours()
        verb("flush")
        apply()
        assert ours() == before  # what was told outlives a flush
        run("rm", "-r", "/run/dhcp-lb")
        apply()
        assert ours() == before  # and a store that is lost
        world.cable("eth0", "down")
        assert world.told(5, f"{LAN_OF['eth0']}::2", 2.1, lan=True) == 5
        told("RELEASE6", "eth0", f"{LAN_OF['eth0']}::/56")
        assert not [line for line in ours() if "from 2001:db8:a:f00::/56" in line]
        assert "2001:db8:b:f00::/56" in verb("status")


@boxed
def test_a_prefix_that_a_provider_has_no_right_to_is_refused_once_and_harms_nobody() -> None:
    with providers("eth0 table-eth0 200 1 prefix6=2001:db8:a::/48\neth1 table-eth1 201 2\n") as world:
        apply()
        log = Syslog()
        before = ours()
        for prefix in "::/1", "2000::/3", "fe80::/10", "2001:db8:a:f00::/56", "2001:db8::/32", "2001:db8:b:f00::/72":
            for reason in "BOUND6", "RENEW6":
                told(reason, "eth1", prefix)
            line, = log.lines()
            assert line.startswith(f"eth1: the delegated prefix {prefix} is not used: it ")
            assert ours() == before and line in verb("status")
            told("EXPIRE6", "eth1", prefix)
            log.lines()
        told("BOUND6", "eth1", "$(reboot)/56")
        told("BOUND6", "eth1", "2001:db8:b:f00::/56", valid_s=1)
        assert ours() != before
        time.sleep(1.5)
        apply()
        assert ours() == before  # its time is over
        assert world.connects(50, f"{LAN_OF['eth0']}::2", lan=True) == {"eth0": 50}


@contextmanager
def two_that_tell_nobody() -> Iterator[Providers]:
    """Of the first provider the router and the LAN have addresses in 3fff:a::/32, of the second one those of the bed.
    Neither the configuration nor a client tells of a prefix."""
    with providers("pin = no\n" + BARE, told=False) as world:
        ip(f"address del {LAN_OF['eth0']}::1/64 dev lan0", "address add 3fff:a:f00::1/64 dev lan0 nodad")
        world.introduce("eth0", "3fff:a::")
        world.introduce("eth1")
        yield world


def leads(source: str) -> str:
    """The interface by which a packet from this source leaves that has come in from the LAN; "" if none."""
    done = subprocess.run(["ip", "-6", "route", "get", f"{INTERNET}::1", "from", source, "iif", "lan0"],
                          capture_output=True, text=True)
    return done.stdout.partition(" dev ")[2].split()[0] if done.returncode == 0 else ""


def delegated() -> list[str]:
    """Our source routes, in short."""
    return [line.split()[2] + " by " + line.partition(" dev ")[2].split()[0] for line in ours()
            if line.startswith("default from ")]


@boxed
def test_what_nobody_tells_of_leaves_by_the_provider_that_it_can_only_be_of() -> None:
    with two_that_tell_nobody() as world:
        apply()
        assert delegated() == ["2001:db8:b:f00::/64 by eth1", "3fff:a:f00::/64 by eth0"]
        world.astray()
        assert world.connects(300, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 300}
        assert leads("3fff:a:f00::2") == "eth0" and world.astray() == 0
        assert ("IPv6 of eth1: 2001:db8:b:f00::/64 is inferred from 2001:db8:b:f00::1, an address of the LAN that is "
                "near to those of this link alone\n") in verb("status")
        first, second = json.loads(verb("status", "--json"))["links"]
        assert first["ipv6"]["inferred"] == {"3fff:a:f00::/64": "3fff:a:f00::1"}
        assert second["ipv6"]["prefixes"] == [*second["ipv6"]["inferred"]] == ["2001:db8:b:f00::/64"]
        told("BOUND6", "eth1", "2001:db8:b:f00::/56")  # a client's word counts more
        assert delegated() == ["2001:db8:b:f00::/56 by eth1", "3fff:a:f00::/64 by eth0"]
        assert "2001:db8:b:f00::/64 is inferred" not in verb("status")
        told("RELEASE6", "eth1", "2001:db8:b:f00::/56")
        world.cable("eth1", "down")
        assert world.told(5, f"{LAN_OF['eth1']}::2", 2.1, lan=True) == 5
        assert world.astray() == 0


@boxed
def test_an_inferred_prefix_comes_and_goes_with_the_lan_s_address_and_the_monitor_sees_it() -> None:
    with two_that_tell_nobody() as world, monitor():
        both = ["2001:db8:b:f00::/64 by eth1", "3fff:a:f00::/64 by eth0"]
        until("both", lambda: delegated() == both)
        ip(f"address del {LAN_OF['eth1']}::1/64 dev lan0")
        until("one", lambda: delegated() == both[1:])
        # As systemd-networkd does it, and deprecated, as a script withdraws it from the LAN.
        ip(f"address add {LAN_OF['eth1']}::1/64 dev lan0 nodad preferred_lft 0 valid_lft 7200 noprefixroute",
           f"route add {LAN_OF['eth1']}::/64 dev lan0 proto dhcp")
        until("both again", lambda: delegated() == both)
        ip("address del 3fff:a:f00::1/64 dev lan0", "address add 3fff:a:f01::1/64 dev lan0 nodad")
        until("another one", lambda: delegated() == [both[0], "3fff:a:f01::/64 by eth0"])
        assert world.connects(100, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 100}


@boxed
def test_a_provider_that_advertises_what_is_near_the_lan_s_prefix_does_not_get_it() -> None:
    with two_that_tell_nobody() as world:
        apply()
        for prefix in "2001:db8:b:f01::", f"{LAN_OF['eth1']}::":  # nearer than the second provider's, and the LAN's
            world.advertise("eth0", prefix)
            until("an address", lambda: prefix.removesuffix(":") in run(
                "ip", "-6", "address", "show", "dev", "eth0", "-tentative"))
            apply()
            assert delegated() == ["3fff:a:f00::/64 by eth0"]
            assert ("eth0: 2001:db8:b:f00::/64 of the LAN may be of eth0 or eth1, and so leaves by any link: "
                    "write prefix6=2001:db8:b:f00::/64 in the line of its provider\n") in verb("status")
        CONFIG.write_text("pin = no\n" + BARE.rstrip() + " prefix6=2001:db8:b:f00::/64\n")
        apply()
        world.astray()
        assert delegated() == ["2001:db8:b:f00::/64 by eth1", "3fff:a:f00::/64 by eth0"]
        assert world.connects(100, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 100} and world.astray() == 0


@boxed
def test_a_gateway_that_the_kernel_refuses_costs_its_own_link_alone() -> None:
    with providers("eth0 table-eth0 200 1 prefix6=2001:db8:a::/48 gateway=2001:db8:b:f00::1\n"
                   "eth1 table-eth1 201 2 prefix6=2001:db8:b::/48\n") as world:
        log = Syslog()
        apply()
        assert "eth0 unusable: the kernel refuses it: Gateway can not be a local address" in verb("status")
        assert [line for line in log.lines() if line.startswith("IPv6 of")] == [
            "IPv6 of eth0 is not used: the kernel refuses it: Gateway can not be a local address (EINVAL)"]
        assert world.connects(100) == {"eth1": 100}
        assert world.connects(100, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 100}
        assert world.told(5, f"{LAN_OF['eth0']}::2", 2.1, lan=True) == 5
        before = ours()
        run("ip", "-6", "address", "add", "2001:db8:b:1::1/64", "dev", "eth1", "nodad")
        event("BOUND6", "eth1")
        assert len(ours()) > len(before) and log.lines() != []
        CONFIG.write_text(LINES)
        apply()
        assert world.connects(100, own("eth0")) == {"eth0": 100} and world.astray() == 0


@boxed
def test_a_device_whose_ipv6_is_switched_off_takes_its_link_out() -> None:
    with providers() as world:
        apply()
        before = ours()
        run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
        apply()
        assert world.connects(50) == {"eth1": 50}
        run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
        run("ip", "-6", "address", "add", "fe80::2/64", "dev", "eth0", "nodad")
        world.introduce("eth0")
        apply()
        assert ours() == before


STRICT, LOOSE = "saddr . mark . iif", "saddr . mark"


@boxed
def test_the_filter_of_reverse_paths_of_firewalld_drops_nothing() -> None:
    """IPv6_rpfilter=strict and =loose of firewalld.conf(5), in the words of its nftables.py."""
    with providers() as world:
        apply()
        for key in STRICT, LOOSE:
            run("nft", "-f", "-", stdin="table inet firewalld {\ncounter dropped { }\nchain filter_PREROUTING {\n"
                "type filter hook prerouting priority filter + 10\n"
                "icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept\n"
                f"meta nfproto ipv6 fib {key} oif missing counter name dropped drop\n}}\n}}\n")
            for name in PREFIXES:
                assert world.connects(50, own(name)) == {name: 50}
                assert world.connects(50, oif=name) == {name: 50}
                assert world.connects(50, f"{LAN_OF[name]}::2", lan=True) == {name: 50}
                assert world.asks(50, f"{LAN_OF[name]}::2", PORT) == 50
            assert sum(world.connects(60).values()) == 60
            assert "packets 0 " in run("nft", "list", "counter", "inet", "firewalld", "dropped")
            run("nft", "delete", "table", "inet", "firewalld")
        assert world.astray() == 0


@contextmanager
def looked_up(found: list[int]) -> Iterator[None]:
    """Looks up a way to the Internet all the time, in a process of its own, as a socket does that has no source yet.
    (RTM_GETROUTE says ENETUNREACH of a route that it has found and that is replaced before it has told of it:
    net/ipv6/route.c, inet6_rtm_getroute.) → How many found none, and how many there were."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        ended: list[int] = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
        failed = total = 0
        while not ended:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                failed += client.connect_ex((f"{INTERNET}::{1 + total % 250:x}", PORT)) != 0
            total += 1
        os.write(writer, f"{failed} {total}".encode())
        os._exit(0)
    os.close(writer)
    try:
        yield
    finally:
        os.kill(child, signal.SIGTERM)
        with os.fdopen(reader) as pipe:
            found += [int(word) for word in pipe.read().split()]
        os.waitpid(child, 0)


@boxed
def test_no_lookup_fails_while_weights_and_gateways_change_all_the_time() -> None:
    """Forty times a second, on a machine that has the time. DHCP_LB_CHANGES: how often, instead of 80 times."""
    changes = int(os.environ.get("DHCP_LB_CHANGES", "80"))
    with providers() as world:
        with world.internet:
            ip("address add fe80::4/64 dev eth0 nodad")
        apply()
        store, kernel, found = Store(), Rtnetlink(), list[int]()
        with looked_up(found):
            begin_s = time.monotonic()
            for place in range(changes):
                gateway, weights = f"fe80::{1 + 3 * (place % 2)}", [1 + place % 3, 2 + place % 5]
                CONFIG.write_text(f"pin = no\neth0 table-eth0 200 {weights[0]} gateway={gateway}\n"
                                  f"eth1 table-eth1 201 {weights[1]}\n")
                reconcile(Config(), store)
                (one, other), = [route.nexthops for route in routing(*kernel.ours(socket.AF_INET6)[:2]).routes
                                 if route.table == 252 and len(route.nexthops) == 2]
                assert (one.gateway, [one.weight, other.weight]) == (gateway, weights)
                time.sleep(max(0.0, begin_s + (place + 1) / 40 - time.monotonic()))
        print(f"{found[0]} of {found[1]} lookups failed, {changes / (time.monotonic() - begin_s):.0f} changes a s")
        assert found[0] == 0 and found[1] > 1000 * changes / 40
        assert world.connects(50, own("eth0")) == {"eth0": 50} and world.astray() == 0


IN_THE_WAY = "rule pref 20050 from all lookup 254 is somebody else's and has no condition"


@boxed
def test_what_stands_in_the_way_of_ipv6_is_told_once_by_apply() -> None:
    with providers("pin = no\n" + LINES):
        log = Syslog()
        apply()
        assert not [line for line in log.lines() if "somebody else's" in line]
        run("ip", "-6", "rule", "add", "pref", "20050", "lookup", "main")
        for times in 1, 0:
            verb("apply")
            assert len([line for line in log.lines() if IN_THE_WAY in line]) == times
        assert IN_THE_WAY in verb("status")


@boxed
def test_what_stands_in_the_way_of_ipv6_is_told_by_the_monitor() -> None:
    told = Path("/run/dhcp-lb/told")
    with providers("pin = no\n" + LINES), monitor():
        until("both", lambda: "nexthop via fe80::1 dev eth0" in "\n".join(ours()))
        run("ip", "-6", "rule", "add", "pref", "20050", "lookup", "main")
        until("it is told", lambda: told.exists() and IN_THE_WAY in told.read_text(), 10)


class Prefix(NamedTuple):
    """What dhclient -6 says of a prefix."""

    text: str

    def variables(self) -> dict[str, str]:
        return {"new_ip6_prefix": self.text, "new_max_life": "7200"}


@boxed
def test_killed_at_every_system_call_the_routing_of_ipv6_is_the_old_or_the_new_one() -> None:
    with providers(BARE) as world:
        apply()
        old = ours()
        step = Step("BOUND6", "eth0", Prefix(f"{LAN_OF['eth0']}::/56"), moves_address=False)
        event(*step[:3])
        want = ours()
        assert len(want) == len(old) + 2
        told("RELEASE6", "eth0", f"{LAN_OF['eth0']}::/56")
        assert ours() == old
        places = kill_points(step)
        assert len(places) > 30
        told("RELEASE6", "eth0", f"{LAN_OF['eth0']}::/56")
        for place in places:
            killed_at(step, place)
            assert ours() in (old, want), place
            event(*step[:3])
            assert ours() == want, place
            told("RELEASE6", "eth0", f"{LAN_OF['eth0']}::/56")
            assert ours() == old, place
        assert world.astray() == 0


@boxed
def test_a_network_behind_another_router_of_a_link_is_reached_by_that_router_in_ipv6() -> None:
    """A branch office's, by a static route in main, or by a route that a second router advertises."""
    with providers() as world:
        apply()
        before = ours()
        pins = {table: mark for mark, table in re.findall(r"fwmark (\S+)/\S+ lookup (\S+)",
                                                          run("ip", "-6", "-N", "rule"))}
        of_lan = ("from", f"{LAN_OF['eth1']}::2", "iif", "lan0")
        ip("route add 2001:db8:55::/48 via fe80::60 dev eth1",
           "route add fd66::/16 via 2001:db8:b::61 dev eth1 metric 5",
           "route add fd66::/16 via fe80::62 dev eth1 metric 6", "route add fd66:1::/32 via fe80::1 dev eth1",
           "route add 2001:db8:77::/48 via fe80::63 dev eth1 proto ra")
        apply()
        for to, gateway in (("2001:db8:55::1", "fe80::60"), ("fd66::1", "2001:db8:b::61"), ("fd66:1::1", "fe80::1"),
                            ("2001:db8:77::1", "fe80::63")):
            for words in (), ("from", own("eth1")), ("oif", "eth1"), of_lan, (*of_lan, "mark", pins["201"]):
                assert f" via {gateway} dev eth1 " in run("ip", "-6", "-N", "route", "get", to, *words), (to, words)
            for words in ("from", own("eth0")), (*of_lan, "mark", pins["200"]):
                assert " via fe80::1 dev eth0 " in run("ip", "-6", "-N", "route", "get", to, *words), (to, words)
        ip("route add 2001:db8:88::/48 nexthop via fe80::60 dev eth1 nexthop via fe80::60 dev eth0",
           "route add 2001:db8:89::/48 via fe80::60 dev eth1 proto bird", "route add blackhole 2001:db8:90::/48",
           "route add 2001:db8:91::/48 from 2001:db8::/32 via fe80::60 dev eth1",
           "route add 2000::/3 via fe80::60 dev eth1", "route add 2001:db8:92::/48 via fe80::1 dev eth1",
           "route add 2001:db8:93::/48 via fe80::60 dev lan0")  # nothing of these is taken along
        before_these = ours()
        apply()
        assert ours() == before_these
        for prefix in "2000::/3", "fd66::/16":
            for protocol in "boot", "ra", "bird":
                run("ip", "-6", "route", "flush", "root", prefix, "via", "fe80::/10", "proto", protocol)
                run("ip", "-6", "route", "flush", "root", prefix, "via", "2001:db8::/32", "proto", protocol)
        apply()
        assert ours() == before and world.astray() == 0


@boxed
def test_of_more_routes_than_anybody_sets_by_hand_none_is_taken_along_in_ipv6() -> None:
    with providers():
        apply()
        before = ours()
        ip(*[f"route add 2001:db8:5500:{number:x}::/64 via fe80::60 dev eth1" for number in range(1000)])
        apply()
        assert ours() == before
        ip(*[f"route del 2001:db8:5500:{number:x}::/64" for number in range(400, 1000)])
        apply()
        assert len(ours()) == len(before) + 400
