"""The names of our tables and of our protocol, for the users of ip(8)."""

from posix import chmod, listdir, mkdir, unlink

from .config import PATH, Config, server_place
from .model import PROTOCOL, PROTOCOL_NAME, Settings
from .record import NamedTuple
from .store import read, replace

# iproute2 looks here. A file in /etc hides the file of the same name in /usr, and so does a drop-in (lib/rt_names.c).
ETC = "/etc/iproute2"
USR = "/usr/share/iproute2"
DROP_IN = "dhcp-lb.conf"


class Name(NamedTuple):
    """One line of a file of iproute2: a number and its name."""

    number: int
    name: str
    place: str  # FILE:LINE


class Known(NamedTuple):
    """The names in iproute2's files, without our own drop-ins."""

    tables: list[Name]
    protocols: list[Name]


def known(etc: str = ETC, usr: str = USR) -> Known:
    """The names in iproute2's files in these two directories. A file that cannot be read counts as empty, as it does
    for ip(8)."""
    return Known(names("rt_tables", etc, usr), names("rt_protos", etc, usr))


def names(kind: str, etc: str = ETC, usr: str = USR) -> list[Name]:
    """All names in the file `kind` (rt_tables or rt_protos) and its drop-ins, without our own drop-in."""
    paths = [f"{etc}/{kind}" if kind in _listed(etc) else f"{usr}/{kind}"]
    here, there = _drop_ins(f"{etc}/{kind}.d"), _drop_ins(f"{usr}/{kind}.d")
    paths += [f"{usr}/{kind}.d/{name}" for name in there if name not in here]
    paths += [f"{etc}/{kind}.d/{name}" for name in here]
    return [name for path in paths for name in _parse(_content(path), path)]


def clashes(config: Config, taken: Known, path: str = PATH) -> tuple[str, ...]:
    """Pure: a message for each of our ids and names that iproute2's files use for another table or protocol. Such a
    table may belong to another program."""
    errors = []
    for table, name in _ours(config, taken):
        line = config.lines.get(table)
        place = f"{path}:{line}" if line else path
        hint = "choose another" if line else "move the balance table with `balance-table = NAME ID`"
        for other in taken.tables:
            if other.number == table and other.name != name:
                errors.append(f"{place}: table id {table} ({name}) is named {other.name} in {other.place}: {hint}")
            if other.name == name and other.number != table:
                errors.append(f"{place}: table {name} ({table}) has the id {other.number} in {other.place}: {hint}")
    for other in taken.protocols:
        if (other.number == PROTOCOL) != (other.name == PROTOCOL_NAME):
            errors.append(f"{path}: the protocol {PROTOCOL_NAME} has the number {PROTOCOL}, but {other.place} says "
                          f"{other.number} {other.name}: change it there")
    return tuple(errors)


def write_names(config: Config, taken: Known, etc: str = ETC) -> tuple[str, ...]:
    """Brings our two drop-ins in line with the configuration, and returns the paths of those that changed. The
    drop-ins leave out names that another file has already. OSError if a file cannot be written."""
    protocols = [(PROTOCOL, PROTOCOL_NAME)] if config.links else []
    return tuple([f"{directory}/{DROP_IN}"
                  for directory, ours, theirs in ((f"{etc}/rt_tables.d", _ours(config, taken), taken.tables),
                                                  (f"{etc}/rt_protos.d", protocols, taken.protocols))
                  if _write_drop_in(directory, ours, theirs)])


def remove_names(etc: str = ETC) -> None:
    """Removes our two drop-ins. OSError if that fails."""
    write_names(Config(), Known([], []), etc)


def servers(config: Config, taken: Known) -> tuple[str, int]:
    """Pure: the name and the id of the servers' table. If no line names it, it makes room for a foreign table. Only a
    line of the file can be a mistake, and files of 2.0 know no such table."""
    settings, default = config.settings, Settings()
    if settings.server_table in config.lines:
        return settings.server_name, settings.server_table
    others = [one for one in taken.tables if (one.name, one.number) != (default.server_name, default.server_table)]
    return server_place({settings.balance_name, *[link.table_name for link in config.links],
                         *[one.name for one in others]},
                        {settings.balance_table, *config.lines, *[one.number for one in others]})


def _ours(config: Config, taken: Known) -> list[tuple[int, str]]:
    if not config.links:
        return []
    name, table = servers(config, taken)
    return [*[(link.table, link.table_name) for link in config.links],
            (config.settings.balance_table, config.settings.balance_name),
            (table, name)]


def _write_drop_in(directory: str, ours: list[tuple[int, str]], theirs: list[Name]) -> bool:
    named = {name.name for name in theirs}
    lines = [f"{number}\t{name}\n" for number, name in ours if name not in named]
    text = "".join([f"# Written by dhcp-lb(8) from {PATH}; changes here are lost.\n", *lines]) if lines else ""
    path = f"{directory}/{DROP_IN}"
    if _content(path) == text:
        return False
    if not text:
        unlink(path)
        return True
    for missing in directory.rpartition("/")[0], directory:
        try:
            mkdir(missing)
            chmod(missing, 0o755)  # under any umask, because everybody's `ip` reads it
        except FileExistsError:
            pass
    replace(path, text.encode(), f"{path}.new", 0o644)  # iproute2 does not read a file with this suffix
    return True


def _parse(text: str, path: str) -> list[Name]:
    found = []
    for line, words in enumerate([line.split() for line in text.split("\n")], 1):
        if len(words) > 1 and not words[0].startswith("#"):
            try:
                number = int(words[0], 16 if words[0].startswith("0x") else 10)
            except ValueError:
                continue
            found.append(Name(number, words[1], f"{path}:{line}"))
    return found


def _listed(directory: str) -> list[str]:
    try:
        return sorted(listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _drop_ins(directory: str) -> list[str]:
    return [name for name in _listed(directory)
            if name.endswith(".conf") and not name.startswith(".") and name != DROP_IN]


def _content(path: str) -> str:
    """The text of a file; "" if it does not exist or cannot be read. ip(8) skips such a file, too."""
    try:
        return read(path, 1 << 20, follow=True).decode("utf-8", "surrogateescape")
    except (OSError, ValueError):
        return ""
