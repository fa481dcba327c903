"""`balance = connection | pair | source`: what chooses a connection's link."""

import json
from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab

HOSTS = [str(host) for host in range(10, 70)]
KEYS = "net.ipv4.fib_multipath_hash_policy", "net.ipv4.fib_multipath_hash_fields"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.lan.sh("for host in " + " ".join(HOSTS) + "; do ip address add 10.0.0.$host/24 dev eth0; done")
        lab.router.ifup()
        yield lab


@pytest.fixture(autouse=True)
def config(lab: Lab) -> Iterator[None]:
    path = lab.router.path("/etc/dhcp-lb")
    before = path.read_text()
    yield
    path.write_text(before)
    lab.router.dhcp_lb("apply")


def balance(lab: Lab, word: str) -> None:
    with lab.router.path("/etc/dhcp-lb").open("a") as config:
        config.write(f"balance = {word}\n")
    lab.router.dhcp_lb("apply")


def values(lab: Lab) -> list[int]:
    return [int(value) for value in lab.router.run("sysctl", "-n", *KEYS).split()]


def test_by_source_each_machine_of_the_lan_has_one_link(lab: Lab) -> None:
    balance(lab, "source")
    assert values(lab) == [3, 0x1]
    links = [set(lab.connect(lab.lan, 6, source=f"10.0.0.{host}")) for host in HOSTS]
    assert [len(link) for link in links] == [1] * 60
    assert {"eth0"} in links and {"eth1"} in links
    assert len(lab.connect(lab.router, 60)) == 1  # their source is not known yet


def test_by_pair_each_machine_has_one_link_to_each_server(lab: Lab) -> None:
    balance(lab, "pair")
    assert values(lab) == [3, 0x3]
    assert [len(lab.connect(lab.lan, 6, to=f"198.51.100.{server}")) for server in range(1, 21)] == [1] * 20
    assert len(lab.connect(lab.lan, 60)) == len(lab.connect(lab.router, 60)) == 2


def test_by_connection_two_machines_use_all_links(lab: Lab) -> None:
    balance(lab, "connection")
    assert values(lab) == [3, 0x37]
    assert len(lab.connect(lab.lan, 60, to="198.51.100.1")) == len(lab.connect(lab.router, 60, to="198.51.100.1")) == 2


def test_live_connections_stay_by_source_when_links_change(lab: Lab) -> None:
    balance(lab, "source")
    with lab.held(lab.lan, 100) as held:
        lab.router.dhcp_lb("drain", "eth0" if "eth0" in lab.connect(lab.lan, 1) else "eth1")
        assert held.still_alive() == 100
    for interface in "eth0", "eth1":
        lab.router.dhcp_lb("enable", interface)


def test_what_was_there_before_comes_back_with_the_line_or_with_a_flush(lab: Lab) -> None:
    before = values(lab)
    path = lab.router.path("/etc/dhcp-lb")
    text = path.read_text()
    for way_back in "apply", "flush":
        balance(lab, "pair")
        balanced = path.read_text()
        assert values(lab) != before
        path.write_text(text if way_back == "apply" else balanced)
        lab.router.dhcp_lb(way_back)
        assert values(lab) == before
        path.write_text(text)


def test_what_somebody_else_has_set_is_told_and_set_back_only_where_the_line_is(lab: Lab) -> None:
    def warnings() -> list[str]:
        found = json.loads(lab.router.dhcp_lb("status", "--json"))["warnings"]
        return [warning for warning in found if "no monitor" not in warning]
    lab.router.run("sysctl", "-w", f"{KEYS[0]}=0")
    assert warnings() == []
    lab.router.dhcp_lb("apply")
    assert values(lab)[0] == 0
    balance(lab, "pair")
    assert warnings() == []
    lab.router.run("sysctl", "-w", f"{KEYS[0]}=1")
    assert warnings() == ["net/ipv4/fib_multipath_hash_policy is 1, and `balance = pair` means 3: `dhcp-lb apply` "
                          "sets it"]
    lab.router.dhcp_lb("apply")
    assert (values(lab), warnings()) == ([3, 0x3], [])
