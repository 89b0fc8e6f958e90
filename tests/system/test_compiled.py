"""The compiled modules do what their sources do: the sources' unit tests, where these take no doubles, held to them.

Other modules' units hand in objects of their own kind, which compiled code refuses; these are tried as a whole gateway.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.package import ROOT, package_environment

_UNITS = (
    "core",
    "delivery/test_connection.py",
    "delivery/test_cutthrough.py",
    "delivery/test_pool.py",
    "scan/test_tee.py",
    "scan/test_unstuff.py",
    "wire/test_bdat_stream.py",
    "wire/test_data_stream.py",
    "wire/test_header_section.py",
    "wire/test_line_length.py",
    "wire/test_newlines.py",
    "wire/test_parameters.py",
    "wire/test_received.py",
    "wire/test_smtp_client.py",
    "wire/test_xtext.py",
)
_WHICH = """
from appliance.wire import data_stream, newlines
assert data_stream.__file__.endswith(".so"), data_stream.__file__
assert newlines.has_bare is not newlines.has_bare_by_count
"""


@pytest.fixture(scope="module")
def environment():
    if "MAILWEIR_PACKAGE" not in os.environ:
        pytest.skip("no compiled package: MAILWEIR_PACKAGE is not set; scripts/test sets it")
    environment = package_environment()
    return environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{ROOT}"}


def run(environment, *words):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_compiled_package_has_its_compiled_parts(environment):
    done = run(environment, "-c", _WHICH)
    assert done.returncode == 0, done.stderr


def test_units_hold_for_compiled_modules(environment):
    done = run(environment, "-m", "pytest", "-o", "pythonpath=", *[f"tests/unit/{name}" for name in _UNITS])
    assert done.returncode == 0, done.stdout[-4000:]
