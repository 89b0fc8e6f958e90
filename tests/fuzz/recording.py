"""A handler that writes down what the server engine asks, and an owner of the engine that feeds it in pieces.

Addresses say what is answered: the local part `no` is refused, `late` is accepted later, `lateno` refused later,
`soon` is asked to come back. A body that contains `REFUSE` is refused, one with `LATE` is answered later. The owner
behaves as the engine asks of it: it does not feed an engine that is `waiting`, and it overwrites what it has fed.
"""

from __future__ import annotations

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.wire.smtp_server import SmtpServer, State

GREETING = Reply(220, "", "mx.test")


class Recorder:
    """The handler. `log` has everything in order, bodies as one entry at their end."""

    def __init__(self):
        self.log = []
        self.owed = []  # the answers that are late, in order
        self.body = b""
        self.engine = None

    def _later(self, answer):
        self.owed.append(answer)

    def on_hello(self, verb, name):
        self.log.append((verb, name))
        return reply.OK

    def on_mail(self, command):
        self.log.append(("MAIL", command.sender.raw, command.body.value, command.smtputf8))
        return self._answer(command.sender.local, reply.SENDER_OK)

    def on_rcpt(self, command):
        self.log.append(("RCPT", command.recipient.raw))
        return self._answer(command.recipient.local, reply.RECIPIENT_OK)

    def _answer(self, local, good):
        if local.startswith("late"):
            return self._later(reply.RELAY_DENIED if local == "lateno" else good)
        return {"no": reply.RELAY_DENIED, "soon": reply.RATE_LIMITED}.get(local, good)

    def on_data(self, stream):
        self.log.append(("DATA", stream))
        return reply.START_INPUT

    def on_body(self, view):
        assert self.engine is None or self.engine.state is not State.CLOSED
        self.body += view

    def on_body_end(self, *, bare_newlines):
        body, self.body = self.body, b""
        self.log.append(("BODY", body, bare_newlines))
        answer = reply.BARE_NEWLINE if bare_newlines else reply.REFUSED if b"REFUSE" in body else reply.OK
        return self._later(answer) if b"LATE" in body else answer

    def on_reset(self):
        self.body = b""
        self.log.append(("RESET",))

    def on_starttls(self):
        self.log.append(("STARTTLS",))
        return reply.START_TLS

    def on_xclient(self, raw_attributes):
        return reply.XCLIENT_DENIED

    def said(self, kind):
        """The entries of one kind."""
        return [entry for entry in self.log if entry[0] == kind]

    @property
    def messages(self):
        """The bodies that came to their end, each with whether it had bare newlines."""
        return [entry[1:] for entry in self.said("BODY")]


class Owner:
    """The engine with a recorder, greeted."""

    def __init__(self, *, command_limit=200, errors_limit=1000, size_limit=100_000, handler=None, **options):
        self.handler = handler if handler is not None else Recorder()
        self.engine = SmtpServer(
            self.handler, command_limit=command_limit, errors_limit=errors_limit, size_limit=size_limit, **options
        )
        self.handler.engine = self.engine
        self.engine.greet(GREETING)
        assert self.engine.take_output() == GREETING.raw
        self.output = b""

    def feed(self, octets):
        """Feeds `octets` at once, out of the middle of a buffer that is overwritten behind it."""
        buffer = bytearray(b"\r\n.\r\nQUIT" + octets + b"\r\n.\r\nQUIT\r\n")
        try:
            self.engine.receive(buffer, 9, 9 + len(octets))
        finally:
            buffer[:] = b"#" * len(buffer)
            self.output += self.engine.take_output()

    def answer(self):
        """Gives the oldest answer that is owed."""
        self.engine.answer(self.handler.owed.pop(0))
        self.engine.resume()
        self.output += self.engine.take_output()

    def converse(self, pieces, answers=()):
        """Feeds all `pieces`; before each as many late answers come as `answers` says, and all that are needed."""
        answers = iter(answers)
        for piece in pieces:
            for _ in range(next(answers, 0)):
                if self.handler.owed:
                    self.answer()
            while self.engine.waiting:
                self.answer()
            self.feed(piece)
        self.settle()
        return self

    def settle(self):
        """Gives all answers that are owed."""
        while self.handler.owed:
            self.answer()

    @property
    def codes(self):
        """The codes of all replies since the greeting, in order."""
        return [int(line[:3]) for line in self.output.splitlines() if line[3:4] == b" "]


def opened(dialogue=b"", **options):
    """An owner whose client has said EHLO and `dialogue`; what came out up to then is dropped."""
    owner = Owner(**options)
    owner.feed(b"EHLO client.test\r\n" + dialogue)
    owner.output = b""
    owner.handler.log.clear()
    return owner
