"""MAIL and RCPT as we say them to a next hop: the client's parameters, less what the hop does not offer.

Called by `delivery`. Parameters that only optimise (SIZE, BODY=8BITMIME) are left out where the hop does not know
them; what a message cannot do without is refused instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.core.envelope import Body, Envelope, Notify, Recipient
from appliance.core.reply import Reply
from appliance.wire.xtext import encode_orcpt, encode_xtext

NO_SMTPUTF8: Final = Reply(550, "5.6.7", "Next hop does not take SMTPUTF8 messages")
NO_BINARYMIME: Final = Reply(554, "5.6.3", "Next hop does not take BINARYMIME messages")
NO_REQUIRETLS: Final = Reply(550, "5.7.30", "Next hop does not support REQUIRETLS")

_NOTIFY_WORDS = tuple((flag, str(flag.name)) for flag in (Notify.NEVER, Notify.SUCCESS, Notify.FAILURE, Notify.DELAY))


def mail_command(envelope: Envelope, extensions: Mapping[str, str]) -> bytes | Reply:
    """The MAIL line, or the permanent refusal when the hop lacks an extension that the message needs."""
    words = [f"MAIL FROM:<{envelope.sender.raw}>"]
    if envelope.declared_size_bytes and "SIZE" in extensions:
        words.append(f"SIZE={envelope.declared_size_bytes}")
    if envelope.body is Body.EIGHT_BIT:
        # Without 8BITMIME the octets are sent all the same: every next hop in use takes them, and converting a body
        # would break its signatures.
        if "8BITMIME" in extensions:
            words.append("BODY=8BITMIME")
    elif envelope.body is Body.BINARY:
        if "BINARYMIME" not in extensions or "CHUNKING" not in extensions:
            return NO_BINARYMIME
        words.append("BODY=BINARYMIME")
    if envelope.smtputf8:
        if "SMTPUTF8" not in extensions:
            return NO_SMTPUTF8
        words.append("SMTPUTF8")
    if envelope.requiretls:
        if "REQUIRETLS" not in extensions:
            return NO_REQUIRETLS  # RFC 8689 §4.2.1
        words.append("REQUIRETLS")
    if (envelope.ret or envelope.envid) and "DSN" in extensions:
        if envelope.ret:
            words.append(f"RET={envelope.ret}")
        if envelope.envid:
            words.append(f"ENVID={encode_xtext(envelope.envid)}")
    return (" ".join(words) + "\r\n").encode()


def rcpt_command(recipient: Recipient, extensions: Mapping[str, str]) -> bytes:
    """The RCPT line, with the DSN parameters where the hop knows them (RFC 3461 §5.2.1)."""
    line = f"RCPT TO:<{recipient.address.raw}>"
    if "DSN" in extensions:
        if recipient.notify:
            line += " NOTIFY=" + ",".join(word for flag, word in _NOTIFY_WORDS if flag in recipient.notify)
        if recipient.orcpt:
            line += f" ORCPT={encode_orcpt(recipient.orcpt)}"
    return (line + "\r\n").encode()
