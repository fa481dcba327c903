"""Faults of doc/faults.md: Files. Each test has the number of its line."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from tests.beds.box import (ENVIRONMENT, STORE, Syslog, add_links, assert_renewed, boxed, event, given, hook, kernel,
                            run, set_address, two_links, verb)


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
    assert len(kernel().ours) == 11
    told = [line for line in log.lines() if not line.startswith(("ip -4 ", "ip link", "sysctl -w"))]
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
def test_what_is_planted_in_the_store_is_not_followed(name: str, kind: str) -> None:  # 64
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
