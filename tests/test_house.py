"""The layout rule: a file in dhcp_lb/ is what a client's event may load; a folder is what can be left out."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1] / "dhcp_lb"
FOLDERS = {path.name for path in HOUSE.iterdir() if (path / "__init__.py").exists()}
PURE = ["address", "model", "record", "event", "routing", "plan", "objections", "rtmessages", "commands", "ipv6",
        "delegation"]
DOORS = {"netlink", "rtnetlink", "store", "lock", "log", "sight", "reconcile", "change", "iproute2", "sysctl"}


def imported(path: Path) -> set[str]:
    """The modules of the house that a file imports when it is loaded, and not at the place of use."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    return names


@pytest.mark.skipif(not shutil.which("git") or not (HOUSE.parent / ".git").exists(), reason="needs git and a checkout")
def test_nothing_is_committed_that_git_ignores() -> None:
    """A link in the place of .cache kept every new checkout from building its systems."""
    argv = ["git", "-C", str(HOUSE.parent), "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == ""


def test_no_file_needs_a_folder() -> None:
    assert FOLDERS >= {"verbs", "maintainer"}
    for path in HOUSE.glob("*.py"):
        assert not imported(path) & FOLDERS, path.name


@pytest.mark.parametrize("name", PURE)
def test_pure_rooms_import_no_door(name: str) -> None:
    doors = imported(HOUSE / f"{name}.py") & DOORS
    assert doors == ({"netlink"} if name in ("rtmessages", "ipv6") else set())  # whose attributes are bytes, too


def loaded(program: str) -> set[str]:
    """The modules of the house that are loaded after a program has run."""
    run = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, sys.argv[1]); {program}\n"
                          "print(*[name for name in sys.modules if name.startswith('dhcp_lb.')])", str(HOUSE.parent)],
                         capture_output=True, text=True, check=True)
    return {name.removeprefix("dhcp_lb.") for name in run.stdout.split()}


def test_a_renewal_without_change_loads_what_it_needs_and_nothing_else() -> None:
    assert loaded("import dhcp_lb.hook, dhcp_lb.reconcile") == {
        "address", "config", "event", "hook", "lock", "model", "netlink", "reconcile", "record", "rtnetlink", "sight",
        "store"}
