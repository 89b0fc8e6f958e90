"""The world around the box under trial: two networks in a namespace of this process's own, a mail server on each, DHCP.

`scripts/image test` enters the namespace; what is made here ends with it, and touches no interface of this machine.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from firmware.builder.run import run

NETWORKS = {"outside": "192.0.2.0/24", "inside": "198.51.100.0/24"}
_ALONE = {"lo", "sit0", "ip6tnl0", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"}
_MAGIC = b"\x63\x82\x53\x63"  # RFC 2131 §3
_TYPE, _SERVER, _LEASE, _MASK, _END = 53, 54, 51, 1, 255
_DISCOVER, _OFFER, _REQUEST, _ACK = 1, 2, 3, 5


def here(name: str) -> str:
    """Our address on the network."""
    return str(ipaddress.ip_network(NETWORKS[name])[1])


def box(name: str) -> str:
    """The box's."""
    return str(ipaddress.ip_network(NETWORKS[name])[5])


def lay_cables() -> None:
    """Makes the two networks, each with one tap for QEMU.

    Raises:
        SystemExit: this is no namespace of our own, or it cannot be done.
    """
    if not {name for _, name in socket.if_nameindex()} <= _ALONE:
        raise SystemExit("the trial wants a network namespace of its own; start it by scripts/image test")
    run("ip", "link", "set", "lo", "up")
    for name in NETWORKS:
        run("ip", "tuntap", "add", name, "mode", "tap")
        run("ip", "address", "add", f"{here(name)}/24", "dev", name)
        run("ip", "link", "set", name, "up")


class MailServer:
    """Takes every message for as long as it is open; remembers each by its Subject."""

    def __init__(self, address: str, port: int) -> None:
        self._address = (address, port)
        self._listening: socket.socket | None = None
        self._news = threading.Condition()
        self._taken: dict[str, int] = {}
        self.open()

    def open(self) -> None:
        """Begins to listen."""
        self._listening = socket.create_server(self._address)
        threading.Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def close(self) -> None:
        """Whoever connects now is refused."""
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None

    def missing(self, subjects: Iterable[str], timeout_s: float) -> list[str]:
        """Those of `subjects` that did not come, at the latest after `timeout_s`."""
        wanted = list(subjects)
        with self._news:
            self._news.wait_for(lambda: all(it in self._taken for it in wanted), timeout_s)
            return [it for it in wanted if it not in self._taken]

    def twice(self) -> int:
        """How many came more than once: the price of never losing one (RFC 1047)."""
        with self._news:
            return sum(count > 1 for count in self._taken.values())

    def _serve(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=self._session, args=(connection,), daemon=True).start()

    def _session(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rwb") as stream:

            def say(text: bytes) -> None:
                stream.write(text + b"\r\n")
                stream.flush()

            say(b"220 mail.example.test ESMTP")
            for line in stream:
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    say(b"354 go on")
                    if not self._take(stream.readline):
                        return
                say(b"221 2.0.0 Bye" if verb == b"QUIT" else b"250 2.0.0 Ok")
                if verb == b"QUIT" or self._listening is None:
                    return

    def _take(self, read_line: Callable[[], bytes]) -> bool:
        subject, line = "", b""
        for line in iter(read_line, b""):
            if line == b".\r\n":
                break
            if line.lower().startswith(b"subject:"):
                subject = line[8:].strip().decode("ascii", "replace")
        if line != b".\r\n":
            return False  # cut before the dot: no message
        with self._news:
            self._taken[subject] = self._taken.get(subject, 0) + 1
            self._news.notify_all()
        return True


def serve_leases(name: str) -> None:
    """A DHCP server on the network that knows one address, the box's (RFC 2131)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
    sock.bind(("0.0.0.0", 67))

    def serve() -> None:
        while True:
            answer = lease_answer(sock.recv(2048), here(name), box(name))
            if answer is not None:
                sock.sendto(answer, ("255.255.255.255", 68))

    threading.Thread(target=serve, daemon=True).start()


def lease_answer(asked: bytes, server: str, offered: str) -> bytes | None:
    """The answer to one DHCP message; None: it wants none."""
    if len(asked) < 240 or asked[236:240] != _MAGIC:
        return None
    kind = {_DISCOVER: _OFFER, _REQUEST: _ACK}.get(_option(asked[240:], _TYPE)[0])
    if kind is None:
        return None
    own = ipaddress.ip_address(server).packed
    options = bytes([_TYPE, 1, kind, _SERVER, 4]) + own + bytes([_LEASE, 4]) + struct.pack(">I", 3600)
    options += bytes([_MASK, 4, 255, 255, 255, 0, _END])
    head = b"\x02" + asked[1:12] + bytes(4) + ipaddress.ip_address(offered).packed + own + bytes(4)
    return head + asked[28:44] + bytes(192) + _MAGIC + options


def _option(options: bytes, wanted: int) -> bytes:
    """A zero octet where it is not there."""
    at = 0
    while at + 1 < len(options) and options[at] != _END:
        if options[at] == 0:  # padding
            at += 1
            continue
        if options[at] == wanted:
            return options[at + 2 : at + 2 + options[at + 1]] or b"\0"
        at += 2 + options[at + 1]
    return b"\0"
