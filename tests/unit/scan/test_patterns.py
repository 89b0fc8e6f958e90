from __future__ import annotations

import sys
from pathlib import Path

import hyperscan
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import ConfigError
from appliance.core.verdict import FailPolicy
from appliance.scan.known_strings import EICAR, GTUBE
from appliance.scan.pattern_file import Pattern, load_patterns
from appliance.scan.patterns import pattern_scanner
from appliance.scan.patterns_re2 import LOOK_BEHIND_OCTETS
from tests.support.scan_feeding import cut, findings_of

DATA = Path(__file__).parents[2] / "data"
ENGINES = ("hyperscan", "re2")
PATTERNS = [
    Pattern("literal", b"buy now (cheap)", literal=True, tags=("spam",)),
    Pattern("caseless", b"Account Locked", literal=True, caseless=True),
    Pattern("regex", rb"https?://[a-z]{3,12}\.example/x"),
    Pattern("line", rb"^X-Bulk: [0-9]+", multiline=True),
    Pattern("across", rb"one\r\n\.?two"),
    Pattern("word", rb"\bwire\b"),
    Pattern("dotall", rb"start.{0,1000}stop", dotall=True),
    Pattern("octets", b"\xc3\xa4\xff\\x00end", tags=("raw",)),
]
NEEDLES = [
    b"buy now (cheap)", b"ACCOUNT locked", b"http://abc.example/x", b"\r\nX-Bulk: 7\r\n", b"one\r\n..two", b" wire ",
    b"start" + b"\r\n-" * 300 + b"stop", b"\xc3\xa4\xff\0end", GTUBE, EICAR, b"Xwire", b"buy now cheap",
]  # fmt: skip


def scanner_of(engine, patterns=None):
    return pattern_scanner(PATTERNS if patterns is None else patterns, engine=engine, fail=FailPolicy.TEMPFAIL)


SCANNERS = {engine: scanner_of(engine) for engine in ENGINES}


def rules(found):
    return [finding.rule for finding in found]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pattern_is_reported_with_its_id_tags_and_place(engine):
    (found,) = findings_of(SCANNERS[engine], b"Please buy now (cheap) things")
    assert (found.scanner, found.rule, found.tags, found.offset) == ("patterns", "literal", ("spam",), 22)
    assert not found.trouble


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pattern_reports_once_a_message(engine):
    assert rules(findings_of(SCANNERS[engine], b"account locked " * 5000, b"Account Locked")) == ["caseless"]


@pytest.mark.parametrize("engine", ENGINES)
def test_clean_mail_gives_no_findings(engine):
    assert findings_of(SCANNERS[engine], b"Subject: hi\r\n\r\nbuy now cheap; wired\r\n", b"", b"X-Bulk\r\n") == ()


@pytest.mark.parametrize("engine", ENGINES)
def test_gtube_and_eicar_are_found_without_any_pattern(engine):
    found = findings_of(scanner_of(engine, []), b"a\r\n" + GTUBE + b"\r\n", EICAR[:30], EICAR[30:])
    assert rules(found) == ["GTUBE", "EICAR"]
    assert "virus" in found[1].tags
    assert found[0].offset == 3 + len(GTUBE)
    assert found[1].offset == 5 + len(GTUBE) + len(EICAR)


@pytest.mark.parametrize("needle", [GTUBE, EICAR])
def test_a_test_string_is_found_octet_by_octet_and_only_whole(needle):
    scanner = scanner_of("hyperscan", [])
    assert len(findings_of(scanner, *cut(b"ab" + needle + b"c", range(200)))) == 1
    assert findings_of(scanner, *cut(b"ab" + needle[:-1] + b"~", range(200))) == ()
    assert findings_of(scanner, needle[:-1], b"~" + needle[1:]) == ()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scan_knows_nothing_of_the_one_before(engine):
    assert findings_of(SCANNERS[engine], b"one\r\n") == ()
    assert findings_of(SCANNERS[engine], b"two") == ()
    assert findings_of(SCANNERS[engine], b"X-Bulk: 1") != ()


@pytest.mark.parametrize("engine", ENGINES)
def test_two_messages_may_be_scanned_at_one_time(engine):
    answers = []
    first, second = (SCANNERS[engine].begin(dotted=True, on_drained=lambda: None) for _ in range(2))
    first.feed(memoryview(b"account "))
    second.feed(memoryview(b"buy now "))
    first.feed(memoryview(b"locked"))
    second.feed(memoryview(b"(cheap)"))
    first.finish(answers.append)
    second.finish(answers.append)
    assert [rules(found) for found in answers] == [["caseless"], ["literal"]]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_aborted_scan_harms_nobody(engine):
    scan = SCANNERS[engine].begin(dotted=False, on_drained=lambda: None)
    scan.feed(memoryview(b"buy now (cheap)"))
    scan.abort()
    assert findings_of(SCANNERS[engine], b"ok") == ()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(NEEDLES), st.binary(max_size=40), st.just(b"\r\n"), st.just(b"wi"))),
    st.lists(st.integers(0, 6000)),
    st.sampled_from(ENGINES),
)
def test_a_message_in_pieces_gives_what_the_whole_gives(parts, places, engine):
    message = b"".join(parts)
    whole = findings_of(SCANNERS["hyperscan"], message)
    pieces = findings_of(SCANNERS[engine], *cut(message, places))
    if engine == "hyperscan":
        assert pieces == whole
    else:
        assert sorted(rules(pieces)) == sorted(rules(whole))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(NEEDLES[:-2]),
    st.integers(0, 70_000),
    st.lists(st.integers(0, 72_000), max_size=12),
    st.sampled_from(ENGINES),
)
def test_a_needle_in_a_long_message_is_found_wherever_it_is_cut(needle, place, places, engine):
    hay = b"x. \r\n" * 14_000
    message = hay[:place] + needle + hay[place:]
    assert rules(findings_of(SCANNERS[engine], *cut(message, [*places, place + 3]))) == rules(
        findings_of(SCANNERS["hyperscan"], message)
    )


def test_the_stand_in_finds_a_match_as_long_as_its_look_behind_allows():
    scanner = scanner_of("re2", [Pattern("long", rb"b[^e]+e")])
    needle = b"b" + b"." * (LOOK_BEHIND_OCTETS - 4) + b"e"
    for before in range(32768 - len(needle) - 1, 32768 + 2, 97):
        assert rules(findings_of(scanner, b"-" * before, needle, b"-" * 40_000)) == ["long"]


def test_an_anchor_is_not_fooled_by_the_edge_of_a_window():
    scanner = scanner_of("re2", [Pattern("line", rb"^=y+$", multiline=True), Pattern("word", rb"\bz\b")])
    assert findings_of(scanner, b"=y=y" * 20_000, b"zz" * 40_000) == ()
    assert rules(findings_of(scanner, b"=y=y" * 20_000, b"\n=yy\n z")) == ["line", "word"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("expression", [rb"(", rb"a*", rb"(?=x)y", rb"(a)\1"])
def test_an_expression_that_does_not_compile_is_named_with_its_line(engine, expression):
    patterns = [Pattern("good", b"abc", place="list:1"), Pattern("bad", expression, place="list:2")]
    with pytest.raises(ConfigError) as caught:
        scanner_of(engine, patterns)
    assert str(caught.value).startswith("list:2: ")
    assert str(caught.value).endswith("; correct the expression, or remove it")


def test_an_unknown_engine_is_a_configuration_error():
    with pytest.raises(ConfigError, match="use auto, hyperscan or re2"):
        scanner_of("pcre")


def test_without_hyperscan_re2_stands_in(monkeypatch):
    monkeypatch.setattr("appliance.scan.patterns.hyperscan", None)
    assert rules(findings_of(scanner_of("auto"), b"Account locked")) == ["caseless"]
    with pytest.raises(ConfigError, match="not installed"):
        scanner_of("hyperscan")


def test_an_engine_that_fails_is_a_finding_with_the_fail_policy():
    class Broken:
        def scan(self, view):
            raise hyperscan.error("error code -2")

        def close(self):
            pass

    scan = scanner_of("hyperscan").begin(dotted=True, on_drained=lambda: None)
    scan._stream.close()
    scan._stream = Broken()
    assert scan.feed(memoryview(b"abc"))
    answers = []
    scan.finish(answers.append)
    ((found,),) = answers
    assert found.trouble
    assert (found.rule, found.fail) == ("engine-failed", FailPolicy.TEMPFAIL)


def test_a_stream_is_freed_with_its_scan():
    scan = SCANNERS["hyperscan"].begin(dotted=True, on_drained=lambda: None)
    stream = scan._stream
    scan.finish(lambda found: None)
    alone = object()
    assert sys.getrefcount(stream) == sys.getrefcount(alone)


def test_five_thousand_patterns_compile_and_each_is_found():
    patterns = [Pattern(f"p{n}", b"phrase number %d of the list" % n, literal=True) for n in range(5000)]
    scanner = scanner_of("hyperscan", patterns)
    message = b"\r\n".join(pattern.expression for pattern in patterns)
    assert len(findings_of(scanner, *cut(message, range(0, len(message), 1000)))) == 5000


def test_both_engines_take_the_lists_and_agree():
    patterns = load_patterns([str(DATA / "patterns-1000.txt"), str(DATA / "patterns-urls.txt")])
    message = b"\r\n".join(pattern.expression for pattern in patterns if pattern.literal)
    found = [set(rules(findings_of(scanner_of(engine, patterns), message))) for engine in ENGINES]
    assert found[0] == found[1] >= {pattern.id for pattern in patterns if pattern.literal}
