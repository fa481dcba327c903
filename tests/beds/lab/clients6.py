"""The clients of IPv6 on the router of `lab6.py`: the kernel itself, dhclient, dhcpcd, NetworkManager, networkd."""

from tests.beds.box import ip
from tests.beds.ipv6 import LAN_OF, LINES, PREFIXES

from .daemons import start_dbus, start_networkd
from .lab6 import Lab6
from .node import wait_for

CLIENTS = ["dbus", "dhcpcd-base", "ifupdown", "isc-dhcp-client", "network-manager", "networkd-dispatcher", "systemd"]
BARE = "eth0 table-eth0 200 1\neth1 table-eth1 201 2\n"
TOLD = tuple([f"{prefix}::/56" for prefix in LAN_OF.values()])  # by a client


class Client:
    """The kernel alone, without any client. The administrator names the prefixes in the configuration."""

    lines = LINES  # of the configuration
    prefixes: tuple[str, ...] = tuple([f"{prefix}::/48" for prefix in PREFIXES.values()])
    names_of_lan: tuple[str, ...] = ("eth0", "eth1")  # whose prefix the administrator gives the LAN

    def __init__(self, lab: Lab6) -> None:
        self.lab, self.router = lab, lab.router

    def more(self, interface: str) -> str:
        """The lines that the administrator adds to the link's file of NetworkManager or networkd."""
        return ""

    def prepare(self) -> None:
        """Installs the client's configuration, before the links come up."""

    def up(self, interface: str) -> None:
        self.router.run("ip", "link", "set", interface, "up")

    def down(self, interface: str) -> None:
        self.router.run("ip", "link", "set", interface, "down")


class Kernel(Client):
    pass


class Dhclient(Client):
    """dhclient, as ifupdown starts it."""

    lines, prefixes = BARE, TOLD

    def prepare(self) -> None:
        self.router.path("/etc/network/interfaces").write_text("".join(
            [f"iface {name} inet6 dhcp\n accept_ra 2\n request_prefix 1\n" for name in PREFIXES]))

    def up(self, interface: str) -> None:
        self.router.run("ifup", interface)

    def down(self, interface: str) -> None:
        self.router.run("ifdown", interface)


class Dhcpcd(Client):
    """dhcpcd, which gives the LAN the first /64 of each prefix."""

    lines, prefixes = BARE, TOLD
    names_of_lan = ()

    def prepare(self) -> None:
        self.router.path("/etc/dhcpcd.conf").write_text(
            "nodev\nipv6only\nduid\ninterface lan0\nnoipv6rs\n" + "".join(
                [f"interface {name}\nia_na {number}\nia_pd {number} lan0/0/64\n"
                 for number, name in enumerate(PREFIXES, 1)]))
        self.router.run("dhcpcd")


class NetworkManager(Client):
    def prepare(self) -> None:
        start_dbus(self.router)
        self.prepare_lan()
        for name in PREFIXES:
            self.connect(name, "auto", "no", self.more(name))
        self.router.run("NetworkManager")

    def prepare_lan(self) -> None:
        self.leave_alone("lan0")

    def leave_alone(self, interface: str) -> None:
        self.router.path("/etc/NetworkManager/conf.d/lab.conf").write_text(
            f"[keyfile]\nunmanaged-devices=interface-name:{interface}\n")

    def connect(self, interface: str, method: str, by_itself: str, more: str = "") -> None:
        """Writes a connection. `more`: lines of [ipv6], and other groups, of which the last line counts."""
        path = self.router.path(f"/etc/NetworkManager/system-connections/{interface}.nmconnection")
        path.write_text(f"[connection]\nid={interface}\ntype=ethernet\ninterface-name={interface}\n"
                        f"autoconnect={by_itself}\n[ipv4]\nmethod=disabled\n[ipv6]\nmethod={method}\n{more}")
        path.chmod(0o600)

    def up(self, interface: str) -> None:
        wait_for(f"NetworkManager to bring up {interface}", lambda: self.router.try_run(
            "nmcli", "connection", "up", interface).returncode == 0)

    def down(self, interface: str) -> None:
        self.router.run("nmcli", "--wait", "50", "connection", "down", interface)  # its own is 10 s


class Sharing(NetworkManager):
    """NetworkManager gives the LAN a network of eth0's prefix. It brings up the LAN's connection by itself, because
    1.42 may lose the LAN's address when it is asked for it once more. eth1 is left to the kernel, because
    NetworkManager sometimes crashes when it shares a prefix and one of two uplinks comes or goes."""

    def prepare_lan(self) -> None:
        self.connect("lan0", "shared", "yes")
        self.leave_alone("eth1")

    def up(self, interface: str) -> None:
        if interface == "eth0":
            super().up(interface)
        else:
            self.router.run("ip", "link", "set", interface, "up")


class Networkd(Client):
    def prepare(self) -> None:
        start_dbus(self.router)
        for name in PREFIXES:
            self.router.path(f"/etc/systemd/network/{name}.network").write_text(
                f"[Match]\nName={name}\n[Link]\nActivationPolicy=manual\n[Network]\nIPv6AcceptRA=yes\n"
                f"{self.more(name)}")
        start_networkd(self.router)

    def up(self, interface: str) -> None:
        wait_for(f"networkd to bring up {interface}", lambda: self.router.try_run(
            "networkctl", "up", interface).returncode == 0)

    def down(self, interface: str) -> None:
        self.router.run("networkctl", "down", interface)


class Delegating(Networkd):
    """networkd gives each of two LANs a network of a different provider's prefix."""

    def prepare(self) -> None:
        ip("link add lan1 type veth peer name peer-lan1", "link set lan1 up", "link set peer-lan1 up")
        for lan, uplink in ("lan0", "eth0"), ("lan1", "eth1"):
            self.router.path(f"/etc/systemd/network/{lan}.network").write_text(
                f"[Match]\nName={lan}\n[Network]\nDHCPPrefixDelegation=yes\nIPv6AcceptRA=no\nKeepConfiguration=yes\n"
                f"[DHCPPrefixDelegation]\nUplinkInterface={uplink}\nSubnetId=5\n")
        super().prepare()


KINDS: list[type[Client]] = [Kernel, Dhclient, Dhcpcd, NetworkManager, Networkd]
