"""Pure: the kernel's routing and the wanted one → changes, in the order in which they are made."""

from .address import FAMILIES
from .model import Change, Route, Routing, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container


def changes(have: Routing, want: Routing, shared: "Container[int]") -> tuple[Change, ...]:
    """The changes from `have` to `want`, in an order in which every lookup in between finds a link. `shared` are the
    tables with routes by all links.

    The links' tables come first, then the rules that point to them, then the shared tables: the kernel finds the
    gateways of the latter by the rules. Removals come last, in the opposite order. A changed route is added behind the
    old one, which serves until it is deleted. A replacement would leave a moment without either route (doc/design.md,
    "Append and delete"). An IPv6 route replaces the old one, so there is nothing to delete (rtmessages.encode)."""
    if have == want:
        return ()
    replaced = {_key(route) for route in want.routes - have.routes if ":" in route.destination}
    return (*[Change(True, what) for what in _sorted(want, have, shared)],
            *[Change(False, what) for what in reversed(_sorted(have, want, shared))
              if not (isinstance(what, Route) and _key(what) in replaced)])


def _key(route: Route) -> tuple[int, str, str, int]:
    """IPv6 can have only one route with each key."""
    return route.table, route.destination, route.only_from, route.metric


def _sorted(of: Routing, without: Routing, shared: "Container[int]") -> list[Route | Rule]:
    # A prefix comes before the default whose gateway is in it.
    defaults = [family.everywhere for family in FAMILIES.values()]
    routes = sorted(of.routes - without.routes,
                    key=lambda route: (route.table, route.destination in defaults, -route.scope, route))
    return [*[route for route in routes if route.table not in shared],
            *sorted(of.rules - without.rules),
            *[route for route in routes if route.table in shared]]
