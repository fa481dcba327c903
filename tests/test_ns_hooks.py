"""Links without a DHCP client's hook: ifupdown's other methods, ppp, dispatchers; and two hooks for one link."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Mapping

import pytest

from tests.beds.lab import Isp, Lab
from tests.beds.lab.node import ENVIRONMENT
from tests.beds.two_links import BOTH, ETH0, assert_all_by, assert_shared, becomes

ADDRESS, GATEWAY = "192.0.2.50", "192.0.2.33"  # the link eth1, where no DHCP client has it
HOOK = "/etc/dhcp/dhclient-exit-hooks.d/dhcp-lb"


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    """eth0 has its lease from dhclient, and with it the default route of table main."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2, pool="192.0.2.48/28")]) as lab:
        lab.router.ifup("eth0")
        yield lab


@pytest.fixture
def lab(running: Lab) -> Iterator[Lab]:
    """eth1 is down before and after the test."""
    router = running.router
    kept = {path: router.path(path).read_text() for path in ("/etc/dhcp-lb", "/etc/network/interfaces")}
    becomes(running, ETH0)
    yield running
    for path, text in kept.items():
        router.path(path).write_text(text)
    router.sh(f"""
        ifdown --force eth1 || :
        ip address flush dev eth1
        ip link set eth1 down
        sed -i /eth1/d /run/network/ifstate
        interface=eth1 reason=STOP sh {HOOK}
    """)
    becomes(running, ETH0)
    assert not [line for line in router.log() if "report it" in line]


def interfaces(lab: Lab, stanza: str) -> None:
    """Gives eth1 another stanza in /etc/network/interfaces."""
    text = "auto eth0\niface eth0 inet dhcp\n\nauto eth1\n" + re.sub(r"^ {4}", "", stanza, flags=re.M)
    lab.router.path("/etc/network/interfaces").write_text(text)


def gateway_option(lab: Lab) -> None:
    path = lab.router.path("/etc/dhcp-lb")
    path.write_text(path.read_text().replace("201 2", f"201 2 gateway={GATEWAY}"))


def address_by_hand(lab: Lab, address: str = f"{ADDRESS}/27") -> None:
    lab.router.sh(f"ip link set eth1 up; ip address add {address} dev eth1")


def tell(lab: Lab, hook: str, *arguments: str, **variables: str) -> None:
    """Calls a hook as its daemon does, with this environment and no other. The hook must succeed in silence."""
    done = lab.router.try_run(hook, *arguments, env={**ENVIRONMENT, **variables})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def assert_told_in_silence(lab: Lab) -> None:
    becomes(lab, BOTH)
    assert_shared(lab)


@pytest.mark.parametrize("stanza", [
    f"address {ADDRESS}/27\n gateway {GATEWAY}\n metric 50",
    f"address {ADDRESS}\n netmask 255.255.255.224\n gateway {GATEWAY}\n metric 50",
    f"address {ADDRESS}\n netmask 27\n gateway {GATEWAY}\n metric 50",
], ids=["prefix", "netmask", "length"])
def test_a_static_link_beside_a_dhcp_link(lab: Lab, stanza: str) -> None:
    interfaces(lab, f"iface eth1 inet static\n {stanza}\n")
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    assert_shared(lab)
    lab.router.ifdown("eth1")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")


def test_a_static_link_needs_no_gateway_of_its_own_if_our_configuration_names_one(lab: Lab) -> None:
    interfaces(lab, f"iface eth1 inet static\n address {ADDRESS}/27\n")
    gateway_option(lab)
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    assert_shared(lab)
    lab.router.ifdown("eth1")
    becomes(lab, ETH0)


def test_a_static_link_without_any_gateway_says_so_and_stays_out(lab: Lab) -> None:
    interfaces(lab, f"iface eth1 inet static\n address {ADDRESS}/27\n")
    lab.router.ifup("eth1")
    becomes(lab, ETH0)
    assert "gateway is missing" in lab.router.dhcp_lb("status")
    assert any("eth1 is not used: gateway is missing" in line for line in lab.router.log())


def test_a_default_route_of_the_administrator_s_own_command_is_a_static_link_s_gateway_at_once(lab: Lab) -> None:
    interfaces(lab, f"iface eth1 inet static\n address {ADDRESS}/27\n"
                    f" up ip route add default via {GATEWAY} dev eth1 metric 50\n")
    logged = len(lab.router.log())
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    assert not [line for line in lab.router.log()[logged:] if "is not used" in line]


@pytest.mark.parametrize("first", [
    "dhcp", f"static\n address {ADDRESS}/27\n gateway {GATEWAY}\n metric 50", f"static\n address {ADDRESS}/27",
], ids=["dhcp", "static", "option"])
def test_a_second_address_without_a_gateway_is_not_the_link_s(lab: Lab, first: str) -> None:
    """Such as the address in a modem's own network."""
    interfaces(lab, f"iface eth1 inet {first}\niface eth1 inet static\n address 192.168.0.2/24\n")
    if "gateway" not in first and first != "dhcp":
        gateway_option(lab)
    logged = len(lab.router.log())
    lab.router.ifup("eth1")
    becomes(lab, BOTH + "".join(f"192.168.0.0/24 dev eth1 table {table} scope 253 src ETH1\n"
                                for table in (200, 201)))
    assert_shared(lab)
    told = [line for line in lab.router.log()[logged:] if ": ip -4 " not in line]
    assert not [line for line in told if "192.168.0" in line or "is not used" in line]


def test_what_is_left_when_the_lease_has_ended_is_not_the_link_s(lab: Lab) -> None:
    gateway_option(lab)
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    lab.router.run("ip", "address", "add", "192.168.0.2/24", "dev", "eth1")
    lab.router.run("dhclient", "-r", "-pf", "/run/dhclient.eth1.pid", "-lf", "/var/lib/dhcp/dhclient.eth1.leases",
                   "eth1")
    address_by_hand(lab, "192.168.0.2/24")  # dhclient has flushed it
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")


@pytest.mark.parametrize("source", ["src 169.254.7.9", ""], ids=["dhcpcd", "avahi-autoipd"])
def test_a_link_local_address_is_no_lease(lab: Lab, source: str) -> None:
    address_by_hand(lab, "169.254.7.9/16")
    lab.router.sh(f"ip route add default dev eth1 scope link {source} metric 1003")
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")


@pytest.mark.parametrize("gateway", ["main", "option"])
def test_an_address_of_the_administrator_s_own_command(lab: Lab, gateway: str) -> None:
    route = f" up ip route add default via {GATEWAY} dev eth1 metric 50\n" if gateway == "main" else ""
    if gateway == "option":
        gateway_option(lab)
    interfaces(lab, f"iface eth1 inet manual\n up ip link set eth1 up\n up ip addr add {ADDRESS}/27 dev eth1\n"
               f"{route} down ip addr flush dev eth1\n")
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    assert_shared(lab)
    lab.router.ifdown("eth1")
    becomes(lab, ETH0)


@pytest.mark.parametrize("table", [211, 100000, 201])
def test_a_default_route_counts_in_whatever_table_it_is(lab: Lab, table: int) -> None:
    """201 is the link's own, and has our default as well."""
    address_by_hand(lab)
    lab.router.sh(f"ip route add default via {GATEWAY} dev eth1 table {table}")
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, BOTH)
    lab.router.sh(f"ip route del default via {GATEWAY} dev eth1 table {table} proto boot; ip address flush dev eth1")
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)


def test_a_client_may_call_the_link_by_another_name(lab: Lab) -> None:
    lab.router.run("ip", "link", "property", "add", "dev", "eth1", "altname", "enp9s0")
    try:
        path = lab.router.path("/etc/network/interfaces")
        path.write_text("auto eth0\niface eth0 inet dhcp\n\niface enp9s0 inet dhcp\n")
        lab.router.ifup("enp9s0")
        becomes(lab, BOTH)
        lab.router.ifdown("enp9s0")
        becomes(lab, ETH0)
    finally:
        lab.router.run("ip", "link", "property", "del", "dev", "eth1", "altname", "enp9s0")


def test_a_default_route_of_main_comes_before_those_of_other_tables(lab: Lab) -> None:
    address_by_hand(lab)
    lab.router.sh(f"""
        ip route add default via 192.0.2.61 dev eth1 table 211
        ip route add default via {GATEWAY} dev eth1 metric 2000
    """)
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, BOTH)


def test_ifup_and_ifdown_of_all(lab: Lab) -> None:
    interfaces(lab, f"iface eth1 inet static\n address {ADDRESS}/27\n gateway {GATEWAY}\n metric 50\n")
    lab.router.run("ifdown", "-a")
    becomes(lab, "")
    lab.router.run("ifup", "-a")
    becomes(lab, BOTH)
    assert_shared(lab)
    lab.router.ifdown("eth1")


def test_ipv6_on_the_same_link_changes_nothing(lab: Lab) -> None:
    interfaces(lab, f"""iface eth1 inet static
        address {ADDRESS}/27
        gateway {GATEWAY}
        metric 50
    iface eth1 inet6 static
        address 2001:db8::50/64
        gateway 2001:db8::1
    """)
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    for phase, directory in ("post-up", "if-up.d"), ("post-down", "if-post-down.d"):
        tell(lab, f"/etc/network/{directory}/dhcp-lb", IFACE="eth1", LOGICAL="eth1", ADDRFAM="inet6", METHOD="static",
             PHASE=phase, IF_ADDRESS="2001:db8::50", IF_NETMASK="64", IF_GATEWAY="2001:db8::1")
        becomes(lab, BOTH)
    lab.router.ifdown("eth1")
    becomes(lab, ETH0)


def test_an_unplugged_device_is_out_and_its_like_is_in_again_when_it_is_up(lab: Lab) -> None:
    interfaces(lab, f"iface eth1 inet static\n address {ADDRESS}/27\n gateway {GATEWAY}\n metric 50\n")
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    lab.isp("eth1").unplug()
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
    lab.isp("eth1").replug()
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)
    lab.router.sh("ifdown --force eth1; ifup eth1")
    becomes(lab, BOTH)
    assert_shared(lab)


def test_a_renamed_device_is_the_link_of_its_new_name(lab: Lab) -> None:
    address_by_hand(lab)
    lab.router.sh(f"""
        ip link set eth1 down
        ip link set eth1 name usb0
        ip link set usb0 up
        ip route add default via {GATEWAY} dev usb0 metric 50
    """)
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)
    lab.router.sh(f"""
        ip link set usb0 down
        ip link set usb0 name eth1
        ip link set eth1 up
        ip route add default via {GATEWAY} dev eth1 metric 50
    """)
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, BOTH)


def test_an_address_that_was_deleted_by_hand_is_out_at_the_next_look(lab: Lab) -> None:
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    lab.router.run("ip", "address", "flush", "dev", "eth1")
    assert set(lab.connect(lab.lan, 50)) == {"eth0"}
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, ETH0)


def test_rules_that_somebody_flushed_are_back_at_the_next_event_of_any_link(lab: Lab) -> None:
    lab.router.ifup("eth1")
    lab.router.sh("ip rule flush; ip route flush table dhcp-lb; ip rule add lookup main pref 32766")
    tell(lab, "/usr/bin/dhcp-lb", "hook", "networkd", reason="look")
    becomes(lab, BOTH)
    lab.router.ifdown("eth1")


def test_ifupdown_has_nothing_to_add_to_what_the_client_said(lab: Lab) -> None:
    with lab.router.capture("ip", "-4", "monitor", "rule") as changes:
        lab.router.ifup("eth1")  # the client's BOUND, then if-up.d
    added = [line for line in changes if "Deleted" not in line]
    taken_back = [line.removeprefix("Deleted ") for line in changes if "Deleted" in line]
    assert len(set(added)) == 2
    assert sorted(taken_back) == sorted(set(added)) and sorted(added) == sorted(2 * taken_back)  # one rehearsal
    lab.router.ifdown("eth1")  # RELEASE, then if-post-down.d
    becomes(lab, ETH0)


def test_two_hooks_at_once_are_one_link(lab: Lab) -> None:
    lab.router.ifup("eth1")
    address = lab.router.addresses("eth1")[0]
    told: list[tuple[list[str], Mapping[str, str]]] = [
        (["/etc/network/if-up.d/dhcp-lb"], {
            "IFACE": "eth1", "LOGICAL": "eth1", "ADDRFAM": "inet", "METHOD": "dhcp", "PHASE": "post-up"}),
        (["/usr/bin/dhcp-lb"], {
            "reason": "BOUND", "interface": "eth1", "new_ip_address": address, "new_routers": GATEWAY,
            "new_subnet_mask": "255.255.255.224", "new_dhcp_server_identifier": GATEWAY}),
        (["/usr/bin/dhcp-lb", "hook", "networkd"], {"reason": "look"}),
    ]
    logged = len(lab.router.log())
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(subprocess.Popen(lab.router.argv(*argv), env={**ENVIRONMENT, **variables}))
                   for argv, variables in told * 5]
    assert {process.returncode for process in running} == {0}
    assert [line for line in lab.router.log()[logged:] if "dhcp-lb" in line] == []
    becomes(lab, BOTH)
    lab.router.ifdown("eth1")


def ppp(lab: Lab, what: str) -> None:
    """Does what pppd's /etc/ppp/ip-up and ip-down do."""
    done = lab.router.try_run(
        "run-parts", f"/etc/ppp/{what}.d", "--arg=eth1", "--arg=/dev/ttyUSB0", "--arg=115200", f"--arg={ADDRESS}",
        f"--arg={GATEWAY}", "--arg=provider", env={
            **ENVIRONMENT, "PPP_IFACE": "eth1", "PPP_TTY": "/dev/ttyUSB0", "PPP_SPEED": "115200",
            "PPP_LOCAL": ADDRESS, "PPP_REMOTE": GATEWAY, "PPP_IPPARAM": "provider"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_ppp_link_is_routed_by_its_device_alone(lab: Lab) -> None:
    lab.isp("eth1").node.run("sysctl", "-qw", "net.ipv4.conf.customers.proxy_arp=1")  # for want of a real line
    address_by_hand(lab, f"{ADDRESS} peer {GATEWAY}")
    ppp(lab, "ip-up")
    by_device = BOTH.replace(f"via {GATEWAY} dev eth1", "dev eth1").splitlines(keepends=True)
    becomes(lab, "".join(line for line in by_device if "192.0.2.32/27" not in line))
    assert_shared(lab)
    ppp(lab, "ip-down")
    becomes(lab, ETH0)


def networkmanager(lab: Lab, action: str, **variables: str) -> None:
    """Calls the hook as NetworkManager-dispatcher(8) says."""
    tell(lab, "/usr/lib/NetworkManager/dispatcher.d/90-dhcp-lb", "eth1", action, NM_DISPATCHER_ACTION=action,
         CONNECTION_UUID="0", CONNECTION_ID="wired", DEVICE_IFACE="eth1", DEVICE_IP_IFACE="eth1", **variables)


def test_networkmanager_s_dispatcher(lab: Lab) -> None:
    address_by_hand(lab)
    lease = {"IP4_NUM_ADDRESSES": "1", "IP4_ADDRESS_0": f"{ADDRESS}/27 {GATEWAY}", "IP4_GATEWAY": GATEWAY,
             "DHCP4_IP_ADDRESS": ADDRESS, "DHCP4_DHCP_SERVER_IDENTIFIER": GATEWAY, "DHCP4_DHCP_LEASE_TIME": "3600"}
    networkmanager(lab, "pre-up", **lease)
    becomes(lab, ETH0)
    networkmanager(lab, "up", **lease)
    becomes(lab, BOTH)
    assert_shared(lab)
    lab.router.sh("ip route add default via 192.0.2.34 dev eth1 proto dhcp metric 100")
    networkmanager(lab, "dhcp4-change")
    becomes(lab, BOTH.replace(GATEWAY, "192.0.2.34"))
    networkmanager(lab, "down")  # of an earlier connection, while the next one has the interface
    becomes(lab, BOTH.replace(GATEWAY, "192.0.2.34"))
    lab.router.run("ip", "address", "flush", "dev", "eth1")
    networkmanager(lab, "down")
    becomes(lab, ETH0)
    tell(lab, "/usr/lib/NetworkManager/dispatcher.d/90-dhcp-lb", "none", "hostname")
    becomes(lab, ETH0)


def test_networkd_dispatcher(lab: Lab) -> None:
    def dispatch(state: str) -> None:
        tell(lab, f"/usr/lib/networkd-dispatcher/{state}.d/dhcp-lb", IFACE="eth1", STATE=state,
             OperationalState=state, AdministrativeState="configured", ADDR=ADDRESS, json="{}")

    address_by_hand(lab)
    lab.router.sh(f"ip route add default via {GATEWAY} dev eth1 proto dhcp src {ADDRESS} metric 1024")
    dispatch("routable")
    becomes(lab, BOTH)
    assert_shared(lab)
    lab.router.run("ip", "address", "flush", "dev", "eth1")
    dispatch("carrier")
    becomes(lab, ETH0)
    dispatch("off")
    becomes(lab, ETH0)
