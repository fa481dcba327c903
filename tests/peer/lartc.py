"""A script that a user would write after the LARTC guide: `lartc.sh`, called by an exit hook."""

from pathlib import Path

from tests.lab import Lab
from tests.lab.lab import Router

from .peer import Peer, put, uplinks


class Lartc(Peer):
    name = "LARTC script"
    about = "tests/peer/lartc.sh as an exit hook of dhclient"
    hook = "uplinks"

    def install(self, lab: Lab) -> None:
        script = Path(__file__).with_name("lartc.sh").read_text()
        put(lab.router, {"/usr/local/sbin/uplinks": script}, mode=0o755)
        put(lab.router, {
            "/etc/uplinks": uplinks(lab),
            "/etc/dhcp/dhclient-exit-hooks.d/uplinks":
                "export reason interface new_ip_address new_network_number new_subnet_mask new_routers\n"
                "/usr/local/sbin/uplinks\n",
        })

    def start_over(self, router: Router) -> None:
        router.sh("rm -rf /run/uplinks")
