"""Measures a dead provider behind a working cable, a line that loses packets, and a modem that boots: with our
monitor, and with the programs that Debian has for it, each with its defaults.

lsm(1) (`foolsm` in later releases) and keepalived(8) call a script, and know nothing of leases. So each link has a
target of its own, and dhclient's hook sets the route to it."""

import json
import time
from pathlib import Path
from typing import NamedTuple

from tests.beds.lab import Isp, Lab, wait_for

from .lartc import HOOK, Lartc
from .ours import Ours
from .peer import Peer, put
from .shorewall import EXIT_HOOK, Shorewall

NAME_SERVER = "198.51.100.53"
NEVER = float("inf")
TARGETS = {"eth0": "198.51.100.101", "eth1": "198.51.100.102"}
ROUTE = """\
case "$interface $reason" in
eth0" "BOUND|eth0" "RE[NB]*) ip route replace 198.51.100.101 via "${new_routers%% *}" dev eth0 ;;
eth1" "BOUND|eth1" "RE[NB]*) ip route replace 198.51.100.102 via "${new_routers%% *}" dev eth1 ;;
esac
"""
AGAIN = """\
[ ! -e "/run/dead/$interface" ] || /usr/local/sbin/link down "$interface" - "$interface"
"""
LSM = """\
connection {{
  name={interface}
  checkip={target}
  device={interface}
  eventscript={script}
}}
"""
KEEPALIVED = """\
vrrp_script {interface} {{
    script "/usr/bin/ping -n -q -c 1 -W 1 -I {interface} {target}"
}}
vrrp_instance {interface} {{
    interface lan0
    virtual_router_id {number}
    virtual_ipaddress {{
        10.0.0.{number}/24
    }}
    track_script {{
        {interface}
    }}
    notify_master "/usr/local/sbin/link up {interface} {target} {interface}"
    notify_fault "/usr/local/sbin/link down {interface} {target} {interface}"
}}
"""


class Watching(Peer):
    """A peer with a program that watches its links."""

    def watch(self, lab: Lab) -> None:
        """Starts that program, with both links up."""


class OursWatching(Ours, Watching):
    about = "`dhcp-lb monitor`, which asks the lease's name servers"

    def watch(self, lab: Lab) -> None:
        lab.router.sh("dhcp-lb monitor </dev/null >/dev/null 2>&1 &")
        # A name server that nobody has named and that has never answered says nothing of the provider.
        wait_for("both name servers to have answered", lambda: all([
            (link["check"] or {}).get("answers")
            for link in json.loads(lab.router.dhcp_lb("status", "--json"))["links"]]))


class LartcAlone(Lartc, Watching):
    name = "LARTC script, nothing"
    about = "nothing watches its links"


class LartcLsm(Lartc, Watching):
    name = "LARTC script, lsm"
    about = "lsm with tests/peer/link.sh as its eventscript"
    packages: tuple[str, ...] = ("lsm", "netbase")  # without /etc/protocols it asks nobody

    def install(self, lab: Lab) -> None:
        super().install(lab)
        put(lab.router, {"/usr/local/sbin/link": Path(__file__).with_name("link.sh").read_text()}, mode=0o755)
        put(lab.router, {"/etc/dhcp/dhclient-exit-hooks.d/uplinks": HOOK + ROUTE + AGAIN})

    def watch(self, lab: Lab) -> None:
        start_lsm(lab, "/usr/local/sbin/link")


class LartcKeepalived(LartcLsm):
    name = "LARTC script, keepalived"
    about = "keepalived, which runs ping as its track_script and tests/peer/link.sh as its notify"
    packages = ("keepalived",)

    def watch(self, lab: Lab) -> None:
        put(lab.router, {"/etc/keepalived/keepalived.conf": "global_defs {\n    script_user root\n}\n" + "".join([
            KEEPALIVED.format(interface=isp.interface, target=TARGETS[isp.interface], number=101 + isp.number)
            for isp in lab.isps])})
        lab.router.sh("keepalived --vrrp --dont-fork </dev/null >/run/keepalived 2>&1 &")
        wait_for("keepalived to hold both addresses", lambda: len(lab.router.addresses("lan0")) == 3)


class ShorewallLsm(Shorewall, Watching):
    name = "Shorewall, lsm"
    about = "lsm with its own script for Shorewall"
    packages = ("lsm", "netbase", "shorewall")

    def install(self, lab: Lab) -> None:
        super().install(lab)
        put(lab.router, {"/etc/dhcp/dhclient-exit-hooks.d/shorewall":
                         ROUTE.replace("new_routers", "uplink_new") + EXIT_HOOK})

    def watch(self, lab: Lab) -> None:
        start_lsm(lab, "/usr/share/lsm/shorewall_script")


ALL = [OursWatching(), LartcAlone(), LartcLsm(), LartcKeepalived(), ShorewallLsm()]


def start_lsm(lab: Lab, script: str) -> None:
    put(lab.router, {"/etc/lsm/local.conf": "".join([
        LSM.format(interface=interface, target=target, script=script) for interface, target in TARGETS.items()])})
    lab.router.sh("lsm --no-fork --config /etc/lsm/lsm.conf </dev/null >/run/lsm 2>&1 &")
    time.sleep(3)


class Watched(NamedTuple):
    """What became of new connections of the LAN. Times are in seconds."""

    out_s: list[float]  # after its provider's death, the link gets none from then on; NEVER = some a minute later
    back_s: list[float]  # after its provider works again, it gets some from then on
    wrongly_in: tuple[int, int]  # in how many looks a dead link got some, and of how many looks
    wrongly_out: int  # how often a link got none for a while, although it worked
    healthy_s: float
    boots: tuple[float, float]  # seconds with a share, of those between the cable and the line


def measure(lab: Lab, peer: Watching, deaths: int, healthy_s: float) -> Watched:
    lab.serve_names()
    peer.watch(lab)
    for isp in lab.isps:
        wait_for(f"new connections by {isp.interface}", lambda: isp.interface in by(lab), 60)
    time.sleep(min(20.0, healthy_s))  # lsm judges by the last packets
    wrongly_out = lossy(lab, healthy_s)
    out_s, back_s, wrongly_in = [], [], [0, 0]
    for _ in range(deaths):
        out, back, found = die(lab, lab.isp("eth1"))
        out_s.append(out)
        back_s.append(back)
        wrongly_in = [wrongly_in[0] + sum(found), wrongly_in[1] + len(found)]
    return Watched(out_s, back_s, (wrongly_in[0], wrongly_in[1]), wrongly_out, healthy_s, boot(lab, lab.isp("eth1")))


def by(lab: Lab) -> set[str]:
    """The links that 40 new connections of the LAN would take now."""
    looks = [f"route get 198.51.100.7 from 10.0.0.2 iif lan0 ipproto 6 sport {port} dport 80\n"
             for port in range(40000, 40040)]
    said = lab.router.run("ip", "-batch", "-", stdin="".join(looks))
    return {isp.interface for isp in lab.isps if f" dev {isp.interface} " in said}


def lossy(lab: Lab, seconds: float) -> int:
    """Both lines lose 1 % of the packets for a while, each way. Returns how often a link was left out."""
    for isp in lab.isps:
        isp.node.sh("nft add rule ip lab forward numgen random mod 100 == 0 drop")
    end, times, before = time.monotonic() + seconds, 0, by(lab)
    while time.monotonic() < end:
        now = by(lab)
        times += len(before - now)
        before = now
        time.sleep(0.2)
    for isp in lab.isps:
        isp.hand_out()
    return times


def die(lab: Lab, isp: Isp) -> tuple[float, float, list[bool]]:
    isp.die()
    out_s = seconds_until(lab, isp, False, 60)
    found, end = [], time.monotonic() + 8  # two renewals or more
    while time.monotonic() < end:
        found.append(isp.interface in by(lab))
        time.sleep(0.05)
    isp.revive()
    return out_s, seconds_until(lab, isp, True), found


def seconds_until(lab: Lab, isp: Isp, takes: bool, most_s: float = 300) -> float:
    """The seconds until the link takes new connections, or takes none, and does so for a second: a renewal may change
    it for a moment. NEVER if that takes more than `most_s`."""
    begin = since = time.monotonic()
    while (now := time.monotonic()) < since + 1:
        if (isp.interface in by(lab)) != takes:
            since = time.monotonic()
        if now > begin + most_s:
            return NEVER
        time.sleep(0.05)
    return since - begin


def boot(lab: Lab, isp: Isp) -> tuple[float, float]:
    """The modem boots: no cable for 3 s, then a cable and no line for 10 s. Returns for how many seconds of the latter
    the link got new connections, and how many they were."""
    isp.cut_cable()
    isp.die()
    time.sleep(3)
    isp.plug_cable()
    begin = last = time.monotonic()
    taken_s = 0.0
    while last < begin + 10:
        taken = isp.interface in by(lab)
        now = time.monotonic()
        taken_s += (now - last) * taken
        last = now
        time.sleep(0.05)
    isp.revive()
    return taken_s, last - begin
