"""A call by a DHCP client. Whatever happens here, the client goes on as if dhcp-lb were not installed."""

from posix import F_OK, access, environ, umask

from .address import IPV4, IPV6
from .config import Config, Invalid, read_config
from .event import CLIENTS, parse, said
from .lock import Deadline
from .model import NO, NONE
from .reconcile import reconcile
from .sight import News, now_s
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .event import Environ


def hook(client: str = "") -> None:
    """Takes the event in the environment of a client (event.CLIENTS; "": dhclient or dhcpcd). Errors go to the log;
    this function raises nothing."""
    umask(0o077)
    try:
        _take(environ, client)
    except Invalid as mistakes:
        _log(*str(mistakes).split("\n"), "nothing is changed until this is corrected; then run `dhcp-lb apply`")
    except Deadline as error:
        _log(f"gave up: {error}; the next event or `dhcp-lb apply` does the rest")
    except OSError as error:
        _log(f"failed: {error.filename or 'the kernel'}: {error.strerror}; "
             "the next event or `dhcp-lb apply` repairs it")
    except Exception as error:
        _log(f"failed, please report it: {_origin(error)}: {error!r}")


def _take(variables: "Environ", client: str) -> None:
    if client and client not in CLIENTS:
        return _log(f"unknown client {client}: after `dhcp-lb hook` must be one of {', '.join(CLIENTS)}")
    event = parse(variables, now_s(), client)
    if not event:
        return _take6(variables) if not client and variables.get(b"reason", b"").endswith(b"6") else None
    interface, lease, notes, early, sure = event
    config = read_config()
    store = Store()
    if not interface:
        return _look_around(config, store)
    if config.errors and not config.text:  # the file could not be read, so this interface may be a link
        raise Invalid("\n".join(config.errors))
    if interface not in config.interfaces:
        interface = _called(interface)
        if interface not in config.interfaces:
            return
    if early:
        return _begin(config, store, interface)
    store.prepare()
    if lease is None:
        return _look(config, store, frozenset([interface]))
    if not sure:
        from .takeup import take_up
        if take_up(config, store, frozenset([interface])):
            reconcile(config, store, News(family=IPV4.number))
            return
    if not client and lease.address:  # only the hook of dhclient and dhcpcd compares
        lease = lease._replace(said=said(variables))
    before = store.load(frozenset([interface]), now_s()).leases.get(interface, NONE)._replace(begin_s=lease.begin_s)
    new = before._replace(said=lease.said) != lease
    if new:
        _log(*[f"{interface}: {note}" for note in notes])
    unsaved = {}
    try:
        if before == lease:
            store.renew(interface, lease.begin_s)
        else:
            store.save(interface, lease)
    except OSError as error:
        _log(f"{error.filename}: {error.strerror}: the lease of {interface} is used, but not saved")
        unsaved = {interface: lease}
    reconcile(config, store, News(interface if new else "", unsaved, family=IPV4.number))


def _take6(variables: "Environ") -> None:
    """An event of a DHCPv6 client. The kernel has the addresses; prefixes and name servers are in the event alone."""
    from .delegation import merged
    from .delegation import parse as parse6
    event = parse6(variables, now_s())
    config = read_config()
    if not event or event.interface not in config.interfaces:
        return
    store = Store()
    store.prepare()
    interface = event.interface
    before = store.prefixes(interface, now_s())
    if before is None:
        from .rtnetlink import Rtnetlink
        from .sight import told_before
        before = told_before(Rtnetlink(), interface)
    told = merged(before, event)
    try:
        if event.comes or told != before:
            store.keep_prefixes(interface, told)
        if event.servers and event.servers != store.name_servers6(interface):
            store.keep_name_servers6(interface, event.servers)
    except OSError as error:
        _log(f"{error.filename}: {error.strerror}: the prefixes and name servers that {interface}'s DHCPv6 client has "
             "reported are not kept")
    new = {one.prefix for one in told} != {one.prefix for one in before}
    reconcile(config, store, News(interface if new else "", family=IPV6.number))


def _begin(config: Config, store: Store, interface: str) -> None:
    """Makes sure that the interface is in the links' group before it has a route. In most cases it is already."""
    from .rtnetlink import Rtnetlink
    found = Rtnetlink().interfaces(frozenset([interface])).get(interface)
    settings = config.settings
    if found and found.group != settings.group and settings.enabled != NO and not store.flushed():
        store.prepare()
        reconcile(config, store, News(family=IPV4.number))


def _called(interface: str) -> str:
    """The name of the interface that `interface` is an alternative name of; "" if there is none."""
    from .rtnetlink import IPV4_CONF, Rtnetlink
    return "" if access(f"{IPV4_CONF}/{interface}", F_OK) else Rtnetlink().name_of(interface)


def _look_around(config: Config, store: Store) -> None:
    """Something has changed, and the event does not say what. After `flush` this does nothing. It does not report a
    mistake in the configuration: `apply` and the clients' events do."""
    if config.links and not config.errors and not store.flushed():
        _look(config, store, config.interfaces)


def _look(config: Config, store: Store, interfaces: frozenset[str]) -> None:
    from .takeup import take_up
    take_up(config, store, interfaces)
    reconcile(config, store)


def _log(*lines: str) -> None:
    for line in lines:
        from .log import log  # a renewal without change logs nothing
        log(line)


def _origin(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
