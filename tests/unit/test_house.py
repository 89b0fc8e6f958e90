"""The rules that keep the house liveable, held by reading the source: who may import what, and how big rooms are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "appliance"
MODULES = sorted(PACKAGE.rglob("*.py"))

PURE_ROOMS = ("core", "wire", "policy")
PURE_PAGES = (
    *("network/clock.py", "network/dhcp.py", "network/firewall.py", "network/kernel.py", "network/lease.py"),
    *("network/names.py", "network/plan.py", "network/steps.py", "network/values.py", "network/wanted.py"),
)
NOT_IN_PURE_ROOMS = {"asyncio", "socket", "time", "threading", "ssl", "selectors"}
ONLY_IN = {
    "uvloop": "daemon",
    "pyroute2": "network",
    "dns": "dns",
    "aiosmtpd": ("intake", "daemon"),
    "click": "cli",
    "tomlkit": "config",
    "zxcvbn_rs_py": "control",
}
NOT_IN_PURE_PAGES = NOT_IN_PURE_ROOMS | {"pyroute2", "os", "pathlib", "subprocess"}
LONGEST_MODULE_LINES = 400
LONGEST_FUNCTION_LINES = 60


def imports_of(path: Path) -> Iterator[str]:
    """Top-level names of everything that `path` imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) in PURE_ROOMS], ids=str)
def test_a_pure_room_knows_neither_sockets_nor_clocks(path: Path) -> None:
    assert not NOT_IN_PURE_ROOMS & set(imports_of(path))


@pytest.mark.parametrize("page", PURE_PAGES)
def test_a_pure_page_knows_neither_sockets_nor_clocks_nor_the_kernel(page: str) -> None:
    assert not NOT_IN_PURE_PAGES & set(imports_of(PACKAGE / page))


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_in_its_room_alone(library: str) -> None:
    homes = ONLY_IN[library]
    homes = (homes,) if isinstance(homes, str) else homes
    strangers = [str(path) for path in MODULES if library in imports_of(path) and room_of(path) not in homes]
    assert strangers == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_is_about_a_page_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGEST_MODULE_LINES
    assert ast.get_docstring(tree) or not tree.body, "a module opens with one paragraph"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_expression_has_a_possessive_group(path: Path) -> None:
    """Python before 3.11.5, as Debian 12 has it, matches them wrong: `(a@b)?+` took the `a` of `<a>` and went on."""
    assert not re.search(r"\)(?:[*+?]|\{[0-9]*,?[0-9]*\}{1,2})\+|\(\?>", path.read_text())
