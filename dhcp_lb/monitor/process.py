"""Processes that the monitor starts and never waits for."""

from posix import POSIX_SPAWN_DUP2, environ, posix_spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, SIGCHLD, signal
else:
    from _signal import SIG_IGN, SIGCHLD, signal

PROGRAM = "/usr/bin/dhcp-lb"


def start(verb: str, stdin: int = -1) -> None:
    """Starts this program with a verb, and with what this descriptor has as its standard input, if it is given. Raises
    OSError."""
    signal(SIGCHLD, SIG_IGN)  # nobody waits for it
    posix_spawn(PROGRAM, [PROGRAM, verb], environ, setsid=True, setsigdef=[SIGCHLD],
                file_actions=[(POSIX_SPAWN_DUP2, stdin, 0)] if stdin >= 0 else [])
