"""dhcp-lb: balances connections over several Internet links whose addresses come from DHCP.

The program starts here: with a verb, or, as in 2009, as the hook of a DHCP client."""

import sys
from gc import disable
from marshal import loads
from posix import O_RDONLY, _exit, close, environ, fstat, open, read, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from importlib.util import MAGIC_NUMBER
else:
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import MAGIC_NUMBER

VERSION = "unreleased"  # a build writes the version of debian/changelog (setup.py)

RENEWAL = ("record", "address", "model", "store", "config", "event", "lock", "netlink", "rtnetlink", "sight",
           "reconcile", "hook")
"""The modules that a client's event loads if it changes nothing, each after those that it imports."""
CHANGE = "log", "marks", "routing", "objections", "plan", "rtmessages", "change", "commands"
"""The modules that an event loads as well if it changes something."""


def load(names: tuple[str, ...]) -> None:
    """Imports these modules of the package in half of the time that import statements take. It looks for the compiled
    form of a module only where it must be (importlib._bootstrap_external, SourceLoader.get_code). If one is missing or
    does not belong to its source, the import statements load that module and those after it."""
    directory, = __path__
    for name in names:
        whole = f"{__name__}.{name}"
        if whole in sys.modules:
            continue
        try:
            source = stat(f"{directory}/{name}.py")
            file = open(f"{directory}/__pycache__/{name}.{sys.implementation.cache_tag}.pyc", O_RDONLY)
        except FileNotFoundError:
            return
        compiled = read(file, fstat(file).st_size)
        close(file)
        of_source = [int(source.st_mtime) & 0xffffffff, source.st_size & 0xffffffff]
        if compiled[:16] != MAGIC_NUMBER + bytes(4) + b"".join([number.to_bytes(4, "little") for number in of_source]):
            return
        module = sys.modules[whole] = type(sys)(whole)
        module.__spec__ = ModuleSpec(whole, None)
        module.__package__ = __name__
        globals()[name] = module
        exec(loads(memoryview(compiled)[16:]), module.__dict__)


def main(arguments: list[str]) -> None:
    """Runs the program and ends the process."""
    if not arguments and b"reason" in environ or arguments[:1] == ["hook"]:
        disable()  # the process ends before a garbage collection would pay off, and so do the imports
        load(RENEWAL)
        from .hook import hook
        hook(*arguments[1:2])
        _exit(0)  # the interpreter's own clean-up would take a sixth of the whole run
    if arguments == ["monitor"]:  # it keeps running, so it loads nothing that only other verbs need
        from .monitor.daemon import run
        raise SystemExit(run())
    if arguments == ["notify"]:  # dhcp-lb-notify.service, and the monitor where there is no systemd
        from .monitor.notify import run
        raise SystemExit(run())
    from .verbs.cli import cli
    raise SystemExit(cli(arguments))
