"""The verbs, in situations that mislead."""

import fcntl
import json
import os
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.beds import box
from tests.beds.box import boxed, event, given, kernel, run, set_address, verb


def links_up(number: int = 2) -> None:
    for place, name in enumerate(box.add_links(number)):
        set_address(name, given(place))
        event("BOUND", name, given(place))


@boxed
def test_a_way_of_250_links_is_explained() -> None:
    """The kernel's answer has room for some 230 nexthops."""
    names = box.add_links(250)
    box.ip(*[f"address add {given(place).address}/24 dev {name}" for place, name in enumerate(names)])
    box.CONFIG.write_text("".join(f"eth{place} t{place} {1000 + place} 1 gateway={given(place).gateway}\n"
                                  for place in range(250)))
    verb("apply")
    said = verb("explain", "198.51.100.1")
    assert "  table  dhcp-lb (252), route default\n" in said
    assert said.count("  link   eth") == 250
    assert f"  link   eth249 via {given(249).gateway}, 0% of the connections\n" in said


@boxed
def test_what_a_machine_of_the_lan_has_no_way_for_is_told_by_its_cause() -> None:
    links_up()
    box.ip("link add lan0 type veth peer name host", "link set lan0 up", "link set host up",
           "address add 10.0.0.1/24 dev lan0")

    def said(*arguments: str) -> str:
        done = subprocess.run([box.PROGRAM, "explain", "198.51.100.1", *arguments], env=box.ENVIRONMENT,
                              capture_output=True, text=True)
        assert done.returncode == 1 and not done.stdout
        return done.stderr

    of_lan = ("--from", "10.0.0.7")
    assert "this machine does not forward a connection" in said(*of_lan)
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert "balanced" in verb("explain", "198.51.100.1", *of_lan)
    for kind in "blackhole", "unreachable", "prohibit":
        run("ip", "route", "add", kind, "198.51.100.0/24")
        for arguments in of_lan, ():
            assert f"a route of type {kind} says so" in said(*arguments)
        assert "198.51.100.0/24" in run("ip", "route", "show", "table", "all", "type", kind)
        run("ip", "route", "del", kind, "198.51.100.0/24")
    assert "must not be an address of this machine" in said("--from", "10.0.0.1", "--in", "eth0")


@boxed
def test_a_socket_bound_to_an_interface_without_a_route_is_explained() -> None:
    """It takes the destination for a neighbour there: net/ipv4/route.c, ip_route_output_key_hash_rcu."""
    links_up()
    box.ip("link add lan0 type veth peer name host", "link set lan0 up", "link set host up",
           "address add 10.0.0.1/24 dev lan0", "link add tun0 type veth peer name far", "link set tun0 up")
    verb("disable", "eth1")
    for name in "lan0", "tun0", "eth1":
        for destination in "198.51.100.1", "10.100.0.77":
            asked = run("ip", "-4", "route", "get", destination, "oif", name)
            assert f"{destination} dev {name} " in asked
            assert verb("explain", destination, "--dev", name) == (
                f"A connection to {destination} of a socket bound to {name}:\n"
                f"  link   {name}\n"
                f"         It goes by no route of a table: the kernel takes {destination} for a neighbour there.\n")
    assert "  link   eth0\n" in verb("explain", "224.0.0.9", "--from", given(0).address)
    assert "stays on this machine" in verb("explain", "0.0.0.0")


@boxed
def test_what_apply_would_take_up_is_seen_beforehand() -> None:
    names = box.add_links(2)
    for place, name in enumerate(names):
        set_address(name, given(place))
        box.ip(f"route add default via {given(place).gateway} dev {name} metric {10 + place}")
    said = json.loads(verb("status", "--json"))
    assert said["in_order"] is False and not box.STORE.exists()
    assert [(link["state"], link["address"], link["gateway"]) for link in said["links"]] == [
        ("up", given(place).address, given(place).gateway) for place in range(2)]
    assert "not as it should be" in verb("status")
    planned = verb("plan").splitlines()
    assert [line for line in planned if "sysctl" not in line] == said["commands"] != []
    groups = [f"ip link set dev {name} group 109" for name in names]
    assert [line for line in planned if "sysctl" not in line][:2] == groups
    assert "sysctl -w net/ipv4/conf/eth0/ignore_routes_with_linkdown=1" in planned[:planned.index(groups[0])]
    log = box.Syslog()
    verb("apply")
    assert [line for line in log.lines() if line in planned] == planned
    assert verb("plan") == "" and json.loads(verb("status", "--json"))["in_order"] is True
    box.ip("address flush dev eth1")  # what was taken up ends in the same way
    assert json.loads(verb("status", "--json"))["links"][1]["state"] == "unusable"


@boxed
def test_the_plan_for_another_file_is_what_apply_does_once_that_is_the_configuration() -> None:
    names = box.add_links(3)
    box.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for place, name in enumerate(names):
        set_address(name, given(place))
        box.ip(f"route add default via {given(place).gateway} dev {name} metric {10 + place}")
    verb("apply")
    before = kernel(), box.state()
    new = Path("/run/new")
    new.write_text("eth1 table-eth1 1001 7\neth2 table-eth2 1002 3\ngroup = 77\nbalance = pair\npin = no\n"
                   "in lan0 -> eth2\n")
    done = subprocess.run([box.PROGRAM, "plan", new], env=box.ENVIRONMENT, capture_output=True, text=True)
    assert done.stderr == "dhcp-lb: apply would have nft remove the table inet dhcp-lb\n"
    assert (kernel(), box.state()) == before and verb("plan") == ""
    planned = done.stdout.splitlines()
    assert "ip link set dev eth0 group 0" == planned[-1] and "ip link set dev eth1 group 77" in planned
    assert "sysctl -w net/ipv4/fib_multipath_hash_fields=3" in planned
    assert [line for line in planned if "pref 21000 from all iif lan0 lookup 1002" in line]
    box.CONFIG.write_text(new.read_text())
    log = box.Syslog()
    verb("apply")
    assert [line for line in log.lines() if line.partition(" ")[0] in ("ip", "sysctl")] == planned
    assert verb("plan") == ""
    box.CONFIG.write_text(new.read_text() + "enabled = no\n")
    off = verb("plan").splitlines()
    assert off[-2:] == [f"ip link set dev {name} group 0" for name in names[1:]]
    verb("apply")
    assert set(off) == {line for line in log.lines() if line.partition(" ")[0] in ("ip", "sysctl")}
    assert verb("plan") == ""


@boxed
def test_the_plan_has_the_pins_that_apply_would_make() -> None:
    links_up()
    box.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    done = subprocess.run([box.PROGRAM, "plan"], env=box.ENVIRONMENT, capture_output=True, text=True)
    assert done.stderr == "dhcp-lb: apply would have nft make the table inet dhcp-lb\n"
    assert len(re.findall(r"^ip -4 rule add pref 20000 .* lookup 100[01] protocol 109$", done.stdout, re.M)) == 2
    verb("apply")
    done = subprocess.run([box.PROGRAM, "plan"], env=box.ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@boxed
def test_the_plan_for_a_file_with_mistakes_names_them() -> None:
    links_up()
    Path("/run/new").write_text("eth0 t0 1000 0\n")
    done = subprocess.run([box.PROGRAM, "plan", "/run/new"], env=box.ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dhcp-lb: /run/new:1: weight 0: must be 1 to 100000000\n"


@boxed
def test_with_a_mistake_in_the_configuration_status_is_json_with_the_mistakes() -> None:
    links_up()
    good = box.CONFIG.read_text()
    for text, links in (good.replace("1001 2", "1001 0"), ["eth0"]), ("x\n", []):
        box.CONFIG.write_text(text)
        done = subprocess.run([box.PROGRAM, "status", "--json"], env=box.ENVIRONMENT, capture_output=True, text=True)
        said = json.loads(done.stdout)
        assert done.returncode == 2 and said["in_order"] is None and said["commands"] == []
        assert [(link["interface"], link["state"]) for link in said["links"]] == [(name, "up") for name in links]
        assert [f"dhcp-lb: {mistake}" for mistake in said["mistakes"]] == done.stderr.splitlines() != []
        done = subprocess.run([box.PROGRAM, "status"], env=box.ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 2 and "until the configuration is corrected" in done.stdout


@boxed
def test_a_warning_is_about_what_there_is_to_do() -> None:
    """Of links that nobody knows, a default is nobody's fault; nobody misses a monitor where nothing is to be done."""
    links_up()
    box.ip(f"route add default via {given(1).gateway} dev eth1 metric 9000")
    good = box.CONFIG.read_text()

    def warnings() -> list[str]:
        done = subprocess.run([box.PROGRAM, "status", "--json"], env=box.ENVIRONMENT, capture_output=True, text=True)
        return list(json.loads(done.stdout)["warnings"])

    assert [one[:10] for one in warnings()] == ["no monitor"]
    box.CONFIG.write_text(good.replace("eth1 table-eth1 1001 2", "eth1 table-eth1 1001 0"))
    assert [one[:10] for one in warnings()] == ["no monitor"]
    box.CONFIG.write_text(good + "enabled = no\n")
    assert warnings() == []
    box.CONFIG.write_text(good)
    verb("flush")
    [said] = warnings()
    assert said.startswith("`dhcp-lb flush` has removed the routing")
    verb("apply")
    assert [one[:10] for one in warnings()] == ["no monitor"]


@boxed
def test_a_hold_is_seen_after_the_lease_has_ended() -> None:
    links_up()
    verb("drain", "eth0")
    event("EXPIRE", "eth0")
    assert "no lease, draining" in verb("status")
    verb("enable", "eth0")
    assert "draining" not in verb("status")


@boxed
def test_on_a_terminal_of_80_columns_no_line_of_the_table_is_longer() -> None:
    links_up()
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run([box.PROGRAM, "status"], env={**box.ENVIRONMENT, "NO_COLOR": "1"}, stdout=theirs, check=True)
    os.close(theirs)
    table, _, _ = os.read(ours, 65536).decode().replace("\r", "").partition("\n\n")
    assert len(table.splitlines()) == 3 and max(map(len, table.splitlines())) <= 80
    assert table.startswith("LINK  STATE  SHARE")


@pytest.mark.parametrize("kind", ["pipe", "fifo"])
@boxed
def test_check_reads_a_pipe_whose_writer_takes_its_time(kind: str) -> None:
    path = "/run/pipe"
    if kind == "fifo":
        os.mkfifo(path)
        writer = subprocess.Popen(["sh", "-c", f"sleep 0.3; echo 'lo a 200 1' >{path}; exit 0"])
        said = verb("check", path)
        writer.wait()
    else:
        said = run("sh", "-c", f"{{ sleep 0.3; echo 'lo a 200 1'; sleep 0.3; }} | {box.PROGRAM} check /proc/self/fd/0")
    assert said.endswith(": 1 link\n")


@boxed
def test_check_says_which_interfaces_are_not_there() -> None:
    box.add_links(1)
    run("ip", "link", "property", "add", "dev", "eth0", "altname", "enp9s0")
    text = "#\neth0 a 200 1\nEth0 b 201 1\neth0,eth1 c 202 1\nenp9s0 d 203 1\nlo e 204 1\n"
    Path("/run/wanted").write_text(text)
    assert verb("check", "/run/wanted") == (
        "/run/wanted:3: there is no interface Eth0 on this machine now\n"
        "/run/wanted:4: there is no interface eth0,eth1 on this machine now\n"
        "/run/wanted:5: enp9s0 is another name of eth0: write eth0\n"
        "/run/wanted:6: lo leads to this machine alone\n"
        "/run/wanted: 5 links\n")


@boxed
def test_a_link_that_is_configured_by_another_name_of_its_interface_says_so() -> None:
    links_up()
    run("ip", "link", "property", "add", "dev", "eth0", "altname", "enp9s0")
    box.CONFIG.write_text(box.CONFIG.read_text().replace("eth0 ", "enp9s0 "))
    log = box.Syslog()
    event("BOUND", "enp9s0", given(0))
    why = "enp9s0 is another name of eth0: write eth0"
    assert f"enp9s0 is not used: {why}" in log.lines()
    assert f"enp9s0 no interface: {why}" in verb("status").splitlines()
    [link, _] = json.loads(verb("status", "--json"))["links"]
    assert (link["state"], link["reason"], link["address"]) == ("no interface", why, given(0).address)


@boxed
def test_an_event_by_another_name_of_a_link_s_interface_is_that_link_s() -> None:
    links_up()
    run("ip", "link", "property", "add", "dev", "eth0", "altname", "enp9s0")
    before = kernel()
    event("EXPIRE", "enp9s0")
    assert kernel() != before
    event("BOUND", "enp9s0", given(0))
    assert kernel() == before
    for name in "enp9s1", "../eth0", "x" * 300, "lo":
        event("EXPIRE", name)
    assert kernel() == before


@boxed
def test_control_characters_in_a_foreign_interface_s_name_are_escaped() -> None:
    links_up()
    name = "t\x1b[31m\udc9b"
    box.ip("link add wg0 type veth peer name peer-wg0", "link set peer-wg0 up")
    run("ip", "link", "set", "wg0", "name", name)
    run("ip", "link", "set", name, "up")
    run("ip", "address", "add", "10.9.0.1/24", "dev", name)
    run("ip", "rule", "add", "pref", "100", "oif", name, "lookup", "main")
    for arguments in ["10.9.0.7"], ["10.9.0.7", f"--dev={name}"], ["10.9.0.7", f"--dev={name}x"]:
        done = subprocess.run([box.PROGRAM, "explain", *arguments], env=box.ENVIRONMENT, capture_output=True)
        said = done.stdout + done.stderr
        assert b"\x1b" not in said and b"\x9b" not in said
        assert b"t\\x1b[31m\\x9b" in said


@pytest.mark.parametrize("arguments", [["status"], ["status", "--watch"], ["apply"]])
@boxed
def test_no_terminal_obeys_the_name_of_a_foreign_interface(arguments: list[str]) -> None:
    """It is in a warning, and `apply` says on a terminal what it logs."""
    links_up()
    name = "t\x1b[31m"
    box.ip("link add tun0 type veth peer name far", "link set tun0 arp off", "link set far up")
    run("ip", "link", "set", "tun0", "name", name)
    run("ip", "link", "set", name, "up")
    run("ip", "route", "add", "default", "dev", name, "metric", "9000")
    ours, theirs = os.openpty()
    done = subprocess.Popen([box.PROGRAM, *arguments], env={**box.ENVIRONMENT, "NO_COLOR": "1"}, stdout=theirs,
                            stderr=theirs)
    said = b""
    while b"is not used" not in said:
        said += os.read(ours, 65536)
    done.kill()
    done.wait()
    assert b"main's default by t\\x1b[31m with metric 9000" in said and name.encode() not in said
