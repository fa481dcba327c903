"""What the build makes: without a complaint, the same bytes from anywhere, on every release."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.lab.node import Node
from tests.lab.root import debian_root

from .build import build, build_root


def sums(directory: Path) -> dict[str, str]:
    """Of what is published. buildinfo and what names it tell where and when a build was made, on purpose."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in directory.iterdir() if path.suffix in (".deb", ".dsc", ".xz")}


def test_another_path_umask_zone_and_locale_give_the_same_bytes(release: str, deb: Path, tmp_path: Path) -> None:
    build(release, tmp_path, directory="/somewhere/else",
          shell="umask 077; export TZ=Pacific/Kiritimati LC_ALL=C LANG=es_ES LANGUAGE=es HOME=/nonexistent")
    assert sums(tmp_path) == sums(deb.parent)


def test_lintian_has_nothing_to_say(release: str, deb: Path) -> None:
    with Node("lintian", build_root(release)) as node:
        for path in deb.parent.iterdir():
            node.path(f"/root/{path.name}").write_bytes(path.read_bytes())
        changes = next(path.name for path in deb.parent.glob("*.changes"))
        # Debian 12's lintian does not know the Standards-Version that Debian 13 has.
        done = node.try_run("lintian", "--allow-root", "--display-info", "--pedantic", "--show-overrides",
                            "--suppress-tags=newer-standards-version", f"/root/{changes}", timeout_s=300)
    said = [line for line in done.stdout.splitlines() if not line.startswith(("N:", "O:"))]
    assert (said, done.returncode) == ([], 0), done.stderr


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
