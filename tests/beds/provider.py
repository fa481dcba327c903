"""A provider at the other end of a link, for tests in a network of their own: a process with a network namespace. It
is the gateway, the name servers and the hosts of the Internet in one, and reports which packets have come.

As a program (`python3 provider.py`) it is that process. It reads jobs and writes answers, a line of JSON each."""

import functools
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
INTERNET = "198.51.100.0/24"  # each provider has all of its hosts
HOST, WEB = "198.51.100.1", "198.51.100.80"
ETH_P_ALL = 0x0003
OUTGOING = 4  # PACKET_OUTGOING


class Provider:
    """From `with Provider("peer-eth0", "10.100.0.1/24")` to the end of the block. The device moves into its namespace,
    and is called `cable` there."""

    def __init__(self, device: str, *addresses: str) -> None:
        self.device, self.addresses = device, addresses

    def __enter__(self) -> "Provider":
        self.process = subprocess.Popen(["unshare", "--net", sys.executable, "-I", __file__], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
        try:
            assert self._read() == "ready"
            subprocess.run(["ip", "link", "set", self.device, "netns", str(self.process.pid), "name", "cable"],
                           check=True, env=ENVIRONMENT)
            self.sh("ip link set lo up; ip link set cable up; sysctl -qw net.ipv4.conf.all.rp_filter=0; "
                    "sysctl -qw net.ipv4.conf.cable.rp_filter=0 net.ipv4.conf.all.arp_ignore=1; "
                    + "; ".join([f"ip address add {one} dev cable" for one in self.addresses])
                    + f"; ip route add local {INTERNET} dev lo")
            self._job("start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def sh(self, script: str) -> str:
        """A piece of shell in its network."""
        done = subprocess.run(["nsenter", f"--target={self.process.pid}", "--net", "sh", "-ec", script],
                              capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def seen(self) -> list[str]:
        """The packets that have come since the last call, each as `SOURCE > DESTINATION PROTOCOL`, ARP requests as
        `SOURCE who has DESTINATION`. It waits a moment for packets that are on their way."""
        time.sleep(0.05)
        return [str(one) for one in self._job("seen")]

    def die(self) -> None:
        """The provider is dead behind its gateway, which goes on answering ARP."""
        self.sh("nft add table ip dead; "
                "nft add chain ip dead input '{ type filter hook input priority 0; policy drop; }'")

    def revive(self) -> None:
        """As before."""
        self.sh("nft delete table ip dead")

    def lose(self, percent: int) -> None:
        """So much of what comes to it by the cable, at random; 0 = nothing any more."""
        if percent:
            self.sh("nft add table ip loss; "
                    "nft add chain ip loss input '{ type filter hook input priority 0; policy accept; }'; "
                    f"nft add rule ip loss input 'numgen random mod 100 < {percent} drop'")
        else:
            self.sh("nft delete table ip loss")

    def delay(self, seconds: float) -> None:
        """Its name servers answer so long after they were asked."""
        self._job("delay", seconds)

    def send(self, source: str, to: str, protocol: int, packet: bytes) -> None:
        """Sends an IP packet from any address. `packet` is its content behind the IP header."""
        self._job("send", source, to, protocol, packet.hex())

    def _job(self, *job: Any) -> Any:
        assert self.process.stdin
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return json.loads(self._read())

    def _read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")


# In the process

class Sniffer:
    """Records the packets that come in by the cable."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.bind(("cable", ETH_P_ALL))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            try:
                data, (_, ethertype, kind, _, _) = self.socket.recvfrom(2048)
            except OSError:  # the device is down, or gone
                continue
            if kind != OUTGOING and ethertype == 0x0800:
                self.lines.append(f"{quad(data[12:16])} > {quad(data[16:20])} {data[9]}")
            elif kind != OUTGOING and ethertype == 0x0806 and data[7] == 1:
                self.lines.append(f"{quad(data[14:18])} who has {quad(data[24:28])}")

    def take(self) -> list[str]:
        taken, self.lines = self.lines, []
        return taken


def quad(data: bytes) -> str:
    return socket.inet_ntoa(data)


delay_s = 0.0  # of the name servers


def name_server() -> None:
    """Answers questions for the root with REFUSED, and those for `web.example` with an address; `gone.example` does
    not exist, and other names fail."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 53))
    server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    while True:
        data, control, _, sender = server.recvmsg(2048, 256)
        asked = data[12:]
        code, answer = 5, b""
        if asked.startswith(b"\x03web\x07example"):
            code = 0
            answer = b"\xc0\x0c" + struct.pack("!HHLH", 1, 1, 60, 4) + socket.inet_aton(WEB)
        elif asked.startswith(b"\x04gone\x07example"):
            code = 3
        elif asked[0]:
            code = 2
        reply = data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, bool(answer), 0, 0) + asked + answer
        _, local, _ = struct.unpack("=i4s4s", control[0][2])
        send = functools.partial(server.sendmsg, [reply],
                                 [(socket.IPPROTO_IP, 8, struct.pack("=i4s4s", 0, local, bytes(4)))], 0, sender)
        if delay_s:
            threading.Timer(delay_s, send).start()
        else:
            send()


def tcp_server(port: int, talk: Callable[[socket.socket], None]) -> None:
    listener = socket.create_server(("0.0.0.0", port), backlog=1000)
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.settimeout(2)
                talk(connection)
            except OSError:
                pass


def web(connection: socket.socket) -> None:
    request = connection.recv(4096).decode()
    path = request.split(" ")[1]
    if path == "/slow":
        connection.sendall(b"HTTP/1")
        time.sleep(0.05)
        connection.sendall(b".1 204 No Content\r\n\r\n")
    else:
        status = {"/ok": "200 OK", "/portal": "302 Found", "/broken": "500 Internal Server Error"}.get(path, "404 ?")
        wanted = request.endswith("\r\n\r\n") and "\r\nHost: " in request
        connection.sendall(f"HTTP/1.0 {status if wanted else '400 ?'}\r\n\r\n".encode())


def main() -> None:
    global delay_s
    print("ready", flush=True)
    sniffer = None
    for line in sys.stdin:
        job, *arguments = json.loads(line)
        answer: object = None
        if job == "start":
            sniffer = Sniffer()
            for port, talk in (80, web), (81, lambda connection: None):
                threading.Thread(target=tcp_server, args=(port, talk), daemon=True).start()
            threading.Thread(target=name_server, daemon=True).start()
        elif job == "seen":
            assert sniffer
            answer = sniffer.take()
        elif job == "delay":
            delay_s, = arguments
        elif job == "send":
            source, to, protocol, packet = arguments
            header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, protocol, 0, socket.inet_aton(source),
                                 socket.inet_aton(to))
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
                sender.sendto(header + bytes.fromhex(packet), (to, 0))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
