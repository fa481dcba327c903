"""The cases of test_ns_field.py once more, with real clients, real servers and real connections; and others of their
kinds."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.beds.lab import Isp, Lab, Node, debian_root, wait_for
from tests.beds.lab.lab import A_SERVER, add_cable, errors
from tests.beds.lab.node import ENVIRONMENT
from tests.beds.lab.root import PACKAGES
from tests.beds.two_links import assert_shared

ROOT = sorted([*PACKAGES, "iptables", "openvpn"])  # the one of test_ns_tunnels.py
ASK = Path(__file__).parent / "beds" / "lab" / "ask.py"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A router as after its boot: `apply` has run, and no link is up."""
    with Lab([Isp("eth0"), Isp("eth1")]) as lab:
        lab.router.dhcp_lb("apply")
        yield lab


def warnings(lab: Lab) -> list[str]:
    found: list[str] = json.loads(lab.router.dhcp_lb("status", "--json"))["warnings"]
    return [warning for warning in found if "no monitor" not in warning]


def in_order(lab: Lab) -> bool:
    return bool(json.loads(lab.router.dhcp_lb("status", "--json"))["in_order"])


def states(lab: Lab) -> list[str]:
    return [link["state"] for link in json.loads(lab.router.dhcp_lb("status", "--json"))["links"]]


@contextmanager
def monitor(lab: Lab) -> Iterator[None]:
    running = subprocess.Popen(lab.router.argv("dhcp-lb", "monitor"), env=ENVIRONMENT)
    try:
        wait_for("the monitor", lambda: lab.router.path("/run/dhcp-lb/watched").exists())
        yield
    finally:
        lab.router.sh("kill $(cat /run/dhcp-lb/monitor)")
        running.wait()


@pytest.mark.parametrize("last_resort", [
    "blackhole default metric 9999",
    "unreachable default proto static metric 4278198272",  # as systemd-networkd's Type=unreachable, or bond failovers
    "prohibit default metric 20000",
])
def test_behind_a_last_resort_in_main_all_go_by_the_link_that_works(lab: Lab, last_resort: str) -> None:  # R1
    lab.router.sh(f"ip route add {last_resort}")
    lab.router.ifup()
    assert_shared(lab)
    lab.router.ifdown("eth0")
    for machine in lab.lan, lab.router:
        assert lab.connect(machine, 50) == {"eth1": 50}
    assert in_order(lab)


@pytest.mark.parametrize("default_first", [True, False])
def test_a_management_lan_s_default_takes_nothing(default_first: bool) -> None:
    """Its DHCP server names a router. dhclient's defaults have no metric, so the first one alone is in main."""
    with Lab([Isp("eth0"), Isp("eth1"), Isp("mgmt0")]) as lab:
        config = lab.router.path("/etc/dhcp-lb")
        config.write_text("".join(line for line in config.read_text().splitlines(True) if "mgmt0" not in line))
        lab.router.dhcp_lb("apply")
        for interface in ("mgmt0", "eth0", "eth1") if default_first else ("eth0", "eth1", "mgmt0"):
            lab.router.ifup(interface)
        assert ("default via 192.0.2.65 dev mgmt0" in lab.router.run("ip", "route")) == default_first
        assert_shared(lab)
        assert any("main's default by mgmt0" in warning for warning in warnings(lab)) == default_first
        assert in_order(lab)
        for interface in "eth0", "eth1":
            assert lab.connect_to_router(interface, 20) == {"answered": 20}
        lab.router.run("ping", "-c1", "-W2", "192.0.2.65")
        if default_first:  # what dhcp-lb(8) tells whoever comes from beyond that router
            lab.router.sh(f"ip rule add pref 20050 from {lab.router.addresses('mgmt0')[0]} lookup main")
            assert lab.connect_to_router("mgmt0", 20) == {"answered": 20}


@pytest.mark.parametrize("routes", ["main", "option 121"])
def test_one_to_whom_a_route_by_one_link_leads_is_answered_by_the_other(routes: str) -> None:  # R4
    option = {121: "0.0.0.0/0,192.0.2.33,198.51.100.0/24,192.0.2.33"} if routes == "option 121" else {}
    with Lab([Isp("eth0"), Isp("eth1", options=option)]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        if not option:
            lab.router.sh(f"ip route add {A_SERVER} via 192.0.2.33 dev eth1")
        assert "198.51.100." in lab.router.run("ip", "route", "show", "dev", "eth1")
        assert lab.connect_to_router("eth0", 20) == {"answered": 20}
        assert lab.connect_to_router("eth1", 20) == {"answered": 20}
        for machine in lab.lan, lab.router:
            assert lab.connect(machine, 20, to=A_SERVER) == {"eth1": 20}


@pytest.mark.parametrize("routes", ["main", "option 121"])
def test_a_network_behind_another_router_is_reached_and_answered(routes: str) -> None:
    """A branch office, or a provider's telephones. The gateway does not know the way there."""
    option = {121: "0.0.0.0/0,192.0.2.33,10.55.0.0/16,192.0.2.35"} if routes == "option 121" else {}
    with Lab([Isp("eth0"), Isp("eth1", options=option)]) as lab, Node("branch", lab.root) as branch:
        provider = lab.isp("eth1").node
        add_cable(provider, "port2", branch, "eth0")
        # Where the host has br_netfilter, the provider would filter what its customers send to each other.
        provider.sh("ip link set port2 master customers; sysctl -eqw net.bridge.bridge-nf-call-iptables=0")
        branch.sh("ip link set eth0 up; ip address add 192.0.2.35/27 dev eth0; ip address add 10.55.0.1/16 dev lo")
        lab.serve(branch)
        lab.router.dhcp_lb("apply")
        with monitor(lab):
            lab.router.ifup()
            if not option:
                lab.router.sh("ip route add 10.55.0.0/16 via 192.0.2.35 dev eth1; dhcp-lb apply")
            wait_for("the route", lambda: "10.55.0.0/16" in lab.router.run("ip", "route", "show", "table", "201"))
            for machine in lab.lan, lab.router:
                assert lab.connect(machine, 20, to="10.55.0.1") == {"eth1": 20}
            [address] = lab.router.addresses("eth1")
            assert lab.connect(branch, 20, to=address, source="10.55.0.1") == {"10.55.0.1": 20}
            assert_shared(lab)
            assert in_order(lab)


@pytest.mark.parametrize("number", [0, 1])
def test_a_lan_inside_of_a_provider_s_network_is_answered(number: int) -> None:  # R5
    wide = Isp(f"eth{number}", network="10.0.0.0/8", gateway="10.77.0.1", pool="10.77.0.80/28")
    with Lab([wide, Isp("eth1")] if number == 0 else [Isp("eth0"), wide]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        for interface in "eth0", "eth1":
            [address] = lab.router.addresses(interface)
            assert lab.connect(lab.lan, 20, to=address) == {"10.0.0.2": 20}
            assert lab.connect_to_router(interface, 20) == {"answered": 20}
        assert_shared(lab)


@pytest.mark.parametrize("gateway", ["100.64.0.1", "169.254.0.1"])
def test_two_links_whose_providers_have_one_router_are_reached_by_both(gateway: str) -> None:  # R6
    with Lab([Isp(f"eth{number}", network="100.64.7.0/24", pool=f"100.64.7.{96 + 32 * number}/28",
                  gateway=gateway, netmask="255.255.255.255") for number in range(2)]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        assert_shared(lab)
        for interface in "eth0", "eth1":
            [address] = lab.router.addresses(interface)
            lab.isp(interface).node.run("ping", "-q", "-c3", "-i0.2", "-W1", "-I", gateway, address)
            assert lab.connect_to_router(interface, 20) == {"answered": 20}


def test_of_two_modems_with_one_address_the_one_with_its_cable_in_serves() -> None:  # R7
    with Lab([Isp(f"eth{number}", network="192.168.8.0/24", pool="192.168.8.100/32", modem=True)
              for number in range(2)]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        assert lab.router.addresses("eth0") == lab.router.addresses("eth1") == ["192.168.8.100"]
        with monitor(lab):
            for out, serves in ("eth0", "eth1"), ("eth1", "eth0"):
                lab.isp(out).cut_cable()
                wait_for("the other one", lambda: states(lab)[int(serves[-1])] == "up")
                for machine in lab.lan, lab.router:
                    assert lab.connect(machine, 50) == {serves: 50}
                lab.isp(out).plug_cable()
                wait_for("one of them", lambda: sorted(states(lab)) == ["unusable", "up"])


def test_of_two_modems_with_one_address_the_one_whose_provider_works_serves() -> None:  # R7
    with Lab([Isp(f"eth{number}", network="192.168.8.0/24", pool="192.168.8.100/32", modem=True)
              for number in range(2)]) as lab:
        path = lab.router.path("/etc/dhcp-lb")
        path.write_text(path.read_text() + f"check = {A_SERVER}\nup = 0\n")
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        with monitor(lab):
            wait_for("an answer", lambda: "ms, " in lab.router.dhcp_lb("status"))
            for _ in range(2):
                lab.isp("eth0").node.sh("nft add table ip dead; nft add chain ip dead f "
                                        "'{ type filter hook forward priority 0; policy drop; }'")
                wait_for("the other one", lambda: states(lab) == ["dead", "up"])
                for machine in lab.lan, lab.router:
                    assert lab.connect(machine, 50) == {"eth1": 50}
                lab.isp("eth0").node.sh("nft delete table ip dead")
                wait_for("the first one to be back", lambda: states(lab) == ["up", "unusable"])
                assert lab.connect(lab.lan, 50) == {"eth0": 50}


def test_two_modems_with_one_network_are_both_used() -> None:
    with Lab([Isp(f"eth{number}", network="192.168.8.0/24", pool=f"192.168.8.{100 + number}/32", modem=True)
              for number in range(2)]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        assert states(lab) == ["up", "up"]
        assert_shared(lab)
        for out, serves in ("eth0", "eth1"), ("eth1", "eth0"):
            lab.isp(out).cut_cable()
            for machine in lab.lan, lab.router:
                assert lab.connect(machine, 50) == {serves: 50}
            lab.isp(out).plug_cable()


def test_a_network_beside_a_lease_is_reached_and_answered(lab: Lab) -> None:
    """A modem's own page, or machines of the LAN on the bridge that is the uplink, too. They ask both links."""
    lab.router.ifup()
    modem, network = lab.isp("eth1").node, "192.168.100"
    modem.run("ip", "address", "add", f"{network}.1/24", "dev", "customers")
    lab.router.sh(f"ip address add {network}.2/24 dev eth1; dhcp-lb apply")
    lab.serve(modem)
    for machine in lab.lan, lab.router:
        assert lab.connect(machine, 20, to=f"{network}.1") == {f"{network}.2": 20}
    for interface in "eth0", "eth1":
        address = lab.router.addresses(interface)[0]
        modem.run("ip", "route", "replace", address, "via", f"{network}.2")
        assert lab.connect(modem, 20, to=address, source=f"{network}.1") == {f"{network}.1": 20}
    assert_shared(lab)
    assert in_order(lab)


# Containers

def docker(lab: Lab, container: Node, network: str = "172.17.0.0/16") -> None:
    """What Docker 20.10 does at its start, and for `docker run -p 8080:80`: a bridge, and its own rules."""
    gateway, address = network.replace(".0/16", ".1"), network.replace(".0/16", ".2")
    add_cable(container, "eth0", lab.router, "veth1")
    lab.router.sh(f"""
        ip link add docker0 type bridge
        ip address add {gateway}/16 dev docker0
        ip link set docker0 up
        ip link set veth1 master docker0 up
        sysctl -qw net.ipv4.conf.docker0.route_localnet=1
        iptables -t nat -N DOCKER
        iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
        iptables -t nat -A POSTROUTING -s {network} ! -o docker0 -j MASQUERADE
        iptables -t nat -A POSTROUTING -s {address} -d {address} -p tcp --dport 80 -j MASQUERADE
        iptables -t nat -A DOCKER -i docker0 -j RETURN
        iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination {address}:80
        iptables -N DOCKER
        iptables -N DOCKER-USER
        iptables -A DOCKER-USER -j RETURN
        iptables -P FORWARD DROP
        iptables -A FORWARD -j DOCKER-USER
        iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        iptables -A FORWARD -o docker0 -j DOCKER
        iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
        iptables -A DOCKER -d {address} ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
        iptables -I FORWARD -i lan0 -j ACCEPT
        iptables -I FORWARD -o lan0 -j ACCEPT
    """)
    container.sh(f"ip address add {address}/16 dev eth0; ip route add default via {gateway}")
    lab.serve(container)


@pytest.fixture(params=[False, True], ids=["Docker before us", "Docker after us"])
def containers(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Node]]:
    """The lease of eth1 has the network of Docker's bridge inside of it."""
    root = debian_root(packages=ROOT)
    with Lab([Isp("eth0"), Isp("eth1", network="172.16.0.0/12", gateway="172.31.0.1", pool="172.31.0.80/28")],
             root) as lab, Node("container", root) as container:
        if request.param:
            lab.router.dhcp_lb("apply")
            lab.router.ifup()
        docker(lab, container)
        if not request.param:
            lab.router.dhcp_lb("apply")
            lab.router.ifup()
        yield lab, container


def test_a_container_beside_us_is_reached_and_reaches_all(containers: tuple[Lab, Node]) -> None:
    lab, container = containers
    assert_shared(lab)
    shared = lab.connect(container, 100)
    assert set(shared) == {"eth0", "eth1"} and shared.total() == 100
    for interface in "eth0", "eth1":  # `docker run -p`
        assert lab.connect_to_router(interface, 100, port=8080) == {"answered": 100}
    assert lab.connect_to_router("lan0", 20, port=8080) == {"172.17.0.1": 20}
    assert lab.connect(lab.router, 20, to="172.17.0.2") == {"172.17.0.1": 20}
    lab.router.ifdown("eth0")
    assert lab.connect(container, 50) == {"eth1": 50}
    assert lab.connect_to_router("eth1", 50, port=8080) == {"answered": 50}
    assert in_order(lab)


@pytest.mark.parametrize("whose", ["container", "router", "lan"])
def test_connections_of_a_container_outlive_lost_packets(whose: str) -> None:  # R8
    """A veth carries the hash of the sender's socket, drawn anew at each retransmission, and nothing pins these: those
    of a container, of the router itself, and of a machine of the LAN that is virtual."""
    root = debian_root(packages=ROOT)
    with Lab([Isp("eth0"), Isp("eth1")], root) as lab, Node("container", root) as container:
        with lab.router.path("/etc/dhcp-lb").open("a") as config:
            config.write("pin = no\n")
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        docker(lab, container)
        lab.lan.run("sysctl", "-qw", "net.core.txrehash=1")
        machine = {"container": container, "router": lab.router, "lan": lab.lan}[whose]
        assert machine.run("sysctl", "-n", "net.core.txrehash") == "1\n"
        with lab.held(machine, 200, timeout_s=15) as held:
            assert held.opened.total() == 200 and not errors(held.opened)
            for isp in lab.isps:
                isp.node.sh("nft add chain ip lab loss '{ type filter hook forward priority -1; policy drop; }'")
            alive: list[int] = []
            asked = threading.Thread(target=lambda: alive.append(held.still_alive()))
            asked.start()
            time.sleep(2.5)
            for isp in lab.isps:
                isp.node.sh("nft delete chain ip lab loss")
            asked.join()
            assert alive == [200]


# Servers

def test_a_provider_s_own_resolver_answers_all_that_is_asked() -> None:  # R13
    """It answers its customers only, as many do, and is not on their network."""
    with Lab([Isp(f"eth{number}", options={6: f"203.0.113.{4 * number + 2}"}) for number in range(2)]) as lab:
        for isp in lab.isps:
            isp.node.sh(f"""
                dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --address=/example/192.0.2.1 --user=root \
                    --listen-address={isp.upstream} --bind-interfaces --pid-file=/run/dns.pid
                nft add chain ip lab input '{{ type filter hook input priority 0; }}'
                nft add rule ip lab input iifname upstream meta l4proto {{ tcp, udp }} th dport 53 drop
            """)
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        for isp in lab.isps:
            for protocol in "udp", "tcp":
                for machine in lab.router, lab.lan:
                    assert answered(machine, isp.upstream, protocol) == 30
        lab.router.dhcp_lb("drain", "eth0")  # its own resolver is asked by it no more
        assert answered(lab.router, lab.isp("eth1").upstream, "udp") == 30
        config = lab.router.path("/etc/dhcp-lb")
        config.write_text(config.read_text().replace("201 1", "201 1 dns=no"))
        lab.router.dhcp_lb("enable", "eth0")
        lab.router.dhcp_lb("apply")
        assert answered(lab.router, lab.isp("eth0").upstream, "udp") == 30
        assert answered(lab.router, lab.isp("eth1").upstream, "udp") < 30  # balanced again


def answered(machine: Node, server: str, protocol: str) -> int:
    """How many of 30 questions a name server answers."""
    return int(machine.python(ASK, server, protocol, "30").communicate()[0])


def test_a_server_that_a_provider_names_captures_nothing_but_dhcp() -> None:  # R14
    captured = "198.51.100.77"
    with Lab([Isp("eth0", weight=50, renew_s=2), Isp("eth1")]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        with lab.router.event("eth0", "RENEW"):  # dnsmasq itself never lies about its address
            lab.isp("eth0").node.sh("""
                nft add chain ip lab leases '{ type filter hook output priority 0; }'
                nft add rule ip lab leases udp sport 67 @th,2024,32 set 0xc633644d udp checksum set 0
            """)
        assert f"{captured} via" in lab.router.run("ip", "route", "show", "table", "dhcp-lb-servers")
        lab.router.dhcp_lb("drain", "eth0")
        for machine in lab.lan, lab.router:
            assert lab.connect(machine, 50, to=captured) == {"eth1": 50}
        assert lab.connect_to_router("eth0", 20) == {"answered": 20}


def test_a_lease_whose_mask_is_half_of_the_internet_is_named_and_takes_nothing_from_the_others() -> None:  # R15
    with Lab([Isp("eth0"), Isp("eth1", netmask="128.0.0.0")]) as lab:
        lab.router.dhcp_lb("apply")
        lab.router.ifup()
        assert "128.0.0.0/1 dev eth1" in lab.router.run("ip", "route")
        assert [warning for warning in warnings(lab) if "eth1 has a lease with a prefix of /1" in warning]
        assert lab.connect(lab.router, 20, source=lab.router.addresses("eth0")[0]) == {"eth0": 20}
        assert lab.connect(lab.router, 20, device="eth0") == {"eth0": 20}
        assert lab.connect_to_router("eth0", 20) == {"answered": 20}


# What is set back, and what else counts

def test_a_sysctl_that_somebody_sets_back_is_set_again_at_once(lab: Lab) -> None:  # R16
    """`sysctl --system` runs at each upgrade of a package that has settings of its own."""
    lab.router.path("/etc/sysctl.d/99-local.conf").write_text(
        "net.ipv4.conf.eth0.ignore_routes_with_linkdown = 0\nnet.ipv4.conf.eth1.ignore_routes_with_linkdown = 0\n"
        "net.ipv4.conf.all.rp_filter = 1\n")
    lab.router.ifup()
    keys = [f"net.ipv4.conf.{name}.{key}" for name in ("eth0", "eth1")
            for key in ("ignore_routes_with_linkdown", "rp_filter")]
    with monitor(lab):
        assert in_order(lab)
        lab.router.run("sysctl", "--system")
        wait_for("the monitor", lambda: lab.router.run("sysctl", "-n", *keys).split() == ["1", "2", "1", "2"], 2)
        assert in_order(lab) and lab.router.dhcp_lb("plan") == ""
        lab.isp("eth0").cut_cable()
        for machine in lab.lan, lab.router:
            assert lab.connect(machine, 50) == {"eth1": 50}


def test_the_monitor_tells_what_comes_in_the_place_of_ours_once_and_measures_it(lab: Lab) -> None:
    with lab.router.path("/etc/dhcp-lb").open("a") as config:
        config.write("metrics = /run/dhcp-lb/dhcp-lb.prom\n")
    lab.router.ifup()
    lab.router.dhcp_lb("apply")
    measured = lab.router.path("/run/dhcp-lb/dhcp-lb.prom")

    def told() -> int:
        return sum("table-eth1 has a default route that is somebody else's" in line for line in lab.router.log())

    with monitor(lab):
        wait_for("the metrics", lambda: measured.exists() and "dhcp_lb_in_order 1.0\n" in measured.read_text())
        lab.router.run("ip", "route", "prepend", "default", "via", "192.0.2.1", "dev", "eth0", "table", "201")
        wait_for("the log", lambda: told() == 1, 5)
        wait_for("the metrics", lambda: "dhcp_lb_in_order 0.0\n" in measured.read_text(), 20)
        lab.router.sh("ip rule add pref 5 lookup 99; sleep 1; ip rule del pref 5; sleep 1")  # which only wakes it
        lab.router.dhcp_lb("apply")
        assert told() == 1 and not in_order(lab)


# Devices that come

@pytest.mark.parametrize("default", ["replace", "append"])
def test_a_device_that_comes_takes_no_connection_before_it_is_in_the_group(lab: Lab, default: str) -> None:
    """As a USB modem or PPP that is back: its program sets address and default within a millisecond, and until the
    monitor has seen the device its default counts as a VPN's. Seen: none of some 40. Then it is balanced like any."""
    lab.router.ifup()
    [address] = lab.router.addresses("eth1")
    with monitor(lab):
        lab.isp("eth1").unplug()
        lab.router.ifdown("eth1")
        wait_for("the look", lambda: states(lab) == ["up", "no interface"])
        with lab.prober(lab.lan) as prober:
            lab.isp("eth1").replug()
            lab.router.run("ip", "-batch", "-", stdin=f"""
                link set eth1 up
                address add {address}/27 dev eth1
                route {default} default via 192.0.2.33 dev eth1
            """)
            wait_for("the group", lambda: lab.router.ip("-N link show eth1")[0]["group"] == "109")
        total, by_eth1 = prober.connections.total(), prober.connections["eth1"]
        print(f"{by_eth1} of {total} by eth1")
        assert not prober.failed() and by_eth1 <= 5
        wait_for("the lease to be taken up", lambda: lab.router.dhcp_lb("plan") == "")
        assert_shared(lab)
