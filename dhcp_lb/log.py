"""What happens, for the administrator: to the system log as `dhcp-lb`, and to a terminal that looks on."""

from posix import isatty, write


def log(line: str) -> None:
    """Says one line."""
    # Imported here: an event that changes nothing says nothing.
    from syslog import LOG_DAEMON, LOG_NOTICE, LOG_PID, openlog, syslog
    text = line.encode("utf-8", "backslashreplace")  # an interface may have any bytes for its name
    openlog("dhcp-lb", LOG_PID, LOG_DAEMON)
    syslog(LOG_NOTICE, text.decode())
    try:
        if isatty(2):
            write(2, b"dhcp-lb: " + text + b"\n")
    except OSError:
        pass  # the terminal has gone
