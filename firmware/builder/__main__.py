"""The command line behind `scripts/image`."""

from __future__ import annotations

import argparse
from pathlib import Path

from firmware.builder import board as boards
from firmware.builder import debian, pi_trial
from firmware.builder.build import build, image_path
from firmware.builder.qemu import boot
from firmware.builder.trial import trial


def main() -> None:
    """Runs one of the commands; SystemExit says what went wrong."""
    parser = argparse.ArgumentParser(prog="scripts/image", description="Builds, boots and tests images.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("lock", "pin the Debian packages that apt finds today"),
        ("build", "make the disk image"),
        ("boot", "start it in QEMU with the serial console here"),
        ("test", "start it in QEMU and send a message through"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("board", choices=boards.names())
        if name == "build":
            command.add_argument("--offline", action="store_true", help="fetch nothing, use the cache")
            command.add_argument("--compiled", type=Path, metavar="DIR", help="the package with compiled modules")
        if name in ("boot", "test"):
            command.add_argument("--uefi", action="store_true", help="by UEFI instead of BIOS")
        if name == "boot":
            command.add_argument("--pi", action="store_true", help="on QEMU's Pi 3, without network")
    options = parser.parse_args()
    board = boards.load(options.board)
    if options.command == "lock":
        board.lock.write_text(debian.write_lock(debian.resolve(board)))
    elif options.command == "build":
        build(board, options.offline, options.compiled)
    elif options.command == "boot":
        raise SystemExit(boot(board, image_path(board), options.uefi, options.pi))
    else:
        if "rpi" in board.loaders:
            pi_trial.check_card(board, image_path(board))
        trial(board, image_path(board), options.uefi)
        if "rpi" in board.loaders:
            pi_trial.on_a_pi(board, image_path(board))


if __name__ == "__main__":
    main()
