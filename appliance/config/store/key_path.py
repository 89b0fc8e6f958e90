"""Keys as a person writes them, `next_hop[0].servers[1].url` or `domain[example.com].policy`, and values beside them.

Knows the schema for one purpose: whether a bare word is a text. Does no I/O; called by `config.store.edit`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import Enum
from typing import Any, get_args, get_origin

import msgspec

from appliance.config.lines import KeyPath, dotted
from appliance.config.load import did_you_mean
from appliance.config.schema import Config, Duration, Size
from appliance.config.store.revision import StoreError

APPEND = "+"
_PART = re.compile(r'(?:^|\.)(?:([A-Za-z0-9_-]+)|"((?:[^"\\]|\\.)*)")|\[([^\[\]]*)\]')


def parsed(text: str, document: Mapping[str, Any]) -> KeyPath:
    """The key path that `text` means in `document`.

    `[2]` is the third element, `[NAME]` the one of that name, `[+]` one more at the end.

    Raises:
        StoreError: it is no key, or an element that it names is not there.
    """
    path: KeyPath = ()
    at = 0
    value: Any = document
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or (match[3] is not None and not path):
            raise StoreError(f"{text!r} is no key; write it as in limits.sessions or next_hop[0].tls")
        at = match.end()
        if match[3] is None:
            part: str | int = match[1] if match[1] is not None else str(tomllib.loads(f'k = "{match[2]}"')["k"])
            value = value.get(part) if isinstance(value, Mapping) else None
        else:
            elements = value if isinstance(value, list) else []
            part = _element(match[3], elements, dotted(path))
            value = elements[part] if part < len(elements) else None
        path = (*path, part)
    if not path:
        raise StoreError("the key is empty; write it as in limits.sessions")
    return path


def _element(selector: str, elements: list[Any], where: str) -> int:
    if selector == APPEND:
        return len(elements)
    if selector.isdecimal() and len(selector) < 7:
        if int(selector) < len(elements):
            return int(selector)
        raise StoreError(f"{where} has {len(elements)} elements, counted from 0; [{APPEND}] adds one")
    names = [element.get("name", "") if isinstance(element, Mapping) else element for element in elements]
    if selector in names:
        return names.index(selector)
    known = [str(name) for name in names if name]
    raise StoreError(f"{where} has no element {selector!r}; {did_you_mean(selector, known)}")


def value_of(raw_value: str, path: KeyPath) -> Any:
    """What `raw_value` means as the value of the key at `path`: TOML, or where a text is expected the text itself.

    Raises:
        StoreError: neither.
    """
    try:
        value = tomllib.loads(f"value = {raw_value}")
    except (ValueError, RecursionError):
        value = {}
    # More than one key: a value with a newline in it.
    is_toml = list(value) == ["value"]
    kind = _kind_at(path)
    if isinstance(kind, type) and issubclass(kind, str | Enum):
        return value["value"] if is_toml and isinstance(value["value"], str) else raw_value
    if is_toml:
        return value["value"]
    if kind in (Size, Duration, None):
        return raw_value
    raise StoreError(f"{dotted(path)}: {raw_value[:60]!r} is no value; write a number, true, false, or an array")


def _kind_at(path: KeyPath) -> Any:
    """The type that the schema has at `path`; None where it has nothing."""
    kind: Any = Config
    for part in path:
        if isinstance(part, int):
            kind = get_args(kind)[0] if get_origin(kind) is list else None
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}.get(part)
        else:
            kind = None
    return kind
