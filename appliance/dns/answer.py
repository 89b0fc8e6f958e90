"""What a DNS message says, as plain values; the message may be hostile.

Follows aliases within the message (a recursive server sends the whole chain), and refuses what is no answer at all.
Knows no sockets and no cache. Called by `upstream` for the judgement and by the resolver for the records.
"""

from __future__ import annotations

from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

POSITIVE_TTL_MAX_S = 86_400
NEGATIVE_TTL_MAX_S = 3_600  # RFC 2308 §5 finds one to three hours sensible


class Record(NamedTuple):
    """One record: an address, or a host name in lower case without final dot (the root stays `.`)."""

    preference: int
    """Of an MX record (RFC 5321 §5.1); 0 for every other type."""
    value: str


class Answer(NamedTuple):
    """A server's word on one question. Without records: the name has none of that type, or does not exist."""

    exists: bool
    """False is NXDOMAIN."""
    records: tuple[Record, ...]
    ttl_s: int


class NoAnswer(Exception):
    """The message answers nothing; another server may do better. The text is the private reason."""


def read_answer(message: dns.message.Message) -> Answer:
    """The answer in `message`, which is known to belong to our question.

    Raises:
        NoAnswer: an error code, a referral, or nonsense.
    """
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise NoAnswer(dns.rcode.to_text(rcode))
    if not isinstance(message, dns.message.QueryMessage):
        raise NoAnswer("not a reply to a query")
    try:
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:
        raise NoAnswer(f"malformed answer: {error}") from error
    if chain.answer is None:
        if rcode == dns.rcode.NOERROR and _is_referral(message):
            # Taking it for "no MX" would send the mail to the domain's own address.
            raise NoAnswer("referral instead of an answer")
        exists = rcode == dns.rcode.NOERROR
        return Answer(exists, (), max(0, min(chain.minimum_ttl, NEGATIVE_TTL_MAX_S)))
    records = tuple(dict.fromkeys(_record(rdata) for rdata in chain.answer))
    return Answer(True, records, max(0, min(chain.minimum_ttl, POSITIVE_TTL_MAX_S)))


def _is_referral(message: dns.message.QueryMessage) -> bool:
    kinds = {rrset.rdtype for rrset in message.authority}
    authoritative = bool(message.flags & dns.flags.AA)
    return not authoritative and dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds


def _record(rdata: dns.rdata.Rdata) -> Record:
    if isinstance(rdata, A | AAAA):
        return Record(0, rdata.address)
    if isinstance(rdata, MX):
        return Record(rdata.preference, _host(rdata.exchange))
    if isinstance(rdata, PTR):
        return Record(0, _host(rdata.target))
    raise NoAnswer("record of a type that was not asked for")


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
