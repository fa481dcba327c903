"""Faults of doc/faults.md: Kernel, and what is not ours. Each test has the number of its line."""

import json
from pathlib import Path

import pytest

from tests.beds.box import Syslog, add_links, boxed, event, given, ip, kernel, run, set_address, two_links, verb


@boxed
def test_a_default_route_by_a_gateway_of_ipv6_is_nothing_to_go_by() -> None:
    add_links(1)
    ip("address add 192.0.2.5/24 dev eth0", "route add default via inet6 fe80::1 dev eth0")
    verb("apply")
    assert kernel().ours == () and " no lease " in verb("status")


@boxed
def test_what_is_somebody_elses_stays_byte_for_byte() -> None:  # 51
    add_links(2)
    for number in range(2):
        set_address(f"eth{number}", given(number))
    ip("rule add pref 20100 from 10.100.0.10 lookup 1000", "rule add pref 32765 from all lookup 252",
       "rule add pref 20000 from all lookup main suppress_prefixlength 0", "rule add pref 5 fwmark 7 lookup 77",
       "route add default via 10.100.0.1 dev eth0 table 1000", "route add 10.9.0.0/16 via 10.100.0.1 table 252",
       "route add unreachable 10.8.0.0/16 table 1001")
    before = kernel()
    assert before.ours == ()
    for reason, lease in ("BOUND", given(0)), ("RENEW", given(0, gateway=2)), ("STOP", None), ("BOUND", given(0)):
        event(reason, "eth0", lease)
        event("BOUND", "eth1", given(1))
        assert kernel().foreign == before.foreign
    verb("flush")
    assert kernel() == before


@boxed
def test_the_same_event_twice_is_once() -> None:  # 19, 52
    before = two_links()
    log = Syslog()
    for _ in range(3):
        event("BOUND", "eth0", given(0))
    assert (kernel(), log.lines()) == (before, [])


def conf(name: str) -> str:
    return Path(f"/proc/sys/net/ipv4/conf/{name}").read_text().strip()


@pytest.mark.parametrize("strict", ["all", "eth0"])
@boxed
def test_a_strict_reverse_path_filter_is_made_loose_and_put_back_by_flush(strict: str) -> None:  # 53
    add_links(1)
    Path(f"/proc/sys/net/ipv4/conf/{strict}/rp_filter").write_text("1")
    before = conf("eth0/rp_filter"), conf("eth0/ignore_routes_with_linkdown")
    set_address("eth0", given(0))
    event("BOUND", "eth0", given(0))
    assert (conf("eth0/rp_filter"), conf("eth0/ignore_routes_with_linkdown")) == ("2", "1")
    verb("flush")
    assert (conf("eth0/rp_filter"), conf("eth0/ignore_routes_with_linkdown")) == before


@boxed
def test_what_somebody_deleted_is_shown_and_put_back() -> None:  # 56
    before = two_links()
    run("ip", "rule", "flush")
    run("ip", "route", "flush", "table", "1000")
    ip("route del default table 252 metric 0", "rule add pref 32766 lookup main")
    status = json.loads(verb("status", "--json"))
    assert status["in_order"] is False
    assert status["commands"] == verb("plan").splitlines()
    assert len(status["commands"]) == 11
    event("RENEW", "eth1", given(1))
    assert kernel().ours == before.ours


@boxed
def test_the_plan_can_be_pasted() -> None:
    before = two_links()
    run("ip", "route", "flush", "table", "1000")
    ip("rule del pref 20100 lookup 1000", "route append default via 10.100.1.9 table 252 proto 109 metric 7",
       "rule add pref 20100 lookup 77 protocol 109", "route append blackhole 10.1.0.0/16 table 1000 proto 109")
    run("sh", "-e", stdin=verb("plan"))
    assert kernel() == before
    assert verb("plan") == ""


@boxed
def test_what_the_kernel_refuses_takes_out_that_link_alone_and_is_asked_for_once() -> None:  # 58
    """The gateway is the broadcast address of another prefix of the same interface."""
    two_links()
    before = kernel()
    ip("address add 10.100.0.20/25 brd + dev eth0")
    log = Syslog()
    lease = given(0, gateway=127)
    event("RENEW", "eth0", lease)
    lines = log.lines()
    assert "eth0 is not used: the kernel refuses it: Nexthop has invalid gateway (EINVAL)" in lines
    assert any(line.startswith("refused: ip -4 route append default via 10.100.0.127 dev eth0 ") for line in lines)
    words = "the kernel refuses it: Nexthop has invalid gateway (EINVAL)"
    assert f"eth0 unusable: {words}\n" in verb("status")
    link = json.loads(verb("status", "--json"))["links"][0]
    assert (link["state"], link["reason"], link["share"]) == ("unusable", words, 0)
    out = kernel()
    assert len(out.ours) == 11 and not any("10.100.0." in line for line in out.ours)
    for number, again in (1, given(1)), (0, lease), (1, given(1)):
        event("RENEW", f"eth{number}", again)
        assert (log.lines(), kernel()) == ([], out)
    event("RENEW", "eth0", given(0))
    assert kernel().ours == before.ours


@boxed
def test_a_gateway_that_the_kernel_takes_no_more_costs_the_others_nothing() -> None:  # 58
    """Another address comes. Its broadcast address is the gateway of a link that is in use."""
    two_links()
    before = kernel()
    ip("address add 10.200.0.20/32 brd 10.100.1.1 dev eth1")
    log = Syslog()
    event("RENEW", "eth0", given(0, gateway=5))
    assert "eth1 gets no new connections: the kernel refuses it: Nexthop has invalid gateway (EINVAL)" in log.lines()
    words = "the kernel refuses it: Nexthop has invalid gateway (EINVAL)"
    assert f"eth1 no new connections: {words}\n" in verb("status")
    link = json.loads(verb("status", "--json"))["links"][1]
    assert (link["state"], link["reason"], link["share"]) == ("no new connections", words, 0)
    found = kernel().ours
    assert [line for line in before.ours if " eth1 " in line and "nexthop" not in line] == [
        line for line in found if " eth1 " in line]
    assert run("ip", "route", "show", "table", "252").startswith("default via 10.100.0.5 dev eth0 proto dhcp-lb")
    event("RENEW", "eth0", given(0, gateway=5))
    assert (log.lines(), kernel().ours) == ([], found)
    event("EXPIRE", "eth0")
    assert run("ip", "route", "get", "203.0.113.1").startswith("203.0.113.1 via 10.100.1.1 dev eth1")
    ip("address del 10.200.0.20/32 dev eth1")
    event("BOUND", "eth0", given(0))
    assert kernel().ours == before.ours
