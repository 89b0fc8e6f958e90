"""Renewed certificates: taken into use by running workers, at every door, without ending a session."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

from tests.support.certificates import certificate_file
from tests.support.client import Client, trusting_context
from tests.support.conditions import until
from tests.support.gateway import Gateway
from tests.support.sink import Sink


def shown(port: int, *, first: bool = False) -> bytes:
    """The certificate, in DER, that a new session on `port` is shown; `first`: TLS comes first there."""
    context = trusting_context()
    client = Client(port, tls=context if first else None)
    client.answer()
    if not first:
        client.hello()
        client.starttls(context)
    assert isinstance(client.socket, ssl.SSLSocket)
    raw_certificate = client.socket.getpeercert(binary_form=True)
    client.close()
    return raw_certificate or b""


def replace(path: Path, new: str) -> None:
    """As who renews certificates does it: another file of the same name."""
    copy = path.with_suffix(".new")
    shutil.copy(new, copy)
    copy.chmod(0o600)
    copy.replace(path)


def test_a_renewed_certificate_is_shown_without_a_reload_and_open_sessions_go_on(tmp_path: Path) -> None:
    files = [certificate_file(name) for name in ("a.test", "b.test", "c.test")]
    own = tmp_path / "own.pem"
    replace(own, files[0])
    tls = {"tls": {"certificate": str(own), "key": str(own), "self_signed": False, "look_every": "500ms"}}
    with Sink() as sink, Gateway([sink.url], tls, submission=True) as gateway, Client(gateway.port) as old:
        doors = ((gateway.port, False), (gateway.submission_port, False), (gateway.submissions_port, True))
        old.hello()
        old.starttls()
        before = shown(gateway.port)

        def all_show_another() -> bytes:
            now = {shown(port, first=first) for port, first in doors}
            return now.pop() if len(now) == 1 and before not in now else b""

        replace(own, files[1])
        before = until(all_show_another, "the second certificate at all doors")
        gateway.config["limits"]["hops"] = 49
        gateway.reload()
        replace(own, files[2])
        before = until(all_show_another, "the third one, behind a reload")
        assert not gateway.events("certificate_refused")
        own.write_text("rubbish")
        gateway.wait_for_event("certificate_refused")
        assert {shown(port, first=first) for port, first in doors} == {before}
        old.hello()
        assert old.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250


def test_another_certificate_by_a_reload_reaches_the_door_where_tls_comes_first(tmp_path: Path) -> None:
    with Gateway(submission=True) as gateway:
        before = shown(gateway.submissions_port, first=True)
        own = certificate_file("a.test")
        gateway.config["tls"] = {"certificate": own, "key": own}
        gateway.reload()
        assert shown(gateway.submissions_port, first=True) == shown(gateway.port) != before


def test_no_worker_has_the_library_that_makes_certificates() -> None:
    more = {"workers": {"count": 2}}
    with Gateway(more=more, submission=True) as gateway:
        assert (gateway.state / "self-signed.pem").exists()
        for pid in gateway.worker_pids:
            assert "cryptography" not in Path(f"/proc/{pid}/maps").read_text()
