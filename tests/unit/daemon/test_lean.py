"""What a role that wants no OpenSSL has loaded, seen in a Python of its own."""

from __future__ import annotations

import subprocess
import sys


def _loaded_after(program: str) -> set[str]:
    lines = f"{program}\nimport sys\nprint(*(name for name, module in sys.modules.items() if module is not None))"
    return set(subprocess.run([sys.executable, "-c", lines], check=True, capture_output=True, text=True).stdout.split())


def test_the_roles_that_wait_load_no_openssl() -> None:
    lean = "from appliance.daemon.lean import without_openssl\nwith without_openssl():\n    "
    for role in ("appliance.daemon.sysd, appliance.daemon.network_applier", "appliance.console.menu"):
        loaded = _loaded_after(f"{lean}import {role}")
        assert not {"ssl", "_ssl", "_hashlib"} & loaded, role


def test_pyroute2_comes_without_the_rest_of_itself() -> None:
    assert not {"pyroute2", "pyroute2.ndb"} & _loaded_after("import appliance.network.netlink")


def test_ethtool_comes_once_it_is_asked_for_and_alone() -> None:
    ethtool = "pyroute2.netlink.generic.ethtool"
    setting = "import appliance.network.apply, appliance.network.link_modes"
    assert ethtool not in _loaded_after(setting)
    loaded = _loaded_after(f"{setting}\nfrom appliance.network.netlink import ethtool\nethtool().NlEthtool")
    assert ethtool in loaded and not {"pyroute2", "pyroute2.ndb", "pyroute2.ethtool"} & loaded


def test_looking_at_the_ports_brings_no_more_of_pyroute2() -> None:
    assert not {"pyroute2", "pyroute2.ndb"} & _loaded_after("from appliance.network import look\nlook._ports()")


def test_who_needs_openssl_afterwards_has_it() -> None:
    program = (
        "from appliance.daemon.lean import without_openssl\n"
        "with without_openssl():\n    import asyncio, hashlib, appliance.network.netlink\n"
        "import ssl, pyroute2\n"
        "ssl.create_default_context(), pyroute2.NDB\n"
        "assert hashlib.sha256(b'').hexdigest().startswith('e3b0')"
    )
    assert {"ssl", "pyroute2", "pyroute2.ndb"} <= _loaded_after(program)


def test_a_command_loads_its_own_module_alone() -> None:
    loaded = _loaded_after("from appliance.cli.main import main\nmain(['console', '--help'])")
    assert "appliance.cli.console" in loaded
    assert not {"appliance.cli.queue", "appliance.cli.route", "asyncio"} & loaded
