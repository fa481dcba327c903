"""What the comparison asks of a peer. The class Peer itself is a router without any program for two links."""

from collections.abc import Mapping
from pathlib import Path

from tests.beds.lab import Isp, Lab, wait_for
from tests.beds.lab.lab import Router
from tests.beds.lab.node import Node


class Peer:
    """ifupdown and dhclient, and no program that handles two links. Each client writes a default route into `main`;
    the first one stays."""

    name = "nothing"
    about = "ifupdown and dhclient alone"
    packages: tuple[str, ...] = ()  # beside those of every router of the lab
    hook = ""  # its file among dhclient's exit hooks; "" = it has none
    renew_s = 2  # after how many seconds the client of eth1 renews
    rest_s = 0.0  # how long after events it may still have something to do
    settle_s = 1.5  # how long it may need after its DHCP client has an answer

    def install(self, lab: Lab) -> None:
        """Installs the peer on a router without configuration whose links are down."""

    def up(self, router: Router, *interfaces: str) -> None:
        router.ifup(*interfaces)

    def down(self, router: Router, interface: str) -> None:
        router.ifdown(interface)

    def drain(self, router: Router, interface: str) -> bool:
        """Keeps new connections off a link, by whatever the peer has for that. Returns whether it has anything."""
        return False

    def refill(self, router: Router, interface: str) -> None:
        """Lets the link take new connections again."""

    def start_over(self, router: Router) -> None:
        """Starts anew, after all rules and routes were removed, with no link up."""

    def hook_argv(self) -> list[str]:
        """The command that runs the exit hook as dhclient-script does."""
        return ["/bin/sh", "-c", f". /etc/dhcp/dhclient-exit-hooks.d/{self.hook}"]


class Daemon(Peer):
    """A peer that has DHCP clients of its own."""

    settle_s = 2
    process = ""

    def supervise(self, router: Router, command: str) -> None:
        """Starts the daemon, and starts it again when it has failed, as systemd does."""
        router.sh(f"until {command}; do sleep 0.1; done >>/run/daemon.log 2>&1 &")

    def start_up(self, router: Router, *interfaces: str) -> None:
        """Brings these links up, without waiting."""

    def kill(self, router: Router) -> None:
        router.sh(f"kill -9 $(pidof {self.process})")


def put(router: Router, files: Mapping[str, str], mode: int = 0o644) -> None:
    for path, text in files.items():
        target = router.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)


def put_script(lab: Lab, name: str, script: Path, hook: str) -> None:
    """Installs a user's script that knows the links, and the exit hook of dhclient that calls it."""
    put(lab.router, {f"/usr/local/sbin/{name}": script.read_text()}, mode=0o755)
    put(lab.router, {"/etc/uplinks": uplinks(lab), f"/etc/dhcp/dhclient-exit-hooks.d/{name}": hook})


def uninstall_dhcp_lb(router: Node) -> None:
    """Removes dhcp-lb, which every router of the lab has. Its file in sysctl.d stays: all peers that balance need a
    kernel that balances connections, not pairs of machines."""
    router.sh("""
        rm -f /etc/dhcp-lb
        rm /usr/bin/dhcp-lb /etc/dhcp/dhclient-exit-hooks.d/dhcp-lb
        rm /etc/network/if-up.d/dhcp-lb /etc/network/if-post-down.d/dhcp-lb
        rm /usr/lib/NetworkManager/dispatcher.d/90-dhcp-lb /usr/lib/systemd/networkd.conf.d/10-dhcp-lb.conf
        rm /usr/lib/networkd-dispatcher/*.d/dhcp-lb
    """)


def await_addresses(router: Router, *interfaces: str) -> None:
    for interface in interfaces:
        wait_for(f"an address on {interface}", lambda: router.addresses(interface) != [])


def uplinks(lab: Lab) -> str:
    """The links in the form that the scripts read: INTERFACE TABLE WEIGHT."""
    def line(isp: Isp) -> str:
        return f"{isp.interface} {200 + isp.number} {isp.weight}\n"

    return "".join(line(isp) for isp in lab.isps)
