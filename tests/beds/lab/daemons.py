"""Starts dbus and networkd in a machine without systemd."""

from .node import Node

NETWORKD = "/lib/systemd/systemd-networkd"
NETWORKD_LOG = "/run/networkd.log"


def start_dbus(machine: Node) -> None:
    machine.sh("mkdir -p /run/dbus; systemd-machine-id-setup; dbus-daemon --system --fork")


def prepare_networkd(machine: Node) -> None:
    """Makes the directories that networkd's unit would make."""
    machine.sh("""
        install -d -o systemd-network -g systemd-network /run/systemd/netif /run/systemd/netif/links \
            /run/systemd/netif/leases /run/systemd/netif/lldp
    """)


def start_networkd(machine: Node) -> None:
    prepare_networkd(machine)
    machine.sh(f"{NETWORKD} >{NETWORKD_LOG} 2>&1 &")
