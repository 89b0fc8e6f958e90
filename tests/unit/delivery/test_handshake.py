"""Opening a connection to a real server on loopback: greeting, EHLO, TLS as policy says, AUTH, and ways to fail."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import uvloop

from appliance.config.schema import Duration, HopServer, HopTls, NextHop, Timeouts
from appliance.core.errors import GatewayError, NextHopDown, TlsPolicyFailed
from appliance.delivery.endpoint import parse_endpoint
from appliance.delivery.handshake import Handshake, Refused
from appliance.tls.contexts import ClientContexts
from tests.support.certificates import certificate_file, public_part, server_context
from tests.support.sink import Sink, hang_up, held, say

NAME = "hop.test"


def handshake(url, hostname="gate.test", timeouts=None, **hop):
    config = NextHop(name="inside", servers=[HopServer(url=url)], **hop)
    return Handshake(
        config, hostname=hostname, timeouts=timeouts or Timeouts(), contexts=ClientContexts(), now_s=time.monotonic
    )


def opened(url, run=asyncio.run, hostname="gate.test", timeouts=None, **hop):
    """Opens a connection and closes it; what it was like."""

    async def open_and_close():
        connection = await handshake(url, hostname, timeouts, **hop).open(parse_endpoint(url))
        assert connection.trouble is None and connection.engine.idle
        connection.quit()
        await asyncio.sleep(0)
        return connection

    return run(open_and_close())


def fingerprint():
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(public_part(NAME)).read_text())).hexdigest()


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("geheim\n")
    return str(path)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_is_ready_and_knows_what_the_server_offers(run):
    with Sink() as sink:
        connection = opened(sink.url, run, tls=HopTls.MAY)
    assert "PIPELINING" in connection.extensions and connection.tls == ""
    assert sink.lines[0] == "EHLO gate.test"


def test_a_server_that_refuses_ehlo_is_spoken_to_with_helo():
    with Sink() as sink:
        sink.script["EHLO"] = say("502 5.5.1 what?")
        connection = opened(sink.url)
    assert connection.extensions == {} and sink.lines[:2] == ["EHLO gate.test", "HELO gate.test"]


def test_lmtp_says_lhlo():
    with Sink(lmtp=True) as sink:
        opened(sink.url)
    assert sink.lines[0] == "LHLO gate.test"


def test_a_unix_socket_is_a_server_too(tmp_path):
    path = tmp_path / "lmtp"

    async def serve_and_open():
        async def serve(reader, writer):
            writer.write(b"220 hop\r\n")
            await reader.readline()
            writer.write(b"250 hop\r\n")

        async with await asyncio.start_unix_server(serve, path):
            connection = await handshake(f"lmtp://{path}").open(parse_endpoint(f"lmtp://{path}"))
            connection.quit()

    asyncio.run(serve_and_open())


def test_a_connected_socket_is_taken_over():
    with Sink() as sink:

        async def open_on():
            sock = socket.create_connection((sink.host, sink.port))
            sock.setblocking(False)
            connection = await handshake(sink.url).open_on(sock, parse_endpoint(sink.url))
            connection.quit()
            await asyncio.sleep(0)

        asyncio.run(open_on())
    assert sink.lines[0] == "EHLO gate.test"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tls_is_used_where_it_is_offered_and_what_was_said_before_is_forgotten(run):
    with Sink(tls=server_context(NAME)) as sink:
        connection = opened(sink.url, run, tls=HopTls.MAY)
    assert connection.tls.startswith("TLSv1.3") and "STARTTLS" not in connection.extensions
    assert sink.commands["EHLO"] == 2


def test_tls_is_left_alone_where_policy_wants_none():
    with Sink(tls=server_context(NAME)) as sink:
        connection = opened(sink.url, tls=HopTls.NONE)
    assert connection.tls == "" and sink.commands["STARTTLS"] == 0


@pytest.mark.parametrize("tls", [HopTls.ENCRYPT, HopTls.VERIFY])
def test_a_server_without_tls_gets_nothing_where_policy_requires_it(tls):
    with Sink() as sink, pytest.raises(TlsPolicyFailed) as failed:
        opened(sink.url, tls=tls)
    assert failed.value.reply.temporary and sink.commands["MAIL"] == 0


def test_a_refused_starttls_is_lived_with_or_not_as_policy_says():
    with Sink(tls=server_context(NAME)) as sink:
        sink.script["STARTTLS"] = say("454 4.7.0 not now")
        assert opened(sink.url, tls=HopTls.MAY).tls == ""
        with pytest.raises(TlsPolicyFailed):
            opened(sink.url, tls=HopTls.ENCRYPT)


def test_octets_behind_the_answer_to_starttls_end_the_connection():
    with Sink(tls=server_context(NAME)) as sink:
        sink.script["STARTTLS"] = say("220 2.0.0 go on\n250 injected")
        for tls in (HopTls.MAY, HopTls.ENCRYPT):
            with pytest.raises(GatewayError) as failed:
                opened(sink.url, tls=tls)
            assert failed.value.reply.temporary


def test_a_certificate_is_verified_by_name_and_authority():
    with Sink(tls=server_context(NAME)) as sink:
        good = {"tls": HopTls.VERIFY, "tls_name": NAME, "tls_ca": public_part(NAME)}
        assert opened(sink.url, **good).tls
        with pytest.raises(TlsPolicyFailed):
            opened(sink.url, **good | {"tls_name": "other.test"})
        with pytest.raises(TlsPolicyFailed):
            opened(sink.url, **good | {"tls_ca": ""})


def test_a_certificate_is_verified_by_fingerprint_instead():
    with Sink(tls=server_context(NAME)) as sink:
        assert opened(sink.url, tls=HopTls.VERIFY, tls_fingerprints=[fingerprint()]).tls
        with pytest.raises(TlsPolicyFailed):
            opened(sink.url, tls=HopTls.VERIFY, tls_fingerprints=["00" * 32])


@pytest.mark.parametrize("tls", [HopTls.NONE, HopTls.ENCRYPT])
def test_smtps_is_tls_from_the_first_octet_whatever_the_policy(tls):
    with Sink(tls=server_context(NAME), implicit_tls=True) as sink:
        assert opened(sink.url, tls=tls).tls
    assert sink.commands["STARTTLS"] == 0


def test_a_certificate_is_checked_on_smtps_too():
    with Sink(tls=server_context(NAME), implicit_tls=True) as sink, pytest.raises(GatewayError) as failed:
        opened(sink.url, tls=HopTls.VERIFY, tls_name=NAME)
    assert isinstance(failed.value, TlsPolicyFailed) and failed.value.reply.temporary


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_smart_host_is_logged_in_to(password_file, mechanism):
    with Sink(tls=server_context(NAME), login=("anna", "geheim")) as sink:
        if mechanism == "LOGIN":
            sink.script["EHLO"] = say("250-sink.test\n250-STARTTLS\n250 AUTH LOGIN")
        opened(sink.url, tls=HopTls.ENCRYPT, username="anna", password_file=password_file)
    assert sink.commands["AUTH"] == 1


def test_a_password_is_not_sent_in_clear_because_the_server_forgot_tls(password_file):
    with Sink(login=("anna", "geheim")) as sink, pytest.raises(TlsPolicyFailed):
        opened(sink.url, tls=HopTls.MAY, username="anna", password_file=password_file)
    assert sink.commands["AUTH"] == 0


def test_a_refused_login_is_temporary(password_file):
    with Sink(login=("anna", "other")) as sink, pytest.raises(Refused) as failed:
        opened(sink.url, tls=HopTls.NONE, username="anna", password_file=password_file)
    assert failed.value.reply.temporary and "geheim" not in str(failed.value)


def test_a_missing_password_file_is_temporary_and_named():
    with Sink(login=("anna", "x")) as sink, pytest.raises(GatewayError, match="/nowhere") as failed:
        opened(sink.url, tls=HopTls.NONE, username="anna", password_file="/nowhere")
    assert failed.value.reply.temporary


def test_a_server_without_a_mechanism_of_ours_is_temporary(password_file):
    with Sink() as sink, pytest.raises(Refused) as failed:
        opened(sink.url, tls=HopTls.NONE, username="anna", password_file=password_file)
    assert failed.value.reply.temporary


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO"])
@pytest.mark.parametrize("said", ["554 5.3.2 go away", "421 4.3.2 busy", "450 4.3.2 later"])
def test_a_refusal_before_a_transaction_is_temporary_whatever_its_code(stage, said):
    with Sink() as sink:
        sink.script[stage] = say(said)
        sink.script["HELO"] = say(said)
        with pytest.raises(GatewayError) as failed:
            opened(sink.url)
    assert failed.value.reply.temporary


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "STARTTLS"])
def test_a_server_that_hangs_up_is_temporary(stage):
    with Sink(tls=server_context(NAME)) as sink:
        sink.script[stage] = hang_up
        with pytest.raises(GatewayError) as failed:
            opened(sink.url, tls=HopTls.ENCRYPT)
    assert failed.value.reply.temporary


def test_a_server_that_babbles_is_temporary():
    with Sink() as sink:
        sink.script["CONNECT"] = say("999 what")
        with pytest.raises(GatewayError) as failed:
            opened(sink.url)
    assert failed.value.reply.temporary


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO"])
def test_a_mute_server_is_given_up(stage):
    going_on = threading.Event()
    short = Timeouts(greeting=Duration(0.05), reply=Duration(0.05))
    with Sink() as sink:
        sink.script[stage] = held(going_on, hang_up)
        with pytest.raises(NextHopDown):
            opened(sink.url, timeouts=short)
        going_on.set()


def test_a_server_that_is_not_there_is_down():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(NextHopDown) as failed:
            opened(f"smtp://127.0.0.1:{nobody.getsockname()[1]}")
    assert failed.value.reply.temporary


def test_an_authority_file_that_is_not_there_is_our_trouble_and_temporary():
    with Sink(tls=server_context(NAME)) as sink, pytest.raises(GatewayError) as failed:
        opened(sink.url, tls=HopTls.VERIFY, tls_name=NAME, tls_ca=certificate_file(NAME) + ".missing")
    assert failed.value.reply.temporary and sink.commands["MAIL"] == 0
