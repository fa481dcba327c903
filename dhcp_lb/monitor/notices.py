"""Pure: how the links were and how they are → the notices for the log and for the scripts in notify.d."""

from ..model import ON_DEVICE
from ..record import NamedTuple
from ..routing import NO_ADDRESS, NO_LEASE, UP, Uplink

LINK_UP, LINK_DOWN, ADDRESS, TIER, ALL_DOWN = "link-up", "link-down", "address", "tier", "all-down"
PREFIX = "prefix"  # of IPv6
WORKS = UP, NO_ADDRESS  # in IPv6: a link without an address of its own carries the LAN's
BEGIN = "begin"  # for the log alone: how the links are when the monitor begins
NOT_CONFIGURED = "not configured"  # the state of a link that has just come or gone
MESSAGE_IDS = {  # of the entries in systemd's journal
    LINK_UP: "79a44dc46eb34e40956ac433a61dca66", LINK_DOWN: "f03c1ab250d0455cbda11fc181450aa6",
    ADDRESS: "997421125c5943e9a924c9d920f8c357", TIER: "bb91c407395d4017a052f37337e5d00b",
    PREFIX: "3dac87142f8c40d9afba5f86caddb35e",
    ALL_DOWN: "8b0fd7e5e183475abd9b4455f0ecfe23", BEGIN: "78bb7814d9c74c6799fdc785d4b40f1a"}


class Standing(NamedTuple):
    """The facts of a link that notices are about, in IPv4."""

    state: str
    reason: str
    address: str
    gateway: str
    table: int
    tier: int


class Standing6(NamedTuple):
    """The facts of a link that notices are about, in IPv6."""

    state: str
    reason: str
    prefixes: tuple[str, ...]  # delegated by its provider, or named by prefix6=
    table: int
    tier: int


def standings6(uplinks: tuple[Uplink, ...]) -> dict[str, Standing6]:
    """Interface → the facts of its link in IPv6."""
    return {link.interface: Standing6(state, reason, lease.prefixes, link.table, link.tier)
            for link, lease, _, state, reason, *_ in uplinks}


def standings(uplinks: tuple[Uplink, ...]) -> dict[str, Standing]:
    """Interface → the facts of its link in IPv4."""
    found = {}
    for link, lease, _, state, reason, *_ in uplinks:
        gateway = "" if lease.gateway == ON_DEVICE else lease.gateway
        found[link.interface] = Standing(state, reason, lease.address, gateway, link.table, link.tier)
    return found


def notices(before: dict[str, Standing], now: dict[str, Standing]) -> list[dict[str, str]]:
    """One notice for each transition: the variables of a script, without their prefix DHCP_LB_. A link that is added
    to the configuration has a notice if it works, and a removed one if it did."""
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


def notices6(before: dict[str, Standing6], now: dict[str, Standing6]) -> list[dict[str, str]]:
    """One notice for each link whose IPv6 has begun or ceased to work, or whose prefixes have changed. PREFIXES6 are
    those that the LAN may use, so a dead link has none."""
    found = []
    for name in sorted({*before, *now}):
        was, is_now = before.get(name), now.get(name)
        one = is_now or was
        assert one
        old, new = was.state if was else NO_LEASE, is_now.state if is_now else NO_LEASE
        usable, usable_before = _usable(is_now), _usable(was)
        if usable != usable_before or (old in WORKS) != (new in WORKS):
            found.append({"EVENT": PREFIX, "LINK": name, "STATE": new, "OLD_STATE": old,
                          "REASON": is_now.reason if is_now else "", "PREFIXES6": usable,
                          "OLD_PREFIXES6": usable_before, "TABLE": str(one.table), "TIER": str(one.tier)})
    return found


def _usable(one: Standing6 | None) -> str:
    return " ".join(one.prefixes) if one and one.state in WORKS else ""


def beginning(now: dict[str, Standing], six: dict[str, Standing6]) -> dict[str, str]:
    """The first notice, for the log: STATES has a line `INTERFACE STATE` for each link, STATES6 one for each link that
    has any IPv6."""
    return {"EVENT": BEGIN, "STATES": "\n".join([f"{name} {one.state}" for name, one in sorted(now.items())]),
            "STATES6": "\n".join([f"{name} {one.state}" for name, one in sorted(six.items())])}


def words(notice: dict[str, str]) -> str:
    """A notice as a line of the log."""
    event, link = notice["EVENT"], notice.get("LINK", "")
    if event == BEGIN:
        states = [line.replace(" ", ": ", 1) for line in notice["STATES"].split("\n")]
        states += [f"IPv6 of {line.replace(' ', ': ', 1)}" for line in notice["STATES6"].split("\n") if line]
        return f"the monitor begins: {', '.join(states)}"
    if event == ADDRESS:
        return f"{link}: address {notice['ADDRESS']}, was {notice['OLD_ADDRESS']}"
    if event == PREFIX:
        changed = f"{notice['STATE']}, was {notice['OLD_STATE']}" if notice["STATE"] != notice["OLD_STATE"] else ""
        prefixes = (f"prefixes {notice['PREFIXES6'] or 'none'}, were {notice['OLD_PREFIXES6'] or 'none'}"
                    if notice["PREFIXES6"] != notice["OLD_PREFIXES6"] else "")
        return f"IPv6 of {link}: {'; '.join([one for one in (changed, prefixes) if one])}"
    if event == TIER:
        return f"tier {notice['TIER']} serves, was tier {notice['OLD_TIER']}"
    if event == ALL_DOWN:
        return "no link works"
    return f"{link}: {notice['STATE']}, was {notice['OLD_STATE']}"


def serving(links: dict[str, Standing]) -> int:
    """The lowest tier with a link that works, which serves; 0 if no link works."""
    return min([one.tier for one in links.values() if one.state == UP], default=0)


def _of_link(event: str, name: str, was: Standing | None, is_now: Standing | None) -> dict[str, str]:
    one = is_now or was
    assert one
    return {"EVENT": event, "LINK": name, "STATE": is_now.state if is_now else NOT_CONFIGURED,
            "OLD_STATE": was.state if was else NOT_CONFIGURED, "REASON": one.reason if is_now else "",
            "ADDRESS": is_now.address if is_now else "", "OLD_ADDRESS": was.address if was else "",
            "GATEWAY": one.gateway, "TABLE": str(one.table), "TIER": str(one.tier)}
