"""How a transaction ends: verdict, delivery or spool, the final reply, the books.

The half of the transaction that begins when the body is complete, with what both halves share. It sees that a 250 is
given only when somebody holds the debt: the next hop with its own 250, or the spool after its flush.
`intake.transaction` is the other half, and the only heir.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from appliance.core import reply
from appliance.core.address import Address
from appliance.core.envelope import Body, Client, Envelope
from appliance.core.errors import GatewayError
from appliance.core.reply import Reply
from appliance.core.verdict import ACCEPTED, Action, Finding, Verdict
from appliance.delivery.cutthrough import Relay
from appliance.delivery.route import Route
from appliance.intake.paths import BodyPath, RamPath, SpoolPath, WirePath
from appliance.intake.report import report, report_refusal
from appliance.intake.site import Site
from appliance.policy.engine import decide
from appliance.policy.explain import ENVELOPE
from appliance.scan.contract import Scan
from appliance.spool.meta import EntryMeta
from appliance.wire.header_section import HeaderSection
from appliance.wire.line_length import LineLength
from appliance.wire.smtp_states import Handler

_ACCEPT: Final = Action.ACCEPT
_BINARY: Final = Body.BINARY
FLOW_HOP: Final = 1
FLOW_SCAN: Final = 2
"""Reasons for which a transaction stops its door from reading."""


class Door(Handler):
    """What a transaction needs of its front door, which is whom the engine asks as well."""

    __slots__ = ()

    @abstractmethod
    def answer(self, answer: Reply) -> None:
        """The reply to the oldest command that was answered by None."""

    @abstractmethod
    def flow(self, reason: int, *, flows: bool) -> None:
        """Stops or restarts reading for one reason; reading goes on when no reason is left."""


class Settlement:
    """What a transaction knows, and its end. `over` is set with the final reply, or by `abort`."""

    __slots__ = (
        "_asked", "_finding", "_handed_over_s", "_headed", "_header", "_lines", "_path", "_received", "_relay",
        "_scan", "_settling", "_spooling", "began_s", "client", "door", "envelope", "id", "key", "over", "path_name",
        "refusal", "route", "site", "size_bytes", "told", "verdict",
    )  # fmt: skip

    def __init__(self, site: Site, client: Client, door: Door, key: bytes) -> None:
        """`key` is what the limits count this client by."""
        self.site = site
        self.client = client
        self.door = door
        self.key = key
        self.began_s = site.clock()
        self.id = site.ids.next(int(self.began_s * 1000))
        self.envelope = Envelope()
        self.route: Route | None = None
        self.refusal: Reply | None = None
        self.verdict: Verdict = ACCEPTED
        self.size_bytes = 0
        self.path_name = ""
        self.over = False
        self.told = False  # a refusal before the body has its row in the tracking data base
        self._asked = 0  # recipients that the next hop has not answered for yet
        self._relay: Relay | None = None
        self._spooling = False
        self._settling = False
        self._path: BodyPath | None = None
        self._handed_over_s = 0.0
        self._headed = False  # `_received` is complete, and with a path that keeps no memory it has been taken
        self._header: HeaderSection | None = None
        self._lines: LineLength | None = None
        self._scan: Scan | None = None
        self._received = b""
        self._finding: Callable[[Reply], None] = door.answer

    # -- the verdict and what follows

    def _scanned(self, findings: tuple[Finding, ...]) -> None:
        """The facts are in: policy decides, and the path carries it out."""
        if self.over:
            return
        self._scan = None
        if findings:
            assert self.route is not None
            self.verdict = decide(self.site.policies[self.route.policy], findings)
            for finding in findings:
                if finding.trouble:
                    self.site.counters.scanner_troubles[finding.scanner] += 1
        action = self.verdict.action
        if action is _ACCEPT:
            self._deliver()
        elif action is Action.HOLD:
            self._hold()
        else:
            self._drop()
            self._finding(self._final(self._refusal_of(action)))

    def _refusal_of(self, action: Action) -> Reply:
        if action is Action.REFUSE:
            return reply.REFUSED
        decided = self.verdict.findings[0] if self.verdict.findings else None
        return reply.SCANNER_DOWN if decided is not None and decided.trouble else reply.DEFERRED

    def _deliver(self) -> None:
        self._settling = True
        self._handed_over_s = self.site.clock()
        path = self._path
        if isinstance(path, RamPath):
            path.deliver(self._received, binary=self.envelope.body is _BINARY, done=self._hop_answered)
        elif isinstance(path, WirePath):
            path.deliver(self._hop_answered)
        else:
            self._commit()

    def _hop_answered(self, finals: list[Reply]) -> None:
        if self.over:
            return
        hop = self.route.hop if self.route is not None else None
        if hop is not None:
            self.site.counters.hop_latency[hop.name].observe(self.site.clock() - self._handed_over_s)
        worst = finals[0] if len(finals) == 1 else max(finals, key=lambda answer: answer.code)
        if worst.code < 300:
            self.site.counters.bytes_out += self.size_bytes
            self._drop()
            self._finding(self._final(reply.OK))
            return
        mildest = min(finals, key=lambda answer: answer.code)
        if mildest.code < 300:
            self._spool_the_rest(finals)
        elif mildest.code < 500 and self._may_spool() and self._move_to_spool():
            self._commit()
        else:
            # Where some are refused for good and others for now, the client must not give up the others.
            self._drop()
            self._finding(self._final(mildest))

    def _spool_the_rest(self, finals: list[Reply]) -> None:
        """LMTP took it for some recipients: the others' share of the debt is ours now; the queue tries or bounces."""
        recipients = self.envelope.recipients
        self.envelope.recipients = [
            recipient for recipient, answer in zip(recipients, finals, strict=True) if answer.code >= 300
        ]
        if self._move_to_spool():
            self._commit()
        else:
            # Without room for the rest nothing is promised: the client sends again, and some get it twice (RFC 1047).
            self._drop()
            self._finding(self._final(reply.SPOOL_TROUBLE))

    def _move_to_spool(self) -> bool:
        """Puts what is kept of the body onto the spool path; False if not all of it is, or the spool has no room."""
        path = self._path
        try:
            if isinstance(path, RamPath):
                self._path = self._spool_path(path)
            elif isinstance(path, WirePath) and path.draft is not None:
                spool_path = SpoolPath(path.draft, b"")
                path.draft = None
                path.drop()
                self._path, self._relay = spool_path, None
            else:
                return False
        except GatewayError as error:
            self._log_trouble(error)
            return False
        self.path_name = "spool"
        return True

    def _hold(self) -> None:
        if isinstance(self._path, SpoolPath) or self._move_to_spool():
            self._commit(hold_reason=self.verdict.rule)
        else:
            # Held mail must be kept, and this body was not: the sender has to come again.
            self._drop()
            self._finding(self._final(reply.DEFERRED))

    def _commit(self, hold_reason: str = "") -> None:
        self._settling = True
        path = self._path
        assert isinstance(path, SpoolPath) and path.draft is not None
        client, header = self.client, self._header
        meta = EntryMeta(
            id=self.id,
            envelope=self.envelope,
            received_at_s=self.began_s,
            dotted=self.envelope.body is not Body.BINARY,
            client={"ip": client.ip, "helo": client.helo, "login": client.login, "tls": client.tls},
            header_bytes=len(self._received) + (len(header.raw) if header is not None else 0),
            held=bool(hold_reason),
            hold_reason=hold_reason,
        )

        def committed(error: GatewayError | None) -> None:
            if error is None:
                self.site.queue.add(entry)
                self._finding(self._final(reply.OK))
            else:
                self._log_trouble(error)
                self._finding(self._final(error.reply))

        try:
            entry = path.draft.commit(meta, committed)
        except GatewayError as error:
            self._log_trouble(error)
            self._drop()
            self._finding(self._final(error.reply))
            return
        path.draft = None

    def _final(self, answer: Reply) -> Reply:
        """Closes the books and names the transaction in the reply."""
        self._settling = False
        if not self.over:
            self.over = True
            report(self, answer)
        self._let_flow()
        if answer is reply.OK:
            return reply.accepted(self.id)
        self.site.counters.refusals[answer.code] += 1
        return answer.tagged(self.id)

    def _refused(self, refusal: Reply, address: Address | None = None, rule: str = ENVELOPE) -> Reply:
        """A refusal before the body: logged with its cause, named in the reply. `rule` is who refuses."""
        site = self.site
        report_refusal(self, refusal, address, rule)
        site.counters.refusals[refusal.code] += 1
        site.events.event(
            "refused",
            {
                "id": self.id,
                "client": self.client.ip,
                "helo": self.client.helo,
                "sender": self.envelope.sender.raw,
                "recipient": address.raw if address is not None else "",
                "reply": refusal.raw.decode("utf-8", "replace").strip(),
            },
        )
        return refusal.tagged(self.id)

    def _log_trouble(self, error: GatewayError) -> None:
        self.site.events.event("trouble", {"id": self.id, "kind": type(error).__name__, "reason": str(error)}, 40)

    def _drop(self) -> None:
        scan, self._scan = self._scan, None
        if scan is not None:
            scan.abort()
        path, self._path = self._path, None
        if path is not None:
            path.drop()
        elif self._relay is not None:
            self._relay.abort()

    def _may_spool(self) -> bool:
        return self.site.bounds.spool_when_down or self.site.bounds.spools

    def _go_to_spool(self) -> None:
        self._spooling = True
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.abort()
            relay.tell_waiting(reply.NEXT_HOP_LOST)  # which now means: taken, for the queue

    def _spool_path(self, path: RamPath) -> SpoolPath:
        spool_path = SpoolPath(self.site.spool.begin(self.size_bytes), self._received)
        for view in path.kept.views:
            spool_path.take(memoryview(view))
        path.drop()
        self._go_to_spool()
        if spool_path.trouble is not None:
            spool_path.drop()
            raise spool_path.trouble
        self.path_name = spool_path.name
        return spool_path

    def _let_flow(self) -> None:
        """Nobody is left who would restart a door that was stopped."""
        self.door.flow(FLOW_HOP, flows=True)
        self.door.flow(FLOW_SCAN, flows=True)

    def abort(self) -> None:
        """The client went away, said RSET, or the door closes: nobody owes anything. Idempotent."""
        if self._settling:
            # The message is on its way to stable storage or has its final dot: somebody takes the debt, whoever asks.
            self._finding = _nobody
        elif not self.over:
            self.over = True
            self._drop()
            if self._relay is not None:
                self._relay.abort()


def _nobody(answer: Reply) -> None:
    """The client has gone; the log has the answer."""
