"""Where things of an update lie on the appliance. Names only."""

from __future__ import annotations

from pathlib import Path

ENVIRONMENT = Path("/boot/efi/grub/grubenv")
"""The boot loader's memory."""
COMMAND_LINE = Path("/proc/cmdline")
KEPT = Path("/data/update")
"""On the data partition: what outlives a slot."""
RECORD = KEPT / "record.json"
INCOMING = KEPT / "incoming.raucb"
RUNNING = Path("/run/mailweir/update")
"""What is under way, for as long as the machine runs."""
HEALTH = Path("/run/mailweir/health.json")
RAUC = Path("/usr/bin/rauc")
