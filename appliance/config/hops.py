"""Can mail reach the next hops safely: URLs, TLS demands that can be met, passwords in clear, and loops back to us.

Called by `config.check`. Touches files only where told to; opens no connection.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator

from appliance.config.host_port import HostPort, host_name, host_port
from appliance.config.lines import KeyPath
from appliance.config.problem import Report
from appliance.config.schema import Config, HopTls, NextHop
from appliance.delivery.endpoint import Endpoint, parse_endpoint

FINGERPRINT = re.compile(r"[0-9A-Fa-f]{64}")
FINGERPRINT_REMEDY = "write the SHA-256 fingerprint as 64 hexadecimal digits, without colons"


def check_hops(config: Config, report: Report, *, files: bool) -> None:
    """Reports what is wrong with each next hop; looks at its files and at this host's addresses if `files`."""
    listeners = list(_listeners(config))
    for index, hop in enumerate(config.next_hop):
        path: KeyPath = ("next_hop", index)
        urls = _check_servers(hop, path, report)
        for place, url in urls.items():
            name = _own_listener(url, listeners, config.hostname, look=files)
            if name:
                report.error(
                    (*path, "servers", place, "url"),
                    f"{hop.servers[place].url} is our own listener {name!r}: mail would run in a circle",
                    "name the server behind this gateway",
                )
        _check_tls(hop, path, list(urls.values()), report)
        _check_login(hop, path, list(urls.values()), report)
        if files and hop.tls is HopTls.VERIFY and not hop.tls_fingerprints and not _usable_ca(hop.tls_ca):
            report.error(
                (*path, "tls_ca") if hop.tls_ca else (*path, "tls"),
                f"no authority's certificate can be read from {hop.tls_ca or 'the system'}: nothing could be verified",
                "set tls_ca to a PEM file, or tls_fingerprints, or install the package ca-certificates",
            )


def _check_servers(hop: NextHop, path: KeyPath, report: Report) -> dict[int, Endpoint]:
    """The parsed URLs by their place in `servers`, those that can be read."""
    urls: dict[int, Endpoint] = {}
    for place, server in enumerate(hop.servers):
        try:
            url = parse_endpoint(server.url)
            if not url.path and ":" not in url.host:
                host_name(url.host)
        except ValueError as error:
            remedy = "write smtp://host:port, smtps://host:port, lmtp://host:port or lmtp:///path/of/socket"
            report.error((*path, "servers", place, "url"), f"{server.url!r}: {error}", remedy)
            continue
        if url in urls.values():
            report.warning(
                (*path, "servers", place, "url"), f"{server.url} is there twice", "use weight to give it a larger share"
            )
        urls[place] = url
    schemes = {url.scheme == "lmtp" for url in urls.values()}
    if len(schemes) > 1:
        report.error(
            (*path, "servers"), "LMTP and SMTP servers are mixed in one next hop", "make two next hops of them"
        )
    return urls


def _check_tls(hop: NextHop, path: KeyPath, urls: list[Endpoint], report: Report) -> None:
    for place, fingerprint in enumerate(hop.tls_fingerprints):
        if not FINGERPRINT.fullmatch(fingerprint):
            report.error((*path, "tls_fingerprints", place), f"{fingerprint!r} is no fingerprint", FINGERPRINT_REMEDY)
    if hop.tls_fingerprints and hop.tls is not HopTls.VERIFY:
        report.error(
            (*path, "tls"), f"with tls = {hop.tls.value!r} the fingerprints are not looked at", 'write tls = "verify"'
        )
    if hop.tls is HopTls.VERIFY and not hop.tls_fingerprints and not hop.tls_name and any(url.path for url in urls):
        report.error((*path, "tls"), "a socket's path is no name that a certificate could show", "set tls_name")
    if hop.tls is HopTls.NONE and any(url.scheme == "smtps" for url in urls):
        report.error((*path, "tls"), 'smtps:// and tls = "none" contradict each other', "write smtp://, or another tls")


def _check_login(hop: NextHop, path: KeyPath, urls: list[Endpoint], report: Report) -> None:
    if bool(hop.username) != bool(hop.password_file):
        missing = "password_file" if hop.username else "username"
        report.error(path, f"{missing} is missing", "AUTH needs username and password_file, both or none")
    if not hop.username or hop.tls in (HopTls.ENCRYPT, HopTls.VERIFY):
        return
    exposed = [url for url in urls if url.scheme != "smtps" and not url.path and not _is_loopback(url)]
    if exposed and hop.tls is HopTls.NONE:
        report.error(
            (*path, "tls"), "the password would go over the network in clear", 'write tls = "encrypt" or "verify"'
        )
    elif exposed:
        report.warning(
            (*path, "tls"),
            'with tls = "may" an attacker can strip TLS and read the password',
            'write tls = "encrypt" or "verify"',
        )


def _is_loopback(url: Endpoint) -> bool:
    ip = HostPort(url.host, url.port).ip
    return url.host == "localhost" or (ip is not None and ip.is_loopback)


def _usable_ca(pem_path: str) -> bool:
    import ssl  # 4 MiB, which a role that checks no certificate is spared

    if not pem_path:
        # Directories of hashed certificates are read lazily, so that their store counts none.
        defaults = ssl.get_default_verify_paths()
        if defaults.capath and any(name.endswith(".0") for name in os.listdir(defaults.capath)):
            return True
    try:
        return bool(ssl.create_default_context(cafile=pem_path or None).cert_store_stats()["x509"])
    except (OSError, ValueError):
        return False


def _listeners(config: Config) -> Iterator[tuple[str, HostPort]]:
    for listen in config.listen:
        try:
            yield listen.name, host_port(listen.address)
        except ValueError:
            continue  # reported with the listeners


def _own_listener(url: Endpoint, listeners: list[tuple[str, HostPort]], hostname: str, *, look: bool) -> str:
    """The name of the listener that `url` leads to; empty if it is somebody else's."""
    if url.path:
        return ""
    target = HostPort(url.host, url.port)
    loopback = _is_loopback(url)
    for name, listener in listeners:
        if listener.port != url.port or not listener.port:
            continue
        if target.host == listener.host or target.host == hostname.lower():
            return name
        bound = listener.ip
        if bound is None or (target.ip is not None and target.ip.version != bound.version):
            continue
        if loopback and target.ip is None and bound.is_loopback:
            return name
        if bound.is_unspecified and (loopback or (look and target.ip is not None and _is_this_host(target.ip))):
            return name
        if target.ip is not None and target.ip.is_unspecified and bound.is_loopback:
            return name
    return ""


def _is_this_host(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an interface of this host has the address; nothing is sent to find out."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
