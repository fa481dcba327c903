"""Processes that the monitor starts and never waits for."""

from posix import F_OK, POSIX_SPAWN_DUP2, access, environ, posix_spawn

from ..pinning.table import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, SIGCHLD, signal
else:
    from _signal import SIG_IGN, SIGCHLD, signal

PROGRAM, NFT = "/usr/bin/dhcp-lb", "/usr/sbin/nft"


def start(verb: str, stdin: int = -1) -> None:
    """Starts this program with a verb. `stdin`: the descriptor of its standard input; -1 = this process's. OSError if
    that fails."""
    _spawn([PROGRAM, verb], stdin)


def remake_table() -> None:
    """Makes the nft table again that somebody has removed. First nft makes it as it was, from the file that the last
    `apply` left, because nft alone is much quicker than this program. Then `apply` makes it as it should be, and pins
    the connections that have begun in the meantime. OSError if a process cannot be started."""
    if access(FILE, F_OK) and access(NFT, F_OK):
        _spawn([NFT, "-f", FILE])
    start("apply")


def _spawn(argv: list[str], stdin: int = -1) -> None:
    signal(SIGCHLD, SIG_IGN)  # nobody waits for the process
    posix_spawn(argv[0], argv, environ, setsid=True, setsigdef=[SIGCHLD],
                file_actions=[(POSIX_SPAWN_DUP2, stdin, 0)] if stdin >= 0 else [])
