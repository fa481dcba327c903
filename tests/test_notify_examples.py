"""The examples in doc/examples/notify: what they run, with a link whose name is no good word for a shell."""

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


def test_each_says_whether_something_leaves_the_machine_and_is_tested() -> None:
    for path in EXAMPLES.iterdir():
        text = path.read_text()
        assert "leaves this machine" in text or "learns" in text, path.name
        assert f'"{path.name}"' in Path(__file__).read_text(), path.name
