"""The verbs. Exit status: 0 done, 1 it failed, 2 usage or configuration. `status --brief` has its own."""

from __future__ import annotations

import json
import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from shutil import get_terminal_size

from .. import VERSION, address, groups, iproute2, sysctl
from ..change import View, explained, interface_names, is_translated, judged
from ..commands import command
from ..config import PATH, Config, Invalid, parse, read_config
from ..lock import Deadline
from ..log import printable
from ..marks import parse_mark, translators
from ..model import FAILOVER, LOADED, NO, NO_NEW, OUT, State
from ..monitor.brief import MISTAKES, UNKNOWN, announced, brief
from ..monitor.instance import nudge
from ..pinning import advice, pins
from ..pinning.table import becomes
from ..policy import PROTOCOLS, line_of
from ..reconcile import flush, reconcile
from ..rtnetlink import Rtnetlink
from ..sight import News, Sight, look, look6, now_s
from ..store import Store
from ..takeup import current, take_up
from .counts import found, short, speak
from .explain import ANY, RTN_LOCAL, Packet, chosen, ended, explanation, no_way
from .history import history
from .holds import drain, hold, seconds
from .six import ignored, refused
from .status import Six, Status, as_json, as_text, shares, timeless

FAILED, WRONG, INTERRUPTED = 1, 2, 130
NEWLINE, HOME, CLEAR_LINE, CLEAR_BELOW = "\n", "\033[H", "\033[K", "\033[J"  # of a terminal: console_codes(4)
LEARNERS = {"/etc/frr/daemons": "FRR", "/etc/bird/bird.conf": "BIRD", "/etc/bird.conf": "BIRD"}

EPILOG = """\
Without a verb, in the environment of a DHCP client (reason, interface), it is
the client's hook. dhcp-lb(8) explains the verbs, dhcp-lb(5) the links in
/etc/dhcp-lb."""


def cli(arguments: list[str]) -> int:
    """Runs a verb and returns the exit status; messages go to stderr."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # None if the caller has closed it
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # the name of an interface may have any bytes
    os.umask(0o077)
    status = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # otherwise Python complains when it flushes again at the end
        if not status and not isinstance(error, BrokenPipeError):
            _fail(_what(error), FAILED)
        status = status or FAILED
    return status


def _run(arguments: list[str]) -> int:
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options) or 0)
    except SystemExit as end:  # argparse's
        return int(end.code or 0)
    except Invalid as mistakes:
        return _fail(str(mistakes), WRONG)
    except PermissionError as error:
        return _fail(f"{_what(error)}: only root can do this" if os.geteuid() else _what(error), FAILED)
    except BrokenPipeError:
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _fail(_what(error), FAILED)
    except Deadline as error:
        return _fail(str(error), FAILED)


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
                            "3: it is not known")
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
                               help="wait until its connections have ended, or so long; say each second what is left")
            child.add_argument("--cut", action="store_true",
                               help="then end what is left, without --wait at once, and disable the link")
    verb("history", history, "show when links did not work, and why, from systemd's journal").add_argument(
        "link", nargs="?", default="", metavar="LINK", help="this one alone")
    verb("monitor", monitor, "watch the kernel and the providers, in the foreground; a service of systemd's does it")
    verb("flush", remove, "remove all rules and routes of dhcp-lb, until apply or the next event")
    return parser


def status(options: Namespace) -> int | None:
    """Shows the links, whether the kernel's routing is as it should be, and what is wrong with the configuration."""
    if options.watch:
        _watch(options)
        return None
    if options.brief:
        number, words = _brief()
        print(printable(words))
        return number
    report = _report()
    print(json.dumps(as_json(report), indent=2) if options.json else _text(report).removesuffix("\n"))
    return _fail("\n".join(report.mistakes), WRONG) if report.mistakes else None


def _text(report: Status) -> str:
    """The table, as the terminal can show it, if it is one."""
    tty = sys.stdout.isatty()
    block = "█" if tty and (sys.stdout.encoding or "").lower() == "utf-8" else "#"
    return as_text(report, colour=tty and not os.environ.get("NO_COLOR"), block=block,
                   width=get_terminal_size().columns if tty else 0)


def _watch(options: Namespace) -> None:
    """The same again and again: on a terminal in its place, otherwise if more than times has changed."""
    if options.brief:
        raise Invalid("--brief goes without --watch")
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
    """For root, how the links are; other users learn what the monitor has found out."""
    try:
        if os.geteuid():
            return announced(Store(), now_s())
        report = _report()
    except OSError as error:
        return UNKNOWN, _what(error)
    if report.mistakes:
        return MISTAKES
    state = report.sight.state
    in_order = not report.view.changes and not (report.six and report.six.view.changes) and report.counts
    six = report.six.view.uplinks if report.six else ()
    return brief(report.sight.config, report.view.uplinks, state.held, Store().flushed(), in_order, six)


def _report() -> Status:
    """All that `status` tells."""
    config = read_config()
    mistakes = _mistakes(config)
    (sight, *more), known = _sights(config)
    kernel = Rtnetlink()
    view = explained(kernel, judged(sight))
    six = [Six(one, explained(kernel, judged(one))) for one in more]
    views = [one.view for one in six]
    commands = tuple(sum(_commands(kernel, sight, view, *views), [])) if known and not mistakes else ()
    stand: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if not mistakes:  # otherwise not all links are known, and a link's default would be called somebody else's
        stand, notes = found(kernel, sight, view)
        stand += tuple([way for one in six for way in found(kernel, one.sight, one.view)[0]])
        notes = (*stand, *notes)
    if known:
        notes += (*ignored(views), *refused(views), *groups.warnings(Store(), config, sight.interfaces), *short(view),
                  *advice.now(kernel, config, sight.state))
    if known and config.links and config.settings.enabled != NO:
        if Store().flushed():
            notes = (*notes, "`dhcp-lb flush` has taken the routing away: the next event of a client or "
                             "`dhcp-lb apply` brings it back")
        elif not sight.state.checked:
            notes = (*notes, "no monitor is running, so a provider that does not work keeps its share")
    return Status(VERSION, sight, view, commands, notes, now_s(), known, mistakes, not stand, six[0] if six else None)


def plan(options: Namespace) -> None:
    """Prints the changes that `apply` would make."""
    config = _config(options.file)
    sights, known = _sights(config)
    if not known:
        raise PermissionError(1, "Permission denied", Store().path)
    kernel = Rtnetlink()
    pinned = pins.planned(kernel, config)
    if pins.differs(config, pinned):
        _fail(f"apply would have nft {'make' if pinned == LOADED else 'remove'} the table inet dhcp-lb", 0)
    sights = [sight._replace(state=sight.state._replace(pinned=pinned)) for sight in sights]
    comes, changes, goes = _commands(kernel, sights[0], *[judged(sight) for sight in sights])
    sysctls = [line for sight in sights
               for line in sysctl.commands(kernel, Store(), config, sight.interfaces, sight.family)]
    for line in (*sysctls, *comes, *changes, *goes):
        print(printable(line))


def apply(_: Namespace) -> None:
    """Brings the kernel's routing in line now."""
    config = _valid(read_config())
    take_up(config, Store(), config.interfaces)
    reconcile(config, Store(), News(edited=True))
    speak(Rtnetlink(), Store(), tuple(_sights(config)[0]))
    nudge(Store())


def check(options: Namespace) -> None:
    """Prints every mistake, or what may be one, what is in the way of pins, and the number of links."""
    path = options.file
    config = _config(path)
    for hint in _hints(config):
        print(f"{path}:{hint}")
    there = Rtnetlink().interfaces(config.interfaces)
    for warning in (*groups.warnings(Store(), config, there), *_learners(config), *advice.before(config)):
        print(printable(f"{path}: warning: {warning}"))
    count = len(config.links)
    print(f"{path}: {count} link{'s' * (count != 1)}" + ("" if count else ", so nothing is balanced"))


def _learners(config: Config) -> list[str]:
    """Routing daemons that may take our defaults in main for routes to learn, if nobody has said that these are to be
    there. FRR's zebra reads the upper byte of a metric as the distance, so ours would beat its own."""
    if config.settings.main_default or not config.links:
        return []
    return [f"{daemon} is on this machine ({path}), and may learn the default routes that dhcp-lb adds to main: say "
            "`main-default = no`, or `main-default = yes` if it does not learn the kernel's routes"
            for path, daemon in LEARNERS.items() if os.path.exists(path)]


def _hints(config: Config) -> list[str]:
    """What may be a slip in these lines, `LINE: what`, and is none where a device is unplugged at the moment."""
    kernel = Rtnetlink()
    there = kernel.interfaces(config.interfaces)
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
            hints.append(f"{line}: {name} has no prefix6=, so translate6 = {FAILOVER} does not know what has an "
                         "address of its provider's")
    return hints


def explain(options: Namespace) -> int | None:
    """Explains one lookup."""
    for name in ("destination", "source") if options.source else ("destination",):
        quad = getattr(options, name)
        try:
            setattr(options, name, address.host6(quad) if ":" in quad else address.parse(quad))
        except ValueError:
            raise Invalid(f"{quad or name} is not an IPv4 or IPv6 address") from None
    if options.iif and not options.source:
        raise Invalid("--in needs --from: must name the address of the machine that the connection comes from")
    family = address.family(options.destination)
    if options.source and address.family(options.source) != family:
        raise Invalid(f"{options.destination} from {options.source}: must be both IPv4 or both IPv6")
    sights, _ = _sights(_valid(read_config()))
    sight = sights[-1] if family == address.IPV6.number else sights[0]
    kernel = Rtnetlink()
    if options.source and not options.oif and not options.iif:
        options.iif = _way_in(kernel, options.source)
    there = kernel.interfaces(frozenset([options.oif, options.iif]))
    for name in options.oif, options.iif:
        if name and name not in there:
            raise Invalid(f"{name} is not an interface of this machine")
    protocol, port = options.wanted
    packet = Packet(options.destination, options.source, options.oif, options.iif, protocol, port, options.mark,
                    0 if options.iif else os.getuid())
    view = judged(sight)
    policies = sight.config.policies
    oif, iif = (there[name].ifindex if name else 0 for name in (packet.oif, packet.iif))
    try:
        route = kernel.lookup(packet.destination, packet.source, oif, iif, packet.protocol, packet.port, packet.mark)
    except OSError as error:
        rule = ended(kernel.rules(family), error.errno or 0, packet)
        refused = sysctl.is_strict(packet.iif) or _is_own(kernel, packet.source)
        return _fail(no_way(packet, error.errno or 0, _what(error), rule, line_of(policies, rule.pref) if rule else 0,
                            view.have, sysctl.forwards(packet.iif), refused), FAILED)
    group = next((one.group for nexthop in route.nexthops[:1] for one in kernel.interfaces(
        frozenset(interface_names([route]).values())).values() if one.ifindex == nexthop.oif), 0)
    by = chosen(kernel.rules(family), route, packet, group)
    settings = sight.config.settings
    carriers = {interface.ifindex: interface.carrier for interface in sight.interfaces.values()}
    names = {name.number: name.name for name in iproute2.names("rt_tables")}
    ours = {link.table: link.table_name for link in sight.config.links} | {
        settings.balance_table: settings.balance_name, settings.server_table: settings.server_name}
    for line in explanation(packet, route, by, names | ours, interface_names([route]),
                            shares(view.have, settings.balance_table, carriers),
                            line_of(policies, by.pref) if by else 0, view.have, _sources(sight, packet)):
        print(printable(line))
    return None


def _sources(sight: Sight, packet: Packet) -> dict[int, str]:
    """What a packet's source becomes by each link that translates it, by the links' interface indices."""
    if not is_translated(sight) or not packet.source:
        return {}
    several = translators(sight.config.links, sight.config.settings)
    found = {link.interface: becomes(packet.source, link, several) for link in several}
    return {interface.ifindex: found[name] for name, interface in sight.interfaces.items() if found.get(name)}


def _way_in(kernel: Rtnetlink, source: str) -> str:
    """The interface by which a connection from this address comes in; "" if it is this machine's own."""
    try:
        back = kernel.lookup(source)
    except OSError as error:
        raise Invalid(f"no route leads to {source} ({_what(error)}): --in must say by which interface it comes"
                      ) from None
    names = sorted(interface_names([back]).values())
    if back.rest[1:2] == RTN_LOCAL:
        return ""
    if len(names) != 1:
        raise Invalid(f"{source} is behind {' or '.join(names)}: --in must say by which of them it comes")
    return names[0]


def _is_own(kernel: Rtnetlink, source: str) -> bool:
    """Whether this machine has the address."""
    try:
        return bool(source) and kernel.lookup(source).rest[1:2] == RTN_LOCAL
    except OSError:
        return False


def _port(protocol: int, text: str) -> tuple[int, int]:
    """A protocol and a port of it."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ArgumentTypeError(f"{text} must be a port, 1 to 65535")
    return protocol, int(text)


def _mark(text: str) -> int:
    try:
        return parse_mark(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text} {error}") from None


def monitor(_: Namespace) -> int:
    """Until a signal ends it."""
    from ..monitor.daemon import run
    return run()


def remove(_: Namespace) -> None:
    """Removes everything of ours."""
    flush(Store())


def _sights(config: Config) -> tuple[list[Sight], bool]:
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


def _commands(kernel: Rtnetlink, sight: Sight, *views: View) -> tuple[list[str], list[str], list[str]]:
    """What a run would do: to interfaces beforehand, to the routing, to interfaces afterwards."""
    comes, goes = groups.commands(kernel, Store(), sight.config, sight.interfaces)
    changes = [change for view in views for change in view.changes]
    names = interface_names([change.what for change in changes])
    return comes, [command(change, names) for change in changes], goes


def _config(path: str) -> Config:
    """The configuration, or another file. That may be a pipe, whose writer takes its time."""
    return _valid(read_config() if path == PATH else parse(Path(path).read_bytes(), path), path)


def _mistakes(config: Config, path: str = PATH) -> tuple[str, ...]:
    return config.errors or iproute2.clashes(config, iproute2.known(), path)


def _valid(config: Config, path: str = PATH) -> Config:
    if mistakes := _mistakes(config, path):
        raise Invalid("\n".join(mistakes))
    return config


def _what(error: OSError) -> str:
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return f"{error.filename}: {text}" if error.filename else text


def _fail(message: str, status: int) -> int:
    for line in message.split("\n"):
        print(f"dhcp-lb: {printable(line)}", file=sys.stderr)
    return status
