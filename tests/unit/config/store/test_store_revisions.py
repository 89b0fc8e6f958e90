"""Revisions on the real file system: states, secrets, history, other releases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.config.store import revisions
from appliance.config.store.files import Files
from appliance.config.store.revision import State, StoreError
from appliance.config.store.revisions import Store

GOOD = 'version = 1\nhostname = "gw.example.test"\n'


def opened(path: Path, **options: int) -> Store:
    return Store.open(path / "store", Files(), clock=lambda: 1000.0, **options)


def confirmed(store: Store, text: str, secrets: dict[str, bytes] | None = None) -> int:
    number = store.add(text, "anna", "test", secrets)
    store.switch_to(number)
    store.confirm("anna")
    return number


def test_the_link_shows_what_is_in_force_and_its_secrets(tmp_path: Path) -> None:
    store = opened(tmp_path)
    confirmed(store, GOOD + '[tls]\nkey = "secrets/a.key"\n', {"a.key": b"one"})
    assert store.link.read_text().endswith('key = "secrets/a.key"\n')
    assert (store.link.parent / "secrets" / "a.key").read_bytes() == b"one"
    number = store.add(GOOD, "anna", "test")
    assert "tls" in store.link.read_text(), "a proposal changes nothing"
    store.switch_to(number)
    assert store.link.read_text() == GOOD


def test_nobody_else_may_read_and_a_group_may_if_it_is_named(tmp_path: Path) -> None:
    store = opened(tmp_path)
    confirmed(store, GOOD + '[tls]\nkey = "secrets/a.key"\n', {"a.key": b"one"})
    key = store.directory / "secrets" / "a.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    store.close()
    shared = Store.open(tmp_path / "shared", Files(os.getegid()), clock=lambda: 1.0)
    confirmed(shared, GOOD + '[tls]\nkey = "secrets/a.key"\n', {"a.key": b"one"})
    assert stat.S_IMODE((shared.directory / "secrets" / "a.key").stat().st_mode) == 0o640
    assert stat.S_IMODE(shared.link.stat().st_mode) == 0o640
    assert stat.S_IMODE(shared.directory.stat().st_mode) == 0o750


def test_a_secret_with_a_new_value_gets_a_new_name_and_the_old_revision_keeps_its_own(tmp_path: Path) -> None:
    store = opened(tmp_path)
    text = GOOD + '[tls]\nkey = "secrets/a.key"  # ours\n'
    first = confirmed(store, text, {"a.key": b"one"})
    second = confirmed(store, text, {"a.key": b"two"})
    assert store.text(second) == text.replace("a.key", "a-2.key")
    assert (store.secrets(first), store.secrets(second)) == ({"a.key": b"one"}, {"a-2.key": b"two"})
    third = confirmed(store, text, {"a.key": b"one"})
    assert store.text(third) == text, "the same octets keep their name"


def test_a_secret_goes_with_the_last_revision_that_refers_to_it_and_foreign_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "KEEP", 2)
    store = opened(tmp_path)
    secrets = store.directory / "secrets"
    (secrets / "by-hand.pem").write_bytes(b"mine")
    text = GOOD + '[tls]\nkey = "secrets/a.key"\ncertificate = "secrets/by-hand.pem"\n'
    confirmed(store, text, {"a.key": b"one"})
    confirmed(store, text + "# again\n")
    confirmed(store, GOOD)
    assert (secrets / "a.key").exists()
    confirmed(store, GOOD + "# more\n")
    assert not (secrets / "a.key").exists()
    assert (secrets / "by-hand.pem").exists()
    assert store.numbers == [3, 4]


def test_proposals_without_end_are_forgotten_before_anything_that_was_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "KEEP", 4)
    store = opened(tmp_path)
    first, second = confirmed(store, GOOD), confirmed(store, GOOD + "# 2\n")
    for number in range(20):
        store.add(GOOD + f"# proposal {number}\n", "anna", "")
    assert store.numbers == [first, second, 21, 22]


def test_what_a_roll_back_needs_is_kept_however_much_is_proposed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "KEEP", 1)
    store = opened(tmp_path)
    first = confirmed(store, GOOD)
    store.switch_to(store.add(GOOD + "# 2\n", "anna", ""))
    for number in range(5):
        store.add(GOOD + f"# proposal {number}\n", "anna", "")
    assert store.roll_back("anna", "no") == first
    assert store.link.read_text() == GOOD


def test_a_proposal_is_outdated_once_another_is_in_force(tmp_path: Path) -> None:
    store = opened(tmp_path)
    confirmed(store, GOOD)
    one, two = store.add(GOOD + "# 1\n", "anna", ""), store.add(GOOD + "# 2\n", "bert", "")
    store.switch_to(one)
    with pytest.raises(StoreError, match="waits to be confirmed"):
        store.switch_to(two)
    store.confirm("anna")
    assert store.state(two) is State.OUTDATED
    with pytest.raises(StoreError, match=f"made from revision 1, and {one} is in force"):
        store.switch_to(two)
    with pytest.raises(StoreError, match="is current, not proposed"):
        store.switch_to(one)


def test_rolling_back_the_first_commit_leaves_nothing_in_force(tmp_path: Path) -> None:
    store = opened(tmp_path)
    number = store.add(GOOD, "anna", "")
    store.switch_to(number)
    assert store.unconfirmed == number
    assert store.roll_back("anna", "no") == 0
    assert (store.current, store.unconfirmed, store.link.exists()) == (0, 0, False)
    with pytest.raises(StoreError, match="nothing waits"):
        store.roll_back("anna", "no")
    with pytest.raises(StoreError, match="nothing waits"):
        store.confirm("anna")


def test_history_outlives_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    confirmed(store, GOOD)
    with pytest.raises(StoreError, match="in use by another process"):
        opened(tmp_path)
    store.close()
    again = opened(tmp_path)
    facts = again.facts(1)
    assert (facts.author, facts.reason, facts.at_s, facts.base, facts.version) == ("anna", "test", 1000.0, 0, 1)
    assert again.state(1) is State.CURRENT
    assert again.recovered == ""
    with pytest.raises(StoreError, match="there is no revision 2"):
        again.facts(2)


def test_a_revision_that_was_in_force_is_not_discarded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(StoreError, match="stays in the history"):
        store.discard(confirmed(store, GOOD))


def test_an_earlier_release_goes_back_to_what_it_can_read_and_the_later_one_finds_its_own(tmp_path: Path) -> None:
    store = opened(tmp_path)
    confirmed(store, GOOD)
    store.close()
    later = opened(tmp_path, version=2)
    confirmed(later, GOOD.replace("1", "2", 1))
    assert later.current == 2
    later.close()
    earlier = opened(tmp_path, version=1)
    assert (earlier.current, "later release" in earlier.recovered) == (1, True)
    number = earlier.add(GOOD + "# changed\n", "anna", "")
    earlier.switch_to(number)
    assert earlier.roll_back("anna", "no") == 1, "not to the newer one that it cannot read"
    earlier.close()
    assert opened(tmp_path, version=2).current == 1


def test_a_damaged_revision_in_force_is_replaced_by_the_newest_good_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    confirmed(store, GOOD)
    second = confirmed(store, GOOD + "# 2\n")
    store.path(second).write_text(GOOD + "# two\n")
    store.close()
    again = opened(tmp_path)
    assert (again.current, again.numbers, "damaged" in again.recovered) == (1, [1], True)


def test_what_has_no_name_for_a_secret_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    text = GOOD + '[tls]\nkey = "secrets/a.key"\n'
    for name in ("../a.key", "", ".hidden", "a/b", "x.new", "x.lock", "a\n", "ä"):
        with pytest.raises(StoreError, match="no name for a secret"):
            store.add(text, "anna", "", {name: b""})
    with pytest.raises(StoreError, match="nothing in the configuration refers to secrets/b.key"):
        store.add(text, "anna", "", {"b.key": b""})
