"""Something differs: judge, plan, ask the kernel, write, and tell."""

from _socket import if_indextoname

from . import VERSION
from .address import IPV4, IPV6
from .config import Invalid, with_servers
from .lock import Lock
from .log import log
from .marks import marks, translators
from .model import LOADED, LOOKUP, LOST, MAIN_TABLE, NO, Change, Interface, Refusal, Route, Routing, Rule
from .objections import MULTIPATH, balances, kept, learned, rehearsal, singles, spoken
from .plan import changes
from .record import NamedTuple
from .routing import (KEPT, NO_INTERFACE, NO_LEASE, PREF_DNS, ROUTED, Foreign, Uplink, desired, judge, recovered,
                      released)
from .rtmessages import decode_route, decode_rule, routing
from .rtnetlink import Rtnetlink
from .sight import News, Sight, again, now_s
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PREF_KERNEL = 32766  # main, if nobody has moved it: net/ipv4/fib_rules.c
DEFAULT_TABLE = 253  # RT_TABLE_DEFAULT: uapi/linux/rtnetlink.h
ATTEMPTS = 8  # each but the last ends with a new objection, or with other interfaces


class View(NamedTuple):
    """What a run has seen and wants."""

    uplinks: tuple[Uplink, ...]
    have: Routing
    want: Routing
    changes: tuple[Change, ...]  # from `have` to `want`


_answers: "dict[int, tuple[tuple[object, ...], Routing]]" = {}
"""By family: the last arguments of `desired`, which is pure, and its answer. A monitor looks again and again, and in
most of its looks nothing but the kernel's routing has changed."""


def judged(sight: Sight) -> View:
    """What a run wants. It depends on what the run has seen, and on nothing else. If the arguments of `desired` are
    those of the last call, its answer is taken from there."""
    config, state, interfaces, rules, routes, others, lan_metric, family, parts, _ = sight
    settings = config.settings
    have = routing(rules, routes)
    leases, links = state.leases, config.links_of(family)
    if family == IPV4.number and len(leases) < len(links):
        leases = {**recovered(have, interfaces, settings), **leases}
    uplinks = judge(links, leases, state.holds(), interfaces)
    pins = marks(config.links, settings.marks) if pins_count(sight) else {}
    foreign = Foreign(lan_metric, any([_is_of_a_vpn(decode_rule(message)) for message in others]),
                      tuple([one for one in map(decode_route, parts)
                             if len(one.nexthops) == 1 and not one.rest and not one.only_from]))
    facts = (uplinks, settings, MULTIPATH not in state.objections, pins, config.policies, frozenset(state.checked),
             foreign, family, is_translated(sight))
    before, want = _answers.get(family, ((), Routing()))
    if facts != before:
        want = desired(*facts)
    if want == have:
        want = have
    _answers[family] = facts, want  # the newest ones, and no second copy of hundreds of links' leases and routes
    if oifs := frozenset([uplink.ifindex for uplink in uplinks if uplink.state == KEPT]):
        want = kept(want, have, oifs, settings.shared())
    return View(uplinks, have, want, changes(have, want, settings.shared()))


def _is_of_a_vpn(other: Rule) -> bool:
    return (PREF_DNS < other.pref < PREF_KERNEL and other.action == LOOKUP
            and other.table not in (MAIN_TABLE, DEFAULT_TABLE))


def explained(kernel: Rtnetlink, view: View) -> View:
    """The view, with a reason for each link whose interface is there under another name (`altname` in ip-link(8)):
    rules and sysctls know an interface by its name alone. OSError if the kernel cannot be asked."""
    uplinks = []
    for uplink in view.uplinks:
        if uplink.state == NO_INTERFACE and (name := kernel.name_of(uplink.link.interface)):
            uplink = uplink._replace(reason=f"{uplink.link.interface} is another name of {name}: write {name}")
        uplinks.append(uplink)
    return view._replace(uplinks=tuple(uplinks))


def pins_count(sight: Sight) -> bool:
    """Whether connections are pinned to their link."""
    return sight.state.pinned in (LOADED, LOST) and sight.config.settings.pin != NO


def is_translated(sight: Sight) -> bool:
    """Whether packets that their own provider cannot take leave by another link, with an address of that link. Without
    the nft table they would leave with their own address, and the other provider would drop them without a word."""
    config = sight.config
    return (sight.family == IPV6.number and sight.state.pinned == LOADED
            and bool(translators(config.links, config.settings)))


def change(kernel: Rtnetlink, store: Store, lock: Lock, sight: Sight, news: News) -> Sight:
    """Brings the kernel's routing in line with what is wanted, and logs the changes. Returns what the run has seen
    last. Raises Invalid, Lost, OSError or Deadline."""
    store.tidy(sight.config.interfaces)
    store.object(sight.state.objections, sight.family)
    view = judged(sight)
    touched = {news.link} | _losers(view)
    before = sight.state.objections
    astray = _astray(sight)
    if due := bool(view.changes) or astray or news.edited:
        # Names, sysctls and the group come before the routes and rules that need them. If a run is killed in between,
        # the next run still finds changes to make, and so comes here again.
        furnished = _furnish(kernel, store, sight, news.edited)
        if furnished is not sight:
            sight, view = furnished, judged(furnished)
    if astray:
        from .groups import join
        sight = sight._replace(interfaces=join(kernel, store, sight.config, sight.interfaces))
    sight, view = _written(kernel, store, lock, sight, view)
    if due:
        _unfurnish(kernel, store, sight)
    touched |= {name for name, objection in sight.state.objections.items() if objection != before.get(name)}
    of = "IPv6 of " if sight.family == IPV6.number else ""
    if news.link and sight.family == IPV6.number:
        told = [line for uplink in view.uplinks for line in uplink.lease.refused if uplink.link.interface == news.link]
        for line in told:
            log(f"{news.link}: {line}")
    for uplink in explained(kernel, view).uplinks if sight.config.settings.enabled != NO else ():
        if uplink.link.interface in touched and uplink.state == KEPT:
            log(f"{of}{uplink.link.interface} gets no new connections: {uplink.reason}", _fields(uplink))
        elif uplink.link.interface in touched and uplink.state not in (*ROUTED, NO_LEASE):
            log(f"{of}{uplink.link.interface} is not used: {uplink.reason or uplink.state}", _fields(uplink))
    return sight


def _written(kernel: Rtnetlink, store: Store, lock: Lock, sight: Sight, view: View) -> tuple[Sight, View]:
    """Asks the kernel, then makes the changes. Returns what the run has seen last, and the view of it.

    The run keeps the kernel's objections in the store, and judges again. So a refused link costs the other links
    nothing. If the refusals teach nothing new, the kernel makes all changes that it accepts."""
    taught = True
    for _ in range(ATTEMPTS):
        if not view.changes:
            store.settle(sight.fingerprint(), sight.family)
            sight = sight._replace(settled=True)
            break
        lock.check()
        refusals = _rehearsed(kernel, view) if taught else ()
        made = not refusals
        if made:
            refusals = kernel.write(view.changes)
            tell(view.changes, refusals, sight.interfaces)
            if not refusals:
                if pins_count(sight):
                    _release(sight, released(view.changes, view.want))
                break
        else:
            refused = {refusal.change for refusal in refusals}
            tell(tuple([one for one in view.changes if one in refused]), refusals, sight.interfaces)
        before, sight = sight, again(kernel, sight)
        same = sight.interfaces == before.interfaces  # if the interfaces changed, the refusals are void
        new = learned(refusals, view.uplinks, view.have, sight.state, sight.interfaces, now_s()) if same else {}
        taught = bool(new) or not same
        if new:
            sight = sight._replace(state=sight.state._replace(objections={**sight.state.objections, **new}))
            store.object(sight.state.objections, sight.family)
        view = judged(sight)
        if made and not taught:
            if sight.state.objections:  # the next run asks again when they are void
                store.settle(sight.fingerprint(), sight.family)
            break
    return sight, view


def _release(sight: Sight, pins: list[int]) -> None:
    """Releases the connections of links that are out: they get an error or move at once. Otherwise they would wait for
    their next packet, or for ever behind `snat to`. In IPv6, a connection that nobody translates has no other way. If
    the firewall forgot it, the firewall would drop the other end's packets when the link is back."""
    if pins:
        from .pinning import conntrack
        try:
            for mark in pins:
                conntrack.release(mark, sight.config.settings.marks, sight.family,
                                  translated=sight.family == IPV6.number and not is_translated(sight))
        except OSError as error:
            log("the connections of a link that is out are not released, and may hang until they time out: "
                f"{error.strerror}")


def _rehearsed(kernel: Rtnetlink, view: View) -> tuple[Refusal, ...]:
    """The changes that the kernel would refuse. If a multipath is among them, so are those single defaults of its
    links that the kernel would refuse."""
    refusals = _refused(kernel, view.changes)
    for multipath in [refusal.change.what for refusal in refusals]:
        if isinstance(multipath, Route) and balances(multipath):
            refusals += _refused(kernel, singles(multipath, view.want))
    return refusals


def _refused(kernel: Rtnetlink, planned: tuple[Change, ...]) -> tuple[Refusal, ...]:
    asked, stands_for = rehearsal(planned)
    refusals = kernel.write(asked) if asked else ()
    return tuple([refusal._replace(change=stands_for[refusal.change]) for refusal in refusals if refusal.change.add])


def _furnish(kernel: Rtnetlink, store: Store, sight: Sight, edited: bool) -> Sight:
    """Writes the names of the tables, and sets the sysctls of the interfaces. If the configuration and the interfaces
    are the same as the last time, both have been done. That saves a tenth of a run after a changed lease. Returns the
    sight, with the servers' table where nobody else has a table."""
    interfaces = sorted([(name, interface.ifindex) for name, interface in sight.interfaces.items()])
    facts = f"{VERSION} {interfaces}\n".encode("utf-8", "surrogateescape") + sight.config.text
    if not edited and facts == store.furnished(sight.family):
        return sight
    from . import iproute2, sysctl
    known = iproute2.known()
    if errors := iproute2.clashes(sight.config, known):
        raise Invalid("\n".join(errors))
    config, place = sight.config, iproute2.servers(sight.config, known)
    if place != (config.settings.server_name, config.settings.server_table):
        store.serve(place)
        sight = sight._replace(config=config._replace(settings=with_servers(config.settings, place)),
                               state=sight.state._replace(servers=place))
    try:
        for path in iproute2.write_names(sight.config, known):
            log(f"{path}: written")
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: ip(8) shows our tables by number")
        facts = b""  # so that the next change tries again
    if sight.config.settings.enabled != NO:
        sysctl.tune(kernel, store, sight.interfaces, sight.config.settings.balance, sight.family)
    store.furnish(facts, sight.family)
    return sight


def _astray(sight: Sight) -> bool:
    """Whether an interface of a link is not in the links' group."""
    settings = sight.config.settings
    return settings.enabled != NO and any([one.group != settings.group for one in sight.interfaces.values()])


def _unfurnish(kernel: Rtnetlink, store: Store, sight: Sight) -> None:
    """Puts back groups and sysctls that are no longer needed, after the rules that needed them have gone."""
    enabled = sight.config.settings.enabled != NO
    keep = sight.config.interfaces if enabled else frozenset()
    if store.grouped().keys() - keep:
        from .groups import leave
        leave(kernel, store, keep)
    if not enabled:
        from .sysctl import restore
        restore(store)


def tell(planned: tuple[Change, ...], refusals: tuple[Refusal, ...], interfaces: dict[str, Interface]) -> None:
    """Logs each change as the ip(8) command that does the same. If the kernel has refused it, the kernel's words
    follow."""
    from .commands import command
    names = interface_names([one.what for one in planned],
                            {interface.ifindex: name for name, interface in interfaces.items()})
    refused = {refusal.change: refusal for refusal in refusals}
    for one in planned:
        text = command(one, names)
        if one in refused:
            log(f"refused: {text}: {spoken(refused[one].errno, refused[one].words)}")
        else:
            log(text)


def interface_names(objects: "Iterable[Route | Rule]", known: dict[int, str] | None = None) -> dict[int, str]:
    """Index → name: of the interfaces in these routes that still exist, and of those in `known`."""
    names = dict(known or {})
    oifs = {nexthop.oif for one in objects if isinstance(one, Route) for nexthop in one.nexthops}
    for oif in oifs - names.keys():
        try:
            names[oif] = if_indextoname(oif)
        except OSError:
            pass
    return names


def _fields(uplink: Uplink) -> dict[str, str]:
    return {"LINK": uplink.link.interface, "STATE": uplink.state, "REASON": uplink.reason}


def _losers(view: View) -> set[str]:
    """The interfaces of links that lose a route or a rule."""
    tables = {one.what.table for one in view.changes if not one.add}
    return {uplink.link.interface for uplink in view.uplinks if uplink.link.table in tables}
