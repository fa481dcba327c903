"""ifupdown's successors, for real: ifupdown2 (Proxmox VE's), ifupdown-ng."""

from collections.abc import Iterator

import pytest

from tests.beds.lab import Isp, Lab, debian_root
from tests.beds.lab.root import PACKAGES
from tests.beds.two_links import BOTH, ETH0, assert_all_by, assert_shared, becomes

ADDRESS, GATEWAY = "192.0.2.50", "192.0.2.33"
STATIC = f" address {ADDRESS}/27\n gateway {GATEWAY}\n metric 50\n"
OF_IPV6 = "iface eth1 inet6 static\n address 2001:db8::50/64\n"


@pytest.fixture(scope="module", params=["trixie ifupdown2", "bookworm ifupdown-ng"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """eth0 is up under dhclient."""
    suite, package = str(request.param).split()
    root = debian_root(suite, sorted({*PACKAGES} - {"ifupdown"} | {package}))
    with Lab([Isp("eth0"), Isp("eth1", weight=2, pool="192.0.2.48/28")], root) as lab:
        lab.router.ifup("eth0")
        yield lab
        assert not [line for line in lab.router.log() if "report it" in line]


@pytest.mark.parametrize("stanza", [
    f"iface eth1 inet static\n{STATIC}",
    f"iface eth1 inet static\n{STATIC}{OF_IPV6}",
    f"{OF_IPV6}iface eth1 inet static\n{STATIC}",
    f"iface eth1\n{STATIC}",
    f"iface eth1 inet static\n address {ADDRESS}\n netmask 255.255.255.224\n gateway {GATEWAY}\n metric 50\n",
    f"iface eth1 inet static\n address {ADDRESS}/27\n up ip route add default via {GATEWAY} dev eth1 metric 50\n",
    "iface eth1 inet dhcp\n",
], ids=["static", "both families", "IPv6 first", "no family", "net mask", "own command", "dhcp"])
def test_a_link_comes_and_goes(lab: Lab, stanza: str) -> None:
    becomes(lab, ETH0)
    path = lab.router.path("/etc/network/interfaces")
    path.write_text(f"auto eth0\niface eth0 inet dhcp\n\nauto eth1\n{stanza}")
    logged = len(lab.router.log())
    lab.router.ifup("eth1")
    becomes(lab, BOTH)
    assert_shared(lab)
    assert not [line for line in lab.router.log()[logged:] if "is not used" in line]
    lab.router.ifdown("eth1")
    becomes(lab, ETH0)
    assert_all_by(lab, "eth0")
