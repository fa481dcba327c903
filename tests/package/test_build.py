"""What the build makes: without a complaint, the same bytes from anywhere, on every release."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.beds.lab.node import Node
from tests.beds.lab.root import CHECKOUT, debian_root, host_suite

from .build import build, build_root, main
from .conftest import Machine

# One source for all releases. To Debian 12, Standards-Version is too new and a script for other inits is missing (it
# could not be tested); to sid, what Debian 12 needs is redundant by now. Debian 13 and sid want no path before a
# command in a maintainer script; but a broken python3 of an administrator's own, in /usr/local/bin, must do no harm.
BETWEEN_RELEASES = {
    "command-with-path-in-maintainer-script", "newer-standards-version",
    "package-supports-alternative-init-but-no-init.d-script", "out-of-date-standards-version",
    "package-uses-old-debhelper-compat-version", "redundant-priority-optional-field",
    "redundant-rules-requires-root-no-field"}


def sums(directory: Path) -> dict[str, str]:
    """Of what is published. buildinfo and what names it tell where and when a build was made, on purpose."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in directory.iterdir() if path.suffix in (".deb", ".dsc", ".xz")}


def test_another_path_umask_zone_and_locale_give_the_same_bytes(release: str, deb: Path, tmp_path: Path) -> None:
    build(release, tmp_path, directory="/somewhere/else",
          shell="umask 077; export TZ=Pacific/Kiritimati LC_ALL=C LANG=es_ES LANGUAGE=es HOME=/nonexistent")
    assert sums(tmp_path) == sums(deb.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as tests/deb does")
@pytest.mark.parametrize("named, built", [([], [host_suite()]), (["trixie", "sid"], ["trixie", "sid"])])
def test_the_machine_s_own_release_is_built_unless_others_are_named(
        named: list[str], built: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def take_down(release: str, into: Path) -> Path:
        asked.append((release, into))
        return into / "a.deb"

    monkeypatch.setattr("tests.package.build.build", take_down)
    monkeypatch.setattr("tests.package.build.DIST", tmp_path)
    main(named)
    assert asked == [(release, tmp_path / release) for release in built]


def lintian(release: str, built: Path) -> list[str]:
    with Node("lintian", build_root(release)) as node:
        for path in built.iterdir():
            node.path(f"/root/{path.name}").write_bytes(path.read_bytes())
        changes = next(path.name for path in built.glob("*.changes"))
        done = node.try_run("lintian", "--allow-root", "--display-info", "--pedantic", f"/root/{changes}",
                            timeout_s=300)
    assert done.returncode in (0, 2), done.stderr  # 2: it has an error to tell
    tags = [line for line in done.stdout.splitlines() if not line.startswith("N:")]
    return [line for line in tags if line.partition(": ")[2].partition(": ")[2].split()[0] not in BETWEEN_RELEASES]


def test_lintian_has_nothing_to_say(release: str, deb: Path) -> None:
    assert lintian(release, deb.parent) == []


def test_it_is_built_on_sid_as_well(tmp_path: Path) -> None:
    assert build("sid", tmp_path)
    assert lintian("sid", tmp_path) == []


def test_the_lines_of_the_readme_install_it(release: str, deb: Path, machine: Machine) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    build_it, install_it = (line.strip() for line in readme.partition("**Install it for real**")[2].split("\n")
                            if line.startswith("    sudo "))
    assert build_it == "sudo tests/deb"  # has made what is in dist, as `deb` has
    machine.run("mkdir", "-p", f"/checkout/dist/{release}")
    machine.put(deb, f"/checkout/dist/{release}/{deb.name}")
    machine.quietly("sh", "-ec", f'cd /checkout; sudo() {{ "$@"; }}; yes | {install_it}')
    assert machine.run("dhcp-lb", "check").endswith("so nothing is balanced\n")


def test_it_brings_no_client_onto_a_machine_that_has_its_own(deb: Path) -> None:
    """NetworkManager's, say: a second DHCP client beside it would be a second hand on the same interface."""
    shown = subprocess.run(["dpkg-deb", "--showformat=${Pre-Depends}\n${Depends}\n${Recommends}", "--show", str(deb)],
                           check=True, stdout=subprocess.PIPE, text=True).stdout
    before, depends, recommends = shown.split("\n")
    assert (before, recommends) == ("", "iproute2, nftables")
    assert set(re.sub(r" *\(.*?\)", "", depends).split(", ")) == {"ucf", "python3:any", "debconf | debconf-2.0"}


def test_what_users_need_to_read_is_there(machine: Machine) -> None:
    machine.install()
    docs = "/usr/share/doc/dhcp-lb"
    pages = machine.run("ls", docs).split()
    assert {"README.md", "clients.md"} <= set(pages)
    for name in [page for page in pages if page.endswith(".md")]:
        text = machine.text(f"{docs}/{name}")
        links = re.findall(r"\]\(([^):]+)\)", text)
        assert [link for link in links if not machine.path(f"{docs}/{link}").exists()] == []


@pytest.mark.skipif("not __import__('shutil').which('piuparts')", reason="needs piuparts")
def test_piuparts(release: str, deb: Path, tmp_path: Path) -> None:
    """Installed, upgraded, removed and purged in a minimal system, with its dependencies from the archive."""
    root = debian_root(release, ["iproute2"])
    done = subprocess.run(
        ["piuparts", f"--distribution={release}", f"--existing-chroot={root}", "--keep-sources-list",
         "--no-eatmydata", "--ignore-regex=/var/cache/debconf/tmp.ci.*",
         "--ignore-regex=/etc/apt/.*", f"--tmpdir={tmp_path}", str(deb)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
