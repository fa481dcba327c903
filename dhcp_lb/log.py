"""Messages for the administrator: to the system log as `dhcp-lb`, and to the terminal if there is one."""

from posix import isatty, write


def log(line: str) -> None:
    """Logs one line."""
    # Imported here, because an event that changes nothing logs nothing.
    from syslog import LOG_DAEMON, LOG_NOTICE, LOG_PID, openlog, syslog
    text = line.encode("utf-8", "backslashreplace")  # the name of an interface may have any bytes
    openlog("dhcp-lb", LOG_PID, LOG_DAEMON)
    syslog(LOG_NOTICE, text.decode())
    try:
        if isatty(2):
            write(2, b"dhcp-lb: " + text + b"\n")
    except OSError:
        pass  # the terminal is gone
