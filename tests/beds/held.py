"""Connections that stay open while something happens to the links."""

import socket
import time


class Held:
    """Open connections, each with its two ends."""

    def __init__(self, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        self.pairs = pairs

    def alive(self) -> int:
        """How many carry a byte there and back within a second."""
        heres = self._carry([here for here, _ in self.pairs])
        theres = self._carry([there for here, there in self.pairs if here in heres])
        return len(theres)

    def _carry(self, senders: list[socket.socket]) -> list[socket.socket]:
        """Those senders whose byte has reached the other end."""
        others = {here: there for pair in self.pairs for here, there in (pair, pair[::-1])}
        for sender in senders:
            try:
                sender.send(b"?")
            except OSError:
                pass  # the connection was reset before
        end = time.monotonic() + 1
        return [sender for sender in senders if receives(others[sender], max(0.001, end - time.monotonic()))]

    def by(self, address: str) -> int:
        """How many connections come from this address, or from one that begins like this, as the other end sees it."""
        return sum(there.getpeername()[0].startswith(address) for _, there in self.pairs)

    def close(self) -> None:
        """Closes both ends of each connection."""
        for pair in self.pairs:
            for end in pair:
                end.close()


def receives(connection: socket.socket, timeout_s: float) -> bool:
    """Whether a byte comes within `timeout_s`."""
    connection.settimeout(timeout_s)
    try:
        return connection.recv(1) == b"?"
    except OSError:
        return False
