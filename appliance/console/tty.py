"""The real terminal under the menu: octets as they come, no signals by key, and the settings back at the end."""

from __future__ import annotations

import os
import select
import termios
import tty
from types import TracebackType
from typing import Self

from appliance.console.terminal import HungUp

_CHUNK_OCTETS = 1024


class TtyLine:
    """A `terminal.Line` over a descriptor that is a terminal; raw inside the block, as it was after it."""

    def __init__(self, fd_in: int = 0, fd_out: int = 1) -> None:
        self._in, self._out = fd_in, fd_out
        self._before: list[object] = []

    def __enter__(self) -> Self:
        """Raises OSError where there is no terminal."""
        try:
            self._before = termios.tcgetattr(self._in)
            tty.setraw(self._in, termios.TCSAFLUSH)
        except termios.error as error:
            raise OSError(*error.args) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            termios.tcsetattr(self._in, termios.TCSAFLUSH, self._before)  # type: ignore[arg-type]
        except termios.error:
            return  # hung up

    def read(self, timeout_s: float) -> bytes:
        try:
            ready, _, _ = select.select([self._in], [], [], timeout_s)
            if not ready:
                return b""
            octets = os.read(self._in, _CHUNK_OCTETS)
        except OSError as error:
            raise HungUp(str(error)) from error
        if not octets:
            raise HungUp("end of file")
        return octets

    def write(self, octets: bytes) -> None:
        try:
            while octets:
                octets = octets[os.write(self._out, octets) :]
        except OSError as error:
            raise HungUp(str(error)) from error
