"""A new password, judged and hashed: what `administrator` has a child do, for it takes 30 MiB and is seldom wanted.

`{"password", "known_words"}` comes on standard input; `{"hash"}` or `{"refused"}`, a sentence, goes to standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from appliance.control.strength import weakness
from appliance.intake.users import hashed


def main() -> int:
    """In the child."""
    asked = json.loads(sys.stdin.buffer.read())
    json.dump(answer(asked["password"], asked["known_words"]), sys.stdout)
    return 0


def answer(password: str, known_words: Sequence[str]) -> dict[str, str]:
    complaint = weakness(password, known_words)
    if complaint:
        return {"refused": f"this password is too weak: {complaint}"}
    try:
        return {"hash": hashed(password)}
    except ValueError as error:
        return {"refused": f"this cannot be a password: {error}"}
