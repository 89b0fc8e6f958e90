"""Work in a child process: its result comes back, what it imported does not."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from appliance.core.errors import ConfigError
from appliance.daemon.apart import apart


def test_the_result_comes_back_and_the_memory_does_not() -> None:
    kept: list[bytes] = []

    def work() -> tuple[int, list[str]]:
        kept.append(b"x")
        sys.modules["only_in_the_child"] = sys
        return os.getpid(), ["a" * 1_000_000]

    pid, answer = apart(work)
    assert pid != os.getpid() and answer == ["a" * 1_000_000]
    assert not kept and "only_in_the_child" not in sys.modules


def test_a_configuration_error_is_raised_here_with_its_words() -> None:
    def work() -> None:
        raise ConfigError("gw.toml: error: this; do that\ngw.toml: error: more")

    with pytest.raises(ConfigError, match=r"^gw.toml: error: this; do that\ngw.toml: error: more$"):
        apart(work)


def test_any_other_end_of_the_child_is_an_error_too(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="ended with status"):
        apart(lambda: 1 // 0)
    assert "ZeroDivisionError" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="ended with status"):
        apart(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_signals_to_the_child_are_not_handled_as_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
    try:
        assert apart(lambda: signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGTERM, before)
