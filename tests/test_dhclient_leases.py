"""The leases that `apply` takes up from dhclient's lease files."""

from __future__ import annotations

import os
from pathlib import Path

from dhcp_lb.dhclient_leases import environments, read, running

NOW = 1795705200  # 2026-11-26 15:00:00 UTC

LEASE = """\
lease {
  interface "eth0";
  fixed-address 192.0.2.34;
  option subnet-mask 255.255.255.0;
  option routers 192.0.2.1,192.0.2.2;
  option dhcp-lease-time 3600;
  option dhcp-message-type 5;
  option domain-name-servers 192.0.2.53;
  option dhcp-server-identifier 192.0.2.3;
  option rfc3442-classless-static-routes 0,192,0,2,1,24,198,51,100,192,0,2,9;
  option domain-name "isp-a.example";
  renew 4 2026/11/26 15:20:10;
  rebind 4 2026/11/26 15:50:10;
  expire 4 2026/11/26 16:00:00;
}
"""

VARIABLES = {
    b"reason": b"BOUND",
    b"interface": b"eth0",
    b"new_ip_address": b"192.0.2.34",
    b"new_subnet_mask": b"255.255.255.0",
    b"new_routers": b"192.0.2.1 192.0.2.2",
    b"new_dhcp_lease_time": b"3600",
    b"new_expiry": b"1795708800",
    b"new_dhcp_server_identifier": b"192.0.2.3",
    b"new_domain_name_servers": b"192.0.2.53",
    b"new_rfc3442_classless_static_routes": b"0 192 0 2 1 24 198 51 100 192 0 2 9",
}


def lease(interface: str = "eth0", address: str = "192.0.2.34", expire: str = "never", more: str = "") -> str:
    return f'lease {{ interface "{interface}"; fixed-address {address}; {more} expire {expire}; }}\n'


def parse(*texts: str, addresses: str = "192.0.2.34") -> dict[str, dict[bytes, bytes]]:
    return environments(texts, NOW, lambda interface, address: address in addresses.split())


def test_a_lease_becomes_the_variables_of_dhclient_script() -> None:
    assert parse(LEASE) == {"eth0": VARIABLES}


def test_the_last_lease_of_an_interface_counts() -> None:
    old, new = lease(more="option routers 192.0.2.1;"), lease(more="option routers 192.0.2.2;")
    for texts in [(old + new,), (old, new)]:
        assert parse(*texts)["eth0"][b"new_routers"] == b"192.0.2.2"


def test_a_lease_whose_address_the_interface_does_not_have_hides_no_other() -> None:
    text = LEASE + lease(address="198.51.100.7")
    assert parse(text) == {"eth0": VARIABLES}
    assert parse(text, addresses="203.0.113.1") == {}


def test_each_interface_has_its_own() -> None:
    found = parse(LEASE + lease("wlan0", "198.51.100.7"), addresses="192.0.2.34 198.51.100.7")
    assert {name: variables[b"new_ip_address"] for name, variables in found.items()} == {
        "eth0": b"192.0.2.34",
        "wlan0": b"198.51.100.7",
    }


def test_an_expired_lease_is_none() -> None:
    for expire, found in [
        ("4 2026/11/26 15:00:01", 1),
        ("4 2026/11/26 15:00:00", 0),
        (f"epoch {NOW + 1}; # Thu Nov 26 16:00:01 2026", 1),
        (f"epoch {NOW}", 0),
        ("never", 1),
        ("4 2026/13/45 99:00:00", 0),
        ("soon", 0),
        ("epoch", 0),
    ]:
        text = f'lease {{ interface "eth0"; fixed-address 192.0.2.34; expire {expire};\n}}'
        assert len(parse(text)) == found, expire


def test_a_half_written_last_lease_is_ignored() -> None:
    half = lease(more="option routers 192.0.2.2;")
    for end in range(len(half) - 2):
        assert parse(LEASE + half[:end]) == {"eth0": VARIABLES}, half[:end]


def test_strings_from_the_server_are_no_syntax() -> None:
    for text in ['} lease { interface \\"eth1\\"; }', "; # {", "\\\\", "\\175", "a\nb", "#"]:
        assert parse(LEASE.replace("isp-a.example", text)) == {"eth0": VARIABLES}, text


def test_hostile_values_are_passed_on_as_text_for_the_event_parser() -> None:
    found = parse(lease(more='option routers $(reboot); option subnet-mask <error>; option host-name "`x`";'))
    assert found == {
        "eth0": {
            b"reason": b"BOUND",
            b"interface": b"eth0",
            b"new_ip_address": b"192.0.2.34",
            b"new_routers": b"$(reboot)",
            b"new_subnet_mask": b"<error>",
        }
    }


def test_what_is_no_ipv4_lease_is_skipped() -> None:
    other = 'default-duid "\\000";\nlease6 { interface "eth0"; ia-na 1 { iaaddr 2001:db8::1 { x 9; } } }'
    assert parse(other + LEASE + other) == {"eth0": VARIABLES}
    for text in ["", "}", "lease", "lease {", ";;", '"', "lease { } }", "lease { ; option; }", "\0", "\udcff"]:
        assert parse(text) == {}, text


def test_files_are_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    assert read(tmp_path / "absent") == []
    names = ["dhclient.leases", "dhclient.eth0.leases", "dhclient.leases.old", "dhcpcd.leases"]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(name.encode() + b"\xff")
        os.utime(tmp_path / name, (NOW - age, NOW - age))
    (tmp_path / "dhclient.d.leases").mkdir()
    assert read(tmp_path) == ["dhclient.eth0.leases\udcff", "dhclient.leases\udcff"]


def test_a_dhclient_sees_to_the_interfaces_that_it_names_or_to_all(tmp_path: Path) -> None:
    proc, devices = tmp_path / "proc", tmp_path / "net"
    for name in "eth0", "eth1", "-4":
        (devices / name).mkdir(parents=True)

    def running_with(*argv: str) -> list[str]:
        (proc / "7").mkdir(parents=True, exist_ok=True)
        (proc / "7" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
        return [name for name in ("eth0", "eth1") if running(name, proc, devices)]

    assert running_with("/sbin/dhclient", "-v", "-pf", "/run/dhclient.eth0.pid", "eth0") == ["eth0"]
    assert running_with("dhclient") == ["eth0", "eth1"]
    assert running_with("dhclient", "-v") == ["eth0", "eth1"]
    assert running_with("dhcpcd", "eth0") == []
    assert running_with() == []
