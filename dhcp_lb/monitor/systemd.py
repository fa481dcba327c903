"""What systemd hands to a service, and what a service tells systemd (sd_listen_fds(3), sd_notify(3)). Without systemd,
these functions do nothing."""

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket
from posix import environ, getpid

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START


def handed() -> int:
    """The descriptor of the socket that this process was handed; -1 if there is none."""
    mine = environ.get(b"LISTEN_PID", b"") == b"%d" % getpid()
    return FIRST_DESCRIPTOR if mine and environ.get(b"LISTEN_FDS") == b"1" else -1


def watchdog_s() -> float:
    """The time in seconds within which systemd expects the next WATCHDOG=1; 0 = it expects none."""
    text = environ.get(b"WATCHDOG_USEC", b"")
    return int(text) / 1e6 if text.isdigit() else 0.0


def notify(state: str) -> bool:
    """Sends lines `NAME=VALUE` to the service manager, if there is one. False: it has not read the earlier ones, and
    there is no room for more."""
    path = environ.get(b"NOTIFY_SOCKET", b"")
    if not path:
        return True
    address = b"\0" + path[1:] if path.startswith(b"@") else path
    one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    try:
        one.sendto(state.encode("utf-8", "surrogateescape"), address)
    except BlockingIOError:
        return False
    except OSError:
        pass  # the service manager no longer listens
    finally:
        one.close()
    return True
