"""The upgrade from 2.0: the maintainer scripts' own lines, on a router as 2.0 left it. Its connections go on."""

from collections.abc import Iterator

import pytest

from tests.beds.lab import CHECKOUT, Isp, Lab, debian_root
from tests.beds.lab.root import PACKAGES
from tests.test_ns_daemons import DAEMONS

HOOK = "/etc/dhcp/dhclient-exit-hooks.d/dhcp-lb"
OURS = "/usr/lib/sysctl.d/10-dhcp-lb.conf"
PREINST = (CHECKOUT / "debian/dhcp-lb.preinst").read_text()
AFTERWARDS = (CHECKOUT / "debian/dhcp-lb.postinst").read_text().partition("#DEBHELPER#")[2]  # the service runs by then
AS_BY_2_0 = """
    umask 077
    mkdir -p /run/dhcp-lb/leases /run/systemd/system
    since=$(cut -d. -f1 /proc/uptime)
    for place in 0 1; do
        set -- $(ip -4 -o address show dev eth$place | sed 's|.*inet \\([0-9.]*\\)/\\([0-9]*\\).*|\\1 \\2|')
        network=192.0.2.$((32 * place)) gateway=192.0.2.$((32 * place + 1)) table=$((200 + place))
        echo "1 $1 $2 $gateway $gateway $since 3600 " >/run/dhcp-lb/leases/eth$place
        ip route add $network/27 dev eth$place table $table scope link src $1 proto 109
        ip route add default via $gateway dev eth$place table $table src $1 proto 109
        ip route add default via $gateway dev eth$place table 252 src $1 metric $((1001 - place)) proto 109
        ip rule add pref 19900 from $1 to $network/27 lookup $table protocol 109
        ip rule add pref 20100 from $1 lookup $table protocol 109
        ip rule add pref 20200 oif eth$place lookup $table protocol 109
    done
    ip route add default table 252 proto 109 nexthop via 192.0.2.1 dev eth0 weight 1 \
        nexthop via 192.0.2.33 dev eth1 weight 2
    ip rule add pref 20000 lookup main suppress_prefixlength 0 protocol 109
    ip rule add pref 32765 lookup 252 protocol 109
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two links that are up by 2.0: what it had in the kernel and in /run, and its hash."""
    with Lab([Isp("eth0"), Isp("eth1", weight=2)], debian_root(packages=sorted([*PACKAGES, *DAEMONS]))) as lab:
        lab.router.sh(f"mv {HOOK} /run/hook; mv {OURS} /run/ours")
        for isp in lab.isps:
            lab.router.dhclient(isp.interface)
        lab.router.path("/usr/lib/sysctl.d/dhcp-lb.conf").write_text("net.ipv4.fib_multipath_hash_policy = 1\n")
        lab.router.sh(AS_BY_2_0 + "sysctl -qw net.ipv4.fib_multipath_hash_fields=7\n"
                      "sysctl -qp /usr/lib/sysctl.d/dhcp-lb.conf\n")
        assert hash_of(lab) == ["1", "7"]
        assert set(lab.connect(lab.lan, 60)) == {"eth0", "eth1"}
        yield lab


def hash_of(lab: Lab) -> list[str]:
    """Its policy and its fields."""
    keys = [f"net.ipv4.fib_multipath_hash_{key}" for key in ("policy", "fields")]
    return lab.router.run("sysctl", "-n", *keys).split()


def upgrade(lab: Lab) -> None:
    """preinst, the new files, the trigger of systemd's package, then the end of postinst, where the service has
    started anew."""
    lab.router.run("sh", "-ec", PREINST, "preinst", "upgrade", "2.0")
    lab.router.sh(f"rm /usr/lib/sysctl.d/dhcp-lb.conf; mv /run/ours {OURS}; mv /run/hook {HOOK}")
    trigger(lab)
    lab.router.run("sh", "-ec", f"dhcp-lb apply\n{AFTERWARDS}", "postinst",
                   "configure", "2.0")


def trigger(lab: Lab) -> None:
    lab.router.run("/lib/systemd/systemd-sysctl")


def test_an_upgrade_from_2_0_breaks_no_masqueraded_connection(lab: Lab) -> None:
    with lab.held(lab.lan, 200) as held:
        upgrade(lab)
        assert hash_of(lab) == ["3", "55"]
        assert lab.router.run("ip", "rule", "show", "pref", "20000").count("fwmark") == 2
        assert held.still_alive() == 200
        trigger(lab)
        lab.router.dhcp_lb("drain", "eth1")
        assert held.still_alive() == 200
    assert lab.router.dhcp_lb("plan") == ""


def test_where_nothing_is_pinned_the_hash_stays_until_the_next_boot(lab: Lab) -> None:
    config = lab.router.path("/etc/dhcp-lb")
    config.write_text(config.read_text() + "pin = no\n")
    with lab.held(lab.lan, 200) as held:
        upgrade(lab)
        trigger(lab)
        assert hash_of(lab) == ["1", "7"]
        assert held.still_alive() == 200
        lab.router.sh("rm -r /run/sysctl.d")  # as a boot does
        trigger(lab)
        assert hash_of(lab) == ["3", "55"]
        assert held.still_alive() < 180  # what the order is for


def test_any_other_upgrade_sets_the_hash_at_once(lab: Lab) -> None:
    lab.router.sh(f"rm /usr/lib/sysctl.d/dhcp-lb.conf; mv /run/ours {OURS}; cp {OURS} /run/ours")
    lab.router.run("sh", "-ec", AFTERWARDS, "postinst", "configure", "3.0")
    assert hash_of(lab) == ["3", "55"]
