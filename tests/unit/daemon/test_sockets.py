"""Listening sockets: systemd's where they fit the configuration, else our own, which systemd is given to keep."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.config.schema import Config, Listen
from appliance.daemon import sockets
from appliance.daemon.pulse import START_S, Pulse


def listening(address: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((address, 0))


def config_with(*listen: Listen) -> Config:
    return Config(hostname="gateway.example.test", state="/nonexistent", listen=list(listen))


def at(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


def bind_all(
    config: Config, passed: list[tuple[str, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> list[socket.socket]:
    monkeypatch.setattr(sockets, "passed_sockets", lambda environment, pid: passed)
    return [sock for _, sock in sockets.bind_all(config)]


def test_an_entry_takes_the_passed_socket_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = listening(), listening()
    config = config_with(Listen(name="a", address=at(ours)))
    assert bind_all(config, [("x", other), ("y", ours)], monkeypatch) == [ours]
    assert other.fileno() == -1, "what nobody wants is closed"
    ours.close()


def test_a_name_goes_before_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    named, same = listening(), listening()
    config = config_with(Listen(name="a", address=at(same), fd_name="smtp"))
    assert bind_all(config, [("y", same), ("smtp", named)], monkeypatch) == [named]
    named.close()


def test_a_socket_at_another_address_of_the_port_does_not_stand_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = listening("0.0.0.0")
    address = f"127.0.0.1:{wide.getsockname()[1]}"
    (bound,) = bind_all(config_with(Listen(name="a", address=address)), [("y", wide)], monkeypatch)
    assert at(bound) == address
    bound.close()


def test_what_was_bound_is_given_to_systemd_and_what_is_not_wanted_is_taken_from_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        free = listening()
        address = at(free)
        free.close()
        (bound,) = bind_all(config_with(Listen(name="a", address=address)), [("old", listening())], monkeypatch)
        assert systemd.recv(200) == b"FDSTOREREMOVE=1\nFDNAME=old"
        text, descriptors, _, _ = socket.recv_fds(systemd, 200, 4)
        assert text == f"FDSTORE=1\nFDNAME=listen-{address.replace(':', '_')}\nFDPOLL=0".encode()
        bound.close()
        with socket.socket(fileno=descriptors[0]) as kept:
            # Nobody of ours listens any more; a client is taken into the queue all the same.
            socket.create_connection(kept.getsockname(), timeout=10).close()


_CHILD = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from appliance.daemon.sockets import passed_sockets
for name, sock in passed_sockets(os.environ, os.getpid()):
    print(name, sock.getsockname()[1], os.get_inheritable(sock.fileno()), sock.getblocking())
print(passed_sockets(os.environ, os.getpid() + 1))
"""


def test_two_sockets_of_one_name_are_both_taken_and_not_passed_on() -> None:
    with listening() as first, listening() as second:
        ports = [sock.getsockname()[1] for sock in (first, second)]

        def as_systemd() -> None:
            high = [os.dup2(sock.fileno(), 100 + place) for place, sock in enumerate((first, second))]
            for place, number in enumerate(high):
                os.dup2(number, 3 + place)

        environment = {**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "smtp:smtp"}
        done = subprocess.run(
            [sys.executable, "-c", _CHILD], env=environment, preexec_fn=as_systemd, close_fds=False,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout.splitlines() == [*(f"smtp {port} False False" for port in ports), "[]"]


def test_a_worker_that_hangs_is_silent_and_one_that_starts_has_time() -> None:
    pulse = Pulse(3)
    for worker in range(3):
        pulse.forked(worker, 1000.0)
    assert not pulse.all_began([0, 1])
    pulse.beat(0, 1001.0)
    pulse.beat(1, 1030.0)
    assert pulse.all_began([0, 1]) and not pulse.all_began([0, 1, 2])
    assert pulse.silent([0, 1, 2], 1031.0, 20.0) == [0]
    assert pulse.silent([1, 2], 1001.0 + START_S, 1e6) == [2]
    pulse.forked(0, 1032.0)
    assert pulse.silent([0], 1033.0, 20.0) == [], "the one that takes its place begins anew"
