"""Our routing in the kernel of a router with two links. It is the same however the links came up."""

import json
import re
import time

from tests.beds.lab import Lab

ETH0 = """\
19900: from all lookup 254 suppress_prefixlength 7 suppress_ifgroup 109
20100: from ETH0 lookup 200
20200: from all oif eth0 lookup 200
30000: from all lookup 254 suppress_ifgroup 109
30100: from all lookup 254 suppress_prefixlength 0
32765: from all lookup 252
192.0.2.0/27 dev eth0 table 200 scope 253 src ETH0
default via 192.0.2.1 dev eth0 table 200 src ETH0
default via 192.0.2.1 dev eth0 table 252
default via 192.0.2.1 dev eth0 table 252 src ETH0 metric 1001
default via 192.0.2.1 dev eth0 src ETH0 metric 8101
"""
BOTH = """\
19900: from all lookup 254 suppress_prefixlength 7 suppress_ifgroup 109
30000: from all lookup 254 suppress_ifgroup 109
30100: from all lookup 254 suppress_prefixlength 0
20100: from ETH0 lookup 200
20100: from ETH1 lookup 201
20200: from all oif eth0 lookup 200
20200: from all oif eth1 lookup 201
32765: from all lookup 252
192.0.2.0/27 dev eth0 table 200 scope 253 src ETH0
192.0.2.32/27 dev eth1 table 201 scope 253 src ETH1
default table 252 nexthop via 192.0.2.1 dev eth0 weight 1 nexthop via 192.0.2.33 dev eth1 weight 2
default via 192.0.2.1 dev eth0 table 200 src ETH0
default via 192.0.2.1 dev eth0 table 252 src ETH0 metric 1001
default via 192.0.2.33 dev eth1 table 201 src ETH1
default via 192.0.2.33 dev eth1 table 252 src ETH1 metric 1000
default via 192.0.2.1 dev eth0 src ETH0 metric 8101
default via 192.0.2.33 dev eth1 src ETH1 metric 8100
"""


def routing(lab: Lab) -> list[str]:
    """Our rules and routes, with names in place of the links' addresses. Without the pins, which links have only after
    `apply`: test_ns_pins.py."""
    router = lab.router
    text = (router.run("ip", "-4", "-N", "rule")
            + router.run("ip", "-4", "-N", "-oneline", "route", "show", "table", "all"))
    for interface in "eth0", "eth1":
        for address in router.addresses(interface) if f"dev {interface} " in text else ():
            text = re.sub(rf"\b{re.escape(address)}\b", interface.upper(), text)
    return sorted(" ".join(line.replace(" proto 109", "").replace("\\", "").split())
                  for line in text.splitlines() if " proto 109" in line and " fwmark " not in line)


def becomes(lab: Lab, want: str, timeout_s: float = 20) -> None:
    """Waits until the routing is this one, and dhcp-lb agrees."""
    end = time.monotonic() + timeout_s
    while routing(lab) != sorted(want.splitlines()) and time.monotonic() < end:
        time.sleep(0.05)
    assert routing(lab) == sorted(want.splitlines()), "\n".join(lab.router.log()[-40:])
    settles(lab, timeout_s)


def settles(lab: Lab, timeout_s: float = 20) -> None:
    """Waits until dhcp-lb has nothing to do. Between a client's change and its call there may be something to do."""
    end = time.monotonic() + timeout_s
    while (left := json.loads(lab.router.dhcp_lb("status", "--json"))["commands"]) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == [], "\n".join(lab.router.log()[-40:])


def assert_all_by(lab: Lab, interface: str) -> None:
    assert lab.connect(lab.lan, 50) == {interface: 50}
    assert lab.connect(lab.router, 50) == {interface: 50}
    settles(lab)


def assert_shared(lab: Lab) -> None:
    for machine in lab.lan, lab.router:
        assert set(lab.connect(machine, 50)) == {"eth0", "eth1"}
