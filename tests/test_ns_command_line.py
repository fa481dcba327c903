"""Verbs in a machine of their own: what they print, and their exit statuses."""

import subprocess

import pytest

from tests.beds.box import ENVIRONMENT, PROGRAM, add_links, boxed, ip, two_links, verb


@boxed
def test_an_address_of_this_machine_is_explained_with_and_without_rules() -> None:
    add_links(1)
    ip("address add 192.0.2.5/24 dev eth0")
    assert "stays on this machine" in verb("explain", "192.0.2.5")
    ip("rule add pref 5 lookup main")
    assert "stays on this machine" in verb("explain", "192.0.2.5")


@boxed
def test_what_nobody_reads_is_no_traceback() -> None:
    two_links()
    for arguments in "status", "status --json", "plan", "--help", "explain 198.51.100.1":
        piped = subprocess.run(["sh", "-c", f"{PROGRAM} {arguments} | true"], env=ENVIRONMENT, capture_output=True,
                               text=True)
        assert piped.stderr == "", arguments
    full = subprocess.run(["sh", "-c", f"exec {PROGRAM} status >/dev/full"], env=ENVIRONMENT, capture_output=True,
                          text=True)
    assert (full.returncode, full.stderr) == (1, "dhcp-lb: No space left on device\n")


@pytest.mark.parametrize("arguments, status", [
    (["nonsense"], 2), ([], 2), (["explain"], 2), (["explain", "fritz.box"], 2),
    (["explain", "1.2.3.4", "--dev", "no0"], 2), (["explain", "1.2.3.4", "--in", "lo"], 2),
    (["explain", "1.2.3.4", "--in", "no0", "--from", "1.2.3.5"], 2), (["explain", "1.2.3.4", "--tcp", "0"], 2),
    (["explain", "1.2.3.4", "--mark", "x"], 2), (["explain", "1.2.3.4", "--from", "1.2.3.5"], 2),
    (["drain", "lan0"], 2),
    (["check", "/nowhere"], 1), (["--version"], 0), (["--help"], 0),
])
@boxed
def test_exit_statuses(arguments: list[str], status: int) -> None:
    two_links()
    done = subprocess.run([PROGRAM, *arguments], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
