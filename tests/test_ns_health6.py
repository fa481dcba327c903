"""The monitor and IPv6: each provider is judged in each family by itself."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.beds.box import CHECKOUT, CONFIG, ENVIRONMENT, PROGRAM, STORE, Syslog, boxed, event, given, ip, run, verb
from tests.beds.ipv6 import INTERNET, LAN_OF, LINES, PREFIXES, SERVERS, Providers, own, providers, sysctl
from tests.test_ns_ipv6 import ours, until
from tests.test_ns_ipv6 import told as client_tells
from tests.test_ns_monitor import BUSY_S, balance
from tests.test_ns_notify import ETC, SAID, install, told

WATCHED6 = STORE / "watched6"
FAST = "interval = 0.25\ndown = 1\nup = 1\n"
NAMED = f"check = 198.51.100.7,{INTERNET}::7\n"


class Bed:
    """Two links, each with both families, and a monitor."""

    def __init__(self, world: Providers) -> None:
        self.world, self.log = world, Syslog()
        world.serve_names()
        with world.internet:
            ip("route add local 198.51.100.0/24 dev lo",
               *[f"address add {given(number).gateway}/24 dev eth{number}" for number in (0, 1)])
        for number in 0, 1:
            ip(f"address add {given(number).address}/24 dev eth{number}")
            event("BOUND", f"eth{number}", given(number))
        verb("apply")
        self.process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.process = subprocess.Popen([PROGRAM, "monitor"], env=ENVIRONMENT)

    def names_servers(self) -> None:
        """Both providers name theirs to a monitor that has begun, and these have answered."""
        self.answer("its gateway fe80::1")
        for name in PREFIXES:
            self.world.advertise(name, servers=[SERVERS[name]])
        self.answer("the provider's name servers")

    def answer(self, whom: str) -> None:
        """By each link, this one has answered in IPv6."""
        def answers(name: str) -> bool:
            check = six(name)["check"]
            return bool(check and check["by"] == whom and check["answers"])
        until(f"answers of {whom}", lambda: all(map(answers, PREFIXES)))

    def becomes(self, *names: str, within_s: float = 6 + BUSY_S) -> float:
        """New connections go by these links in IPv6; after how many seconds they do."""
        began_s = time.monotonic()
        until(f"balanced by {names}", lambda: balance6() == sorted(names), within_s)
        return time.monotonic() - began_s

    def end(self, number: int = signal.SIGTERM) -> None:
        assert self.process
        self.process.send_signal(number)
        self.process.wait(20)


def six(name: str) -> dict:
    """What `status --json` says of a link's IPv6."""
    return next(link["ipv6"] for link in json.loads(verb("status", "--json"))["links"] if link["interface"] == name)


def balance6() -> list[str]:
    """The interfaces that serve unbound connections in IPv6."""
    routes = run("ip", "-6", "-N", "-o", "route", "show", "table", "252", "metric", "512", "default")
    return sorted(re.findall(r"dev (\S+)", "".join(
        [line for line in routes.splitlines() if " from " not in line])))


@contextmanager
def bed(settings: str = "", start: bool = True, pin: str = "no") -> Iterator[Bed]:
    with ExitStack() as stack:
        world = stack.enter_context(providers(f"pin = {pin}\n{settings}{LINES}"))
        one = Bed(world)
        try:
            if start:
                one.start()
            yield one
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *one.log.lines(), verb("status")])) from None
        finally:
            if one.process:
                one.process.kill()
                one.process.wait()


@boxed
def test_a_provider_that_is_dead_in_ipv6_alone_is_out_within_six_seconds_and_keeps_its_ipv4() -> None:
    with bed("up = 3\n") as machine:
        world, sources = machine.world, {name: own(name) for name in PREFIXES}
        machine.names_servers()
        world.astray()
        machine.log.lines()
        before = ours()
        world.die("eth0")
        assert 3 < machine.becomes("eth1")
        assert balance() == "eth0 eth1"
        assert machine.log.lines()[0] == "IPv6 of eth0 is dead: no answer from the provider's name servers"
        assert world.connects(50) == {"eth1": 50}
        assert world.connects(50, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 50}
        assert world.told(10, sources["eth0"], 0.2) == 10
        assert world.told(10, f"{LAN_OF['eth0']}::2", 2.1, lan=True) == 10
        status = verb("status")
        assert re.search(r"^eth0 +up .* ms", status, re.M) and re.search(r"^eth0 +dead +0% .* for \d+ s", status, re.M)
        assert "\nIPv6 of eth0 dead: no answer from the provider's name servers\n" in status
        assert "as it should be" in status
        document = json.loads(verb("status", "--json"))["links"][0]
        assert (document["state"], document["check"]["answers"]) == ("up", True)
        assert (document["ipv6"]["state"], document["ipv6"]["check"]["answers"]) == ("dead", False)
        brief = subprocess.run([PROGRAM, "status", "--brief"], env=ENVIRONMENT, capture_output=True, text=True)
        assert (brief.returncode, brief.stdout) == (1, "2 of 2 links work; IPv6 of eth0: dead\n")
        near = run("ip", "-6", "route", "get", "2001:db8:a::77", "from", sources["eth0"])
        assert " dev eth0 " in near and " via " not in near  # what is on the link is reached
        probe = verb("explain", f"{INTERNET}::1", "--from", sources["eth0"], "--dev", "eth0")
        assert "rule   pref 20098" in probe
        world.revive()
        assert 3 <= machine.becomes("eth0", "eth1")
        assert "IPv6 of eth0 works again" in machine.log.lines()
        assert ours() == before
        assert world.connects(50, sources["eth0"]) == {"eth0": 50}
        assert world.connects(50, f"{LAN_OF['eth0']}::2", lan=True) == {"eth0": 50}
        assert world.astray() == 0 and verb("plan") == ""


@boxed
def test_a_link_without_an_address_is_asked_from_the_lan_s_and_dies_like_any_other() -> None:
    with bed(FAST + NAMED, start=False) as machine:
        world, lan = machine.world, f"{LAN_OF['eth0']}::2"
        run("ip", "-6", "address", "flush", "dev", "eth0", "scope", "global")
        verb("apply")
        machine.start()
        machine.answer(f"{INTERNET}::7")
        assert six("eth0")["state"] == "no address"
        before = ours()
        world.die("eth0")
        until("eth0 is dead", lambda: six("eth0")["state"] == "dead")
        assert world.told(10, lan, 2.1, lan=True) == 10
        assert world.connects(50, f"{LAN_OF['eth1']}::2", lan=True) == {"eth1": 50} == world.connects(50)
        world.revive()
        until("eth0 works again", lambda: six("eth0")["state"] == "no address")
        assert world.connects(50, lan, lan=True) == {"eth0": 50}
        world.die("{ eth0, eth1 }")
        until("both are dead", lambda: [six(name)["state"] for name in PREFIXES] == ["dead", "dead"])
        until("both stay", lambda: {line for line in before if "from " in line} <= {*ours()})
        world.revive()
        until("both work", lambda: [six(name)["state"] for name in PREFIXES] == ["no address", "up"])
        assert world.astray() == 0


@boxed
def test_a_provider_that_is_dead_in_ipv4_alone_keeps_its_ipv6() -> None:
    with bed(FAST + NAMED) as machine:
        machine.answer(f"{INTERNET}::7")
        machine.world.die("eth0", "ip")
        until("eth0 is out in IPv4", lambda: balance() == "eth1")
        assert balance6() == ["eth0", "eth1"]
        assert machine.world.connects(50, own("eth0")) == {"eth0": 50}
        machine.world.revive("ip")
        machine.world.die("eth1")
        until("eth0 is back in IPv4", lambda: balance() == "eth0 eth1")
        machine.becomes("eth0")
        assert balance() == "eth0 eth1" and machine.world.astray() == 0


@boxed
def test_where_all_providers_are_dead_in_ipv6_all_stay_there() -> None:
    with bed(FAST + NAMED) as machine:
        machine.answer(f"{INTERNET}::7")
        before = ours()
        machine.world.die("eth0")
        machine.becomes("eth1")
        machine.world.revive()
        machine.becomes("eth0", "eth1")
        machine.world.die("{ eth0, eth1 }")
        until("both are dead", lambda: [six(name)["state"] for name in PREFIXES] == ["dead", "dead"])
        until("both stay", lambda: balance6() == ["eth0", "eth1"])
        assert {line for line in before if "from " in line} == {line for line in ours() if "from " in line}
        machine.world.revive()
        until("both work", lambda: [six(name)["state"] for name in PREFIXES] == ["up", "up"])
        assert machine.world.astray() == 0


@boxed
def test_a_static_route_of_ipv6_by_a_link_is_followed_at_once() -> None:
    with bed() as machine:
        machine.answer("its gateway fe80::1")
        for act, there in ("add", True), ("del", False):
            ip(f"route {act} 2001:db8:55::/48 via fe80::60 dev eth1")
            until("it is followed", lambda: there == any("2001:db8:55::/48" in line for line in ours()), BUSY_S)


@boxed
def test_without_name_servers_the_gateway_is_asked_by_the_kernel_s_neighbour_discovery() -> None:
    with bed(FAST) as machine:
        machine.answer("its gateway fe80::1")
        machine.world.die("eth1", wholly=True)
        machine.becomes("eth0")
        assert balance() == "eth0 eth1"
        machine.world.revive()
        machine.becomes("eth0", "eth1")


@boxed
def test_the_name_servers_that_a_dhcpv6_client_tells_of_are_asked() -> None:
    with bed(FAST) as machine:
        machine.answer("its gateway fe80::1")
        for name in PREFIXES:
            event6 = {"reason": "INFORM6", "interface": name, "new_dhcp6_name_servers": f"::1 {SERVERS[name]} $(id)"}
            subprocess.run(["sh", "-euc", f". {CHECKOUT}/etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb"], check=True,
                           env=ENVIRONMENT | event6)
        verb("apply")  # has the monitor look
        machine.answer("the provider's name servers")
        machine.world.die("eth1")
        machine.becomes("eth0")
        assert machine.world.astray() == 0


@boxed
def test_a_monitor_asks_the_routers_who_their_name_servers_are() -> None:
    with bed(FAST, start=False) as machine:
        with machine.world.internet:
            router = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            for name in PREFIXES:
                membership = socket.inet_pton(socket.AF_INET6, "ff02::2") + socket.if_nametoindex(name).to_bytes(
                    4, "little")
                router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            router.settimeout(10)
        with router:
            machine.start()
            asked = set()
            while len(asked) < 2:
                data, sender = router.recvfrom(2048)
                if data[0] == 133:
                    asked.add(sender[3])
        machine.names_servers()


@boxed
def test_a_monitor_s_verdicts_on_ipv6_outlive_its_death_and_not_its_end() -> None:
    with bed(FAST.replace("up = 1", "up = 60") + NAMED) as machine:
        machine.answer(f"{INTERNET}::7")
        machine.world.die("eth0")
        machine.becomes("eth1")
        machine.end(signal.SIGKILL)
        verb("apply")
        assert balance6() == ["eth1"]
        machine.start()
        machine.world.revive()
        time.sleep(3)
        assert balance6() == ["eth1"] and six("eth0")["state"] == "dead"
        machine.end()
        assert balance6() == ["eth0", "eth1"] and not WATCHED6.exists()


@boxed
def test_a_link_that_is_drained_is_so_in_both_families_and_asked_and_one_that_is_disabled_is_not() -> None:
    with bed(FAST + NAMED) as machine:
        machine.answer(f"{INTERNET}::7")
        verb("drain", "eth0")
        machine.becomes("eth1")
        assert balance() == "eth1" and six("eth0")["state"] == "draining" and six("eth0")["check"]["answers"]
        verb("disable", "eth0")
        with machine.world.internet, socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86dd)) as seen:
            seen.bind(("eth0", 0x86dd))
            seen.setblocking(False)
            time.sleep(1.5)
            found = []
            try:
                while True:
                    found.append(seen.recv(2048))
            except BlockingIOError:
                pass
        assert not [packet for packet in found if socket.inet_pton(socket.AF_INET6, f"{INTERNET}::7") in packet[:40]]
        assert balance6() == ["eth1"] and machine.world.astray() == 0


@boxed
def test_a_target_of_ipv4_alone_says_nothing_of_ipv6() -> None:
    with bed(FAST + "check = 198.51.100.7\n") as machine:
        until("IPv4 is judged", lambda: "198.51.100.7" in verb("status"))
        machine.world.die("eth0")
        time.sleep(3)
        assert balance6() == ["eth0", "eth1"] and six("eth0")["check"] is None


@boxed
def test_where_there_is_no_ipv6_nothing_of_it_is_asked_shown_or_kept() -> None:
    with bed(FAST + "metrics = /run/dhcp-lb/x.prom\n", start=False) as machine:
        for name in *PREFIXES, "lan0", "lo":
            sysctl(**{f"{name}__disable_ipv6": 1})
        CONFIG.write_text(re.sub("prefix6=[^ \n]*", "", CONFIG.read_text()))
        verb("apply")
        machine.log.lines()
        machine.start()
        until("IPv4 is judged", lambda: re.search(r"eth1 .* ms", verb("status")))
        text = verb("status") + (STORE / "x.prom").read_text() + verb("status", "--brief") + "\n".join(
            machine.log.lines()) + "".join(path.name for path in STORE.iterdir() if path.name.startswith("watched"))
        assert "ipv6" not in text.lower() and "watched6" not in text


@boxed
def test_a_lan_that_is_translated_goes_on_by_the_other_link_while_its_provider_is_dead() -> None:
    with bed(FAST + NAMED + "translate6 = failover\n", pin="yes") as machine:
        machine.answer(f"{INTERNET}::7")
        lan = f"{LAN_OF['eth0']}::2"
        machine.world.die("eth0")
        machine.becomes("eth1")
        assert machine.world.connects(50, lan, lan=True) == {"eth0": 50}  # which is where its own address is from
        machine.world.revive()
        machine.becomes("eth0", "eth1")
        assert machine.world.connects(50, lan, lan=True) == {"eth0": 50}
        assert machine.world.astray() == 0


@boxed
def test_metrics_tell_of_each_family() -> None:
    with bed(FAST + NAMED + "metrics = /run/dhcp-lb/x.prom\n") as machine:
        machine.answer(f"{INTERNET}::7")
        machine.world.die("eth0")
        machine.becomes("eth1")
        until("the metrics say so", lambda: 'dhcp_lb_ipv6_link_up{link="eth0"} 0.0' in (STORE / "x.prom").read_text())
        text = (STORE / "x.prom").read_text()
        for line in ('dhcp_lb_link_up{link="eth0"} 1.0', 'dhcp_lb_ipv6_link_healthy{link="eth0"} 0.0',
                     'dhcp_lb_ipv6_link_share_ratio{link="eth1"} 1.0',
                     'dhcp_lb_ipv6_link_state{link="eth0",state="dead"} 1.0'):
            assert line in text, text


@boxed
def test_scripts_are_told_of_the_prefixes_that_the_lan_may_use_and_once_each() -> None:
    with bed(FAST + NAMED) as machine:
        machine.answer(f"{INTERNET}::7")
        install(ETC, "tell")
        machine.world.die("eth0")
        machine.becomes("eth1")
        (_, variables, status), = told(1)
        assert variables.pop("TIME") and variables.pop("EVENT_ID")
        assert variables == {
            "EVENT": "prefix", "LINK": "eth0", "STATE": "dead", "OLD_STATE": "up",
            "REASON": f"no answer from {INTERNET}::7", "PREFIXES6": "", "OLD_PREFIXES6": "2001:db8:a::/48",
            "TABLE": "200", "TIER": "1"}
        assert isinstance(status, dict) and [(link["state"], link["ipv6"]["state"], link["ipv6"]["prefixes"])
                                             for link in status["links"]] == [
            ("up", "dead", ["2001:db8:a::/48"]), ("up", "up", ["2001:db8:b::/48"])]
        line, = [line for line in machine.log.lines() if "prefixes" in line]
        assert line == "IPv6 of eth0: dead, was up; prefixes none, were 2001:db8:a::/48"
        machine.world.revive()
        machine.becomes("eth0", "eth1")
        (_, variables, _), = told(1)
        assert [variables[name] for name in ("STATE", "PREFIXES6", "OLD_PREFIXES6")] == ["up", "2001:db8:a::/48", ""]
        client_tells("BOUND6", "eth1", "2001:db8:c:f00::/56")  # a client has one that is not in prefix6=
        (_, variables, _), = told(1)
        assert (variables["LINK"], variables["STATE"], variables["OLD_STATE"]) == ("eth1", "up", "up")
        assert variables["PREFIXES6"] == "2001:db8:b::/48 2001:db8:c:f00::/56"
        machine.world.advertise("eth0")
        time.sleep(1)
        assert not SAID.exists()
