"""Changed certificate files are noticed from time to time, and trouble with them is told once."""

from __future__ import annotations

from typing import cast

from appliance.core.errors import ConfigError
from appliance.daemon.certificate_watch import CertificateWatch
from appliance.observe.events import EventLog
from appliance.tls.certificates import ServerCertificate
from tests.support.submission_door import LastWords


class FakeCertificate:
    def __init__(self) -> None:
        self.looks = 0
        self.changed = False
        self.trouble = ""
        self.fingerprint, self.not_after_s = "ab", 1.0

    def refresh(self) -> bool:
        self.looks += 1
        if self.trouble:
            raise ConfigError(self.trouble)
        return self.changed


def watch() -> tuple[CertificateWatch, FakeCertificate, LastWords]:
    log = LastWords()
    return CertificateWatch(EventLog(log), 0.0), FakeCertificate(), log


def looked(watched: CertificateWatch, certificate: FakeCertificate, now_s: float, every_s: float = 60.0) -> None:
    watched.look(cast(ServerCertificate, certificate), every_s, now_s)


def test_files_are_looked_at_as_often_as_configured_and_no_more_often() -> None:
    watched, certificate, _ = watch()
    for second in range(200):
        looked(watched, certificate, float(second))
    assert certificate.looks == 3
    for second in range(200, 400):
        looked(watched, certificate, float(second), every_s=0.0)
    assert certificate.looks == 3
    watched.look(None, 60.0, 500.0)


def test_a_new_certificate_is_told() -> None:
    watched, certificate, log = watch()
    looked(watched, certificate, 60.0)
    assert log.events == []
    certificate.changed = True
    looked(watched, certificate, 120.0)
    assert log.named("certificate_taken") == [{"fingerprint": "ab", "not_after_s": 1.0}]


def test_trouble_is_told_once_and_again_when_it_comes_back() -> None:
    watched, certificate, log = watch()
    for look, trouble in enumerate(["", "gone", "gone", "worse", "", "gone"], 1):
        certificate.trouble = trouble
        looked(watched, certificate, look * 60.0)
    assert [fields["reason"] for fields in log.named("certificate_refused")] == ["gone", "worse", "gone"]
