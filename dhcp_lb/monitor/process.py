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
    """Starts this program with a verb, and with what this descriptor has as its standard input, if it is given. Raises
    OSError."""
    _spawn([PROGRAM, verb], stdin)


def remake_table() -> None:
    """Has nft make the table once more that somebody has removed. As it was, from the file that the last `apply` left:
    nft alone is much quicker than this program. Then `apply` has it as it should be, and pins what has begun
    meanwhile. Raises OSError."""
    if access(FILE, F_OK) and access(NFT, F_OK):
        _spawn([NFT, "-f", FILE])
    start("apply")


def _spawn(argv: list[str], stdin: int = -1) -> None:
    signal(SIGCHLD, SIG_IGN)  # nobody waits for it
    posix_spawn(argv[0], argv, environ, setsid=True, setsigdef=[SIGCHLD],
                file_actions=[(POSIX_SPAWN_DUP2, stdin, 0)] if stdin >= 0 else [])
