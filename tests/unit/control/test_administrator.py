"""A new password is judged and hashed by a process that ends: what it takes, and what becomes of it, stays there."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.config.store.files import Files
from appliance.control import administrator, child
from appliance.control.administrator import Administrator
from appliance.control.protocol import RequestRefused
from appliance.control.strength import weakness
from tests.support.conditions import is_alive
from tests.support.package import ROOT

STRONG = "weir seven otters humming"


@pytest.fixture
def box(tmp_path: Path) -> Administrator:
    return Administrator(tmp_path, Files(None), clock=time.time, monotonic=time.monotonic)


def refusal(box: Administrator, password: str) -> str:
    with pytest.raises(RequestRefused) as caught:
        asyncio.run(box.set(password, ["mx.example.test"]))
    return str(caught.value)


def test_a_strong_password_is_set_by_the_childs_hash(box: Administrator) -> None:
    asyncio.run(box.set(STRONG, []))
    assert asyncio.run(box.verify(STRONG, "console"))
    assert not asyncio.run(box.verify(STRONG + "x", "console"))


@pytest.mark.parametrize("weak", ["short", "passwordpassword", "mx.example.test1"])
def test_a_weak_one_is_refused_with_what_would_help(box: Administrator, weak: str) -> None:
    assert refusal(box, weak) == f"this password is too weak: {weakness(weak, ['mx.example.test'])}"
    assert not box.is_set


def test_one_that_cannot_be_hashed_is_refused(box: Administrator) -> None:
    assert refusal(box, STRONG * 50) == "this cannot be a password: a password has 1 to 1024 octets"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "the process ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "the process was ended by SIGKILL"),
        ("import sys; print(sys.stdin.read()[:20])", "the answer makes no sense"),
        ("print(1)", "the answer makes no sense"),
    ],
)
def test_a_child_that_dies_is_told_and_the_old_password_holds(
    box: Administrator, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    asyncio.run(box.set(STRONG, []))
    monkeypatch.setattr(child, "CODE", code)
    said = refusal(box, STRONG[::-1])
    assert said == f"the password could not be judged: {reason}; nothing was changed, try it again"
    assert asyncio.run(box.verify(STRONG, "console"))


def test_a_child_that_hangs_is_ended(box: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = [], asyncio.create_subprocess_exec

    async def noted(*command: str, **pipes: int) -> asyncio.subprocess.Process:
        started.append(await start(*command, **pipes))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(child, "CODE", "import signal; signal.pause()")
    monkeypatch.setattr(administrator, "CHILD_S", 0.2)
    assert "there was no answer within 0.2 s" in refusal(box, STRONG)
    assert started[0].returncode == -signal.SIGKILL and not is_alive(started[0].pid)


def test_no_interpreter_is_told(box: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert "no process can be started: No such file or directory" in refusal(box, STRONG)


def test_the_password_stands_in_no_argument_and_no_variable(
    box: Administrator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "seen"
    places = "[open(f'/proc/self/{it}', 'rb').read() for it in ('cmdline', 'environ')]"
    monkeypatch.setattr(child, "CODE", f"open({str(note)!r}, 'wb').write(b''.join({places})); {child.CODE}")
    asyncio.run(box.set(STRONG, []))
    seen = note.read_bytes()
    assert b"appliance.control.new_password" in seen and b"PATH=" in seen
    assert not [word for word in STRONG.split() if word.encode() in seen]
    assert asyncio.run(box.verify(STRONG, "console"))


def test_who_sets_a_password_has_not_loaded_what_judges_it(tmp_path: Path) -> None:
    program = f"""
import asyncio, pathlib, sys, time
from appliance.config.store.files import Files
from appliance.control.administrator import Administrator
box = Administrator(pathlib.Path({str(tmp_path)!r}), Files(None), clock=time.time, monotonic=time.monotonic)
asyncio.run(box.set({STRONG!r}, []))
print(box.is_set, "zxcvbn_rs_py" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_child_is_the_package_that_asks_for_it_wherever_it_runs(tmp_path: Path) -> None:
    (tmp_path / "appliance").mkdir()
    (tmp_path / "appliance/__init__.py").write_text("raise SystemExit('a stranger')")
    command = child.command("appliance.cli.main", "version")
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mailweir ")


@pytest.mark.parametrize(("is_isolated", "flags"), [(True, "-IP"), (False, "-P")])
def test_a_child_is_isolated_if_its_parent_is(
    monkeypatch: pytest.MonkeyPatch, is_isolated: bool, flags: str
) -> None:
    monkeypatch.setattr(sys, "flags", SimpleNamespace(isolated=is_isolated))
    assert child.command("appliance.cli.main")[1] == flags
