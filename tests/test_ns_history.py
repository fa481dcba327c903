"""`dhcp-lb history`, with systemd's own journal."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dhcp_lb.monitor.notices import MESSAGE_IDS
from tests.beds import box
from tests.test_ns_monitor import FAST, bed, until

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
DEAD = "dead: no answer from the provider's name servers"

pytestmark = pytest.mark.skipif(not JOURNALD.exists(), reason="needs systemd, for its journal")


@contextmanager
def journal() -> Iterator[None]:
    """systemd's journal, of this box alone."""
    Path("/etc/machine-id").write_text("0" * 31 + "1\n")
    Path("/run/systemd/journal").mkdir(parents=True)
    with subprocess.Popen([JOURNALD], stderr=subprocess.DEVNULL) as process:
        try:
            until("the journal is there", Path("/run/systemd/journal/socket").exists)
            yield
        finally:
            process.kill()


def entries(*matches: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in box.run("journalctl", "-q", "-o", "json", *matches).splitlines()]


def history(*arguments: str) -> list[str]:
    """Its lines, with T in the place of each time."""
    text = re.sub(DATE, "T", box.verb("history", *arguments))
    return [re.sub(r"  +", "  ", re.sub(r"\d+ s\b", "N s", line)) for line in text.splitlines()]


@box.boxed
def test_an_outage_is_in_the_journal_and_told_as_one() -> None:
    with journal(), bed("", "interval=0.25 down=1 up=0") as machine:
        until("the journal knows of the beginning", lambda: entries("DHCP_LB_EVENT=begin"))
        assert history() == ["No outage.", "", "The journal goes back to T."]
        machine.isps[1].die()
        machine.becomes("eth0")
        until("it is told", lambda: entries("DHCP_LB_EVENT=link-down"))
        [entry] = entries("DHCP_LB_EVENT=link-down")
        assert (entry["MESSAGE"], entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"], entry["_UID"]) == (
            "eth1: dead, was up", "dhcp-lb", "5", "0")
        assert (entry["DHCP_LB_LINK"], entry["DHCP_LB_STATE"], entry["DHCP_LB_OLD_STATE"]) == ("eth1", "dead", "up")
        assert entry["DHCP_LB_EVENT_ID"] and entry["DHCP_LB_TIME"]
        assert [one["MESSAGE"] for one in entries("DHCP_LB_LINK=eth1")][0] == (
            "eth1 is dead: no answer from the provider's name servers")
        table = ["LINK  FROM  TO  LASTED  WHY", f"eth1  T  now  N s  {DEAD}", "", "The journal goes back to T."]
        assert history() == history("eth1") == table
        assert history("eth0") == ["No outage.", *table[2:]]
        machine.end()
        machine.isps[1].revive()
        machine.start()
        until("its end is told", lambda: "now" not in " ".join(history()))
        assert history() == [table[0], f"eth1  T  T  N s  {DEAD}", *table[2:]]


@box.boxed
def test_what_somebody_else_than_root_writes_there_is_no_outage() -> None:
    with journal(), bed(FAST, FAST):
        until("the journal knows of the beginning", lambda: entries("DHCP_LB_EVENT=begin"))
        kind = entries("DHCP_LB_EVENT=begin")[0]["MESSAGE_ID"]
        forged = (f"MESSAGE=x\nMESSAGE_ID={kind}\nDHCP_LB_EVENT=link-down\nDHCP_LB_LINK=eth0\n"
                  "DHCP_LB_STATE=dead\n")
        for user, lines in ("65534", "No outage."), ("0", "LINK  FROM  TO  LASTED  WHY"):
            box.run("setpriv", f"--reuid={user}", "--clear-groups", "/usr/bin/python3", "-c",
                    "import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto("
                    "sys.argv[1].encode(), '/run/systemd/journal/socket')", forged)
            until("it is there", lambda: entries("MESSAGE=x", f"_UID={user}"))
            assert history()[0] == lines


@box.boxed
def test_the_journal_explains_each_kind_of_entry() -> None:
    catalog = Path("/usr/lib/systemd/catalog/dhcp-lb.catalog")
    catalog.parent.mkdir(exist_ok=True)
    catalog.write_text((box.CHECKOUT / "etc/systemd/catalog/dhcp-lb.catalog").read_text())
    box.run("journalctl", "--update-catalog")
    listed = box.run("journalctl", "--list-catalog", *MESSAGE_IDS.values())
    assert listed.count(" dhcp-lb: ") == len(MESSAGE_IDS) == len(re.findall("^-- ", catalog.read_text(), re.M))
    with journal(), bed(FAST, FAST):
        until("the journal knows of the beginning", lambda: entries("DHCP_LB_EVENT=begin"))
        box.verb("disable", "eth1")
        until("it is told", lambda: entries("DHCP_LB_EVENT=link-down"))
        told = box.run("journalctl", "-x", "DHCP_LB_LINK=eth1", "DHCP_LB_EVENT=link-down")
        assert "Subject: The link eth1 does not work" in told and "was up and is disabled." in told
        assert "eth0 up" in box.run("journalctl", "-x", "DHCP_LB_EVENT=begin")


def fails(*arguments: str) -> str:
    done = subprocess.run([box.PROGRAM, "history", *arguments], env=box.ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout == ""
    return f"{done.returncode} {done.stderr}"


@box.boxed
def test_without_a_journal_it_says_what_to_do() -> None:
    Path("/etc/machine-id").write_text("0" * 31 + "1\n")
    assert fails() == ("1 dhcp-lb: the journal has no entry of the monitor's: the monitor must have run, and "
                       "you must be root or in the group adm to see its entries\n")
    Path("/usr/bin/journalctl").unlink()
    assert fails().startswith("1 dhcp-lb: there is no journalctl, so nothing keeps the past: ")


@box.boxed
def test_a_link_that_nobody_knows() -> None:
    with journal(), bed(FAST, FAST):
        until("the journal knows of the beginning", lambda: entries("DHCP_LB_EVENT=begin"))
        assert fails("eth7") == (
            "2 dhcp-lb: eth7 is not a link of /etc/dhcp-lb, and the journal knows no outage of it\n")
