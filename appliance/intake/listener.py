"""One listening socket of a worker: makes sessions, sweeps their deadlines, drains them.

Called by the worker's wiring. The socket itself was opened by the supervisor and is shared by all workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from appliance.config.schema import Config, Listen
from appliance.core.reply import Reply
from appliance.intake.session import Session
from appliance.intake.site import Site
from appliance.intake.socket_session import SocketSession


def greeting_of(config: Config) -> Reply:
    return Reply(220, "", f"{config.hostname} ESMTP Mailweir")


def ehlo_of(config: Config, *, secure: bool, starttls: bool, binary: bool) -> Reply:
    """The answer to EHLO: what this server can do, RFC 5321 §4.1.1.1."""
    limits = config.limits
    lines = [
        config.hostname,
        "PIPELINING",
        f"SIZE {int(limits.message_size)}",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "DSN",
        f"LIMITS MAILMAX={limits.messages_per_session} RCPTMAX={limits.recipients_per_message}",
    ]
    if binary:
        lines.append("BINARYMIME")
    if secure:
        lines.append("REQUIRETLS")
    elif starttls:
        lines.append("STARTTLS")
    return Reply(250, "", *lines)


class Listener:
    """Sessions of one `[[listen]]` entry of kind `smtp`."""

    def __init__(self, listen: Listen, site: Callable[[], Site], now_s: float) -> None:
        """`site` gives the site for a session that begins now; `now_s` is monotonic."""
        self.name = listen.name
        self.proxy_protocol = listen.proxy_protocol
        self.site = site
        self.sessions: set[SocketSession] = set()
        self.now_s = now_s
        self.draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.refresh()

    def refresh(self) -> None:
        """Makes the fixed replies anew: after a reload, or when the next hops' abilities are known."""
        site = self.site()
        config, starttls = site.config, site.tls is not None
        binary = self.binary_offered = bool(site.pools) and all(pool.takes_binary for pool in site.pools.values())
        self.greeting = greeting_of(config)
        self.helo_reply = Reply(250, "", config.hostname)
        self.ehlo_clear = ehlo_of(config, secure=False, starttls=starttls, binary=binary)
        self.ehlo_secure = ehlo_of(config, secure=True, starttls=starttls, binary=binary)

    def make_session(self) -> Session:
        """The protocol factory."""
        return Session(self)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine of a session, keeping it alive."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sweep(self, now_s: float) -> None:
        """Looks at every deadline; to be called about once a second with the monotonic time."""
        self.now_s = now_s
        if not self.binary_offered:
            self.refresh()  # the next hops' abilities show with the first connections
        for session in list(self.sessions):
            session.expire(now_s)

    def drain(self) -> None:
        """No new message from now on; sessions end when theirs is done."""
        self.draining = True
        for session in list(self.sessions):
            session.drain()

    def cut(self) -> None:
        """Ends what is still open."""
        for session in list(self.sessions):
            session.cut()
