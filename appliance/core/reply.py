"""SMTP replies as constants.

Each reply that we give has a code, an enhanced status code (RFC 3463) and a text; `raw` is the finished line. The
module knows no protocol state: the engines and rooms above pick the constant that fits. Replies of other servers are
parsed by `wire.smtp_client` into the same class, so that one can be handed on.
"""

from __future__ import annotations

from typing import Final


class Reply:
    """One SMTP reply, immutable by convention; `raw` holds all its lines with CRLF (RFC 5321 §4.2)."""

    __slots__ = ("code", "enhanced", "lines", "raw")

    def __init__(self, code: int, enhanced: str, *lines: str) -> None:
        self.code = code
        self.enhanced = enhanced
        self.lines = lines or ("",)
        prefix = f"{enhanced} " if enhanced else ""
        if len(lines) == 1:
            self.raw = f"{code} {prefix}{lines[0]}\r\n".encode("utf-8", "replace")
            return
        last = len(self.lines) - 1
        self.raw = "".join(
            f"{code}{' ' if i == last else '-'}{prefix}{line}\r\n" for i, line in enumerate(self.lines)
        ).encode("utf-8", "replace")

    @property
    def text(self) -> str:
        """The lines joined by a blank, without code and enhanced code."""
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        """2xx or 3xx."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """4xx: the client should come back (RFC 5321 §4.2.1)."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx: the client should give up (RFC 5321 §4.2.1)."""
        return self.code >= 500

    def tagged(self, transaction_id: str) -> Reply:
        """The same reply with the transaction's id behind the last line, so that a user can quote it."""
        return Reply(self.code, self.enhanced, *self.lines[:-1], f"{self.lines[-1]} [{transaction_id}]")

    def __repr__(self) -> str:
        return f"Reply({self.raw!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)


def accepted(transaction_id: str) -> Reply:
    """The 250 to a message: it is ours from here on, or the next hop's."""
    return Reply(250, "2.0.0", f"Ok [{transaction_id}]")


# Positive
OK: Final = Reply(250, "2.0.0", "Ok")
SENDER_OK: Final = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient ok")
RESET_OK: Final = Reply(250, "2.0.0", "Reset")
BYE: Final = Reply(221, "2.0.0", "Bye")
START_TLS: Final = Reply(220, "2.0.0", "Ready to start TLS")
CANNOT_VERIFY: Final = Reply(252, "2.5.0", "Cannot verify, send some mail and see")
START_INPUT: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
AUTH_OK: Final = Reply(235, "2.7.0", "Authentication succeeded")
HELP: Final = Reply(214, "2.0.0", "See RFC 5321")

# Protocol errors of the client
UNKNOWN_COMMAND: Final = Reply(500, "5.5.2", "Command unrecognised")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
LINE_TOO_LONG: Final = Reply(500, "5.5.6", "Line too long")
BAD_SYNTAX: Final = Reply(501, "5.5.4", "Syntax error in parameters")
BAD_PARAMETER: Final = Reply(555, "5.5.4", "MAIL/RCPT parameter not recognised")
BAD_SENDER: Final = Reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT: Final = Reply(501, "5.1.3", "Bad recipient address syntax")
NON_ASCII_ADDRESS: Final = Reply(553, "5.6.7", "Non-ASCII address needs SMTPUTF8")
BAD_SEQUENCE: Final = Reply(503, "5.5.1", "Bad sequence of commands")
NEED_HELLO: Final = Reply(503, "5.5.1", "Send EHLO first")
NEED_MAIL: Final = Reply(503, "5.5.1", "Need MAIL command")
NEED_RCPT: Final = Reply(503, "5.5.1", "Need RCPT command")
NESTED_MAIL: Final = Reply(503, "5.5.1", "Nested MAIL command")
NO_VALID_RECIPIENTS: Final = Reply(554, "5.5.1", "No valid recipients")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_IDLE: Final = Reply(421, "4.7.0", "Too many commands without a message, closing")
EARLY_TALKER: Final = Reply(554, "5.5.1", "Data before the greeting")
HTTP_CLIENT: Final = Reply(554, "5.5.1", "This is a mail server, not a web server")
BAD_BDAT_SIZE: Final = Reply(501, "5.5.4", "BDAT needs a size in octets")
BDAT_ABORTED: Final = Reply(503, "5.5.1", "BDAT sequence was aborted, send RSET")
NEED_BDAT: Final = Reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")
TLS_REQUIRED: Final = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
TLS_ALREADY: Final = Reply(503, "5.5.1", "TLS is active already")
TLS_UNAVAILABLE: Final = Reply(454, "4.7.0", "TLS not available")
AUTH_REQUIRED: Final = Reply(530, "5.7.0", "Authentication required")
AUTH_FAILED: Final = Reply(535, "5.7.8", "Authentication failed")
AUTH_LOCKED: Final = Reply(454, "4.7.0", "Too many failures, try again later")
NO_REQUIRETLS_WITHOUT_TLS: Final = Reply(530, "5.7.4", "REQUIRETLS needs TLS")

# Message refused for its form
BARE_NEWLINE: Final = Reply(550, "5.6.11", "Bare CR or LF in message; lines must end in CRLF")
OVERLONG_LINE: Final = Reply(550, "5.6.0", "Line over 998 octets in message")
BAD_HEADER: Final = Reply(550, "5.6.0", "Header section malformed or over its limits")
MAIL_LOOP: Final = Reply(554, "5.4.6", "Too many hops, mail loop")
TOO_BIG: Final = Reply(552, "5.3.4", "Message size exceeds the limit")

# Policy
RELAY_DENIED: Final = Reply(550, "5.7.1", "Relaying denied")
SENDER_MISMATCH: Final = Reply(553, "5.7.1", "Sender address not owned by the login")
REFUSED: Final = Reply(554, "5.7.1", "Message refused by content policy")
DEFERRED: Final = Reply(451, "4.7.1", "Message deferred by policy, try again later")
SCANNER_DOWN: Final = Reply(451, "4.7.1", "Content scanner unavailable, try again later")
NULL_MX_SENDER: Final = Reply(550, "5.7.27", "Sender domain takes no mail")
NULL_MX_RECIPIENT: Final = Reply(556, "5.1.10", "Recipient domain takes no mail")
TLS_POLICY: Final = Reply(451, "4.7.5", "Next hop does not offer the TLS that policy requires")
ONE_DESTINATION: Final = Reply(452, "4.5.3", "One destination per transaction, send this recipient separately")

XCLIENT_DENIED: Final = Reply(550, "5.7.0", "XCLIENT is not for you")

# Limits and trouble: temporary
TOO_MANY_SESSIONS: Final = Reply(421, "4.7.0", "Too many sessions, try again later")
TOO_MANY_FROM_YOU: Final = Reply(421, "4.7.0", "Too many sessions from your address")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients")
TOO_MANY_MESSAGES: Final = Reply(421, "4.7.0", "Too many messages in this session")
RATE_LIMITED: Final = Reply(450, "4.7.1", "Rate limit reached, slow down")
NO_MEMORY: Final = Reply(452, "4.3.1", "Insufficient memory, try again later")
SPOOL_FULL: Final = Reply(452, "4.3.1", "Insufficient system storage")
SPOOL_TROUBLE: Final = Reply(451, "4.3.0", "Storage error, try again later")
LOCAL_ERROR: Final = Reply(451, "4.3.0", "Local error, try again later")
NEXT_HOP_DOWN: Final = Reply(451, "4.4.1", "Next hop not reachable, try again later")
NEXT_HOP_BUSY: Final = Reply(451, "4.3.2", "Next hop is busy, try again later")
NEXT_HOP_LOST: Final = Reply(451, "4.4.2", "Connection to the next hop lost, try again later")
NEXT_HOP_TIMEOUT: Final = Reply(451, "4.4.2", "Next hop timed out, try again later")
NEXT_HOP_BABBLE: Final = Reply(451, "4.5.0", "Next hop broke the protocol, try again later")
TOO_SLOW: Final = Reply(451, "4.4.2", "Message came too slowly, try again later")
DNS_TROUBLE: Final = Reply(451, "4.4.3", "DNS trouble, try again later")
TIMEOUT: Final = Reply(421, "4.4.2", "Timeout, closing")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "Service shutting down, try again later")
