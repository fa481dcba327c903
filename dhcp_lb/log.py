"""Messages for the administrator, under the name `dhcp-lb`. They go to systemd's journal, or to the system log if
there is no journal; and to the terminal if there is one."""

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
from posix import F_OK, access, getpid, isatty, write
from time import strftime

JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"
NOTICE, DAEMON = 5, 3  # LOG_NOTICE and LOG_DAEMON >> 3: syslog.h
PATIENCE_S = 1.0

_patience_s = PATIENCE_S  # how long the next line waits for room; a process waits only once for a stuck log


def log(line: str, fields: dict[str, str] = {}, message_id: str = "") -> None:
    """Logs one line; never raises. In the journal the entry also has the `fields`, with DHCP_LB_ before their names,
    and the id of its kind of message (systemd.journal-fields(7), MESSAGE_ID)."""
    text = line.encode("utf-8", "backslashreplace")  # an interface's name may have any bytes
    # To look for the journal costs a tenth of what a socket would, if there is no journal.
    if not (access(JOURNAL, F_OK) and _sent(JOURNAL, _entry(text, fields, message_id))):
        # The datagram of syslog(3), which would wait for as long as nobody reads the log, and the monitor with it.
        _sent(SYSLOG, b"<%d>%s dhcp-lb[%d]: %s" % (
            DAEMON << 3 | NOTICE, strftime("%b %e %H:%M:%S").encode(), getpid(), text))
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


def _entry(text: bytes, fields: dict[str, str], message_id: str) -> bytes:
    """An entry for the journal."""
    entry = b"PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=dhcp-lb\nSYSLOG_PID=%d\n" % (NOTICE, DAEMON, getpid())
    entry += _field("MESSAGE", text)
    if message_id:
        entry += _field("MESSAGE_ID", message_id.encode())
    for name, value in fields.items():
        entry += _field(f"DHCP_LB_{name}", value.encode("utf-8", "surrogateescape"))
    return entry


def _field(name: str, value: bytes) -> bytes:
    """A field in the form of https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
    return b"%s=%s\n" % (name.encode(), value)


def _sent(path: str, data: bytes) -> bool:
    """False: nobody takes it there. If there is no room for it, it is lost."""
    global _patience_s
    try:
        one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    except OSError:  # no descriptor is left
        return False
    try:
        one.settimeout(_patience_s)
        one.connect(path)  # otherwise poll(2) cannot tell whether there is room
        one.send(data)
        _patience_s = PATIENCE_S
    except (TimeoutError, BlockingIOError):
        _patience_s = 0.0
    except OSError:
        return False
    finally:
        one.close()
    return True
