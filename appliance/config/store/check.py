"""Is a text good enough to be kept as a revision: all that `mailweir check` asks, and that the store can carry it.

Called by `config.store.commit`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from appliance.config.complaints import Complaint, complaints
from appliance.config.lines import KeyPath, dotted, locate
from appliance.config.store.edit import document_of
from appliance.config.store.revision import StoreError
from appliance.config.store.secrets import FOLDER, places, references, secret_name


class Refused(StoreError):
    """A text that has errors; `complaints` holds them, and the warnings."""

    def __init__(self, found: Sequence[Complaint]) -> None:
        self.complaints = list(found)
        errors = [complaint for complaint in found if complaint.severity == "error"]
        super().__init__("\n".join(f"line {e.line}: {e.key}: {e.text}; {e.remedy}" for e in errors))


def refuse_errors(text: str, name: str, *, files: bool) -> list[Complaint]:
    """The warnings about `text`, which is or will be the file `name` in the store.

    Raises:
        Refused: it has errors.
    """
    found = complaints(text, name, files=files)
    if not any(complaint.key == "" and complaint.severity == "error" for complaint in found):
        found = [*_about_paths(text), *found]
    if any(complaint.severity == "error" for complaint in found):
        raise Refused(found)
    return found


def _about_paths(text: str) -> list[Complaint]:
    """Relative paths would mean another place with each revision, but for the secrets."""
    try:
        document = document_of(text)
    except StoreError:
        return []  # told already, with its line
    lines = locate(text)

    def complaint(path: KeyPath, what: str, remedy: str) -> Complaint:
        return Complaint("error", lines.line(path), dotted(path), what, remedy)

    found = [
        complaint(
            path,
            f"{value!r} is relative, and revisions move",
            f'put the file into "{FOLDER}/" or write an absolute path',
        )
        for path, value in references(document)
        if not os.path.isabs(value) and not secret_name(value)
    ]
    found += [
        complaint(path, f"{value!r} is relative, and revisions move", "write an absolute path")
        for path, value in places(document)
        if not os.path.isabs(value)
    ]
    return found
