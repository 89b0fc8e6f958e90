"""The demonstration: a gateway on loopback ports with a sink for a mail server, to be tried out without any file.

Everything lies in one temporary directory, whose path is printed and which stays for a look afterwards.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from appliance.config.load import parse
from appliance.config.schema import Config

SMTP, SUBMISSIONS, SUBMISSION, METRICS = 2525, 4650, 5870, 9125
LOGIN = "anna@example.test"

_CONFIG = """\
hostname = "gateway.example.test"
state = "{state}"

[[listen]]
name = "smtp"
address = "127.0.0.1:{smtp}"

[[listen]]
name = "submissions"
address = "127.0.0.1:{submissions}"
kind = "submissions"

[[listen]]
name = "submission"
address = "127.0.0.1:{submission}"
kind = "submission"

[tls]
self_signed = true

[submission]
users_file = "{state}/users.toml"

[[domain]]
name = "example.test"
next_hop = "sink"

[[next_hop]]
name = "sink"
servers = [{{ url = "smtp://127.0.0.1:{sink}" }}]
tls = "none"

[metrics]
address = "127.0.0.1:{metrics}"

[log]
to = "{state}/mailweir.log"
"""

Serve = Callable[[Config, str, Callable[[], None]], int]


def run(serve: Serve) -> int:
    """Starts the sink, then the gateway; returns its exit status.

    Raises:
        ConfigError: a port is taken.
    """
    state = Path(tempfile.mkdtemp(prefix="mailweir-demo-"))
    sink_socket = socket.socket()
    sink_socket.bind(("127.0.0.1", 0))
    text = _CONFIG.format(
        state=state, smtp=SMTP, submissions=SUBMISSIONS, submission=SUBMISSION, metrics=METRICS,
        sink=sink_socket.getsockname()[1],
    )  # fmt: skip
    path = state / "mailweir.toml"
    path.write_text(text)
    password = secrets.token_hex(8)
    _add_user(str(state / "users.toml"), password)
    sink = _start_sink(sink_socket)
    try:
        return serve(parse(text, str(path)), str(path), lambda: print(_welcome(state, password), flush=True))
    finally:
        os.kill(sink, signal.SIGTERM)
        os.waitpid(sink, 0)
        print(f"Stopped. The state is still in {state}", flush=True)


def _add_user(path: str, password: str) -> None:
    from appliance.intake.users import hashed
    from appliance.intake.users_file import User, edited

    with edited(path) as users:
        users[LOGIN] = User(name=LOGIN, hash=hashed(password))


def _start_sink(sock: socket.socket) -> int:
    """Forks the mail server of the demonstration; returns its pid."""
    pid = os.fork()
    if pid:
        sock.close()
        return pid
    status = 1
    try:
        from appliance.daemon.sink import serve_sink

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve_sink(sock)
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def _welcome(state: Path, password: str) -> str:
    return f"""
Mailweir is listening on 127.0.0.1: SMTP {SMTP}, submission {SUBMISSION} (STARTTLS) and {SUBMISSIONS} (TLS),
metrics http://127.0.0.1:{METRICS}/metrics. Mail for example.test goes to a sink that prints it here. Paste one:

  send    swaks --server 127.0.0.1:{SMTP} --from you@sender.test --to anna@example.test
          printf 'Subject: hello\\r\\n\\r\\nHello\\r\\n' | curl -sS smtp://127.0.0.1:{SMTP} --mail-from you@sender.test --mail-rcpt anna@example.test -T -
          python3 -c "import smtplib; smtplib.SMTP('127.0.0.1', {SMTP}).sendmail('you@sender.test', 'anna@example.test', 'Subject: hello\\n\\nHello')"

  submit  swaks --server 127.0.0.1:{SUBMISSION} -tls --auth PLAIN --auth-user {LOGIN} --auth-password '{password}' --from {LOGIN} --to anna@example.test

  refused swaks --server 127.0.0.1:{SMTP} --from you@sender.test --to somebody@elsewhere.test
          swaks --server 127.0.0.1:{SMTP} --from you@sender.test --to anna@example.test --body 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'

State, log and configuration: {state}
Ctrl-C ends it.
"""
