"""The running gateway behind the menu: its workers' control sockets, its tracking file, its port 25. Blocks."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from typing import Any

from appliance.config.host_port import host_port
from appliance.config.schema import Config, ListenKind
from appliance.config.state import tracking_file
from appliance.control.client import ask
from appliance.control.protocol import ControlError, NoAnswer, worker_sockets

_SMTP_TIMEOUT_S = 60.0
_LAST_S = 86400.0


class RunningGateway:
    """A `desk.Mail`."""

    def __init__(self, config: Callable[[], Config], why: Callable[[dict[str, Any]], list[str]]) -> None:
        """`config`: what is in force now; `why`: a tracking row's verdict in words."""
        self._config = config
        self._why = why

    def stats(self) -> list[dict[str, Any]]:
        return self._ask_all("stats", {})

    def queue(self, limit: int) -> tuple[list[dict[str, Any]], int]:
        answers = self._ask_all("queue.list", {"limit": limit})
        entries = sorted((entry for answer in answers for entry in answer["entries"]), key=_received_at_s)
        return entries[:limit], sum(int(answer["total"]) for answer in answers)

    def entry(self, entry_id: str) -> dict[str, Any] | None:
        found = [entry for answer in self._ask_all("queue.show", {"ids": [entry_id]}) for entry in answer["entries"]]
        return found[0] if found else None

    def act(self, what: str, entry_id: str) -> bool:
        return any(answer["done"] for answer in self._ask_all(f"queue.{what}", {"ids": [entry_id]}))

    def trace(self, *, message_id: str = "", address: str = "", limit: int = 20) -> list[dict[str, Any]]:
        """By address, what it sent and what it got. Raises ControlError: nothing can be read."""
        if message_id:
            return self._search(transaction_id=message_id, limit=limit)
        if not address:
            # Without a bound the whole file would be looked through for a few lines.
            return self._search(since_s=time.time() - _LAST_S, limit=limit)
        both = self._search(sender=address, limit=limit) + self._search(recipient=address, limit=limit)
        by_id = {str(message["id"]): message for message in both}
        return [by_id[key] for key in sorted(by_id, reverse=True)][:limit]

    def counts(self, last_s: float) -> dict[str, int]:
        from appliance.observe.trace import TrackingUnreadable, counts

        path = tracking_file(self._config().state)
        if not os.path.exists(path):
            return {}
        try:
            return counts(path, time.time() - last_s)
        except TrackingUnreadable as error:
            raise ControlError(str(error)) from error

    def why(self, message: dict[str, Any]) -> list[str]:
        return self._why(message)

    def send_trial(self, config: Config, recipient: str) -> list[str]:
        import smtplib  # wanted once in the life of a box, as what it brings along
        from email.utils import formatdate

        host, port = _own_port(config)
        said = []
        try:
            with smtplib.SMTP(host, port, config.hostname, _SMTP_TIMEOUT_S) as smtp:
                sender = f"postmaster@{config.hostname}"
                text = (
                    f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: Test message from {config.hostname}\r\n"
                    f"Date: {formatdate()}\r\nMessage-ID: <{time.time_ns():x}@{config.hostname}>\r\n\r\n"
                    "This message came through your new Mailweir.\r\n"
                )
                smtp.ehlo_or_helo_if_needed()
                code, reply = smtp.mail(sender)
                if code < 300:
                    said.append(f"{code} {_text(reply)}")
                    code, reply = smtp.rcpt(recipient)
                if code < 300:
                    said.append(f"{code} {_text(reply)}")
                    code, reply = smtp.data(text.encode())
                said.append(f"{code} {_text(reply)}")
        except smtplib.SMTPResponseException as error:
            said.append(f"{error.smtp_code} {_text(error.smtp_error)}")
        except smtplib.SMTPException as error:
            said.append(f"{type(error).__name__}: {error}")
        return said

    def _search(self, **by: Any) -> list[dict[str, Any]]:
        from appliance.observe.trace import TrackingUnreadable, search

        config = self._config()
        path = tracking_file(config.state, config.tracking.folder)
        if not os.path.exists(path):
            return []  # nothing recorded yet, or tracking is off
        try:
            return search(path, **by)
        except TrackingUnreadable as error:
            raise ControlError(str(error)) from error

    def _ask_all(self, request: str, args: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers of all workers that there are. Raises ControlError: none answers, or one refuses."""
        answers = []
        for path in worker_sockets(self._config().state):
            try:
                answers.append(ask(path, request, args))
            except NoAnswer:
                continue
        if not answers:
            raise ControlError("the gateway does not run")
        return answers


def _text(raw_reply: bytes | str) -> str:
    return raw_reply.decode("utf-8", "replace") if isinstance(raw_reply, bytes) else raw_reply


def _received_at_s(entry: dict[str, Any]) -> float:
    return float(entry["received_at_s"])


def _own_port(config: Config) -> tuple[str, int]:
    """Where a neighbour would reach port 25, from here. Raises ControlError: it takes no mail."""
    for listen in config.listen:
        if listen.kind is ListenKind.SMTP and not listen.proxy_protocol:
            where = host_port(listen.address)
            if where.ip is not None and where.ip.is_unspecified:
                loopback = "127.0.0.1" if isinstance(where.ip, ipaddress.IPv4Address) else "::1"
                return loopback, where.port
            return where.host, where.port
    raise ControlError("no port for mail is configured")
