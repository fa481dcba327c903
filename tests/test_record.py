"""Our NamedTuple behaves like the one of typing, in all that the program does with it."""

import subprocess
import sys
import typing

import pytest

from dhcp_lb import record


class Ours(record.NamedTuple):
    """As in the program."""

    name: str
    size: int = 3
    tags: tuple[str, ...] = ()


class Theirs(typing.NamedTuple):
    """As in the standard library."""

    name: str
    size: int = 3
    tags: tuple[str, ...] = ()


@pytest.mark.parametrize("values, named", [(("a",), {}), (("a", 1, ("x",)), {}), ((), {"name": "a"}),
                                           (("a",), {"tags": ("x",)}), ((), {"tags": (), "size": 2, "name": "b"})])
def test_it_is_made_like_typings(values: tuple, named: dict) -> None:
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert (ours.name, ours.size, ours.tags) == (theirs.name, theirs.size, theirs.tags)
    assert tuple(ours) == theirs and hash(ours) == hash(theirs)
    assert repr(ours).replace("Ours", "Theirs") == repr(theirs)


@pytest.mark.parametrize("values, named", [((), {}), (("a", 1, (), 4), {}), (("a",), {"name": "b"}),
                                           (("a",), {"no": 1})])
def test_it_refuses_what_typings_refuses(values: tuple, named: dict) -> None:
    with pytest.raises(TypeError):
        Theirs(*values, **named)
    with pytest.raises((TypeError, KeyError)):
        Ours(*values, **named)


def test_a_changed_copy_leaves_the_original() -> None:
    one = Ours("a")
    assert one._replace(size=4) == Ours("a", 4)
    assert one == Ours("a", 3)
    with pytest.raises(TypeError):
        one._replace(no=1)


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Ours("a").name = "b"  # type: ignore[misc]


def test_it_is_taken_apart_like_a_tuple_and_sorted() -> None:
    name, size, _ = Ours("a")
    assert (name, size) == ("a", 3)
    assert sorted([Ours("b"), Ours("a", 9), Ours("a")]) == [Ours("a"), Ours("a", 9), Ours("b")]


def test_the_path_of_an_event_imports_nothing_that_is_slow() -> None:
    """doc/performance.md: what is imported decides how long an event takes."""
    program = ("import sys; sys.path.insert(0, sys.argv[1]); import dhcp_lb.hook; "
               "print(*sorted(m for m in sys.modules if not m.startswith(('encodings', 'dhcp_lb'))))")
    root = record.__file__.rpartition("/dhcp_lb/")[0]
    run = subprocess.run([sys.executable, "-I", "-S", "-c", program, root], capture_output=True, text=True, check=True)
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", "import sys; print(*sys.modules)"],
                          capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) - set(bare.stdout.split()) <= {
        "_socket", "_struct", "fcntl", "errno", "gc", "time", "_collections", "math"}
