"""Does a mail server answer, and how: no message is sent. Called by `look`, in a thread."""

from __future__ import annotations

import smtplib
import ssl

from appliance.config.host_port import HostPort
from appliance.network.step import Step, step

_TIMEOUT_S = 8.0
_LONGEST_BANNER = 200


def smtp_steps(where: HostPort) -> list[Step]:
    """Connection, banner, EHLO, STARTTLS. Blocks for a few times 8 seconds at most."""
    steps: list[Step] = []
    smtp = smtplib.SMTP(timeout=_TIMEOUT_S)
    try:
        code, banner = smtp.connect(where.host, where.port)
        steps.append(step(f"port {where.port}", True, "open"))
        steps.append(step("banner", code == 220, f"{code} {_line(banner)}"))
        if code != 220:
            return steps
        code, said = smtp.ehlo()
        steps.append(step("EHLO", code == 250, f"{code} {_line(said)}"))
        if code == 250:
            steps.append(_starttls(smtp, where.host))
    except TimeoutError:
        steps.append(step("answer" if steps else f"port {where.port}", False, f"none within {_TIMEOUT_S:g} s"))
    except OSError as error:  # smtplib's are, too
        text = error.strerror or str(error)
        steps.append(step("answer" if steps else f"port {where.port}", False, text))
    finally:
        smtp.close()
    return steps


def _starttls(smtp: smtplib.SMTP, host: str) -> Step:
    if not smtp.has_extn("starttls"):
        return step("STARTTLS", False, "not offered; mail goes there in clear")
    # Without verification, as for mail with `tls = "may"`: whether TLS works at all is what is asked here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    code, said = smtp.docmd("STARTTLS")
    if code != 220 or smtp.sock is None:
        return step("STARTTLS", False, f"offered, and refused: {code} {_line(said)}")
    try:
        with context.wrap_socket(smtp.sock, server_hostname=host) as secured:
            return step("STARTTLS", True, str(secured.version()))
    except OSError as error:
        return step("STARTTLS", False, f"offered, and fails: {error}")


def _line(raw_text: bytes) -> str:
    lines = raw_text.decode("utf-8", "replace").splitlines()
    return lines[0][:_LONGEST_BANNER] if lines else ""
