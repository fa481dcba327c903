"""NetworkManager: one connection for each link, the faster link preferred by its metric. It makes no multipath route
from two leases, so it balances nothing."""

from tests.beds.lab import Lab, wait_for
from tests.beds.lab.daemons import start_dbus
from tests.beds.lab.lab import Router

from .peer import Daemon, await_addresses, put

DAEMONS = "dbus", "network-manager", "networkd-dispatcher", "ppp", "systemd", "udev"  # as tests/test_ns_daemons.py
PROFILE = """\
[connection]
id={interface}
type=ethernet
interface-name={interface}
[ipv4]
method=auto
route-metric={metric}
may-fail=false
[ipv6]
method=disabled
"""


class NetworkManager(Daemon):
    name = "NetworkManager"
    about = "two connections, eth1 preferred by its metric"
    packages = DAEMONS
    process = "NetworkManager"

    def install(self, lab: Lab) -> None:
        put(lab.router, {
            "/etc/network/interfaces": "",
            "/etc/NetworkManager/conf.d/lab.conf": "[keyfile]\nunmanaged-devices=interface-name:lan0\n",
        })
        put(lab.router, {
            f"/etc/NetworkManager/system-connections/{isp.interface}.nmconnection":
                PROFILE.format(interface=isp.interface, metric=200 - 50 * isp.weight)
            for isp in lab.isps}, mode=0o600)
        start_dbus(lab.router)
        self.supervise(lab.router, "NetworkManager --no-daemon")

    def start_up(self, router: Router, *interfaces: str) -> None:
        router.sh("".join(f"nmcli --wait 0 connection up {interface} &\n" for interface in interfaces) + "wait")

    def up(self, router: Router, *interfaces: str) -> None:
        for interface in interfaces:
            wait_for(f"NetworkManager to know {interface}", lambda: router.try_run(
                "nmcli", "--wait", "20", "connection", "up", interface).returncode == 0)
        await_addresses(router, *interfaces)

    def down(self, router: Router, interface: str) -> None:
        router.run("nmcli", "connection", "down", interface)
