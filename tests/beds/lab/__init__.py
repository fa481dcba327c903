"""The lab: a router with several DHCP uplinks, the providers behind them, the Internet, a LAN.

Every machine is a set of kernel namespaces with a Debian system of its own (`node.py`), so everything in it is
real: the DHCP servers are dnsmasq, the clients are Debian's, started by its ifupdown, and the routing is the
kernel's. The lab touches nothing of the machine that it runs on, and leaves nothing behind.

        lan ---------- router ==+== isp eth0 ==+== internet
     10.0.0.0/24     dhcp-lb,   |              |    a server at 198.51.100.1 to .254
                     masquerade +== isp eth1 ==+    that answers with the address it saw

    with Lab([Isp("eth0"), Isp("eth1", weight=2)]) as lab:
        lab.router.ifup()
        print(lab.router.dhcp_lb("status"))
        lab.isp("eth1").cut_cable()
        assert lab.connect(lab.lan, 100) == {"eth0": 100}
"""

from .lab import Isp, Lab
from .node import CommandFailed, Node, wait_for
from .root import CHECKOUT, NotOffered, debian_root

__all__ = ["CHECKOUT", "CommandFailed", "Isp", "Lab", "Node", "NotOffered", "debian_root", "wait_for"]
