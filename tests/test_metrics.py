"""The text file for prometheus-node-exporter, as prometheus_client's parser reads it."""

import math
from pathlib import Path

import pytest

from dhcp_lb.model import Interface, Lease, Link
from dhcp_lb.monitor import metrics
from dhcp_lb.monitor.metrics import Measured, shares, text, write
from dhcp_lb.routing import judge
from tests.beds.examples import ETH0, ETH1, INTERFACES, LEASES

parser = pytest.importorskip("prometheus_client.parser", reason="needs python3-prometheus-client")

WORKS = Measured("eth0", 200, "192.0.2.34", "192.0.2.1", 1, 3, "up", True, True, 0.75, 2, 100, 99, 0.0031, 0.01)
DEAD = Measured("eth1", 201, "198.51.100.7", "198.51.100.1", 2, 1, "dead", True, False, 0.0, 1, 90, 40, -1.0, 1.0)
STATES = ("up", "dead", "no lease")


def read(*links: Measured, six: tuple[Measured, ...] = ()) -> dict[str, dict[tuple[str, ...], float]]:
    """Family → the values of its labels, in the order of their names → value."""
    content = text("3.0", list(links), STATES, True, 1e9 + 0.5, list(six))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parser.text_string_to_metric_families(content):
        assert family.name.startswith("dhcp_lb_") and family.documentation
        for sample in family.samples:
            labels = tuple([sample.labels[name] for name in sorted(sample.labels)])
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def test_each_link_has_its_values() -> None:
    found = read(WORKS, DEAD)
    for name, works, dead in (
            ("link_up", 1, 0), ("link_carrier", 1, 1), ("link_leased", 1, 1), ("link_healthy", 1, 0),
            ("link_tier", 1, 2), ("link_weight", 3, 1), ("link_share_ratio", 0.75, 0),
            ("link_state_changes_total", 2, 1), ("probes_total", 100, 90), ("answers_total", 99, 40),
            ("probe_loss_ratio", 0.01, 1)):
        assert found[f"dhcp_lb_{name}"] == {("eth0",): works, ("eth1",): dead}, name
    assert found["dhcp_lb_probe_rtt_seconds"][("eth0",)] == 0.0031
    assert math.isnan(found["dhcp_lb_probe_rtt_seconds"][("eth1",)])
    assert found["dhcp_lb_link_state"] == {
        ("eth0", "up"): 1, ("eth0", "dead"): 0, ("eth0", "no lease"): 0,
        ("eth1", "up"): 0, ("eth1", "dead"): 1, ("eth1", "no lease"): 0}
    assert found["dhcp_lb_link_info"] == {("192.0.2.34", "192.0.2.1", "eth0", "200"): 1,
                                          ("198.51.100.7", "198.51.100.1", "eth1", "201"): 1}
    assert found["dhcp_lb_in_order"] == {(): 1} and found["dhcp_lb_build_info"] == {("3.0",): 1}
    assert found["dhcp_lb_last_look_timestamp_seconds"] == {(): 1e9 + 0.5}


def test_what_may_be_another_thing_in_ipv6_is_told_of_the_links_that_have_it() -> None:
    four, both = read(WORKS), read(WORKS, six=(WORKS._replace(works=False, share=0.0, state="dead"),))
    assert four.items() <= both.items()
    assert {name: values for name, values in both.items() if name not in four} == {
        "dhcp_lb_ipv6_link_up": {("eth0",): 0}, "dhcp_lb_ipv6_link_healthy": {("eth0",): 0},
        "dhcp_lb_ipv6_link_share_ratio": {("eth0",): 0}, "dhcp_lb_ipv6_link_state_changes_total": {("eth0",): 2},
        "dhcp_lb_ipv6_probes_total": {("eth0",): 100}, "dhcp_lb_ipv6_answers_total": {("eth0",): 99},
        "dhcp_lb_ipv6_probe_rtt_seconds": {("eth0",): 0.0031}, "dhcp_lb_ipv6_probe_loss_ratio": {("eth0",): 0.01},
        "dhcp_lb_ipv6_link_state": {("eth0", "up"): 0, ("eth0", "dead"): 1, ("eth0", "no lease"): 0}}


@pytest.mark.parametrize("name, label", [('a"b\\c', 'a"b\\c'), ("$(id)", "$(id)"), ("é€", "é€"), ("\udcff", "\ufffd"),
                                         ("x\x85y", "x\x85y")])
def test_a_link_may_have_any_name(name: str, label: str) -> None:
    assert read(WORKS._replace(interface=name))["dhcp_lb_link_up"] == {(label,): 1}


def test_the_lowest_tier_with_a_carrier_shares_the_connections() -> None:
    links = ETH0, ETH1, Link("eth2", "t", 202, 9, tier=2)
    leases = {**LEASES, "eth2": Lease("10.0.0.2", 24, "10.0.0.1")}
    uplinks = judge(links, leases, {}, {**INTERFACES, "eth2": Interface(9, True, True, ("10.0.0.2",))})
    up = {"eth0": True, "eth1": True, "eth2": True}
    assert shares(uplinks, up) == {"eth0": 1 / 3, "eth1": 2 / 3}
    assert shares(uplinks, {**up, "eth0": False}) == {"eth1": 1}
    assert shares(uplinks, {"eth2": True}) == {"eth2": 1}
    assert shares(uplinks, {}) == {}


def test_without_links_it_is_a_file_all_the_same() -> None:
    assert read()["dhcp_lb_in_order"] == {(): 1}


def test_the_file_is_for_everybody_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "dhcp-lb.prom"
    write(str(file), "# one\n")
    write(str(file), "# two\n")
    assert [(path.name, path.read_text(), path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [
        ("dhcp-lb.prom", "# two\n", 0o644)]


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "DIRECTORY", str(tmp_path / "absent"))
    assert metrics.path("") == ""
    monkeypatch.setattr(metrics, "DIRECTORY", str(tmp_path))
    assert (metrics.path(""), metrics.path("none"), metrics.path("/run/dhcp-lb/x.prom")) == (
        metrics.FILE, "", "/run/dhcp-lb/x.prom")
