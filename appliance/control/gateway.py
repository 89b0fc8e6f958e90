"""Puts a new configuration into effect in the running gateway: its workers read it again, or it is started anew.

One of the appliers of `config.store.commit`. The gateway reads the file in force by itself when it starts, so that one
that does not run needs nothing from here.
"""

from __future__ import annotations

from appliance.config.schema import Config, ListenKind
from appliance.control.client import ask_async
from appliance.control.ports import Service
from appliance.control.protocol import NoAnswer, worker_sockets

RELOAD_TIMEOUT_S = 30.0
_ONLY_AT_START = ("listen", "workers", "state", "spool", "queue", "tracking", "metrics", "log")


class Gateway:
    """See the module; an `Applier`."""

    name = "gateway"
    at_start = False

    def __init__(self, service: Service) -> None:
        self._service = service

    async def apply(self, old: Config | None, new: Config) -> None:
        """Ends when all workers use `new`.

        Raises:
            ControlError: a worker cannot use it, or says nothing; the text says why.
            OSError: the service could not be started.
        """
        if old is None or needs_restart(old, new):
            await self._service.restart()
            return
        for path in worker_sockets(new.state):
            try:
                await ask_async(path, "reload", timeout_s=RELOAD_TIMEOUT_S)
            except NoAnswer as error:
                # Nobody listens: dead, or on its way up. It reads what is in force when it starts.
                if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                    raise

    async def undo(self, old: Config | None, new: Config) -> None:
        if old is None:
            await self._service.stop()
        else:
            await self.apply(new, old)


def needs_restart(old: Config, new: Config) -> bool:
    """Whether something changed that the workers look at only when they start."""
    if any(getattr(old, table) != getattr(new, table) for table in _ONLY_AT_START):
        return True
    if old.limits.memory_per_worker != new.limits.memory_per_worker or old.submission != new.submission:
        return True
    # The port with TLS from the first octet was given its context when it was opened.
    return old.tls != new.tls and any(listen.kind is ListenKind.SUBMISSIONS for listen in new.listen)
