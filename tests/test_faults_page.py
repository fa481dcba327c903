"""doc/faults.md names the test of each fault. Each named test must exist, and each line must name one."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "doc" / "faults.md").read_text()
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if re.match(r"\| ([A-Z]?\d+)", line)]


def test_every_test_that_it_names_is_there() -> None:
    there = {name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert set(re.findall(r"`(test_\w+)`", PAGE)) - there == set()


def test_every_promise_and_every_fault_has_a_number_of_its_own() -> None:
    numbers = [number.strip() for number, *_ in ROWS]
    assert sorted(set(numbers)) == sorted(numbers)


def test_every_promise_and_every_fault_has_a_test() -> None:
    numbers = []
    for number, *cells in ROWS:
        assert re.search(r"`test_\w+`", cells[-1]), number
        first, _, last = number.strip().lstrip("PM").partition(" to ")
        if first.isdecimal():  # an input from the field has another letter, and is there or is not yet
            numbers += [number.strip()[0] * (number.strip()[0] in "PM") + str(each)
                        for each in range(int(first), int(last or first) + 1)]
    monitor = [number for number in numbers if number.startswith("M")]
    assert monitor == [f"M{number}" for number in range(1, len(monitor) + 1)]
    assert [number for number in numbers if number not in monitor] == [
        *(f"P{number}" for number in range(1, 8)), *map(str, range(1, 76))]
