"""What `status` says about IPv6 beside the links' states."""

from __future__ import annotations

from pathlib import Path

from ..change import View

CONF = Path("/proc/sys/net/ipv6/conf")  # ip-sysctl.rst
FORWARDS, UNLESS_IT_FORWARDS, ALWAYS = "1", "1", "2"


def ignored(views: list[View]) -> list[str]:
    """A sentence for each link without a gateway whose router advertisements the kernel ignores."""
    found = []
    for uplink in [uplink for view in views for uplink in view.uplinks]:
        name = uplink.link.interface
        if (not uplink.lease.gateway or uplink.lease.lost) and not uplink.link.gateway:
            accepts, forwards = _value(name, "accept_ra"), _value(name, "forwarding")
            if (accepts, forwards) == (UNLESS_IT_FORWARDS, FORWARDS):
                found.append(f"{name}: router advertisements are ignored, because this machine forwards: "
                             f"net.ipv6.conf.{name}.accept_ra must be {ALWAYS}, or another program must take them")
    return found


def refused(views: list[View]) -> list[str]:
    """A sentence for each prefix that a client has reported and that is not used, and for each prefix of the LAN that
    may belong to several links."""
    return [f"{uplink.link.interface}: {line}" for view in views for uplink in view.uplinks
            for line in (*uplink.lease.refused, *uplink.lease.unsure)]


def _value(interface: str, key: str) -> str:
    try:
        return (CONF / interface / key).read_text("ascii").strip()
    except OSError:
        return ""
