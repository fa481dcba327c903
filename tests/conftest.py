"""Tests that make network namespaces (`test_ns_*`) need root, and tests of another release need a mirror that has it.
Otherwise they are skipped, with the reason."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dhcp_lb.store import Store
from tests.beds.lab import NotOffered, steps

# A busy machine is no bug. Examples that failed go into the tests, not into a database.
settings.register_profile("tests", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_make_parametrize_id(val: object) -> str | None:
    """The beginning of a long value tells it from the others. Where it does not, pytest adds a number."""
    text = val[:21].decode("latin-1") if isinstance(val, bytes) else val[:21] if isinstance(val, str) else ""
    shown = ascii(text)[1:-1]
    return shown[:20] if len(shown) > 20 else None


def pytest_configure() -> None:
    """This early, because in a test the standard error is pytest's own."""
    steps.show_on(os.fdopen(os.dup(2), "w"))
    # A shell ignores SIGINT for what it starts in the background, and so would everything that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    outcome: Any = yield
    if call.excinfo and isinstance(call.excinfo.value, NotOffered):
        report = outcome.get_result()
        report.outcome, report.longrepr = "skipped", (str(item.path), None, f"Skipped: {call.excinfo.value}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.path.name.startswith("test_ns_"):
                item.add_marker(pytest.mark.skip(reason="needs root, for network namespaces"))
    items.sort(key=lambda item: _sort_of(item.nodeid))


def _sort_of(test: str) -> int:
    """0: a virtual machine, 1: takes moments, 2: the package, 3: namespaces."""
    file = test.partition("::")[0]
    return 0 if file.endswith("/test_vm.py") else 2 if "/package/" in file else 3 if "/test_ns_" in file else 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file at a time, to whichever process has at most two tests left. Whatever came behind a virtual machine would
    wait for half an hour. So each of the two is one file with half of what takes moments."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> Any:
            file = super()._split_scope(nodeid)
            kind = _sort_of(nodeid)
            return file if kind > 1 else f"moments {len(file) % 2 if kind else '[bookworm]' in nodeid:d}"

    return Scheduling(config, log)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one, in a directory of its own."""
    umask = os.umask(0o077)
    store = Store(str(tmp_path / "dhcp-lb"))
    store.prepare()
    yield store
    os.umask(umask)
