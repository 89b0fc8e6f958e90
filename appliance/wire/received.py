"""Our `Received` field (RFC 5321 §4.4), the one thing that a relay must add to a message.

Everything in it that the peer chose is sanitised here, so that no greeting can end the field or forge another. The
module reads no clock: the date comes in as text, made by `rfc5322_date` once a second. The transaction calls it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from appliance.core.envelope import Client

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999
_NOT_NAME: Final = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_NOT_NAME_UTF8: Final = re.compile(r"[^A-Za-z0-9._:\[\]\u00a1-\ud7ff\U00010000-\U0010fffd-]")
_MAX_NAME_CHARACTERS: Final = 255
_FOLD_AT: Final = 78  # RFC 5322 §2.1.1


def received(
    client: Client,
    *,
    by: str,
    transaction_id: str,
    date: str,
    recipient: str = "",
    smtputf8: bool = False,
    lmtp: bool = False,
    show_address: bool = True,
) -> bytes:
    """The field with its CRLF, folded; lines keep to 78 octets where the names in them allow.

    Args:
        by: our host name.
        date: of RFC 5322 §3.3.
        recipient: the only recipient as RCPT gave it; empty where there are several, who must not learn of each
            other (RFC 5321 §7.6).
        smtputf8: the transaction is one of RFC 6531, so that UTF-8 may stand in the field.
        lmtp: the message came in by LMTP.
        show_address: write the client's address and host name.
    """
    first = f"Received: from {_sanitised(client.helo, smtputf8)}"
    if show_address:
        address = f"[IPv6:{client.ip}]" if ":" in client.ip else f"[{client.ip}]"
        if client.rdns:
            address = f"{_sanitised(client.rdns, False)} {address}"
        first += f"\r\n\t({address})" if len(first) + len(address) > _FOLD_AT - 3 else f" ({address})"
    by_clause = f"by {by} with {protocol(client, smtputf8=smtputf8, lmtp=lmtp)}"
    id_clause = f"id {transaction_id}"
    middle = (
        f"{by_clause}\r\n\t{id_clause}"
        if len(by_clause) + len(id_clause) > _FOLD_AT - 2
        else (f"{by_clause} {id_clause}")
    )
    last = ""
    if recipient and (smtputf8 or recipient.isascii()):
        last = f"\r\n\tfor <{recipient}>"
    if client.tls:
        # RFC 8314 §4.3; clauses of extensions stand behind `for`.
        last += f"\r\n\ttls {client.tls.rpartition('/')[2]}"
    return f"{first}\r\n\t{middle}{last};\r\n\t{date}\r\n".encode()


def protocol(client: Client, *, smtputf8: bool = False, lmtp: bool = False) -> str:
    """The `with` clause: ESMTP, ESMTPS, ESMTPA, ESMTPSA (RFC 3848), UTF8SMTP and its kin (RFC 6531 §4.3), SMTP."""
    if lmtp:
        base = "UTF8LMTP" if smtputf8 else "LMTP"
    elif smtputf8:
        base = "UTF8SMTP"
    elif client.esmtp:
        base = "ESMTP"
    else:
        return "SMTP"  # there are no names for HELO under TLS
    if client.tls:
        base += "S"
    return base + "A" if client.login else base


def rfc5322_date(epoch_s: float) -> str:
    """`epoch_s`, seconds since the epoch, in UTC as RFC 5322 §3.3 writes it, whatever the locale.

    Times that no date can express, as after a jump of the clock, become the nearest that one can.
    """
    moment = datetime.fromtimestamp(min(max(int(epoch_s), 0), _LAST_SECOND), UTC)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} +0000"
    )


@lru_cache(1024)  # peers come back
def _sanitised(name: str, utf8: bool) -> str:
    """`name` with each character replaced by `?` that a host name or address literal does not have."""
    if not name:
        return "unknown"
    return (_NOT_NAME_UTF8 if utf8 else _NOT_NAME).sub("?", name[:_MAX_NAME_CHARACTERS])
