"""A model of Net-ISP-Balance's way: an exit hook calls `flush.sh`. Net-ISP-Balance itself is not in Debian."""

from pathlib import Path

from tests.beds.lab import Lab

from .peer import Peer, put_script

HOOK = """\
case "$reason" in
BOUND|RENEW|REBIND|REBOOT|TIMEOUT)
    mkdir -p /run/uplinks
    echo "${new_routers%% *}" >"/run/uplinks/$interface"
    /usr/local/sbin/balance
    ;;
EXPIRE|FAIL|RELEASE|STOP)
    /usr/local/sbin/balance
    ;;
esac
"""


class Flush(Peer):
    name = "flush and rebuild"
    about = "tests/peer/flush.sh, a model of Net-ISP-Balance's way and none of its code"
    hook = "balance"

    def install(self, lab: Lab) -> None:
        put_script(lab, "balance", Path(__file__).with_name("flush.sh"), HOOK)
