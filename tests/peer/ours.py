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


class Beside(Ours):
    """dhcp-lb as the package starts it: with the monitor, because of which a renewal that says nothing new starts
    nothing."""

    name = "dhcp-lb beside its monitor"
    rest_s = 4  # the monitor does not vouch for what was written less than two seconds ago (monitor/vouch.py)

    def install(self, lab: Lab) -> None:
        super().install(lab)
        lab.router.sh("dhcp-lb monitor </dev/null >/run/monitor-said 2>&1 &")

    def start_over(self, router: Router) -> None:
        router.dhcp_lb("apply")
