"""The verb `check`: the mistakes in a configuration, and hints and warnings about it."""

from __future__ import annotations

import os
from argparse import Namespace

from .. import groups
from ..config import Config
from ..log import printable
from ..model import FAILOVER, Interface
from ..pinning import advice
from ..rtnetlink import Rtnetlink
from ..store import Store
from .common import configuration

LEARNERS = {"/etc/frr/daemons": "FRR", "/etc/bird/bird.conf": "BIRD", "/etc/bird.conf": "BIRD"}


def check(options: Namespace) -> None:
    """Prints hints and warnings, and the number of links. Invalid with every mistake, if there are any."""
    path = options.file
    config = configuration(path)
    kernel = Rtnetlink()
    there = kernel.interfaces(config.interfaces)
    for hint in _hints(config, kernel, there):
        print(f"{path}:{hint}")
    for warning in (*groups.warnings(Store(), config, there), *_learners(config), *advice.before(config)):
        print(printable(f"{path}: warning: {warning}"))
    count = len(config.links)
    print(f"{path}: {count} link{'s' * (count != 1)}" + ("" if count else ", so nothing is balanced"))


def _learners(config: Config) -> list[str]:
    """Warnings for routing daemons that may learn our defaults in main, unless the configuration says `main-default`.
    FRR's zebra reads the upper byte of a metric as the distance, so ours would beat its own routes."""
    if config.settings.main_default or not config.links:
        return []
    return [f"{daemon} is on this machine ({path}), and may learn the default routes that dhcp-lb adds to main: set "
            "`main-default = no`, or `main-default = yes` if it does not learn the kernel's routes"
            for path, daemon in LEARNERS.items() if os.path.exists(path)]


def _hints(config: Config, kernel: Rtnetlink, there: dict[str, Interface]) -> list[str]:
    """Hints, `LINE: what`, about what may be a slip. It is not if a device is unplugged at the moment."""
    hints = []
    for link in config.links:
        name, line = link.interface, config.lines[link.table]
        if name == "lo":
            hints.append(f"{line}: lo leads to this machine alone")
        elif name not in there and (real := kernel.name_of(name)):
            hints.append(f"{line}: {name} is another name of {real}: write {real}")
        elif name not in there:
            hints.append(f"{line}: there is no interface {name} on this machine now")
        if config.settings.translate6 == FAILOVER and link.ipv6 and not link.prefixes6:
            hints.append(f"{line}: {name} has no prefix6=, so translate6 = {FAILOVER} does not know which addresses "
                         "are its provider's")
    return hints
