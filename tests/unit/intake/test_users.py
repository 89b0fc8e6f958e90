"""Logins: verified against a file that changes under us, bound to their addresses, locked out after failures."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.address import NULL_SENDER, Address, BadAddress, parse_address
from appliance.intake import users as users_module
from appliance.intake.users import User, Users, UsersTrouble, hashed, may_send_as, rule_of
from appliance.intake.users_file import edited, normal_name, parse, read, render

HASH = hashed("correct horse")


def write(path: Path, *users: User) -> None:
    with edited(str(path)) as found:
        found.clear()
        found.update({user.name: user for user in users})


def user(name: str = "bob@example.test", *addresses: str, disabled: bool = False) -> User:
    return User(name=name, hash=HASH, addresses=list(addresses), disabled=disabled)


def address(text: str) -> Address:
    return parse_address(text.encode(), utf8=True)


# --- passwords


def test_the_hash_is_argon2id_at_the_cost_a_small_board_stands() -> None:
    assert HASH.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_the_right_password_gives_the_user_and_a_wrong_one_nobody(tmp_path: Path) -> None:
    write(tmp_path / "users.toml", user())
    users = Users.load(str(tmp_path / "users.toml"))
    found = users.verify("Bob@Example.test", "correct horse")
    assert found is not None
    assert found.name == "bob@example.test"
    assert users.verify("bob@example.test", "correct horse ") is None
    assert users.verify("bob@example.test", "") is None


@pytest.mark.parametrize("name", ["nobody@example.test", "", "a\0b", "x" * 5000, "\udcff"])
def test_an_unknown_login_costs_a_hash_like_a_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path / "users.toml", user())
    users = Users.load(str(tmp_path / "users.toml"))
    verified: list[str] = []

    class CountingHasher:
        def verify(self, hash_: str, password: bytes) -> bool:
            verified.append(hash_)
            return True

    monkeypatch.setattr(users_module, "_HASHER", CountingHasher())
    assert users.verify(name, "correct horse") is None
    assert [text[:30] for text in verified] == [HASH[:30]]


def test_a_disabled_login_is_nobody(tmp_path: Path) -> None:
    write(tmp_path / "users.toml", user(disabled=True))
    assert Users.load(str(tmp_path / "users.toml")).verify("bob@example.test", "correct horse") is None


def test_a_password_longer_than_the_limit_is_wrong_not_cut(tmp_path: Path) -> None:
    longest = "x" * 1024
    write(tmp_path / "users.toml", User(name="bob@example.test", hash=hashed(longest)))
    users = Users.load(str(tmp_path / "users.toml"))
    assert users.verify("bob@example.test", longest) is not None
    assert users.verify("bob@example.test", longest + "y") is None


def test_composed_and_decomposed_accents_are_one_password(tmp_path: Path) -> None:
    write(tmp_path / "users.toml", User(name="bob@example.test", hash=hashed("caf\u00e9")))
    assert Users.load(str(tmp_path / "users.toml")).verify("bob@example.test", "cafe\u0301") is not None


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_a_password_without_bounds_is_not_hashed(password: str) -> None:
    with pytest.raises(ValueError, match="1 to 1024"):
        hashed(password)


def test_a_change_of_the_file_counts_at_the_next_login(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    write(path, user())
    users = Users.load(str(path))
    assert users.verify("bob@example.test", "correct horse") is not None
    write(path, user("alice@example.test"))
    assert users.verify("bob@example.test", "correct horse") is None
    assert users.verify("alice@example.test", "correct horse") is not None


def test_a_file_that_breaks_or_vanishes_is_temporary_trouble(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    write(path, user())
    users = Users.load(str(path))
    path.write_text("[[user]\n")
    with pytest.raises(UsersTrouble) as caught:
        users.verify("bob@example.test", "correct horse")
    assert caught.value.reply.temporary
    path.unlink()
    with pytest.raises(UsersTrouble):
        users.verify("bob@example.test", "correct horse")
    write(path, user())
    assert users.verify("bob@example.test", "correct horse") is not None


def test_a_hash_that_is_none_is_trouble_not_a_wrong_password(tmp_path: Path) -> None:
    write(tmp_path / "users.toml", User(name="bob@example.test", hash="plain"))
    with pytest.raises(UsersTrouble, match="cannot be verified"):
        Users.load(str(tmp_path / "users.toml")).verify("bob@example.test", "plain")


# --- the file


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_what_is_written_is_read_back_and_closed_to_others(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"users.{suffix}"
    wanted = user('o"brien\\@example.test', "@example.test", "ü@bücher.example")
    write(path, wanted, user("zoe"))
    assert read(str(path)) == {wanted.name: wanted, "zoe": user("zoe")}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == [path.name, f"{path.name}.lock"]


def test_a_group_that_may_read_the_file_still_may_after_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    write(path, user())
    path.chmod(0o664)
    write(path, user(), user("anna@example.test"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_edit_that_fails_changes_nothing_and_leaves_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    write(path, user())
    before = path.read_bytes()
    with suppress(RuntimeError), edited(str(path)) as users:
        users.clear()
        raise RuntimeError
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["users.toml", "users.toml.lock"]


def test_two_editors_at_one_time_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "users.toml")

    def add(name: str) -> None:
        with edited(path) as users:
            users[name] = user(name)

    threads = [threading.Thread(target=add, args=(f"u{n}@example.test",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(path)) == 12


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "users.toml.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(UsersTrouble):
        write(tmp_path / "users.toml", user())
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    "text",
    [
        "user = 3",
        "[[user]]\nname = 'a'",
        "[[user]]\nname = 'a'\nhash = 'x'\npassword = 'y'",
        "[[user]]\nname = 'a'\nhash = 'x'\n[[user]]\nname = 'A'\nhash = 'x'",
        "[[user]]\nname = 'a b'\nhash = 'x'",
        "x = " + "[" * 5000,
    ],
)
def test_a_file_of_the_wrong_form_is_trouble(text: str) -> None:
    with pytest.raises(UsersTrouble, match=r"u\.toml: "):
        parse(text.encode(), "u.toml")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["u.toml", "u.json"]))
def test_any_octets_are_users_or_trouble(raw_text: bytes, path: str) -> None:
    with suppress(UsersTrouble):
        assert isinstance(parse(raw_text, path), dict)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(NAMES, max_size=4),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(["u.toml", "u.json"]),
)
def test_rendered_users_parse_to_themselves(raw_names: list[str], address_text: str, path: str) -> None:
    users: dict[str, User] = {}
    for raw_name in raw_names:
        try:
            name = normal_name(raw_name)
            stable = normal_name(name) == name
        except ValueError:
            continue
        if stable:
            users[name] = User(name=name, hash="h", addresses=[address_text])
    assert parse(render(users, path), path) == users


# --- addresses


@pytest.mark.parametrize("sender", ["bob@example.test", "BOB@EXAMPLE.test", '"bob"@example.test', ""])
def test_a_login_may_send_as_itself(sender: str) -> None:
    assert may_send_as(user(), address(sender) if sender else NULL_SENDER)


@pytest.mark.parametrize(
    "sender",
    ["alice@example.test", "bob@other.test", "bob@sub.example.test", "bob@example.tes", '"bob@example.test"@evil.test',
     "bob+tag@example.test", "bob@[127.0.0.1]"],
)  # fmt: skip
def test_a_login_may_not_send_as_others(sender: str) -> None:
    assert not may_send_as(user(), address(sender))


def test_addresses_replace_the_login_itself() -> None:
    bob = user("bob@example.test", "sales@example.test", "@shop.test", "bücher.example")
    assert may_send_as(bob, address("sales@example.test"))
    assert may_send_as(bob, address("anybody@shop.test"))
    assert may_send_as(bob, address("x@xn--bcher-kva.example"))
    assert not may_send_as(bob, address("bob@example.test"))
    assert not may_send_as(bob, address("x@sub.shop.test"))


def test_a_login_that_is_no_address_may_send_as_nobody_but_by_its_addresses() -> None:
    assert not may_send_as(user("example.test"), address("bob@example.test"))
    assert may_send_as(user("bob", "bob@example.test"), address("bob@example.test"))


@pytest.mark.parametrize("text", ["", "@", "a@", "a b@c", "@*", "@@a", "a@b@c", "a\r\n@b"])
def test_rubbish_allows_nothing(text: str) -> None:
    with pytest.raises(BadAddress):
        rule_of(text)
    assert not may_send_as(user("bob", text), address("bob@example.test"))


def test_a_verified_login_is_asked_by_name_and_a_removed_one_may_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    write(path, user(), user("eve@example.test", disabled=True))
    users = Users.load(str(path))
    assert users.may_send("bob@example.test", address("bob@example.test"))
    assert not users.may_send("bob@example.test", address("eve@example.test"))
    assert not users.may_send("eve@example.test", address("eve@example.test"))
    write(path, user("zoe@example.test"))
    users.verify("bob@example.test", "correct horse")
    assert not users.may_send("bob@example.test", address("bob@example.test"))
