"""A connection lives as long as its link does, whatever happens to the others (doc/design.md, "Pins")."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.beds.lab import Isp, Lab
from tests.beds.lab.node import wait_for
from tests.test_ns_pinning import FLOWTABLE

ROUTER = "10.0.0.1"
FLOWS = int(os.environ.get("DHCP_LB_FLOWS", "300"))  # doc/faults.md, "How far the campaigns go"
GAP_S, TOLD_S = (5, 2) if FLOWS >= 300 else (20, 10)  # fewer are for an emulated machine, where all takes longer


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A router as after its boot: `apply` has run, and no link is up."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2), Isp("eth2")]) as lab:
        lab.router.dhcp_lb("apply")
        yield lab


def has_table(lab: Lab) -> bool:
    return "table inet dhcp-lb" in lab.router.run("nft", "list", "tables")


def marked(lab: Lab, interface: str, state: str = "ESTABLISHED") -> int:
    """The connections of a link in this state."""
    mark = str((200 + lab.isp(interface).number) << 24)
    lines = lab.router.run("cat", "/proc/net/nf_conntrack").splitlines()
    return sum(f" {state} " in line and f" mark={mark} " in line for line in lines)


def test_links_that_come_and_go_and_weights_that_change_break_nothing(lab: Lab) -> None:
    lab.router.ifup("eth0")
    with lab.held(lab.lan, 200) as by_eth0:
        lab.router.ifup("eth1")
        assert by_eth0.still_alive() == 200  # 57 to 76 without pins
        with lab.held(lab.lan, 200) as by_both:
            lab.router.ifup("eth2")
            config = lab.router.path("/etc/dhcp-lb")
            config.write_text(config.read_text().replace("201 2", "201 9"))
            lab.router.dhcp_lb("apply")
            lab.router.dhcp_lb("disable", "eth2")
            lab.router.dhcp_lb("enable", "eth2")
            assert by_eth0.still_alive() == by_both.still_alive() == 200


def test_a_drained_link_keeps_its_connections_and_gets_no_new_ones(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    with lab.held(lab.lan, 200) as held:
        lab.router.dhcp_lb("drain", "eth1")
        assert marked(lab, "eth1") > 80
        assert lab.connect(lab.lan, 200) == {"eth0": 200}
        assert held.still_alive() == 200


def test_a_link_of_a_waiting_tier_keeps_its_connections_when_the_better_one_is_back(lab: Lab) -> None:
    config = lab.router.path("/etc/dhcp-lb")
    config.write_text(config.read_text().replace("201 2", "201 2 tier=2"))
    lab.router.dhcp_lb("apply")
    lab.router.ifup("eth0", "eth1")
    assert lab.connect(lab.lan, 50) == {"eth0": 50}
    lab.router.dhcp_lb("disable", "eth0")
    with lab.held(lab.lan, 50) as held:
        assert marked(lab, "eth1") == 50
        lab.router.dhcp_lb("enable", "eth0")
        assert lab.connect(lab.lan, 50) == {"eth0": 50}
        assert held.still_alive() == marked(lab, "eth1") == 50


def test_a_link_that_is_disabled_releases_its_connections_at_once_and_nobody_elses(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    with lab.held(lab.lan, 200) as held:
        by_eth0 = marked(lab, "eth0")
        assert 0 < by_eth0 < 200
        lab.router.dhcp_lb("disable", "eth1")
        assert (marked(lab, "eth0"), marked(lab, "eth1")) == (by_eth0, 0)
        begin = time.monotonic()
        assert held.still_alive() == by_eth0
        assert time.monotonic() - begin < 2  # the others are told, and do not wait for a timeout of theirs


def test_the_last_link_that_is_disabled_releases_nothing(lab: Lab) -> None:
    lab.router.ifup("eth0")
    with lab.held(lab.lan, 20) as held:
        lab.router.dhcp_lb("disable", "eth0")
        assert marked(lab, "eth0") == 20
        lab.router.dhcp_lb("enable", "eth0")
        assert held.still_alive() == 20


def test_port_forwards_are_answered_by_the_link_that_was_asked(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    forward_ports(lab)
    for interface in "eth0", "eth1":
        for port in 8080, 8081:  # to a machine of the LAN, and to the router's own address there
            assert lab.connect_to_router(interface, 200, port=port) == {"answered": 200}


def forward_ports(lab: Lab) -> None:
    lab.serve(lab.lan)
    lab.router.run("nft", "-f", "-", stdin=f"""
        table ip forward {{
            chain prerouting {{
                type nat hook prerouting priority dstnat
                iifname "eth*" tcp dport 8080 dnat to 10.0.0.2:80
                iifname "eth*" tcp dport 8081 dnat to {ROUTER}:80
            }}
        }}
    """)


def test_connections_that_were_there_before_the_table_are_pinned_too(lab: Lab) -> None:
    lab.router.dhcp_lb("flush")
    lab.router.ifup("eth0", "eth1")
    assert not has_table(lab)
    lab.router.sh("nft add chain ip nat forward '{ type filter hook forward priority 0; }';"
                  "nft add rule ip nat forward ct state new counter")  # conntrack is there
    with lab.held(lab.lan, 200) as held:
        lab.router.dhcp_lb("apply")
        assert marked(lab, "eth0") + marked(lab, "eth1") == 200
        lab.router.dhcp_lb("drain", "eth1")
        assert held.still_alive() == 200


def test_apply_20_times_under_traffic_breaks_nothing(lab: Lab) -> None:
    lab.router.ifup("eth0")
    with lab.held(lab.lan, 200) as held:
        lab.router.ifup("eth1")
        for _ in range(20):
            lab.router.dhcp_lb("apply")
            assert held.still_alive() == 200


@pytest.mark.parametrize("tables", ["", FLOWTABLE], ids=["by the rules", "in a flowtable"])
def test_a_day_on_which_everything_changes_breaks_nothing_that_its_own_link_outlives(tables: str) -> None:
    with Lab([Isp("eth0", renew_s=4), Isp("eth1", weight=2), Isp("eth2")]) as lab:
        if lab.router.try_run("nft", "-f", "-", stdin=tables).returncode:
            pytest.skip("this kernel has no flowtables")
        with lab.router.path("/etc/nftables.conf").open("a") as nftables:
            nftables.write(tables)
        watch(lab)
        churn(lab)


def churn(lab: Lab) -> None:
    config, nftables = lab.router.path("/etc/dhcp-lb"), lab.router.path("/etc/nftables.conf")
    nftables.write_text("flush ruleset\n" + nftables.read_text() + 'include "/var/lib/dhcp-lb/*.nft"\n')
    lab.router.ifup("eth0", "eth1")
    lab.router.dhcp_lb("apply")
    with lab.stream(lab.lan, FLOWS, timeout_s=GAP_S) as flows:
        assert flows.opened == FLOWS
        changes: dict[str, Callable[[], object]] = {
            "another link comes": lambda: lab.router.ifup("eth2"),
            "another weight": lambda: config.write_text(config.read_text().replace("201 2", "201 5")),
            "counts": lambda: lab.router.dhcp_lb("apply"),
            "nftables is loaded again": lambda: lab.router.run("nft", "-f", "/etc/nftables.conf"),
            "a link is drained": lambda: lab.router.dhcp_lb("drain", "eth1"),
            "the other link goes": lambda: lab.router.ifdown("eth2"),
            "the drained link is used again": lambda: lab.router.dhcp_lb("enable", "eth1"),
            "another gateway": lambda: another_gateway(lab),
            "a cable is out for two seconds": lambda: cable_out(lab, "eth1", 2),
            "all is looked at again": lambda: lab.router.dhcp_lb("apply"),
        }
        for what, change in changes.items():
            change()
            seen = flows.look()
            assert seen.broken == 0 and seen.gap_s < GAP_S, (what, lab.router.log()[-30:])


def cable_out(lab: Lab, interface: str, seconds: float) -> None:
    lab.isp(interface).cut_cable()
    time.sleep(seconds)
    lab.isp(interface).plug_cable()
    wait_for("carrier", lambda: "LOWER_UP" in lab.router.run("ip", "link", "show", interface))


def another_gateway(lab: Lab) -> None:
    with lab.router.event("eth0", "RENEW"):
        lab.isp("eth0").hand_out(gateway="192.0.2.2")


def test_a_table_that_somebody_flushed_is_told_once_and_made_again_by_apply(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    lab.router.run("nft", "delete", "table", "inet", "dhcp-lb")
    with lab.held(lab.lan, 20) as held:
        for _ in range(3):
            lab.router.dhcp_lb("drain", "eth1")
            lab.router.dhcp_lb("enable", "eth1")
        assert sum("the nft table inet dhcp-lb is gone" in line for line in lab.router.log()) == 1
        lab.router.dhcp_lb("apply")
        assert has_table(lab) and marked(lab, "eth0") + marked(lab, "eth1") == 20
        assert held.still_alive() > 0


def test_an_include_in_nftables_conf_survives_flush_ruleset(lab: Lab) -> None:
    config = lab.router.path("/etc/nftables.conf")
    config.write_text("flush ruleset\n" + config.read_text() + 'include "/var/lib/dhcp-lb/*.nft"\n')
    lab.router.ifup("eth0")
    with lab.held(lab.lan, 200) as held:
        lab.router.ifup("eth1")
        for _ in range(20):
            lab.router.run("nft", "-f", "/etc/nftables.conf")
            assert held.still_alive() == 200
    lab.router.dhcp_lb("flush")
    lab.router.run("nft", "-f", "/etc/nftables.conf")  # a pattern that fits nothing is no mistake
    assert not has_table(lab)


@pytest.mark.parametrize("how", ["flush", "pin = no"])
def test_what_switches_pins_off_leaves_no_table_and_no_rule(lab: Lab, how: str) -> None:
    lab.router.ifup("eth0", "eth1")
    assert has_table(lab) and "fwmark" in lab.router.run("ip", "rule")
    if how == "flush":
        lab.router.dhcp_lb("flush")
        assert " proto dhcp-lb" not in lab.router.run("ip", "rule")
    else:
        with lab.router.path("/etc/dhcp-lb").open("a") as config:
            config.write("pin = no\n")
        with lab.held(lab.lan, 50) as held:
            lab.router.dhcp_lb("apply")
            assert held.still_alive() == 50
    assert not has_table(lab) and "fwmark" not in lab.router.run("ip", "rule")
    assert not lab.router.path("/var/lib/dhcp-lb/dhcp-lb.nft").exists()


@pytest.mark.parametrize("prepare, said", [
    ("rm /usr/sbin/nft", "there is no nft: install nftables and run `dhcp-lb apply`, or set `pin = no`"),
    ("ip rule add pref 100 fwmark 0x1000000/0x3000000 lookup 7",
     "rule pref 100 from all fwmark 0x1000000/0x3000000 lookup 7 is somebody else's and uses bits of `marks = "
     "0xff000000`"),
], ids=["no nft", "bits in use"])
def test_where_pins_cannot_be_links_are_balanced_and_the_log_says_why_once(lab: Lab, prepare: str, said: str) -> None:
    lab.router.dhcp_lb("flush")
    lab.router.sh(prepare)
    lab.router.dhcp_lb("apply")
    lab.router.ifup("eth0", "eth1")
    assert sum(said in line for line in lab.router.log()) == 1
    assert set(lab.connect(lab.lan, 50)) == {"eth0", "eth1"}
    assert " 0xc8000000/" not in lab.router.run("ip", "rule")


def test_a_host_that_forwards_nothing_has_no_table_unless_it_wants_one(lab: Lab) -> None:
    lab.router.sh("sysctl -qw net.ipv4.ip_forward=0")
    lab.router.dhcp_lb("apply")
    assert not has_table(lab)
    with lab.router.path("/etc/dhcp-lb").open("a") as config:
        config.write("pin = yes\n")
    lab.router.dhcp_lb("apply")
    assert has_table(lab)


# As each of them writes its own.
TAILSCALE = """
    ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
    ip rule add pref 5270 lookup 52
    nft -f - <<'END'
    table ip tailscale {
        chain prerouting {
            type filter hook prerouting priority mangle
            ct state established,related meta mark set ct mark & 0x00ff0000
        }
    }
END
"""
WG_QUICK = """
    ip rule add not fwmark 0xca6c lookup 51820
    nft -f - <<'END'
    table ip wg-quick-wg0 {
        chain premangle {
            type filter hook prerouting priority mangle
            meta l4proto udp meta mark set ct mark
        }
        chain postmangle {
            type filter hook postrouting priority mangle
            meta l4proto udp meta mark 0xca6c ct mark set meta mark
        }
    }
END
"""
KUBERNETES = """
    nft -f - <<'END'
    table ip kube-proxy {
        chain prerouting {
            type nat hook prerouting priority dstnat
            tcp dport 30080 meta mark set meta mark | 0x4000 dnat to 10.0.0.2:80
        }
        chain forward {
            type filter hook forward priority filter
            meta mark & 0x4000 == 0x4000 accept
        }
        chain postrouting {
            type nat hook postrouting priority srcnat - 1
            meta mark & 0x4000 == 0x4000 meta mark set meta mark ^ 0x4000 masquerade
        }
    }
END
"""


@pytest.mark.parametrize("others", [TAILSCALE, WG_QUICK, KUBERNETES], ids=["Tailscale", "wg-quick", "Kubernetes"])
@pytest.mark.parametrize("came", ["before us", "after us"])
def test_the_marks_of_others_go_on_and_so_do_connections(lab: Lab, others: str, came: str) -> None:
    if came == "before us":
        lab.router.dhcp_lb("flush")
    lab.router.sh(others)
    if came == "before us":
        lab.router.dhcp_lb("apply")
    lab.router.ifup("eth0")
    lab.serve_udp()
    with lab.held(lab.lan, 200) as held, lab.stream(lab.lan, 40, per_s=5, udp=True, timeout_s=1) as calls:
        assert calls.look().lost == 0
        lab.router.ifup("eth1")
        assert held.still_alive() == 200
        assert calls.look().lost == 0
    if others == KUBERNETES:
        lab.serve(lab.lan)
        for interface in "eth0", "eth1":  # a node's port: its mark has the router's own address put in
            assert lab.connect_to_router(interface, 100, port=30080) == {ROUTER: 100}


def test_a_cable_that_is_out_for_a_second_breaks_no_idle_connection(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    with lab.held(lab.lan, 100) as held:
        cable_out(lab, "eth1", 1)
        assert held.still_alive() == 100


def test_drain_waits_and_says_each_second_what_is_left(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    with lab.held(lab.lan, 100):
        by_eth1 = marked(lab, "eth1")
        waiting = lab.router.try_run("dhcp-lb", "drain", "eth1", "--wait", "2")
    *lines, last = waiting.stdout.splitlines()
    assert lines[0] == last == f"eth1: {by_eth1} connections are left: {by_eth1} of TCP, 0 of UDP, 0 others"
    assert (waiting.returncode, waiting.stderr) == (1, "")
    assert 2 <= len(lines) <= 3
    done = lab.router.try_run("dhcp-lb", "drain", "eth1", "--wait", "10")  # they have ended, and are in TIME_WAIT
    assert done.stdout.splitlines()[-1] == "eth1: 0 connections are left: 0 of TCP, 0 of UDP, 0 others"
    assert done.returncode == 0


def test_drain_can_cut_what_is_left_or_at_once(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    for options in ("--wait", "1", "--cut"), ("--cut",):
        lab.router.dhcp_lb("enable", "eth1")
        with lab.held(lab.lan, 100) as held:
            by_eth0 = marked(lab, "eth0")
            lab.router.dhcp_lb("drain", "eth1", *options)
            assert "disabled" in lab.router.dhcp_lb("status")
            assert held.still_alive() == by_eth0 < 100


def test_drain_that_cannot_know_what_is_left_says_so(lab: Lab) -> None:
    with lab.router.path("/etc/dhcp-lb").open("a") as config:
        config.write("pin = no\n")
    lab.router.dhcp_lb("apply")
    lab.router.ifup("eth0", "eth1")
    done = lab.router.try_run("dhcp-lb", "drain", "eth1", "--wait")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("dhcp-lb: eth1 gets no new connections, but nobody knows which ones it has: connections "
                           "are not pinned\n")
    assert lab.connect(lab.lan, 50) == {"eth0": 50}


def test_who_waits_for_a_drain_is_told_that_the_link_is_back(lab: Lab) -> None:
    lab.router.ifup("eth0", "eth1")
    with lab.held(lab.lan, 50):
        lab.router.sh("dhcp-lb drain eth1 --wait >/run/said 2>&1 & while ! grep -q left /run/said; do sleep 0.1; done")
        lab.router.dhcp_lb("enable", "eth1")
        wait_for("the end of the drain", lambda: "ended the drain" in lab.router.path("/run/said").read_text())
    assert lab.router.path("/run/said").read_text().endswith("dhcp-lb: eth1: somebody has ended the drain\n")


def test_check_names_all_that_is_in_the_way(lab: Lab) -> None:
    count = "/etc/dhcp-lb: 3 links\n"
    assert lab.router.dhcp_lb("check") == count
    lab.router.path("/etc/nftables.conf").write_text("flush ruleset\n")
    lab.router.sh("""
        ip rule add pref 100 fwmark 0x1000000/0xff000000 lookup 7
        nft add table ip other
        nft 'add chain ip other c { type filter hook prerouting priority 0; }'
        nft add rule ip other c meta mark set 0xca6c0000
    """)
    hint = "uses bits of `marks = 0xff000000`, so connections may change their link when others come or go"
    assert lab.router.dhcp_lb("check").splitlines() == [
        f"/etc/dhcp-lb: warning: rule pref 100 from all fwmark 0x1000000/0xff000000 lookup 7 {hint}: "
        "give that rule other bits, or dhcp-lb with `marks = MASK`",
        "/etc/dhcp-lb: warning: table ip other, chain c: 0xca000000 are bits of `marks = 0xff000000`: "
        "give that rule other bits, or dhcp-lb with `marks = MASK`",
        "/etc/dhcp-lb: warning: /etc/nftables.conf flushes the ruleset, and then connections may change their link "
        'when others come or go until `dhcp-lb apply`: add the line `include "/var/lib/dhcp-lb/*.nft"` at its end',
        count.strip()]
    config = lab.router.path("/etc/dhcp-lb")
    config.write_text(config.read_text() + "pin = no\n")
    assert lab.router.dhcp_lb("check") == count


def test_status_says_whether_connections_are_pinned_and_why_not(lab: Lab) -> None:
    def told() -> tuple[bool, list[str]]:
        document = json.loads(lab.router.dhcp_lb("status", "--json"))
        return document["pinned"], [warning for warning in document["warnings"] if "no monitor" not in warning]
    may_change = "connections may change their link when others come or go"
    lab.router.ifup("eth0")
    assert told() == (True, [])
    lab.router.run("nft", "flush", "ruleset")
    lab.router.ifup("eth1")
    assert told() == (False, [f"the nft table inet dhcp-lb is gone, so {may_change}: run `dhcp-lb apply`"])
    lab.router.dhcp_lb("apply")
    assert told() == (True, [])
    lab.router.sh("mv /usr/sbin/nft /root; dhcp-lb apply; mv /root/nft /usr/sbin")
    assert told() == (False, [f"there is no nft, so {may_change}: install nftables and run `dhcp-lb apply`, or set "
                              "`pin = no`"])
    lab.router.sh("sysctl -qw net.ipv4.ip_forward=0; dhcp-lb apply")
    assert told() == (False, [])
    lab.router.sh("sysctl -qw net.ipv4.ip_forward=1")
    assert told() == (False, [f"{may_change}, until `dhcp-lb apply`"])


# With a monitor


@pytest.fixture
def watched() -> Iterator[Lab]:
    """Two links that are up, and a monitor that has heard their name servers."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        watch(lab)
        lab.router.ifup()
        wait_for("the monitor to be there", lambda: lab.router.run("ip", "rule").count("blackhole") == 2)
        yield lab


def watch(lab: Lab) -> None:
    with lab.router.path("/etc/dhcp-lb").open("a") as config:
        config.write("check = 198.51.100.1:80\ninterval = 0.5\ndown = 1.5\n")
    lab.router.dhcp_lb("apply")
    lab.router.sh("dhcp-lb monitor </dev/null >/run/monitor-said 2>&1 &")


def test_a_cable_that_is_out_for_three_seconds_resets_nobody(watched: Lab) -> None:
    watched.serve_udp()
    with watched.held(watched.lan, 100, timeout_s=20) as held, \
            watched.stream(watched.lan, 40, per_s=5, udp=True, timeout_s=1) as calls:
        assert marked(watched, "eth1") > 40
        watched.isp("eth1").cut_cable()
        plug = threading.Timer(3, watched.isp("eth1").plug_cable)
        plug.start()
        wait_for("the kernel to see it", lambda: "LOWER_UP" not in watched.router.run("ip", "link", "show", "eth1"))
        assert set(watched.connect(watched.lan, 50)) <= {"eth0", "eth1"}
        assert held.still_alive() == 100  # they all send while it is out
        plug.join()
        assert calls.look().lost <= 2  # those that were on their way, and not one of the 3 s


def test_a_cable_that_stays_out_releases_its_connections_after_a_pause_and_nobody_elses(watched: Lab) -> None:
    with watched.held(watched.lan, 100, timeout_s=20) as held:
        by_eth0 = watched.name_isps(held.opened)["eth0"]
        watched.isp("eth1").cut_cable()
        time.sleep(3)
        wait_for("all of its connections", lambda: marked(watched, "eth1") == 100 - by_eth0, 1)  # a list may lack some
        wait_for("the release", lambda: marked(watched, "eth1") == 0, 10)
        assert held.still_alive() == by_eth0
    watched.isp("eth1").plug_cable()
    wait_for("eth1 to be back", lambda: watched.router.run("ip", "rule").count("blackhole") == 2)
    wait_for("eth1 to serve", lambda: set(watched.connect(watched.lan, 20)) == {"eth0", "eth1"})


def test_a_connection_that_nobody_has_answered_yet_does_not_wait_for_the_cable(watched: Lab) -> None:
    isp = watched.isp("eth1")
    isp.node.sh("nft insert rule ip lab forward ip daddr != 198.51.100.1 drop")  # all but what the monitor asks
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(watched.connect, watched.lan, 60, timeout_s=4.5)  # SYN again after 1, 2 or 3 s
        wait_for("connections that are not answered", lambda: marked(watched, "eth1", "SYN_SENT") > 20)
        isp.cut_cable()
        assert connecting.result() == {"eth0": 60}


def test_a_dead_provider_releases_its_connections_and_nobody_elses(watched: Lab) -> None:
    watched.serve_udp()
    with watched.held(watched.lan, 100, timeout_s=20) as held, \
            watched.stream(watched.lan, 40, per_s=5, udp=True, timeout_s=1) as calls:
        by_eth0 = watched.name_isps(held.opened)["eth0"]
        watched.isp("eth1").node.sh("nft insert rule ip lab forward drop")
        wait_for("the verdict", lambda: "dead" in watched.router.dhcp_lb("status"))
        assert marked(watched, "eth1") == 0
        wait_for("all others", lambda: marked(watched, "eth0") == by_eth0, 1)
        begin = time.monotonic()
        assert held.still_alive() == by_eth0
        took_s = time.monotonic() - begin
        print(f"{100 - by_eth0} are told, and {by_eth0} answer: after {took_s:.2f} s")
        assert took_s < TOLD_S
        assert calls.look().lost > 2  # before the verdict
        time.sleep(1)
        assert calls.look().lost == 0


def test_a_table_that_somebody_flushed_is_back_at_once(watched: Lab) -> None:
    watched.router.run("nft", "flush", "ruleset")
    wait_for("the table", lambda: has_table(watched), 1)
    wait_for("the pins", lambda: "keeps connections on their links from now on" in watched.router.log()[-1], 5)
    assert sum("the nft table inet dhcp-lb is gone" in line for line in watched.router.log()) == 1
    watched.router.dhcp_lb("flush")
    time.sleep(0.5)
    assert not has_table(watched)
