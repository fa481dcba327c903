"""What the monitor tells the service manager."""

import posix
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhcp_lb.monitor.systemd import notify


@pytest.fixture(params=["a file", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            ) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify") if request.param == "a file" else f"@{tmp_path}"
    monkeypatch.setitem(posix.environ, b"NOTIFY_SOCKET", path.encode())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(path.replace("@", "\0", 1))
        one.setblocking(False)
        yield one


@pytest.fixture
def impatient() -> Iterator[None]:
    """A test that waits fails."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.setitimer(signal.ITIMER_REAL, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_service_manager_hears_what_it_is_told(manager: socket.socket) -> None:
    assert notify("STATUS=dead: eth\udcff")
    assert manager.recv(4096) == b"STATUS=dead: eth\xff"


def test_a_service_manager_that_does_not_read_is_not_waited_for(manager: socket.socket, impatient: None) -> None:
    told = 0
    while notify("READY=1"):
        told += 1
        assert told < 100000
    assert [manager.recv(4096) for _ in range(told)] == [b"READY=1"] * told
    assert notify("READY=1")


def test_where_no_service_manager_listens_nothing_is_left_to_be_told(manager: socket.socket,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    manager.close()
    assert notify("READY=1")
    monkeypatch.delitem(posix.environ, b"NOTIFY_SOCKET")
    assert notify("READY=1")
