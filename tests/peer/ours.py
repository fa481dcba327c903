"""dhcp-lb, as `tests/beds/lab` installs it on every router."""

from tests.beds.lab import Lab
from tests.beds.lab.lab import Router

from .peer import Peer


class Ours(Peer):
    name = "dhcp-lb"
    about = "this program"
    hook = "dhcp-lb"

    def install(self, lab: Lab) -> None:
        lab.router.dhcp_lb("apply")  # as dhcp-lb-boot.service does

    def drain(self, router: Router, interface: str) -> bool:
        router.dhcp_lb("drain", interface)
        return True

    def refill(self, router: Router, interface: str) -> None:
        router.dhcp_lb("enable", interface)

    def start_over(self, router: Router) -> None:
        router.sh("rm -rf /run/dhcp-lb; dhcp-lb apply")
