"""Can clients come in as intended: listeners, the submission ports, scanners' and other services' addresses.

No I/O. Called by `config.check`.
"""

from __future__ import annotations

import ipaddress
import os

from appliance.config.host_port import HostPort, host_port
from appliance.config.lines import KeyPath
from appliance.config.problem import Report
from appliance.config.schema import Config, Listen, ListenKind

_SOCKET_PATH_OCTETS = 107  # sun_path, unix(7)
_LONGEST_SOCKET_NAME = "/control/worker-1023.sock"
_LEAST_JOURNAL_MIB = 16
_LEVELS = ("debug", "info", "warning", "error")


def check_listeners(config: Config, report: Report) -> None:
    """Reports addresses that cannot be bound and ports that could serve nobody."""
    seen: dict[HostPort, str] = {}
    for index, listen in enumerate(config.listen):
        path: KeyPath = ("listen", index)
        try:
            address = host_port(listen.address)
        except ValueError as error:
            report.error((*path, "address"), f"{listen.address!r}: {error}", 'write "0.0.0.0:25" or "[::]:25"')
        else:
            _check_address(address, path, seen, report)
            seen.setdefault(address, listen.name)
        if listen.proxy_protocol and not config.trusted.proxy:
            report.error(
                (*path, "proxy_protocol"),
                "nobody is trusted to send a PROXY header",
                "list the proxies in trusted.proxy",
            )
        if listen.proxy_protocol and listen.kind is ListenKind.SUBMISSIONS:
            report.error(
                (*path, "proxy_protocol"),
                "a PROXY header cannot come before TLS from the first octet: every session would fail",
                'write kind = "submission" for the port that the proxy uses, or let it pass connections without header',
            )
        if listen.kind is not ListenKind.SMTP:
            _check_submission_port(config, listen, path, report)
    if not config.listen:
        report.warning((), "there is no listener: no mail can come in", "add a [[listen]]")
    _check_submission(config, report)


def _check_address(address: HostPort, path: KeyPath, seen: dict[HostPort, str], report: Report) -> None:
    if address.ip is None:
        report.error((*path, "address"), f"{address.host!r} is a name", "write the IP address to listen on")
    if address.port and address in seen:
        report.error((*path, "address"), f"listener {seen[address]!r} has the same address", "give each its own port")


def _check_submission_port(config: Config, listen: Listen, path: KeyPath, report: Report) -> None:
    if not config.submission.users_file:
        report.error(path, f"nobody could log in on {listen.name!r}", "set submission.users_file")
    if not (config.tls.certificate or config.tls.self_signed):
        remedy = "set tls.certificate and tls.key, or tls.self_signed = true"
        report.error(path, f"without a certificate nobody may log in on {listen.name!r}", remedy)


def _check_submission(config: Config, report: Report) -> None:
    submission = config.submission
    if submission.users_file and not submission.sender_must_match:
        report.warning(
            ("submission", "sender_must_match"),
            "each login may send as anybody",
            "leave it true, and give logins addresses",
        )
    if submission.users_file and not submission.lockout:
        report.warning(("submission", "lockout"), "passwords may be guessed without end", 'write lockout = "15m"')


def check_services(config: Config, report: Report) -> None:
    """Reports what is wrong with DNS servers, scanners, metrics and the log."""
    for index, server in enumerate(config.dns.servers):
        try:
            # One address without port may also be a bare IPv6 address.
            ip = host_port(server, 53).ip if server.count(":") < 2 or "[" in server else ipaddress.ip_address(server)
        except ValueError:
            ip = None
        if ip is None:
            remedy = 'write "127.0.0.1", "127.0.0.1:5353" or "[::1]:5353"'
            report.error(("dns", "servers", index), f"{server!r} is no IP address with an optional port", remedy)
    _check_scanners(config, report)
    if config.metrics.address:
        _check_metrics(config.metrics.address, report)
    if config.log.level not in _LEVELS:
        report.error(("log", "level"), f"there is no level {config.log.level!r}", f"write one of: {', '.join(_LEVELS)}")
    if 0 < config.log.keep_mib < _LEAST_JOURNAL_MIB:
        text = f"{config.log.keep_mib} MiB are hardly more than there is in memory anyway"
        report.error(("log", "keep_mib"), text, f"write {_LEAST_JOURNAL_MIB} to 512, or 0 to keep nothing")
    if len(os.fsencode(config.state + _LONGEST_SOCKET_NAME)) > _SOCKET_PATH_OCTETS:
        most = _SOCKET_PATH_OCTETS - len(_LONGEST_SOCKET_NAME)
        report.error(("state",), "the path is too long for the control sockets in it", f"use at most {most} octets")


def _check_scanners(config: Config, report: Report) -> None:
    scan = config.scan
    if scan.patterns.engine not in ("auto", "hyperscan", "re2"):
        path: KeyPath = ("scan", "patterns", "engine")
        report.error(path, f"there is no engine {scan.patterns.engine!r}", "write auto, hyperscan or re2")
    if not scan.patterns.enabled:
        report.warning(
            ("scan", "patterns", "enabled"), "GTUBE, EICAR and your own patterns are not looked for", "leave it true"
        )
    if not scan.clamd.enabled:
        return
    kind, _, where = scan.clamd.address.partition(":")
    remedy = 'write "unix:/path/of/clamd.ctl" or "tcp:127.0.0.1:3310"'
    try:
        if kind == "tcp":
            host_port(where)
        elif kind != "unix" or not where:
            raise ValueError("neither unix: nor tcp:")
    except ValueError as error:
        report.error(("scan", "clamd", "address"), f"{scan.clamd.address!r}: {error}", remedy)
    if scan.clamd.max_size < config.limits.message_size:
        report.warning(
            ("scan", "clamd", "max_size"),
            "messages may be longer than what clamd gets to see of them",
            "make it at least limits.message_size, and StreamMaxLength in clamd.conf too",
        )


def _check_metrics(address: str, report: Report) -> None:
    try:
        ip = host_port(address).ip
    except ValueError as error:
        report.error(("metrics", "address"), f"{address!r}: {error}", 'write "127.0.0.1:9125", or "" for none')
        return
    if ip is None:
        report.error(("metrics", "address"), f"{address!r} is no IP address", 'write "127.0.0.1:9125"')
    elif not ip.is_loopback:
        report.warning(("metrics", "address"), "metrics are readable from the network", "listen on 127.0.0.1 only")
