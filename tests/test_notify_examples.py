"""The examples in doc/examples/notify: what they run, with a link whose name is no good word for a shell."""

import json
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "doc" / "examples" / "notify"
NAME = "$(id)"
FAKE = """#!/bin/sh
{ printf '%s\\n' "${0##*/}" "$@"; [ "${0##*/}" != sendmail ] || cat; } >>"$SAID"
"""
WG = """#!/bin/sh
if [ "$*" = "show all endpoints" ]; then
    printf '%s\\t%s\\t%s\\n' 'w g$(id)' PEER1= 203.0.113.9:51820 wg1 PEER2= '(none)' wg1 PEER3= '[2001:db8::1]:51820'
else
    printf '%s\\n' wg "$@" >>"$SAID"
    cat >>"$SAID"
fi
"""
OTHERS = {"hostname": "#!/bin/sh\necho router\n", "wg": WG, "sleep": "#!/bin/sh\n"}


def said(tmp_path: Path, example: str, event: str) -> list[str]:
    """The command that it runs, its arguments, and for sendmail(8) the mail; a line each."""
    for name in "sendmail", "curl", "ddclient", "resolvectl", "resolvconf", *OTHERS:
        fake = tmp_path / name
        fake.write_text(OTHERS.get(name, FAKE))
        fake.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SAID": str(tmp_path / "said"), "DHCP_LB_EVENT": event,
               "DHCP_LB_LINK": NAME, "DHCP_LB_STATE": "dead", "DHCP_LB_OLD_STATE": "up",
               "DHCP_LB_REASON": "no answer from `id` \"x\"", "DHCP_LB_ADDRESS": "192.0.2.34"}
    done = subprocess.run([EXAMPLES / example], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    path = tmp_path / "said"
    return path.read_text().splitlines() if path.exists() else []


def test_mail(tmp_path: Path) -> None:
    assert said(tmp_path, "mail", "link-down") == [
        "sendmail", "-t", "To: root", f"Subject: router: link-down {NAME}", "", f"Link:    {NAME}",
        "State:   dead (was up)", "Reason:  no answer from `id` \"x\"", "Address: 192.0.2.34"]


def test_ntfy(tmp_path: Path) -> None:
    assert said(tmp_path, "ntfy", "link-down") == [
        "curl", "-sS", "-m", "8", "-o", "/dev/null", "-H", f"Title: link-down {NAME}", "--data-binary",
        f"{NAME}: dead no answer from `id` \"x\"", "https://ntfy.example/my-router"]


@pytest.mark.parametrize("event, called", [("address", True), ("link-up", True), ("link-down", True), ("tier", False)])
def test_ddclient(tmp_path: Path, event: str, called: bool) -> None:
    assert said(tmp_path, "ddclient", event) == ["ddclient", "-daemon=0", "-syslog", "-quiet"] * called


@pytest.mark.parametrize("event, arguments", [
    ("link-down", ["default-route", NAME, "no"]), ("link-up", ["default-route", NAME, "yes"]), ("address", [])])
def test_systemd_resolved(tmp_path: Path, event: str, arguments: list[str]) -> None:
    assert said(tmp_path, "systemd-resolved", event) == ["resolvectl", *arguments] * bool(arguments)


@pytest.mark.parametrize("event, option", [("link-down", "-C"), ("link-up", "-c"), ("address", ""), ("all-down", "")])
def test_openresolv(tmp_path: Path, event: str, option: str) -> None:
    assert said(tmp_path, "openresolv", event) == ["resolvconf", option, NAME, f"{NAME}.[!0-9]*"] * bool(option)


@pytest.mark.parametrize("event, times", [("link-up", 3), ("link-down", 3), ("tier", 3), ("address", 0)])
def test_wireguard(tmp_path: Path, event: str, times: int) -> None:
    assert said(tmp_path, "wireguard", event) == times * [
        "wg", "set", "w g$(id)", "peer", "PEER1=", "endpoint", "203.0.113.9:51820",
        "wg", "set", "wg1", "peer", "PEER3=", "endpoint", "[2001:db8::1]:51820"]


IP = """#!/bin/sh
[ "$*" = "-j -6 address show dev lan0 scope global" ] || exit 1
echo '[{"ifname": "lan0", "addr_info": [
    {"local": "2001:db8:a:f00::1", "prefixlen": 64}, {"local": "2001:db8:b:f00::1", "prefixlen": 64},
    {"local": "fd00:1::1", "prefixlen": 64}, {"local": "2001:db8:a:f01::9", "prefixlen": 128}, {}]}]'
"""
RADVD = """interface lan0 {
    AdvSendAdvert on;
    prefix 2001:db8:a:f00::/64 { AdvPreferredLifetime 1800; };
    prefix 2001:db8:b:f00::/64
    {
        AdvOnLink on;  # as always
    };
    prefix fd00:1::/64 { };
};
"""
DNSMASQ = ("enable-ra\ndhcp-range=2001:db8:a:f00::,ra-only,64,{}\ndhcp-range=2001:db8:b:f00::,ra-only,64,{}\n"
           "dhcp-range=fd00:1::,ra-only,64,1h\n")


def withdrawn(tmp_path: Path, example: str, file: Path, states: dict[str, str], event: str = "prefix") -> list[str]:
    """What it runs, where the links' IPv6 is in these states; it writes to a file of the test's."""
    script = tmp_path / f"{example}-script"
    script.write_text((EXAMPLES / example).read_text().replace("/etc/radvd.conf", str(file)).replace(
        "/etc/dnsmasq.d/dhcp-lb.conf", str(file)))
    for name, text in ("systemctl", FAKE), ("ip", IP):
        fake = tmp_path / name
        fake.write_text(text)
        fake.chmod(0o755)
    six = {"eth0": "2001:db8:a::/48", "eth1": "2001:db8:b:f00::/56"}
    links = [{"interface": name, "ipv6": {"state": state, "prefixes": [six[name]]}} for name, state in states.items()]
    status = {"links": [*links, {"interface": NAME, "ipv6": None}]}
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SAID": str(tmp_path / "said"), "DHCP_LB_EVENT": event,
               "DHCP_LB_LINK": NAME}
    done = subprocess.run(["/usr/bin/python3", "-I", script], env=environ, capture_output=True, text=True,
                          input=json.dumps(status))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    path = tmp_path / "said"
    said = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return said


def test_radvd(tmp_path: Path) -> None:
    file = tmp_path / "radvd.conf"
    file.write_text(RADVD)
    for state in "dead", "no carrier", "draining":
        assert withdrawn(tmp_path, "radvd", file, {"eth0": state, "eth1": "up"}) == ["systemctl", "reload", "radvd"]
        assert file.read_text() == RADVD.replace(
            "AdvPreferredLifetime 1800; }", "AdvPreferredLifetime 1800; AdvPreferredLifetime 0; # by dhcp-lb\n}")
        assert withdrawn(tmp_path, "radvd", file, {"eth0": state, "eth1": "up"}) == []
        assert withdrawn(tmp_path, "radvd", file, {"eth0": "no address", "eth1": "up"}) != []
        assert file.read_text() == RADVD
    withdrawn(tmp_path, "radvd", file, {"eth0": "dead", "eth1": "dead"})
    assert file.read_text().count("AdvPreferredLifetime 0;") == 2
    assert withdrawn(tmp_path, "radvd", file, {"eth0": "up", "eth1": "up"}, "link-up") == []


def test_dnsmasq(tmp_path: Path) -> None:
    file = tmp_path / "dnsmasq.conf"
    for state, life in ("up", "1h"), ("dead", "deprecated"), ("no address", "1h"), ("draining", "deprecated"):
        assert withdrawn(tmp_path, "dnsmasq", file, {"eth0": "up", "eth1": state}) == ["systemctl", "restart",
                                                                                       "dnsmasq"]
        assert file.read_text() == DNSMASQ.format("1h", life)
        assert withdrawn(tmp_path, "dnsmasq", file, {"eth0": "up", "eth1": state}) == []
    assert withdrawn(tmp_path, "dnsmasq", file, {"eth0": "dead", "eth1": "dead"}, "tier") == []


def test_each_says_whether_something_leaves_the_machine_and_is_tested() -> None:
    for path in EXAMPLES.iterdir():
        text = path.read_text()
        assert "leaves this machine" in text or "learns" in text, path.name
        assert f'"{path.name}"' in Path(__file__).read_text(), path.name
