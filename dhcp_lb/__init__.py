"""dhcp-lb: balances connections over several Internet links whose addresses come from DHCP.

The program starts here, as a DHCP client's hook, as in 2009, or with a verb."""

from gc import disable
from posix import _exit, environ

VERSION = "unreleased"  # a build writes that of debian/changelog (setup.py)


def main(arguments: list[str]) -> None:
    """Runs the program and ends the process."""
    if not arguments and b"reason" in environ or arguments[:1] == ["hook"]:
        disable()  # nothing lives long enough to be worth collecting, the imports included
        from .hook import hook
        hook(*arguments[1:2])
        _exit(0)  # without the interpreter's tidying up: a sixth of the whole run
    from .verbs.cli import cli
    raise SystemExit(cli(arguments))
