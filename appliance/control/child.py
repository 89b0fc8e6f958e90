"""A child process of this package, for what is wanted seldom and would leave much memory behind in a role that stays.

It is this interpreter with this very package, and as isolated from its environment as this process is: on the image
wholly. What it is to know goes in by its standard input: an argument could be read by others. Called by
`administrator`; the health gate starts its menu by the same command.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_HOME = str(Path(__file__).parents[2])
CODE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from importlib import import_module; "
    "sys.exit(import_module(sys.argv.pop(1)).main())"
)


class ChildFailed(Exception):
    """It could not be started, or came to no good end; `str()` says which, and nothing of what it was asked."""


def command(module: str, *words: str) -> tuple[str, ...]:
    """What runs `main` of `module`, with `words` as its arguments."""
    return (sys.executable, "-IP" if sys.flags.isolated else "-P", "-c", CODE, _HOME, module, *words)


async def ask_child(module: str, question: dict[str, Any], within_s: float) -> dict[str, Any]:
    """What `main` of `module` answers on its standard output to the question on its standard input, both as JSON.

    Raises:
        ChildFailed: there is no such answer within `within_s`. The child is gone.
    """
    import asyncio  # who only wants the command has no use for it

    try:
        process = await asyncio.create_subprocess_exec(
            *command(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise ChildFailed(f"no process can be started: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(within_s):
            raw_answer, _ = await process.communicate(json.dumps(question).encode())
    except TimeoutError as error:
        raise ChildFailed(f"there was no answer within {within_s:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ChildFailed(_end_in_words(process.returncode))
    try:
        return dict(json.loads(raw_answer))
    except (ValueError, TypeError):  # its text is in the error, and is nobody's business
        raise ChildFailed("the answer makes no sense") from None


def _end_in_words(status: int) -> str:
    if status < 0:
        return f"the process was ended by {signal.Signals(-status).name}"
    return f"the process ended with status {status}"
