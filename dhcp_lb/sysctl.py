"""The sysctls that a link's routes need, and the values that they had before (ip-sysctl.rst)."""

from posix import O_TRUNC, O_WRONLY, close, open, write

from . import address
from .commands import quoted
from .config import Config
from .log import log
from .model import CONNECTION, NO, PAIR, SOURCE, Interface
from .rtnetlink import IPV4_CONF, Rtnetlink, Sysctl
from .store import TUNED, Store, read

STRICT = "1"  # drops packets unless the route back leads by the link they came by; the greater of `all` and IF counts
LOOSE = "2"
ALL = -1  # the index of `all`
IPV4 = "/proc/sys/net/ipv4"
CONF6, IPV6 = "/proc/sys/net/ipv6/conf", "/proc/sys/net/ipv6"
OF_IPV6 = "ipv6:"  # before the key of a sysctl: no interface's name has a colon
HASH_POLICY, HASH_FIELDS = "fib_multipath_hash_policy", "fib_multipath_hash_fields"  # of all interfaces
HASH = (HASH_POLICY, HASH_FIELDS)
BY_FIELDS = "3"
# Source 1, destination 2, protocol 4, ports 0x10 and 0x20.
FIELDS = {CONNECTION: str(0x37), PAIR: str(0x3), SOURCE: str(0x1)}


def prefix(family: int) -> str:
    """What the keys of a family begin with, here and in the store."""
    return "" if family == address.IPV4.number else OF_IPV6


def wanted(interfaces: dict[str, Interface], now: dict[int, Sysctl], before: str = "") -> dict[str, tuple[str, str]]:
    """INTERFACE/KEY → (the value now, the value that the link needs), for those that differ. Keys begin with
    `before`."""
    need = {}
    for name, interface in sorted(interfaces.items()):
        values = now.get(interface.ifindex)
        if not values:
            continue
        if not values.ignore_routes_with_linkdown:  # this counts only if it was set before the carrier went
            need[f"{before}{name}/ignore_routes_with_linkdown"] = ("0", "1")
        if not before and str(max(values.rp_filter, now[ALL].rp_filter)) == STRICT:
            need[f"{name}/rp_filter"] = (str(values.rp_filter), LOOSE)
    return need


def hashed(balance: str, before: str = "") -> dict[str, str]:
    """Pure: key → the value by which the kernel chooses a connection's link as `balance` says. The fields come before
    the policy that makes them count (Linux 5.14). {} without a `balance`."""
    return {before + HASH_FIELDS: FIELDS[balance], before + HASH_POLICY: BY_FIELDS} if balance else {}


def tune(kernel: Rtnetlink, store: Store, interfaces: dict[str, Interface], balance: str, family: int) -> None:
    """Sets those sysctls of a family that differ, and keeps their old values in the store. If one cannot be set, the
    log says so."""
    before = store.tuned()
    keys = _hash(family)
    if not balance and not before.keys().isdisjoint(keys):  # there was a `balance` until now
        for key, value in _former({key: before.pop(key, "") for key in keys}):
            _set(key, value)
        store.tune(before)
    need = _needed(kernel, interfaces, balance, family)
    if not need:
        return
    try:
        store.tune({**{key: value for key, (value, _) in need.items()}, **before})
        for key, (_, value) in need.items():
            _set(key, value)
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: links may not be used as they should be: set this sysctl by hand")


def restore(store: Store) -> None:
    """Puts back the values that `tune` has changed, unless somebody has changed them since. OSError if that fails."""
    for key, value in _former(store.tuned()):
        _set(key, value)
    store.discard(f"{store.path}/{TUNED}")


def commands(kernel: Rtnetlink, store: Store, config: Config, interfaces: dict[str, Interface],
             family: int) -> list[str]:
    """The sysctl(8) commands for what `tune` would do, or `restore` if nothing of ours must be there."""
    before, balance = store.tuned(), config.settings.balance
    if config.settings.enabled == NO:
        return [_command(key, value) for key, value in _former(before)
                if key.startswith(OF_IPV6) == bool(prefix(family))]
    former = {} if balance else {key: before[key] for key in _hash(family) if key in before}
    return [_command(key, value) for key, value in [
        *_former(former),
        *[(key, value) for key, (_, value) in _needed(kernel, interfaces, balance, family).items()]]]


def _hash(family: int) -> list[str]:
    return [prefix(family) + key for key in HASH]


def _needed(kernel: Rtnetlink, interfaces: dict[str, Interface], balance: str,
            family: int) -> dict[str, tuple[str, str]]:
    """What `wanted` returns, and the same for the hash."""
    need = wanted(interfaces, kernel.sysctls(family), prefix(family))
    for key, value in hashed(balance, prefix(family)).items():
        if (now := _get(key)) != value:
            need[key] = (now, value)
    return need


def _former(tuned: dict[str, str]) -> list[tuple[str, str]]:
    """The earlier values of those sysctls that are still as we set them."""
    ours = {HASH_POLICY: (BY_FIELDS,), HASH_FIELDS: tuple(FIELDS.values())}
    return [(key, before) for key, before in tuned.items()
            if before and _get(key) in ours.get(key.removeprefix(OF_IPV6),
                                                (LOOSE if key.endswith("/rp_filter") else "1",))]


def _path(key: str) -> str:
    name = key.removeprefix(OF_IPV6)
    if name == key:
        return f"{IPV4_CONF}/{key}" if "/" in key else f"{IPV4}/{key}"
    return f"{CONF6}/{name}" if "/" in name else f"{IPV6}/{name}"


def _get(key: str) -> str:
    """The value; "" if there is no such sysctl: the interface has gone, and its sysctls with it, or the kernel is too
    old."""
    try:
        return read(_path(key), 64).decode().strip()
    except FileNotFoundError:
        return ""


def _set(key: str, value: str) -> None:
    descriptor = open(_path(key), O_WRONLY | O_TRUNC)
    try:
        write(descriptor, value.encode())
    finally:
        close(descriptor)
    log(_command(key, value))


def _command(key: str, value: str) -> str:
    return f"sysctl -w {quoted(_path(key).removeprefix('/proc/sys/'))}={value}"


def forwards(interface: str) -> bool:
    """Whether this machine forwards IPv4 packets that come in by this interface."""
    return _get(f"{interface}/forwarding") != "0"


def is_strict(interface: str) -> bool:
    """Whether IPv4 packets that come in by this interface are dropped unless the route to their source leads by it."""
    return max(_get(f"{name}/rp_filter") for name in ("all", interface)) == STRICT


def unset(kernel: Rtnetlink, config: Config, interfaces: dict[str, Interface], family: int) -> tuple[str, ...]:
    """Warnings for the sysctls that the links need and that somebody has set back."""
    if config.settings.enabled == NO:
        return ()
    return tuple([f"{_path(key).removeprefix('/proc/sys/')} is {now}, and the link needs {value}: "
                  "`dhcp-lb apply` sets it"
                  for key, (now, value) in sorted(wanted(interfaces, kernel.sysctls(family), prefix(family)).items())])


def warnings(config: Config, family: int) -> tuple[str, ...]:
    """Warnings for the sysctls that contradict `balance`."""
    return tuple([f"{_path(key).removeprefix('/proc/sys/')} is {_get(key) or 'not there'}, and `balance = "
                  f"{config.settings.balance}` means {value}: `dhcp-lb apply` sets it"
                  for key, value in hashed(config.settings.balance, prefix(family)).items() if _get(key) != value])
