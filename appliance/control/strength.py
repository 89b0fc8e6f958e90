"""Is a password strong enough for the one who may do everything: judged as an attacker would guess, by zxcvbn."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_CHARACTERS = 10
LEAST_SCORE = 3
"""Of 4: over 10^8 guesses, "safely unguessable"."""
_JUDGED_CHARACTERS = 100
"""The time grows with the square; what follows can only make it stronger."""


def weakness(password: str, known_words: Sequence[str] = ()) -> str:
    """Why `password` is too weak, and what would help; empty if it is not.

    Args:
        known_words: what an attacker knows, such as the host's name.
    """
    if len(password) < LEAST_CHARACTERS:
        return f"shorter than {LEAST_CHARACTERS} characters; several words make a good password"
    from zxcvbn_rs_py import zxcvbn  # 9 MiB of words, wanted once in the life of a box

    judged = zxcvbn(password[:_JUDGED_CHARACTERS], ["mailweir", "administrator", *known_words])
    if int(judged.score) >= LEAST_SCORE:
        return ""
    feedback = judged.feedback
    said = [feedback.warning, *feedback.suggestions] if feedback is not None else []
    return " ".join(str(sentence) for sentence in said if sentence) or "Too easy to guess. Add another word or two."
