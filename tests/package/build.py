"""Builds the Debian package from the checkout, in a clean root of a release:
`python3 -m tests.package.build [RELEASE...]`, by default of the machine's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from debian.deb822 import Deb822, PkgRelation

from tests.beds.lab.node import Node
from tests.beds.lab.root import CHECKOUT, NotOffered, debian_root, host_suite
from tests.beds.lab.steps import step

RELEASES = ("bookworm", "trixie")
DIST = CHECKOUT / "dist"


def build(release: str, into: Path, version: str = "", *, directory: str = "/build", shell: str = "",
          commit: str = "") -> Path:
    """The .deb, with the rest of a build's products beside it. `version` instead of the changelog's; `commit` instead
    of what the checkout holds; `directory` and `shell` (run before the build, as `umask 077`) must make no
    difference."""
    root = build_root(release)
    into.mkdir(parents=True, exist_ok=True)
    step(f"building the package on Debian {release}", "half a minute")
    with Node("build", root) as node:
        source = f"{directory}/dhcp-lb"
        node.run("mkdir", "-p", source)
        if commit:
            archive = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "-C", node.path(source)], input=archive.stdout, check=True)
        else:
            copy_source(node.path(source))
        if version:
            changelog = node.path(f"{source}/debian/changelog")
            changelog.write_text(re.sub(r"\(.*?\)", f"({version})", changelog.read_text(), count=1))
        built = node.try_run("sh", "-ec", f"{shell}\ncd {source}\ndpkg-buildpackage --no-sign 2>&1", timeout_s=600)
        (into / "log").write_text(built.stdout)
        if built.returncode:
            raise RuntimeError(f"{release}: the build failed:\n{built.stdout[-4000:]}")
        node.run("rm", "-r", source)
        for path in node.path(directory).iterdir():
            shutil.copyfile(path, into / path.name)
    return next(into.glob("*.deb"))


def build_root(release: str) -> Path:
    """A root with what the build needs, and lintian to look at the result."""
    return debian_root(release, ["build-essential", "iproute2", "lintian", *_build_depends()])


def _build_depends() -> list[str]:
    with open(CHECKOUT / "debian" / "control") as file:
        source = Deb822(file)
    relations = PkgRelation.parse_relations(source["Build-Depends"].rstrip(", \n"))
    return sorted(str(choices[0]["name"]) for choices in relations)


def copy_source(target: Path) -> None:
    """What a checkout holds, with what is not committed yet and without what git ignores."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
    for name in names:
        if name and (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, target / name)


def main(releases: Sequence[str]) -> None:
    if os.geteuid() != 0:
        sys.exit("tests/deb: only root can build a Debian system; try sudo")
    for release in releases or [host_suite()]:
        for old in (DIST / release).glob("*"):
            old.unlink()
        try:
            print(os.path.relpath(build(release, DIST / release)))
        except NotOffered as failure:
            sys.exit(f"tests/deb {failure}")


if __name__ == "__main__":
    main(sys.argv[1:])
