"""What routers in the field have beside dhcp-lb. Each test is the right value of a case that came out wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.beds import box
from tests.beds.box import Given, boxed, event, given, kernel, set_address

HOST = "198.51.100.1"  # somewhere in the Internet
# To the routing, a device without ARP is a tunnel.
TUNNEL = ("link add tun0 type veth peer name far", "link set tun0 arp off", "link set tun0 up", "link set far up")


def way(*words: str) -> str:
    """The device that a packet takes; "" if there is no way."""
    said = box.run("ip", "-N", "-4", "route", "get", *words, check=False).split()
    return said[said.index("dev") + 1] if "dev" in said else ""


def ways(*words: str) -> set[str]:
    """The devices that twenty connections to different hosts take."""
    return {way(f"198.51.100.{host}", *words) for host in range(1, 21)}


def up(number: int, lease: Given | None = None) -> None:
    """A client gets a lease: it sets the address, and a default as dhclient-script does."""
    lease = lease or given(number)
    set_address(f"eth{number}", lease)
    box.run("ip", "route", "append", "default", "via", lease.gateway, "dev", f"eth{number}", "onlink")
    event("BOUND", f"eth{number}", lease)


def links_up() -> None:
    box.add_links(2)
    up(0)
    up(1)


def down(number: int) -> None:
    """The lease ends."""
    event("EXPIRE", f"eth{number}")
    set_address(f"eth{number}", None)


def lan() -> None:
    box.ip("link add lan0 type veth peer name host", "link set lan0 up", "link set host up",
           "address add 10.0.0.1/24 dev lan0")


def status() -> Any:
    return json.loads(box.verb("status", "--json"))


def group(name: str) -> int:
    return int(Path(f"/proc/sys/net/ipv4/conf/{name}").exists() and json.loads(
        box.run("ip", "-N", "-j", "link", "show", name))[0]["group"])


@boxed
def test_a_last_resort_blackhole_in_main_ends_nothing_while_a_link_works() -> None:  # R1
    links_up()
    for kind in "blackhole", "unreachable", "prohibit":
        box.ip(f"route add {kind} default metric 9999")
        down(0)
        assert ways() == {"eth1"} and status()["in_order"] is True
        up(0)
        assert ways() == {"eth0", "eth1"}
        box.ip(f"route del {kind} default metric 9999")


@boxed
def test_an_error_in_main_that_comes_before_all_is_named() -> None:
    links_up()
    box.ip("route del default", "route del default", "route add blackhole default metric 5")
    found = status()
    assert found["in_order"] is False
    assert ("main has `blackhole default metric 5`: it ends each connection to there that no earlier rule takes: "
            "delete it, or give it a metric above 8100") in found["warnings"]


@boxed
def test_who_reads_main_or_default_finds_a_way_while_a_link_works() -> None:  # R2, as Tailscale does
    box.ip("rule add pref 5210 fwmark 0x80000/0xff0000 lookup main",
           "rule add pref 5230 fwmark 0x80000/0xff0000 lookup default",
           "rule add pref 5250 fwmark 0x80000/0xff0000 unreachable")
    links_up()
    down(0)
    assert way(HOST, "mark", "0x80000") == "eth1"
    up(0)
    down(1)
    assert way(HOST, "mark", "0x80000") == "eth0"


@boxed
def test_without_defaults_of_ours_in_main_it_is_the_clients_alone() -> None:
    links_up()
    assert len([line for line in kernel().ours if "metric 810" in line]) == 2
    box.CONFIG.write_text(box.CONFIG.read_text() + "main-default = no\n")
    box.verb("apply")
    assert not [line for line in kernel().ours if "metric 810" in line]


@pytest.mark.parametrize("path, daemon", [("/etc/frr/daemons", "FRR"), ("/etc/bird/bird.conf", "BIRD"),
                                          ("/etc/bird.conf", "BIRD")])
@boxed
def test_check_tells_of_a_routing_daemon_that_may_learn_our_defaults(path: str, daemon: str) -> None:
    box.add_links(2)
    before = box.verb("check")
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text("")
    [told] = set(box.verb("check").splitlines()) - set(before.splitlines())
    assert told.startswith(f"/etc/dhcp-lb: warning: {daemon} is on this machine ({path})")
    links = box.CONFIG.read_text()
    for answer in "no", "yes":
        box.CONFIG.write_text(f"{links}main-default = {answer}\n")
        assert box.verb("check") == before


@boxed
def test_a_vpn_that_takes_all_by_a_default_in_main_takes_all() -> None:  # R3
    links_up()
    box.ip("route del default", "route del default", *TUNNEL,
           "route add default dev tun0 metric 50")
    assert ways() == {"tun0"}
    assert way(HOST, "from", given(1).address) == "eth1"  # the tunnel's own packets, for instance


@boxed
def test_the_halves_of_openvpn_take_all() -> None:
    links_up()
    box.ip(*TUNNEL, "route add 0.0.0.0/1 dev tun0",
           "route add 128.0.0.0/1 dev tun0")
    assert ways() == {"tun0"}
    assert way(HOST, "from", given(0).address) == "eth0"


@boxed
def test_the_default_of_a_management_lan_takes_nothing_and_is_named() -> None:
    links_up()
    lan()
    box.ip("route add default via 10.0.0.2 dev lan0 metric 50", "route del default", "route del default")
    event("RENEW", "eth0", given(0))
    assert ways() == {"eth0", "eth1"}
    found = status()
    assert any("main's default by lan0 with metric 50 is not used" in warning for warning in found["warnings"])
    assert found["in_order"] is True  # as it should be


@boxed
def test_a_default_behind_a_client_s_or_of_several_devices_is_named() -> None:
    links_up()
    box.ip(*TUNNEL, "route add default dev tun0 metric 50")
    found = status()  # dhclient's default has no metric
    assert found["in_order"] is False and any("main's default by tun0" in warning for warning in found["warnings"])
    box.ip("route del default dev tun0", "route del default", "route del default",
           f"route add default metric 5 nexthop via {given(0).gateway} dev eth0 nexthop dev tun0")
    found = status()
    assert found["in_order"] is False and any("leads by links and by tun0" in one for one in found["warnings"])
    assert ways() == {"eth0", "eth1"}


def sent_from() -> set[str]:
    """The sources of connections to forty hosts."""
    said = [box.run("ip", "-N", "route", "get", f"198.51.100.{host}").split() for host in range(1, 41)]
    return {words[words.index("src") + 1] for words in said}


@boxed
def test_a_source_address_that_the_kernel_would_choose_wrongly_is_named() -> None:  # S6
    box.add_links(2)
    up(0)
    up(1, Given("192.0.2.50", 32, "198.18.0.1"))
    assert status()["in_order"] is True
    box.ip("address flush dev eth1", "address add 10.9.0.1/24 dev eth1", "address add 192.0.2.50/32 dev eth1")
    event("RENEW", "eth1", Given("192.0.2.50", 32, "198.18.0.1"))
    assert sent_from() == {given(0).address, "10.9.0.1"}
    found = status()
    assert found["in_order"] is False
    assert any("eth1 sends from 10.9.0.1, and not from 192.0.2.50" in warning for warning in found["warnings"])


@boxed
def test_what_stands_in_the_way_is_in_the_log_once_a_word() -> None:
    links_up()
    box.verb("apply")
    log = box.Syslog()
    box.ip("rule add pref 100 lookup main")
    for _ in range(2):
        box.verb("apply")
    assert [line for line in log.lines() if "no condition" in line] == [
        "rule pref 100 from all lookup 254 is somebody else's and has no condition: it takes connections before "
        "dhcp-lb's rules do: delete it, or give it a condition"]
    box.ip("rule del pref 100 lookup main")
    box.verb("apply")
    assert not log.lines()
    box.ip("rule add pref 100 lookup main")
    box.verb("apply")
    assert len([line for line in log.lines() if "no condition" in line]) == 1


@boxed
def test_a_host_with_a_static_route_by_one_link_is_answered_by_the_other() -> None:  # R4
    links_up()
    box.ip(f"route add {HOST} via {given(1).gateway} dev eth1")
    assert way(HOST, "from", given(0).address) == "eth0"
    assert way(HOST) == "eth1"


@boxed
def test_a_network_behind_another_router_of_a_link_is_reached_by_that_router() -> None:
    """A branch office's, or what a provider names in option 121: by a static route in main."""
    links_up()
    lan()
    box.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    box.verb("apply")
    before = kernel().ours
    box.ip("route add 10.55.0.0/16 via 10.100.1.60 dev eth1", "route add 10.66.0.0/16 dev eth1 metric 5",
           "route add 10.66.0.0/16 via 10.100.1.61 dev eth1 metric 6", "route add 10.77.0.0/16 via 10.0.0.9")
    event("RENEW", "eth1", given(1))
    pins = {table: mark for mark, table in re.findall(r"fwmark (\S+)/\S+ lookup (\S+)", box.run("ip", "-N", "rule"))}
    of_lan = ("from", "10.0.0.7", "iif", "lan0")
    for to, by in ("10.55.0.1", "via 10.100.1.60 dev eth1"), ("10.66.0.1", "dev eth1"):
        for words in (), ("from", given(1).address), ("oif", "eth1"), of_lan, (*of_lan, "mark", pins["1001"]):
            said = box.run("ip", "-N", "route", "get", to, *words)
            assert f" {by} " in said and (via := " via ") not in said.replace(by, ""), (said, via)
        assert way(to, "from", given(0).address) == "eth0" == way(to, *of_lan, "mark", pins["1000"])
    assert status()["in_order"] is True and box.verb("plan") == ""
    box.ip(f"route add 10.55.7.0/24 via {given(1).gateway} dev eth1")  # out of what is taken along
    event("RENEW", "eth1", given(1))
    assert f" via {given(1).gateway} " in box.run("ip", "route", "get", "10.55.7.1", "from", given(1).address)
    box.ip(f"route add 10.88.0.0/16 nexthop via {given(0).gateway} dev eth0 nexthop via {given(1).gateway} dev eth1",
           "route add 10.89.0.0/16 via inet6 fe80::1 dev eth1", "route add 10.90.0.0/16 dev eth1 tos 4",
           "route add blackhole 10.91.0.0/16", "route add 0.0.0.0 dev eth1", "route add 0.0.0.0/8 dev eth1",
           f"route add {given(1).gateway} dev eth1", "route add 10.100.1.128/25 dev eth1",
           f"route add 10.92.0.0/16 via {given(1).gateway} dev eth1",
           f"route add 128.0.0.0/7 via {given(1).gateway} dev eth1")  # nothing of these is taken along
    before_these = kernel().ours
    event("RENEW", "eth1", given(1))
    assert kernel().ours == before_these
    box.ip("route flush root 10.55.0.0/16", "route flush 10.66.0.0/16")
    event("RENEW", "eth1", given(1))
    assert kernel().ours == before


@boxed
def test_of_more_routes_than_anybody_sets_by_hand_none_is_taken_along() -> None:
    links_up()
    before = kernel().ours
    box.ip(*[f"route add 10.{200 + number // 250}.{number % 250}.0/24 via 10.100.1.60 dev eth1"
             for number in range(2000)])
    event("RENEW", "eth1", given(1))
    assert kernel().ours == before
    box.ip(*[f"route del 10.{200 + number // 250}.{number % 250}.0/24" for number in range(400, 2000)])
    event("RENEW", "eth1", given(1))
    assert len(kernel().ours) == len(before) + 400
    assert status()["in_order"] is True


@boxed
def test_a_lan_inside_of_a_provider_s_prefix_is_answered() -> None:  # R5
    box.add_links(2)
    lan()
    up(1, Given("10.77.0.88", 8, "10.77.0.1", "10.77.0.1"))
    assert way("10.0.0.7", "from", "10.77.0.88") == "lan0"
    assert way("10.0.0.7") == "lan0"


@boxed
def test_the_router_of_two_leases_of_one_address_each_is_reached_by_both() -> None:  # R6
    box.add_links(2)
    for number in range(2):
        up(number, Given(f"100.64.7.{number + 2}", 32, "100.64.0.1"))
        box.run("ip", "route", "append", "100.64.0.1", "dev", f"eth{number}", "scope", "link")
    for number in range(2):
        assert way("100.64.0.1", "from", f"100.64.7.{number + 2}") == f"eth{number}"


@boxed
def test_of_two_modems_with_one_address_the_one_with_its_cable_in_is_used() -> None:  # R7
    box.add_links(2)
    twin = Given("192.168.8.100", 24, "192.168.8.1")
    up(0, twin)
    up(1, twin)
    assert [link["state"] for link in status()["links"]] == ["up", "unusable"]
    box.ip("link set peer-eth0 down")
    event("RENEW", "eth1", twin)
    assert [link["state"] for link in status()["links"]] == ["unusable", "up"]
    assert ways() == {"eth1"}
    box.ip("link set peer-eth0 up")
    event("RENEW", "eth1", twin)
    assert [link["state"] for link in status()["links"]] == ["up", "unusable"]


def leased(number: int, **options: str) -> None:
    """A renewal with these variables."""
    environment = box.environment("RENEW", f"eth{number}", given(number)) | options
    assert box.subprocess.run([box.PROGRAM], env=environment, check=True, capture_output=True).stderr == b""


@boxed
def test_each_provider_s_resolver_is_asked_by_its_own_link() -> None:  # R13
    links_up()
    leased(0, new_domain_name_servers="203.0.113.53 9.9.9.9")
    leased(1, new_domain_name_servers="203.0.113.153 9.9.9.9")
    for protocol in "udp", "tcp":
        query = ("ipproto", protocol, "dport", "53")
        assert way("203.0.113.53", *query) == "eth0"
        assert way("203.0.113.153", *query) == "eth1"
        assert {way("9.9.9.9", "sport", str(port), *query) for port in range(1, 65)} <= {"eth0", "eth1"}
    assert "9.9.9.9" not in "".join(kernel().ours)  # both name it
    for server in "203.0.113.53", "203.0.113.153":  # to which nothing else goes by its link for that
        assert "so it is balanced" in box.verb("explain", server, "--tcp", "443")
    box.CONFIG.write_text(box.CONFIG.read_text().replace("eth0 table-eth0 1000 1", "eth0 table-eth0 1000 1 dns=no"))
    box.verb("apply")
    assert "203.0.113.53" not in "".join(kernel().ours) and "203.0.113.153" in "".join(kernel().ours)


@boxed
def test_queries_stay_in_the_tunnel_of_a_wg_quick_that_was_there_first() -> None:
    box.ip(*[command.replace("tun0", "wg0") for command in TUNNEL], "rule add not fwmark 51820 table 51820",
           "rule add table main suppress_prefixlength 0", "route add default dev wg0 table 51820")
    links_up()
    leased(0, new_domain_name_servers="203.0.113.53")
    assert way("203.0.113.53", "ipproto", "udp", "dport", "53") == "wg0"
    assert way(HOST, "mark", "51820") in ("eth0", "eth1")


@boxed
def test_a_dhcp_server_far_away_is_reached_by_its_link_and_nothing_else_goes_there_for_it() -> None:  # R14
    links_up()
    leased(0, new_dhcp_server_identifier="198.51.100.77")
    assert way("198.51.100.77", "ipproto", "udp", "dport", "67") == "eth0"
    box.verb("drain", "eth0")
    assert way("198.51.100.77", "ipproto", "udp", "dport", "67") == "eth0"
    assert way("198.51.100.77", "ipproto", "tcp", "dport", "443") == "eth1"


@boxed
def test_the_servers_table_makes_room_for_somebody_else_s_and_comes_back() -> None:
    names = Path("/etc/iproute2/rt_tables.d/vpn.conf")
    names.parent.mkdir(parents=True, exist_ok=True)
    names.write_text("251 vpn\n")
    links_up()
    leased(0, new_domain_name_servers="203.0.113.53")
    query = ("203.0.113.53", "ipproto", "udp", "dport", "53")
    for table, other in ("250", "251"), ("251", "250"):
        found = "".join(kernel().ours)
        assert f"lookup {table}" in found and f"table {table}" in found
        assert f" {other} " not in found and way(*query) == "eth0"
        assert box.verb("plan") == "" and status()["in_order"] is True
        assert f"{table}\tdhcp-lb-servers" in Path("/etc/iproute2/rt_tables.d/dhcp-lb.conf").read_text()
        names.unlink(missing_ok=True)
        box.verb("apply")
    assert "server" not in box.verb("check")


@pytest.mark.parametrize("length, prefix", [(1, "128.0.0.0/1"), (4, "192.0.0.0/4"), (7, "202.0.0.0/7"), (8, "")])
@boxed
def test_a_lease_whose_mask_takes_much_of_the_internet_is_named(length: int, prefix: str) -> None:  # R15
    box.add_links(2)
    up(0)
    up(1, Given("203.0.113.9", length, "203.0.113.1"))
    words = f"eth1 has a lease with a prefix of /{length}: all of {prefix} goes by that link"
    assert (words in status()["warnings"]) == bool(prefix)
    assert way("198.51.100.1", "from", given(0).address) == "eth0"
    if not prefix:
        return
    log = box.Syslog()
    for times in 1, 0:
        box.verb("apply")
        assert log.lines().count(words) == times


@boxed
def test_a_sysctl_that_somebody_sets_back_is_named() -> None:  # R16
    links_up()
    path = Path("/proc/sys/net/ipv4/conf/eth1/ignore_routes_with_linkdown")
    path.write_text("0")
    found = status()
    assert any("eth1/ignore_routes_with_linkdown is 0" in warning for warning in found["warnings"])
    assert found["in_order"] is False
    box.verb("apply")
    assert path.read_text() == "1\n" and status()["in_order"] is True


@boxed
def test_a_foreign_rule_or_route_that_comes_first_is_named() -> None:  # S2, S3
    links_up()
    assert status()["in_order"] is True
    box.ip("rule add pref 32765 lookup 211", "route add 100.64.0.1 dev peer-eth0 table 211")
    assert status()["in_order"] is True  # as Tailscale's, which leads to its own machines alone
    box.ip("route add default dev peer-eth0 table 211")
    assert status()["in_order"] is False
    box.ip("rule add pref 32764 prohibit", "route flush table 211")
    assert status()["in_order"] is False
    box.ip("rule del pref 32764 prohibit", "rule del pref 32765 lookup 211",
           "route prepend default dev peer-eth0 table 1001")
    found = status()
    assert found["in_order"] is False and any("table-eth1 has a default" in one for one in found["warnings"])


@boxed
def test_a_piece_of_a_default_or_a_jump_in_the_place_of_ours_is_named() -> None:
    links_up()
    box.ip("route add 0.0.0.0/1 dev peer-eth0 table 1001", "route add 128.0.0.0/1 dev peer-eth0 table 1001",
           "rule add pref 100 from all type nop", "rule add pref 101 goto 19900", "rule add pref 102 goto 31000")
    found = status()  # the last rule has no target yet, and leads nowhere
    assert found["in_order"] is False
    assert [one.partition(" that is")[0] for one in found["warnings"] if "monitor" not in one] == [
        f"table table-eth1 has a route to {piece}" for piece in ("0.0.0.0/1", "128.0.0.0/1")]
    box.ip("route flush 0.0.0.0/1 table 1001", "route flush 128.0.0.0/1 table 1001")
    assert status()["in_order"] is True
    box.ip("rule add pref 31000 lookup main")
    assert any(one.startswith("rule pref 102 from all goto is") for one in status()["warnings"])
    box.ip("rule del pref 102", "rule del pref 31000", "route add blackhole 0.0.0.0/1",
           "route add unreachable 128.0.0.0/1")
    found = status()
    assert found["in_order"] is False and ways() == {""}
    assert ("main has `blackhole 0.0.0.0/1 metric 0`: it ends each connection to there that no earlier rule takes: "
            "delete it") in found["warnings"]
    box.ip("route del blackhole 0.0.0.0/1", "route del unreachable 128.0.0.0/1", "route add blackhole 0.0.0.0/8")
    assert status()["in_order"] is True and ways() == {"eth0", "eth1"}


@boxed
def test_the_links_are_in_a_group_from_the_first_moment_and_go_back_to_theirs() -> None:
    box.add_links(2)
    box.ip("link set eth1 group 7")
    event("PREINIT", "eth0")
    assert (group("eth0"), group("eth1")) == (109, 109)
    assert any("eth1 was in group 7" in warning for warning in status()["warnings"])
    links = box.CONFIG.read_text()
    box.CONFIG.write_text(links + "group = 110\n")
    box.verb("apply")
    assert (group("eth0"), group("eth1")) == (110, 110)
    box.CONFIG.write_text(links.splitlines()[0] + "\n")
    box.verb("apply")
    assert (group("eth0"), group("eth1")) == (109, 7)
    box.verb("flush")
    assert group("eth0") == 0


@boxed
def test_a_device_that_is_plugged_in_again_is_in_the_group_again() -> None:
    links_up()
    box.ip("link del eth0", "link add eth0 type veth peer name peer-eth0", "link set eth0 up", "link set peer-eth0 up")
    assert group("eth0") == 0
    up(0)
    assert group("eth0") == 109 and ways() == {"eth0", "eth1"}


@boxed
def test_a_modem_s_own_page_is_reached_and_answered_by_its_interface() -> None:
    links_up()
    box.ip("address add 192.168.100.2/24 dev eth0")
    event("RENEW", "eth0", given(0))
    assert way("192.168.100.1") == "eth0"
    for number in range(2):
        assert way("192.168.100.1", "from", given(number).address) == "eth0"


@boxed
def test_what_is_not_enabled_leaves_nothing_in_the_kernel_until_it_is() -> None:
    box.add_links(2)
    before = kernel()
    up(0)
    up(1)
    settled = kernel().ours
    links = box.CONFIG.read_text()
    box.CONFIG.write_text(links + "enabled = no\n")
    box.verb("apply")
    assert kernel().ours == before.ours == () and group("eth0") == 0
    event("RENEW", "eth0", given(0))
    event("PREINIT", "eth0")
    assert kernel().ours == () and group("eth0") == 0
    box.CONFIG.write_text(links)
    box.verb("apply")
    assert kernel().ours == settled and group("eth0") == 109


@boxed
def test_the_rules_of_2_0_go_with_the_first_run() -> None:
    links_up()
    want = kernel().ours
    box.ip(f"rule add pref 19900 from {given(0).address} to 10.100.0.0/24 lookup 1000 protocol 109",
           "rule add pref 20000 lookup main suppress_prefixlength 0 protocol 109",
           "rule del pref 19900 lookup main suppress_prefixlength 7 suppress_ifgroup 109 protocol 109",
           f"route append 203.0.113.67 via {given(0).gateway} dev eth0 table 252 metric 1001 proto 109")
    assert kernel().ours != want
    event("RENEW", "eth0", given(0))
    assert kernel().ours == want
