"""A revision as one file to carry away: the text, the secrets that it refers to, and what is known of it.

A tar archive that `tar` and `sha256sum -c` can read; the same octets for the same revision. The secrets in it are not
encrypted: who holds it holds them. Does no I/O; called by `config.store.commit`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from appliance.config.store import ustar
from appliance.config.store.revision import StoreError
from appliance.config.store.secrets import FOLDER, MAX_SECRETS, is_name

FORMAT = 1
MAX_ARCHIVE_BYTES = 16 << 20
_TEXT, _ABOUT, _SUMS = "mailweir.toml", "about.json", "SHA256SUMS"
_REMEDY = "take one made by `mailweir config export`"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Where an archive comes from. Unknown fields are ignored; a later `format` is refused."""

    format: int = FORMAT
    release: str
    revision: int
    author: str
    at_s: float
    reason: str


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds."""

    about: About
    text: str
    secrets: dict[str, bytes]


def packed(bundle: Bundle) -> bytes:
    """The archive of `bundle`.

    Raises:
        StoreError: longer than an archive may be.
    """
    members = [
        (_TEXT, bundle.text.encode()),
        (_ABOUT, msgspec.json.format(msgspec.json.encode(bundle.about), indent=2) + b"\n"),
        *((f"{FOLDER}/{name}", bundle.secrets[name]) for name in sorted(bundle.secrets)),
    ]
    archive = ustar.written([*members, (_SUMS, _sums(dict(members)))])
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise StoreError(f"the archive would be longer than {MAX_ARCHIVE_BYTES >> 20} MiB; keep large files elsewhere")
    return archive


def unpacked(archive: bytes) -> Bundle:
    """What `archive` holds; every octet of it is as it was written.

    Raises:
        StoreError: too long, not an archive of ours, or damaged.
    """
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise StoreError(f"the archive is longer than {MAX_ARCHIVE_BYTES >> 20} MiB; {_REMEDY}")
    members = _members(archive)
    if members.pop(_SUMS, b"") != _sums(members) or not {_TEXT, _ABOUT} <= members.keys():
        raise StoreError(f"the archive is damaged: files and checksums do not agree; {_REMEDY}")
    try:
        about = msgspec.json.decode(members.pop(_ABOUT), type=About)
        text = members.pop(_TEXT).decode()
    except ValueError as error:
        raise StoreError(f"the archive cannot be read: {error}; {_REMEDY}") from error
    if about.format > FORMAT:
        raise StoreError(f"the archive is of format {about.format}, this release reads {FORMAT}; update first")
    return Bundle(about=about, text=text, secrets={_secret(name): octets for name, octets in members.items()})


def _members(archive: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    try:
        for name, octets in ustar.read(archive):
            name = name.removeprefix("./")
            if name in members or len(members) > MAX_SECRETS + 3:
                raise ValueError(f"{name!r} is there twice, or there are too many")
            members[name] = octets
    except ValueError as error:
        raise StoreError(f"this is no archive of a configuration: {error}; {_REMEDY}") from error
    return members


def _secret(member: str) -> str:
    name = member.removeprefix(f"{FOLDER}/")
    if name == member or not is_name(name):
        raise StoreError(f"the archive holds {member!r}, which is no part of a configuration; {_REMEDY}")
    return name


def _sums(members: Mapping[str, bytes]) -> bytes:
    lines = (f"{hashlib.sha256(octets).hexdigest()}  {name}\n" for name, octets in sorted(members.items()))
    return "".join(lines).encode("ascii", "backslashreplace")
