"""Pure: what somebody else's routing does to ours. All of ours may be as it should be, and something else count."""

from __future__ import annotations

from ..address import EVERYWHERE, network
from ..change import View
from ..commands import rule_text
from ..config import Config
from ..model import MAIN_TABLE, Route, Rule
from ..routing import PREF_BALANCE, PREF_MAIN

SHORTEST = 8  # no provider's network is larger than that of 10.0.0.0/8
ERRORS = {6: "blackhole", 7: "unreachable", 8: "prohibit"}  # RTN_*: uapi/linux/rtnetlink.h


def in_the_way(config: Config, view: View, others: list[Rule], defaults: list[Route]) -> tuple[str, ...]:
    """What counts in the place of ours: rules of `others`, and foreign `defaults` of all tables."""
    if not view.have.rules:
        return ()
    tables = {link.table: link.table_name for link in config.links}
    tables[config.settings.balance_table] = config.settings.balance_name
    found = [f"rule {rule_text(rule)} is somebody else's and has no condition: what it leads to comes before what "
             "dhcp-lb wants" for rule in others if 0 < rule.pref <= PREF_BALANCE and _fits_all(rule)]
    for route in defaults:
        if route.table in tables and route.metric <= _best(view, route.table):
            found.append(f"table {tables[route.table]} has a default route that is somebody else's and comes first, "
                         f"with metric {route.metric}")
        if route.table == MAIN_TABLE and _is_error(route) and route.metric < _best(view, MAIN_TABLE):
            found.append(f"main has `{ERRORS[route.rest[1]]} default metric {route.metric}`: every connection that no "
                         "rule before it takes ends there")
    return tuple(found)


def unused(view: View, defaults: list[Route], links: frozenset[int], names: dict[int, str]) -> tuple[str, ...]:
    """Defaults of main by other devices than links (`links`: their indexes) that no connection takes. `defaults` come
    by their metrics, and `names` has the devices'."""
    if not view.have.rules:
        return ()
    main = [route for route in defaults if route.table == MAIN_TABLE and route.nexthops]
    counts = any([rule.pref == PREF_MAIN for rule in view.have.rules])
    found = []
    for place, route in enumerate(main):
        oif = route.nexthops[0].oif
        if oif not in links and (place or not counts or route.metric > _best(view, MAIN_TABLE)):
            found.append(f"main's default by {names.get(oif, f'if{oif}')} with metric {route.metric} is not used")
    return tuple(found)


def short(view: View) -> tuple[str, ...]:
    """Leases whose net mask says that much of the Internet is on their link. So it is in main, by the client."""
    return tuple([f"{uplink.link.interface} has a lease with a prefix of /{uplink.lease.length}: all of "
                  f"{network(uplink.lease.address, uplink.lease.length)} goes by that link"
                  for uplink in view.uplinks if uplink.lease.address and uplink.lease.length < SHORTEST])


def _best(view: View, table: int) -> int:
    """The metric of our best default there; one that no route has if there is none."""
    return min([route.metric for route in view.have.routes
                if route.table == table and route.destination == EVERYWHERE], default=1 << 32)


def _is_error(route: Route) -> bool:
    return bool(route.rest) and route.rest[1] in ERRORS


def _fits_all(rule: Rule) -> bool:
    return rule._replace(pref=0, table=0, action=1) == Rule(0, 0)
