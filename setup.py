"""The one list of what is installed where; debian/rules, the lab and a plain `install --root` use it."""

import re
from pathlib import Path

from debian.changelog import Changelog
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.install import install

VERSION = str(Changelog(Path("debian/changelog").read_text("utf-8"), max_blocks=1).version)


class BuildPy(build_py):
    """Writes the changelog's version into the copy that is installed."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib, "dhcp_lb", "__init__.py")
        target.write_text(target.read_text("utf-8").replace("unreleased", VERSION), "utf-8")


class Install(install):
    """Leaves out the egg-info: the code is private to the program, nothing looks it up."""

    sub_commands = [(name, when) for name, when in install.sub_commands if name != "install_egg_info"]


setup(
    name="dhcp-lb",
    version=re.match(r"[0-9.]*[0-9]", VERSION)[0],  # setuptools has no word for Debian's ~bpo12+1 and the like
    description="balances connections over several Internet links whose addresses come from DHCP",
    license="AGPL-3.0-only",
    python_requires=">=3.11",
    packages=["dhcp_lb", "dhcp_lb.maintainer", "dhcp_lb.monitor", "dhcp_lb.pinning", "dhcp_lb.verbs"],
    scripts=["dhcp_lb/dhcp-lb"],
    data_files=[
        # etc/dhcp3 has the name that dhclient's directory had in 2009, when this hook was written; today that is
        # /etc/dhcp. The hook is dhcpcd's as well, which looks in the first of its directories up to 10.3.0, then in
        # the second.
        ("/etc/dhcp/dhclient-exit-hooks.d", ["etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb"]),
        ("/usr/lib/dhcpcd/dhcpcd-hooks", ["etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb"]),
        ("/usr/libexec/dhcpcd-hooks", ["etc/dhcp3/dhclient-exit-hooks.d/dhcp-lb"]),
        ("/etc/network/if-up.d", ["etc/network/if-up.d/dhcp-lb"]),
        ("/etc/network/if-post-down.d", ["etc/network/if-up.d/dhcp-lb"]),
        ("/etc/ppp/ip-up.d", ["etc/ppp/ip-up.d/dhcp-lb"]),
        ("/etc/ppp/ip-down.d", ["etc/ppp/ip-up.d/dhcp-lb"]),
        ("/usr/lib/NetworkManager/dispatcher.d", ["etc/NetworkManager/dispatcher.d/90-dhcp-lb"]),
        *[(f"/usr/lib/networkd-dispatcher/{state}.d", ["etc/networkd-dispatcher/dhcp-lb"])
          for state in ("routable", "degraded", "carrier", "no-carrier", "off")],
        ("/usr/lib/systemd/networkd.conf.d", ["etc/systemd/networkd.conf.d/10-dhcp-lb.conf"]),
        ("/usr/lib/systemd/catalog", ["etc/systemd/catalog/dhcp-lb.catalog"]),
        ("/usr/lib/systemd/system", ["etc/systemd/system/dhcp-lb-boot.service"] + [
            f"etc/systemd/system/dhcp-lb-{name}.{kind}" for name in ("monitor", "notify")
            for kind in ("socket", "service")]),
        ("/usr/lib/nagios/plugins", ["etc/nagios/plugins/check_dhcp_lb"]),
        ("/usr/lib/sysctl.d", ["etc/sysctl.d/10-dhcp-lb.conf"]),
        ("/usr/share/dhcp-lb", ["etc/dhcp-lb"]),
        ("/usr/share/bash-completion/completions", ["doc/completion/dhcp-lb"]),
        ("/usr/share/fish/vendor_completions.d", ["doc/completion/dhcp-lb.fish"]),
        ("/usr/share/zsh/vendor-completions", ["doc/completion/_dhcp-lb"]),
        ("/usr/share/man/man5", ["doc/dhcp-lb.5"]),
        ("/usr/share/man/man8", ["doc/dhcp-lb.8"]),
    ],
    cmdclass={"build_py": BuildPy, "install": Install},
    options={"install": {"install_lib": "/usr/share/dhcp-lb", "install_scripts": "/usr/bin"}},
)
