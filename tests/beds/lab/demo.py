"""`tests/demo`: shows the program at work, from the beginning, on the real routing of a lab."""

import json
import os
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

from . import CommandFailed, Isp, Lab, NotOffered, debian_root, wait_for
from .lab import Counts
from .node import ENVIRONMENT

PLAIN = not sys.stdout.isatty() or "NO_COLOR" in os.environ
BAR = 42
WIDTH = 80
NAME_SERVER = "198.51.100.53"


def main(arguments: Sequence[str]) -> None:
    if unknown := set(arguments) - {"--keep"}:
        sys.exit(f"demo: {' '.join(sorted(unknown))}: unknown; `--keep` ends in a shell on the router")
    if os.geteuid() != 0:
        sys.exit("demo: only root can make network namespaces; try sudo")
    title("The machines: built now, from namespaces; yours is not touched")
    say("""
        A router has two providers. Each gives it one address by DHCP; the second one's
        line is twice as fast. Behind the router is a LAN, behind the providers the
        Internet: a server that answers every connection with the address that it came
        from, so that we can tell which line it took.

                 lan --------- router ==+== isp eth0 ==+== internet
                               dhcp-lb  |              |
                                        +== isp eth1 ==+

        Real parts only: Debian's ifupdown and dhclient, dnsmasq at the providers, the
        kernel's routing.
    """)
    isps = [Isp("eth0", weight=1, renew_s=2, options={6: NAME_SERVER}),
            Isp("eth1", weight=2, options={6: NAME_SERVER})]
    try:
        root = debian_root()
    except NotOffered as failure:
        sys.exit(f"demo: {failure}")
    with Lab(isps, root) as lab:
        boot(lab)
        bring_up(lab)
        balance(lab)
        pull_a_cable(lab)
        kill_a_provider(lab)
        drain_a_link(lab)
        change_a_lease(lab)
        look_around(lab, keep="--keep" in arguments)


def boot(lab: Lab) -> None:
    """Brings up what is there before the story begins."""
    lab.serve_names()
    path = lab.router.path("/etc/dhcp-lb")
    path.write_text(path.read_text() + "up = 3\n")
    if has_ipv6(lab):
        for isp in lab.isps:
            prefix = f"2001:db8:{isp.number}"
            isp.node.sh(f"""
                sysctl -qw net.ipv6.conf.all.forwarding=1
                ip address add {prefix}::1/64 dev customers nodad
                dnsmasq --conf-file=/dev/null --port=0 --interface=customers --bind-dynamic --user=root \
                    --enable-ra --dhcp-range={prefix}::,ra-only --pid-file=/run/ra.pid
            """)
    lab.router.dhcp_lb("apply")
    lab.router.sh("dhcp-lb monitor </dev/null >/dev/null 2>&1 &")


def bring_up(lab: Lab) -> None:
    title("Two links come up")
    say("The configuration is one line a link: interface, its routing table, the table's\n"
        "number, its weight. `up = 3`: a dead link that answers again must do so for 3\n"
        "seconds, so that we need not wait for the usual 30.")
    show(lab, "cat /etc/dhcp-lb")
    say("ifup starts dhclient; dhclient tells dhcp-lb what it was given; nothing else is\n"
        "needed." + (" IPv6 comes by advertisements, which dhcp-lb's monitor sees." if has_ipv6(lab) else ""))
    show(lab, "ifup eth0 eth1")
    wait_for("both families of the links, and their name servers", lambda: all([
        link["check"] and link["check"]["answers"] and bool(link["ipv6"] and link["ipv6"]["share"]) == has_ipv6(lab)
        for link in links(lab)]))
    show(lab, "dhcp-lb status")
    say("What balances is one route of the kernel's, in a table of its own. The lines\n"
        "beneath it, one a link, catch what comes in the moment in which a device is\n"
        "gone:")
    show(lab, "ip route show table dhcp-lb")


def balance(lab: Lab) -> None:
    title("900 connections from the LAN")
    draw(lab, lab.connect(lab.lan, 900))


def pull_a_cable(lab: Lab) -> None:
    title("The cable of eth1 is pulled")
    say("Somebody in the LAN goes on connecting meanwhile. No DHCP event tells about\n"
        "this: the kernel skips the dead link by itself, because dhcp-lb has laid out the\n"
        "routes for that.")
    with lab.prober(lab.lan) as prober:
        lab.isp("eth1").cut_cable()
        after = lab.connect(lab.lan, 900)
    draw(lab, after, without="eth1")
    say(f"{prober.connections.total()} more were opened while it happened, {prober.failed().total()} failed: "
        "no more than the 4 at\na time that were on their way in that moment.")
    lab.isp("eth1").plug_cable()
    await_share(lab, "eth1", True)
    say("It is plugged in again, and eth1 has its share again.")


def kill_a_provider(lab: Lab) -> None:
    title("The provider of eth1 is dead behind a cable that is in order")
    say("It passes no packet on, though its gateway answers. The monitor asks the\n"
        "provider's name servers through each link; through eth1 it hears nothing now.")
    with lab.prober(lab.lan, timeout_s=1) as prober:
        lab.isp("eth1").die()
        took_s = await_share(lab, "eth1", False)
    say(f"Its share is gone after {took_s:.1f} s. In that time {prober.failed().total()} of "
        f"{prober.connections.total()} connections got no\nanswer. Now:")
    show(lab, "dhcp-lb status")
    draw(lab, lab.connect(lab.lan, 900), without="eth1")
    lab.isp("eth1").revive()
    took_s = await_share(lab, "eth1", True)
    say(f"The provider works again. After {took_s:.1f} s eth1 has its share again.")


def drain_a_link(lab: Lab) -> None:
    title("eth1 is drained while downloads run")
    with lab.held(lab.lan, 100) as held:
        say("Somebody wants to work on eth1 and harm nobody.\n"
            "100 connections of the LAN are open, as downloads are, "
            f"{lab.name_isps(held.opened)['eth1']} of them by eth1.\nNow it gets no new ones:")
        show(lab, "dhcp-lb drain eth1")
        draw(lab, lab.connect(lab.lan, 900), without="eth1")
        say(f"Of the 100 open connections {held.still_alive()} carry data as before. When they have ended, the\n"
            "link is free.")
        show(lab, "dhcp-lb enable eth1")


def change_a_lease(lab: Lab) -> None:
    title("The provider of eth0 changes the lease")
    say("It has a new gateway, which dhclient learns when it renews its lease, in a few\n"
        "seconds.")
    seen = len(lab.router.log())
    with lab.prober(lab.lan) as prober, lab.router.event("eth0", "RENEW"):
        lab.isp("eth0").hand_out(gateway="192.0.2.2")
    say("The system log has the renewal, and each change as the command that means the\n"
        "same (folded here):")
    print()
    for line in lab.router.log()[seen:]:
        print(fold(line[len("Nov 23 12:00:00 "):]))
    draw(lab, lab.connect(lab.lan, 900))
    say(f"{prober.connections.total()} were opened while it happened, {prober.failed().total()} failed.")


def has_ipv6(lab: Lab) -> bool:
    return lab.router.path("/proc/sys/net/ipv6").exists()


def links(lab: Lab) -> list[dict[str, Any]]:
    """What `status` shows of each link."""
    found: list[dict[str, Any]] = json.loads(lab.router.dhcp_lb("status", "--json"))["links"]
    return found


def await_share(lab: Lab, interface: str, want: bool) -> float:
    """Waits until new connections take the link, or no longer take it. Returns how many seconds that took."""
    begin = time.monotonic()
    wait_for(f"the share of {interface}", lambda: want == any(
        [link["share"] > 0 for link in links(lab) if link["interface"] == interface]))
    return time.monotonic() - begin


def look_around(lab: Lab, keep: bool) -> None:
    title("Look around")
    say("""
        dhcp-lb status                   the links, their shares and their leases
        dhcp-lb explain 198.51.100.7     which link a connection takes, and why
        dhcp-lb drain eth1               no new connections over a link; `enable`
                                         ends that
        dhcp-lb flush                    take everything of dhcp-lb away; `apply`
                                         brings it back
        ip rule                          in which order the kernel looks into tables
        ip route show table dhcp-lb      the balanced default route
        ip route show table table-eth0   what connections from the address of eth0 use
        ifdown eth1                      give the lease back; `ifup eth1` gets one again
    """)
    if keep:
        say("This is a shell on the router; the lab ends with it.")
        terminal = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
        subprocess.run(lab.router.argv("bash", "--norc"), env={**ENVIRONMENT, **terminal, "PS1": "router# "})
    else:
        say("`tests/demo --keep` ends in a shell on the router, where these can be tried.")


def draw(lab: Lab, counts: Counts, without: str = "") -> None:
    """Shows the counted connections as a bar for each link, beside the share that its weight asks for."""
    weights = {isp.interface: 0 if isp.interface == without else isp.weight for isp in lab.isps}
    print()
    for interface, weight in weights.items():
        share, want = counts[interface] / counts.total(), weight / sum(weights.values())
        print(f"    {interface}  {bar('█', share)}  {share:6.1%}  {counts[interface]} connections")
        print(f"    {'':{len(interface)}}  {bar('░', want)}  {want:6.1%}  by its weight")
    failed = counts.total() - sum(counts[interface] for interface in weights)
    print(f"    failed: {failed}")


def bar(block: str, share: float) -> str:
    return f"{block * round(share * BAR):{BAR}}"


def fold(line: str) -> str:
    """A command line, split as a shell allows it if it is too long for a terminal."""
    if len(line) + 4 <= WIDTH:
        return "    " + line
    first, *nexthops = line.split(" nexthop ")
    words = [first, *[f"nexthop {nexthop}" for nexthop in nexthops]]
    folded = [part for one in words for part in textwrap.wrap(one, WIDTH - 14, break_on_hyphens=False)]
    return "    " + " \\\n            ".join(folded)


def show(lab: Lab, command: str) -> None:
    """Runs a command on the router. The command sees a terminal that is narrower than ours by the indent."""
    print("\n    " + bold(f"router# {command}"), flush=True)
    ours, its = os.openpty()
    environ = {**ENVIRONMENT, "COLUMNS": str(WIDTH - 4), **({"NO_COLOR": "1"} if PLAIN else {})}
    done = subprocess.run(lab.router.argv(*command.split()), stdout=its, stderr=subprocess.PIPE, text=True,
                          env=environ)
    if done.returncode:
        raise CommandFailed(f"{command}: {done.stderr}")
    said = os.read(ours, 65536).decode() if select.select([ours], [], [], 0)[0] else ""
    os.close(ours)
    os.close(its)
    for line in said.splitlines():
        print(f"    {line}".rstrip())


def say(text: str) -> None:
    print("\n" + textwrap.dedent(text).strip("\n"), flush=True)


def title(text: str) -> None:
    print("\n" + bold(f"=== {text}"), flush=True)


def bold(text: str) -> str:
    return text if PLAIN else f"\033[1m{text}\033[0m"


if __name__ == "__main__":
    main(sys.argv[1:])
