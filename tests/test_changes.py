"""What the kernel tells the monitor, and what of it concerns the links."""

import re
import struct
from pathlib import Path

import pytest

from dhcp_lb.monitor.changes import GROUPS, RTM_NEWNETCONF, _concerns
from dhcp_lb.netlink import attribute

SOCKET = Path(__file__).parents[1] / "etc" / "systemd" / "system" / "dhcp-lb-monitor.socket"


def test_systemd_hears_what_the_monitor_hears_by_itself() -> None:
    [groups] = re.findall(r"^ListenNetlink=route (\d+)$", SOCKET.read_text(), re.MULTILINE)
    assert int(groups) == GROUPS


@pytest.mark.parametrize("ifindex, concerns", [(7, True), (-1, True), (-2, False), (8, False)],
                         ids=["a link", "all", "default", "a container"])
def test_a_sysctl_concerns_us_if_it_is_a_link_s_or_of_all(ifindex: int, concerns: bool) -> None:
    body = b"\2\0\0\0" + attribute(1, struct.pack("=i", ifindex)) + attribute(3, struct.pack("=i", 1))
    assert _concerns(RTM_NEWNETCONF, body, frozenset(["eth0"]), frozenset([7])) is concerns


def test_a_message_about_sysctls_that_names_no_interface_concerns_nobody() -> None:
    assert not _concerns(RTM_NEWNETCONF, b"\2\0\0\0", frozenset(["eth0"]), frozenset([7]))
