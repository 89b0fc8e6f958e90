"""SMTP replies as constants.

Each reply that we give has a code, an enhanced status code (RFC 3463) and a text; `raw` is the finished line. The
module knows no protocol state: the engines and rooms above pick the constant that fits. Replies of other servers are
parsed by `wire.smtp_client` into the same class, so that one can be handed on.
"""

from __future__ import annotations


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
OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
RESET_OK = Reply(250, "2.0.0", "Reset")
BYE = Reply(221, "2.0.0", "Bye")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot verify, send some mail and see")
START_INPUT = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
AUTH_OK = Reply(235, "2.7.0", "Authentication succeeded")
HELP = Reply(214, "2.0.0", "See RFC 5321")

# Protocol errors of the client
UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command unrecognised")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
LINE_TOO_LONG = Reply(500, "5.5.6", "Line too long")
BAD_SYNTAX = Reply(501, "5.5.4", "Syntax error in parameters")
BAD_PARAMETER = Reply(555, "5.5.4", "MAIL/RCPT parameter not recognised")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address syntax")
NON_ASCII_ADDRESS = Reply(553, "5.6.7", "Non-ASCII address needs SMTPUTF8")
BAD_SEQUENCE = Reply(503, "5.5.1", "Bad sequence of commands")
NEED_HELLO = Reply(503, "5.5.1", "Send EHLO first")
NEED_MAIL = Reply(503, "5.5.1", "Need MAIL command")
NEED_RCPT = Reply(503, "5.5.1", "Need RCPT command")
NESTED_MAIL = Reply(503, "5.5.1", "Nested MAIL command")
NO_VALID_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing")
EARLY_TALKER = Reply(554, "5.5.1", "Data before the greeting")
HTTP_CLIENT = Reply(554, "5.5.1", "This is a mail server, not a web server")
BAD_BDAT_SIZE = Reply(501, "5.5.4", "BDAT needs a size in octets")
BDAT_ABORTED = Reply(503, "5.5.1", "BDAT sequence was aborted, send RSET")
NEED_BDAT = Reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")
TLS_REQUIRED = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is active already")
TLS_UNAVAILABLE = Reply(454, "4.7.0", "TLS not available")
AUTH_REQUIRED = Reply(530, "5.7.0", "Authentication required")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication failed")
AUTH_LOCKED = Reply(454, "4.7.0", "Too many failures, try again later")
NO_REQUIRETLS_WITHOUT_TLS = Reply(530, "5.7.4", "REQUIRETLS needs TLS")

# Message refused for its form
BARE_NEWLINE = Reply(550, "5.6.11", "Bare CR or LF in message; lines must end in CRLF")
OVERLONG_LINE = Reply(550, "5.6.0", "Line over 998 octets in message")
BAD_HEADER = Reply(550, "5.6.0", "Header section malformed or over its limits")
MAIL_LOOP = Reply(554, "5.4.6", "Too many hops, mail loop")
TOO_BIG = Reply(552, "5.3.4", "Message size exceeds the limit")

# Policy
RELAY_DENIED = Reply(550, "5.7.1", "Relaying denied")
SENDER_MISMATCH = Reply(553, "5.7.1", "Sender address not owned by the login")
REFUSED = Reply(554, "5.7.1", "Message refused by content policy")
DEFERRED = Reply(451, "4.7.1", "Message deferred by policy, try again later")
SCANNER_DOWN = Reply(451, "4.7.1", "Content scanner unavailable, try again later")
NULL_MX_SENDER = Reply(550, "5.7.27", "Sender domain takes no mail")
NULL_MX_RECIPIENT = Reply(556, "5.1.10", "Recipient domain takes no mail")
TLS_POLICY = Reply(451, "4.7.5", "Next hop does not offer the TLS that policy requires")
ONE_DESTINATION = Reply(452, "4.5.3", "One destination per transaction, send this recipient separately")

XCLIENT_DENIED = Reply(550, "5.7.0", "XCLIENT is not for you")

# Limits and trouble: temporary
TOO_MANY_SESSIONS = Reply(421, "4.7.0", "Too many sessions, try again later")
TOO_MANY_FROM_YOU = Reply(421, "4.7.0", "Too many sessions from your address")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages in this session")
RATE_LIMITED = Reply(450, "4.7.1", "Rate limit reached, slow down")
NO_MEMORY = Reply(452, "4.3.1", "Insufficient memory, try again later")
SPOOL_FULL = Reply(452, "4.3.1", "Insufficient system storage")
SPOOL_TROUBLE = Reply(451, "4.3.0", "Storage error, try again later")
LOCAL_ERROR = Reply(451, "4.3.0", "Local error, try again later")
NEXT_HOP_DOWN = Reply(451, "4.4.1", "Next hop not reachable, try again later")
NEXT_HOP_BUSY = Reply(451, "4.3.2", "Next hop is busy, try again later")
NEXT_HOP_LOST = Reply(451, "4.4.2", "Connection to the next hop lost, try again later")
NEXT_HOP_TIMEOUT = Reply(451, "4.4.2", "Next hop timed out, try again later")
NEXT_HOP_BABBLE = Reply(451, "4.5.0", "Next hop broke the protocol, try again later")
DNS_TROUBLE = Reply(451, "4.4.3", "DNS trouble, try again later")
TIMEOUT = Reply(421, "4.4.2", "Timeout, closing")
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down, try again later")
