"""Pattern files: one pattern a line, read into values that either engine can compile.

    id <TAB> flags <TAB> tags <TAB> expression

`id` names the finding and is unique over all files. `flags` is `-` or letters: `l` the expression is literal text, `i`
letter case does not matter, `m` `^` and `$` also match at line ends, `s` the dot also matches LF. `tags` is `-` or
names joined by commas. Everything behind the third tab is the expression, blanks included: the syntax is what
Hyperscan and RE2 share, no back-references, no look-around, no repetition over 1,000. The file is UTF-8, but
expressions match octets: a character outside ASCII is several of them, so none belongs into `[...]`, and `i` leaves
its case alone. Empty lines and lines that begin with `#` are comments.

What is cheap: as long as every pattern is a phrase with a blank in it, Hyperscan leaps from blank to blank and base64
attachments cost next to nothing; one pattern without a blank, such as a bare URL, makes them cost about five times
as much, and further ones little more.

Knows neither engine. Called by `scan.build`, and by whoever checks a configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from appliance.core.errors import ConfigError

RESERVED_IDS = frozenset({"GTUBE", "EICAR"})
"""Ids of the strings that are always looked for (`scan.known_strings`)."""
MAX_EXPRESSION_OCTETS = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_FLAGS = re.compile(r"-|[lims]{1,4}")


class Pattern(NamedTuple):
    """One line of a pattern file. `place` is `file:line`, for errors."""

    id: str
    expression: bytes
    literal: bool = False
    caseless: bool = False
    multiline: bool = False
    dotall: bool = False
    tags: tuple[str, ...] = ()
    place: str = ""

    @property
    def regex(self) -> bytes:
        """The expression as a regular expression without flags; literal text is escaped."""
        if not self.literal:
            return self.expression
        return b"".join(_ESCAPED[octet] for octet in self.expression)


_ESCAPED = [bytes([octet]) if chr(octet).isalnum() and octet < 128 else b"\\x%02x" % octet for octet in range(256)]


def load_patterns(paths: Iterable[str]) -> list[Pattern]:
    """The patterns of all files, in order.

    Raises:
        ConfigError: a file cannot be read, a line is malformed or an id is taken; names file, line and remedy.
    """
    patterns: list[Pattern] = []
    places: dict[str, str] = {}
    for path in paths:
        try:
            raw_file = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; correct scan.patterns.files or the file's mode") from error
        for pattern in parse_patterns(raw_file, path):
            if pattern.id in places:
                raise ConfigError(
                    f"{pattern.place}: id {pattern.id!r} is taken by {places[pattern.id]}; choose another"
                )
            places[pattern.id] = pattern.place
            patterns.append(pattern)
    return patterns


def parse_patterns(raw_file: bytes, name: str) -> list[Pattern]:
    """The patterns in the octets of one file; `name` stands for the file in errors.

    Raises:
        ConfigError: as `load_patterns`, but two lines with one id are not looked for.
    """
    # Only LF ends a line: splitlines() would also break at VT, FF and the like inside an expression.
    return [
        _pattern(raw_line, f"{name}:{number}")
        for number, raw_line in enumerate((line.removesuffix(b"\r") for line in raw_file.split(b"\n")), 1)
        if raw_line.strip() and not raw_line.startswith(b"#")
    ]


def _pattern(raw_line: bytes, place: str) -> Pattern:
    try:
        fields = raw_line.decode("utf-8").split("\t", 3)
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: not UTF-8; save the file as UTF-8, or write the octets as \\xHH") from None
    if len(fields) != 4:
        raise ConfigError(f"{place}: {len(fields)} fields of 4; write id, flags, tags, expression, one tab between")
    pattern_id, flags, tags, expression = fields
    if not _NAME.fullmatch(pattern_id):
        raise ConfigError(f"{place}: bad id {pattern_id!r}; use up to 64 letters, digits and . _ : -")
    if pattern_id in RESERVED_IDS:
        raise ConfigError(f"{place}: id {pattern_id!r} is built in; choose another")
    if not _FLAGS.fullmatch(flags):
        raise ConfigError(f"{place}: bad flags {flags!r}; use - or letters of l i m s")
    tag_names = () if tags == "-" else tuple(tags.split(","))
    for tag in tag_names:
        if not _NAME.fullmatch(tag):
            raise ConfigError(f"{place}: bad tag {tag!r}; use - or names joined by commas, without blanks")
    raw_expression = expression.encode("utf-8")
    if not raw_expression or len(raw_expression) > MAX_EXPRESSION_OCTETS:
        raise ConfigError(f"{place}: expression of {len(raw_expression)} octets; write 1 to {MAX_EXPRESSION_OCTETS}")
    if b"\0" in raw_expression:
        raise ConfigError(f"{place}: NUL in the expression; write it as \\x00")
    return Pattern(
        pattern_id,
        raw_expression,
        "l" in flags,
        "i" in flags,
        "m" in flags,
        "s" in flags,
        tag_names,
        place,
    )
