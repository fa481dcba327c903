"""The nft table and the kernel's connections, in networks of the test's own."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from dhcp_lb.marks import marks
from dhcp_lb.model import Link
from dhcp_lb.nfnetlink import table_there
from dhcp_lb.pinning import conntrack
from dhcp_lb.pinning.nft import ENVIRONMENT, load
from dhcp_lb.pinning.table import REMOVE, text
from tests.beds.held import Held
from tests.beds.lab import root, wait_for
from tests.beds.netns import LAN, SERVER, batch, network, nft, router, run

MASK = 0xff000000
LINKS = (Link("eth0", "table-eth0", 200, 1), Link("eth1", "table-eth1", 201, 2))
MARKS = marks(LINKS, MASK)
ETH0, ETH1 = MARKS["eth0"], MARKS["eth1"]
TABLE = text(MARKS, MASK)
CONF = "/proc/sys/net/ipv4/conf"
ODD = ("*", "a*", "a*b", "a\\", "a\\b", "$(id)", "é€", "\udcff\udcfe", "--help", "-f", "a'b", "#;{}", "goto", "accept")


def test_the_table_comes_and_goes_in_one_transaction() -> None:
    with network():
        assert not table_there()
        for _ in range(2):
            load(TABLE)
            assert table_there()
        for _ in range(2):
            load(REMOVE)
            assert not table_there()


@pytest.mark.parametrize("mask", [0xff000000, 0xffffffff, 0x80000000, 0x00000f00, 0x1])
def test_the_kernel_takes_any_mask(mask: int) -> None:
    with network():
        load(text(marks(LINKS[:1], mask), mask))
        assert table_there()


def test_a_text_that_nft_does_not_take_changes_nothing_and_its_words_are_told() -> None:
    with network():
        load(TABLE)
        with pytest.raises(OSError, match="does_not_exist") as error:
            load(REMOVE + "add rule inet does_not_exist c accept\n")
        assert error.value.filename == "nft -f -"
        assert table_there()


def test_250_links() -> None:
    with network():
        links = tuple([Link(f"eth{number}", f"t{number}", 1000 + number, 1) for number in range(250)])
        load(text(marks(links, MASK), MASK))
        assert table_there()


def prefixed(links: tuple[Link, ...]) -> tuple[Link, ...]:
    """With prefixes of IPv6, of several lengths."""
    return tuple([link._replace(prefixes6=(f"2001:db8:{number:x}::/{48 + number % 17}",))
                  for number, link in enumerate(links)])


def test_the_sources_of_250_links_are_translated() -> None:
    with network():
        links = prefixed(tuple([Link(f"eth{number}", f"t{number}", 1000 + number, 1) for number in range(250)]))
        written = text(marks(links, MASK), MASK, links)
        assert len(written) < 250 * 1500
        begin = time.monotonic()
        load(written)
        assert table_there() and time.monotonic() - begin < 2


def test_another_table_of_that_name_is_not_ours() -> None:
    with network():
        nft("table ip dhcp-lb { }")
        assert not table_there()


def test_a_name_with_odd_bytes_is_that_interface_and_no_other() -> None:
    for name in ODD:
        with router(1) as (lan, internet):
            rename("eth0", name)
            load(text(marks((Link(name, "t", 200, 1), Link("xyz", "u", 201, 1)), MASK), MASK))
            batch("rule add pref 30000 lookup 200")
            subprocess.run(["ip", "route", "replace", "default", "via", "192.0.2.1", "dev", name, "table", "200"],
                           check=True)
            with held(lan, internet, 1):
                assert conntrack.count(0xc8000000, MASK).tcp == 1, name


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_each_debians_nft_reads_the_text(suite: str) -> None:
    roots = [path for path in root.CACHE.glob(f"{suite}-*") if (path / "usr/sbin/nft").exists()]
    if not roots:
        pytest.skip(f"there is no root of {suite} with nft in {root.CACHE}")
    links = tuple([Link(name, f"t{number}", 200 + number, 1) for number, name in enumerate(ODD)])
    with network():
        for written in TABLE, text(marks(links, MASK), MASK), text(marks(links, MASK), MASK, prefixed(links)):
            subprocess.run(["chroot", roots[0], "nft", "-f", "-"], input=written.encode("utf-8", "surrogateescape"),
                           env=ENVIRONMENT, check=True)
            assert table_there()


def test_connections_are_counted_by_what_they_can_still_carry() -> None:
    with router(1) as (lan, internet):
        load(TABLE)
        batch("rule add pref 32765 lookup 200")
        with held(lan, internet, 5) as connections:
            assert conntrack.count(ETH0, MASK) == (5, 0, 0)
            assert conntrack.count(ETH1, MASK) == (0, 0, 0)
            here, there = connections.pairs.pop()
            here.shutdown(socket.SHUT_WR)
            assert conntrack.count(ETH0, MASK) == (5, 0, 0)  # the other side may still send
            there.close()
            assert there.fileno() == -1 and here.recv(1) == b""
            assert conntrack.count(ETH0, MASK) == (4, 0, 0)
            here.close()
            with lan, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
                for port in 7, 8, 9:
                    speaker.sendto(b"?", (SERVER, port))
            with lan, socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as pinger:
                pinger.sendto(bytes.fromhex("0800 f7ff 0000 0000"), (SERVER, 0))  # an echo request
            assert conntrack.count(ETH0, MASK) == (4, 3, 1)
            assert conntrack.count(0, MASK) == (0, 0, 0)


def test_a_release_ends_the_connections_of_one_link_and_nobody_elses() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        balance("eth0", "eth1")
        with held(lan, internet, 60) as connections:
            by_eth0, by_eth1 = conntrack.count(ETH0, MASK).tcp, conntrack.count(ETH1, MASK).tcp
            assert by_eth0 and by_eth1 and by_eth0 + by_eth1 == 60
            assert (connections.by("192.0.2.2"), connections.by("192.0.3.2")) == (by_eth0, by_eth1)
            balance("eth1")
            conntrack.release(ETH0, MASK)
            assert conntrack.count(ETH0, MASK).tcp == 0
            assert connections.alive() == by_eth1
            conntrack.release(ETH0, MASK)


def test_a_release_among_100000_connections_takes_less_than_300_ms() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        if int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text()) < 110000:  # of all networks together
            pytest.skip("this kernel has no room for 100,000 connections")
        balance("eth0", "eth1")
        Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout").write_text("600")
        for _ in range(2):
            with lan, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
                for port in range(1, 50001):
                    speaker.sendto(b"?", (SERVER, port))
        begin = time.thread_time()
        conntrack.release(ETH1, MASK)
        took = time.thread_time() - begin
        assert conntrack.count(ETH0, MASK).udp > 25000 and conntrack.count(ETH1, MASK).udp == 0
        assert took < 0.3  # conntrack(8): 1.5 s


def test_a_release_leaves_what_has_other_bits_alone() -> None:
    with router(1) as (lan, internet):
        batch("rule add pref 32765 lookup 200")
        nft("table ip other { chain c { type filter hook forward priority 0\nct mark set 0xc9000010\n}\n}")
        with held(lan, internet, 5):
            conntrack.release(0xc8000000, MASK)
            assert conntrack.count(0xc9000010, 0xffffffff).tcp == 5
            conntrack.release(0xc9000000, MASK)
            assert conntrack.count(0xc9000010, 0xffffffff).tcp == 0


def test_a_table_that_comes_late_is_told_of_the_connections_that_are_there() -> None:
    with router(2) as (lan, internet):
        nft("table ip other { chain c { type filter hook forward priority 0\nct mark set 0x10\n}\n}")
        nft(FORWARD)
        balance("eth0", "eth1")
        with held(lan, internet, 200) as outward, held(internet, lan, 10, "192.0.3.2", 8080) as inward:
            load(TABLE)
            addresses = {"192.0.2.2/32": ETH0, "192.0.3.2/32": ETH1}
            assert conntrack.seed(addresses, MASK) == 210
            assert conntrack.seed(addresses, MASK) == 0
            assert conntrack.count(ETH0 | 0x10, 0xffffffff).tcp == outward.by("192.0.2.2")
            assert conntrack.count(ETH1 | 0x10, 0xffffffff).tcp == outward.by("192.0.3.2") + 10
            pin("eth0", "eth1")
            balance("eth0")
            assert (outward.alive(), inward.alive()) == (200, 10)


Place = AbstractContextManager[None]
HERE = nullcontext()
FORWARD_UDP = ("table ip forward { chain c { type nat hook prerouting priority dstnat\n"
               f"iifname eth* udp dport 8080 dnat to {LAN}\n}}\n}}")
FORWARD = "table ip forward { chain c { type nat hook prerouting priority dstnat\n" \
    f"iifname eth* tcp dport 8080 dnat to {LAN}:80\niifname eth* tcp dport 8081 dnat to 10.0.0.1:80\n}}\n}}"


def balance(*names: str) -> None:
    """New connections by these links alone, as one write does it."""
    hops = " ".join([f"nexthop via 192.0.{2 + int(name[3:])}.1 dev {name} weight {1 + int(name[3:])}"
                     for name in names])
    batch(f"route replace default table 252 {hops}")
    if "lookup 252" not in run("ip rule"):
        batch("rule add pref 32765 lookup 252")


def pin(*names: str) -> None:
    """The pins of these links are in force."""
    batch(*[f"rule add pref 20000 fwmark {MARKS[name]:#x}/{MASK:#x} lookup {200 + int(name[3:])}" for name in names])


@pytest.mark.parametrize("pinned", [False, True], ids=["balanced", "pinned"])
def test_a_link_that_comes_and_one_that_is_drained_break_no_pinned_connection(pinned: bool) -> None:
    with router(2) as (lan, internet):
        if pinned:
            load(TABLE)
            pin("eth0", "eth1")
        balance("eth0")
        with held(lan, internet, 200) as old:
            balance("eth0", "eth1")
            assert (old.alive() == 200) == pinned  # without pins two thirds are told that they are not known
            with held(lan, internet, 100) as new:
                assert 0 < new.by("192.0.2.2") < 100
                balance("eth0")
                assert (new.alive() == 100) == pinned
                with held(lan, internet, 100) as newer:
                    assert newer.by("192.0.2.2") == 100


def test_a_link_that_comes_breaks_none_of_200_connections_ten_times() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        for _ in range(10):
            balance("eth0")
            with held(lan, internet, 200) as connections:
                balance("eth0", "eth1")
                assert connections.alive() == 200


def test_tcp_waits_for_a_cable_that_is_out_and_what_is_new_takes_another_link() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        batch(f"rule add pref 20001 fwmark {ETH1:#x}/{MASK:#x} ipproto 6 blackhole")
        Path(CONF, "eth1", "ignore_routes_with_linkdown").write_text("1")
        balance("eth0", "eth1")
        with held(lan, internet, 100) as connections:
            by_eth0 = connections.by("192.0.2.2")
            with internet:
                batch("link set eth1 down")
            wait_for("the kernel to see it", lambda: "linkdown" in run("ip route show table 201"))
            with held(lan, internet, 50) as new:
                assert new.by("192.0.2.2") == 50
            assert connections.alive() == by_eth0 < 100  # all send
            with internet:
                batch("link set eth1 up")
            wait_for("all to be alive", lambda: connections.alive() == 100)


def test_nftables_conf_with_the_text_in_it_20_times_under_connections_breaks_none() -> None:
    with router(2) as (lan, internet):
        nat = run("nft list ruleset")
        load(TABLE)
        pin("eth0", "eth1")
        balance("eth0")
        with held(lan, internet, 200) as connections:
            balance("eth0", "eth1")
            for _ in range(20):
                nft(f"flush ruleset\n{nat}\n{TABLE}")
                assert connections.alive() == 200


FLOWTABLE = """table inet fast {
    flowtable f { hook ingress priority 0
        devices = { lan0, eth0, eth1 }
    }
    chain forward { type filter hook forward priority 0
        meta l4proto { tcp, udp } flow add @f
    }
}
"""


def flowtable() -> None:
    """Connections that carry something from now on bypass the rules, and so our chains, in both directions."""
    if subprocess.run(["nft", "-f", "-"], input=FLOWTABLE.encode(), stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this kernel has no flowtables")


def offloaded() -> int:
    return Path("/proc/thread-self/net/nf_conntrack").read_text().count("[OFFLOAD]")


def test_connections_in_a_flowtable_stay_on_their_link_while_others_come_and_are_drained() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        flowtable()
        balance("eth0")
        with held(lan, internet, 200) as old:
            assert old.alive() == 200 and offloaded() == 200
            balance("eth0", "eth1")
            assert old.alive() == 200
            with held(lan, internet, 100) as new:
                assert new.alive() == 100 and offloaded() == 300
                assert 0 < new.by("192.0.2.2") < 100
                balance("eth0")
                assert (old.alive(), new.alive(), offloaded()) == (200, 100, 300)


def test_connections_in_a_flowtable_are_released_with_their_link_and_nobody_elses() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        flowtable()
        balance("eth0", "eth1")
        with held(lan, internet, 200) as connections:
            assert connections.alive() == 200 and offloaded() == 200
            by_eth0 = connections.by("192.0.2.2")
            with internet:
                nft("table ip dead { chain c { type filter hook prerouting priority -400\niifname eth1 drop\n}\n}")
            balance("eth0")
            batch(f"rule del pref 20000 fwmark {ETH1:#x}/{MASK:#x} lookup 201")
            conntrack.release(ETH1, MASK)
            assert connections.alive() == by_eth0
            by_eth1 = [here for here, there in connections.pairs if there.getpeername()[0] == "192.0.3.2"]
            assert sum(map(is_told, by_eth1)) == 200 - by_eth0


def is_told(connection: socket.socket) -> bool:
    """Whether it is reset within a second."""
    connection.settimeout(1)
    try:
        connection.recv(1)
    except OSError as error:
        return isinstance(error, ConnectionResetError)
    return False


def test_a_port_forward_is_answered_by_the_link_that_was_asked() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        balance("eth0", "eth1")
        nft(FORWARD)
        machines: list[tuple[Place, int]] = [(lan, 8080), (HERE, 8081)]
        for machine, port in machines:
            for link in "192.0.2.2", "192.0.3.2":
                with held(internet, machine, 100, link, port) as connections:
                    assert connections.alive() == 100


def asking(number: int, timeout_s: float) -> socket.socket:
    """A question by UDP from the Internet's machine to the forwarded port, by one link and the other in turn."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(timeout_s)
    asker.bind((SERVER, 0))
    asker.connect((f"192.0.{2 + number % 2}.2", 8080))
    asker.send(b"?")
    return asker


def test_an_answer_of_udp_from_the_lan_leaves_by_the_link_that_was_asked() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        balance("eth0", "eth1")
        nft(FORWARD_UDP)
        with lan:
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server:
            server.bind((LAN, 8080))
            for number in range(200):
                with internet, asking(number, 2) as asker:
                    server.sendto(*server.recvfrom(1))
                    assert asker.recv(1) == b"?"


def both(came: str, table: str) -> None:
    """Our table, and somebody else's, which came before us or after us."""
    for text_ in (table, TABLE) if came == "before us" else (TABLE, table):
        nft(text_)


@pytest.mark.parametrize("came", ["before us", "after us"])
def test_a_script_that_saves_and_restores_whole_marks_breaks_nothing(came: str) -> None:
    with router(2) as (lan, internet):
        both(came, """table ip script {
            chain restore { type filter hook prerouting priority mangle
                meta mark set ct mark
            }
            chain save { type filter hook postrouting priority mangle
                meta mark set 0x10
                ct mark set meta mark
            }
        }""")
        pin("eth0", "eth1")
        balance("eth0")
        with held(lan, internet, 100) as connections:
            balance("eth0", "eth1")
            assert connections.alive() == connections.alive() == 100


@pytest.mark.parametrize("came", ["before us", "after us"])
def test_qos_by_whole_marks_sees_its_own_mark(came: str) -> None:
    with router(2) as (lan, internet):
        both(came, """table ip qos {
            counter own { }
            counter foreign { }
            chain first { type filter hook prerouting priority mangle
                iifname lan0 meta mark set 0x10
            }
            chain last { type filter hook postrouting priority mangle + 10
                iifname lan0 meta mark 0x10 counter name own
                iifname lan0 meta mark != 0x10 counter name foreign
            }
        }""")
        pin("eth0", "eth1")
        balance("eth0", "eth1")
        with held(lan, internet, 20) as connections:
            assert connections.alive() == 20
        assert "packets 0 " in run("nft list counter ip qos foreign")
        assert "packets 0 " not in run("nft list counter ip qos own")


@pytest.mark.parametrize("src_valid_mark", [0, 1])
@pytest.mark.parametrize("rp_filter", [0, 1, 2])
def test_no_setting_of_the_reverse_path_filter_is_in_the_way(src_valid_mark: int, rp_filter: int) -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        nft(FORWARD)
        for name in "eth0", "eth1", "lan0":
            Path(CONF, name, "rp_filter").write_text(str(rp_filter))
        Path(CONF, "all", "src_valid_mark").write_text(str(src_valid_mark))
        balance("eth0")
        with held(lan, internet, 50) as connections:
            balance("eth0", "eth1")
            assert connections.alive() == 50
        for link in "192.0.2.2", "192.0.3.2":
            with held(internet, lan, 50, link, 8080) as connections:
                assert connections.alive() == 50


def test_icmp_errors_of_the_lan_leave_by_the_link_that_was_asked() -> None:
    with router(2) as (lan, internet):
        load(TABLE)
        pin("eth0", "eth1")
        balance("eth0", "eth1")
        nft(FORWARD_UDP)
        with lan:
            Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")
        told = 0
        for number in range(100):
            with internet, asking(number, 1) as asker:
                try:
                    asker.recv(1)
                except ConnectionRefusedError:
                    told += 1
            time.sleep(0.005)  # the whole machine says no more than a thousand a second: icmp_msgs_per_sec
        assert told == 100


def rename(old: str, new: str) -> None:
    """ip(8) would take some names for options."""
    run(f"ip link set {old} down")
    subprocess.run(["ip", "link", "set", "dev", old, "name", new], check=True)
    subprocess.run(["ip", "link", "set", "dev", new, "up"], check=True)


@contextmanager
def held(client: Place, server: Place, count: int, address: str = SERVER, port: int = 80) -> Iterator[Held]:
    """Open connections to the server's address as the client sees it."""
    with server:
        listener = socket.create_server(("0.0.0.0", 80), backlog=4096)
    pairs = []
    try:
        for _ in range(count):
            with client:
                here = socket.create_connection((address, port), 2)
            there, _ = listener.accept()
            pairs.append((here, there))
        listener.close()
        yield Held(pairs)
    finally:
        for end in [listener, *[end for pair in pairs for end in pair]]:
            end.close()
