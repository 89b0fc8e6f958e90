"""Work done in a child process, so that what it imports and allocates is not in the workers, who are forked later.

For what is needed once and is large, as the library that makes and reads certificates is with its 10 MiB. Knows
nothing of the work. Called by the supervisor, which has one thread.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from appliance.core.errors import ConfigError

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """What `work` returns, which must be fit for `pickle`.

    Raises:
        ConfigError: `work` raised it, or the child came to its end by something else, which it has told on stderr.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        status = 70  # EX_SOFTWARE
        try:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, signal.SIG_DFL)  # what the supervisor does at these is not ours to do again
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(_outcome(work), pipe)
            status = 0
        except BaseException:  # noqa: BLE001 - told here, for nobody else will
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        raw_outcome = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise ConfigError(f"a child process that was to prepare the start ended with status {status}")
    result, error = pickle.loads(raw_outcome)
    if error:
        raise ConfigError(error)
    return result  # type: ignore[no-any-return]


def _outcome(work: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return work(), ""
    except ConfigError as error:
        return None, str(error) or "a configuration error without words"
