"""Pure: what was and what is → what the scripts in notify.d are told."""

from ..model import ON_DEVICE
from ..record import NamedTuple
from ..routing import UP, Uplink

LINK_UP, LINK_DOWN, ADDRESS, TIER, ALL_DOWN = "link-up", "link-down", "address", "tier", "all-down"


class Standing(NamedTuple):
    """What of a link is told when it changes."""

    state: str
    reason: str
    address: str
    gateway: str
    table: int
    tier: int


def standings(uplinks: tuple[Uplink, ...]) -> dict[str, Standing]:
    """By interface."""
    found = {}
    for link, lease, _, state, reason, *_ in uplinks:
        gateway = "" if lease.gateway == ON_DEVICE else lease.gateway
        found[link.interface] = Standing(state, reason, lease.address, gateway, link.table, link.tier)
    return found


def notices(before: dict[str, Standing], now: dict[str, Standing]) -> list[dict[str, str]]:
    """One notice for each transition, with the variables of a script without their prefix DHCP_LB_. A link that comes
    into the configuration, or leaves it, is told of if it works, or did."""
    found: list[dict[str, str]] = []
    for name in sorted({*before, *now}):
        was, is_now = before.get(name), now.get(name)
        old, new = was.state if was else "", is_now.state if is_now else ""
        if (old == UP) != (new == UP):
            found.append(_of_link(LINK_UP if new == UP else LINK_DOWN, name, was, is_now))
        elif was and is_now and new == UP and was.address != is_now.address:
            found.append(_of_link(ADDRESS, name, was, is_now))
    old_tier, new_tier = serving(before), serving(now)
    if old_tier and not new_tier:
        found.append({"EVENT": ALL_DOWN})
    elif old_tier != new_tier and old_tier:
        found.append({"EVENT": TIER, "TIER": str(new_tier), "OLD_TIER": str(old_tier)})
    return found


def serving(links: dict[str, Standing]) -> int:
    """The tier that serves; 0 if no link works."""
    return min([one.tier for one in links.values() if one.state == UP], default=0)


def _of_link(event: str, name: str, was: Standing | None, is_now: Standing | None) -> dict[str, str]:
    one = is_now or was
    assert one
    return {"EVENT": event, "LINK": name, "STATE": is_now.state if is_now else "not configured",
            "OLD_STATE": was.state if was else "not configured", "REASON": one.reason if is_now else "",
            "ADDRESS": is_now.address if is_now else "", "OLD_ADDRESS": was.address if was else "",
            "GATEWAY": one.gateway, "TABLE": str(one.table), "TIER": str(one.tier)}
