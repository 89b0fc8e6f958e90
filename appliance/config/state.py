"""Where things lie in the state directory, for those who write them and those who only look."""

from __future__ import annotations

import os


def tracking_file(state: str, folder: str = "") -> str:
    """The tracking data base of the gateway with this state directory; in `tracking.folder` if that is given."""
    return os.path.join(folder or state, "tracking.db")
