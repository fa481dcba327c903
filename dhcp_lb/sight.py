"""Everything that a run goes by, and how it is read."""

from time import CLOCK_BOOTTIME, clock_gettime

from . import VERSION
from .config import Config, with_servers
from .model import Interface, State
from .record import NamedTuple
from .rtnetlink import Rtnetlink


class Sight(NamedTuple):
    """Everything on which the decision of a run depends."""

    config: Config
    state: State  # with the objections that count now
    interfaces: dict[str, Interface]
    rules: list[bytes]  # ours, from Rtnetlink.ours
    routes: list[bytes]
    others: list[bytes] = []  # rules that are not ours
    lan_metric: int = -1  # routing.Foreign

    def fingerprint(self) -> bytes:
        """Equal bytes for equal decisions. The age of the leases does not matter."""
        state = self.state
        leases = [(name, lease.address, lease.length, lease.gateway, lease.server, lease.fault,
                   lease.name_servers)
                  for name, lease in sorted(state.leases.items())]
        held = [(name, hold.reach) for name, hold in sorted(state.held.items())]
        checked = [(name, one.hold.reach if one.hold else "") for name, one in sorted(state.checked.items())]
        interfaces = [(name, *interface) for name, interface in sorted(self.interfaces.items())]
        facts = (f"{VERSION} {leases} {held} {checked} {sorted(state.objections.items())} {state.pinned} "
                 f"{interfaces} {self.lan_metric} {self.config.settings.server_table}")
        return b"\n".join([facts.encode("utf-8", "surrogateescape"), self.config.text, *self.rules, *self.routes,
                           *self.others])


def look(kernel: Rtnetlink, config: Config, state: State) -> Sight:
    """Reads the kernel, and drops the objections that no longer count."""
    interfaces = kernel.interfaces(config.interfaces)
    if state.objections:
        from .objections import standing
        state = state._replace(objections=standing(state, interfaces, now_s()))
    return Sight(placed(config, state), state, interfaces, *kernel.ours(), _lan_metric(kernel, interfaces))


def placed(config: Config, state: State) -> Config:
    """Pure: the configuration with the servers' table where the store says, unless a line has another opinion."""
    used = {*config.lines, config.settings.balance_table}
    if not state.servers[1] or config.settings.server_table in config.lines or state.servers[1] in used:
        return config
    return config._replace(settings=with_servers(config.settings, state.servers))


def _lan_metric(kernel: Rtnetlink, interfaces: dict[str, Interface]) -> int:
    """The metric of main's best default if it is by a device that is neither a link nor a tunnel: a LAN whose DHCP
    server names a router. -1 if it is not."""
    metric, oif = kernel.main_default()
    if not oif or oif in [interface.ifindex for interface in interfaces.values()]:
        return -1
    try:
        return metric if kernel.has_neighbours(oif) else -1
    except OSError:  # it has gone meanwhile
        return -1


def now_s() -> int:
    """Seconds since boot, including sleep. Setting the clock does not change it."""
    return int(clock_gettime(CLOCK_BOOTTIME))
