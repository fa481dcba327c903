"""What several verbs need: what a run would see and do, and how a verb fails."""

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
    """What a run would see in IPv4, and in IPv6 if there is any; with the leases that `apply` would take up first.
    Also whether the store could be read: users other than root see the kernel alone. OSError if the kernel refuses."""
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
    """Three lists of ip(8) commands for what a run would do: to interfaces beforehand, to the routing, and to
    interfaces afterwards."""
    comes, goes = groups.commands(kernel, Store(), sight.config, sight.interfaces)
    changes = [change for view in views for change in view.changes]
    names = interface_names([change.what for change in changes])
    return comes, [command(change, names) for change in changes], goes


def configuration(path: str) -> Config:
    """The configuration in a file, which may also be a pipe whose writer is slow. Invalid if it has mistakes, OSError
    if it cannot be read."""
    return valid(read_config() if path == PATH else parse(Path(path).read_bytes(), path), path)


def mistakes_in(config: Config, path: str = PATH) -> tuple[str, ...]:
    """A message for each mistake in a configuration. If it has none, one for each clash with iproute2's names."""
    return config.errors or iproute2.clashes(config, iproute2.known(), path)


def valid(config: Config, path: str = PATH) -> Config:
    """The configuration. Invalid if it has mistakes."""
    if mistakes := mistakes_in(config, path):
        raise Invalid("\n".join(mistakes))
    return config


def in_words(error: OSError) -> str:
    """An error in words, with the file's name if it has one."""
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return f"{error.filename}: {text}" if error.filename else text


def fail(message: str, status: int) -> int:
    """Prints each line of a message to stderr, and returns `status`."""
    for line in message.split("\n"):
        print(f"dhcp-lb: {printable(line)}", file=sys.stderr)
    return status
