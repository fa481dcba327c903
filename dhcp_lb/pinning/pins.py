"""Whether connections are pinned, and everything that pins need beside the rules. `apply`, boot and `flush` come here;
events never do."""

import os
from _socket import AF_INET, AF_INET6

from ..address import IPV6
from ..commands import rule_text
from ..config import Config
from ..log import log
from ..marks import ALL_BITS, marks, translators
from ..model import LOADED, NO, NO_NFT, YES, Rule, State
from ..nfnetlink import table_there
from ..routing import ROUTED, Uplink, judge
from ..rtmessages import decode_rule
from ..rtnetlink import OUR_RULE, RTM_GETRULE, Rtnetlink
from ..sight import look6, now_s
from ..store import Store, read, replace
from .conntrack import seed
from .nft import installed, load
from .table import DIRECTORY, FILE, REMOVE, text

FORWARDING = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding")


NOT_PINNED = "connections may change their link when others come or go"


def keep(kernel: Rtnetlink, config: Config, store: Store, state: State) -> str:
    """Makes the nft table or removes it, as the configuration wants. Returns the new State.pinned.

    If the table cannot be made, connections are balanced as if there were no pins, and the log says why."""
    pinned = _made(kernel, config, state)
    if pinned == LOADED:
        _seed(kernel, config, store, state)
    else:
        _unmake()
    if pinned != state.pinned:
        store.pin(pinned)
    return pinned


def planned(kernel: Rtnetlink, config: Config) -> str:
    """What `keep` would return if nft does not fail."""
    if not are_wanted(config) or foreign_rules(kernel, config.settings.marks):
        return ""
    return LOADED if installed() else NO_NFT


def differs(config: Config, pinned: str) -> bool:
    """Whether nft would have to make another table, or to remove one, for State.pinned to be `pinned`."""
    if pinned != LOADED or not table_there():
        return table_there() is not (pinned == LOADED)
    try:
        return read(FILE, 1 << 20) != _bytes(_table(config))
    except OSError:
        return True


def remove(store: Store) -> None:
    """Removes the table and its file."""
    _unmake()
    store.pin("")


def are_wanted(config: Config) -> bool:
    """Whether connections should be pinned."""
    pin = config.settings.pin
    return (config.settings.enabled != NO and pin != NO and bool(marks(config.links, config.settings.marks))
            and (pin == YES or _forwards()))


def foreign_rules(kernel: Rtnetlink, mask: int) -> list[Rule]:
    """The foreign rules of both families that look at marks within the bits of `mask`: their mark or their mask has
    such a bit. A rule that compares whole marks does not count, if its mark has none of these bits."""
    found = []
    for family in AF_INET, AF_INET6:
        messages = kernel.dump(RTM_GETRULE, bytes([family]) + bytes(11))
        found += [decode_rule(message) for message in messages if OUR_RULE not in message]
    return [rule for rule in found if rule.mark & mask or rule.mask != ALL_BITS and rule.mask & mask]


def _made(kernel: Rtnetlink, config: Config, state: State) -> str:
    """Makes the table. Returns what has become of it: LOADED, NO_NFT, or "" if there should be none."""
    settings = config.settings
    if not are_wanted(config):
        return ""
    if foreign := foreign_rules(kernel, settings.marks):
        log(f"{NOT_PINNED}: rule {rule_text(foreign[0])} is somebody else's and uses bits of `marks = "
            f"0x{settings.marks:08x}`: give that rule other bits, or dhcp-lb with `marks = MASK`")
        return ""
    try:
        load(new := _table(config))
    except FileNotFoundError:
        if state.pinned != NO_NFT:
            log(f"{NOT_PINNED}: there is no nft: install nftables and run `dhcp-lb apply`, or set `pin = no`")
        return NO_NFT
    except OSError as error:
        log(f"{NOT_PINNED}: {error.filename}: {error.strerror}")
        return ""
    try:
        os.makedirs(DIRECTORY, 0o755, exist_ok=True)
        replace(FILE, _bytes(new), f"{FILE}.new", 0o644)
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: /etc/nftables.conf has no file to include, so `flush ruleset` "
            "removes the table until `dhcp-lb apply`")
    if state.pinned != LOADED:
        log("nft table inet dhcp-lb keeps connections on their links from now on")
    return LOADED


def _table(config: Config) -> str:
    """The text from which nft makes the table."""
    settings = config.settings
    return text(marks(config.links, settings.marks), settings.marks, translators(config.links, settings))


def _bytes(table: str) -> bytes:
    return table.encode("utf-8", "surrogateescape")


def _unmake() -> None:
    try:
        if table_there():
            load(REMOVE)
        os.unlink(FILE)
    except FileNotFoundError as error:
        if error.filename != FILE:
            log("nft table inet dhcp-lb stays until the next boot: there is no nft that could remove it")
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: nft table inet dhcp-lb may be there until the next boot")


def owners(four: tuple[Uplink, ...], six: tuple[Uplink, ...], mark_of: dict[str, int]) -> dict[str, int]:
    """Pure: the links in IPv4 and in IPv6 → PREFIX/LENGTH → the mark of the link that has the prefix's connections. If
    two links have the same address, that is the link by which its packets leave."""
    own = [*[(uplink, (f"{uplink.lease.address}/32",)) for uplink in four],
           *[(uplink, (*uplink.sources, *uplink.lease.prefixes)) for uplink in six]]
    return {prefix: mark_of[uplink.link.interface] for uplink, prefixes in own for prefix in prefixes
            if uplink.state in ROUTED and not uplink.twin and uplink.link.interface in mark_of}


def _seed(kernel: Rtnetlink, config: Config, store: Store, state: State) -> None:
    """Those that were there before the table belong to the link whose address they have, or one of its prefix."""
    interfaces = kernel.interfaces(config.interfaces)
    four = judge(config.links, state.leases, state.holds(), interfaces)
    six: tuple[Uplink, ...] = ()
    state = store.load6(state, config.interfaces, now_s())
    if sight := look6(kernel, config, state, interfaces):
        six = judge(config.links_of(IPV6.number), sight.state.leases, sight.state.holds(), sight.interfaces)
    try:
        seed(owners(four, six, marks(config.links, config.settings.marks)), config.settings.marks)
    except OSError as error:
        log(f"connections that were there before are not pinned until they send something: {error.strerror}")


def _forwards() -> bool:
    """Whether this machine is a router. Conntrack costs memory, which a plain host may not want to spend."""
    values = []
    for path in FORWARDING:
        try:
            values.append(read(path).strip())
        except FileNotFoundError:
            pass  # the kernel does not have this family
    return b"1" in values
