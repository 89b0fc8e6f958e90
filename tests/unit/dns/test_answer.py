"""A message from the network is read as an answer, or refused; it never does anything else."""

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.dns.answer import NEGATIVE_TTL_MAX_S, POSITIVE_TTL_MAX_S, Answer, NoAnswer, Record, read_answer

_SOA = "example.test 7200 IN SOA ns.example.test. root.example.test. 1 3600 600 86400 30"


def _message(kind: str, *answers: str, authority: tuple[str, ...] = (), rcode: str = "NOERROR") -> dns.message.Message:
    message = dns.message.make_response(dns.message.make_query("example.test", kind))
    message.answer = [_rrset(text) for text in answers]
    message.authority = [_rrset(text) for text in authority]
    message.set_rcode(dns.rcode.from_text(rcode))
    return dns.message.from_wire(message.to_wire())


def _rrset(text: str) -> dns.rrset.RRset:
    name, ttl_s, klass, kind, rest = text.split(maxsplit=4)
    return dns.rrset.from_text(f"{name}.", int(ttl_s), klass, kind, rest)


def test_mx_records_are_read_in_lower_case_with_their_preference() -> None:
    message = _message("MX", "example.test 300 IN MX 10 MX1.Example.TEST.")
    assert read_answer(message) == Answer(True, (Record(10, "mx1.example.test"),), 300)


def test_the_root_as_exchange_stays_a_dot() -> None:
    assert read_answer(_message("MX", "example.test 300 IN MX 0 .")).records == (Record(0, "."),)


def test_aliases_are_followed_and_the_shortest_time_to_live_counts() -> None:
    message = _message("A", "example.test 20 IN CNAME www.test.", "www.test 300 IN A 192.0.2.1")
    assert read_answer(message) == Answer(True, (Record(0, "192.0.2.1"),), 20)


def test_a_circle_of_aliases_is_no_answer() -> None:
    message = _message("A", "example.test 20 IN CNAME b.test.", "b.test 20 IN CNAME example.test.")
    with pytest.raises(NoAnswer):
        read_answer(message)


def test_a_missing_name_and_a_missing_type_differ_and_live_as_long_as_the_soa_says() -> None:
    assert read_answer(_message("MX", authority=(_SOA,), rcode="NXDOMAIN")) == Answer(False, (), 30)
    assert read_answer(_message("MX", authority=(_SOA,))) == Answer(True, (), 30)


def test_times_to_live_are_capped() -> None:
    long_soa = "example.test 999999 IN SOA ns.example.test. root.example.test. 1 3600 600 86400 999999"
    assert read_answer(_message("A", authority=(long_soa,))).ttl_s == NEGATIVE_TTL_MAX_S
    assert read_answer(_message("A", "example.test 999999 IN A 192.0.2.1")).ttl_s == POSITIVE_TTL_MAX_S


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_an_error_code_is_no_answer(rcode: str) -> None:
    with pytest.raises(NoAnswer, match=rcode):
        read_answer(_message("A", rcode=rcode))


def test_a_referral_is_not_taken_for_a_missing_type_unless_its_server_is_the_authority() -> None:
    message = _message("MX", authority=("example.test 300 IN NS ns.example.test.",))
    with pytest.raises(NoAnswer, match="referral"):
        read_answer(message)
    message.flags |= dns.flags.AA
    assert read_answer(message).exists


def test_records_for_a_name_that_does_not_exist_are_no_answer() -> None:
    with pytest.raises(NoAnswer):
        read_answer(_message("A", "example.test 300 IN A 192.0.2.1", rcode="NXDOMAIN"))


_WIRE = _message("MX", "example.test 20 IN CNAME b.test.", "b.test 9 IN MX 5 mx.b.test.", authority=(_SOA,)).to_wire()


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, len(_WIRE) - 1), st.integers(0, 255), max_size=6), st.integers(0, len(_WIRE)))
def test_a_damaged_message_is_read_or_refused_with_the_errors_that_upstream_expects(
    damage: dict[int, int], length: int
) -> None:
    raw = bytearray(_WIRE)
    for place, octet in damage.items():
        raw[place] = octet
    try:
        answer = read_answer(dns.message.from_wire(bytes(raw[: length or None])))
    except (NoAnswer, dns.exception.DNSException, ValueError):
        return
    assert 0 <= answer.ttl_s <= POSITIVE_TTL_MAX_S
    assert all(isinstance(record.value, str) and 0 <= record.preference <= 65_535 for record in answer.records)
