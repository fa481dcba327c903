"""Shorewall with two providers, as its MultiISP page says for dynamic links: the client sets no default route in
`main`, and a hook tells Shorewall what has changed.

Shorewall's own `detect` reads the gateway in dhclient's lease file, which is written after the hooks have run. So the
gateway comes from our hook, through the extension script `findgw`, which exists for such cases."""

from tests.beds.lab import Lab
from tests.beds.lab.lab import Router

from .peer import Peer, put

FINDGW = "cat /run/gateway.$1 2>/dev/null\n"
ENTER_HOOK = """\
# Shorewall sets the default routes (USE_DEFAULT_RT=Yes), and the client sets none.
uplink_old=${old_routers-} uplink_new=${new_routers-}
unset new_routers
# Shorewall cannot remove a nexthop that is dead because its address has gone, so it must come before that.
case "$reason $interface" in
"EXPIRE eth"[01]|"FAIL eth"[01]|"RELEASE eth"[01]|"STOP eth"[01])
    shorewall disable "$interface" >/dev/null 2>&1
    ;;
esac
true
"""
EXIT_HOOK = """\
# "disable" must still find the old gateway, or that gateway stays in the route. So this is not "reenable".
case "$interface" in
eth0|eth1)
    case "$reason" in
    BOUND|REBOOT|RENEW|REBIND)
        case "$reason $old_ip_address $uplink_old" in
        RE[NB]*" $new_ip_address $uplink_new") ;;
        *)
            shorewall disable "$interface" >/dev/null 2>&1
            echo "${uplink_new%% *}" >"/run/gateway.$interface"
            shorewall enable "$interface" >/dev/null 2>&1
            ;;
        esac
        ;;
    esac
    ;;
esac
true
"""


class Shorewall(Peer):
    name = "Shorewall"
    about = "two providers, `track` and `balance`, told by hooks of dhclient"
    packages: tuple[str, ...] = ("shorewall",)
    hook = "shorewall"
    settle_s = 4

    def install(self, lab: Lab) -> None:
        router = lab.router
        router.sh("nft flush ruleset")  # Shorewall masquerades itself
        put(router, {
            "/etc/shorewall/zones": "fw firewall\nnet ipv4\nloc ipv4\n",
            "/etc/shorewall/interfaces": "?FORMAT 2\nloc lan0\n" + "".join(
                f"net {isp.interface} optional,dhcp,routefilter=0\n" for isp in lab.isps),
            "/etc/shorewall/policy": "fw all ACCEPT\nloc all ACCEPT\nnet all DROP\n",
            "/etc/shorewall/rules": "?SECTION NEW\nPing(ACCEPT) net fw\nACCEPT net fw tcp 80\n",
            "/etc/shorewall/snat": "".join(
                f"MASQUERADE 10.0.0.0/24 {isp.interface}\n" for isp in lab.isps),
            "/etc/shorewall/providers": "".join(
                f"isp{number} {number} {number} - {isp.interface} detect track,balance={isp.weight}\n"
                for number, isp in enumerate(lab.isps, start=1)),
            "/etc/shorewall/findgw": FINDGW,
            "/etc/dhcp/dhclient-enter-hooks.d/shorewall": ENTER_HOOK,
            "/etc/dhcp/dhclient-exit-hooks.d/shorewall": EXIT_HOOK,
        })
        router.sh("sed -i 's/^ROUTE_FILTER=.*/ROUTE_FILTER=No/; s/^IP_FORWARDING=.*/IP_FORWARDING=On/' "
                  "/etc/shorewall/shorewall.conf")

    def up(self, router: Router, *interfaces: str) -> None:
        """Starts Shorewall with the links up, as at boot: it records their weights then, and needs them later."""
        router.ifup(*interfaces)
        if len(interfaces) == 2:
            router.sh("shorewall start")

    def drain(self, router: Router, interface: str) -> bool:
        router.sh(f"shorewall disable {interface}")
        return True

    def refill(self, router: Router, interface: str) -> None:
        router.sh(f"shorewall enable {interface}")

    def start_over(self, router: Router) -> None:
        router.sh("shorewall restart")
