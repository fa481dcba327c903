"""Events at will: the changes that dhclient would make on the router, at moments that we choose.

dhclient-script is the real one. It changes the address, writes the client's default route into `main`, and runs the
hooks.
"""

import ipaddress
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tests.beds.lab import Isp
from tests.beds.lab.lab import Router
from tests.beds.lab.node import ENVIRONMENT

from .peer import Peer

SCRIPT = "/sbin/dhclient-script"
NO_ROUTES = """
ip -4 rule flush
ip -4 rule add pref 32766 from all lookup main
ip -4 rule add pref 32767 from all lookup default
for table in $(ip -4 -N route show table all | sed -n 's/.* table \\([0-9]*\\).*/\\1/p' | sort -u); do
    [ "$table" = 255 ] || ip -4 route flush table "$table"
done
ip -4 route flush table main
ip -4 route add 10.0.0.0/24 dev lan0 proto kernel scope link src 10.0.0.1
"""


class Event(NamedTuple):
    """An event of one link. `old_gateway`: the gateway of the earlier lease, if it was a different one."""

    reason: str
    isp: Isp
    gateway: str = ""
    old_gateway: str = ""

    def environment(self) -> dict[str, str]:
        """The environment of dhclient-script."""
        new, old = self._lease("new", self.gateway), self._lease("old", self.old_gateway)
        ages = {"BOUND": new, "RENEW": {**old, **new}, "EXPIRE": old}[self.reason]
        return {**ENVIRONMENT, "reason": self.reason, "interface": self.isp.interface, **ages}

    def job(self) -> dict[str, Any]:
        return {"argv": [SCRIPT], "env": self.environment()}

    def hook_job(self, peer: Peer) -> dict[str, Any]:
        """The job that runs the peer's own part, after dhclient-script has done the rest."""
        gateways = {"uplink_new": self.gateway or self.isp.gateway, "uplink_old": self.old_gateway or self.isp.gateway}
        return {"argv": peer.hook_argv(), "env": {**self.environment(), **gateways}}

    def _lease(self, age: str, gateway: str) -> dict[str, str]:
        network = ipaddress.IPv4Network(self.isp.network)
        lease = {"ip_address": address(self.isp), "subnet_mask": str(network.netmask),
                 "network_number": str(network[0]), "broadcast_address": str(network[-1]),
                 "routers": gateway or self.isp.gateway, "dhcp_message_type": "5",
                 "dhcp_server_identifier": str(network[1]), "dhcp_lease_time": "3600", "expiry": "2000000000"}
        return {f"{age}_{name}": value for name, value in lease.items()}


def address(isp: Isp) -> str:
    return str(ipaddress.IPv4Network(isp.pool)[5])


class Runner:
    """Makes events happen on the router. From its start on, the router runs no DHCP client of its own."""

    def __init__(self, router: Router, peer: Peer) -> None:
        self.router, self.peer = router, peer
        router.sh("""
            for link in eth0 eth1; do
                kill -9 $(cat /run/dhclient.$link.pid)
                ip -4 address flush dev $link
                ip link set $link up
            done
        """)
        self._process = subprocess.Popen(
            router.argv("python3", "-I", "-S", "-c", Path(__file__).with_name("runner.py").read_text()),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)

    def close(self) -> None:
        self._process.communicate()

    def run(self, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
        """Runs all of these jobs at once, and returns what each has taken."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(jobs), file=self._process.stdin, flush=True)
        results: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return results

    def happen(self, *events: Event) -> dict[str, Any]:
        """Runs these events one after the other. Returns what the last one has taken."""
        return [self.run(event.job())[0] for event in events][-1]

    def processes(self, event: Event) -> int:
        """The number of processes that this event starts: a PID namespace numbers them one after the other."""
        true = {"argv": ["/bin/true"], "env": ENVIRONMENT}
        before, _, after = [self.run(job)[0]["pid"] for job in (true, event.job(), true)]
        return int(after - before - 1)

    def state(self) -> list[str]:
        """All rules and routes, except for those of the kernel's table `local`."""
        text = self.router.sh("ip -4 -N rule; ip -4 -N -o route show table all")
        return sorted(" ".join(line.replace("\\", "").split()) for line in text.splitlines()
                      if " table 255 " not in line)

    def nothing_up(self, start_over: bool = False) -> None:
        """Removes the address of every link. With `start_over`, removes everything that earlier events have left."""
        self.happen(*[Event("EXPIRE", isp) for isp in self.router.isps])
        if start_over:
            self.router.sh(NO_ROUTES)
            self.peer.start_over(self.router)
