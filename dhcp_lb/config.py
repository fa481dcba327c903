"""The file /etc/dhcp-lb: its text → links and settings, and every mistake in it at once."""

from errno import ESPIPE
from posix import stat

from . import address
from .model import CONNECTION, FAILOVER, NO, PAIR, SOURCE, YES, Link, Settings
from .record import NamedTuple
from .store import RUN, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .policy import Policy

PATH = "/etc/dhcp-lb"

MAX_WEIGHT = 100_000_000  # room for a bandwidth in kbit/s; 1e9 and more is a slip
MAX_TABLE = 2**32 - 1
S_IFMT, S_IFIFO = 0o170000, 0o010000  # uapi/linux/stat.h
MAX_TEXT = 1 << 24  # bytes: 16 MiB; thousands of links need less than one
TABLE_IDS = f"1 to 252, or 256 to {MAX_TABLE}"
RESERVED_TABLES = {253: "default", 254: "main", 255: "local"}
RESERVED_NAMES = ("unspec", "default", "main", "local", "all", "cache")  # ids 0, 253-255, and ip(8)'s words
MAX_GROUP = 2**31 - 1  # a rule takes a greater number for "no group": net/core/fib_rules.c
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_TIER = 9
NONE_AT_ALL = "none"
METRICS_DIRECTORIES = "/var/lib/prometheus/node-exporter", RUN  # where the monitor may write
CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n") + b"\x7f"


class Invalid(Exception):
    """The configuration has mistakes, one a line. Nothing was changed."""


class Config(NamedTuple):
    """A configuration. If it has `errors`, it may be shown, but must not change the routing."""

    links: tuple[Link, ...] = ()
    settings: Settings = Settings()
    errors: tuple[str, ...] = ()  # `FILE:LINE: what is wrong: what it must be`, in the order of the lines
    interfaces: frozenset[str] = frozenset()  # of all link lines, those with a mistake included
    lines: dict[int, int] = {}  # table id → number of the line that names it
    text: bytes = b""
    policies: tuple["Policy", ...] = ()  # in the order of the lines

    def links_of(self, family: int) -> tuple[Link, ...]:
        """The links that are used in a family, as they are there."""
        if family == address.IPV4.number:
            return self.links
        return tuple([link.of(family) for link in self.links if link.ipv6])


def read_config(path: str = PATH, known: Config | None = None) -> Config:
    """The configuration in a file; `known` itself if the text is still the same. An absent file counts as empty. If
    the file cannot be read, that is in the configuration's `errors`."""
    try:
        text = read(path, MAX_TEXT, follow=True)
        if not text and stat(path).st_mode & S_IFMT == S_IFIFO:  # a run does not wait for a pipe's writer
            raise OSError(ESPIPE, "Is a pipe")
    except FileNotFoundError:
        text = b""
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "Is a directory"
        return Config(errors=(f"{path}: {words}: must be a file that root can read",))
    return known if known and known.text == text and not known.errors else parse(text, path)


def parse(text: bytes, path: str = PATH) -> Config:
    """The configuration in `text`. The messages call the file `path`. Never raises."""
    lines = _Lines(text.translate(None, CONTROL) != text or BYTE_ORDER_MARK in text)
    for number, line in enumerate(text.split(b"\n"), 1):
        lines.number = number
        lines.read(line)
    lines.check_shared_tables()
    lines.check_marks()
    lines.check_translation()
    lines.read_policies()
    lines.mistakes.sort(key=lambda mistake: mistake[0])
    links = [link._replace(**{**lines.defaults, **options}) if lines.defaults or options else link
             for link, options in lines.links]
    return Config(tuple(links), lines.settings,
                  tuple([f"{path}:{number}: {message}" for number, message in lines.mistakes]),
                  frozenset(lines.interfaces), lines.tables, text, tuple(lines.policies))


def server_place(names: set[str], tables: set[int]) -> tuple[str, int]:
    """The name and the id of the servers' table, if all other tables have these names and ids: the default, or else
    the highest free id below it."""
    default = Settings()
    table = default.server_table
    while True:
        name = default.server_name if default.server_name not in names else f"{default.server_name}-{table}"
        if name not in names and table not in tables:
            return name, table
        table = MAX_TABLE if table == 1 else table - 1


def with_servers(settings: Settings, place: tuple[str, int]) -> Settings:
    """The settings with this name and id of the servers' table."""
    return settings._replace(server_name=place[0], server_table=place[1])


class _Lines:
    """Reads line after line, and goes on after a mistake."""

    def __init__(self, odd: bool) -> None:
        self.odd = odd  # somewhere, the text has bytes that no line may have
        self.number = 0
        self.links: list[tuple[Link, dict[str, Any]]] = []  # and its options
        self.defaults: dict[str, Any] = {}  # of the options of every link
        self.settings = Settings()
        self.interfaces: dict[str, int] = {}  # each name or id → the line where it stands
        self.table_names: dict[str, int] = {}
        self.tables: dict[int, int] = {}
        self.setting_lines: dict[str, int] = {}
        self.policy_lines: list[tuple[int, list[str]]] = []
        self.policies: list[Policy] = []
        self.prefixes6: dict[str, int] = {}  # of all links → the line where it stands
        self.mistakes: list[tuple[int, str]] = []

    def wrong(self, message: str) -> None:
        self.mistakes.append((self.number, message))

    def read(self, line: bytes) -> None:
        if self.odd and not line.startswith(b"#"):
            if line.startswith(BYTE_ORDER_MARK):
                self.wrong("the line starts with a byte order mark: save the file without it")
                line = line[len(BYTE_ORDER_MARK):]
            if line.endswith(b"\r"):
                self.wrong("the line ends with a carriage return: save the file with Unix line ends")
                line = line[:-1]
            if line.translate(None, CONTROL) != line:
                return self.wrong("the line has control characters: must be printable characters and tabs")
        fields = [field.decode("utf-8", "surrogateescape") for field in line.split()]
        if b"#" in line:
            comment = [index for index, field in enumerate(fields) if field.startswith("#")]
            del fields[comment[0] if comment else len(fields):]
        if fields[1:2] == ["="]:
            self.read_setting(fields[0], fields[2:])
        elif "->" in fields[1:]:
            self.policy_lines.append((self.number, fields))
        elif fields:
            self.read_link(fields)

    def read_link(self, fields: list[str]) -> None:
        before = len(self.mistakes)
        interface = fields[0]
        if (len(interface.encode("utf-8", "surrogateescape")) > 15 or interface in (".", "..")
                or "/" in interface or ":" in interface):
            self.wrong(f"interface {interface}: must be a name of at most 15 bytes, without / or :")
        elif interface in self.interfaces:
            self.wrong(f"interface {interface} is already on line {self.interfaces[interface]}: "
                       "each interface must have one line")
        else:
            self.interfaces[interface] = self.number
        if len(fields) < 4:
            setting = ", or `balance-table = NAME ID`" if interface.startswith("balance-table") else ""
            return self.wrong(f"{len(fields)} field{'s' * (len(fields) > 1)}: must be "
                              f"`interface routing-table table-id weight`{setting}")
        _, table_name, table_text, weight_text, *options = fields
        table = self.table(table_name, table_text)
        weight = self.read_number("weight", weight_text, MAX_WEIGHT, f"1 to {MAX_WEIGHT}")
        found: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if key not in OPTIONS or not equals:
                self.wrong(f"unknown option {option}: must be "
                           + ", ".join([f"{key}={form}" for key, (_, form, _) in OPTIONS.items()]))
            else:
                reader = OPTIONS[key] if key != "gateway" or ":" not in value else GATEWAY6
                if reader[0] in found and key != "prefix6":
                    self.wrong(f"{key}= is given twice: must be given once" + " for each family" * (key == "gateway"))
                else:
                    self.read_value(found, f"{key}=", value, reader)
        if len(self.mistakes) == before:
            self.links.append((Link(interface, table_name, table, weight), found))

    def read_value(self, found: "dict[str, Any]", key: str, value: str, option: "Option") -> None:
        """Puts the value in its place, or says what is wrong with it."""
        place, _, read_it = option
        before = found.get(place, ()) if place == "prefixes6" else None
        try:
            found[place] = read_it(value) if before is None else self.prefix6(read_it(value), before)
        except ValueError as error:
            found[place] = before
            self.wrong(f"{key}{value}: {error}")

    def read_setting(self, name: str, values: list[str]) -> None:
        readers: dict[str, Callable[..., None]] = {
            "balance-table": self.read_balance_table, "balance": self.read_balance,
            "marks": self.read_marks, "pin": self.read_pin, "metrics": self.read_metrics,
            "server-table": self.read_server_table,
            "group": self.read_group, "main-default": self.read_main_default, "enabled": self.read_enabled,
            "translate6": self.read_translate6,
        }
        if name not in readers and name not in SETTINGS:
            self.wrong(f"unknown setting {name}: must be one of {', '.join([*readers, *SETTINGS])}")
        elif name in self.setting_lines:
            self.wrong(f"{name} is already on line {self.setting_lines[name]}: must be set once")
        elif len(values) != 1 + (name in ("balance-table", "server-table")):
            self.wrong(f"{name} has {len(values)} value{'s' * (len(values) != 1)}: must be "
                       + ("two, a name and an id" if name in ("balance-table", "server-table") else "one")
                       + ", with commas and no spaces" * (name == "check"))
        else:
            self.setting_lines[name] = self.number
            if name in SETTINGS:
                self.read_value(self.defaults, f"{name} = ", values[0], SETTINGS[name])
            else:
                readers[name](*values)

    def read_balance_table(self, name: str, text: str) -> None:
        self.settings = self.settings._replace(balance_name=name, balance_table=self.table(name, text))

    def read_server_table(self, name: str, text: str) -> None:
        self.settings = self.settings._replace(server_name=name, server_table=self.table(name, text))

    def read_group(self, text: str) -> None:
        self.settings = self.settings._replace(group=self.read_number("group", text, MAX_GROUP, f"1 to {MAX_GROUP}"))

    def read_main_default(self, text: str) -> None:
        self.settings = self.settings._replace(main_default=self.yes_or_no("main-default", text))

    def read_enabled(self, text: str) -> None:
        self.settings = self.settings._replace(enabled=self.yes_or_no("enabled", text))

    def read_balance(self, text: str) -> None:
        if text not in (CONNECTION, PAIR, SOURCE):
            return self.wrong(f"balance {text}: must be {CONNECTION}, {PAIR} or {SOURCE}")
        self.settings = self.settings._replace(balance=text)

    def read_pin(self, text: str) -> None:
        self.settings = self.settings._replace(pin=self.yes_or_no("pin", text))

    def read_translate6(self, text: str) -> None:
        if text not in (FAILOVER, NO):
            return self.wrong(f"translate6 {text}: must be {FAILOVER} or {NO}")
        self.settings = self.settings._replace(translate6=text)

    def read_metrics(self, text: str) -> None:
        directory, _, name = text.rpartition("/")
        if text != NONE_AT_ALL and (directory not in METRICS_DIRECTORIES or not name.endswith(".prom")
                                    or name.startswith(".")):
            return self.wrong(f"metrics {text}: must be {NONE_AT_ALL} or the path of a file *.prom in "
                              + " or ".join(METRICS_DIRECTORIES))
        self.settings = self.settings._replace(metrics=text)

    def read_marks(self, text: str) -> None:
        from .marks import is_row, parse_mark
        try:
            mask = parse_mark(text)
        except ValueError as error:
            return self.wrong(f"marks {text}: {error}")
        if not is_row(mask):
            return self.wrong(f"marks {text}: must be a row of ones, as 0xff000000")
        self.settings = self.settings._replace(marks=mask)

    def check_marks(self) -> None:
        """A file that asks for pins must have a mark for each link. By default, links are not pinned if there are more
        links than marks."""
        number = self.setting_lines.get("marks") or self.setting_lines.get("pin")
        if number and self.settings.pin != NO:
            from .marks import most
            if len(self.links) > (count := most(self.settings.marks)):
                self.mistakes.append((number, f"0x{self.settings.marks:08x} has {count} mark{'s' * (count != 1)} for "
                                              f"{len(self.links)} links: must have one for each, or pin = no"))

    def check_translation(self) -> None:
        """Translation needs pins: a translated connection must stay on its link when its own provider is back."""
        if self.settings.translate6 == FAILOVER and self.settings.pin == NO:
            self.mistakes.append((self.setting_lines["translate6"],
                                  f"translate6 = {FAILOVER} needs pinned connections, and line "
                                  f"{self.setting_lines['pin']} has pin = no: must be only one of the two"))

    def read_policies(self) -> None:
        """Comes after all other lines, because a policy may name a link or use marks that are defined further down."""
        if not self.policy_lines:
            return
        from .policy import MAX_RULES, PASSWD, needs_passwd
        from .policy import parse as parse_policy
        passwd = b""
        if any(needs_passwd(fields) for _, fields in self.policy_lines):
            try:
                passwd = read(PASSWD, MAX_TEXT, follow=True)
            except (OSError, ValueError):
                pass  # its users are unknown, and the policy's mistakes say so
        rules = 0
        for number, fields in self.policy_lines:
            policy, mistakes = parse_policy(fields, frozenset(self.interfaces), self.settings.marks, passwd)
            before, rules = rules, rules + policy.rules()
            if before <= MAX_RULES < rules:
                mistakes.append(f"{rules} rules up to this line: must be at most {MAX_RULES}")
            self.mistakes += [(number, mistake) for mistake in mistakes]
            self.policies.append(policy._replace(line=number))

    def prefix6(self, prefix: object, before: "tuple[str, ...]") -> "tuple[str, ...]":
        """The prefixes of a line, with one more. An address in the prefixes of two lines would belong to neither."""
        assert isinstance(prefix, str)
        for other, line in self.prefixes6.items():
            if address.overlap(prefix, other):
                raise ValueError(f"overlaps {other} on line {line}: must not overlap it")
        self.prefixes6[prefix] = self.number
        return *before, prefix

    def yes_or_no(self, name: str, text: str) -> str:
        if text not in (YES, NO):
            self.wrong(f"{name} {text}: must be yes or no")
        return text

    def check_shared_tables(self) -> None:
        """If no line names the balance table, no other table may have its default name or id. The servers' table moves
        out of the way instead: files that are older than the servers' table stay valid."""
        settings = self.settings
        if "server-table" not in self.setting_lines:
            self.settings = with_servers(settings, server_place({*self.table_names, settings.balance_name},
                                                                {*self.tables, settings.balance_table}))
        if "balance-table" in self.setting_lines:
            return
        hint = "is the balance table's: choose another, or move the balance table with `balance-table = NAME ID`"
        if line := self.table_names.get(self.settings.balance_name):
            self.mistakes.append((line, f"table {self.settings.balance_name} {hint}"))
        if line := self.tables.get(self.settings.balance_table):
            self.mistakes.append((line, f"table id {self.settings.balance_table} {hint}"))

    def table(self, name: str, text: str) -> int:
        """The id of a table; no earlier line has its name or id. 0 after a mistake."""
        if not name.isascii() or name in RESERVED_NAMES or name[0].isdecimal():
            self.wrong(f"table {name}: must be an ASCII name that does not start with a digit, and none of "
                       + ", ".join(RESERVED_NAMES))
        elif name in self.table_names:
            self.wrong(f"table {name} is already on line {self.table_names[name]}: each table must have its own name")
        else:
            self.table_names[name] = self.number
        table = self.read_number("table id", text, MAX_TABLE, TABLE_IDS)
        if table in RESERVED_TABLES:
            self.wrong(f"table id {table} is the kernel's table {RESERVED_TABLES[table]}: must be {TABLE_IDS}")
        elif table in self.tables:
            self.wrong(f"table id {table} is already on line {self.tables[table]}: each table must have its own id")
        elif table:
            self.tables[table] = self.number
        return table

    def read_number(self, what: str, text: str, most: int, valid: str) -> int:
        """The number in a text, 1 to `most`; 0 after a mistake, whose message says what is `valid`. A text of a
        million digits costs nothing: a text of more than 10 is not converted."""
        if len(text) <= 10 and text.isascii() and text.isdecimal() and 1 <= int(text) <= most:
            return int(text)
        self.wrong(f"{what} {text}: must be {valid}")
        return 0


def _gateway(text: str) -> str:
    try:
        return address.unicast(text)
    except ValueError as error:
        raise ValueError(f"the gateway {error}: must be the IPv4 address of a router") from None


def _gateway6(text: str) -> str:
    try:
        return address.router6(text)
    except ValueError as error:
        raise ValueError(f"the gateway {error}: must be the address of a router") from None


def _tier(text: str) -> int:
    if len(text) == 1 and text.isascii() and text.isdecimal() and text != "0":
        return int(text)
    raise ValueError(f"must be 1 to {MAX_TIER}")


def _yes(text: str) -> bool:
    if text not in (YES, NO):
        raise ValueError("must be yes or no")
    return text == YES


def _targets(text: str) -> object:
    from .targets import targets  # imported here, because most configurations name no target
    return targets(text)


def _seconds(least: float, most: float = 3600.0) -> "Callable[[str], object]":
    def read_it(text: str) -> float:
        from .targets import seconds
        return seconds(text, least, most)
    return read_it


SETTINGS: "dict[str, Option]" = {
    "check": ("targets", "TARGET,…", _targets),
    "interval": ("interval_s", "SECONDS", _seconds(0.2)),
    "down": ("down_s", "SECONDS", _seconds(0.5)),
    "up": ("up_s", "SECONDS", _seconds(0.0)),
}
"""The settings that give an option to all links whose own lines do not."""
OPTIONS: "dict[str, Option]" = {
    "gateway": ("gateway", "ADDRESS", _gateway),
    "tier": ("tier", "TIER", _tier),
    "dns": ("dns", "yes|no", _yes),
    "prefix6": ("prefixes6", "PREFIX", address.prefix6),
    "ipv6": ("ipv6", "yes|no", _yes),
    **SETTINGS,
}

GATEWAY6: "Option" = ("gateway6", "ADDRESS", _gateway6)
"""`gateway=`, if its value is an IPv6 address."""

if TYPE_CHECKING:
    Option = tuple[str, str, Callable[[str], object]]
    """The field of Link, the form of the value, and the function that reads the value or raises ValueError."""
