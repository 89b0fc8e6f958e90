"""Looks whether the files of our certificate have changed, every now and then: who renews them need not tell us.

Two calls of `stat` a look; open sessions go on with what they have. What went wrong is told once, not at every look.
Called by the worker's sweep.
"""

from __future__ import annotations

from appliance.core.errors import ConfigError
from appliance.observe.events import ERROR, EventLog
from appliance.tls.certificates import ServerCertificate


class CertificateWatch:
    """One for each worker."""

    __slots__ = ("_events", "_looked_s", "_told")

    def __init__(self, events: EventLog, now_s: float) -> None:
        """`now_s` is monotonic."""
        self._events = events
        self._looked_s = now_s
        self._told = ""

    def look(self, certificate: ServerCertificate | None, every_s: float, now_s: float) -> None:
        """Takes changed files into use if the last look was `every_s` seconds ago; 0 is never."""
        if certificate is None or not every_s or now_s - self._looked_s < every_s:
            return
        self._looked_s = now_s
        try:
            changed = certificate.refresh()
        except ConfigError as error:
            if str(error) != self._told:
                self._told = str(error)
                self._events.event("certificate_refused", {"reason": self._told}, ERROR)
            return
        self._told = ""
        if changed:
            fields: dict[str, object] = {"fingerprint": certificate.fingerprint, "not_after_s": certificate.not_after_s}
            self._events.event("certificate_taken", fields)
