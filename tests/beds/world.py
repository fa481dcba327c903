"""A test bed without a machine: the real path of an event, with a store in a directory and a model of the kernel."""

from __future__ import annotations

from pathlib import Path
from socket import AF_INET

import pytest

from dhcp_lb import change, groups, hook, iproute2, log, reconcile, sight, sysctl
from dhcp_lb.config import Config, parse
from dhcp_lb.model import Change, Interface, Refusal, Routing
from dhcp_lb.pinning import pins
from dhcp_lb.rtmessages import encode
from dhcp_lb.store import Store
from tests.beds import examples
from tests.beds.model_kernel import ModelKernel

BOUND = {
    "eth0": {"new_ip_address": "192.0.2.34", "new_subnet_mask": "255.255.255.128", "new_routers": "192.0.2.1"},
    "eth1": {"new_ip_address": "198.51.100.7", "new_subnet_mask": "255.255.255.128", "new_routers": "198.51.100.1"},
    "eth2": {"new_ip_address": "203.0.113.9", "new_subnet_mask": "255.255.255.128", "new_routers": "203.0.113.1"},
}


class World:
    """A sequence of events, and the routing after each."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, name: str = "dhcp-lb") -> None:
        self.interfaces = {name: Interface(2 + number, True, True, (BOUND[name]["new_ip_address"],), group=109)
                           for number, name in enumerate(BOUND)}
        self.kernel = ModelKernel(self.interfaces, 25)
        self.config = examples.CONFIG
        self.log: list[str] = []
        self.now_s = 1000
        self.held: dict[str, str] = {}
        self.store = Store(str(path / name))
        for module in change, groups, sysctl:
            patch.setattr(module, "log", lambda line, *_: self.log.append(line))
        patch.setattr(log, "log", lambda line, *_: self.log.append(line))
        for module in hook, reconcile, change, sight:
            patch.setattr(module, "now_s", lambda: self.now_s)
        for module in hook, reconcile:
            patch.setattr(module, "read_config", self.read_config)
        patch.setattr(hook, "umask", lambda _: None)  # it holds for the life of the hook's process alone
        patch.setattr(hook, "environ", {})
        patch.setattr(hook, "Store", lambda: self.store)
        patch.setattr(reconcile, "Rtnetlink", lambda: FakeRtnetlink(self))
        patch.setattr(iproute2, "clashes", lambda *_: ())
        patch.setattr(iproute2, "write_names", lambda *_: ())
        patch.setattr(iproute2, "remove_names", lambda: None)
        patch.setattr(pins, "keep", lambda kernel, config, store, state: state.pinned)
        patch.setattr(pins, "remove", lambda _: None)
        patch.setattr(change, "interface_names", lambda *_: {2: "eth0", 3: "eth1", 4: "eth2"})

    def read_config(self, known: Config | None = None) -> Config:
        return parse(self.config)

    def event(self, reason: str, interface: str, **variables: str | None) -> list[str]:
        """The hook takes an event. Returns the lines that it logs."""
        self.log.clear()
        environ: dict[str, str | None] = {
            "reason": reason, "interface": interface, **BOUND.get(interface, {}), **variables}
        setattr(hook, "environ",
                {name.encode(): value.encode() for name, value in environ.items() if value is not None})
        self.kernel.writes = 0
        hook.hook()
        return list(self.log)

    def apply(self) -> list[str]:
        self.log.clear()
        self.kernel.writes = 0
        reconcile.reconcile(parse(self.config), self.store, sight.News(edited=True))
        return list(self.log)

    def hold(self, **held: str) -> None:
        self.store.prepare()
        self.store.hold(examples.held(**held))
        self.apply()

    def has(self, name: str, *addresses: str, up: bool = True, carrier: bool = True) -> None:
        """Changes an interface. The kernel deletes the routes that need what the interface no longer has."""
        before = self.interfaces[name]
        self.interfaces[name] = Interface(before.ifindex, up, carrier, addresses, group=before.group)
        gone = set(before.addresses) - set(addresses) if up else set(before.addresses)
        self.kernel.routes = [
            (route, owner) for route, owner in self.kernel.routes
            if route.source not in gone and not (not up and any(hop.oif == before.ifindex for hop in route.nexthops))]

    @property
    def routing(self) -> Routing:
        return self.kernel.routing()

    def is_settled(self) -> bool:
        """Whether the next run has nothing to do."""
        self.log.clear()
        self.kernel.writes = 0
        reconcile.reconcile(parse(self.config), self.store)
        return (self.log, self.kernel.writes) == ([], 0)


class FakeRtnetlink:
    """Rtnetlink, on the model. It speaks in messages, like the kernel."""

    def __init__(self, world: World) -> None:
        self.world = world

    def main(self, most: int) -> list[bytes]:
        return []

    def ours(self, family: int = AF_INET, tables: tuple[int, ...] = (), main: list[bytes] = [],
             ) -> tuple[list[bytes], list[bytes], list[bytes]]:
        if family != AF_INET:
            return [], [], []
        routing = self.world.kernel.routing()
        return ([encode(Change(True, rule))[2] for rule in sorted(routing.rules)],
                [encode(Change(True, route))[2] for route in sorted(routing.routes)], [])

    def main_default(self, main: list[bytes]) -> tuple[int, int]:
        return 0, 0

    def interfaces(self, names: frozenset[str]) -> dict[str, Interface]:
        return {name: self.world.interfaces[name] for name in names if name in self.world.interfaces}

    def has_neighbours(self, ifindex: int) -> bool:
        raise AssertionError

    def set_group(self, ifindex: int, group: int) -> None:
        for name, interface in self.world.interfaces.items():
            if interface.ifindex == ifindex:
                self.world.interfaces[name] = interface._replace(group=group)

    def name_of(self, alias: str) -> str:
        return ""

    def addresses6(self) -> list[tuple[int, str, int, int]]:
        return []

    def sysctls(self, family: int) -> dict[int, None]:
        return {}

    def write(self, planned: tuple[Change, ...]) -> tuple[Refusal, ...]:
        return self.world.kernel.write(planned)
