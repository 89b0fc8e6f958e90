"""The clamd scanner against a real clamd, started here with its own configuration and signatures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import pwd
import select
import shutil
import socket
import subprocess

import pytest
import uvloop

from appliance.config.schema import Clamd, Duration, Size
from appliance.core.verdict import FailPolicy
from appliance.scan.clamd import ClamdScanner
from appliance.scan.known_strings import EICAR
from appliance.scan.patterns import pattern_scanner
from appliance.scan.tee import Tee
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.sink import Sink

CLAMD = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MARKER = b"mailweir-test-marker-71c2"
STREAM_LIMIT_OCTETS = 4 << 20
START_S = 60
WHOLE_FILE = b"From: a@example.test\r\n\r\n.known bad file\r\n"


@pytest.fixture(scope="module")
def clamd(tmp_path_factory):
    """The addresses (Unix, TCP) of a clamd that knows one hash and two strings."""
    assert CLAMD, "clamd is not installed; ./scripts/test installs it"
    home = tmp_path_factory.mktemp("clamd")
    home.chmod(0o755)
    signatures = home / "db"
    signatures.mkdir()
    (signatures / "own.hdb").write_text(f"{hashlib.md5(WHOLE_FILE).hexdigest()}:{len(WHOLE_FILE)}:Own.Whole-1\n")
    (signatures / "own.ndb").write_text(f"Own.Marker-1:0:*:{MARKER.hex()}\nOwn.Eicar-1:0:*:{EICAR.hex()}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = home / "clamd.conf"
    configuration.write_text(
        f"Foreground yes\nDatabaseDirectory {signatures}\nLocalSocket {home}/ctl\nTCPSocket {port}\n"
        f"TCPAddr 127.0.0.1\nStreamMaxLength {STREAM_LIMIT_OCTETS}\nPidFile {home}/pid\nUser {_user()}\n"
        f"TemporaryDirectory {home}\nLogFile {home}/log\nOfficialDatabaseOnly no\nSelfCheck 0\n"
    )
    process = subprocess.Popen(
        [CLAMD, "--config-file", str(configuration)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        _wait_until_it_answers(process, f"{home}/ctl")
        yield f"unix:{home}/ctl", f"tcp:127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=START_S)


def _user():
    return pwd.getpwuid(os.getuid()).pw_name


def _wait_until_it_answers(process, path):
    """Waits for clamd's first words after loading, which it writes once its sockets listen."""
    said = b""
    while b"Self checking" not in said:
        assert select.select([process.stdout], [], [], START_S)[0], f"clamd is silent; it said {said!r}"
        more = os.read(process.stdout.fileno(), 65536)
        assert more, f"clamd ended; it said {said!r}"
        said += more
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_S)
        connection.connect(path)
        connection.sendall(b"zPING\0")
        assert connection.recv(64) == b"PONG\0"


async def scanned(scanner, *pieces, dotted=True):
    drained = asyncio.Event()
    scan = scanner.begin(dotted=dotted, on_drained=drained.set)
    for piece in pieces:
        drained.clear()
        if not scan.feed(memoryview(piece)):
            await drained.wait()
    answer = asyncio.get_running_loop().create_future()
    scan.finish(answer.set_result)
    return await answer


def scan(address, *pieces, dotted=True, **fields):
    fields = {"budget": Duration(60), **fields}
    return asyncio.run(scanned(ClamdScanner(Clamd(address=address, **fields)), *pieces, dotted=dotted))


def test_clean_mail_passes_over_both_kinds_of_socket(clamd):
    for address in clamd:
        assert scan(address, b"Subject: hi\r\n\r\n", b"clean\r\n") == ()


def test_a_marker_cut_over_two_feeds_is_found_with_its_signature_s_name(clamd):
    for address in clamd:
        (found,) = scan(address, b"a\r\n" + MARKER[:9], MARKER[9:] + b"\r\n")
        assert found.rule == "Own.Marker-1.UNOFFICIAL"
        assert (found.scanner, found.tags, found.trouble) == ("clamd", ("virus",), False)


def test_eicar_is_found_by_patterns_and_clamd_in_one_pass(clamd):
    tee = Tee([
        pattern_scanner([], fail=FailPolicy.TEMPFAIL),
        ClamdScanner(Clamd(address=clamd[0], budget=Duration(60))),
    ])  # fmt: skip
    found = asyncio.run(scanned(tee, b"Subject: x\r\n\r\n" + EICAR + b"\r\n"))
    assert [(finding.scanner, finding.rule) for finding in found] == [
        ("patterns", "EICAR"),
        ("clamd", "Own.Eicar-1.UNOFFICIAL"),
    ]


def test_clamd_sees_the_message_without_dot_stuffing(clamd):
    stuffed = WHOLE_FILE.replace(b"\r\n.", b"\r\n..")
    (found,) = scan(clamd[0], stuffed)
    assert found.rule == "Own.Whole-1.UNOFFICIAL"
    assert scan(clamd[0], stuffed, dotted=False) == ()


def test_a_message_over_clamd_s_own_limit_is_trouble(clamd):
    pieces = [b"x" * 262_144] * (STREAM_LIMIT_OCTETS // 262_144 + 4)
    (found,) = scan(clamd[0], *pieces, fail=FailPolicy.REFUSE)
    assert found.trouble
    assert found.rule in ("error", "closed-early")
    assert found.fail is FailPolicy.REFUSE


def test_a_message_kept_below_clamd_s_limit_is_scanned_as_far_as_it_goes(clamd):
    pieces = [MARKER, *[b"x" * 262_144] * 20]
    (found,) = scan(clamd[0], *pieces, max_size=Size(STREAM_LIMIT_OCTETS - 1))
    assert found.rule == "Own.Marker-1.UNOFFICIAL"
    (found,) = scan(clamd[0], *pieces[1:], max_size=Size(STREAM_LIMIT_OCTETS - 1))
    assert (found.rule, found.trouble) == ("max-size", True)


def test_twenty_messages_at_one_time_are_kept_apart(clamd):
    async def main():
        scanner = ClamdScanner(Clamd(address=clamd[0], budget=Duration(60)))
        messages = [b"bad " + MARKER if number % 2 else b"clean" for number in range(20)]
        return await asyncio.gather(*(scanned(scanner, b"x" * 10_000 + message) for message in messages))

    assert [len(found) for found in asyncio.run(main())] == [0, 1] * 10


def test_it_works_on_uvloop(clamd):
    async def main():
        scanner = ClamdScanner(Clamd(address=clamd[0], budget=Duration(60), buffer=Size(65536)))
        return await scanned(scanner, *[b"y" * 200_000] * 10, MARKER)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        (found,) = runner.run(main())
    assert found.rule == "Own.Marker-1.UNOFFICIAL"


def test_a_clamd_that_is_gone_is_trouble(tmp_path):
    (found,) = scan(f"unix:{tmp_path}/none", b"abc")
    assert (found.rule, found.trouble) == ("unreachable", True)


def gateway_with(address: str, sink: Sink, **more: object) -> Gateway:
    return Gateway([sink.url], {"scan": {"clamd": {"enabled": True, "address": address, "budget": "60s", **more}}})


def attached(content: bytes) -> bytes:
    """A message that has `content` as an attachment in base64, where no pattern sees it."""
    head = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
    return head + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content).replace(b"\n", b"\r\n")


def test_row_17_what_only_clamd_finds_is_refused_at_the_door_and_the_wait_for_it_is_counted(clamd):
    for address in clamd:
        with Sink() as sink, gateway_with(address, sink) as gateway, Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", "b@example.test", attached(b"harmless")).code == 250
            assert gateway.metric("mailweir_scanner_wait_seconds_count", 'scanner="clamd"') == 1
            for content in (MARKER, EICAR):
                answer = client.message("a@s.test", "b@example.test", attached(b"MZ" + content))
                assert answer.code == 554
                assert gateway.wait_for_event("message", id=answer.id)["facts"][0][0] == "clamd"
            assert gateway.metric("mailweir_scanner_wait_seconds_count", 'scanner="clamd"') == 3
            assert gateway.metric("mailweir_scanner_wait_seconds_sum", 'scanner="clamd"') > 0
            assert len(sink.seen) == 1


@pytest.mark.parametrize(("fail", "code"), [("tempfail", 451), ("refuse", 554), ("open", 250)])
def test_what_a_dead_clamd_means_is_the_fail_policys_to_say(fail, code, tmp_path):
    with (
        Sink() as sink,
        gateway_with(f"unix:{tmp_path}/none", sink, fail=fail) as gateway,
        Client(gateway.port) as client,
    ):
        client.hello()
        assert client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == code
        assert len(sink.seen) == (code == 250)
        assert gateway.metric("mailweir_scanner_troubles_total", 'scanner="clamd"') == 1
