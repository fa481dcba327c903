"""The verbs `disable`, `drain` and `enable`: the administrator holds a link, or ends the hold."""

from __future__ import annotations

import math
import sys
import time
from argparse import Namespace
from errno import EINTR

from ..change import pins_count
from ..config import PATH, Config, Invalid, read_config
from ..lock import Lock, alone
from ..marks import marks
from ..model import ADMINISTRATOR, NO_NEW, OUT, Hold
from ..pinning.conntrack import Counts, count
from ..reconcile import reconcile
from ..rtnetlink import Rtnetlink
from ..sight import look, now_s
from ..store import Store

FAILED = 1


def hold(options: Namespace) -> None:
    """Sets or ends the hold at once."""
    _hold(_config(options.link), options.link, options.reach)


def drain(options: Namespace) -> int | None:
    """Drains the link at once. With --wait, waits for the end of its connections; with --cut, ends those that are
    left. Exit status 1 if some are left in the end, or if they are not known."""
    config = _config(options.link)
    if options.cut and options.wait is None:
        options.reach = OUT
    _hold(config, options.link, options.reach)
    if options.wait is None:
        return None
    mark = marks(config.links, config.settings.marks).get(options.link)
    store = Store()
    if not mark or not pins_count(look(Rtnetlink(), config, store.load(config.interfaces, now_s()))):
        print(f"dhcp-lb: {options.link} gets no new connections, but nobody knows which ones it has: connections are "
              "not pinned", file=sys.stderr)
        return FAILED
    is_empty = _wait(store, config, options.link, mark, options.wait)
    if options.cut and not is_empty:
        _hold(config, options.link, OUT)
        return None
    return None if is_empty else FAILED


def seconds(text: str) -> float:
    """A time to wait, in seconds. ValueError if it is negative, infinite, or not a number."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _config(link: str) -> Config:
    config = read_config()
    if config.errors:
        raise Invalid("\n".join(config.errors))
    if link not in config.interfaces:
        links = ", ".join(sorted(config.interfaces))
        raise Invalid(f"{link} is not a link of {PATH}: "
                      + (f"must be one of {links}" if links else "that file has no links"))
    return config


def _hold(config: Config, link: str, reach: str) -> None:
    store = Store()

    def keep(_: Lock) -> None:
        held = store.load(config.interfaces, now_s()).held
        held.pop(link, None)
        if reach:
            held[link] = Hold(ADMINISTRATOR, reach, since_s=now_s())
        store.hold(held)

    alone(store, keep, needed=True)
    reconcile(config, store)


def _wait(store: Store, config: Config, link: str, mark: int, most_s: float) -> bool:
    """Prints each second how many connections are left, for at most `most_s`. Whether none is left in the end."""
    end = time.monotonic() + most_s
    while True:
        left = count(mark, config.settings.marks)
        print(f"{link}: {_spoken(left)}", flush=True)
        if not any(left):
            return True
        if time.monotonic() >= end:
            return False
        if (held := store.load(config.interfaces, now_s()).held.get(link)) is None or held.reach != NO_NEW:
            raise InterruptedError(EINTR, "somebody has ended the drain", link)
        time.sleep(1)


def _spoken(left: Counts) -> str:
    tcp, udp, others = left
    return f"{sum(left)} connections are left: {tcp} of TCP, {udp} of UDP, {others} others"
