"""What a session asks of the configuration again and again, as plain values: made once for each `Site`.

A profile showed a look-up of four attributes deep at every command. Knows nothing of who asks.
"""

from __future__ import annotations

from appliance.config.schema import BareNewline, Config, Path


class Bounds:
    """Limits in octets, counts and seconds, and the switches of `[delivery]`. See the schema for their meaning."""

    __slots__ = (
        "body_line", "command_line", "command_timeout_s", "data_timeout_s", "errors_per_session", "hold_window",
        "hostname", "idle_commands", "keep_bytes", "message_size", "messages_per_minute", "messages_per_session",
        "normalises", "recipients_per_message", "recipients_per_minute", "sender_must_match", "sessions",
        "sessions_per_address", "sessions_per_minute", "sessions_per_net64", "shows_address", "spool_when_down",
        "spools", "wires", "withhold",
    )  # fmt: skip

    def __init__(self, config: Config) -> None:
        limits, delivery, timeouts = config.limits, config.delivery, config.timeouts
        self.hostname = config.hostname
        self.command_line = int(limits.command_line)
        self.errors_per_session = int(limits.errors_per_session)
        self.idle_commands = int(limits.idle_commands)
        self.message_size = int(limits.message_size)
        self.messages_per_session = int(limits.messages_per_session)
        self.messages_per_minute = float(limits.messages_per_minute)
        self.recipients_per_message = int(limits.recipients_per_message)
        self.recipients_per_minute = float(limits.recipients_per_minute)
        self.sessions = int(limits.sessions)
        self.sessions_per_address = int(limits.sessions_per_address)
        self.sessions_per_net64 = int(limits.sessions_per_net64)
        self.sessions_per_minute = float(limits.sessions_per_minute)
        self.body_line = int(limits.body_line)
        self.command_timeout_s = float(timeouts.command)
        self.data_timeout_s = float(timeouts.data)
        self.hold_window = int(delivery.hold_window)
        self.withhold = int(delivery.withhold)
        self.keep_bytes = bool(delivery.keep_bytes)
        self.spool_when_down = bool(delivery.spool_when_down)
        self.shows_address = bool(delivery.received_from_address)
        self.normalises = delivery.bare_newline is BareNewline.NORMALISE
        self.wires = delivery.path is Path.WIRE
        self.spools = delivery.path is Path.SPOOL
        self.sender_must_match = bool(config.submission.sender_must_match)
