"""Taking a spool's directory away for good, once nothing in it is of use.

Knows the order in which that is safe, and not whether it is wanted: `Spool.spent` says so. Called by the worker that
emptied the spool of a former one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from appliance.spool.segment import generation_of


def remove_spool(directory: Path) -> None:
    """Removes `directory`, whose spool is closed. Cut short by a crash, it brings no message back.

    Raises:
        OSError: a part of it is still there.
    """
    # The oldest first: a younger segment tells which of the messages in older ones are gone.
    segments = sorted((generation, name) for name in os.listdir(directory) if (generation := generation_of(name)))
    for _, name in segments:
        os.unlink(directory / name)
    shutil.rmtree(directory)
