"""The words of every program that configures links, in the environments that the real programs set."""

import pytest

from dhcp_lb.event import CLIENTS, Event, parse
from dhcp_lb.model import Lease, NONE, ON_DEVICE

LEASE = Lease("192.0.2.34", 27, "192.0.2.33", "192.0.2.35", 1000, 3600)

DHCPCD = {"if_up": "true", "if_down": "false", "interface": "eth0", "protocol": "dhcp", "ifmetric": "1003",
          "new_ip_address": "192.0.2.34", "new_subnet_cidr": "27", "new_subnet_mask": "255.255.255.224",
          "new_routers": "192.0.2.33", "new_dhcp_server_identifier": "192.0.2.35", "new_dhcp_lease_time": "3600"}
UDHCPC = {"interface": "eth0", "ip": "192.0.2.34", "mask": "27", "subnet": "255.255.255.224", "router": "192.0.2.33",
          "serverid": "192.0.2.35", "lease": "3600"}
STATIC = {"IFACE": "eth0", "LOGICAL": "eth0", "ADDRFAM": "inet", "METHOD": "static", "MODE": "start",
          "IF_ADDRESS": "192.0.2.34", "IF_NETMASK": "27", "IF_GATEWAY": "192.0.2.33"}
IFUPDOWN2 = {"IFACE": "eth0", "LOGICAL": "eth0", "ADDRFAM": "inet,inet6", "METHOD": "static", "MODE": "start",
             "PHASE": "up", "IF_ADDRESS": "192.0.2.34/27", "IF_GATEWAY": "192.0.2.33"}
IFUPDOWN_NG = {"IFACE": "eth0", "METHOD": "none", "MODE": "start", "PHASE": "up", "IF_USE": "static",
               "IF_ADDRESS": "192.0.2.34/27", "IF_ADDRESSES": "192.0.2.34/27 ", "IF_GATEWAY": "192.0.2.33",
               "IF_GATEWAYS": "192.0.2.33 "}
NETWORKMANAGER = {"interface": "eth0", "DEVICE_IP_IFACE": "eth0", "IP4_ADDRESS_0": "192.0.2.34/27 192.0.2.33",
                  "IP4_GATEWAY": "192.0.2.33", "DHCP4_DHCP_LEASE_TIME": "3600", "DHCP4_IP_ADDRESS": "192.0.2.34"}
# ipv4.never-default, or ipv4.route-table
NEVER_DEFAULT = {**NETWORKMANAGER, "IP4_ADDRESS_0": "192.0.2.34/27 0.0.0.0", "IP4_GATEWAY": "0.0.0.0",
                 "DHCP4_ROUTERS": "192.0.2.33"}
PPP = {"PPP_IFACE": "ppp0", "PPP_LOCAL": "192.0.2.34", "PPP_REMOTE": "192.0.2.33", "PPP_TTY": "/dev/ttyUSB0"}


def event(client: str, environ: dict[str, str], **more: str) -> Event | None:
    return parse({name.encode(): value.encode() for name, value in {**environ, **more}.items()}, 1000, client)


@pytest.mark.parametrize("client, environ, lease", [
    ("", {**DHCPCD, "reason": "BOUND"}, LEASE),
    ("", {**DHCPCD, "reason": "REBOOT"}, LEASE),
    ("", {**DHCPCD, "reason": "BOUND",
          "new_classless_static_routes": "198.51.100.0/24 192.0.2.40 0.0.0.0/0 192.0.2.41"},
     LEASE._replace(gateway="192.0.2.41")),
    ("", {**DHCPCD, "reason": "BOUND", "new_classless_static_routes": "0.0.0.0/0 0.0.0.0"},
     LEASE._replace(gateway=ON_DEVICE)),
    ("udhcpc", {**UDHCPC, "reason": "bound"}, LEASE),
    ("udhcpc", {**UDHCPC, "reason": "bound", "staticroutes": "192.0.2.32/27 0.0.0.0 0.0.0.0/0 0.0.0.0"},
     LEASE._replace(gateway=ON_DEVICE)),
    ("udhcpc", {**UDHCPC, "reason": "renew", "staticroutes": "0.0.0.0/0 192.0.2.41"},
     LEASE._replace(gateway="192.0.2.41")),
    ("ifupdown", {**STATIC, "PHASE": "post-up"}, LEASE._replace(server="", duration_s=0)),
    ("ifupdown", {**STATIC, "PHASE": "post-up", "IF_ADDRESS": "192.0.2.34/27", "IF_NETMASK": "255.255.255.224"},
     LEASE._replace(server="", duration_s=0)),
    ("ifupdown", IFUPDOWN2, LEASE._replace(server="", duration_s=0)),
    ("ifupdown", {**IFUPDOWN2, "METHOD": "", "ADDRFAM": ""}, LEASE._replace(server="", duration_s=0)),
    ("ifupdown", IFUPDOWN_NG, LEASE._replace(server="", duration_s=0)),
    ("networkmanager", {**NETWORKMANAGER, "reason": "up"}, LEASE._replace(server="")),
    ("networkmanager", {**NETWORKMANAGER, "reason": "up", "IP4_ADDRESS_0": "192.168.0.2/24 192.0.2.33",
                        "IP4_ADDRESS_1": "192.0.2.34/27 192.0.2.33"}, LEASE._replace(server="")),  # in whatever order
    *[("networkmanager", {**environ, "reason": reason}, LEASE._replace(server="", **changes))
      for reason in ("up", "reapply") for environ, changes in [
          (NEVER_DEFAULT, {}),
          ({**NEVER_DEFAULT, "IP4_GATEWAY": ""}, {}),
          ({name: value for name, value in NEVER_DEFAULT.items() if name != "IP4_GATEWAY"}, {}),
          ({**NEVER_DEFAULT, "IP4_ADDRESS_0": "192.168.0.2/24 0.0.0.0", "IP4_ADDRESS_1": "192.0.2.34/27 0.0.0.0"}, {}),
          ({**NEVER_DEFAULT, "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES": "198.18.0.0/24 192.0.2.62 0.0.0.0/0 192.0.2.41"},
           {"gateway": "192.0.2.41"}),
          ({**NEVER_DEFAULT, "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES": "0.0.0.0/0 0.0.0.0"}, {"gateway": ON_DEVICE}),
          ({**NETWORKMANAGER, "DHCP4_ROUTERS": "192.0.2.62",
            "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES": "0.0.0.0/0 192.0.2.61"}, {}),  # ipv4.gateway overrules the server
      ]],
    ("networkmanager", {**NETWORKMANAGER, "reason": "up", "IP4_GATEWAY": "198.51.100.1",
                        "IP4_ADDRESS_1": "192.168.0.2/24 198.51.100.1"},
     LEASE._replace(server="", gateway="198.51.100.1")),
    ("ppp", {**PPP, "reason": "ip-up"}, Lease("192.0.2.34", 32, ON_DEVICE, "", 1000)),
])
def test_a_lease_comes(client: str, environ: dict[str, str], lease: Lease) -> None:
    assert event(client, environ) == Event("ppp0" if client == "ppp" else "eth0", lease)


@pytest.mark.parametrize("client, environ", [
    ("", {**DHCPCD, "reason": "BOUND", "new_domain_name_servers": "198.51.100.53 9.9.9.9"}),
    ("udhcpc", {**UDHCPC, "reason": "renew", "dns": "198.51.100.53 9.9.9.9"}),
    ("networkmanager", {**NETWORKMANAGER, "reason": "up", "IP4_NAMESERVERS": "198.51.100.53 9.9.9.9"}),
    ("ifupdown", {**STATIC, "PHASE": "post-up", "IF_DNS_NAMESERVERS": "198.51.100.53 9.9.9.9"}),
    ("ppp", {**PPP, "reason": "ip-up", "DNS1": "198.51.100.53", "DNS2": "9.9.9.9"}),
])
def test_a_lease_has_its_name_servers(client: str, environ: dict[str, str]) -> None:
    found = event(client, environ)
    assert found and found.lease and found.lease.name_servers == ("198.51.100.53", "9.9.9.9")


@pytest.mark.parametrize("client, environ, reasons", [
    ("", DHCPCD, "EXPIRE FAIL NAK RELEASE STOP"),
    ("udhcpc", UDHCPC, "deconfig"),
    ("ppp", PPP, "ip-down"),
])
def test_it_ends(client: str, environ: dict[str, str], reasons: str) -> None:
    for reason in reasons.split():
        assert event(client, environ, reason=reason) == Event("ppp0" if client == "ppp" else "eth0", NONE)


@pytest.mark.parametrize("client, environ, reasons", [
    ("", DHCPCD, "CARRIER NOCARRIER STOPPED DEPARTED"),
    ("networkmanager", NETWORKMANAGER, "down dhcp4-change"),
    ("networkd", {"IFACE": "eth0"}, "look"),
])
def test_the_kernel_is_asked(client: str, environ: dict[str, str], reasons: str) -> None:
    for reason in reasons.split():
        assert event(client, environ, reason=reason) == Event("eth0", None)


def test_the_kernel_is_asked_about_all_links() -> None:
    assert event("networkd", {"reason": "look"}) == Event("", None)


@pytest.mark.parametrize("method, phase, lease", [
    ("dhcp", "post-up", None), ("manual", "post-up", None), ("ppp", "post-up", None),
    ("dhcp", "post-down", NONE), ("manual", "post-down", NONE), ("static", "post-down", NONE),
])
def test_ifupdown_knows_the_lease_of_a_static_link_only(method: str, phase: str, lease: Lease | None) -> None:
    assert event("ifupdown", STATIC, METHOD=method, PHASE=phase) == Event("eth0", lease)


@pytest.mark.parametrize("client, environ", [
    ("ifupdown", {**STATIC, "PHASE": "post-up", "IF_GATEWAY": ""}),
    ("networkmanager", {**NEVER_DEFAULT, "reason": "up", "DHCP4_ROUTERS": ""}),  # a static one, by a device route
    ("networkmanager", {**NEVER_DEFAULT, "reason": "reapply", "IP4_GATEWAY": "", "DHCP4_ROUTERS": ""}),
])
def test_where_a_client_knows_no_gateway_the_kernel_is_asked_first(client: str, environ: dict[str, str]) -> None:
    found = event(client, environ)
    assert found and found.lease and not found.sure
    assert (found.lease.address, found.lease.length, found.lease.fault) == ("192.0.2.34", 27, "gateway is missing")


def test_a_dhcp_client_knows_what_it_was_given() -> None:
    for client, environ in ("", {**DHCPCD, "new_routers": "", "reason": "BOUND"}), ("udhcpc", {
            **UDHCPC, "router": "", "reason": "bound"}):
        found = event(client, environ)
        assert found and found.lease and found.lease.fault == "gateway is missing" and found.sure


@pytest.mark.parametrize("environ", [
    {**IFUPDOWN2, "METHOD": "dhcp"},
    {**IFUPDOWN2, "IF_ADDRESS": "2001:db8::34/64", "IF_GATEWAY": "2001:db8::1"},  # beside `inet dhcp`
    {"IFACE": "eth0", "LOGICAL": "eth0", "ADDRFAM": "", "METHOD": "", "MODE": "start"},
    {"IFACE": "eth0", "METHOD": "none", "MODE": "start", "IF_USE": "dhcp"},
], ids=["dhcp", "static IPv6", "no family", "ifupdown-ng"])
def test_ifupdown2_and_ifupdown_ng_know_the_lease_of_a_static_link_only(environ: dict[str, str]) -> None:
    assert event("ifupdown", environ, PHASE="up") == Event("eth0", None)
    for phase in "down", "post-down":
        assert event("ifupdown", environ, PHASE=phase) == Event("eth0", NONE)


@pytest.mark.parametrize("environ", [IFUPDOWN2, IFUPDOWN_NG], ids=["ifupdown2", "ifupdown-ng"])
def test_their_static_links_end(environ: dict[str, str]) -> None:
    for phase in "down", "post-down":
        assert event("ifupdown", environ, PHASE=phase) == Event("eth0", NONE)


def test_networkmanager_speaks_for_itself_and_not_as_ifupdown() -> None:
    for phase in "post-up", "post-down":
        assert event("ifupdown", STATIC, METHOD="NetworkManager", PHASE=phase) is None


@pytest.mark.parametrize("client, reasons", [
    ("", "ROUTERADVERT BOUND6 STOP6 EXPIRE6 IPV4LL RECONFIGURE TEST 3RDPARTY NOCARRIER_ROAMING"),
    ("udhcpc", "leasefail nak"),
    ("networkmanager", "pre-up pre-down vpn-up dhcp6-change connectivity-change hostname device-add"),
    ("ifupdown", "pre-up pre-down"),
])
def test_anything_else_is_nothing(client: str, reasons: str) -> None:
    for reason in reasons.split():
        assert event(client, {**DHCPCD, **STATIC, **UDHCPC}, reason=reason, PHASE=reason) is None


def test_no_reason_has_two_meanings() -> None:
    for words in CLIENTS.values():
        assert not words.comes & words.goes | words.comes & words.look | words.goes & words.look
