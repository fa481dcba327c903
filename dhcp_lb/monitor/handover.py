"""Hands the monitor's notices to the log, and to notify.py, which runs the scripts in notify.d. Nothing here waits for
the scripts."""

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket
from posix import close, environ, getpid, listdir, lseek, memfd_create, write
from time import time

from ..log import log
from ..store import RUN
from .notices import BEGIN, MESSAGE_IDS, words
from .process import start

DIRECTORIES = "/usr/lib/dhcp-lb/notify.d", "/etc/dhcp-lb-notify.d"  # of two files with one name, the later one counts
SOCKET = f"{RUN}/notify"  # dhcp-lb-notify.socket


class Handover:
    """Gives each notice a time and a number, logs it, and hands it to the scripts."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, notices: list[dict[str, str]]) -> None:
        """Hands these notices to dhcp-lb-notify.service if systemd has started this process, otherwise to a new
        process. If that fails, the log says so."""
        messages = []
        for notice in notices:
            self.number += 1
            now_s = int(time())
            notice = {**notice, "TIME": str(now_s), "EVENT_ID": f"{now_s}-{getpid()}-{self.number}"}
            log(words(notice), notice, MESSAGE_IDS[notice["EVENT"]])
            if notice["EVENT"] != BEGIN:
                messages.append(encode(notice))
        if not messages or not any([_has_files(directory) for directory in DIRECTORIES]):
            return
        try:
            (_send if b"NOTIFY_SOCKET" in environ else _spawn)(messages)
        except OSError as error:
            log(f"the scripts in notify.d are not told of what the lines above say: {error.strerror}")


def encode(notice: dict[str, str]) -> bytes:
    """A notice as a line. No value may have a newline."""
    return b"\0".join([f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in notice.items()]) + b"\n"


def decode(line: bytes) -> dict[str, str]:
    """The notice in a line. ValueError if the line is not a notice."""
    pairs = [pair.split("=", 1) for pair in line.rstrip(b"\n").decode("utf-8", "surrogateescape").split("\0")]
    return {name: value for name, value in pairs}


def _has_files(directory: str) -> bool:
    try:
        return bool(listdir(directory))
    except OSError:
        return False


def _send(messages: list[bytes]) -> None:
    one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    try:
        for message in messages:
            one.sendto(message, SOCKET)
    finally:
        one.close()


def _spawn(messages: list[bytes]) -> None:
    descriptor = memfd_create("notices")
    try:
        write(descriptor, b"".join(messages))
        lseek(descriptor, 0, 0)
        start("notify", descriptor)
    finally:
        close(descriptor)
