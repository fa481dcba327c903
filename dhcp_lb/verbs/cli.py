"""The verbs. Exit status: 0 done, 1 failed, 2 wrong usage or configuration. `status --brief` has its own ones."""

from __future__ import annotations

import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from functools import partial
from io import TextIOWrapper

from .. import VERSION, sysctl
from ..change import judged
from ..config import PATH, Invalid, read_config
from ..lock import Deadline
from ..log import printable
from ..marks import parse_mark
from ..model import LOADED, NO_NEW, OUT
from ..monitor.instance import nudge
from ..pinning import pins
from ..policy import PROTOCOLS
from ..reconcile import flush, reconcile
from ..rtnetlink import Rtnetlink
from ..sight import News
from ..store import Store
from ..takeup import take_up
from .check import check
from .common import FAILED, WRONG, configuration, due, fail, in_words, see, valid
from .counts import speak
from .explain import ANY
from .history import history
from .holds import drain, hold, seconds
from .show import status
from .way import explain

INTERRUPTED = 130  # the exit status

EPILOG = """\
Without a verb, in the environment of a DHCP client (reason, interface), it is
the client's hook. dhcp-lb(8) explains the verbs, dhcp-lb(5) the links in
/etc/dhcp-lb."""


def cli(arguments: list[str]) -> int:
    """Runs a verb and returns the exit status. Error messages go to stderr."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # None if the caller has closed it
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # an interface's name may have any bytes
    os.umask(0o077)
    number = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise Python's flush at the end fails, too
        if not number and not isinstance(error, BrokenPipeError):
            fail(in_words(error), FAILED)
        number = number or FAILED
    return number


def _run(arguments: list[str]) -> int:
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options) or 0)
    except SystemExit as end:  # argparse's
        return int(end.code or 0)
    except Invalid as mistakes:
        return fail(str(mistakes), WRONG)
    except PermissionError as error:
        return fail(f"{in_words(error)}: only root can do this" if os.geteuid() else in_words(error), FAILED)
    except BrokenPipeError:
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return fail(in_words(error), FAILED)
    except Deadline as error:
        return fail(str(error), FAILED)


def _parser() -> ArgumentParser:
    parser = ArgumentParser("dhcp-lb", description="Balances connections over several Internet links whose addresses "
                            "come from DHCP.", epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter,
                            allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"dhcp-lb {VERSION}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB", prog="dhcp-lb")

    def verb(name: str, run: object, text: str) -> ArgumentParser:
        child = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        child.set_defaults(run=run)
        return child

    child = verb("status", status, "show the links, and whether the kernel is as it should be")
    forms = child.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="for programs; dhcp-lb(8) has the fields")
    child.add_argument("--watch", action="store_true",
                       help="go on, and show it again when something changes; with --json one object a line")
    forms.add_argument("--brief", action="store_true",
                       help="one line; exit status 0: all links work, 1: not all, 2: none, or not in order, "
                            "3: not known")
    verb("plan", plan, "print the commands of ip(8) and sysctl(8) that do what apply would do").add_argument(
        "file", nargs="?", default=PATH, metavar="FILE", help=f"as if this were {PATH}")
    verb("apply", apply, "bring the kernel's routing in line now, as after an edit of /etc/dhcp-lb")
    verb("check", check, "check a configuration, and name every mistake").add_argument(
        "file", nargs="?", default=PATH, metavar="FILE", help=f"the configuration, instead of {PATH}")
    child = verb("explain", explain, "say which link a connection takes, and why")
    child.add_argument("destination", metavar="DESTINATION", help="an IPv4 or IPv6 address")
    child.add_argument("--from", dest="source", metavar="ADDRESS", default="",
                       help="for a socket that is bound to this address, or for a machine of the LAN that has it")
    way = child.add_mutually_exclusive_group()
    way.add_argument("--dev", dest="oif", metavar="INTERFACE", default="",
                     help="for a socket that is bound to this interface")
    way.add_argument("--in", dest="iif", metavar="INTERFACE", default="",
                     help="for what comes in by this interface")
    protocol = child.add_mutually_exclusive_group()
    for name, number in PROTOCOLS.items():
        protocol.add_argument(f"--{name}", dest="wanted", metavar="PORT", type=partial(_port, number),
                              default=(ANY, 0), help=f"for {name.upper()} to this port")
    child.add_argument("--mark", metavar="MARK", type=_mark, default=0, help="for packets with this fwmark")
    for name, text in (("disable", "take a link out at once, until enable or a reboot"),
                       ("drain", "give a link no new connections, until enable or a reboot"),
                       ("enable", "bring a disabled or drained link back")):
        child = verb(name, hold, text)
        child.add_argument("link", metavar="LINK", help="its interface, as in /etc/dhcp-lb")
        child.set_defaults(reach={"disable": OUT, "drain": NO_NEW, "enable": ""}[name])
        if name == "drain":
            child.set_defaults(run=drain)
            child.add_argument("--wait", nargs="?", type=seconds, const=math.inf, metavar="SECONDS",
                               help="wait until its connections have ended, at most SECONDS; print each second how "
                                    "many are left")
            child.add_argument("--cut", action="store_true",
                               help="then disable the link, which ends the connections that are left; without --wait "
                                    "at once")
    verb("history", history, "show when links did not work, and why, from systemd's journal").add_argument(
        "link", nargs="?", default="", metavar="LINK", help="this one alone")
    verb("monitor", monitor, "watch the kernel and the providers, in the foreground; a service of systemd's does it")
    verb("flush", remove, "remove all rules and routes of dhcp-lb, until apply or the next event")
    return parser


def plan(options: Namespace) -> None:
    """Prints the changes that `apply` would make."""
    config = configuration(options.file)
    sights, known = see(config)
    if not known:
        raise PermissionError(1, "Permission denied", Store().path)
    kernel = Rtnetlink()
    pinned = pins.planned(kernel, config)
    if pins.differs(config, pinned):
        fail(f"apply would have nft {'make' if pinned == LOADED else 'remove'} the table inet dhcp-lb", 0)
    sights = [sight._replace(state=sight.state._replace(pinned=pinned)) for sight in sights]
    comes, changes, goes = due(kernel, sights[0], *[judged(sight) for sight in sights])
    sysctls = [line for sight in sights
               for line in sysctl.commands(kernel, Store(), config, sight.interfaces, sight.family)]
    for line in (*sysctls, *comes, *changes, *goes):
        print(printable(line))


def apply(_: Namespace) -> None:
    """Brings the kernel's routing in line now, and tells the monitor."""
    config = valid(read_config())
    take_up(config, Store(), config.interfaces)
    reconcile(config, Store(), News(edited=True))
    speak(Rtnetlink(), Store(), tuple(see(config)[0]))
    nudge(Store())


def _port(protocol: int, text: str) -> tuple[int, int]:
    """The protocol and the port in `text`. ArgumentTypeError if it is not a port."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ArgumentTypeError(f"{text} must be a port, 1 to 65535")
    return protocol, int(text)


def _mark(text: str) -> int:
    try:
        return parse_mark(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text} {error}") from None


def monitor(_: Namespace) -> int:
    """Runs the monitor until a signal ends it, and returns its exit status."""
    from ..monitor.daemon import run
    return run()


def remove(_: Namespace) -> None:
    """Removes everything of ours from the kernel, and iproute2's names."""
    flush(Store())
