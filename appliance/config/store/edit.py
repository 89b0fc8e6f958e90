"""Changes single values of a configuration's text; comments, order and layout of all the rest stay.

tomlkit does the writing, and is not trusted with it: the result is read by `tomllib` and must be the old values with
this one change. Does no I/O; called by the store for secrets and migrations, and by the command line for `set`.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, InlineTable, Item, Key, SingleKey, Table
from tomlkit.items import Array as TomlArray

from appliance.config.lines import KeyPath, dotted
from appliance.config.migrations import STEPS, VERSION, Step, migrated, version_of
from appliance.config.store import key_path
from appliance.config.store.revision import StoreError


def document_of(text: str) -> dict[str, Any]:
    """The plain values in `text`.

    Raises:
        StoreError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"the configuration is not TOML: {error}") from error


def assigned(text: str, key: str, raw_value: str) -> str:
    """`text` with the value of `key`, both as a person writes them: see `key_path`.

    Raises:
        StoreError: no such element, no value, or a change that cannot be made by key.
    """
    path = key_path.parsed(key, document_of(text))
    return set_value(text, path, key_path.value_of(raw_value, path))


def removed(text: str, key: str) -> str:
    """`text` without `key`, which is a value, a table, or an element.

    Raises:
        StoreError: it is not there.
    """
    path = key_path.parsed(key, document_of(text))
    return _changed(text, path, lambda container, part: container.__delitem__(part), "is not there")


def set_value(text: str, path: KeyPath, value: Any) -> str:
    """`text` with `value` (plain, as from `tomllib`) at `path`; tables on the way are made.

    Raises:
        StoreError: something else than a table is in the way.
    """
    is_table = isinstance(value, dict)
    return _changed(text, path, lambda container, part: _put(container, part, value), "cannot be set", is_table)


def migrated_text(text: str, steps: Mapping[int, Step] = STEPS, version: int = VERSION) -> str:
    """`text` in the format `version`, comments kept where their key is; itself when it is that already.

    Raises:
        ConfigError: of a later version, or not to be migrated.
    """
    found = version_of(document_of(text))
    expected = migrated(document_of(text), steps, version)
    if found == version:
        return text
    if not found:
        # The step does the same, and would put the key below comments that belong to the next table.
        text = set_value(text, ("version",), 1)
    return _verified(tomlkit.dumps(migrated(tomlkit.parse(text), steps, version)), expected, "version")


class _Tables(list[Any]):
    """An empty array that shall become `[[...]]`."""


def _changed(
    text: str, path: KeyPath, change: Callable[[Any, str | int], None], complaint: str, is_table: bool = False
) -> str:
    expected = document_of(text)
    try:
        change(_container(expected, path, is_table), path[-1])
        document = tomlkit.parse(text)
        change(_container(document, path, is_table), path[-1])
        return _verified(tomlkit.dumps(document), expected, dotted(path))
    except (KeyError, IndexError, TypeError, AttributeError, TOMLKitError) as error:
        raise StoreError(f"{dotted(path)} {complaint}; look at it with `mailweir config show`") from error


def _verified(text: str, expected: Mapping[str, Any], what: str) -> str:
    with suppress(ValueError, RecursionError):
        if tomllib.loads(text) == expected:
            return text
    raise StoreError(f"{what} cannot be changed by itself without touching other keys; edit the file as a whole")


def _container(document: Any, path: KeyPath, is_table: bool) -> Any:
    """The table or array around the last part of `path`, in a plain document or in tomlkit's; made if it is not there.

    `is_table`: what will be put at `path` is a table.
    """
    container = document
    for place, part in enumerate(path[:-1]):
        if isinstance(part, str) and part not in container:
            of_tables = is_table if place + 2 == len(path) else isinstance(path[place + 2], str)
            empty: Any = {} if isinstance(path[place + 1], str) else _Tables() if of_tables else []
            _put(container, part, empty)
        elif isinstance(part, int) and part == len(container):
            _put(container, part, {})
        container = container[part]
    if not isinstance(container, MutableMapping | list):
        raise TypeError("no table")
    return container


def _put(container: Any, part: str | int, value: Any) -> None:
    if isinstance(part, str) != isinstance(container, MutableMapping):
        raise TypeError("a key wants a table, a position wants an array")
    written_by_tomlkit: bool = isinstance(container, Item | Container)
    if not written_by_tomlkit:
        _put_plain(container, part, value)
    elif isinstance(part, int):
        _put_element(container, part, value)
    elif part in container and not isinstance(value, dict):
        container[part] = value
    else:
        _put_new(container, part, value)


def _put_plain(container: Any, part: str | int, value: Any) -> None:
    value = [] if isinstance(value, _Tables) else copy.deepcopy(value)
    if isinstance(part, int) and part == len(container):
        container.append(value)
    else:
        container[part] = value


def _put_element(array: Any, position: int, value: Any) -> None:
    if isinstance(array, AoT):
        table = tomlkit.item(value) if isinstance(value, dict) else value
        if not isinstance(table, Table):
            raise TypeError("an element of [[...]] is a table")
        if not array or not array.as_string().endswith("\n\n"):
            table.trivia.indent = "\n"
        elif value:
            table.add(tomlkit.nl())
        if position == len(array):
            array.append(table)
        else:
            array[position] = table
    elif position == len(array):
        array.append(value)
    elif isinstance(array, TomlArray):
        array[position] = value
    else:
        raise TypeError("no array")


def _put_new(container: Any, key: str, value: Any) -> None:
    if isinstance(container, InlineTable):
        container[key] = _inline(value)
    elif isinstance(value, dict):
        table = tomlkit.item(value) if value else tomlkit.table()
        container[key] = table
    elif isinstance(value, _Tables):
        container[key] = tomlkit.aot()
    else:
        _put_after_the_last(container, key, tomlkit.item(value))


def _inline(value: Any) -> Any:
    if isinstance(value, _Tables):
        return []
    if not isinstance(value, dict):
        return value
    table = tomlkit.inline_table()
    table.update(value)
    return table


def _put_after_the_last(table: Any, key: str, item: Item) -> None:
    """Below the last plain value of the table; tomlkit's own place is below the comments that follow it."""
    inner = table.value if isinstance(table, Table) else table
    last: Key | None = None
    if isinstance(inner, Container):
        for known, existing in inner.body:
            if known is not None and not isinstance(existing, Table | AoT) and not known.is_dotted():
                last = known
    if last is None:
        table[key] = item
    else:
        inner._insert_after(last, SingleKey(key), item)
