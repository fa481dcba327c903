"""systemd-networkd: one file for each link, the faster link preferred by its metric. In its configuration, the
gateways of a multipath route are addresses and cannot come from two leases, so it balances nothing."""

from tests.beds.lab import Lab, wait_for
from tests.beds.lab.daemons import NETWORKD, prepare_networkd, start_dbus
from tests.beds.lab.lab import Router

from .networkmanager import DAEMONS
from .peer import Daemon, await_addresses, put

NETWORK = """\
[Match]
Name={interface}
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
RouteMetric={metric}
"""


class Networkd(Daemon):
    name = "systemd-networkd"
    about = "two .network files, eth1 preferred by its metric"
    packages = DAEMONS
    renew_s = 5  # with less the server's two times may come out the same, and it takes half of the lease's instead
    process = "systemd-networkd"

    def install(self, lab: Lab) -> None:
        put(lab.router, {
            "/etc/network/interfaces": "",
            **{f"/etc/systemd/network/{isp.interface}.network":
               NETWORK.format(interface=isp.interface, metric=200 - 50 * isp.weight) for isp in lab.isps},
        })
        start_dbus(lab.router)
        prepare_networkd(lab.router)
        self.supervise(lab.router, NETWORKD)

    def start_up(self, router: Router, *interfaces: str) -> None:
        router.sh("".join(f"networkctl up {interface} &\n" for interface in interfaces) + "wait")

    def up(self, router: Router, *interfaces: str) -> None:
        for interface in interfaces:
            wait_for(f"networkd to bring up {interface}", lambda: router.try_run(
                "networkctl", "up", interface).returncode == 0)
        await_addresses(router, *interfaces)

    def down(self, router: Router, interface: str) -> None:
        router.run("networkctl", "down", interface)
