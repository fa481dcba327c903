"""`status --watch`: when to look again. It does not poll: the kernel notifies of its own changes, and by inotify(7) of
changes in the store and in the configuration."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from ..config import PATH
from ..monitor import bpf
from ..monitor.changes import GROUPS, concerns_us, drain
from ..netlink import AF_NETLINK
from ..rtnetlink import NETLINK_ROUTE
from ..store import Store

TOGETHER_S = 0.2  # changes come in groups, and a run of dhcp-lb answers them
IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_TO, IN_DELETE = 0x4, 0x8, 0x80, 0x200  # sys/inotify.h
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
IN_A_DIRECTORY, OF_A_FILE = IN_MOVED_TO | IN_DELETE, IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF
MOST = 1 << 16


def moments() -> Iterator[None]:
    """Yields at once, and whenever something may have changed or the terminal has another size. Ends when nobody reads
    standard output any more. OSError if the kernel cannot be watched."""
    output = sys.stdout.fileno()
    with _kernel() as kernel, _sizes() as sizes, _Files() as files:
        poll = select.poll()
        for descriptor in kernel.fileno(), sizes.fileno(), files.descriptor:
            poll.register(descriptor, select.POLLIN)
        poll.register(output, 0)  # only to hear of its end
        while True:
            files.watch()
            yield
            if output in [descriptor for descriptor, _ in poll.poll()]:
                return
            time.sleep(TOGETHER_S)
            for one in kernel, sizes:
                drain(one)
            files.drain()


def _kernel() -> socket.socket:
    found = socket.socket(AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE)
    bpf.attach(found, concerns_us(frozenset()))
    found.bind((0, GROUPS))
    return found


def _sizes() -> socket.socket:
    """A socket that is ready when the terminal has another size."""
    found, wake = socket.socketpair()
    for one in found, wake:
        one.setblocking(False)
    signal.set_wakeup_fd(wake.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda *_: None)
    return found


class _Files:
    """The files that `status` reads."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "inotify")

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def watch(self) -> None:
        """Watches those files that exist and may be read. It must be called again after each change, because a file
        that has been replaced is another file."""
        store = Store().path
        for path, mask in (PATH, OF_A_FILE), (store, IN_A_DIRECTORY), (f"{store}/leases", IN_A_DIRECTORY):
            self.libc.inotify_add_watch(self.descriptor, path.encode(), mask)

    def drain(self) -> None:
        """Reads all events, and drops them."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, MOST):
                pass
