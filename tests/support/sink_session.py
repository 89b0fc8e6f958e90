"""One connection to a sink, in a thread of its own: the dialogue, as the sink's script wants it. Called by `sink`."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import TYPE_CHECKING

from tests.support.sink_script import CONNECTION_TIMEOUT_S, Taken

if TYPE_CHECKING:
    from tests.support.sink import Sink

_DEFAULTS = {
    "CONNECT": "220 sink.test ESMTP", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "DATA": "354 go on",
    "BODY": "250 2.0.0 taken", "RSET": "250 2.0.0 ok", "NOOP": "250 2.0.0 ok", "QUIT": "221 2.0.0 bye",
}  # fmt: skip


class Session:
    """One connection to a sink, in a thread of its own."""

    def __init__(self, sink: Sink, sock: socket.socket) -> None:
        self.sink = sink
        self.socket = sock
        self._input = b""
        self._message: Taken | None = None
        self._accepted: list[str] = []
        self._hello = ""

    def run(self) -> None:
        sink = self.sink
        if sink.implicit_tls:
            self._upgrade()
        if not self._do("CONNECT", ""):
            return
        while True:
            line = self._line()
            verb = line[:4].upper() if not line.upper().startswith("STARTTLS") else "STARTTLS"
            with sink._lock:
                sink.commands[verb] += 1
                sink.lines.append(line)
            handler = getattr(self, f"_on_{verb.lower()}", None)
            going_on = handler(line) if handler else self._do(verb, line, "500 5.5.2 what?")
            if not going_on:
                return

    # -- octets

    def _line(self) -> str:
        while b"\r\n" not in self._input:
            self._more()
        line, _, self._input = self._input.partition(b"\r\n")
        if self._input:
            self.sink.packed.append(line)
        return line.decode("utf-8", "replace")

    def _more(self, limit: int = 262144) -> None:
        more = self.socket.recv(limit)
        if not more:
            raise EOFError
        self._input += more

    def _reply(self, text: str) -> None:
        self.socket.sendall(text.replace("\n", "\r\n").encode() + b"\r\n")

    def _do(self, stage: str, line: str, default: str = "") -> bool:
        """Acts as the script says; False when the connection is to be closed."""
        act = self.sink.script.get(stage)
        reply = act(line) if act is not None else default or _DEFAULTS.get(stage, "500 5.5.2 what?")
        if reply is None:
            return False
        self._reply(reply)
        self._said = int(reply[:3])
        return self._said != 421

    def _upgrade(self) -> None:
        context = self.sink.tls
        assert context is not None
        old = self.socket
        self.socket = context.wrap_socket(old, server_side=True)
        self.sink.note_upgrade(old, self.socket)

    # -- commands

    def _on_ehlo(self, line: str) -> bool:
        self._hello = line
        words = ["sink.test", *self.sink.extensions]
        clear = not isinstance(self.socket, ssl.SSLSocket)
        if clear and self.sink.tls is not None:
            words.append("STARTTLS")
        if self.sink.login is not None:
            words.append("AUTH PLAIN LOGIN")
        lines = [f"250-{word}" for word in words[:-1]] + [f"250 {words[-1]}"]
        return self._do("EHLO", line, "\n".join(lines))

    _on_lhlo = _on_ehlo

    def _on_helo(self, line: str) -> bool:
        self._hello = line
        return self._do("HELO", line, "250 sink.test")

    def _on_starttls(self, line: str) -> bool:
        if not self._do("STARTTLS", line, "220 2.0.0 go on"):
            return False
        if self._said == 220:
            self._upgrade()
            self._input = b""
        return True

    def _on_auth(self, line: str) -> bool:
        words = line.split()
        if words[1].upper() == "PLAIN":
            _, name, password = base64.b64decode(words[2]).decode().split("\0")
        else:
            self._reply("334 " + base64.b64encode(b"Username:").decode())
            name = base64.b64decode(self._line()).decode()
            self._reply("334 " + base64.b64encode(b"Password:").decode())
            password = base64.b64decode(self._line()).decode()
        good = (name, password) == self.sink.login
        return self._do("AUTH", line, "235 2.7.0 welcome" if good else "535 5.7.8 no")

    def _on_mail(self, line: str) -> bool:
        going_on = self._do("MAIL", line)
        if going_on and self._said < 300:
            tls = self.socket.version() or "" if isinstance(self.socket, ssl.SSLSocket) else ""
            self._message = Taken(line, tls=tls, hello=self._hello)
            self._accepted = []
        return going_on

    def _on_rcpt(self, line: str) -> bool:
        if self._message is None:
            self._reply("503 5.5.1 MAIL first")
            return True
        going_on = self._do("RCPT", line)
        if going_on and self._said < 300:
            self._accepted.append(line)
        return going_on

    def _on_rset(self, line: str) -> bool:
        self._message = None
        return self._do("RSET", line)

    def _on_quit(self, line: str) -> bool:
        self._do("QUIT", line)
        return False

    def _on_data(self, line: str) -> bool:
        if self._message is None or not self._accepted:
            self._reply("503 5.5.1 RCPT first")
            return True
        if not self._do("DATA", line):
            return False
        if self._said != 354:
            return True
        raw = self._read_body()
        message = self._message
        message.raw, message.recipients = raw, self._accepted
        return self._finish(message)

    def _read_body(self) -> bytes:
        """Everything up to the final dot's line, less that line. Searches the seam only, for bodies are large."""
        sink, body = self.sink, bytearray(b"\r\n" + self._input)
        self._input = b""
        start = 0
        try:
            while (end := body.find(b"\r\n.\r\n", max(0, start - 4))) < 0:
                start = len(body)
                if sink.cut_body_after_bytes is not None and start - 2 >= sink.cut_body_after_bytes:
                    raise EOFError
                sink.reading.wait(CONNECTION_TIMEOUT_S)
                self._more(65536)
                body += self._input
                self._input = b""
        except (EOFError, OSError):
            with sink._lock:
                sink.cut.append(bytes(body[2:]))
            raise
        self._input = bytes(body[end + 5 :])
        return bytes(body[2 : end + 2])

    def _on_bdat(self, line: str) -> bool:
        words = line.split()
        size, message = int(words[1]), self._message
        while len(self._input) < size:
            self._more()
        chunk, self._input = self._input[:size], self._input[size:]
        if message is None or not self._accepted:
            self._reply("503 5.5.1 RCPT first")
            return True
        message.raw += chunk
        message.dotted, message.recipients = False, self._accepted
        if len(words) < 3:
            return self._do("BDAT", line, "250 2.0.0 more")
        return self._finish(message)

    def _finish(self, message: Taken) -> bool:
        """Answers the end of a message: once, or by LMTP for each recipient (RFC 2033 §4.2)."""
        sink = self.sink
        with sink._lock:
            sink.seen.append(message)
        self._message = None
        going_on = True
        for recipient in message.recipients if sink.lmtp else [message.mail]:
            act = sink.script.get("BODY")
            reply = act(recipient) if act is not None else _DEFAULTS["BODY"]
            if reply is None:
                return False
            if reply.startswith("2") and not message.accepted:
                # Noted before it is said: whoever hears the 250 may look at once.
                message.accepted = True
                with sink._lock:
                    sink.taken.append(message)
            self._reply(reply)
            going_on = not reply.startswith("421")
        return going_on
