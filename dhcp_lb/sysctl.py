"""The sysctls that a link's routes need, and their values from before (ip-sysctl.rst)."""

from posix import O_TRUNC, O_WRONLY, close, open, write

from .config import Config
from .log import log
from .model import Interface
from .rtnetlink import IPV4_CONF, Rtnetlink, Sysctl
from .store import TUNED, Store, read

STRICT = "1"  # drops packets that come in by another link than the route back; the greater of `all` and IF counts
LOOSE = "2"
ALL = -1  # the index of `all`
HASH_POLICY = "/proc/sys/net/ipv4/fib_multipath_hash_policy"  # for all interfaces; sysctl.d sets it


def wanted(interfaces: dict[str, Interface], now: dict[int, Sysctl]) -> dict[str, tuple[str, str]]:
    """INTERFACE/KEY → (the value now, the value that it needs), for those that differ."""
    need = {}
    for name, interface in interfaces.items():
        values = now.get(interface.ifindex)
        if not values:
            continue
        if not values.ignore_routes_with_linkdown:  # it only counts if it was set before the carrier went
            need[f"{name}/ignore_routes_with_linkdown"] = ("0", "1")
        if str(max(values.rp_filter, now[ALL].rp_filter)) == STRICT:
            need[f"{name}/rp_filter"] = (str(values.rp_filter), LOOSE)
    return need


def tune(kernel: Rtnetlink, store: Store, interfaces: dict[str, Interface]) -> None:
    """Sets the sysctls that differ, and keeps their old values in the store."""
    need = wanted(interfaces, kernel.sysctls())
    if not need:
        return
    try:
        store.tune({**{key: before for key, (before, _) in need.items()}, **store.tuned()})
        for key, (_, value) in need.items():
            _set(key, value)
    except OSError as error:
        log(f"{error.filename}: {error.strerror}: set it by hand, or a link without carrier may be used")


def restore(store: Store) -> None:
    """Puts back the values that `tune` has changed, unless somebody has changed them since."""
    for key, before in store.tuned().items():
        ours = LOOSE if key.endswith("/rp_filter") else "1"
        try:
            if read(f"{IPV4_CONF}/{key}", 64).decode().strip() == ours:
                _set(key, before)
        except FileNotFoundError:
            pass  # the interface is gone, and its sysctls with it
    store.discard(f"{store.path}/{TUNED}")


def _set(key: str, value: str) -> None:
    descriptor = open(f"{IPV4_CONF}/{key}", O_WRONLY | O_TRUNC)
    try:
        write(descriptor, value.encode())
    finally:
        close(descriptor)
    interface, _, name = key.partition("/")
    log(f"sysctl -w net/ipv4/conf/{interface}/{name}={value}")


def warnings(config: Config) -> tuple[str, ...]:
    """Sysctls that this program does not set, and that work against the links."""
    try:
        policy = read(HASH_POLICY, 64).strip()
    except FileNotFoundError:
        return ()
    if config.links and policy == b"0":
        return ("all connections between the same two addresses take the same link: run "
                "`sysctl -w net.ipv4.fib_multipath_hash_policy=1`",)
    return ()
