"""The LAN's IPv6 while a provider is dead: the examples for notify.d with the daemons that advertise, Debian's own."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dhcp_lb.monitor.notify import ENVIRONMENT
from tests.beds.box import CHECKOUT, boxed, ip, run, verb
from tests.beds.ipv6 import INTERNET, LAN_OF, Providers, sysctl
from tests.beds.lab import debian_root
from tests.test_ns_health6 import FAST, NAMED, Bed, bed
from tests.test_ns_ipv6 import until
from tests.test_ns_notify import ETC, install

BUSY_S = 4.0  # a machine with other work to do: a shell, Python, and a daemon that starts anew
EXAMPLES = CHECKOUT / "doc/examples/notify"
ROOT = Path("/mnt/root")
RADVD = "interface lan0 {\nAdvSendAdvert on;\nMinRtrAdvInterval 3;\nMaxRtrAdvInterval 10;\n" + "".join(
    [f"prefix {prefix}::/64 {{ AdvPreferredLifetime 1800; AdvValidLifetime 7200; }};\n"
     for prefix in LAN_OF.values()]) + "};\n"
START = {"radvd": f"chroot {ROOT} radvd -m none -p /run/radvd.pid",
         "dnsmasq": f"chroot {ROOT} dnsmasq -C /dev/null -7 /etc/dnsmasq.d -u root -p 0 -i lan0 -x /run/dnsmasq.pid"}
SYSTEMCTL = f"""#!/bin/sh
case "$*" in
"reload radvd") kill -HUP "$(cat /run/radvd.pid)" ;;
"restart dnsmasq")
    [ ! -e /run/dnsmasq.pid ] || kill "$(cat /run/dnsmasq.pid)"
    while [ -e /run/dnsmasq.pid ]; do sleep 0.01; done
    {START["dnsmasq"]} ;;
*) exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def root() -> Path:
    return debian_root(packages=("dnsmasq-base", "iproute2", "radvd"))


@contextmanager
def lan(root: Path, example: str) -> Iterator[Bed]:
    """The bed, with an example for notify.d, its daemon out of a Debian system that has this machine's /etc and /run,
    and a LAN that takes its addresses from advertisements."""
    run("sh", "-ec", f"mkdir {ROOT} /mnt/upper /mnt/work\n"
        f"mount -t overlay -o lowerdir={root},upperdir=/mnt/upper,workdir=/mnt/work root {ROOT}\n"
        f"for one in etc run dev proc; do mount --bind /$one {ROOT}/$one; done")
    install(Path("/usr/local/sbin"), "systemctl", SYSTEMCTL)
    Path("/etc/radvd.conf").write_text(RADVD)
    Path("/etc/dnsmasq.d").mkdir(exist_ok=True)
    with bed(FAST + NAMED) as machine:
        world = machine.world
        machine.answer(f"{INTERNET}::7")
        install(ETC, example, (EXAMPLES / example).read_text())
        sysctl(lan0__accept_ra=0)
        with world.lan:
            sysctl(eth0__accept_ra=1)
            run("ip", "-6", "route", "del", "default")
            ip(*[f"address del {prefix}::2/64 dev eth0" for prefix in LAN_OF.values()])
        if example == "dnsmasq":  # as it would have been when the prefixes came
            subprocess.run([ETC / example], env=ENVIRONMENT | {"DHCP_LB_EVENT": "prefix"}, check=True, text=True,
                           input=verb("status", "--json"))
        else:
            run("sh", "-c", START[example])
        until("the LAN has addresses of both", lambda: preferred(world) == {"eth0", "eth1"}, 20)
        yield machine


def preferred(world: Providers) -> set[str]:
    """The links whose addresses the LAN's machine prefers."""
    with world.lan:
        shown = json.loads(run("ip", "-j", "-6", "address", "show", "dev", "eth0", "scope", "global", "-tentative"))
    return {name for name, prefix in LAN_OF.items() for interface in shown for one in interface.get("addr_info", ())
            if one.get("local", "").startswith(f"{prefix}:") and not one.get("deprecated")}


@boxed
def _while_a_provider_is_dead(root: Path, example: str) -> None:
    with lan(root, example) as machine:
        world = machine.world
        for dead, other in ("eth0", "eth1"), ("eth1", "eth0"):
            world.die(dead)
            machine.becomes(other)
            began_s = time.monotonic()
            until(f"{dead}'s addresses are not preferred", lambda: preferred(world) == {other}, 10)
            took_s = time.monotonic() - began_s
            assert world.connects(300, lan=True) == {other: 300}
            print(f"{example}: the LAN has left {dead} {took_s:.1f} s after the look")
            assert took_s < 2 + BUSY_S
            time.sleep(4)  # and so it stays
            assert preferred(world) == {other}
            world.revive()
            machine.becomes("eth0", "eth1")
            until("both are preferred again", lambda: preferred(world) == {"eth0", "eth1"}, 10)
        assert world.astray() == 0


def test_radvd_withdraws_a_dead_provider_s_prefix_from_the_lan_until_he_is_back(root: Path) -> None:
    _while_a_provider_is_dead(root, "radvd")


def test_dnsmasq_withdraws_a_dead_provider_s_prefix_from_the_lan_until_he_is_back(root: Path) -> None:
    _while_a_provider_is_dead(root, "dnsmasq")
