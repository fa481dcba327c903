"""Pure: what was and what is → what the log and the scripts in notify.d are told."""

from ..model import ON_DEVICE
from ..record import NamedTuple
from ..routing import UP, Uplink

LINK_UP, LINK_DOWN, ADDRESS, TIER, ALL_DOWN = "link-up", "link-down", "address", "tier", "all-down"
BEGIN = "begin"  # for the log alone: how the links are as the monitor begins
NOT_CONFIGURED = "not configured"  # the state of a link that has just come or gone
MESSAGE_IDS = {  # of the entries in systemd's journal
    LINK_UP: "79a44dc46eb34e40956ac433a61dca66", LINK_DOWN: "f03c1ab250d0455cbda11fc181450aa6",
    ADDRESS: "997421125c5943e9a924c9d920f8c357", TIER: "bb91c407395d4017a052f37337e5d00b",
    ALL_DOWN: "8b0fd7e5e183475abd9b4455f0ecfe23", BEGIN: "78bb7814d9c74c6799fdc785d4b40f1a"}


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


def beginning(now: dict[str, Standing]) -> dict[str, str]:
    """What the log is told first: STATES has a line `INTERFACE STATE` for each link."""
    return {"EVENT": BEGIN, "STATES": "\n".join([f"{name} {one.state}" for name, one in sorted(now.items())])}


def words(notice: dict[str, str]) -> str:
    """A notice as a line of the log."""
    event, link = notice["EVENT"], notice.get("LINK", "")
    if event == BEGIN:
        states = [line.replace(" ", ": ", 1) for line in notice["STATES"].split("\n")]
        return f"the monitor begins: {', '.join(states)}"
    if event == ADDRESS:
        return f"{link}: address {notice['ADDRESS']}, was {notice['OLD_ADDRESS']}"
    if event == TIER:
        return f"tier {notice['TIER']} serves, was tier {notice['OLD_TIER']}"
    if event == ALL_DOWN:
        return "no link works"
    return f"{link}: {notice['STATE']}, was {notice['OLD_STATE']}"


def serving(links: dict[str, Standing]) -> int:
    """The tier that serves; 0 if no link works."""
    return min([one.tier for one in links.values() if one.state == UP], default=0)


def _of_link(event: str, name: str, was: Standing | None, is_now: Standing | None) -> dict[str, str]:
    one = is_now or was
    assert one
    return {"EVENT": event, "LINK": name, "STATE": is_now.state if is_now else NOT_CONFIGURED,
            "OLD_STATE": was.state if was else NOT_CONFIGURED, "REASON": one.reason if is_now else "",
            "ADDRESS": is_now.address if is_now else "", "OLD_ADDRESS": was.address if was else "",
            "GATEWAY": one.gateway, "TABLE": str(one.table), "TIER": str(one.tier)}
