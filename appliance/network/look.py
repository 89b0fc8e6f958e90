"""Looks at the network for a person: the ports with link and speed, and whether something answers.

A `control.ports.Probes`; `sysd` gives it to its requests. Changes nothing. A probe's result is a list of steps, each
with `what`, `ok` and `text`; `ok` of the whole tells the end of it.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from appliance.config.host_port import HostPort, host_port
from appliance.network.step import Step, step
from appliance.network.udev import settle
from appliance.network.values import Kind

_SYS_NET = Path("/sys/class/net")
_SETTLE_S = 10.0
_DNS_TIMEOUT_S = 10.0
_PINGS = (("ping", "-n"), ("busybox", "ping"))  # the image has the second
_PING_OPTIONS = ("-q", "-c", "3", "-W", "2", "-w", "6", "--")

class Look:
    """See the module."""

    async def ports(self) -> list[dict[str, Any]]:
        await settle(_SETTLE_S)
        return await asyncio.to_thread(_ports)

    async def probe(self, kind: str, target: str) -> dict[str, Any]:
        """Raises OSError: `target` is no host, or it could not be tried at all."""
        try:
            where = host_port(f"[{target}]" if target.count(":") > 1 and "[" not in target else target, 25)
        except ValueError as error:
            raise OSError(f"{target} is neither name nor address: {error}") from error
        if kind == "ping":
            steps = [await _ping(where.host)]
        else:
            steps = [await _resolved(where)]
            if kind == "smtp" and steps[0]["ok"]:
                from appliance.network.smtp_probe import smtp_steps  # OpenSSL, which nobody else here needs

                steps += await asyncio.to_thread(smtp_steps, where)
        # A mail server without STARTTLS takes mail all the same.
        return {"ok": all(step["ok"] for step in steps if step["what"] != "STARTTLS"), "steps": steps}


def _ports() -> list[dict[str, Any]]:
    from appliance.network.netlink import IPRoute  # takes memory, and is wanted when somebody looks
    from appliance.network.read import read

    with IPRoute() as ip:
        state = read(ip)
    return [
        {
            "name": link.name,
            "mac": link.permanent_mac or link.mac,
            "link": link.carrier,
            "speed_mbit": _speed_mbit(link.name) if link.carrier else 0,
            "duplex": _duplex(link.name) if link.carrier else "",
            "addresses": sorted(address.ip for address in state.addresses if address.link == link.name),
        }
        for link in sorted(state.links.values(), key=lambda link: link.name)
        if link.kind is Kind.PHYSICAL
    ]


def _speed_mbit(name: str) -> int:
    """0 where nobody knows."""
    try:
        return max(0, int((_SYS_NET / name / "speed").read_text()))
    except (OSError, ValueError):
        return 0


def _duplex(name: str) -> str:
    """Empty where nobody knows."""
    try:
        found = (_SYS_NET / name / "duplex").read_text().strip()
    except OSError:
        return ""
    return found if found in ("full", "half") else ""


async def _ping(host: str) -> Step:
    command = next((words for words in _PINGS if shutil.which(words[0])), None)
    if command is None:
        raise OSError("there is no ping on this machine")
    process = await asyncio.create_subprocess_exec(
        *command, *_PING_OPTIONS, host,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return step("ping", process.returncode == 0, "; ".join(lines[-2:]) or "no answer")


async def _resolved(where: HostPort) -> Step:
    if where.ip is not None:
        return step("address", True, where.host)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_DNS_TIMEOUT_S):
            found = await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return step("name", False, f"{where.host} is not found: {getattr(error, 'strerror', '') or 'no answer'}")
    return step("name", True, f"{where.host} is {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}")
