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


RENEWAL = "import dhcp_lb; dhcp_lb.load(dhcp_lb.RENEWAL); import dhcp_lb.hook, dhcp_lb.reconcile"
CHANGE = f"{RENEWAL}; dhcp_lb.load(dhcp_lb.CHANGE); import dhcp_lb.change, dhcp_lb.commands"


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A copy of the house as a package leaves it."""
    shutil.copytree(HOUSE, tmp_path / "dhcp_lb", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path / "dhcp_lb"], check=True)
    return tmp_path


def statements(house: Path, program: str) -> str:
    """The modules of the house that import statements have loaded when the program has run."""
    run = subprocess.run([sys.executable, "-I", "-S", "-B", "-c",
                          f"import sys; sys.path.insert(0, sys.argv[1]); {program}\n"
                          "print(*[name for name, module in sys.modules.items() if name.startswith('dhcp_lb.')"
                          " and module.__spec__.loader])", str(house)], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.parametrize("program", [RENEWAL, CHANGE])
def test_what_an_event_loads_is_named_in_its_order(compiled: Path, program: str) -> None:
    assert statements(compiled, program) == ""


def test_what_has_no_compiled_form_is_loaded_by_import_statements(compiled: Path) -> None:
    shutil.rmtree(compiled / "dhcp_lb" / "__pycache__")
    assert len(statements(compiled, RENEWAL).split()) == 12


def test_a_source_counts_that_was_edited_after_it_was_compiled(compiled: Path) -> None:
    with open(compiled / "dhcp_lb" / "event.py", "a", encoding="utf-8") as source:
        source.write("EDITED = True\n")
    program = f"{RENEWAL}; assert dhcp_lb.event.EDITED"
    assert statements(compiled, program).split() == [f"dhcp_lb.{name}" for name in (
        "event", "lock", "netlink", "rtnetlink", "sight", "reconcile", "hook")]


def test_what_another_interpreter_has_compiled_does_not_count(compiled: Path) -> None:
    path, = (compiled / "dhcp_lb" / "__pycache__").glob("hook.*.pyc")
    path.write_bytes(b"\0\0\r\n" + path.read_bytes()[4:])
    assert statements(compiled, RENEWAL) == "dhcp_lb.hook"


def test_a_renewal_without_change_loads_what_it_needs_and_nothing_else() -> None:
    assert loaded("import dhcp_lb.hook, dhcp_lb.reconcile") == {
        "address", "config", "event", "hook", "lock", "model", "netlink", "reconcile", "record", "rtnetlink", "sight",
        "store"}
