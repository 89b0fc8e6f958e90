"""Delivery status notifications: which are owed (RFC 3461), and their octets (RFC 3464, RFC 6522, RFC 6533).

Pure: an original, what became of its recipients, and a clock reading go in; an envelope and the octets of a report
come out, with CRLF line ends and *not* dot-stuffed (`dotted` does that for the spool). Knows no queue and no network.
The original is spliced in as bytes; of what a remote server said, nothing but printable text gets in. Called by
`delivery.runner`.
"""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate  # a date's text; the message itself is never written by that package

from appliance.core.address import NULL_SENDER, Address
from appliance.core.envelope import Body, Envelope, Notify, Recipient
from appliance.core.reply import Reply

MAX_VALUE_CHARACTERS = 2_000
"""Of a reply or parameter in a field: more is cut."""
MAX_RETURNED_HEADER_BYTES = 32 << 10
MAX_LINE_OCTETS = 998  # RFC 5322 §2.1.1, without CRLF

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 3463 §2
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_ANY_NEWLINE = re.compile(rb"\r\n|\r|\n")
_OVERLONG = re.compile(rb"[^\n]{1000}")


class Action(enum.Enum):
    """The Action field (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


_WANTED_BY = {
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
    Action.DELIVERED: Notify.SUCCESS,
    Action.RELAYED: Notify.SUCCESS,
}
_STATUS_CLASSES = {Action.FAILED: "54", Action.DELAYED: "4", Action.DELIVERED: "2", Action.RELAYED: "2"}
_SUBJECTS = {
    Action.FAILED: "Your mail could not be delivered",
    Action.DELAYED: "Your mail is delayed, delivery is still being tried",
    Action.DELIVERED: "Your mail was delivered",
    Action.RELAYED: "Your mail was passed on",
}
_HUMAN = {
    Action.FAILED: "Your message could not be delivered to the recipients below. It will not be tried again.",
    Action.DELAYED: "Your message could not be delivered yet to the recipients below. You need not send it again.",
    Action.DELIVERED: "Your message was delivered to the recipients below.",
    Action.RELAYED: "Your message was passed on for the recipients below to servers that send no such reports.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient. All outcomes of a report have the same action."""

    recipient: Recipient
    action: Action
    reply: Reply
    """The reply that decided, of the remote server or our own."""
    last_attempt_at_s: float
    remote_mta: str = ""
    """Host name of the server that gave `reply`; empty when the reply is our own."""
    status: str = ""
    """Instead of the reply's enhanced code, such as `4.4.7` when the life time is over."""
    retry_until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Original:
    """The message that is reported about. `content` is its start without dot-stuffing, all of it if `complete`."""

    transaction_id: str
    envelope: Envelope
    received_at_s: float
    content: bytes
    complete: bool


def wanted(recipient: Recipient, action: Action) -> bool:
    """Whether the sender asked to be told of `action` (RFC 3461 §4.1); without NOTIFY, of failure and delay."""
    notify = recipient.notify or Notify.FAILURE | Notify.DELAY
    return bool(notify & _WANTED_BY[action]) and not notify & Notify.NEVER


def addressee(envelope: Envelope, recipient: Recipient, action: Action, double_bounce: str) -> Address | None:
    """Who is told that `recipient` met with `action`; None: nobody.

    A report about a report is never sent to the null sender (RFC 5321 §6.1): its failure goes to `double_bounce`, an
    address or `drop` (config.queue.double_bounce), and nowhere when it was on its way to that address already.
    """
    if not envelope.sender.is_null:
        return envelope.sender if wanted(recipient, action) else None
    if action is not Action.FAILED or double_bounce in ("", "drop"):
        return None
    if recipient.address.raw.lower() == double_bounce.lower():
        return None
    local, _, domain = double_bounce.rpartition("@")
    return Address(double_bounce, local, domain.lower())


def build(
    original: Original,
    outcomes: Sequence[Outcome],
    *,
    to: Address,
    hostname: str,
    report_id: str,
    now_s: float,
    full_limit_bytes: int,
) -> tuple[Envelope, bytes]:
    """The report about `outcomes` to `to`: its envelope (null sender, NOTIFY=NEVER) and its octets."""
    action = outcomes[0].action
    returned, is_full = _returned(original, action, full_limit_bytes)
    utf8 = not to.is_ascii or (original.envelope.smtputf8 and not _is_ascii(original, outcomes, returned))
    kinds = _GLOBAL_TYPES if utf8 else _PLAIN_TYPES
    parts = [
        (f"text/plain; charset={'utf-8' if utf8 else 'us-ascii'}", _human(original, outcomes, hostname, utf8)),
        (kinds[0], _status_fields(original, outcomes, hostname, utf8)),
        (kinds[1] if is_full else kinds[2], returned),
    ]
    boundary = _boundary(report_id, returned)
    head = [
        ("From", f"Mail Delivery System <MAILER-DAEMON@{hostname}>"),
        ("To", f"<{to.raw}>"),
        ("Subject", _SUBJECTS[action]),
        ("Date", date(now_s)),
        ("Message-ID", f"<{report_id}@{hostname}>"),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 §5
        ("MIME-Version", "1.0"),
    ]
    chunks = [field(name, value, utf8) for name, value in head]
    # The boundary must not be folded or cut, so these lines are written as they are.
    kind = "multipart/report; report-type=delivery-status"
    chunks.append(f'Content-Type: {kind};\r\n boundary="{boundary}"\r\n'.encode())
    if not all(part.isascii() for _, part in parts):
        chunks.append(b"Content-Transfer-Encoding: 8bit\r\n")
    for content_type, part in parts:
        encoding = "7bit" if part.isascii() else "8bit"
        chunks.append(f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n".encode())
        chunks.append(f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + part)
    octets = b"".join((*chunks, f"\r\n--{boundary}--\r\n".encode()))
    body = Body.SEVEN_BIT if octets.isascii() else Body.EIGHT_BIT
    recipient = Recipient(to, Notify.NEVER)
    return Envelope(NULL_SENDER, [recipient], body, declared_size_bytes=len(octets), smtputf8=utf8), octets


_PLAIN_TYPES = ("message/delivery-status", "message/rfc822", "text/rfc822-headers")
_GLOBAL_TYPES = ("message/global-delivery-status", "message/global", "message/global-headers")  # RFC 6533


def dotted(octets: bytes) -> bytes:
    """`octets` dot-stuffed for DATA, without the final dot line (RFC 5321 §4.5.2)."""
    stuffed = octets.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def undotted(octets: bytes) -> bytes:
    """The reverse of `dotted`, for the start or the whole of a stored message."""
    plain = octets.replace(b"\r\n.", b"\r\n")
    return plain[1:] if plain.startswith(b".") else plain


def date(epoch_s: float) -> str:
    """`epoch_s` as RFC 5322 §3.3 wants it, in UTC."""
    return formatdate(epoch_s).replace("-0000", "+0000")


def field(name: str, value: str, utf8: bool = False) -> bytes:
    """One header field with CRLF, folded; nothing in `value` can end it or begin another."""
    text = _printable(value, utf8)
    if len(name) + len(text) <= (76 if " " in text else 900):
        return f"{name}: {text}\r\n".encode()
    lines, line = [], f"{name}:"
    for word in text.split():
        # A line of more than 998 octets would be refused on the way; only hostile text has words like that.
        pieces = [word] if len(word.encode()) <= 900 else [word[i : i + 220] for i in range(0, len(word), 220)]
        for piece in pieces:
            if len(line) + 1 + len(piece) > 76 and line != f"{name}:":
                lines.append(line)
                line = ""
            line += f" {piece}"
    return "\r\n".join((*lines, line)).encode() + b"\r\n"


def _printable(value: str, utf8: bool) -> str:
    text = _UNPRINTABLE.sub(" ", value[:MAX_VALUE_CHARACTERS]).strip()
    if not utf8 and not text.isascii():
        return text.encode("ascii", "replace").decode()
    return text.encode("utf-8", "replace").decode()  # lone surrogates, from replies that were no UTF-8


def _returned(original: Original, action: Action, full_limit_bytes: int) -> tuple[bytes, bool]:
    """The third part, and whether it is the whole message: RFC 3461 §4.3; only a failure returns the body."""
    content = original.content
    if (
        action is Action.FAILED
        and original.envelope.ret != "HDRS"
        and original.complete
        and len(content) <= full_limit_bytes
        and original.envelope.body is not Body.BINARY  # no part of a report can carry binary
        and b"\0" not in content
        and not _BARE_NEWLINE.search(content)
        and not _OVERLONG.search(content)
    ):
        return content, True
    end = content.find(b"\r\n\r\n")
    head = content[: end + 2] if end >= 0 else content
    if head.startswith(b"\r\n"):  # no header section at all
        return b"", False
    lines = _ANY_NEWLINE.split(head[:MAX_RETURNED_HEADER_BYTES].replace(b"\0", b"?"))
    if len(head) > MAX_RETURNED_HEADER_BYTES or (end < 0 and not original.complete):
        lines.pop()  # it may be cut in the middle
    # An empty line would end the header section; after CR or LF alone became CRLF there may be one.
    return b"".join(line[:MAX_LINE_OCTETS] + b"\r\n" for line in lines if line), False


def _is_ascii(original: Original, outcomes: Sequence[Outcome], returned: bytes) -> bool:
    addresses = [original.envelope.sender, *(outcome.recipient.address for outcome in outcomes)]
    return returned.isascii() and all(address.is_ascii for address in addresses)


def _boundary(report_id: str, returned: bytes) -> str:
    boundary, count = f"report-{report_id}", 0
    while f"--{boundary}".encode() in returned:
        count += 1
        boundary = f"report-{report_id}-{count}"
    return boundary


def _human(original: Original, outcomes: Sequence[Outcome], hostname: str, utf8: bool) -> bytes:
    action = outcomes[0].action
    blocks = [[f"This is the mail gateway {hostname}."], textwrap.wrap(_HUMAN[action], 76)]
    for outcome in outcomes:
        said = f"{outcome.remote_mta} said:" if outcome.remote_mta else "reason:"
        reason = _printable(f"{said} {line_of(outcome.reply)}", utf8)
        address = _printable(f"<{_address_value(outcome.recipient.address.raw, utf8)}>", utf8)
        blocks.append([address, *textwrap.wrap(reason, 76, initial_indent="    ", subsequent_indent="    ")])
    if action is Action.DELAYED and outcomes[0].retry_until_s:
        blocks.append([f"Delivery will be tried until {date(outcomes[0].retry_until_s)}."])
    blocks.append([f"Id of your message at this gateway: {original.transaction_id}"])
    return "".join(line + "\r\n" for block in blocks for line in (*block, "")).encode()


def line_of(reply: Reply) -> str:
    """`reply` in one line: `550 5.1.1 No such user`."""
    return " ".join(part for part in (str(reply.code), reply.enhanced, reply.text) if part)


def _status_fields(original: Original, outcomes: Sequence[Outcome], hostname: str, utf8: bool) -> bytes:
    """The fields per message and, after an empty line, per recipient (RFC 3464 §2.2, §2.3)."""
    fields = [field("Reporting-MTA", f"dns; {hostname}")]
    if original.envelope.envid:
        fields.append(field("Original-Envelope-Id", original.envelope.envid))
    fields.append(field("X-Mailweir-Id", original.transaction_id))
    fields.append(field("Arrival-Date", date(original.received_at_s)))
    for outcome in outcomes:
        recipient = outcome.recipient
        fields.append(b"\r\n")
        if recipient.orcpt:
            # As it was before xtext (RFC 3461 §4.2); what plain fields cannot say, RFC 6533 §3 escapes.
            fields.append(field("Original-Recipient", _address_value(recipient.orcpt, utf8), utf8))
        final = recipient.address.raw
        kind = "rfc822" if final.isascii() else "utf-8"
        fields.append(field("Final-Recipient", f"{kind};{_address_value(final, utf8)}", utf8))
        fields.append(field("Action", outcome.action.value))
        fields.append(field("Status", _status(outcome)))
        if outcome.remote_mta:
            fields.append(field("Remote-MTA", f"dns; {outcome.remote_mta}"))
        diagnostic_type = "smtp" if outcome.remote_mta else "x-mailweir"
        fields.append(field("Diagnostic-Code", f"{diagnostic_type}; {line_of(outcome.reply)}", utf8))
        fields.append(field("Last-Attempt-Date", date(outcome.last_attempt_at_s)))
        if outcome.action is Action.DELAYED and outcome.retry_until_s:
            fields.append(field("Will-Retry-Until", date(outcome.retry_until_s)))
    return b"".join(fields)


def _address_value(address: str, utf8: bool) -> str:
    if utf8 or address.isascii():
        return address
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in address)


def _status(outcome: Outcome) -> str:
    for status in (outcome.status, outcome.reply.enhanced):
        if _STATUS.fullmatch(status) and status[0] in _STATUS_CLASSES[outcome.action]:
            return status
    return f"{_STATUS_CLASSES[outcome.action][0]}.0.0"
