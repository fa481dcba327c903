"""A script that a user would write after the LARTC guide: an exit hook calls `lartc.sh`."""

from pathlib import Path

from tests.beds.lab import Lab
from tests.beds.lab.lab import Router

from .peer import Peer, put_script

HOOK = """\
export reason interface new_ip_address new_network_number new_subnet_mask new_routers
/usr/local/sbin/uplinks
"""


class Lartc(Peer):
    name = "LARTC script"
    about = "tests/peer/lartc.sh as an exit hook of dhclient"
    hook = "uplinks"

    def install(self, lab: Lab) -> None:
        put_script(lab, "uplinks", Path(__file__).with_name("lartc.sh"), HOOK)

    def start_over(self, router: Router) -> None:
        router.sh("rm -rf /run/uplinks")
