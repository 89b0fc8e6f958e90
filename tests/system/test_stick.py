"""A backup on a real file system that is mounted, unmounted, and plugged in again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.daemon.systemd import STICK
from tests.support.loop_stick import unit
from tests.support.package import ROOT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_backup_is_on_the_stick_when_it_is_pulled_out_and_a_full_one_keeps_no_half(tmp_path: Path) -> None:
    image, folder = tmp_path / "stick.img", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-L", "KEYS", image], check=True)
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.support.loop_stick"]
    done = subprocess.run([*command, str(image), str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["name"], seen["files"], seen["same"]) == ("gw-2.mailweir.tar", ["gw-2.mailweir.tar"], True)
    assert seen["full"] == "No space left on device"
    assert seen["all"] == ["gw-2.mailweir.tar", "lost+found"], "nothing half-written stays"
    assert seen["read_only"] == "Read-only file system"
    for options in seen["options"]:
        assert {"nosuid", "nodev", "noexec"} <= set(options.split(","))
    assert seen["left"] == 0, "it is unmounted"


@pytest.mark.parametrize("way", ["read", "write"])
def test_the_units_mount_what_sysd_links_where_sysd_looks(way: str) -> None:
    mount = unit(way)["Mount"]
    assert (mount["What"], mount["Where"]) == (str(STICK / "device"), str(STICK / way))
    assert {"nosuid", "nodev", "noexec"} <= set(mount["Options"].split(","))
    assert ("ro" in mount["Options"].split(",")) == (way == "read")
