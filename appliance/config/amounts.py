"""Do the sizes, durations and counts fit each other; each alone was within its range already.

No I/O. Called by `config.check`.
"""

from __future__ import annotations

from appliance.config.problem import Report
from appliance.config.schema import Config, Path


def check_amounts(config: Config, report: Report) -> None:
    """Reports pairs of amounts that defeat each other."""
    _check_delivery(config, report)
    _check_limits(config, report)
    _check_spool_and_queue(config, report)


def _check_delivery(config: Config, report: Report) -> None:
    delivery, limits = config.delivery, config.limits
    if delivery.withhold > delivery.hold_window:
        report.error(
            ("delivery", "withhold"),
            "more is withheld than the hold window has room for",
            "make withhold smaller than hold_window",
        )
    if not delivery.withhold:
        report.warning(
            ("delivery", "withhold"),
            "a next hop that takes a cut connection for the end would keep a refused message but for its final dot",
            'write withhold = "4KiB"',
        )
    if delivery.hold_window > limits.memory_per_worker // 4 and delivery.path is not Path.WIRE:
        report.error(
            ("delivery", "hold_window"),
            "fewer than four messages would fill a worker's memory",
            "make limits.memory_per_worker many times hold_window",
        )
    if limits.header_section > limits.memory_per_worker // 4:
        report.error(
            ("limits", "header_section"), "four header sections would fill a worker's memory", "make it smaller"
        )
    if limits.header_line > limits.header_section:
        report.warning(
            ("limits", "header_line"), "one line may be longer than the whole header section", "make it smaller"
        )


def _check_limits(config: Config, report: Report) -> None:
    limits = config.limits
    if limits.message_size > config.spool.quota:
        report.error(
            ("limits", "message_size"),
            "a message of this size could never be spooled",
            "make it smaller, or spool.quota greater",
        )
    elif limits.message_size < 64 << 10:
        # RFC 5321 §4.5.3.1.7 wants 64 KiB of everybody.
        report.warning(("limits", "message_size"), "much ordinary mail is longer than this", 'write at least "64KiB"')
    if limits.recipients_per_message < 100:
        report.warning(
            ("limits", "recipients_per_message"), "RFC 5321 §4.5.3.1.8 asks for 100 at least", "write 100 or more"
        )
    for key in ("sessions_per_address", "sessions_per_net64"):
        if getattr(limits, key) > limits.sessions:
            report.warning(
                ("limits", key), "one client may take all sessions there are", "make it smaller than limits.sessions"
            )
    if config.timeouts.data > config.timeouts.message:
        report.warning(
            ("timeouts", "data"), "longer than timeouts.message, so it never applies", "make timeouts.message longer"
        )
    if config.timeouts.hop_streamed < config.timeouts.hop_held:
        report.warning(
            ("timeouts", "hop_streamed"), "shorter than timeouts.hop_held, which applies first", "make it longer"
        )


def _check_spool_and_queue(config: Config, report: Report) -> None:
    spool, queue = config.spool, config.queue
    if spool.segment * 2 > spool.quota:
        report.error(
            ("spool", "segment"), "the quota has no room for two segments", "make it a fraction of spool.quota"
        )
    if queue.warn_after and queue.warn_after >= queue.lifetime:
        report.warning(
            ("queue", "warn_after"),
            "senders are warned only when it is too late",
            "make it shorter than queue.lifetime",
        )
    if queue.bounce_lifetime > queue.lifetime:
        report.warning(
            ("queue", "bounce_lifetime"), "bounces are kept longer than mail", "make it no longer than queue.lifetime"
        )
    if queue.lifetime < min(queue.retry):
        report.error(
            ("queue", "lifetime"), "ends before the first retry", "make it longer than the first of queue.retry"
        )
    if queue.destinations > queue.deliveries:
        report.warning(
            ("queue", "destinations"),
            "one destination may take all deliveries",
            "make it smaller than queue.deliveries",
        )
