"""What several verbs need: what there is to see, what a run would do, and how a verb fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .. import groups, iproute2
from ..change import View, interface_names
from ..commands import command
from ..config import PATH, Config, Invalid, parse, read_config
from ..log import printable
from ..model import State
from ..rtnetlink import Rtnetlink
from ..sight import Sight, look, look6, now_s
from ..store import Store
from ..takeup import current

FAILED, WRONG = 1, 2  # exit statuses


def see(config: Config) -> tuple[list[Sight], bool]:
    """Reads everything that a run goes by, of IPv4, and of IPv6 if there is any; and what would be taken up, as
    `apply` does first. Also returns whether the store could be read: other users see the kernel alone."""
    store = Store()
    known = not os.path.exists(store.path) or os.access(store.path, os.R_OK | os.X_OK)
    state = store.load(config.interfaces, now_s()) if known else State()
    if known:
        leases = {**state.leases, **current(config, state.leases, config.interfaces)}
        state = state._replace(leases=store.renewed(leases, now_s()),
                               servers=iproute2.servers(config, iproute2.known()))
    kernel = Rtnetlink()
    sight = look(kernel, config, state)
    state = store.load6(sight.state, config.interfaces, now_s()) if known else sight.state._replace(leases={})
    six = look6(kernel, sight.config, state, sight.interfaces)
    return [sight, six] if six else [sight], known


def due(kernel: Rtnetlink, sight: Sight, *views: View) -> tuple[list[str], list[str], list[str]]:
    """What a run would do: to interfaces beforehand, to the routing, to interfaces afterwards."""
    comes, goes = groups.commands(kernel, Store(), sight.config, sight.interfaces)
    changes = [change for view in views for change in view.changes]
    names = interface_names([change.what for change in changes])
    return comes, [command(change, names) for change in changes], goes


def configuration(path: str) -> Config:
    """The configuration, or another file. That may be a pipe, whose writer takes its time."""
    return valid(read_config() if path == PATH else parse(Path(path).read_bytes(), path), path)


def mistakes_in(config: Config, path: str = PATH) -> tuple[str, ...]:
    return config.errors or iproute2.clashes(config, iproute2.known(), path)


def valid(config: Config, path: str = PATH) -> Config:
    if mistakes := mistakes_in(config, path):
        raise Invalid("\n".join(mistakes))
    return config


def in_words(error: OSError) -> str:
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return f"{error.filename}: {text}" if error.filename else text


def fail(message: str, status: int) -> int:
    for line in message.split("\n"):
        print(f"dhcp-lb: {printable(line)}", file=sys.stderr)
    return status
