"""Faults of doc/faults.md: Configuration. Each test has the number of its line."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.beds import box
from tests.beds.box import (CONFIG, ENVIRONMENT, PROGRAM, Syslog, add_links, boxed, event, given, kernel, run,
                            set_address, two_links, verb)


@pytest.mark.parametrize("text, said", [
    (b"eth0 table-eth0 1000\n", "1: 3 fields: must be `interface routing-table table-id weight`"),  # 43
    (b"#\neth0 table-eth0 1000 0\n", "2: weight 0: must be 1 to 100000000"),  # 44
    (b"eth0 a 1000 1\neth0 b 1001 1\n",
     "2: interface eth0 is already on line 1: each interface must have one line"),  # 45
    (b"eth0 a 253 1\n", "1: table id 253 is the kernel's table default: must be 1 to 252, or 256 to 4294967295"),
    (b"eth0 a 4294967296 1\n", "1: table id 4294967296: must be 1 to 252, or 256 to 4294967295"),  # 46
    (b"eth0 a 1000 1 fast=1\n", "1: unknown option fast=1: must be gateway=ADDRESS, tier=TIER, dns=yes|no, "
                                "prefix6=PREFIX, ipv6=yes|no, "
                                "check=TARGET,…, interval=SECONDS, down=SECONDS, up=SECONDS"),  # 47
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
def test_a_pipe_in_the_place_of_the_configuration_changes_nothing() -> None:
    before = two_links()
    CONFIG.unlink()
    os.mkfifo(CONFIG)
    event("STOP", "eth0")
    done = subprocess.run([PROGRAM, "apply"], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (
        2, "dhcp-lb: /etc/dhcp-lb: Is a pipe: must be a file that root can read\n")
    assert kernel() == before


@boxed
def test_a_link_that_is_taken_out_of_the_file_goes_at_the_next_run() -> None:  # 50
    before = two_links()
    box.configure(["eth1"])
    event("RENEW", "eth1", given(1))
    after = kernel()
    assert len(after.ours) == 11 and after.foreign == before.foreign
    assert not any("10.100.0." in line for line in after.ours)
    assert run("ip", "route", "show", "table", "table-eth1").startswith("default via 10.100.1.1 dev eth1")
