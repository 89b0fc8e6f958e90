"""From a TOML file to `schema.Config`, or to one error that says where, what and how to put it right.

Judges form only: syntax, names, types, units, ranges. Whether the whole makes sense is `config.check`'s question, and
no file but the configuration itself is opened. Called by the command line and by the roles at start and at reload.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin

import msgspec

from appliance.config import ranges, units
from appliance.config.lines import KeyPath, Places, dotted, locate
from appliance.config.migrations import for_this_release
from appliance.config.schema import Config, Duration, Size
from appliance.core.errors import ConfigError

MAX_FILE_BYTES = 4 << 20
_MAX_FAULTS_TOLD = 20
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TOML_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_WHAT: dict[object, tuple[str, str]] = {
    str: ("a text", "write it in double quotes"),
    int: ("a whole number", "write it without quotes, unit or fraction"),
    bool: ("true or false", "write true or false without quotes"),
}


class Fault(NamedTuple):
    """One thing wrong with the form of the file."""

    line: int
    path: KeyPath
    text: str
    remedy: str


class BadConfig(ConfigError):
    """The file's form is wrong; `faults` holds each defect, `str()` all of them, one a line."""

    def __init__(self, name: str, faults: list[Fault]) -> None:
        self.name = name
        self.faults = faults
        told = [
            f"{name}:{fault.line}: {dotted(fault.path)}{': ' if fault.path else ''}{fault.text}; {fault.remedy}"
            for fault in faults[:_MAX_FAULTS_TOLD]
        ]
        if len(faults) > len(told):
            told.append(f"{name}: and {len(faults) - len(told)} more")
        super().__init__("\n".join(told))


def load(path: str | os.PathLike[str]) -> Config:
    """The configuration in the file at `path`, with absolute paths in it.

    Raises:
        ConfigError: unreadable, or anything about its form; the text is for a person.
    """
    return parse(read(path), os.fspath(path))


def read(path: str | os.PathLike[str]) -> str:
    """The text of the file.

    Raises:
        ConfigError: it cannot be read, is too long, or is not UTF-8.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            raw_text = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{name}:1: cannot be read: {reason}; name another file with --config") from error
    if len(raw_text) > MAX_FILE_BYTES:
        raise ConfigError(f"{name}:1: longer than {MAX_FILE_BYTES >> 20} MiB; this is no configuration file")
    try:
        return raw_text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw_text.count(b"\n", 0, error.start) + 1
        raise BadConfig(name, [Fault(line, (), "not UTF-8", "save the file as UTF-8")]) from error


def parse(text: str, name: str) -> Config:
    """The configuration in `text`; `name` is its file, for the error's text and to resolve relative paths against.

    Raises:
        BadConfig: anything about its form.
    """
    try:
        document = for_this_release(tomllib.loads(text))
        places = locate(text)
    except RecursionError:
        raise BadConfig(name, [Fault(1, (), "nested too deeply", "flatten the arrays and tables")]) from None
    except ValueError as error:  # TOMLDecodeError, and what int() says to thousands of digits
        raise BadConfig(name, [_syntax_fault(text, str(error))]) from error
    faults = [_placed(places, *found) for found in _table_faults(document, Config, ())]
    if faults:
        raise BadConfig(name, sorted(faults, key=lambda fault: fault.line))
    try:
        config = msgspec.convert(document, Config, dec_hook=_convert)
    except msgspec.ValidationError as error:  # nothing known: `_table_faults` speaks first
        raise BadConfig(name, [Fault(1, (), str(error), "see the documentation of the schema")]) from error
    return _with_absolute_paths(config, os.path.dirname(os.path.abspath(name)))


def did_you_mean(word: str, known: list[str]) -> str:
    """A remedy that names the nearest of `known`, or all of them when none is near."""
    near = difflib.get_close_matches(word[:80], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"use one of: {', '.join(known)}" if known else "there is none to choose from"


def _syntax_fault(text: str, complaint: str) -> Fault:
    match = _TOML_LINE.search(complaint)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1 if match else 1
    what = complaint[: match.start()] if match else complaint[:200]
    return Fault(line, (), f"not TOML: {what}", "correct the syntax (https://toml.io/en/v1.0.0)")


_Found = tuple[KeyPath, str, str]


def _placed(places: Places, path: KeyPath, text: str, remedy: str) -> Fault:
    return Fault(places.line(path), path, text, remedy)


@cache
def _fields(table: type) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(table)}


def _table_faults(value: object, table: type, path: KeyPath) -> Iterator[_Found]:
    if not isinstance(value, dict):
        is_array = bool(path) and isinstance(path[-1], int)
        remedy = f"write [[{path[0]}]] above its keys" if is_array else f"write [{dotted(path)}] above its keys"
        yield path, f"must be a table, not {_shown(value)}", remedy
        return
    known = _fields(table)
    for key in value:
        if key not in known:
            place = path if _CONTROL.search(key) else (*path, key)
            yield place, f"unknown key {_shown(key)}", did_you_mean(key, [*known])
    for key, field in known.items():
        if key in value:
            yield from _value_faults(value[key], field.type, (*path, key), (table, key))
        elif field.required:
            yield path, f"the key {key!r} is missing", f"add {key} = ..."


def _value_faults(value: object, kind: Any, path: KeyPath, owner: tuple[type, str]) -> Iterator[_Found]:
    if get_origin(kind) is list:
        if not isinstance(value, list):
            yield path, f"must be an array, not {_shown(value)}", "put the values between [ and ]"
            return
        if not value and owner in ranges.NEVER_EMPTY:
            yield path, "must not be empty", "give at least one"
        for index, element in enumerate(value):
            yield from _value_faults(element, get_args(kind)[0], (*path, index), owner)
    elif issubclass(kind, msgspec.Struct):
        yield from _table_faults(value, kind, path)
    elif issubclass(kind, Enum):
        choices = [member.value for member in kind]
        if value not in choices or not isinstance(value, str):
            yield path, f"{_shown(value)} is not one of {', '.join(choices)}", did_you_mean(str(value), choices)
    elif kind is Size or kind is Duration:
        remedy = units.SIZE_REMEDY if kind is Size else units.DURATION_REMEDY
        try:
            number = _convert(kind, value)
        except ValueError as error:
            yield path, f"{_shown(value)}: {error}", remedy
        else:
            yield from _range_faults(number, kind, path, owner)
    elif type(value) is not kind:
        what, remedy = _WHAT[kind]
        yield path, f"must be {what}, not {_shown(value)}", remedy
    elif isinstance(value, int) and kind is int:
        yield from _range_faults(value, kind, path, owner)
    elif isinstance(value, str) and _CONTROL.search(value):
        yield path, f"control character in {_shown(value)}", "remove it"


def _range_faults(number: float, kind: object, path: KeyPath, owner: tuple[type, str]) -> Iterator[_Found]:
    least, greatest = ranges.bounds(*owner, kind)
    if not least <= number <= greatest:
        low, high = ranges.in_words(least, kind), ranges.in_words(greatest, kind)
        remedy = f"write {low}" if least == greatest else f"write a value from {low} to {high}"
        yield path, f"{_shown(number)} is out of range", remedy


def _convert(kind: type, value: object) -> Any:
    """`dec_hook` of msgspec for the two types that it does not know."""
    return units.size(value) if kind is Size else units.duration(value)


def _shown(value: object) -> str:
    """`value` for a message: short, and without anything that a terminal obeys."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{int(value)}" if abs(value) < 10**30 else "a huge number"
    shown = ascii(value) if isinstance(value, str) and _CONTROL.search(value) else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _with_absolute_paths(config: Config, base: str) -> Config:
    """Relative paths of the file mean its own directory, so that a tree can be moved as a whole."""

    def absolute(path: str) -> str:
        return os.path.normpath(os.path.join(base, path)) if path else ""

    replace = msgspec.structs.replace
    tls, scan = config.tls, config.scan
    clamd = scan.clamd
    if clamd.address.startswith("unix:"):
        clamd = replace(clamd, address=f"unix:{absolute(clamd.address[5:])}")
    log_to = config.log.to
    return replace(
        config,
        state=absolute(config.state),
        tracking=replace(config.tracking, folder=absolute(config.tracking.folder)),
        tls=replace(
            tls, certificate=absolute(tls.certificate), key=absolute(tls.key), client_ca=absolute(tls.client_ca)
        ),
        next_hop=[
            replace(hop, tls_ca=absolute(hop.tls_ca), password_file=absolute(hop.password_file))
            for hop in config.next_hop
        ],
        submission=replace(config.submission, users_file=absolute(config.submission.users_file)),
        scan=replace(
            scan,
            patterns=replace(scan.patterns, files=[absolute(path) for path in scan.patterns.files]),
            clamd=clamd,
        ),
        log=replace(config.log, to=log_to if log_to in ("auto", "journal", "stdout") else absolute(log_to)),
    )
