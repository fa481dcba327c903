"""The layout rule: a file in dhcp_lb/ is what a client's event may load; a folder is what can be left out."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1] / "dhcp_lb"
FOLDERS = {path.name for path in HOUSE.iterdir() if (path / "__init__.py").exists()}
PAGE = (HOUSE.parent / "doc" / "design.md").read_text("utf-8")
CONTRIBUTORS = (HOUSE.parent / "CONTRIBUTING.md").read_text("utf-8")
NOUNS = {"model", "record"}
# The pure rooms are those that the page calls so, a file in a line of its own, or a file of a folder in the folder's.
PURE = sorted(NOUNS | set(re.findall(r"^\| `(\w+)\.py` \| (?:[^|]*\(\*\*pure\*\*\)|\*\*pure\*\*:)", PAGE, re.M)))
CODECS = {"rtmessages", "ipv6"}  # they read netlink's attributes, which are bytes, too
DOORS = {"posix", "os", "io", "time", "fcntl", "socket", "select", "signal", "subprocess", "pathlib"}  # of Python's


def imported(path: Path) -> set[str]:
    """The modules of the house that a file imports when it is loaded, and not at the place of use."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    return names


def of_python(path: Path) -> set[str]:
    """The modules of Python that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
    return names


def shadowed(path: Path) -> list[str]:
    """The functions of a file that call something of their own by the name of another function or of an import."""
    tree = ast.parse(path.read_text("utf-8"))
    known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name for alias in node.names}
    found = []
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        nodes = list(ast.walk(function))
        own = {node.arg for node in nodes if isinstance(node, ast.arg)}
        own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        found += [f"{path.name}, {function.name}: {name}" for name in sorted(own & known)]
    return found


@pytest.mark.skipif(not shutil.which("git") or not (HOUSE.parent / ".git").exists(), reason="needs git and a checkout")
def test_nothing_is_committed_that_git_ignores() -> None:
    """A link in the place of .cache kept every new checkout from building its systems."""
    argv = ["git", "-C", str(HOUSE.parent), "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == ""


def test_the_page_has_a_word_for_each_file() -> None:
    rooms = re.findall(r"^\| (`.*?) \| (.*)", PAGE.partition("\n## Modules\n")[2], re.M)
    files = {name for names, _ in rooms for name in re.findall(r"`(\w+\.py)`", names)}
    assert {path.name for path in HOUSE.glob("*.py")} == files
    for folder in FOLDERS:
        words, = [words for names, words in rooms if names == f"`{folder}/`"]
        named = set(re.findall(r"`(\w+)`", words))
        assert {path.stem for path in (HOUSE / folder).glob("*.py")} - named == {"__init__"}


def test_the_page_for_contributors_leads_to_each_file_and_to_nothing_else() -> None:
    named = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*\.py)`", CONTRIBUTORS.partition("\n## The tests\n")[0]))
    named -= {"setup.py", "tests/test_house.py"}
    assert named == {str(path.relative_to(HOUSE)) for path in HOUSE.rglob("*.py")
                     if path.name != "__init__.py"}
    paths = re.findall(r"`((?:debian|doc|etc|tests)/[\w./-]*)`", CONTRIBUTORS)
    assert [path for path in paths if not (HOUSE.parent / path).exists()] == []
    places = re.findall(r"`([\w/]+\.py)`, `(\w+)`", CONTRIBUTORS)
    assert len(places) >= 5
    assert [place for place in places if place[1] not in (HOUSE / place[0]).read_text("utf-8")] == []


def test_no_file_needs_a_folder() -> None:
    assert FOLDERS >= {"verbs", "maintainer"}
    for path in HOUSE.glob("*.py"):
        assert not imported(path) & FOLDERS, path.name


def test_the_page_names_the_pure_rooms() -> None:
    assert set(PURE) >= NOUNS | {"address", "event", "routing", "plan", "objections", "rtmessages", "commands", "ipv6",
                                 "delegation", "marks", "policy", "targets"}


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_needs_other_pure_rooms_and_nothing_that_acts(name: str) -> None:
    path = HOUSE / f"{name}.py"
    assert imported(path) <= {*PURE, *(CODECS & {name} and {"netlink"})}
    assert of_python(path) & DOORS == set()


@pytest.mark.parametrize("path", sorted(HOUSE.glob("*.py")), ids=lambda path: path.stem)
def test_no_name_in_a_function_hides_another_function(path: Path) -> None:
    assert shadowed(path) == []


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
