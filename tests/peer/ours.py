"""dhcp-lb, as `tests/beds/lab` installs it on every router."""

from tests.beds.lab.lab import Router

from .peer import Peer


class Ours(Peer):
    name = "dhcp-lb"
    about = "this program"
    hook = "dhcp-lb"

    def start_over(self, router: Router) -> None:
        router.sh("rm -rf /run/dhcp-lb")
