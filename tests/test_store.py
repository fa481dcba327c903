"""The store in /run/dhcp-lb: any part of it may vanish, be cut off or be garbage. (faults.md, Files)"""

import itertools
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp_lb.address import parse
from dhcp_lb.config import Config
from dhcp_lb.model import (ADMINISTRATOR, GIVEN_UP, GONE, KERNEL, LOADED, LOST, MONITOR, NO_NEW, NO_NFT, NONE,
                           ON_DEVICE, OUT, Checked, Hold, Lease, Objection, State)
from dhcp_lb.sight import Sight
from dhcp_lb.store import HELD, OBJECTIONS, PINNED, SERVERS, TUNED, WATCHED, Store, _decode, _encode, lives
from tests.beds.examples import LEASE0, LEASE1, held

BOTH = frozenset(("eth0", "eth1"))
NOW = 5000


def lease_file(store: Store, name: str = "eth0") -> Path:
    return Path(store.path, "leases", name)


def files(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.path)) for path in Path(store.path).rglob("*") if not path.is_dir())


@pytest.mark.parametrize("lease", [LEASE0, LEASE1, NONE, Lease("192.0.2.34", 24, "192.0.2.1"),
                                   Lease("192.0.2.34", 32, ON_DEVICE),
                                   LEASE0._replace(name_servers=("198.51.100.53", "9.9.9.9", "192.0.2.1")),
                                   Lease("", 0, "", "", 7, 0, "address is not an IPv4 address")])
def test_a_lease_comes_back_as_it_was(store: Store, lease: Lease) -> None:
    store.save("eth0", lease)
    assert store.load(BOTH, NOW).leases == {"eth0": lease}
    assert files(store) == ["leases/eth0"]


def test_the_file_is_a_line_of_words(store: Store) -> None:
    store.save("eth0", LEASE0)
    assert lease_file(store).read_text() == "2 192.0.2.34 24 192.0.2.1 192.0.2.1 1000 3600 - \n"
    store.save("eth0", LEASE0._replace(name_servers=("198.51.100.53", "9.9.9.9")))
    assert lease_file(store).read_text() == (
        "2 192.0.2.34 24 192.0.2.1 192.0.2.1 1000 3600 198.51.100.53,9.9.9.9 \n")
    store.save("eth0", NONE)
    assert lease_file(store).read_text() == "2 - 0 - - 0 0 - no lease\n"


def test_before_it_is_what_the_client_said(store: Store) -> None:
    lease = LEASE0._replace(said="1||192.0.2.34|255.255.255.0||192.0.2.1||||| 9.9.9.9 |")
    store.save("eth0", lease)
    assert lease_file(store).read_text() == (
        "1000 1||192.0.2.34|255.255.255.0||192.0.2.1||||| 9.9.9.9 |\n"
        "2 192.0.2.34 24 192.0.2.1 192.0.2.1 1000 3600 - \n")
    assert store.load(BOTH, NOW).leases == {"eth0": lease}


def test_a_lease_is_as_old_as_its_last_renewal(store: Store) -> None:
    leases = {"eth0": LEASE0, "eth1": LEASE1}
    store.renew("eth0", LEASE0.begin_s + 50)
    assert store.renewed(leases, NOW) == {**leases, "eth0": LEASE0._replace(begin_s=LEASE0.begin_s + 50)}


@pytest.mark.parametrize("text", ["", "1050", "\n", "1050\n1\n", "x\n", "999\n", f"{NOW + 1}\n"],
                         ids=["empty", "cut off", "blank", "two", "no number", "of a lease before", "of another boot"])
def test_a_renewal_that_makes_no_sense_is_none(store: Store, text: str) -> None:
    Path(store.path, "renewed/eth0").write_text(text)
    assert store.renewed({"eth0": LEASE0}, NOW) == {"eth0": LEASE0}


def test_who_writes_a_lease_or_a_hold_or_flushes_gives_the_leases_another_time(store: Store) -> None:
    leases = Path(store.path, "leases")
    for write in (lambda: store.save("eth0", LEASE0), lambda: store.hold(held(eth0="disabled")), store.flush,
                  lambda: store.discard(f"{leases}/eth0")):
        os.utime(leases, (1, 1))
        write()
        assert leases.stat().st_mtime > 1
    os.utime(leases, (1, 1))
    store.renew("eth0", NOW)
    store.watch({}, NOW)
    store.settle(b"sight")
    assert leases.stat().st_mtime == 1
    assert list(leases.iterdir()) == []


@pytest.mark.parametrize("text, lease", [
    ("1 192.0.2.34 24 192.0.2.1 192.0.2.1 1000 3600 \n", LEASE0),
    ("1 192.0.2.34 24 0.0.0.0 - 1000 0 \n", Lease("192.0.2.34", 24, ON_DEVICE, "", 1000)),
    ("1 - 0 - - 7 0 address is not an IPv4 address\n", Lease("", 0, "", "", 7, 0, "address is not an IPv4 address")),
    ("1 - 0 - - 0 0 no lease\n", NONE),
])
def test_a_file_of_2_0_is_read(store: Store, text: str, lease: Lease) -> None:
    lease_file(store).write_text(text)
    assert store.load(BOTH, NOW) == State({"eth0": lease})


@pytest.mark.parametrize("name", ["é€", "$(id)", "a'b", "--help", "lock", "held", "*", "\udcff", "eth0.100", "x\x85y"])
def test_any_interface_name_is_a_file_name(store: Store, name: str) -> None:  # fault 27
    store.save(name, LEASE0)
    hold = held(x="draining")["x"]
    store.hold({name: hold})
    assert store.load(frozenset([name]), NOW)[:2] == ({name: LEASE0}, {name: hold})


def test_the_age_of_a_lease_is_no_news_and_its_name_servers_are() -> None:
    def seen(lease: Lease) -> bytes:
        return Sight(Config(), State({"eth0": lease}), {}, [], []).fingerprint()
    assert seen(LEASE0) == seen(LEASE0._replace(begin_s=2000))
    assert seen(LEASE0) != seen(LEASE0._replace(name_servers=("9.9.9.9",)))


def test_interfaces_that_are_not_asked_for_are_not_read(store: Store) -> None:
    store.save("eth0", LEASE0)
    store.save("eth9", LEASE1)
    assert store.load(BOTH, NOW).leases == {"eth0": LEASE0}


def test_without_a_store_nothing_is_known(tmp_path: Path) -> None:  # fault 60
    store = Store(str(tmp_path / "absent"))
    assert store.load(BOTH, NOW) == State()
    assert (store.settled(), store.tuned()) == (b"", {})
    store.discard(f"{store.path}/leases/eth0")


def test_a_lease_from_the_future_is_from_before_the_last_boot(store: Store) -> None:  # fault 75
    store.save("eth0", LEASE0._replace(begin_s=NOW + 1))
    store.save("eth1", LEASE1._replace(begin_s=NOW))
    assert set(store.load(BOTH, NOW).leases) == {"eth1"}


GOOD = _encode(LEASE0).encode()


@pytest.mark.parametrize("content", [
    b"", b"\n", b"1", b"1 \n", GOOD[:-1], GOOD[:20], GOOD[:-1] + b"\0", b"\0" * 4096, b"\xff\xfe", b"garbage\n" * 1000,
    b"3" + GOOD[1:],  # a newer version's
    b"2 192.0.2.34 24 192.0.2.1 - 0 0 9.9.9 \n", b"2 192.0.2.34 24 192.0.2.1 - 0 0 9.9.9.9,, \n",
    b"2 192.0.2.34 24 192.0.2.1 - 0 0\n",
    b"12" + GOOD[1:], b"1000 1|said\n" + GOOD, b"1000 1|$(id)\n" + GOOD, b"1000 1|\n1000 1|\n" + GOOD, GOOD + b"\0\n",
    b"1000 \n" + GOOD, b"1001 1|\n" + GOOD, b"1|\n" + GOOD, b"\n" + GOOD, GOOD + b"1000 1|\n", b"1000 1|\n",
    b"1 999.1.1.1 24 192.0.2.1 - 0 0 \n", b"1 192.0.2.34 33 192.0.2.1 - 0 0 \n", b"1 192.0.2.34 -1 192.0.2.1 - 0 0 \n",
    b"1 192.0.2.34 24 gateway - 0 0 \n", b"1 192.0.2.34 24 192.0.2 - 0 0 \n",
    b"1 192.0.2.34 24 192.0.2.1 $(id) 0 0 \n", b"1 192.0.2.34 24 192.0.2.1 - then 0 \n",
    b"1 192.0.2.34 24 192.0.2.1 - 0 1e3 \n", b"1 192.0.2.34 24 192.0.2.1 - 0 0 two\nlines\n",
])
def test_a_file_that_makes_no_sense_is_corrupt_and_no_lease(store: Store, content: bytes) -> None:  # fault 61
    store.save("eth1", LEASE1)
    lease_file(store).write_bytes(content)
    assert store.load(BOTH, NOW) == State({"eth1": LEASE1}, corrupt=(str(lease_file(store)),))


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_a_file_that_is_cut_off_anywhere_is_corrupt(store: Store, cut: int) -> None:  # fault 61
    lease_file(store).write_bytes(GOOD[:cut])
    assert store.load(BOTH, NOW) == State({}, corrupt=(str(lease_file(store)),))


quads = st.tuples(*[st.integers(0, 255)] * 4).map(lambda octets: ".".join(map(str, octets)))
leases = st.builds(lambda *values, said: Lease(*values, said=said),
                   quads, st.integers(1, 32), quads | st.just(ON_DEVICE), quads | st.just(""),
                   st.integers(0, 2**33), st.integers(0, 2**32 - 2), st.just(""),
                   st.lists(quads, max_size=3).map(tuple), said=st.text("0123456789./ |"))


@given(leases)
def test_what_is_written_is_what_is_read(lease: Lease) -> None:
    assert _decode(_encode(lease)) == lease


pieces = st.sampled_from([b"1", b"2", b"-", b"0", b"24", b"192.0.2.1", b"9.9.9.9,192.0.2.1", b"", b"x", b" ", b"\n",
                          b"9" * 20, b"-1"])


@given(st.lists(pieces, max_size=12).map(b" ".join) | st.binary(max_size=80))
def test_whatever_the_content_a_lease_has_addresses_and_numbers(content: bytes) -> None:
    try:
        lease = _decode(content.decode())
    except (OSError, ValueError):
        return
    assert _decode(_encode(lease)) == lease
    assert all(not quad or parse(quad) == quad for quad in (lease.address, lease.gateway, lease.server,
                                                            *lease.name_servers))
    assert 0 <= lease.length <= 32


def test_what_is_no_file_is_corrupt_and_not_followed(store: Store, tmp_path: Path) -> None:  # fault 64
    target = tmp_path / "target"
    target.write_bytes(GOOD)
    lease_file(store, "link").symlink_to(target)
    os.mkfifo(lease_file(store, "fifo"))
    lease_file(store, "directory").mkdir()
    names = frozenset(("link", "fifo", "directory"))
    assert store.load(names, NOW)[0] == {}
    assert sorted(store.load(names, NOW).corrupt) == sorted(str(lease_file(store, name)) for name in names)
    store.save("link", LEASE1)
    store.save("fifo", LEASE1)
    assert store.load(names, NOW).leases == {"link": LEASE1, "fifo": LEASE1}
    assert target.read_bytes() == GOOD
    with pytest.raises(IsADirectoryError):
        store.save("directory", LEASE1)
    assert [name for name in os.listdir(f"{store.path}/leases") if " " in name] == []


@pytest.mark.parametrize("directory", ["", "/leases", "/waiting"])
def test_directories_of_somebody_else_are_refused(store: Store, directory: str, tmp_path: Path) -> None:  # fault 64
    path = Path(store.path + directory)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="is not a directory that only root can write"):
        store.prepare()
    path.unlink()
    path.write_text("")
    with pytest.raises(PermissionError, match="is not a directory that only root can write"):
        store.prepare()
    path.unlink()
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(PermissionError, match="is not a directory that only root can write"):
        store.prepare()
    path.rmdir()
    store.prepare()


def test_a_directory_that_is_not_ours_is_refused(store: Store) -> None:  # fault 64
    if os.geteuid():
        pytest.skip("needs root, to give a directory away")
    os.chown(store.path, 12345, 0)
    with pytest.raises(PermissionError, match="is not a directory that only root can write"):
        store.prepare()


def test_everything_is_roots_alone_whatever_the_umask(tmp_path: Path) -> None:  # fault 38
    before = os.umask(0)
    try:
        store = Store(str(tmp_path / "dhcp-lb"))
        store.prepare()
        store.save("eth0", LEASE0)
        store.hold(held(eth0="disabled"))
        store.object({"eth0": OBJECTION})
        store.settle(b"x")
    finally:
        os.umask(before)
    for path in [Path(store.path), *Path(store.path).rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_leftovers_of_killed_writers_and_of_other_interfaces_are_removed(store: Store) -> None:
    dead = next(pid for pid in range(2**22 - 1, 0, -1) if not lives(pid))
    store.save("eth0", LEASE0)
    store.save("gone", LEASE1)
    for name in f"eth0 {dead}", "eth0 nonsense", "eth0 ", f"eth0 {os.getpid()}":
        lease_file(store, name).write_text("")
    for name in "settled", f"settled {dead}", f"sysctl {os.getpid()}":
        Path(store.path, name).write_text("")
    store.tidy(BOTH)
    assert files(store) == ["leases/eth0", f"leases/eth0 {os.getpid()}", "settled", f"sysctl {os.getpid()}"]


def test_garbage_among_the_leases_does_not_stop_the_tidying(store: Store) -> None:
    lease_file(store, "directory").mkdir()
    lease_file(store, "full").mkdir()
    lease_file(store, "full/file").write_text("")
    lease_file(store, "aaa").write_text("")
    lease_file(store, "zzz").write_text("")
    store.tidy(BOTH)
    assert files(store) == ["leases/full/file"]
    assert os.listdir(f"{store.path}/leases") == ["full"]


def test_tidying_what_is_wiped_is_nothing(store: Store) -> None:  # fault 60
    lease_file(store).parent.rmdir()
    store.tidy(BOTH)


def test_a_killed_writer_of_the_same_number_does_not_stop_the_next_one(store: Store) -> None:
    lease_file(store, f"eth0 {os.getpid()}").write_text("half")
    store.save("eth0", LEASE0)
    assert files(store) == ["leases/eth0"]


def test_links_that_are_held_back(store: Store) -> None:
    holds = {"eth0": Hold(ADMINISTRATOR, OUT, since_s=9), "eth1": Hold(ADMINISTRATOR, NO_NEW, since_s=7)}
    store.hold(holds)
    assert Path(store.path, "held").read_text() == "eth0 disabled 9\neth1 draining 7\n"
    assert store.load(BOTH, NOW).held == holds
    store.hold({})
    assert store.load(BOTH, NOW).held == {}


def test_what_version_2_0_left_is_taken_over(store: Store) -> None:
    Path(store.path, HELD).write_text("eth0 disabled\neth1 draining\n")
    lease_file(store).write_text("1 192.0.2.34 24 192.0.2.1 192.0.2.1 1000 3600 \n")
    Path(store.path, "settled").write_bytes(b"1754\nwhat 2.0 saw")
    Path(store.path, TUNED).write_text("eth0/rp_filter 1\n")
    Path(store.path, "flushed").write_bytes(b"")
    assert store.load(BOTH, NOW) == State({"eth0": LEASE0}, held(eth0="disabled", eth1="draining"))
    assert (store.tuned(), store.flushed()) == ({"eth0/rp_filter": "1"}, True)


OBJECTION = Objection(Hold(KERNEL, NO_NEW, "the kernel refuses it: Nexthop has invalid gateway (EINVAL)", 1000), "a b")


def test_what_the_kernel_objects_to(store: Store) -> None:
    objections = {"eth0": OBJECTION, "": Objection(Hold(KERNEL, OUT, "why", 1), "all")}
    store.object(objections)
    assert store.load(BOTH, NOW).objections == objections
    assert store.load(BOTH, NOW).holds() == {"eth0": (OBJECTION.hold,), "": (Hold(KERNEL, OUT, "why", 1),)}
    store.object({})
    assert store.load(BOTH, NOW).objections == {} and files(store) == []


@pytest.mark.parametrize("content", [b"eth0\n", b"eth0 disabled x\n", b"\n\n", b"\0", b"eth0 disabled\neth1 dis",
                                     b"eth0 off 7\n", b"eth0 disabled 1 2\n"])
@pytest.mark.parametrize("name", [HELD, OBJECTIONS])
def test_a_list_that_makes_no_sense_is_corrupt_and_holds_nothing_back(store: Store, content: bytes,
                                                                      name: str) -> None:  # fault 61
    Path(store.path, name).write_bytes(content)
    assert store.load(BOTH, NOW) == State(corrupt=(f"{store.path}/{name}",))


CHECKED = {
    "eth0": Checked(Hold(MONITOR, GIVEN_UP, "its name servers are silent", 4900), "192.0.2.34", 2, 4900, -1, 100,
                    "its name servers"),
    "eth1": Checked(None, "198.51.100.7", 0, 0, 3, 0, "its name servers"),
    "eth2": Checked(Hold(MONITOR, NO_NEW, "no answer since its carrier came back", 4950), "203.0.113.9"),
}


def test_what_the_monitor_found_out_holds_for_two_minutes(store: Store) -> None:
    store.watch(CHECKED, NOW)
    assert Path(store.path, WATCHED).read_text().startswith(f"{os.getpid()} {NOW + 120} {NOW} ")
    state = store.load(BOTH, NOW)
    assert state.checked == CHECKED
    assert state.holds() == {name: (one.hold,) for name, one in CHECKED.items() if one.hold}
    assert store.load(BOTH, NOW + 119).checked == CHECKED
    assert store.load(BOTH, NOW + 120).checked == {}
    assert store.load(BOTH, NOW - 1).checked == {}  # it was written before the last boot
    store.unwatch()
    assert store.load(BOTH, NOW).checked == {}
    store.unwatch()


def test_what_the_monitor_found_out_grows_no_older_while_the_machine_sleeps(
        store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep_ms = 7_900  # since the machine was booted
    monkeypatch.setattr("dhcp_lb.store.slept_ms", lambda: asleep_ms)
    for family in AF_INET, AF_INET6:
        store.watch(CHECKED, NOW, family)
    for night_s, moment_ms in itertools.product((0, 100, 30_000, 10**7), (-400, 0, 400)):
        asleep_ms = 7_900 + 1000 * night_s + moment_ms  # to read two clocks takes a moment
        for family in AF_INET, AF_INET6:
            assert store.checked(NOW + night_s, family) == CHECKED
            assert store.checked(NOW + night_s + 119, family) == CHECKED
            # A monitor that died before the night, or in it, is trusted no longer than without one.
            assert store.checked(NOW + night_s + 120, family) == {}
            assert store.checked(NOW + night_s - 1, family) == {}
    assert store.load(BOTH, NOW + night_s + 119).checked == CHECKED
    asleep_ms = 2_000  # the machine was booted meanwhile
    assert store.checked(NOW, AF_INET) == store.checked(NOW + 60, AF_INET) == {}


def test_what_the_monitor_found_out_of_ipv6_is_a_word_of_its_own(store: Store) -> None:
    dead, works = CHECKED["eth0"], CHECKED["eth1"]
    away = Checked(Hold(MONITOR, GONE, "its carrier was away", 0), "192.0.2.1", by="its name servers")
    four = {"eth0": works, "eth1": dead, "eth2": away}
    store.watch(four, NOW)
    plain = {"eth0": Checked(None, ""), "eth1": Checked(None, ""), "eth2": Checked(away.hold, "")}
    state = store.load(BOTH, NOW)
    assert store.load6(state, BOTH, NOW).checked == plain  # a carrier is of both, and so is who ends a pause
    store.watch({"eth0": dead}, NOW, AF_INET6)
    assert store.load(BOTH, NOW).checked == four == store.checked(NOW)
    assert store.checked(NOW, AF_INET6) == {"eth0": dead}
    assert store.load6(state, BOTH, NOW).checked == {**plain, "eth0": dead}
    assert store.load6(state, BOTH, NOW + 120).checked == plain
    store.unwatch()
    assert store.checked(NOW, AF_INET6) == store.checked(NOW) == {}


@pytest.mark.parametrize("change", [
    lambda text: b"", lambda text: text[:-1], lambda text: text[:40], lambda text: b"x\n" + text,
    lambda text: text.replace(b"given up", b"away"), lambda text: text.replace(b"4900", b"x"),
    lambda text: text.replace(b"\t", b" "), lambda text: text + b"\xff\n", lambda text: b"1\n" + text,
    lambda text: text.replace(b"\n", b"x\n", 1), lambda text: text.replace(b"\n", b" 1\n", 1),
    lambda text: b"1 5120 5000" + text[text.index(b"\n"):],
])
def test_of_a_word_of_the_monitor_that_makes_no_sense_nothing_counts(
        store: Store, change: Callable[[bytes], bytes]) -> None:
    store.watch(CHECKED, NOW)
    path = Path(store.path, WATCHED)
    path.write_bytes(change(path.read_bytes()))
    assert store.load(BOTH, NOW) == State()


@pytest.mark.parametrize("pinned", [LOADED, LOST, NO_NFT])
def test_what_has_become_of_the_nft_table(store: Store, pinned: str) -> None:
    assert store.load(BOTH, NOW).pinned == ""
    store.pin(pinned)
    assert store.load(BOTH, NOW) == State(pinned=pinned)
    store.pin("")
    assert files(store) == []


@pytest.mark.parametrize("content", [b"loaded", b"held\n", b"\xff\n", b"loaded\nlost\n"])
def test_a_word_about_the_table_that_makes_no_sense_is_corrupt(store: Store, content: bytes) -> None:
    Path(store.path, PINNED).write_bytes(content)
    assert store.load(BOTH, NOW) == State(corrupt=(f"{store.path}/{PINNED}",))


def test_where_the_servers_table_is(store: Store) -> None:
    store.serve(("dhcp-lb-servers", 250))
    assert store.load(BOTH, NOW) == State(servers=("dhcp-lb-servers", 250))
    for content in b"250\n", b"a b c\n", b"a x\n", b"a 2":
        Path(store.path, SERVERS).write_bytes(content)
        assert store.load(BOTH, NOW) == State(corrupt=(f"{store.path}/{SERVERS}",))


def test_the_sysctls_that_were_there_before(store: Store) -> None:
    store.tune({"eth0/rp_filter": "1", "eth1/rp_filter": "0"})
    assert store.tuned() == {"eth0/rp_filter": "1", "eth1/rp_filter": "0"}
    Path(store.path, TUNED).write_bytes(b"cut o")
    assert store.tuned() == {}


def test_a_flush_is_remembered_until_something_is_to_be_done(store: Store) -> None:
    assert not store.flushed()
    store.flush()
    assert store.flushed()
    store.tidy(BOTH)
    assert not store.flushed()


FULL_DISK = """
import os, sys
sys.path.insert(0, sys.argv[2])
from dhcp_lb.model import NONE
from dhcp_lb.store import Store
store = Store(sys.argv[1])
store.prepare()
store.save("eth0", NONE)
with open(f"{store.path}/filler", "wb") as filler:
    filler.write(bytes(4096))
try:
    store.save("eth0", NONE._replace(begin_s=9))
except OSError as error:
    print(error.strerror)
store.settle(bytes(9999))
print(*sorted(os.listdir(store.path)), *os.listdir(f"{store.path}/leases"))
print(store.load(frozenset(["eth0"]), 10).leases == {"eth0": NONE})
"""


def test_on_a_full_disk_the_old_lease_stays_and_no_empty_file(store: Store) -> None:  # fault 59
    if os.geteuid():
        pytest.skip("needs root, for a small file system")
    mount = 'mount -t tmpfs -o size=8k,mode=700 none "$1"; exec /usr/bin/python3 -c "$0" "$@"'
    done = subprocess.run(["unshare", "--mount", "sh", "-ec", mount, FULL_DISK, store.path, Path(__file__).parents[1]],
                          capture_output=True, text=True, check=True)
    assert done.stdout == "No space left on device\nfiller leases prefixes renewed waiting eth0\nTrue\n"


@pytest.mark.parametrize("sight", [b"x", b"1\n2\n", b"\0\xff" * 100_000], ids=["a byte", "lines", "much"])
def test_what_a_settled_run_saw_comes_back(store: Store, sight: bytes) -> None:
    store.settle(sight)
    assert store.settled() == sight
