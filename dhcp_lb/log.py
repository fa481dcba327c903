"""Messages for the administrator, under the name `dhcp-lb`. They go to systemd's journal, or to the system log if
there is no journal; and to the terminal if there is one."""

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
from posix import F_OK, access, getpid, isatty, write

JOURNAL = "/run/systemd/journal/socket"
NOTICE, DAEMON = 5, 3  # LOG_NOTICE and LOG_DAEMON >> 3: syslog.h
PATIENCE_S = 1.0

_patience_s = PATIENCE_S  # how long the next line waits for room; a process waits only once for a stuck journal


def log(line: str, fields: dict[str, str] = {}, message_id: str = "") -> None:
    """Logs one line; never raises. In the journal the entry also has the `fields`, with DHCP_LB_ before their names,
    and the id of its kind of message (systemd.journal-fields(7), MESSAGE_ID)."""
    text = line.encode("utf-8", "backslashreplace")  # an interface's name may have any bytes
    if not _to_journal(text, fields, message_id):
        _to_syslog(text)
    try:
        if isatty(2):
            write(2, b"dhcp-lb: " + printable(line).encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # the terminal is gone


def printable(line: str) -> str:
    """The line with its control characters escaped: other people choose the names of interfaces, and a terminal obeys
    an ESC."""
    codes = [(char, ord(char) - 0xdc00 if "\udc80" <= char <= "\udcff" else ord(char)) for char in line]
    return "".join([char if 32 <= code < 127 or code >= 160 else f"\\x{code:02x}" for char, code in codes])


def _to_journal(text: bytes, fields: dict[str, str], message_id: str) -> bool:
    """False: there is no journal, or it does not take the line. If the journal has no room for the line, the line is
    lost."""
    global _patience_s
    if not access(JOURNAL, F_OK):  # this costs a tenth of what a socket would, if there is no journal
        return False
    entry = b"PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=dhcp-lb\nSYSLOG_PID=%d\n" % (NOTICE, DAEMON, getpid())
    entry += _field("MESSAGE", text)
    if message_id:
        entry += _field("MESSAGE_ID", message_id.encode())
    for name, value in fields.items():
        entry += _field(f"DHCP_LB_{name}", value.encode("utf-8", "surrogateescape"))
    try:
        one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    except OSError:  # no descriptor is left
        return False
    try:
        one.settimeout(_patience_s)
        one.connect(JOURNAL)  # otherwise poll(2) cannot tell whether there is room
        one.send(entry)
        _patience_s = PATIENCE_S
    except (TimeoutError, BlockingIOError):
        _patience_s = 0.0
    except OSError:
        return False
    finally:
        one.close()
    return True


def _field(name: str, value: bytes) -> bytes:
    """A field in the form of https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
    return b"%s=%s\n" % (name.encode(), value)


def _to_syslog(text: bytes) -> None:
    # Imported here, because the journal does not need it.
    from syslog import LOG_DAEMON, LOG_NOTICE, LOG_PID, openlog, syslog
    openlog("dhcp-lb", LOG_PID, LOG_DAEMON)
    syslog(LOG_NOTICE, text.decode())
