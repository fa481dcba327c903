"""Net-ISP-Balance's way, modelled: `flush.sh`, called by an exit hook. It itself is not in Debian."""

from pathlib import Path

from tests.lab import Lab

from .peer import Peer, put, uplinks


class Flush(Peer):
    name = "flush and rebuild"
    about = "tests/peer/flush.sh, a model of Net-ISP-Balance's way and none of its code"
    hook = "balance"

    def install(self, lab: Lab) -> None:
        script = Path(__file__).with_name("flush.sh").read_text()
        put(lab.router, {"/usr/local/sbin/balance": script}, mode=0o755)
        put(lab.router, {
            "/etc/uplinks": uplinks(lab),
            "/etc/dhcp/dhclient-exit-hooks.d/balance": """\
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
""",
        })
