"""The menu waits on two lines of a small board for weeks: what it needs once is loaded once it is needed."""

from __future__ import annotations

import subprocess
import sys

from tests.support.package import ROOT

HEAVY = (
    *("asyncio", "ssl", "email", "smtplib", "sqlite3", "tomlkit", "zxcvbn_rs_py", "pyroute2", "uvloop", "dns"),
    *("cryptography", "argon2", "aiosmtpd", "appliance.console.keymaps"),
)
MENU = """
import sys
from appliance.cli import console
from appliance.cli.why import why
from appliance.console.board import Board
from appliance.console.menu import Menu
from appliance.console.running_gateway import RunningGateway
from appliance.console.tty import TtyLine
from appliance.control.sysd_client import Sysd
print(*sys.modules)
"""


def test_a_menu_that_waits_has_loaded_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", MENU], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(HEAVY) & set(done.stdout.split()) == set()
