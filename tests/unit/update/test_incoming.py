"""An update on its way in: bounded, in order, complete or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.update import incoming
from appliance.update.incoming import MAX_BUNDLE_BYTES, Incoming, NotTaken, check_url


def test_pieces_in_order_make_the_file(tmp_path: Path) -> None:
    taken = Incoming.begin(tmp_path / "update" / "in", 6)
    taken.append(0, b"abcd")
    assert taken.percent == 66
    taken.append(4, b"ef")
    assert taken.complete().read_bytes() == b"abcdef" and taken.path.stat().st_mode & 0o777 == 0o600


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    taken = Incoming.begin(tmp_path / "in", 6)
    taken.append(0, b"abcd")
    with pytest.raises(NotTaken, match="2 of 6 octets are missing"):
        taken.complete()


@pytest.mark.parametrize(("offset", "octets", "words"), [(1, b"x", "next octet is number 0"), (0, b"1234567", "more")])
def test_a_piece_out_of_order_or_too_many_is_refused(tmp_path: Path, offset: int, octets: bytes, words: str) -> None:
    taken = Incoming.begin(tmp_path / "in", 6)
    with pytest.raises(NotTaken, match=words):
        taken.append(offset, octets)
    assert taken.path.stat().st_size == 0


@pytest.mark.parametrize("size_bytes", [0, -1, MAX_BUNDLE_BYTES + 1])
def test_an_impossible_size_is_refused_before_anything_is_made(tmp_path: Path, size_bytes: int) -> None:
    with pytest.raises(NotTaken, match="at most 512 MiB"):
        Incoming.begin(tmp_path / "in", size_bytes)
    assert not list(tmp_path.iterdir())


def test_the_queue_keeps_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(f_bavail=100, f_frsize=1 << 20)
    monkeypatch.setattr(incoming.os, "statvfs", lambda path: room)
    Incoming.begin(tmp_path / "in", 36 << 20)
    with pytest.raises(NotTaken, match="100 MiB free, and 101 are needed"):
        Incoming.begin(tmp_path / "in", 37 << 20)


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"stays")
    os.symlink(tmp_path / "secret", tmp_path / "in")
    Incoming.begin(tmp_path / "in", 6).append(0, b"abcdef")
    assert (tmp_path / "secret").read_bytes() == b"stays"


@pytest.mark.parametrize(
    "url",
    ["http://a.test/x", "ftp://a.test/x", "https:///x", "https://a.test:x/", "https://a b.test/", "", "x", "https://[::1"],
)
def test_only_whole_https_urls_are_taken(url: str) -> None:
    with pytest.raises(NotTaken, match="https://"):
        check_url(url)


def test_a_password_in_a_url_is_refused() -> None:
    check_url("https://updates.example.test:8443/mailweir.raucb?x=1")
    with pytest.raises(NotTaken, match="password"):
        check_url("https://anna:secret@updates.example.test/mailweir.raucb")
