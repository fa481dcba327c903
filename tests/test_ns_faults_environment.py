"""Faults of doc/faults.md: Environment. Each test has the number of its line."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.beds.box import (CONFIG, ENVIRONMENT, PROGRAM, STORE, Syslog, assert_renewed, boxed, environment, event,
                            given, hook, ip, kernel, two_links, verb)


@boxed
def test_pythons_variables_and_the_working_directory_have_no_effect() -> None:  # 35
    before = two_links()
    evil = Path("/run/evil")
    (evil / "dhcp_lb").mkdir(parents=True)
    for module in ("json", "posix", "struct", "os", "syslog", "sitecustomize", "dhcp_lb/__init__", "dhcp_lb/hook"):
        (evil / f"{module}.py").write_text("open('/run/executed', 'w')\n")
    variables = {"PYTHONPATH": str(evil), "PYTHONHOME": str(evil), "PYTHONSTARTUP": str(evil / "json.py"),
                 "PYTHONINSPECT": "1", "PYTHONUSERBASE": str(evil), "PYTHONWARNINGS": "error", "PYTHONDEBUG": "1",
                 "PYTHONPYCACHEPREFIX": str(evil), "PYTHONSAFEPATH": "", "HOME": str(evil)}
    done = hook(env=environment("RENEW", "eth0", given(0, gateway=2)) | variables, cwd=evil)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_renewed(before)
    status = subprocess.run([PROGRAM, "status", "--json"], env=ENVIRONMENT | variables, cwd=evil, capture_output=True,
                            text=True)
    assert json.loads(status.stdout)["in_order"] is True
    assert status.stderr == "" and not Path("/run/executed").exists()


@boxed
def test_an_empty_environment_and_an_ascii_locale_are_enough() -> None:  # 36
    before = two_links()
    variables = given(0, gateway=2).variables() | {"reason": "RENEW", "interface": "eth0"}
    for more in {}, {"LC_ALL": "POSIX"}, {"LC_ALL": "xx_YY.nonsense", "LANG": "C"}:
        done = hook(env=variables | more)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_renewed(before)
    assert subprocess.run([PROGRAM, "status"], env={"LC_ALL": "POSIX"}, capture_output=True).returncode == 0
    assert subprocess.run([PROGRAM], env={}, capture_output=True).returncode == 2


@boxed
def test_huge_values_and_bytes_that_are_no_text_change_nothing() -> None:  # 37
    before = two_links()
    log = Syslog()
    for name in "new_host_name", "old_routers", "new_domain_name":
        for value in b"x" * 131000, b"\xff\xfe\x80", b"\n\n\n":
            hook(env={**{key.encode(): text.encode() for key, text in environment("RENEW", "eth0", given(0)).items()},
                      name.encode(): value})
    assert kernel() == before
    assert log.lines() == []
    hook(env={**environment("RENEW", "eth0", given(0)), "new_routers": "7" * 131000})
    assert "eth0 is not used: gateway is not an IPv4 address" in log.lines()


@boxed
def test_our_files_are_ours_alone_under_any_umask() -> None:  # 38
    os.umask(0)
    two_links()
    verb("drain", "eth0")
    for path in (STORE, *STORE.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">&- 2>&-"])
@boxed
def test_closed_descriptors_do_no_harm(closed: str) -> None:  # 39
    before = two_links()
    log = Syslog()
    variables = environment("RENEW", "eth0", given(0, gateway=2))
    done = subprocess.run(["sh", "-c", f"exec {PROGRAM} {closed}"], env=variables)
    assert done.returncode == 0
    assert_renewed(before)
    assert len(log.lines()) == 8
    assert (STORE / "lock").read_bytes() == b"" and len((STORE / "leases/eth0").read_text().splitlines()) == 2
    assert subprocess.run(["sh", "-c", f"exec {PROGRAM} status {closed}"], env=ENVIRONMENT,
                          capture_output=True).returncode == 0


@boxed
def test_a_working_directory_that_is_gone_does_no_harm() -> None:  # 40
    before = two_links()
    Path("/run/gone").mkdir()
    done = subprocess.run(["sh", "-c", f"cd /run/gone; rmdir /run/gone; exec {PROGRAM}"],
                          env=environment("RENEW", "eth0", given(0, gateway=2)), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert_renewed(before)


@boxed
def test_another_user_gets_clear_errors_and_sees_the_kernel() -> None:  # 41
    before = two_links()

    def nobody(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PROGRAM, *arguments],
                              env=ENVIRONMENT, capture_output=True, text=True)

    for verb_ in ["apply"], ["flush"], ["drain", "eth0"], ["plan"]:
        done = nobody(*verb_)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("dhcp-lb: /run/dhcp-lb") and done.stderr.endswith(": only root can do this\n")
    status = nobody("status")
    assert status.returncode == 0 and "Only root sees the leases" in status.stdout
    assert nobody("explain", "198.51.100.1").returncode == 0
    ip("route add prohibit 203.0.113.0/24")
    assert nobody("explain", "203.0.113.1").stderr == (
        "dhcp-lb: there is no way to 203.0.113.1: a route of type prohibit says so, which "
        "`ip route show table all type prohibit` names\n")
    ip("route del prohibit 203.0.113.0/24")
    assert nobody("check").stdout == "/etc/dhcp-lb: 2 links\n"
    assert kernel() == before
    CONFIG.chmod(0)
    assert nobody("check").stderr == (  # 49
        "dhcp-lb: /etc/dhcp-lb: Permission denied: must be a file that root can read\n")


HOSTILE = ["$(touch /run/executed)", "`touch /run/executed`", "() { :;}; touch /run/executed",
           "x\ntouch /run/executed\n", "'; touch /run/executed #", "-e touch", "../../../run/executed",
           "10.100.0.2; touch /run/executed",
           "%s%n%n", "\x1b]0;x\x07"]


@boxed
def test_hostile_values_are_data_and_reach_no_file() -> None:  # 42
    before = two_links()
    log = Syslog()
    for value in HOSTILE:
        for name in ("new_ip_address", "new_subnet_mask", "new_routers", "new_dhcp_server_identifier",
                     "new_dhcp_lease_time", "new_rfc3442_classless_static_routes", "new_host_name", "reason",
                     "interface"):
            done = hook(env=environment("RENEW", "eth0", given(0)) | {name: value})
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not Path("/run/executed").exists()
    written = [path.read_bytes() for path in (*STORE.rglob("*"), *Path("/etc/iproute2").rglob("*")) if path.is_file()]
    assert not any(b"touch" in text or b"%s" in text or b"\x1b" in text for text in written)
    assert not any("touch" in line or "%n" in line or "\x1b" in line for line in log.lines())
    event("RENEW", "eth0", given(0))
    assert kernel() == before
