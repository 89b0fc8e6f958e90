"""Are the files that the configuration refers to there, readable, and closed to others: certificates, users, patterns.

The only room of the check, with the look at this host's addresses, that asks the operating system. Opens files
for reading, never sockets. Called by `config.check`.
"""

from __future__ import annotations

import datetime
import os
import stat
from itertools import pairwise

from appliance.config.lines import KeyPath
from appliance.config.problem import Report
from appliance.config.schema import Config, ListenKind
from appliance.intake.users_file import UsersTrouble
from appliance.intake.users_file import read as read_users

_SOON = datetime.timedelta(days=14)


def check_files(config: Config, report: Report, now: datetime.datetime) -> None:
    """Reports files that are missing, unreadable, of the wrong form, expired at `now` (aware), or open to others."""
    _check_certificate(config, report, now)
    if config.tls.client_ca and _readable(("tls", "client_ca"), config.tls.client_ca, report):
        _check_ca(("tls", "client_ca"), config.tls.client_ca, report)
    for index, hop in enumerate(config.next_hop):
        path: KeyPath = ("next_hop", index, "password_file")
        if hop.password_file and _readable(path, hop.password_file, report):
            _check_secret(path, hop.password_file, report)
            if not os.path.getsize(hop.password_file):
                report.error(path, f"{hop.password_file} is empty", "write the password into it")
    for place, pattern_file in enumerate(config.scan.patterns.files):
        _readable(("scan", "patterns", "files", place), pattern_file, report)
    _check_users_file(config, report)
    _check_state(config.state, report)


def _readable(path: KeyPath, name: str, report: Report) -> bool:
    try:
        with open(name, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "not a regular file")
    except OSError as error:
        report.error(path, f"{name}: {error.strerror}", "correct the path, or the file's owner and mode")
        return False
    return True


def _check_secret(path: KeyPath, name: str, report: Report) -> None:
    mode = stat.S_IMODE(os.stat(name).st_mode)
    if mode & 0o007:
        report.error(path, f"{name} is open to every user of this host (mode {mode:04o})", f"chmod 600 {name}")
    elif mode & 0o020:
        report.warning(path, f"{name} can be changed by its group (mode {mode:04o})", f"chmod 600 {name}")


def _check_certificate(config: Config, report: Report, now: datetime.datetime) -> None:
    tls = config.tls
    if tls.minimum not in ("TLSv1.2", "TLSv1.3"):
        report.error(("tls", "minimum"), f"{tls.minimum!r} is not offered", "write TLSv1.2 or TLSv1.3")
    if bool(tls.certificate) != bool(tls.key):
        missing = "key" if tls.certificate else "certificate"
        report.error(("tls",), f"tls.{missing} is missing", "give certificate and key, both or none")
        return
    if not tls.certificate:
        if not tls.self_signed and any(listen.kind is ListenKind.SMTP for listen in config.listen):
            remedy = "set tls.certificate and tls.key, or tls.self_signed = true"
            report.warning(("tls",), "no certificate: STARTTLS is not offered, mail comes in readable", remedy)
        return
    readable = [
        _readable(("tls", key), name, report) for key, name in (("certificate", tls.certificate), ("key", tls.key))
    ]
    if not all(readable):
        return
    _check_secret(("tls", "key"), tls.key, report)
    import ssl  # 4 MiB, which a role that checks no certificate is spared

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        text, remedy = "certificate and key do not work together", "give the PEM files that belong to each other"
        if reason != "KEY_VALUES_MISMATCH":
            text, remedy = "certificate or key cannot be used", "give PEM files, and a key without passphrase"
        report.error(("tls", "certificate"), f"{text} ({reason})", remedy)
        return
    _check_dates_and_names(config, report, now)


def _check_dates_and_names(config: Config, report: Report, now: datetime.datetime) -> None:
    # Takes 10 MiB to import, and only `check` needs it.
    from cryptography import x509

    path: KeyPath = ("tls", "certificate")
    with open(config.tls.certificate, "rb") as file:
        try:
            certificate = x509.load_pem_x509_certificates(file.read())[0]
        except ValueError as error:
            report.error(path, f"cannot be read: {error}", "give a PEM file, the server's own certificate first")
            return
    # `not_valid_after_utc` is younger than the oldest cryptography that we run on.
    after = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(
        tzinfo=datetime.UTC
    )
    before = getattr(certificate, "not_valid_before_utc", None) or certificate.not_valid_before.replace(
        tzinfo=datetime.UTC
    )
    if now > after:
        report.error(path, f"expired on {after:%Y-%m-%d}", "renew it")
    elif now < before:
        report.error(path, f"not valid before {before:%Y-%m-%d}", "check this host's clock, or the certificate")
    elif after - now < _SOON:
        report.warning(path, f"expires on {after:%Y-%m-%d}", "renew it")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns_names = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    except x509.ExtensionNotFound:
        dns_names = set()
    host = config.hostname.lower()
    if host not in dns_names and f"*.{host.partition('.')[2]}" not in dns_names:
        report.warning(path, f"does not hold the name {host}", "order one for the name that clients connect to")


def _check_ca(path: KeyPath, name: str, report: Report) -> None:
    import ssl  # 4 MiB, which a role that checks no certificate is spared

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(name)
    except (OSError, ValueError):
        report.error(path, f"{name} holds no certificate of an authority", "give a PEM file")


def _check_users_file(config: Config, report: Report) -> None:
    path: KeyPath = ("submission", "users_file")
    name = config.submission.users_file
    if not name:
        return
    if not os.path.lexists(name):
        report.error(path, f"{name} is not there", "add the first login with `mailweir user add NAME`")
        return
    if not _readable(path, name, report):
        return
    _check_secret(path, name, report)
    try:
        users = read_users(name)
    except UsersTrouble as error:
        report.error(path, str(error), "correct it, or write it anew with `mailweir user add`")
        return
    if not any(not user.disabled for user in users.values()):
        report.warning(path, "nobody in there can log in", "add a login with `mailweir user add NAME`")


def _check_state(state: str, report: Report) -> None:
    path: KeyPath = ("state",)
    ancestors = [state]
    while ancestors[-1] != os.path.dirname(ancestors[-1]):
        ancestors.append(os.path.dirname(ancestors[-1]))
    for ancestor, inner in pairwise(reversed(ancestors)):
        if not os.path.exists(inner):
            if not os.access(ancestor, os.W_OK | os.X_OK):
                report.warning(path, f"{inner} cannot be made by this user", "make it, owned by the gateway's user")
            return
        if not os.path.isdir(inner):
            report.error(path, f"{inner} is no directory", "name a directory")
            return
    if stat.S_IMODE(os.stat(state).st_mode) & 0o002:
        report.error(path, f"{state} can be written by every user of this host", f"chmod 750 {state}")
