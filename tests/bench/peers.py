"""The services that the benchmark can run, by name. Called by `measure`, `probes` and `main`."""

from __future__ import annotations

from tests.bench.peer_aiosmtpd import Aiosmtpd
from tests.bench.peer_exim import Exim
from tests.bench.peer_haproxy import Haproxy
from tests.bench.peer_haraka import Haraka
from tests.bench.peer_mailweir import Mailweir, MailweirBare, MailweirClamd, MailweirDigest
from tests.bench.peer_postfix import PostfixProxy, PostfixQueue
from tests.bench.service import Service

SERVICES: dict[str, type[Service]] = {
    service.name: service
    for service in (
        Mailweir,
        MailweirDigest,
        MailweirClamd,
        MailweirBare,
        Haproxy,
        PostfixProxy,
        PostfixQueue,
        Exim,
        Aiosmtpd,
        Haraka,
    )
}
