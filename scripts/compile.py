"""Compiles the hot modules of the package with mypyc into a copy of it under .cache/compiled; see `scripts/compile`.

A profile of the gateway showed three fifths of a small message's CPU time in the interpreter; compiled, the same
message takes half of the time in all. The same sources run uncompiled, which is how they are developed and how their units are tested: nothing here changes
what they do. The copy is named by a digest of all that goes into it, so it is never stale. C compilers give no
warnings a reader of Python could act on; their output is shown only when they fail.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("MAILWEIR_COMPILED", ROOT / ".cache" / "compiled"))
# Set for a cross-build: what comes out cannot be imported here.
CROSS = "_PYTHON_HOST_PLATFORM" in os.environ
_CHECK = """
import importlib, sys
for name in sys.argv[1:]:
    file = importlib.import_module(name).__file__
    if not file.endswith(".so"):
        sys.exit(f"{name} is not compiled: {file}")
"""


def hot_modules() -> list[str]:
    """Paths below the root, from pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [f"appliance/{name}.py" for name in table["tool"]["mailweir"]["compiled"]]


def c_sources() -> list[str]:
    """Paths below the root, of modules that are C already."""
    return [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "appliance").rglob("*.c"))]


def digest(modules: list[str]) -> str:
    """Of sources, compiler and interpreter."""
    hashed = hashlib.sha256(f"{version('mypy')} {sys.version} {sysconfig.get_platform()} {modules}".encode())
    for path in sorted(path for path in (ROOT / "appliance").rglob("*") if path.suffix in (".py", ".pyi", ".c")):
        hashed.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    hashed.update(Path(__file__).read_bytes())
    return hashed.hexdigest()[:16]


def module_name(path: str) -> str:
    """The name that `path` is imported by."""
    return path.rpartition(".")[0].replace("/", ".")


def build(modules: list[str]) -> None:
    """Compiles in place, in the current directory."""
    from mypyc.build import mypycify
    from setuptools import Extension
    from setuptools.command.build_ext import build_ext
    from setuptools.dist import Distribution

    extensions = mypycify(modules, opt_level="2", debug_level="0", target_dir="generated")
    # Loops over octets: the level that makes vector code of them.
    extensions += [Extension(module_name(path), [path], extra_compile_args=["-O3"]) for path in c_sources()]
    command = build_ext(Distribution({"name": "mailweir", "ext_modules": extensions, "packages": []}))
    command.inplace = True
    command.ensure_finalized()
    command.run()


def main() -> int:
    """The exit status; the folder goes to stdout."""
    modules = hot_modules()
    if sys.argv[1:] == ["--here"]:
        build(modules)
        return 0
    folder = CACHE / digest(modules)
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = CACHE / f"making-{os.getpid()}"
        shutil.copytree(ROOT / "appliance", making / "appliance", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", making)
        path = os.pathsep.join([str(making), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
        made = [*modules, *c_sources()]
        commands = [[sys.executable, __file__, "--here"], [sys.executable, "-c", _CHECK, *map(module_name, made)]]
        for command in commands[: 1 if CROSS else 2]:
            done = subprocess.run(command, cwd=making, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(making)
                print(f"{done.stdout}\n{done.stderr}\ncompile: failed", file=sys.stderr)
                return 1
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        missing = [name for name in made if not (making / name).with_suffix(suffix).exists()]
        if missing:
            shutil.rmtree(making)
            print(f"compile: not compiled: {', '.join(missing)}", file=sys.stderr)
            return 1
        for left in ("build", "generated"):
            shutil.rmtree(making / left, ignore_errors=True)
        for old in CACHE.iterdir():
            if old != making:
                shutil.rmtree(old)
        making.rename(folder)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
