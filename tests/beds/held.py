"""Connections that stay open while something happens to the links."""

import selectors
import socket


class Held:
    """Open connections, each with its two ends."""

    def __init__(self, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        self.pairs = pairs

    def alive(self) -> int:
        """How many carry a byte there and back, until none has come for a second."""
        heres = self._carry([here for here, _ in self.pairs])
        theirs = self._carry([there for here, there in self.pairs if here in heres])
        return len(theirs)

    def _carry(self, senders: list[socket.socket]) -> set[socket.socket]:
        """Those of the senders that got a byte to their other end."""
        others = {here: there for pair in self.pairs for here, there in (pair, pair[::-1])}
        came = set()
        with selectors.DefaultSelector() as selector:
            for sender in senders:
                try:
                    sender.send(b"?")
                except OSError:
                    pass  # a reset that came before
                selector.register(others[sender], selectors.EVENT_READ, sender)
            while selector.get_map() and (ready := selector.select(1)):
                for key, _ in ready:
                    selector.unregister(key.fileobj)
                    if receives(others[key.data], 1):
                        came.add(key.data)
        return came

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
