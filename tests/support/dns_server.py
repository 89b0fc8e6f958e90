"""A scripted DNS server on loopback, UDP and TCP on one port, with faults on demand and a count of what was asked.

It runs in a thread of its own, so that it serves tests of every kind: synchronous, asyncio, uvloop, and gateways in
other processes. Used by any test that needs names.
"""

from __future__ import annotations

import enum
import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Zone = Mapping[tuple[str, str], Sequence[str]]
"""(name, type) to the records' texts: `{("example.test", "MX"): ["10 mx.example.test."]}`."""

_ALIASES_MAX = 8


class Fault(enum.Enum):
    """What goes wrong with the answers for a name."""

    DROP = enum.auto()
    DELAY = enum.auto()  # answered when `release` is called
    TRUNCATE = enum.auto()  # UDP says "too long, ask by TCP"
    SERVFAIL = enum.auto()
    REFUSED = enum.auto()
    NXDOMAIN = enum.auto()
    WRONG_ID = enum.auto()  # a lie, and nothing but the lie
    WRONG_QUESTION = enum.auto()
    GARBAGE = enum.auto()
    REFERRAL = enum.auto()  # as a server that is not responsible for the name
    LIE_FIRST = enum.auto()  # a lie with the wrong id comes before the true answer


class DnsServer:
    """`with DnsServer(zone) as server:` serves at `server.address` until the block ends.

    `zone` may be changed at any time; names are lower case without a final dot. Names that are not in it do not exist.
    """

    def __init__(self, zone: Zone, *, host: str = "127.0.0.1", ttl_s: int = 300, negative_ttl_s: int = 60) -> None:
        self.zone: dict[tuple[str, str], Sequence[str]] = dict(zone)
        self.faults: dict[str, Fault] = {}
        """By name; `*` is for every name."""
        self.ttls_s: dict[str, int] = {}
        """By name, in place of `ttl_s`."""
        self.queries: Counter[tuple[str, str]] = Counter()
        """Datagrams and TCP messages received, by (name, type)."""
        self.tcp_queries = 0
        self._ttl_s, self._negative_ttl_s = ttl_s, negative_ttl_s
        self._heard = threading.Condition()
        self._delayed: list[tuple[dns.message.Message, tuple[str, int]]] = []
        self._udp, self._tcp = _pair(host)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        return int(self._udp.getsockname()[1])

    @property
    def address(self) -> str:
        """As the configuration wants it, `127.0.0.1:10053`."""
        return f"{self._udp.getsockname()[0]}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.close()
        self._thread.join()
        for held in (self._udp, self._tcp, self._woken):
            held.close()

    def asked(self, kind: str) -> int:
        """How many messages asked for this type."""
        with self._heard:
            return sum(count for (_, asked_kind), count in self.queries.items() if asked_kind == kind)

    def wait_for_queries(self, count: int, timeout_s: float = 10.0) -> bool:
        """Blocks until `count` messages came in all; False if they did not within `timeout_s`."""
        with self._heard:
            return self._heard.wait_for(lambda: sum(self.queries.values()) >= count, timeout_s)

    def release(self) -> None:
        """Answers what DELAY holds back, truthfully, and delays no more."""
        with self._heard:
            self.faults = {name: fault for name, fault in self.faults.items() if fault is not Fault.DELAY}
            held, self._delayed = self._delayed, []
        for query, peer in held:
            self._udp.sendto(self._truth(query).to_wire(), peer)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (self._udp, self._tcp, self._woken):
                selector.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    with suppress(OSError, struct.error, dns.exception.DNSException):
                        if key.fileobj is self._udp:
                            self._serve_datagram()
                        else:
                            self._serve_connection()

    def _serve_datagram(self) -> None:
        raw, peer = self._udp.recvfrom(65_535)
        query = dns.message.from_wire(raw)
        with self._heard:
            fault = self._note(query)
            if fault is Fault.DELAY:
                self._delayed.append((query, peer))
        for raw_answer in self._answers(query, fault, query.payload):
            self._udp.sendto(raw_answer, peer)

    def _serve_connection(self) -> None:
        connection, _ = self._tcp.accept()
        with connection:
            connection.settimeout(5.0)  # a client that falls silent must not keep the server for ever
            stream = connection.makefile("rb")
            (length,) = struct.unpack("!H", stream.read(2))
            query = dns.message.from_wire(stream.read(length))
            with self._heard:
                fault = self._note(query)
                self.tcp_queries += 1
            for raw_answer in self._answers(query, None if fault is Fault.TRUNCATE else fault, 65_535):
                connection.sendall(struct.pack("!H", len(raw_answer)) + raw_answer)

    def _note(self, query: dns.message.Message) -> Fault | None:
        name, kind = _question(query)
        self.queries[name, kind] += 1
        self._heard.notify_all()
        return self.faults.get(name, self.faults.get("*"))

    def _answers(self, query: dns.message.Message, fault: Fault | None, room_octets: int) -> list[bytes]:
        truth = self._truth(query)
        lie = self._truth(query)
        if fault in (Fault.DROP, Fault.DELAY):
            return []
        if fault is Fault.GARBAGE:
            return [query.id.to_bytes(2, "big") + b"\x81\x80" + b"\xff" * 40]
        if fault in (Fault.WRONG_ID, Fault.LIE_FIRST):
            lie.id = query.id ^ 0x5555
            lie.answer = [dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "203.0.113.66")]
            return [lie.to_wire()] + ([truth.to_wire()] if fault is Fault.LIE_FIRST else [])
        if fault is Fault.WRONG_QUESTION:
            lie.question = [dns.rrset.RRset(dns.name.from_text("lie.test."), dns.rdataclass.IN, dns.rdatatype.A)]
            return [lie.to_wire()]
        if fault is Fault.TRUNCATE:
            return [_cut_off(query)]
        if fault is Fault.REFERRAL:
            elsewhere = dns.message.make_response(query)
            elsewhere.authority = [dns.rrset.from_text("test.", 300, "IN", "NS", "ns.test.")]
            return [elsewhere.to_wire()]
        if fault is not None:
            failure = dns.message.make_response(query)
            failure.set_rcode(dns.rcode.from_text(fault.name))
            return [failure.to_wire()]
        try:
            return [truth.to_wire(max_size=room_octets)]
        except dns.exception.TooBig:
            return [_cut_off(query)]

    def _truth(self, query: dns.message.Message) -> dns.message.Message:
        """What the zone says, with the whole chain of aliases, as a recursive server answers."""
        answer = dns.message.make_response(query, recursion_available=True)
        name, kind = _question(query)
        for _ in range(_ALIASES_MAX):
            for asked in (kind, "CNAME"):
                texts = self.zone.get((name, asked))
                if texts:
                    ttl_s = self.ttls_s.get(name, self._ttl_s)
                    answer.answer.append(dns.rrset.from_text_list(_whole(name), ttl_s, "IN", asked, list(texts)))
                    break
            else:
                if not any(held == name for held, _ in self.zone):
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                soa = f"ns.test. root.test. 1 3600 600 86400 {self._negative_ttl_s}"
                answer.authority.append(dns.rrset.from_text(_whole(name), self._negative_ttl_s, "IN", "SOA", soa))
                return answer
            if asked == kind:
                return answer
            name = self.zone[name, "CNAME"][0].removesuffix(".")
        return answer


def _question(query: dns.message.Message) -> tuple[str, str]:
    question = query.question[0]
    return question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)


def _whole(name: str) -> str:
    return f"{name.removesuffix('.')}."  # the root's has nothing but the dot


def _cut_off(query: dns.message.Message) -> bytes:
    short = dns.message.make_response(query)
    short.flags |= dns.flags.TC
    return short.to_wire()


def _pair(host: str) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on one free port."""
    while True:
        tcp = socket.create_server((host, 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return udp, tcp
