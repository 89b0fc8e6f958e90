"""One message from MAIL to its final reply: the one way in for every front door.

The transaction checks limits and access, chooses the path, feeds header check and scan, asks policy, and sees that
the 250 is a debt that somebody holds: the next hop, or the spool. A door gives it parsed commands and views of the
body, and gets replies, at once or by `Door.answer`; it never learns where the mail went.

A transaction that fails in the middle of a body goes on swallowing it: the refusal comes behind the end of the data,
where SMTP has a place for it.
"""

from __future__ import annotations

from typing import Final

from appliance.core import reply
from appliance.core.address import Address
from appliance.core.envelope import Body, Notify, Recipient
from appliance.core.errors import GatewayError
from appliance.core.reply import Reply
from appliance.delivery.cutthrough import Relay
from appliance.delivery.route import Route, RouteKind
from appliance.intake import shared_counts
from appliance.intake.paths import BodyPath, Kept, RamPath, SpoolPath, WirePath
from appliance.intake.settlement import FLOW_HOP, FLOW_SCAN, Settlement
from appliance.policy.explain import NEXT_HOP
from appliance.spool.draft import Draft
from appliance.wire.header_section import HeaderSection
from appliance.wire.line_length import LineLength
from appliance.wire.parameters import MailCommand, RcptCommand
from appliance.wire.received import received

_BINARY: Final = Body.BINARY
_UNSET: Final = Notify.UNSET


class Transaction(Settlement):
    """Created at MAIL. After its final reply, or `abort`, it is of no more use (`over`)."""

    __slots__ = ()

    # -- MAIL

    def mail(self, command: MailCommand) -> Reply:
        """Opens the transaction, or says why not; then it is over."""
        refusal = self._mail_refusal(command)
        if refusal is not None:
            return self._refused(refusal)
        envelope = self.envelope
        envelope.sender = command.sender
        envelope.body = command.body
        envelope.declared_size_bytes = command.declared_size_bytes
        envelope.smtputf8 = command.smtputf8
        envelope.requiretls = command.requiretls
        envelope.ret = command.ret
        envelope.envid = command.envid
        self.site.counts.count(shared_counts.MESSAGES, self.key, 1, self.began_s)
        return reply.SENDER_OK

    def _mail_refusal(self, command: MailCommand) -> Reply | None:
        site, client, bounds = self.site, self.client, self.site.bounds
        if command.declared_size_bytes > bounds.message_size:
            return reply.TOO_BIG
        if command.requiretls and not client.tls:
            return reply.NO_REQUIRETLS_WITHOUT_TLS
        if site.counts.rate(shared_counts.MESSAGES, self.key, self.began_s) >= bounds.messages_per_minute:
            return reply.RATE_LIMITED
        if site.buffers.exhausted:
            return reply.NO_MEMORY
        checked = client.login and bounds.sender_must_match
        if checked and (site.users is None or not site.users.may_send(client.login, command.sender)):
            return reply.SENDER_MISMATCH
        return None

    # -- RCPT

    def recipient(self, command: RcptCommand) -> Reply | None:
        """Takes or refuses a recipient. None: the next hop is being asked, `Door.answer` follows."""
        site, bounds = self.site, self.site.bounds
        address = command.recipient if command.recipient.domain else self._postmaster()
        route = site.router.route(address)
        refusal = site.access.refusal(self.client, address, route)
        if refusal is None and len(self.envelope.recipients) + self._asked >= bounds.recipients_per_message:
            refusal = reply.TOO_MANY_RECIPIENTS
        if refusal is None and bounds.recipients_per_minute <= site.counts.rate(
            shared_counts.RECIPIENTS, self.key, self.began_s
        ):
            refusal = reply.RATE_LIMITED
        if refusal is None:
            refusal = self._join_route(route)
        if refusal is not None:
            return self._refused(refusal, address)
        site.counts.count(shared_counts.RECIPIENTS, self.key, 1, self.began_s)
        recipient = Recipient(address, command.notify, command.orcpt)
        if self._spooling:
            self.envelope.recipients.append(recipient)
            return reply.RECIPIENT_OK
        return self._ask_next_hop(route, recipient)

    def _postmaster(self) -> Address:
        """`RCPT TO:<postmaster>` without a domain must be taken (RFC 5321 §4.5.1)."""
        config = self.site.config
        raw = config.postmaster or f"postmaster@{config.domain[0].name if config.domain else config.hostname}"
        local, _, domain = raw.rpartition("@")
        return Address(raw, local, domain.lower())

    def _join_route(self, route: Route) -> Reply | None:
        """Makes `route` the transaction's, or joins it; one transaction has one policy, so that it has one verdict."""
        first = self.route
        if first is None:
            self.route = route
            # Mail for MX hosts waits for nobody. A configured next hop is asked about its recipients even where every
            # body is to be spooled: what it refuses would come back to forged senders.
            self._spooling = route.kind is RouteKind.MX
            return None
        if route.policy != first.policy:
            return reply.ONE_DESTINATION
        if route.key != first.key and not self._spooling:
            # A client of ours cannot be asked to split its message; the queue does it. The world can.
            if not self.site.access.may_relay(self.client):
                return reply.ONE_DESTINATION
            self._go_to_spool()
        return None

    def _ask_next_hop(self, route: Route, recipient: Recipient) -> Reply | None:
        if self._relay is None:
            assert route.hop is not None
            self._relay = Relay(self.site.pools[route.hop.name], self.envelope)
        at_once: list[Reply] = []
        waiting = False

        def answered(answer: Reply) -> None:
            final = self._recipient_answered(recipient, answer)
            if waiting:
                self._asked -= 1
                self.door.answer(final)
            else:
                at_once.append(final)

        self._relay.recipient(recipient, answered)
        if at_once:
            return at_once[0]
        waiting = True
        self._asked += 1
        return None

    def _recipient_answered(self, recipient: Recipient, answer: Reply) -> Reply:
        if answer.code < 300:
            self.envelope.recipients.append(recipient)
            return reply.RECIPIENT_OK
        relay = self._relay
        if self._spooling or (relay is not None and relay.down is not None and self._may_spool()):
            self._go_to_spool()
            self.envelope.recipients.append(recipient)
            return reply.RECIPIENT_OK
        return self._refused(answer, recipient.address, NEXT_HOP)

    # -- the body

    def data(self, form: str) -> Reply | None:
        """The client wants to send: 354, or why not. `form` is `data` or `bdat`."""
        if self.site.buffers.exhausted:
            return self._refused(reply.NO_MEMORY)
        site, envelope = self.site, self.envelope
        bounds = site.bounds
        recipient = envelope.recipients[0].address.raw if len(envelope.recipients) == 1 else ""
        self._received = received(
            self.client,
            by=bounds.hostname,
            transaction_id=self.id,
            date=site.date(self.began_s),
            recipient=recipient,
            smtputf8=envelope.smtputf8,
            show_address=bounds.shows_address,
        )
        try:
            self._path = self._choose_path()
        except GatewayError as error:
            self._log_trouble(error)
            return self._refused(error.reply)
        self.path_name = self._path.name
        self._header = HeaderSection(site.header_limits)
        if bounds.body_line and envelope.body is not _BINARY:
            self._lines = LineLength(bounds.body_line)
        assert self.route is not None
        tee = site.tee if site.policies[self.route.policy].scan else site.unscanned
        self._scan = tee.begin(dotted=envelope.body is not _BINARY, on_drained=self._scan_drained)
        return reply.START_INPUT

    def _choose_path(self) -> BodyPath:
        bounds, declared = self.site.bounds, self.envelope.declared_size_bytes
        if bounds.spools or self._owes_success():
            self._go_to_spool()
        if self._spooling or self._relay is None:
            return SpoolPath(self.site.spool.begin(declared + len(self._received)), b"")
        kept = Kept(self.site.buffers, self.site.counters)
        ram = RamPath(self._relay, kept)
        if (bounds.wires or declared > bounds.hold_window) and self._can_stream():
            return self._wire_path(ram)
        return ram

    def _owes_success(self) -> bool:
        """The next hop cannot report the success that was asked for; the queue can (RFC 3461 §5.2.2)."""
        if self._relay is None or self._relay.reports:
            return False
        return any(
            recipient.notify is not _UNSET and Notify.SUCCESS in recipient.notify
            for recipient in self.envelope.recipients
        )

    def _can_stream(self) -> bool:
        """LMTP may answer differently for each recipient, and BINARYMIME needs its length first: these are held."""
        relay = self._relay
        assert relay is not None
        return not relay.splits and self.envelope.body is not _BINARY

    def _wire_path(self, ram: RamPath) -> WirePath:
        bounds = self.site.bounds
        # Before the path begins: where the next hop is lost already, it lets go of what it holds at once.
        draft = self._keep_from_start(ram) if bounds.keep_bytes else None
        path = WirePath(
            ram.relay,
            ram.kept,
            received=self._received if self._headed else b"",
            withhold_bytes=bounds.withhold,
            on_flow=lambda flows: self.door.flow(FLOW_HOP, flows=flows),
        )
        path.draft = draft
        self.path_name = path.name
        return path

    def _keep_from_start(self, ram: RamPath) -> Draft | None:
        draft: Draft | None = None
        try:
            draft = self.site.spool.begin(self.envelope.declared_size_bytes)
            for octets in (self._received, *ram.kept.views) if self._headed else ():
                draft.write(octets)
            return draft
        except GatewayError as error:
            # The message can still be delivered; only holding and spooling it are no longer possible.
            self._log_trouble(error)
            if draft is not None:
                draft.abandon()
            return None

    def body(self, view: memoryview) -> None:
        """The next octets of the body, dot-stuffed unless BINARYMIME. `view` is the transaction's until `secure`."""
        size = self.size_bytes = self.size_bytes + len(view)
        if self.refusal is not None:
            return
        if size > self.site.bounds.message_size:
            self._refuse_body(reply.TOO_BIG)
            return
        if self._lines is not None and self._lines.feed(view):
            self._refuse_body(reply.OVERLONG_LINE)
            return
        header, path, scan = self._header, self._path, self._scan
        assert header is not None and path is not None and scan is not None
        if not header.ended and header.feed(view) and header.refusal is not None:
            self._refuse_body(header.refusal)
            return
        if not self._headed:
            self._head(header, path)
        if not scan.feed(view):
            self.door.flow(FLOW_SCAN, flows=False)
        path.take(view)
        if isinstance(path, RamPath) and (
            path.kept.size_bytes > self.site.bounds.hold_window or self.site.buffers.exhausted
        ):
            self._outgrow(path)
        elif isinstance(path, SpoolPath) and path.trouble is not None:
            self._log_trouble(path.trouble)
            self._refuse_body(path.trouble.reply)

    def _head(self, header: HeaderSection, path: BodyPath) -> None:
        """Puts our Received in front, once the first octets have shown what they are."""
        self._headed = True
        if header.ended and header.headless and not header.raw:
            # Behind a field, a body without header section would be read as one: the empty line keeps them apart.
            self._received += b"\r\n"
        if not isinstance(path, RamPath):
            path.take(memoryview(self._received))

    def _outgrow(self, path: RamPath) -> None:
        """The body is larger than the hold window: from here on it streams, or goes to the spool."""
        try:
            self._path = self._wire_path(path) if self._can_stream() else self._spool_path(path)
        except GatewayError as error:
            self._log_trouble(error)
            self._refuse_body(error.reply)

    def secure(self) -> bool:
        """To be called before the receive buffer changes: True if it must be handed over by `own`."""
        return self._path is not None and self._path.secure()

    def own(self, buffer: bytearray) -> None:
        """The receive buffer belongs to the transaction now; the door may fill what is free of it."""
        assert self._path is not None
        self._path.own(buffer)

    def keeps(self, buffer: bytearray) -> bool:
        """Whether `buffer`, handed over by `own`, is still ours, so that the door may fill its free end."""
        return self._path is not None and self._path.keeps(buffer)

    def _scan_drained(self) -> None:
        self.door.flow(FLOW_SCAN, flows=True)

    def _refuse_body(self, refusal: Reply) -> None:
        self.refusal = refusal
        self._drop()
        self._let_flow()

    # -- the end

    def body_end(self, *, bare_newlines: bool) -> Reply | None:
        """The body is complete. None: `Door.answer` follows once the verdict and the debt are clear."""
        if self.refusal is None and bare_newlines:
            self._refuse_body(reply.BARE_NEWLINE)
        header = self._header
        if self.refusal is None and header is not None and not header.ended:
            header.finish()
            if header.refusal is not None:
                self._refuse_body(header.refusal)
            elif not self._headed and self._path is not None:
                self._head(header, self._path)
        if self.refusal is not None:
            return self._final(self.refusal)
        at_once: list[Reply] = []
        self._finding = at_once.append
        scan = self._scan
        assert scan is not None
        scan.finish(self._scanned)
        if at_once:
            return at_once[0]
        self._finding = self.door.answer
        return None

    def let_go(self, held_s: float) -> bool:
        """Gives the next hop's connection back for now, while the client dawdles; False where it has none to give.

        A body that streams cannot wait: after its own limit it goes to the spool, where it was kept, or is refused.
        """
        if self._relay is None or self._settling:
            return False
        if not isinstance(self._path, WirePath):
            return self._relay.suspend()
        if held_s > self.site.config.timeouts.hop_streamed:
            if self._move_to_spool():
                self._spooling = True
            else:
                self._refuse_body(reply.TOO_SLOW)
        return False
