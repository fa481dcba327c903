"""A text file for prometheus-node-exporter. It is written again every 15 seconds and at each change."""

from posix import F_OK, access

from ..config import METRICS_DIRECTORIES, NONE_AT_ALL
from ..model import ON_DEVICE
from ..record import NamedTuple
from ..routing import Uplink
from ..store import replace
from .health import UP, verdict
from .side import Side

DIRECTORY = METRICS_DIRECTORIES[0]  # Debian's package reads each *.prom there
FILE = f"{DIRECTORY}/dhcp-lb.prom"


class Measured(NamedTuple):
    """The values of one link."""

    interface: str
    table: int
    address: str
    gateway: str
    tier: int
    weight: int
    state: str
    carrier: bool
    works: bool  # its provider answers, as far as anybody knows
    share: float  # of the new connections, 0 to 1, as they should be shared
    changes: int  # of the state, since the monitor began
    asked: int  # probes sent
    answered: int  # probes answered
    took_s: float  # how long the last answer took; negative = there is none
    lost: float  # share of the last probes that nobody has answered, 0 to 1


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

GAUGE, COUNTER = "gauge", "counter"
FAMILIES: "tuple[tuple[str, str, str, Callable[[Measured], float | str]], ...]" = (
    ("link_up", GAUGE, "Whether new connections go by the link.", lambda one: float(one.share > 0)),
    ("link_carrier", GAUGE, "Whether the interface has a carrier.", lambda one: float(one.carrier)),
    ("link_leased", GAUGE, "Whether the link has an address.", lambda one: float(one.address != "")),
    ("link_healthy", GAUGE, "Whether the provider answers, as far as anybody knows.", lambda one: float(one.works)),
    ("link_tier", GAUGE, "As configured.", lambda one: float(one.tier)),
    ("link_weight", GAUGE, "As configured.", lambda one: float(one.weight)),
    ("link_share_ratio", GAUGE, "The link's part of the new connections.", lambda one: one.share),
    ("link_state_changes_total", COUNTER, "Since the monitor has begun.", lambda one: float(one.changes)),
    ("probes_total", COUNTER, "Probes sent by the link.", lambda one: float(one.asked)),
    ("answers_total", COUNTER, "Probes that were answered.", lambda one: float(one.answered)),
    ("probe_rtt_seconds", GAUGE, "How long the last answer took.",
     lambda one: one.took_s if one.took_s >= 0 else "NaN"),
    ("probe_loss_ratio", GAUGE, "Of the probes of the last one or two minutes.", lambda one: one.lost),
)


OF_IPV6 = ("link_up", "link_healthy", "link_share_ratio", "link_state_changes_total", "probes_total", "answers_total",
           "probe_rtt_seconds", "probe_loss_ratio")
"""The metrics that may differ in IPv6. There, they have `ipv6_` before their names, for the links that have any
IPv6."""


def shares(uplinks: tuple[Uplink, ...], carriers: dict[str, bool]) -> dict[str, float]:
    """Interface → its share of the new connections, 0 to 1. The links of the lowest tier with a carrier share them.
    `carriers`: interface → whether it has one."""
    ready = [uplink.link for uplink in uplinks if uplink.balanced and carriers.get(uplink.link.interface)]
    tier = min([link.tier for link in ready], default=0)
    weights = {link.interface: link.weight for link in ready if link.tier == tier}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def measured(side: Side, carriers: dict[str, bool]) -> list[Measured]:
    """The values of the links in a family. `carriers`: interface → whether it has one."""
    parts = shares(side.uplinks, carriers)
    links = []
    for uplink in side.uplinks:
        name, lease, watch = uplink.link.interface, uplink.lease, side.watches[uplink.link.interface]
        links.append(Measured(
            name, uplink.link.table, lease.address, "" if lease.gateway == ON_DEVICE else lease.gateway,
            uplink.link.tier, uplink.link.weight,
            uplink.state, carriers.get(name, False), verdict(watch.health) == UP, parts.get(name, 0.0),
            watch.changes, watch.asked, watch.answered, watch.took_s, watch.lost() / 100))
    return links


def path(setting: str) -> str:
    """The path of the file; "" = no file. `setting`: the value of `metrics` in the configuration, "" if it has
    none."""
    if setting == NONE_AT_ALL or not setting and not access(DIRECTORY, F_OK):
        return ""
    return setting or FILE


def write(file: str, content: str) -> None:
    """Writes the file. A reader sees the old or the new one, and the exporter does not read the temporary file.
    OSError if that fails."""
    replace(file, content.encode(), f"{file}.new", 0o644)


def text(version: str, links: list[Measured], states: tuple[str, ...], in_order: bool, looked_s: float,
         six: list[Measured]) -> str:
    """The text of the file, in Prometheus' text format. `looked_s`: the time of the last look, in seconds since 1970.
    `six`: the links in IPv6."""
    lines = _of_links("", "", links, states)
    if six:
        lines += _of_links("ipv6_", " In IPv6.", six, states, OF_IPV6)
    lines += _family("link_info", GAUGE, "What the link is.", [
        (_labels(link=one.interface, table=str(one.table), address=one.address, gateway=one.gateway), 1.0)
        for one in links])
    lines += _family("in_order", GAUGE, "Whether the kernel's routing is as it should be, and nothing else counts.",
                     [("", float(in_order))])
    lines += _family("last_look_timestamp_seconds", GAUGE, "When that was.", [("", round(looked_s, 3))])
    lines += _family("build_info", GAUGE, "The version.", [(_labels(version=version), 1.0)])
    return "".join([f"{line}\n" for line in lines])


def _of_links(prefix: str, where: str, links: list[Measured], states: tuple[str, ...],
              names: tuple[str, ...] = ()) -> list[str]:
    """The lines of one family. `prefix` comes before the names of the metrics, and `where` after their help. `names`:
    the metrics that the family has; () = all."""
    lines = []
    for name, kind, words, value in FAMILIES:
        if not names or name in names:
            lines += _family(prefix + name, kind, words + where,
                             [(_labels(link=one.interface), value(one)) for one in links])
    return lines + _family(f"{prefix}link_state", GAUGE, "1 for the state that the link is in." + where, [
        (_labels(link=one.interface, state=state), float(state == one.state)) for one in links for state in states])


def _family(name: str, kind: str, words: str, samples: "list[tuple[str, float | str]]") -> list[str]:
    return [f"# HELP dhcp_lb_{name} {words}", f"# TYPE dhcp_lb_{name} {kind}",
            *[f"dhcp_lb_{name}{labels} {value}" for labels, value in samples]]


def _labels(**values: str) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in values.items()]
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    readable = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return readable.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
