"""The faults of faults.md that need no DHCP client. Each test has the number of its line.

Every test has a machine of its own, with two links that are up, as after dhclient-script."""

import errno
import fcntl
import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests import box
from tests.box import (CONFIG, ENVIRONMENT, PROGRAM, STORE, Given, Kernel, Syslog, add_links, boxed, environment,
                       event, given, ip, kernel, run, set_address, start_event, verb)

INSTALLED = Path("/usr/share/dhcp-lb/dhcp_lb")


def two_links() -> Kernel:
    """Brings up eth0 and eth1 with leases. Returns the kernel's routing."""
    add_links(2)
    for number in range(2):
        set_address(f"eth{number}", given(number))
        event("BOUND", f"eth{number}", given(number))
    found = kernel()
    assert len(found.ours) == 15
    return found


def hook(**changes: object) -> "subprocess.CompletedProcess[str]":
    """Calls the hook of a renewal with a new gateway of eth0 in another way."""
    named: Any = {"env": environment("RENEW", "eth0", given(0, gateway=2)), "stdin": subprocess.DEVNULL, **changes}
    return subprocess.run([PROGRAM], capture_output=True, text=True, timeout=60, **named)


def assert_renewed(before: Kernel) -> None:
    """That renewal is in force: every route by the old gateway goes by the new one."""
    ours = [line.replace("via 10.100.0.1 ", "via 10.100.0.2 ") for line in before.ours]
    assert kernel() == Kernel(tuple(sorted(ours)), before.foreign)


# Leases

@pytest.mark.parametrize("first", ["eth0", "eth1"])
@boxed
def test_a_provider_that_hands_out_another_one_s_gateway_takes_no_link_out(first: str) -> None:  # P6
    syslog = Syslog()
    before = of_eth0(two_links())
    gateway = Given(given(0).gateway, 24, given(1).gateway)
    set_address("eth1", gateway)
    event("BOUND", "eth1", gateway)
    assert of_eth0(kernel()) == before
    verb("flush")  # the kernel takes it, too, if it has not had it already
    for name, lease in sorted({"eth0": given(0), "eth1": gateway}.items(), reverse=first == "eth1"):
        event("BOUND", name, lease)
    assert of_eth0(kernel()) == before and verb("plan") == ""
    assert not [line for line in syslog.lines() if "not used" in line or "refused" in line]


@pytest.mark.parametrize("first", ["lease", "address"])
@boxed
def test_replies_to_the_lan_stay_there_when_a_provider_hands_out_its_address(first: str) -> None:  # P6
    two_links()
    ip("link add lan0 type veth peer name peer-lan0", "link set lan0 up", "link set peer-lan0 up")
    address = ["address add 10.0.0.1/24 dev lan0"]
    ip(*address if first == "address" else [])
    lan = Given("10.0.0.1", 24, "10.0.0.254", "10.0.0.254")
    set_address("eth1", lan)
    event("BOUND", "eth1", lan)
    ip(*address if first == "lease" else [])
    event("RENEW", "eth0", given(0))
    assert "dev lan0" in run("ip", "route", "get", "10.0.0.2", "from", "10.0.0.1") or first == "lease"  # main's order
    assert not [line for line in kernel().ours if "from 10.0.0.1 to" in line]
    assert "dev eth1" in run("ip", "route", "get", "198.51.100.1", "from", "10.0.0.1")
    assert verb("plan") == ""
    ip("address flush dev lan0")  # or a tunnel borrows the address
    ip("address add 10.0.0.1 peer 10.9.9.9 dev lan0")
    event("RENEW", "eth0", given(0))
    assert [line for line in kernel().ours if "from 10.0.0.1 to 10.0.0.0/24" in line] and verb("plan") == ""


def of_eth0(found: Kernel) -> tuple[list[str], list[str]]:
    """The rules and routes of a link, and its part of the multipath."""
    lines = [line for line in found.ours if "eth0" in line or "lookup 1000 " in line]
    multipath = [line for line in lines if "nexthop" in line]
    return ([line for line in lines if line not in multipath],
            [part for line in multipath for part in line.split("nexthop") if "eth0" in part])


# Interfaces

@pytest.mark.parametrize("name", ["eth0.100", "fifteen-bytes-x", "é€", "--help", "-4", "dev", "table", "*", "$(id)",
                                  "a'b", "lock"])
@boxed
def test_an_interface_may_have_any_name(name: str) -> None:  # 27
    add_links(2)
    set_address("eth0", given(0))
    ip("link set eth0 down")
    run("ip", "link", "set", "dev", "eth0", "name", name)
    run("ip", "link", "set", "dev", name, "up")
    CONFIG.write_text(f"{name} one 1000 1\n")
    event("BOUND", name, given(0))
    assert len(kernel().ours) == 9
    assert json.loads(verb("status", "--json"))["links"][0]["interface"] == name
    assert name in verb("status")
    verb("drain", "--", name)
    assert json.loads(verb("status", "--json"))["links"][0]["state"] == "draining"
    verb("enable", "--", name)
    assert "one" in verb("explain", "198.51.100.1", f"--dev={name}")
    event("STOP", name)
    assert kernel().ours == ()


@boxed
def test_wan1_and_wan10_are_two() -> None:  # 28
    add_links(2)
    for old, new in ("eth0", "wan1"), ("eth1", "wan10"):
        ip(f"link set {old} down", f"link set {old} name {new}", f"link set {new} up")
    CONFIG.write_text("wan1 one 1000 1\nwan10 two 1001 1\n")
    for number, name in enumerate(("wan1", "wan10")):
        set_address(name, given(number))
        event("BOUND", name, given(number))
    event("STOP", "wan1")
    assert sorted({line.split(" dev ")[1].split()[0] for line in kernel().ours if " dev " in line}) == ["wan10"]


@boxed
def test_the_old_name_of_an_interface_is_pruned() -> None:  # 30
    two_links()
    ip("link set eth0 down", "link set eth0 name other0", "link set other0 up")
    event("RENEW", "eth1", given(1))
    assert not any("eth0" in line or "10.100.0." in line for line in kernel().ours)
    assert len(kernel().ours) == 9


@boxed
def test_a_device_that_was_plugged_in_again_is_rebuilt() -> None:  # 29, 31
    before = two_links()
    ip("link del eth0")
    assert box.lookup()
    ip("link add eth0 type veth peer name peer-eth0", "link set eth0 up", "link set peer-eth0 up")
    set_address("eth0", given(0))
    event("BOUND", "eth0", given(0))
    assert kernel().ours == before.ours


@boxed
def test_down_and_up_is_put_right_by_the_next_event() -> None:  # 33
    before = two_links()
    ip("link set eth0 down")
    assert box.lookup()
    event("RENEW", "eth1", given(1))
    assert len(kernel().ours) == 9
    ip("link set eth0 up")
    event("RENEW", "eth1", given(1))
    assert kernel() == before


@boxed
def test_all_down_and_one_back() -> None:  # 34
    two_links()
    ip("link set eth0 down", "link set eth1 down")
    event("EXPIRE", "eth0")
    assert kernel().ours == ()
    ip("link set eth1 up")
    event("RENEW", "eth1", given(1))
    assert len(kernel().ours) == 9 and box.lookup()


# Environment

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
    assert len(log.lines()) == 6
    assert (STORE / "lock").read_bytes() == b"" and len((STORE / "leases/eth0").read_text().splitlines()) == 1
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
        "dhcp-lb: the kernel has no route to 203.0.113.1: Permission denied\n")
    ip("route del prohibit 203.0.113.0/24")
    assert nobody("check").stdout == "/etc/dhcp-lb: 2 links\n"
    assert kernel() == before
    CONFIG.chmod(0)
    assert nobody("check").stderr == (  # 49
        "dhcp-lb: /etc/dhcp-lb: Permission denied: must be a file that root can read\n")


@boxed
def test_an_address_of_this_machine_is_explained_with_and_without_rules() -> None:
    add_links(1)
    ip("address add 192.0.2.5/24 dev eth0")
    assert "stays on this machine" in verb("explain", "192.0.2.5")
    ip("rule add pref 5 lookup main")
    assert "stays on this machine" in verb("explain", "192.0.2.5")


@boxed
def test_a_default_route_by_a_gateway_of_ipv6_is_nothing_to_go_by() -> None:
    add_links(1)
    ip("address add 192.0.2.5/24 dev eth0", "route add default via inet6 fe80::1 dev eth0")
    verb("apply")
    assert kernel().ours == () and " no lease " in verb("status")


@boxed
def test_one_who_has_waited_goes_by_what_the_file_says_then() -> None:
    two_links()
    slow = start_event("RENEW", "eth0", given(0, gateway=5), [
        "strace", "-qq", "-o", "/run/trace", "-e", "trace=flock", "-e", "inject=flock:delay_enter=1500000:when=1"])
    time.sleep(0.7)
    CONFIG.write_text(CONFIG.read_text().replace("eth0 table-eth0 1000 1", "eth0 table-eth0 1000 7"))
    verb("apply")
    slow.wait()
    assert "via 10.100.0.5 dev eth0 weight 7" in run("ip", "route", "show", "table", "252")


@boxed
def test_an_edit_s_apply_is_not_left_to_one_who_began_before() -> None:
    two_links()
    with open(STORE / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        event_waits = start_event("RENEW", "eth0", given(0, gateway=5))
        while len(list((STORE / "waiting").iterdir())) < 1:
            time.sleep(0.01)
        CONFIG.write_text(CONFIG.read_text().replace("eth0 table-eth0 1000 1", "eth0 table-eth0 1000 7"))
        apply_waits = subprocess.Popen([PROGRAM, "apply"], env=ENVIRONMENT)
        while len(list((STORE / "waiting").iterdir())) < 2:
            time.sleep(0.01)
    assert (event_waits.wait(), apply_waits.wait()) == (0, 0)
    assert "via 10.100.0.5 dev eth0 weight 7" in run("ip", "route", "show", "table", "252")


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


# Configuration

@pytest.mark.parametrize("text, said", [
    (b"eth0 table-eth0 1000\n", "1: 3 fields: must be `interface routing-table table-id weight`"),  # 43
    (b"#\neth0 table-eth0 1000 0\n", "2: weight 0: must be 1 to 100000000"),  # 44
    (b"eth0 a 1000 1\neth0 b 1001 1\n",
     "2: interface eth0 is already on line 1: each interface must have one line"),  # 45
    (b"eth0 a 253 1\n", "1: table id 253 is the kernel's table default: must be 1 to 252, or 256 to 4294967295"),
    (b"eth0 a 4294967296 1\n", "1: table id 4294967296: must be 1 to 252, or 256 to 4294967295"),  # 46
    (b"eth0 a 1000 1 fast=1\n", "1: unknown option fast=1: must be gateway=ADDRESS, tier=TIER, check=TARGET,…, "
                                "interval=SECONDS, down=SECONDS, up=SECONDS"),  # 47
    (b"eth0 a 1000 1\r\n", "1: the line ends with a carriage return: save the file with Unix line ends"),  # 47
    (b"eth0 a 1000 1\n\0\n", "2: the line has control characters: must be printable characters and tabs"),  # 47
], ids=["fields", "weight", "twice", "kernel's table", "number", "option", "CRLF", "NUL"])
@boxed
def test_a_mistake_in_the_configuration_changes_nothing(text: bytes, said: str) -> None:
    before = two_links()
    log = Syslog()
    CONFIG.write_bytes(text)
    event("STOP", "eth0")
    assert log.lines() == [f"/etc/dhcp-lb:{said}",
                           "nothing is changed until this is corrected; then run `dhcp-lb apply`"]
    done = subprocess.run([PROGRAM, "apply"], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (2, f"dhcp-lb: /etc/dhcp-lb:{said}\n")
    assert kernel() == before


@boxed
def test_a_table_that_is_named_elsewhere_changes_nothing_and_both_places_are_named() -> None:  # 46, 63
    add_links(2)
    log = Syslog()
    Path("/etc/iproute2/rt_tables.d").mkdir(parents=True, exist_ok=True)
    Path("/etc/iproute2/rt_tables.d/vpn.conf").write_text("1000 vpn")
    set_address("eth0", given(0))
    before = kernel()
    event("BOUND", "eth0", given(0))
    said = ("/etc/dhcp-lb:1: table id 1000 (table-eth0) is named vpn in /etc/iproute2/rt_tables.d/vpn.conf:1: "
            "choose another")
    assert log.lines()[0] == said
    assert kernel() == before
    done = subprocess.run([PROGRAM, "check"], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (2, f"dhcp-lb: {said}\n")


@pytest.mark.parametrize("text", [None, b"", b"# nothing\n"])
@boxed
def test_an_empty_or_absent_configuration_is_inert(text: bytes | None) -> None:  # 48
    add_links(1)
    CONFIG.unlink()
    if text is not None:
        CONFIG.write_bytes(text)
    log = Syslog()
    set_address("eth0", given(0))
    before = kernel()
    event("BOUND", "eth0", given(0))
    for arguments in ["apply"], ["flush"], ["status"], ["plan"], ["check"]:
        verb(*arguments)
    assert (kernel(), log.lines()) == (before, [])


@boxed
def test_a_directory_in_the_place_of_the_configuration_changes_nothing() -> None:  # 47, 49
    before = two_links()
    CONFIG.unlink()
    CONFIG.mkdir()
    event("STOP", "eth0")
    done = subprocess.run([PROGRAM, "apply"], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (
        2, "dhcp-lb: /etc/dhcp-lb: Is a directory: must be a file that root can read\n")
    assert kernel() == before


@boxed
def test_a_link_that_is_taken_out_of_the_file_goes_at_the_next_run() -> None:  # 50
    before = two_links()
    box.configure(["eth1"])
    event("RENEW", "eth1", given(1))
    after = kernel()
    assert len(after.ours) == 9 and after.foreign == before.foreign
    assert not any("10.100.0." in line for line in after.ours)
    assert run("ip", "route", "show", "table", "table-eth1").startswith("default via 10.100.1.1 dev eth1")


# Kernel and foreign state

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
    out = kernel()
    assert len(out.ours) == 9 and not any("10.100.0." in line for line in out.ours)
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


# Files

@boxed
def test_on_a_full_run_the_routing_is_applied_and_the_old_state_kept() -> None:  # 59
    before = two_links()
    kept = {path.name: path.read_bytes() for path in (STORE / "leases").iterdir()}
    log = Syslog()
    run("cp", "-a", str(STORE), "/run/copy")
    run("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "small", str(STORE))
    run("cp", "-a", "/run/copy/.", str(STORE))
    filler = os.open(STORE / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(filler, bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    assert hook().returncode == 0
    assert_renewed(before)
    assert {path.name: path.read_bytes() for path in (STORE / "leases").iterdir()} == kept
    assert any(line.endswith("the lease of eth0 is used, but not saved") for line in log.lines())
    os.unlink(STORE / "filler")
    os.close(filler)
    event("RENEW", "eth1", given(1))  # what is kept is the old lease; the renewal of the new one brings it back
    event("RENEW", "eth0", given(0, gateway=2))
    assert_renewed(before)


@boxed
def test_a_store_that_is_gone_is_made_again_and_takes_no_link_out() -> None:  # 60
    before = two_links()
    log = Syslog()
    for what in "", "/leases", "/waiting", "/lock":
        run("rm", "-rf", f"{STORE}{what}")
        event("RENEW", "eth1", given(1))
        assert (kernel(), log.lines()) == (before, [])


@pytest.mark.parametrize("content", [b"", b"1 10.100", b"\0\xff" * 99, b"9 10.100.0.10 24 10.100.0.1 - 0 0 \n"],
                         ids=["empty", "cut off", "garbage", "newer"])
@boxed
def test_a_state_that_makes_no_sense_is_told_once_and_rebuilt(content: bytes) -> None:  # 61
    before = two_links()
    log = Syslog()
    for name in "leases/eth0", "held", "settled", "sysctl":
        (STORE / name).write_bytes(content)
    event("RENEW", "eth1", given(1))
    assert kernel() == before
    lines = log.lines()
    assert "/run/dhcp-lb/leases/eth0 is corrupt and is removed" in lines
    assert all(line.endswith("is corrupt and is removed") for line in lines)
    event("RENEW", "eth1", given(1))
    assert (kernel(), log.lines()) == (before, [])


@boxed
def test_a_read_only_etc_leaves_numbers() -> None:  # 62
    add_links(1)
    log = Syslog()
    run("mount", "-o", "remount,bind,ro", "/etc")
    set_address("eth0", given(0))
    event("BOUND", "eth0", given(0))
    assert len(kernel().ours) == 9
    told = [line for line in log.lines() if not line.startswith(("ip -4 ", "sysctl -w"))]
    assert len(told) == 1 and told[0].endswith(": Read-only file system: ip(8) shows our tables by number")
    verb("apply")
    verb("flush")
    assert kernel().ours == ()


@boxed
def test_ip_knows_our_names() -> None:  # 63
    add_links(1)
    Path("/etc/iproute2").mkdir(exist_ok=True)
    tables = Path("/etc/iproute2/rt_tables")
    tables.write_bytes((tables.read_bytes() if tables.exists() else b"255 local\n254 main\n253 default\n")
                       + b"500 other\r\n600 last")
    before = tables.read_bytes()
    os.umask(0o077)
    set_address("eth0", given(0))
    event("BOUND", "eth0", given(0))
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
    shown = subprocess.run([*nobody, "ip", "route", "show", "table", "table-eth0"], env=ENVIRONMENT,
                           capture_output=True, text=True)
    assert "proto dhcp-lb" in shown.stdout and shown.stderr == ""
    assert tables.read_bytes() == before
    verb("flush")
    assert list(Path("/etc/iproute2").rglob("dhcp-lb*")) == []


@pytest.mark.parametrize("name", ["", "lock", "leases", "waiting", "leases/eth0", "held", "settled"])
@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo", "foreign"])
@boxed
def test_what_is_planted_in_the_store_is_not_followed_and_nothing_hangs(name: str, kind: str) -> None:  # 64
    before = two_links()
    path, elsewhere = STORE / name, Path("/run/elsewhere")
    run("rm", "-rf", str(path))
    directory = name in ("", "leases", "waiting")
    if kind == "symlink":
        elsewhere.mkdir() if directory else elsewhere.write_text("theirs")
        path.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    if kind == "foreign":
        if not directory:
            path.rmdir()
            path.write_text("")
        os.chown(path, 65534, 65534)
    log = Syslog()
    event("RENEW", "eth0", given(0, gateway=2), timeout_s=10)
    after = kernel()
    assert after == before and log.lines() or after != before
    if kind == "symlink":
        assert os.listdir(elsewhere) == [] if directory else elsewhere.read_text() == "theirs"
    event("RENEW", "eth1", given(1), timeout_s=10)
    run("rm", "-rf", str(path))
    event("RENEW", "eth0", given(0, gateway=2))
    assert_renewed(before)


# Process and time

def shorten_the_wait(seconds: float) -> None:
    """The deadlines of the installed program."""
    path = INSTALLED.joinpath("lock.py")
    path.write_text(path.read_text().replace("WAIT_S = 20.0", f"WAIT_S = {seconds}"))


@boxed
def test_a_lock_that_somebody_holds_is_waited_for_and_the_event_is_not_lost() -> None:  # 68
    before = two_links()
    shorten_the_wait(0.5)
    log = Syslog()
    with open(STORE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        assert hook().returncode == 0
        assert 0.4 < time.monotonic() - started < 5
        assert log.lines()[0].startswith("gave up: waiting for the lock took more than ")
        done = subprocess.run([PROGRAM, "apply"], capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 1 and "waiting for the lock took more than" in done.stderr
        assert kernel() == before
    event("RENEW", "eth1", given(1))
    assert_renewed(before)


@boxed
def test_the_deadlines_are_twenty_and_thirty_seconds() -> None:  # 65, 68
    assert "\nWAIT_S = 20.0\nRUN_S = 30.0\n" in INSTALLED.joinpath("lock.py").read_text()


@boxed
def test_fifty_events_at_once_give_the_serial_result() -> None:  # 70
    before = two_links()
    for number in range(2):
        event("STOP", f"eth{number}")
    runs = [box.start_event("BOUND", f"eth{place % 2}", given(place % 2)) for place in range(50)]
    assert [run_.wait() for run_ in runs] == [0] * 50
    assert kernel() == before
    assert os.listdir(STORE / "waiting") == []


@boxed
def test_nothing_of_ours_outlives_an_event() -> None:  # 71
    two_links()
    ours = {name for name in os.listdir("/proc") if name.isdecimal()}
    hook()
    verb("apply")
    assert {name for name in os.listdir("/proc") if name.isdecimal()} <= ours
    with open(STORE / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@boxed
def test_neither_a_set_clock_nor_a_reboot_makes_a_lease_of_what_is_none() -> None:  # 73, 75
    before = two_links()
    boottime = 400 * 86400
    later = subprocess.run(["unshare", "--time", f"--boottime={boottime}", "--monotonic=0", PROGRAM],
                           env=environment("RENEW", "eth0", given(0)), capture_output=True)
    if later.returncode:
        pytest.skip("this kernel has no time namespaces")
    begin_s = int((STORE / "leases/eth0").read_text().split()[5])
    assert begin_s > boottime
    event("RENEW", "eth1", given(1))  # eth0's lease began after now, so it is from before the last boot
    assert kernel() == before  # the address and our routes are still there, so the lease is read off them
    run("ip", "route", "flush", "table", "1000")
    run("ip", "route", "flush", "table", "252")
    event("RENEW", "eth1", given(1))
    assert not any("eth0" in line for line in kernel().ours)
    event("RENEW", "eth0", given(0))
    assert kernel() == before


# The command line

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
    (["explain", "1.2.3.4", "--dev", "no0"], 2), (["drain", "lan0"], 2),
    (["check", "/nowhere"], 1), (["--version"], 0), (["--help"], 0),
])
@boxed
def test_exit_statuses(arguments: list[str], status: int) -> None:
    two_links()
    done = subprocess.run([PROGRAM, *arguments], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
