"""The verb `status`: the links, and whether the kernel's routing is as it should be."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from shutil import get_terminal_size

from .. import VERSION, groups
from ..change import explained, judged
from ..config import Invalid, read_config
from ..log import printable
from ..model import NO
from ..monitor.brief import MISTAKES, UNKNOWN, announced, brief
from ..pinning import advice
from ..rtnetlink import Rtnetlink
from ..sight import now_s
from ..store import Store
from .common import WRONG, due, fail, in_words, mistakes_in, see
from .counts import found, short
from .six import ignored, refused
from .status import Six, Status, as_json, as_text, timeless

NEWLINE, HOME, CLEAR_LINE, CLEAR_BELOW = "\n", "\033[H", "\033[K", "\033[J"  # of a terminal: console_codes(4)


def status(options: Namespace) -> int | None:
    """Shows the links, whether the kernel's routing is as it should be, and what is wrong with the configuration.
    Returns the exit status."""
    if options.watch:
        _watch(options)
        return None
    if options.brief:
        number, words = _brief()
        print(printable(words))
        return number
    report = _report()
    print(json.dumps(as_json(report), indent=2) if options.json else _text(report).removesuffix("\n"))
    return fail("\n".join(report.mistakes), WRONG) if report.mistakes else None


def _text(report: Status) -> str:
    """The table. If standard output is a terminal, it has colours and fits the width."""
    tty = sys.stdout.isatty()
    block = "█" if tty and (sys.stdout.encoding or "").lower() == "utf-8" else "#"
    return as_text(report, colour=tty and not os.environ.get("NO_COLOR"), block=block,
                   width=get_terminal_size().columns if tty else 0)


def _watch(options: Namespace) -> None:
    """Shows the same again and again: on a terminal in the same place, otherwise when anything but ages has
    changed."""
    if options.brief:
        raise Invalid("--brief with --watch: must be only one of the two")
    from .watch import moments
    before = None
    for _ in moments():
        report = _report()
        document = as_json(report)
        text = _text(report) + "".join([f"{printable(mistake)}\n" for mistake in report.mistakes])
        if sys.stdout.isatty() and not options.json:
            print(f"{HOME}{text.replace(NEWLINE, CLEAR_LINE + NEWLINE)}{CLEAR_BELOW}", end="", flush=True)
        elif timeless(document) != before:
            print(json.dumps(document) if options.json else text, flush=True)
        before = timeless(document)


def _brief() -> tuple[int, str]:
    """The exit status and the line of `status --brief`. Root sees how the links are; other users see what the monitor
    has written for them."""
    try:
        if os.geteuid():
            return announced(Store())
        report = _report()
    except OSError as error:
        return UNKNOWN, in_words(error)
    if report.mistakes:
        return MISTAKES
    state = report.sight.state
    in_order = not report.view.changes and not (report.six and report.six.view.changes) and report.counts
    six = report.six.view.uplinks if report.six else ()
    return brief(report.sight.config, report.view.uplinks, state.held, Store().flushed(), in_order, six)


def _report() -> Status:
    """Everything that `status` shows."""
    config = read_config()
    mistakes = mistakes_in(config)
    (sight, *more), known = see(config)
    kernel = Rtnetlink()
    view = explained(kernel, judged(sight))
    six = [Six(one, explained(kernel, judged(one))) for one in more]
    views = [one.view for one in six]
    commands = tuple(sum(due(kernel, sight, view, *views), [])) if known and not mistakes else ()
    stand: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if not mistakes:  # with mistakes, not all links are known, and the default of a link would count as foreign
        stand, notes = found(kernel, sight, view)
        stand += tuple([way for one in six for way in found(kernel, one.sight, one.view)[0]])
        notes = (*stand, *notes)
    if known:
        notes += (*ignored(views), *refused(views), *groups.warnings(Store(), config, sight.interfaces), *short(view),
                  *advice.now(kernel, config, sight.state))
    if known and config.links and config.settings.enabled != NO:
        if Store().flushed():
            notes = (*notes, "`dhcp-lb flush` has removed the routing: the next event of a client or "
                             "`dhcp-lb apply` brings it back")
        elif not sight.state.checked:
            notes = (*notes, "no monitor is running, so a dead provider's link keeps its share: "
                             "start dhcp-lb-monitor.service")
    return Status(VERSION, sight, view, commands, notes, now_s(), known, mistakes, not stand, six[0] if six else None)
