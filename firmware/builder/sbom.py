"""The list of what is in an image, beside it: CycloneDX 1.5 as JSON. Called by `build`.

Debian's packages come from the lock, with the licences that their copyright files name; Python's from what was
unpacked for the root, with the hashes of the wheels. Two builds of one tree give the same list.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
import uuid
import zipfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from firmware.builder.board import Board
from firmware.builder.debian import Package, fetch
from firmware.builder.run import epoch_s

_LICENSE = re.compile(r"^License: *(\S[^\n]*)$", re.MULTILINE)
_NAMES = uuid.UUID("6c5d4c8e-6d0b-4d9e-9a53-1f4f0a7e2b11")  # ours, to make serial numbers from contents
_CLASSIFIER = "License :: OSI Approved :: "


def write(board: Board, lock: Sequence[Package], wheels: Path, home: Path, image: Path, version: str) -> Path:
    """Writes `sbom.json` beside `image`.

    `wheels` is the folder with the wheels, `home` the one on the root that they were unpacked into.

    Raises:
        SystemExit: a wheel is not on the root, or something there is of no wheel.
    """
    components = [*map(_debian, lock), *_python(sorted(wheels.glob("*.whl")), home)]
    components.sort(key=lambda it: it["purl"])
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    text = json.dumps(components, sort_keys=True)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMES, digest + text)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch_s(), UTC).isoformat(),
            "component": {
                "type": "firmware",
                "bom-ref": "image",
                "name": f"mailweir-{board.name}",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
        },
        "components": components,
    }
    target = image.with_name("sbom.json")
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return target


def _component(kind: str, name: str, version: str, sha256: str, licences: Iterable[str]) -> dict[str, Any]:
    purl = f"pkg:{kind}{name}@{version.replace(':', '%3A').replace('+', '%2B')}"
    named = sorted(set(licences))
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        **({"licenses": [{"license": {"name": licence}} for licence in named]} if named else {}),
    }


def _debian(package: Package) -> dict[str, Any]:
    copyright_ = _copyright(fetch(package, offline=True), package.name)
    return _component("deb/debian/", package.name, package.version, package.sha256, debian_licences(copyright_))


def _copyright(file: Path, name: str) -> str:
    """The text of the package's copyright file; empty where it is a link to another package's."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as process:
        octets = process.stdout.read() if process.stdout is not None else b""
    if process.returncode:
        raise SystemExit(f"{file} cannot be unpacked")
    with tarfile.open(fileobj=io.BytesIO(octets)) as archive:
        for member in archive:
            if member.name == f"./usr/share/doc/{name}/copyright" and member.isreg():
                stream = archive.extractfile(member)
                return stream.read().decode("utf-8", "replace") if stream is not None else ""
    return ""


def debian_licences(text: str) -> list[str]:
    """The short names in a copyright file of Debian's machine-readable form; none of another form."""
    if "copyright-format/1" not in text:
        return []
    return sorted({name.strip() for name in _LICENSE.findall(text)})


def _python(wheels: Sequence[Path], home: Path) -> list[dict[str, Any]]:
    found, unpacked = [], {path.name for path in home.glob("*.dist-info")}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            name = next(it for it in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", it))
            metadata = BytesHeaderParser().parsebytes(archive.read(name))
        if name.split("/")[0] not in unpacked:
            raise SystemExit(f"{wheel.name} is not on the root")
        unpacked.discard(name.split("/")[0])
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        licences = python_licences(metadata.items())
        found.append(_component("pypi/", metadata["Name"].lower(), metadata["Version"], sha256, licences))
    if unpacked:
        raise SystemExit(f"on the root, and of no wheel: {', '.join(sorted(unpacked))}")
    return found


def python_licences(fields: Iterable[tuple[str, str]]) -> list[str]:
    """What a wheel's metadata say: an expression, else classifiers, else the one line of the old field."""
    pairs = [(name.lower(), value) for name, value in fields]
    expressions = [value for name, value in pairs if name == "license-expression"]
    classifiers = [value for name, value in pairs if name == "classifier"]
    classified = [value.removeprefix(_CLASSIFIER) for value in classifiers if value.startswith(_CLASSIFIER)]
    old = [value.strip() for name, value in pairs if name == "license" and "\n" not in value and value.strip()]
    return expressions or classified or old
