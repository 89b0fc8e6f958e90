"""What is exported is what is imported, octet for octet; what is not an archive of ours is refused."""

from __future__ import annotations

import io
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.config.store import archive, ustar
from appliance.config.store.archive import About, Bundle, packed, unpacked
from appliance.config.store.files import Files
from appliance.config.store.revision import StoreError
from appliance.config.store.revisions import Store
from appliance.config.store.secrets import is_name, next_name

ABOUT = About(release="1.0", revision=7, author="anna", at_s=12.5, reason="für gut")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}", fullmatch=True).filter(is_name)
ABOUTS = st.builds(
    About,
    release=st.text(),
    revision=st.integers(0, 10**6),
    author=st.text(),
    at_s=st.floats(0, 2e9),
    reason=st.text(),
)
SECRETS = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5)
BUNDLES = st.builds(Bundle, about=ABOUTS, text=st.text(), secrets=SECRETS)


@settings(max_examples=200, deadline=None)
@given(BUNDLES)
def test_what_is_packed_is_unpacked(bundle: Bundle) -> None:
    assert unpacked(packed(bundle)) == bundle
    assert packed(bundle) == packed(unpacked(packed(bundle)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    comment=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20),
    files=st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=4),
    occupied=st.dictionaries(NAMES, st.binary(max_size=20), max_size=3),
)
def test_an_export_comes_back_on_another_box_with_the_same_values_and_secrets(
    tmp_path_factory: pytest.TempPathFactory, comment: str, files: dict[str, bytes], occupied: dict[str, bytes]
) -> None:
    def text_of(names: list[str]) -> str:
        listed = ", ".join(f'"secrets/{name}"' for name in names)
        return f'version = 1\n# {comment}\nhostname = "gw"\n[scan.patterns]\nfiles = [{listed}]\n'

    def opened(name: str) -> Store:
        return Store.open(tmp_path_factory.mktemp("box") / name, Files(), clock=lambda: 1.0)

    here, there = opened("here"), opened("there")
    number = here.add(text_of([*files]), "anna", "", files)
    exported = packed(Bundle(about=ABOUT, text=here.text(number), secrets=here.secrets(number)))
    if occupied:
        there.add(text_of([*occupied]), "bert", "", occupied)
    taken = {name for name, octets in occupied.items() if files.get(name, octets) != octets}
    bundle = unpacked(exported)
    imported = there.add(bundle.text, "bert", "import", bundle.secrets)
    if not taken:
        assert there.text(imported) == here.text(number)
    assert [*there.secrets(imported).values()] == [*files.values()]
    assert there.text(imported).splitlines()[:3] == here.text(number).splitlines()[:3]
    for store in (here, there):
        store.close()


def test_tar_and_sha256sum_can_read_it(tmp_path: Path) -> None:
    bundle = Bundle(about=ABOUT, text="# text\n" * 200, secrets={"a.key": b"x" * 513, "b@c": b""})
    (tmp_path / "a.tar").write_bytes(packed(bundle))
    subprocess.run(["tar", "xf", "a.tar"], cwd=tmp_path, check=True)
    assert (tmp_path / "secrets" / "a.key").read_bytes() == b"x" * 513
    summed = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert summed.stdout.count("OK") == 4


def test_what_tar_packs_again_is_read(tmp_path: Path) -> None:
    bundle = Bundle(about=ABOUT, text="x = 1\n", secrets={"a.key": b"secret"})
    (tmp_path / "a.tar").write_bytes(packed(bundle))
    (tmp_path / "tree").mkdir()
    subprocess.run(["tar", "xf", "../a.tar"], cwd=tmp_path / "tree", check=True)
    subprocess.run(["tar", "--format=ustar", "-cf", "../b.tar", "."], cwd=tmp_path / "tree", check=True)
    assert unpacked((tmp_path / "b.tar").read_bytes()) == bundle


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, octets in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(octets)
            member.linkname = "/etc/shadow" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            tar.addfile(member, io.BytesIO(octets))
    return out.getvalue()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"PK\x03\x04",
        b"x" * 1024,
        tar_of(("secrets/a.key", tarfile.SYMTYPE, b"")),
        tar_of(("secrets/a.key", tarfile.LNKTYPE, b"")),
        tar_of(("secrets/a.key", tarfile.FIFOTYPE, b"")),
        tar_of(("mailweir.toml", tarfile.REGTYPE, b"x = 1\n")),
        tar_of(("d/" * 60 + "x", tarfile.REGTYPE, b"")),
    ],
)
def test_what_is_no_archive_of_ours_is_refused(octets: bytes) -> None:
    with pytest.raises(StoreError, match="take one made by"):
        unpacked(octets)


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "secrets/../x", "secrets/a/b", "other", "secrets/.x"])
def test_a_member_with_another_name_is_refused_even_with_a_good_sum(name: str) -> None:
    members = {"mailweir.toml": b"", "about.json": b'{"release":"","revision":1,"author":"","at_s":0,"reason":""}'}
    members[name] = b"x"
    octets = ustar.written([*members.items(), ("SHA256SUMS", archive._sums(members))])
    with pytest.raises(StoreError, match="no part of a configuration"):
        unpacked(octets)


def test_a_later_format_is_refused_with_a_remedy() -> None:
    later = About(format=2, release="9", revision=1, author="", at_s=0, reason="")
    with pytest.raises(StoreError, match="update first"):
        unpacked(packed(Bundle(about=later, text="", secrets={})))


def test_one_changed_octet_of_a_file_is_noticed() -> None:
    octets = packed(Bundle(about=ABOUT, text="hostname = 'gw'\n", secrets={"a.key": b"secret"}))
    for place in (octets.index(b"hostname"), octets.index(b"secret\0"), octets.index(b"f\xc3")):
        damaged = bytearray(octets)
        damaged[place] ^= 1
        with pytest.raises(StoreError, match="damaged"):
            unpacked(bytes(damaged))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_refused_in_words_or_does_no_harm(data: st.DataObject) -> None:
    bundle = Bundle(about=ABOUT, text="hostname = 'gw'\n", secrets={"a.key": b"secret"})
    octets = bytearray(packed(bundle))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)) | st.just(len(octets)))
    with suppress(StoreError):
        assert unpacked(bytes(octets[:cut])) == bundle


@given(NAMES, st.sets(NAMES, max_size=5))
def test_the_next_name_is_a_name_and_free(name: str, taken: set[str]) -> None:
    found = next_name(name, {name, *taken})
    assert is_name(found) and found not in {name, *taken}
