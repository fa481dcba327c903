"""The recipes of dhcp-lb(8) do what they promise, as they are printed: with the real clients and daemons."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.beds.lab import CHECKOUT, Isp, Lab, debian_root, wait_for
from tests.beds.lab.root import PACKAGES
from tests.beds.two_links import BOTH, assert_shared, becomes, routing
from tests.test_ns_clients import PACKAGES as CLIENTS
from tests.test_ns_daemons import DAEMONS, leave_to_others, start_networkd

MANUAL = (CHECKOUT / "doc" / "dhcp-lb.8").read_text()
DHCP = "auto eth1\niface eth1 inet dhcp\n"


def recipe(heading: str) -> list[str]:
    """The examples under a heading, as man(1) shows them."""
    section = re.split(r"^\.S[SH] ", MANUAL.partition(f".SS {heading}\n")[2], flags=re.M)[0]
    assert section, f"no recipe {heading}"
    return [example.replace("\\-", "-").replace("\\e", "\\")
            for example in re.findall(r"^\.EX\n(.*?)^\.EE$", section, flags=re.M | re.S)]


def follow(lab: Lab, heading: str) -> list[str]:
    """Writes the files of a recipe: an example that starts with `# /PATH`. Returns the other examples."""
    rest = []
    for example in recipe(heading):
        head, _, text = example.partition("\n")
        if head.startswith("# /"):
            lab.router.path(head[2:]).write_text(text)
        else:
            rest.append(example)
    return rest


@contextmanager
def lab_with(*packages: str) -> Iterator[Lab]:
    """eth0 is up, by ifupdown and dhclient; eth1 is not configured."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2, pool="192.0.2.48/28")],
             debian_root("bookworm", sorted({*PACKAGES, *packages}))) as lab:
        lab.router.ifup("eth0")
        lab.router.path("/etc/network/interfaces").write_text("")
        yield lab
        becomes(lab, BOTH)
        assert_shared(lab)


def test_a_router_with_a_lan_from_nothing() -> None:
    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.router.sh("""
            rm /etc/dhcp-lb /etc/nftables.conf
            nft flush ruleset
            sysctl -qw net.ipv4.ip_forward=0
            ip address flush dev lan0
        """)
        commands, = follow(lab, "A router with a LAN, from nothing")
        assert commands == "# sysctl --system\n# systemctl enable --now nftables\n# ifup -a\n# dhcp-lb status\n"
        # The lab has no systemd; and the machine's other sysctls are not its own.
        lab.router.sh("sysctl -qp /etc/sysctl.d/router.conf; nft -f /etc/nftables.conf; ifup -a")
        becomes(lab, BOTH)
        assert_shared(lab)
        assert lab.router.dhcp_lb("check") == "/etc/dhcp-lb: 2 links\n"  # without a warning
        lab.router.dhcp_lb("apply")
        lab.router.sh("nft -f /etc/nftables.conf; nft list table inet dhcp-lb")


def test_a_link_by_dhclient() -> None:
    with lab_with() as lab:
        assert follow(lab, "A link by ifupdown and dhclient") == []
        lab.router.ifup("eth1")


def test_a_link_by_dhcpcd_or_udhcpc() -> None:
    with lab_with(*CLIENTS) as lab:
        lab.router.path("/etc/network/interfaces").write_text(DHCP)
        script, = follow(lab, "A link by udhcpc")
        with lab.router.path("/etc/udhcpc/default.script").open("a") as file:
            file.write(script)
        lab.router.sh("rm $(command -v dhclient); ifup eth1; pidof udhcpc")
        becomes(lab, BOTH)
        lab.router.sh("ifdown eth1; rm $(command -v udhcpc); ifup eth1; pidof dhcpcd")


def test_a_link_with_a_static_address() -> None:
    with lab_with() as lab:
        line, = follow(lab, "A link with a static address, by ifupdown")
        lab.router.ifup("eth1")
        becomes(lab, BOTH)
        lab.router.ifdown("eth1")
        stanza = lab.router.path("/etc/network/interfaces").read_text()
        lab.router.path("/etc/network/interfaces").write_text(re.sub(" *(gateway|metric).*\n", "", stanza))
        lab.router.path("/etc/dhcp-lb").write_text("eth0 table-eth0 200 1\n" + line)
        lab.router.ifup("eth1")


def test_a_link_by_networkd() -> None:
    with lab_with(*DAEMONS) as lab:
        assert follow(lab, "A link by systemd\\-networkd") == []
        leave_to_others(lab)
        start_networkd(lab)
        lab.router.sh("reason=look dhcp-lb hook networkd")  # the lab has no systemd


def test_a_link_by_networkmanager() -> None:
    with lab_with(*DAEMONS) as lab:
        lab.router.path("/etc/NetworkManager/conf.d/lab.conf").write_text(
            "[keyfile]\nunmanaged-devices=interface-name:eth0;interface-name:lan0\n")
        leave_to_others(lab)
        lab.router.run("NetworkManager")
        wait_for("NetworkManager", lambda: lab.router.try_run("nmcli", "general").returncode == 0)
        commands, = follow(lab, "A link by NetworkManager")
        lab.router.sh(re.sub("^# ", "", commands, flags=re.M))


def test_it_is_switched_off_and_kept() -> None:
    with lab_with() as lab:
        follow(lab, "A link by ifupdown and dhclient")
        lab.router.ifup("eth1")
        becomes(lab, BOTH)
        commands, = follow(lab, "Switch it off, and keep it")
        lab.router.sh(re.sub("^# ", "", commands, flags=re.M))
        for _ in range(2):
            assert routing(lab) == [] and not lab.router.run("ip", "-o", "link", "show", "group", "109")
            lab.router.ifdown("eth1")
            lab.router.ifup("eth1")
        lab.router.sh("ip route flush exact default; ifdown eth1; ifup eth1")  # where the clients had left none
        assert lab.connect(lab.lan, 20) == {"eth1": 20}
        lab.router.sh("sed -i /enabled/d /etc/dhcp-lb; dhcp-lb apply")
