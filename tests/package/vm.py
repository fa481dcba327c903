"""A virtual machine of each Debian release for autopkgtest, and the run of debian/tests in it.

The kernel is started by qemu itself, in software: it works wherever the tests do, nested or not. A boot takes
half a minute to a minute, all of it a quarter of an hour, and half an hour while other tests run.

`python3 -m tests.package.vm RELEASE [OPTION...]` runs the lab's tests of connections on the release's own kernel and
in its own systems. The options are pytest's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.beds.lab.root import CACHE, NotOffered, debian_root
from tests.beds.lab.root import PACKAGES as LAB

from .build import build, copy_source

PACKAGES = (
    "apt-utils", "bsdextrautils", "dbus", "dnsmasq-base", "dpkg-dev", "e2fsprogs", "ifupdown", "init", "iproute2",
    "iputils-ping", "kmod", "linux-image-amd64", "network-manager", "nftables", "passwd", "procps", "python3",
    "python3-debian", "python3-hypothesis", "python3-pytest", "python3-setuptools", "systemd-sysv", "ucf", "udev",
)
CLIENTS = {"bookworm": "isc-dhcp-client", "trixie": "dhcpcd-base"}  # what comes with each one's ifupdown

# $1: a root, $2: an empty directory, $3: the image to make, $4: where the kernel is left.
IMAGE = r"""
mount -t tmpfs vm "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" vm "$2/root"
cd "$2/root"
cp boot/vmlinuz-* "$4/vmlinuz"
cp boot/initrd.img-* "$4/initrd"
echo vm >etc/hostname
echo '127.0.0.1 localhost vm' >etc/hosts
sed -i 's/^root:[^:]*:/root::/' etc/shadow
rm -f etc/resolv.conf etc/apt/sources.list etc/apt/sources.list.d/* etc/dpkg/dpkg.cfg.d/*
printf 'auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n' >etc/network/interfaces
# What autopkgtest talks to: a root shell on a serial line (autopkgtest-virt-qemu(1)).
cat >etc/systemd/system/autopkgtest@.service <<UNIT
[Unit]
ConditionPathExists=/dev/%I
[Service]
ExecStart=/bin/sh
StandardInput=tty-fail
StandardOutput=tty
StandardError=tty
TTYPath=/dev/%I
SendSIGHUP=yes
SuccessExitStatus=0 208 SIGHUP SIGINT SIGTERM SIGPIPE
UNIT
mkdir -p etc/systemd/system/multi-user.target.wants
for device in ttyS1 hvc1; do
    ln -s ../autopkgtest@.service "etc/systemd/system/multi-user.target.wants/autopkgtest@$device.service"
done
# On a busy host a terminal may take minutes to be there. Without it there is no login prompt to wait for.
mkdir -p etc/systemd/system.conf.d
printf '[Manager]\nDefaultDeviceTimeoutSec=15min\n' >etc/systemd/system.conf.d/busy-host.conf
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service fstrim.timer systemd-timesyncd.service; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
truncate -s 3G "$3"
mkfs.ext4 -q -F -d . "$3"
"""

QEMU = """#!/bin/sh
# qemu as autopkgtest calls it, without KVM and with the kernel from outside the image
for word; do
    shift
    case "$word" in -enable-kvm) ;; *) set -- "$@" "$word" ;; esac
done
here=$(dirname "$0")
exec qemu-system-x86_64 -accel tcg,thread=multi -kernel "$here/vmlinuz" -initrd "$here/initrd" \\
    -append 'console=ttyS0 root=/dev/vda rw quiet mitigations=off' "$@"
"""


def image(release: str) -> Path:
    """The directory with the disk, the kernel and the qemu to start it with; made once and cached."""
    root = debian_root(release, [*PACKAGES, CLIENTS[release]])
    wanted = hashlib.sha256((root.name + IMAGE + QEMU).encode()).hexdigest()[:12]
    made = CACHE / f"vm-{release}-{wanted}"
    if not made.exists():
        for old in CACHE.glob(f"vm-{release}-*"):
            shutil.rmtree(old)
        unfinished = CACHE / f"unfinished-vm-{release}"
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "mnt").mkdir(parents=True)
        subprocess.run(["unshare", "--mount", "sh", "-ec", IMAGE, "sh", str(root), str(unfinished / "mnt"),
                        str(unfinished / "disk"), str(unfinished)], check=True)
        (unfinished / "qemu").write_text(QEMU)
        (unfinished / "qemu").chmod(0o755)
        unfinished.rename(made)
    return made


def autopkgtest(release: str, deb: Path, directory: Path) -> int:
    """Runs debian/tests/machine of the checkout with this package. Leaves output/, see autopkgtest(1), and the file
    `log` in `directory`. Returns autopkgtest's exit status."""
    with open(directory / "log", "w") as log:
        return subprocess.run(_command(release, deb, directory, ["--test-name=machine", "--timeout-test=3600"]),
                              stdout=log, stderr=subprocess.STDOUT).returncode


def _command(release: str, deb: Path, directory: Path, options: Sequence[str], devices: str = "") -> list[str]:
    """autopkgtest with these options, and with more devices in qemu's words."""
    copy_source(directory / "source")
    machine = image(release)
    # One processor: to emulate two that talk to each other takes a quarter more.
    return ["autopkgtest", f"--output-dir={directory}/output", "--no-built-binaries", *options, str(deb),
            f"{directory}/source/", "--", str(Path(__file__).with_name("virt-qemu")),
            f"--qemu-command={machine}/qemu", f"--qemu-options={devices}", "--ram-size=1536", "--cpus=1",
            "--timeout-reboot=900", str(machine / "disk")]


def main(release: str, *options: str) -> int:
    """debian/tests/kernel with the lab's systems in the machine. Returns the exit status."""
    for packages in LAB, [*LAB, "wireguard-tools"]:
        debian_root(release, packages)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        command = _command(
            release, build(release, directory / "deb"), directory,
            ["--test-name=kernel", "--timeout-test=20000",
             "--env=PYTEST_ADDOPTS=" + " ".join([f'"{option}"' for option in options])],
            f"-virtfs local,path={CACHE},mount_tag=lab,security_model=passthrough")
        control = directory / "source/debian/tests/control"  # elsewhere it is the first part of debian/tests/machine
        control.write_text(control.read_text().replace("Tests: machine", "Tests: kernel"))
        return subprocess.run(command).returncode


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("tests/kernel: only root can build a Debian system; try sudo")
    if not set(sys.argv[1:2]) & CLIENTS.keys():
        sys.exit(f"tests/kernel: which kernel? Must be that of {' or '.join(CLIENTS)}")
    try:
        sys.exit(main(*sys.argv[1:]))
    except NotOffered as failure:
        sys.exit(f"tests/kernel {failure}")
