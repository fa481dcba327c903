"""Pure: what a run has seen and wants → text for people, JSON for programs."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..change import View
from ..log import printable
from ..model import LOADED, NO, ON_DEVICE, OUT, Lease, Routing
from ..routing import DEAD, DISABLED, DRAINING, NO_LEASE, UNUSABLE, UP, Uplink, is_default
from ..sight import Sight

SCHEMA = 1  # of the JSON; another number means that a field has changed its meaning
BAR = 10  # characters of a bar for all connections
NEEDED = 3  # columns that stay however narrow the terminal is
HEADINGS6 = ("IPV6", "STATE", "SHARE", "FROM", "GATEWAY", "CHECK", "PREFIXES")
COLOURS = {UP: "32", UNUSABLE: "31", DEAD: "31"}  # SGR: green, red; every other state is yellow
HEADINGS = ("LINK", "STATE", "SHARE", "ADDRESS", "GATEWAY", "WEIGHT", "CHECK", "TABLE", "LEASE")  # the last go first


class Six(NamedTuple):
    """What `status` shows of IPv6."""

    sight: Sight
    view: View


class Status(NamedTuple):
    """Everything that `status` shows."""

    version: str
    sight: Sight
    view: View
    commands: tuple[str, ...]  # ip(8) commands for what `apply` would do
    warnings: tuple[str, ...]
    now_s: int  # CLOCK_BOOTTIME
    ages_known: bool  # whether the store could be read
    mistakes: tuple[str, ...] = ()  # of the configuration; then `sight` has only the links without a mistake
    counts: bool = True  # no foreign rule or route counts instead of ours
    six: Six | None = None  # if this machine has IPv6


def shares(routing: Routing, balance_table: int, carriers: dict[int, bool]) -> dict[int, float]:
    """Interface index → its share of the new connections, 0 to 1, as the kernel shares them now. `carriers`: interface
    index → whether it has one.

    The kernel tries the defaults of the balance table in the order of their metrics, and skips nexthops without
    carrier (net/ipv4/fib_semantics.c, fib_rebalance)."""
    defaults = [route for route in routing.routes
                if route.table == balance_table and is_default(route) and not route.rest]
    for route in sorted(defaults, key=lambda route: route.metric):
        weights = {nexthop.oif: nexthop.weight for nexthop in route.nexthops if carriers.get(nexthop.oif)}
        if weights:
            return {oif: weight / sum(weights.values()) for oif, weight in weights.items()}
    return {}


def as_json(status: Status) -> dict[str, Any]:
    """The document of `status --json`. dhcp-lb(8) has its fields. Fields may be added; no field changes its
    meaning."""
    config, view = status.sight.config, status.view
    part = _parts(status, view)
    six = _ipv6_as_json(status)
    return {
        "schema": SCHEMA,
        "version": status.version,
        "links": [{
            "interface": uplink.link.interface,
            "table_name": uplink.link.table_name,
            "table": uplink.link.table,
            "weight": uplink.link.weight,
            "state": uplink.state,
            "reason": uplink.reason or None,
            "held": _held(status, uplink) or None,
            "address": uplink.lease.address or None,
            "prefix_length": uplink.lease.length or None,
            "gateway": _gateway(uplink.lease) or None,
            "server": uplink.lease.server or None,
            "name_servers": list(uplink.lease.name_servers),
            "share": round(part.get(uplink.ifindex, 0.0), 4),
            "lease_age_s": _age(status, uplink),
            "lease_ends_in_s": _ends_in(status, uplink),
            "tier": uplink.link.tier,
            "check": _check_as_json(status.sight, uplink, status.now_s),
            "ipv6": six.get(uplink.link.interface),
        } for uplink in view.uplinks],
        "balance": {"table_name": config.settings.balance_name, "table": config.settings.balance_table},
        "pinned": status.sight.state.pinned == LOADED if status.ages_known else None,
        "in_order": not status.commands and status.counts if status.ages_known and not status.mistakes else None,
        "commands": list(status.commands),
        "warnings": list(status.warnings),
        "mistakes": list(status.mistakes),
    }


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    """The document of `as_json` without the parts that change by themselves."""
    return {**document, "links": [
        {**link, "lease_age_s": None, "lease_ends_in_s": None,
         "check": _timeless_check(link["check"]),
         "ipv6": link["ipv6"] and {**link["ipv6"], "check": _timeless_check(link["ipv6"]["check"])}}
        for link in document["links"]]}


def _timeless_check(check: dict[str, Any] | None) -> dict[str, Any] | None:
    return check and {name: check[name] for name in ("by", "answers")}


def _ipv6_as_json(status: Status) -> dict[str, dict[str, Any]]:
    """Interface → what its link has in IPv6; without links whose IPv6 is left alone."""
    if not status.six:
        return {}
    interfaces, part = status.six.sight.interfaces, _parts(status, status.six.view)
    return {uplink.link.interface: {
        "state": uplink.state,
        "reason": uplink.reason or None,
        "addresses": list(interfaces[uplink.link.interface].addresses) if uplink.ifindex else [],
        "prefixes": list(uplink.lease.prefixes),
        "inferred": dict(uplink.lease.inferred),
        "gateway": _gateway(uplink.lease) or None,
        "share": round(part.get(uplink.ifindex, 0.0), 4),
        "check": _check_as_json(status.six.sight, uplink, status.now_s),
    } for uplink in status.six.view.uplinks}


def as_text(status: Status, *, colour: bool = False, block: str = "#", width: int = 0) -> str:
    """The table of `status`, and a verdict; each line ends with a newline. The last columns of the table are left out
    if it does not fit into `width` characters; 0 = any width fits."""
    if not status.sight.config.links:
        if status.mistakes:
            return "\n".join(_verdict(status)) + "\n"
        lines = ["No links: name them in /etc/dhcp-lb, see dhcp-lb(5), then run `dhcp-lb apply`."]
        return "\n".join([*lines, *(_verdict(status) if status.commands else ())]) + "\n"
    part = _parts(status, status.view)
    rows = [list(HEADINGS)] + [_row(status, uplink, part.get(uplink.ifindex, 0.0), block)
                               for uplink in status.view.uplinks]
    if not status.sight.state.checked:  # no monitor checks the links
        _leave_out(rows, HEADINGS.index("CHECK"))
    lines = _table(rows, [uplink.state for uplink in status.view.uplinks], colour, width)
    reasons = [f"{uplink.link.interface} {uplink.state}: {reason}" for uplink in status.view.uplinks
               if (reason := _reason(uplink, part.get(uplink.ifindex, 0.0)))]
    six = [uplink for uplink in status.six.view.uplinks if uplink.state != NO_LEASE] if status.six else []
    if status.six and six:
        part = _parts(status, status.six.view)
        rows = [list(HEADINGS6)] + [_row6(uplink, part.get(uplink.ifindex, 0.0), block,
                                          _check(status.six.sight, uplink, status.now_s)) for uplink in six]
        if not status.sight.state.checked:
            _leave_out(rows, HEADINGS6.index("CHECK"))
        lines += ["", *_table(rows, [uplink.state for uplink in six], colour, width)]
        reasons += [f"IPv6 of {uplink.link.interface} {uplink.state}: {reason}" for uplink in six
                    if (reason := _reason(uplink, part.get(uplink.ifindex, 0.0)))]
        reasons += [f"IPv6 of {uplink.link.interface}: {prefix} is inferred from {own}, an address of the LAN that is "
                    "near to those of this link alone" for uplink in six for prefix, own in uplink.lease.inferred]
    return "\n".join([*lines, "", *[printable(line) for line in (*reasons, *_verdict(status))]]) + "\n"


def _leave_out(rows: list[list[str]], column: int) -> None:
    for row in rows:
        del row[column]


def _table(rows: list[list[str]], states: list[str], colour: bool, width: int) -> list[str]:
    """The lines of a table. The first row has the headings."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    while width and sum(widths) + 2 * len(widths[1:]) > width and len(widths) > NEEDED:
        del widths[-1]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.rjust(most) if heading == "WEIGHT" else cell.ljust(most)
                 for cell, most, heading in zip(row, widths, rows[0], strict=False)]
        if colour and number:
            cells[1] = f"\033[{COLOURS.get(states[number - 1], '33')}m{cells[1]}\033[0m"
        lines.append("  ".join(cells).rstrip())
    return lines


def _row6(uplink: Uplink, part: float, block: str, check: str) -> list[str]:
    bar = block * max(1, round(part * BAR)) if part else ""
    return [uplink.link.interface, uplink.state, f"{part:4.0%} {bar}", " ".join(uplink.lease.sources) or "-",
            _gateway(uplink.lease) or "-", check, " ".join(uplink.lease.prefixes) or "-"]


def _row(status: Status, uplink: Uplink, part: float, block: str) -> list[str]:
    link, lease = uplink.link, uplink.lease
    bar = block * max(1, round(part * BAR)) if part else ""
    held = _held(status, uplink)
    return [link.interface, uplink.state if held in ("", uplink.state) else f"{uplink.state}, {held}",
            f"{part:4.0%} {bar}", f"{lease.address}/{lease.length}" if lease.address else "-", _gateway(lease) or "-",
            str(link.weight), _check(status.sight, uplink, status.now_s), f"{link.table_name} ({link.table})",
            _lease(status, uplink)]


def _held(status: Status, uplink: Uplink) -> str:
    """How the administrator holds the link, whatever its state: a link without a lease may be held, too; "" = not at
    all."""
    hold = status.sight.state.held.get(uplink.link.interface)
    return "" if not hold else DISABLED if hold.reach == OUT else DRAINING


def _reason(uplink: Uplink, part: float) -> str:
    waits = uplink.state == UP and not part and uplink.link.tier > 1
    return f"waits in tier {uplink.link.tier}" if waits else uplink.reason


def _check(sight: Sight, uplink: Uplink, now_s: int) -> str:
    checked = sight.state.checked.get(uplink.link.interface)
    if not checked or not checked.by:
        return "-"
    if checked.hold:
        return f"for {span(now_s - checked.hold.since_s)}" if checked.hold.since_s else "no answer yet"
    if checked.took_ms < 0:
        return f"no answer yet: {checked.by}"
    return f"{checked.took_ms} ms, {checked.lost} % lost: {checked.by}"


def _check_as_json(sight: Sight, uplink: Uplink, now_s: int) -> dict[str, Any] | None:
    checked = sight.state.checked.get(uplink.link.interface)
    if not checked or not checked.by:
        return None
    return {"by": checked.by, "answers": not checked.hold and checked.took_ms >= 0,
            "took_ms": checked.took_ms if checked.took_ms >= 0 else None, "lost_percent": checked.lost,
            "held_s": now_s - checked.hold.since_s if checked.hold and checked.hold.since_s else None}


def _lease(status: Status, uplink: Uplink) -> str:
    age, ends_in = _age(status, uplink), _ends_in(status, uplink)
    if age is None:
        return "-"
    if ends_in is not None:
        end = f", ends in {span(ends_in)}" if ends_in > 0 else f", ended {span(-ends_in)} ago"
    else:  # without a server the end is not known: the address was set by hand, or read off the kernel
        end = ", does not end" if uplink.lease.server else ""
    return f"{span(age)} old{end}"


def _gateway(lease: Lease) -> str:
    return "" if lease.gateway == ON_DEVICE else lease.gateway


def _verdict(status: Status) -> list[str]:
    lines = [f"Warning: {warning}" for warning in status.warnings]
    if status.mistakes:
        return [*lines, "This is the kernel's routing. Nothing is changed until the configuration is corrected."]
    if not status.ages_known:
        return [*lines, "This is the kernel's routing. Only root sees the leases, and whether the routing is as it "
                        "should be."]
    if status.sight.config.settings.enabled == NO:
        lines.append("/etc/dhcp-lb says `enabled = no`: nothing of dhcp-lb may be in the kernel.")
    if not status.commands and not status.counts:
        return [*lines, "dhcp-lb's own routing is as it should be, but something else counts: see the warnings."]
    if not status.commands:
        return [*lines, "The kernel's routing is as it should be."]
    return [*lines, "The kernel's routing is not as it should be. `dhcp-lb apply` would run:",
            *[f"  {command}" for command in status.commands]]


def _parts(status: Status, view: View) -> dict[int, float]:
    carriers = {interface.ifindex: interface.up and interface.carrier
                for interface in status.sight.interfaces.values()}
    return shares(view.have, status.sight.config.settings.balance_table, carriers)


def _age(status: Status, uplink: Uplink) -> int | None:
    known = status.ages_known and uplink.state != NO_LEASE and uplink.lease.begin_s
    return status.now_s - uplink.lease.begin_s if known else None


def _ends_in(status: Status, uplink: Uplink) -> int | None:
    age = _age(status, uplink)
    return None if age is None or not uplink.lease.duration_s else uplink.lease.duration_s - age


def span(seconds: int) -> str:
    """A time in its two largest units, for people."""
    for unit, size, smaller, part in ("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"
