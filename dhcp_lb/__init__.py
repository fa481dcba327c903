"""dhcp-lb: balances connections over several Internet links whose addresses come from DHCP.

The program starts here: with a verb, or, as in 2009, as the hook of a DHCP client."""

from gc import disable
from posix import _exit, environ

VERSION = "unreleased"  # a build writes the version of debian/changelog (setup.py)


def main(arguments: list[str]) -> None:
    """Runs the program and ends the process."""
    if not arguments and b"reason" in environ or arguments[:1] == ["hook"]:
        disable()  # the process ends before a collection could pay, imports included
        from .hook import hook
        hook(*arguments[1:2])
        _exit(0)  # the interpreter's own cleaning would be a sixth of the whole run
    if arguments == ["monitor"]:  # it stays, and gets by without what the other verbs need
        from .monitor.daemon import run
        raise SystemExit(run())
    if arguments == ["notify"]:  # dhcp-lb-notify.service, and the monitor where there is no systemd
        from .monitor.notify import run
        raise SystemExit(run())
    from .verbs.cli import cli
    raise SystemExit(cli(arguments))
