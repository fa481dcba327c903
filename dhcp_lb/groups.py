"""The group of the links' interfaces (ip-link(8), `group`), by which rules and firewalls tell them from other
interfaces; and the groups that they were in before."""

from .commands import quoted
from .config import Config
from .log import log
from .model import NO, Interface
from .rtnetlink import Rtnetlink
from .store import Store


def join(kernel: Rtnetlink, store: Store, config: Config, interfaces: dict[str, Interface]) -> dict[str, Interface]:
    """Puts the links' interfaces into the group, and keeps their earlier groups in the store. Returns the interfaces
    as they are now. PermissionError without CAP_NET_ADMIN."""
    wanted = config.settings.group
    noted = store.grouped()
    outside = {name: one for name, one in sorted(interfaces.items()) if one.group != wanted}
    for name, one in outside.items():
        before, ours = noted.get(name, (one.group, wanted))
        # If a device was plugged in again, or somebody has moved it to another group, its group of now is the earlier
        # one.
        noted[name] = (before if one.group == ours else one.group, wanted)
    store.group(noted)
    for name, one in outside.items():
        try:
            _put(kernel, name, one, wanted)
        except PermissionError:
            raise
        except OSError as error:  # the interface has gone in the meantime
            log(f"{name} is not put into group {wanted}: {error.strerror}")
    return {**interfaces, **{name: one._replace(group=wanted) for name, one in outside.items()}}


def leave(kernel: Rtnetlink, store: Store, keep: frozenset[str] = frozenset()) -> None:
    """Puts all interfaces but those to `keep` back into their earlier groups, unless somebody has moved them since.
    OSError if the kernel refuses."""
    noted = store.grouped()
    gone = {name: noted[name] for name in noted.keys() - keep}
    for name, one in kernel.interfaces(frozenset(gone)).items() if gone else ():
        before, ours = gone[name]
        if one.group == ours:
            _put(kernel, name, one, before)
    if gone:
        store.group({name: noted[name] for name in noted.keys() & keep})


def commands(kernel: Rtnetlink, store: Store, config: Config,
             interfaces: dict[str, Interface]) -> tuple[list[str], list[str]]:
    """Two lists of ip(8) commands: for what `join` does before the routing is written, and for what `leave` does
    afterwards."""
    ours = config.settings.group if config.settings.enabled != NO else 0
    comes = [_command(name, ours) for name, one in sorted(interfaces.items()) if ours and one.group != ours]
    noted = store.grouped()
    gone = noted.keys() - (config.interfaces if ours else frozenset())
    there = kernel.interfaces(frozenset(gone)) if gone else {}
    goes = [(name, noted[name][0]) for name, one in sorted(there.items()) if one.group == noted[name][1]]
    return comes, [_command(name, before) for name, before in goes]


def warnings(store: Store, config: Config, interfaces: dict[str, Interface]) -> tuple[str, ...]:
    """Warnings for links' interfaces that somebody has put into a group: a firewall may use that group."""
    noted, ours = store.grouped(), config.settings.group
    found = {name: one.group if one.group != ours else noted.get(name, (0, 0))[0] for name, one in interfaces.items()}
    return tuple([f"{name} was in group {group}, and dhcp-lb puts it into group {ours}: if a firewall uses group "
                  f"{group}, set `group = {group}`"
                  for name, group in sorted(found.items()) if group not in (0, ours)])


def _put(kernel: Rtnetlink, name: str, interface: Interface, group: int) -> None:
    kernel.set_group(interface.ifindex, group)
    log(_command(name, group))


def _command(name: str, group: int) -> str:
    return f"ip link set dev {quoted(name)} group {group}"
