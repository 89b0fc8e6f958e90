"""The AUTH exchange (RFC 4954, mechanisms PLAIN of RFC 4616 and LOGIN), spoken by aiosmtpd.

For as long as an AUTH lasts the session's input is this dialogue's: aiosmtpd asks, reads and decodes; whom it may let
in is asked of a `check`. It knows neither TLS nor sockets: octets come by `feed`, challenges go out by `say`. The rest
of aiosmtpd's server is not used: it ends command lines and bodies' lines at will of its reader, a line at a time, and
knows nothing of BDAT, DSN or replies that wait for a next hop. `intake.submission` makes one dialogue per AUTH.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from appliance.core import reply
from appliance.core.reply import Reply

MAX_LINE_OCTETS = 12_288  # RFC 4954 §4
MECHANISMS = "PLAIN LOGIN"

# Its debug lines show what a client sent as password, and a warning comes with each login.
logging.getLogger("mail.log").setLevel(logging.ERROR)

Check = Callable[[str, str], Awaitable[Reply]]


class _BadLine(Exception):
    """A bare CR, LF or NUL in a line."""


class _LineReader(asyncio.StreamReader):
    async def readline(self) -> bytes:
        """One line that ends in CRLF and has no other line end.

        Raises:
            asyncio.LimitOverrunError: it is longer than the limit.
            asyncio.IncompleteReadError: the client has gone.
            _BadLine: see there.
        """
        line = await self.readuntil(b"\r\n")
        if any(octet in line[:-2] for octet in b"\r\n\0"):
            raise _BadLine
        return line


class AuthDialogue(SMTP):
    """One AUTH command, from its argument to the final reply. `run` once."""

    AuthLoginUsernameChallenge = "Username:"  # what clients have learnt to look for
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, hostname: str, say: Callable[[bytes], None], check: Check) -> None:
        """`say` sends octets to the client; `check` says what the client is answered to a login and a password."""
        # The name is given lest aiosmtpd asks the DNS for it. Whether there is TLS is the session's to see.
        super().__init__(
            None,
            hostname=hostname,
            auth_require_tls=False,
            authenticator=_collected,
            loop=asyncio.get_running_loop(),
        )
        self._reader = _LineReader(MAX_LINE_OCTETS, self.loop)
        self._say = say
        self._check = check
        self._answer: Reply | None = None
        self.session = self._create_session()
        self.session.host_name, self.session.extended_smtp = hostname, True
        self.envelope = self._create_envelope()

    def feed(self, octets: bytes) -> None:
        """Octets from the client. They are copied."""
        self._reader.feed_data(octets)

    def end(self) -> None:
        """The client has gone. A password that is being verified is verified to the end."""
        self._reader.feed_eof()

    async def run(self, argument: str) -> Reply | None:
        """The final reply to AUTH, `argument` being what stood behind the verb; None if the client has gone."""
        mechanism, _, initial_response = argument.partition(" ")
        try:
            await self.smtp_AUTH(f"{mechanism.upper()} {initial_response}")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            # Where this line ends nobody can tell; the session ends here.
            return LINE_TOO_LONG
        except _BadLine:
            return reply.BAD_SYNTAX
        return self._answer

    async def rest(self) -> bytes:
        """What the client sent behind the exchange: the next commands."""
        self._reader.feed_eof()
        return await self._reader.read()

    # -- what aiosmtpd asks

    async def push(self, status: str | bytes) -> None:
        line = status.decode() if isinstance(status, bytes) else status
        if line.startswith("334 "):
            self._say(line.encode() + b"\r\n")
        elif self._answer is None:
            code, enhanced, text = line.split(" ", 2)
            self._answer = Reply(int(code), enhanced, text)

    async def auth_PLAIN(self, server: Any, args: list[str]) -> AuthResult:  # noqa: N802 - aiosmtpd's name
        return await self._checked(await super().auth_PLAIN(server, args))

    async def auth_LOGIN(self, server: Any, args: list[str]) -> AuthResult:  # noqa: N802 - aiosmtpd's name
        return await self._checked(await super().auth_LOGIN(server, args))

    async def _checked(self, result: AuthResult) -> AuthResult:
        pair = result.auth_data
        if not result.success or not isinstance(pair, LoginPassword):
            return result
        # What is not UTF-8 is no password of ours, but takes as long to be found wrong as any other.
        login, password = (octets.decode("utf-8", "surrogateescape") for octets in pair)
        self._answer = await self._check(login, password)
        return AuthResult(success=self._answer.code < 300, handled=True)


LINE_TOO_LONG = Reply(421, "4.7.0", "AUTH line too long, closing")


def _collected(server: SMTP, session: Session, envelope: Envelope, mechanism: str, pair: LoginPassword) -> AuthResult:
    """aiosmtpd's authenticator cannot wait for a thread: it hands the pair on to `_checked`, which can."""
    return AuthResult(success=True, auth_data=pair)
