"""The server's state table: which command is allowed in which state, and what is answered where it is not.

Also who is asked for the meaning of a command (`Handler`). Nothing here acts; `wire.smtp_server` does, by these tables.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import Final

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.wire.parameters import MailCommand, RcptCommand


class Handler(ABC):
    """Who gives the commands their meaning.

    None as an answer means: later, by `SmtpServer.answer`, and never from within the callback itself. A view is the
    handler's until it returns, or as long as the owner of the receive buffer says. A handler may call `answer` for an
    older command, and `close`; after `close` it sees no view and no command any more, but one last `on_reset`.
    """

    __slots__ = ()

    @abstractmethod
    def on_hello(self, verb: bytes, name: str) -> Reply:
        """EHLO or HELO (`verb`) from who calls itself `name`."""

    @abstractmethod
    def on_mail(self, command: MailCommand) -> Reply | None:
        """A well-formed MAIL."""

    @abstractmethod
    def on_rcpt(self, command: RcptCommand) -> Reply | None:
        """A well-formed RCPT."""

    @abstractmethod
    def on_data(self, form: str) -> Reply | None:
        """`form` is `data`, whose 354 is sent, or `bdat`, where any positive answer is silent (RFC 3030 §2)."""

    @abstractmethod
    def on_body(self, view: memoryview) -> None:
        """The next octets of the body."""

    @abstractmethod
    def on_body_end(self, *, bare_newlines: bool) -> Reply | None:
        """The body is complete."""

    @abstractmethod
    def on_reset(self) -> None:
        """There is no transaction any more, if there was one. Called more often than there are transactions."""

    @abstractmethod
    def on_starttls(self) -> Reply:
        """STARTTLS; a positive answer is followed by the handshake."""

    @abstractmethod
    def on_xclient(self, raw_attributes: bytes) -> Reply:
        """XCLIENT with what stands behind the verb."""


class Nobody(Handler):
    """In place of a handler that is gone; a closed engine asks it nothing but what it may forget."""

    __slots__ = ()

    def on_hello(self, verb: bytes, name: str) -> Reply:
        return reply.SHUTTING_DOWN

    def on_mail(self, command: MailCommand) -> Reply | None:
        return reply.SHUTTING_DOWN

    def on_rcpt(self, command: RcptCommand) -> Reply | None:
        return reply.SHUTTING_DOWN

    def on_data(self, form: str) -> Reply | None:
        return reply.SHUTTING_DOWN

    def on_body(self, view: memoryview) -> None:
        return

    def on_body_end(self, *, bare_newlines: bool) -> Reply | None:
        return reply.SHUTTING_DOWN

    def on_reset(self) -> None:
        return

    def on_starttls(self) -> Reply:
        return reply.SHUTTING_DOWN

    def on_xclient(self, raw_attributes: bytes) -> Reply:
        return reply.SHUTTING_DOWN


class State(enum.IntEnum):
    """An IntEnum, for its members are hashed and compared without Python code."""

    START = 0  # connected, no EHLO or HELO yet
    READY = 1
    MAIL = 2  # MAIL accepted
    RCPT = 3  # at least one RCPT handed to the handler
    BDAT = 4  # between two chunks
    ABORTED = 5  # a chunk was refused: RSET is due (RFC 3030 §2)
    # From here on the engine is deaf.
    UPGRADING = 6  # 220 to STARTTLS is on its way: clear text is discarded
    FAILED = 7  # a callback has raised: the owner can only `close`
    CLOSED = 8


class Asked(enum.IntEnum):
    """What a handler has been asked, as far as the answer makes a difference to the engine."""

    MAIL = 0
    RCPT = 1
    DATA = 2
    CHUNKS = 3  # the first BDAT of a message
    OTHER = 4


_ANY: Final = frozenset({State.START, State.READY, State.MAIL, State.RCPT, State.BDAT, State.ABORTED})

TABLE: dict[bytes, tuple[frozenset[State], Reply]] = {
    b"EHLO": (_ANY, reply.BAD_SEQUENCE),
    b"HELO": (_ANY, reply.BAD_SEQUENCE),
    b"MAIL": (frozenset({State.READY}), reply.NESTED_MAIL),
    b"RCPT": (frozenset({State.MAIL, State.RCPT}), reply.NEED_MAIL),
    b"DATA": (frozenset({State.RCPT}), reply.NEED_RCPT),
    b"BDAT": (frozenset({State.RCPT, State.BDAT}), reply.NEED_RCPT),
    b"RSET": (_ANY, reply.BAD_SEQUENCE),
    b"NOOP": (_ANY, reply.BAD_SEQUENCE),
    b"QUIT": (_ANY, reply.BAD_SEQUENCE),
    b"VRFY": (_ANY, reply.BAD_SEQUENCE),
    b"HELP": (_ANY, reply.BAD_SEQUENCE),
    b"STARTTLS": (frozenset({State.READY}), reply.BAD_SEQUENCE),
    b"XCLIENT": (frozenset({State.START, State.READY}), reply.BAD_SEQUENCE),
}
"""Verb: the states that allow it, and the reply in others that have no reply of their own (`out_of_order`)."""

_REFUSED: Final = frozenset({b"EXPN", b"ETRN", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML", b"XFORWARD", b"AUTH"})
_HTTP: Final = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE"})


def out_of_order(verb: bytes, state: State) -> Reply:
    """Why `verb` of `TABLE` is not allowed in `state`."""
    if state is State.START:
        return reply.NEED_HELLO
    if state is State.ABORTED:
        return reply.BDAT_ABORTED
    if state is State.BDAT:
        return reply.BAD_SEQUENCE  # RFC 3030 §2: no DATA, MAIL or RCPT between chunks
    if state is State.READY and verb in (b"DATA", b"BDAT"):
        return reply.NEED_MAIL
    return TABLE[verb][1]


def unknown(verb: bytes) -> Reply:
    """The reply to a verb that is not in `TABLE`."""
    if verb in _HTTP:
        return reply.HTTP_CLIENT  # a page that posts to port 25: its next lines are not ours to read
    return reply.NOT_IMPLEMENTED if verb in _REFUSED else reply.UNKNOWN_COMMAND
