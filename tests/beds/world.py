"""A test bed without a machine: the real path of an event, with a store in a directory and a model of the kernel."""

from __future__ import annotations

from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from dhcp_lb import change, groups, hook, iproute2, log, reconcile, rtnetlink, sight, sysctl
from dhcp_lb.address import network
from dhcp_lb.config import Config, parse
from dhcp_lb.delegation import GOES
from dhcp_lb.ipv6 import RTPROT_KERNEL, RTPROT_RA, Address
from dhcp_lb.model import MAIN_TABLE, Change, Interface, Nexthop, Refusal, Route, Routing
from dhcp_lb.pinning import pins
from dhcp_lb.rtmessages import encode
from dhcp_lb.store import Store
from tests.beds import examples
from tests.beds.examples import written
from tests.beds.model_kernel import ModelKernel

BOUND = {
    "eth0": {"new_ip_address": "192.0.2.34", "new_subnet_mask": "255.255.255.128", "new_routers": "192.0.2.1"},
    "eth1": {"new_ip_address": "198.51.100.7", "new_subnet_mask": "255.255.255.128", "new_routers": "198.51.100.1"},
    "eth2": {"new_ip_address": "203.0.113.9", "new_subnet_mask": "255.255.255.128", "new_routers": "203.0.113.1"},
}


class World:
    """Takes a sequence of events, and has the routing after each."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, name: str = "dhcp-lb") -> None:
        self.interfaces = {name: Interface(2 + number, True, True, (BOUND[name]["new_ip_address"],), group=109)
                           for number, name in enumerate(BOUND)}
        self.kernel = ModelKernel(self.interfaces, 25)
        self.routers: dict[str, str] = {}  # of IPv6: by which main has a default
        self.multipath = False  # whether another program makes one route of these defaults, as networkd 252 does
        for one in BOUND:
            self.has6(one)
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
        patch.setattr(rtnetlink, "Rtnetlink", lambda: FakeRtnetlink(self))
        patch.setattr(hook, "umask", lambda _: None)  # it holds for the life of the hook's process alone
        patch.setattr(hook, "environ", {})
        patch.setattr(hook, "Store", lambda: self.store)
        patch.setattr(reconcile, "Rtnetlink", lambda: FakeRtnetlink(self))
        patch.setattr(iproute2, "clashes", lambda *_: ())
        patch.setattr(iproute2, "write_names", lambda *_: ())
        patch.setattr(iproute2, "remove_names", lambda: None)
        patch.setattr(pins, "keep", lambda kernel, config, store, state: state.pinned)
        patch.setattr(pins, "remove", lambda _: None)
        patch.setattr(change, "interface_names", lambda *_: {1: "lo", 2: "eth0", 3: "eth1", 4: "eth2"})
        for module in reconcile, sight:
            patch.setattr(module, "access", lambda *_: True)  # there is IPv6

    def read_config(self, known: Config | None = None) -> Config:
        return parse(self.config)

    def event(self, reason: str, interface: str, client: str = "", **variables: str | None) -> list[str]:
        """The hook takes an event of a client. Returns the lines that it logs."""
        self.log.clear()
        lease = {} if reason.endswith("6") else BOUND.get(interface, {})
        environ: dict[str, str | None] = {"reason": reason, "interface": interface, **lease, **variables}
        setattr(hook, "environ",
                {name.encode(): value.encode() for name, value in environ.items() if value is not None})
        self.kernel.writes = 0
        hook.hook(client)
        return list(self.log)

    def told(self, reason: str, interface: str, prefix: str, valid_s: str = "") -> list[str]:
        """The hook takes an event of dhclient's about a delegated prefix. Returns the lines that it logs."""
        which = "old" if reason.encode() in GOES else "new"
        return self.event(reason, interface, **{f"{which}_ip6_prefix": prefix, f"{which}_max_life": valid_s})

    def look(self) -> list[str]:
        """A run as after a change in the kernel. Returns the lines that it logs."""
        self.log.clear()
        self.kernel.writes = 0
        reconcile.reconcile(parse(self.config), self.store)
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
        """Changes an interface. The kernel deletes the routes that need what the interface no longer has. An interface
        that is set down loses all of its IPv6."""
        before = self.interfaces[name]
        self.interfaces[name] = Interface(before.ifindex, up, carrier, addresses, group=before.group)
        gone = set(before.addresses) - set(addresses) if up else set(before.addresses)
        self.kernel.routes = [
            (route, owner) for route, owner in self.kernel.routes
            if route.source not in gone and any([self.kernel.is_up(hop.oif) for hop in route.nexthops])]
        self.has6(name, *([one[1:] for one in self.kernel.addresses6 if one.ifindex == before.ifindex] if up else []),
                  router=self.routers.get(name, "") if up else "")

    def has6(self, name: str, *addresses: tuple[str, int, int], router: str = "") -> None:
        """Changes what an interface has of IPv6: its global addresses, each with the length of its prefix and flags
        (IFA_F_*), and the router by which main has a default. Main has a route to each of its networks."""
        ifindex = self.interfaces[name].ifindex
        self.kernel.addresses6 = [*[one for one in self.kernel.addresses6 if one.ifindex != ifindex],
                                  *[Address(ifindex, *one) for one in addresses]]
        self.routers[name] = router
        here = {one.ifindex: (Nexthop("", one.ifindex),) for one in self.interfaces.values() if one.up}
        networks = {(network(one.text, one.length), here[one.ifindex]) for one in self.kernel.addresses6}
        ways = tuple([Nexthop(router, self.interfaces[name].ifindex)
                      for name, router in sorted(self.routers.items()) if router])
        main = [*[(Route(MAIN_TABLE, where, 256, "", 0, hops), RTPROT_KERNEL)
                  for where, hops in sorted(networks) + [("fe80::/64", hops) for hops in here.values()]],
                *[(Route(MAIN_TABLE, "::/0", 1024, "", 0, hops), RTPROT_RA)
                  for hops in ([ways] if self.multipath and ways else [(way,) for way in ways])]]
        self.kernel.routes = [(route, owner) for route, owner in self.kernel.routes
                              if owner not in (RTPROT_KERNEL, RTPROT_RA)] + main

    @property
    def routing(self) -> Routing:
        return self.kernel.routing()

    def is_settled(self) -> bool:
        """Whether the next run has nothing to do."""
        return (self.look(), self.kernel.writes) == ([], 0)


class FakeRtnetlink:
    """Rtnetlink on the model of the kernel. Like the kernel, it answers with messages."""

    def __init__(self, world: World) -> None:
        self.world = world

    def main(self, most: int) -> list[bytes]:
        return []

    def ours(self, family: int = AF_INET, tables: tuple[int, ...] = (), main: list[bytes] = [],
             ) -> tuple[list[bytes], list[bytes], list[bytes]]:
        routing = self.world.kernel.routing()
        return ([encode(Change(True, rule))[2] for rule in sorted(routing.rules) if rule.family == family],
                [encode(Change(True, route))[2] for route in sorted(routing.routes) if route.family == family], [])

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

    def addresses6(self) -> list[bytes]:
        return [written(one) for one in self.world.kernel.addresses6]

    def routes6(self, table: int, protocol: int) -> list[bytes]:
        bodies = [encode(Change(True, route))[2] for route, owner in self.world.kernel.routes
                  if (route.table, owner, route.family) == (table, protocol, AF_INET6)]
        return [body[:5] + bytes([protocol]) + body[6:] for body in bodies]  # rtm_protocol

    def sysctls(self, family: int) -> dict[int, None]:
        return {}

    def write(self, planned: tuple[Change, ...]) -> tuple[Refusal, ...]:
        return self.world.kernel.write(planned)
