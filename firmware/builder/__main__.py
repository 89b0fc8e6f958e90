"""The command line behind `scripts/image`."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance import __version__
from firmware.builder import board as boards
from firmware.builder import compiled, debian, keys, pi_trial, trial_updates
from firmware.builder.build import Wishes, build, image_path
from firmware.builder.bundle import bundle_path, make_bundle
from firmware.builder.qemu import boot
from firmware.builder.run import step
from firmware.builder.trial import trial
from firmware.builder.trials import side_by_side
from firmware.builder.twice import build_twice
from firmware.builder.write import write


def main() -> None:
    """Runs one of the commands; SystemExit says what went wrong."""
    parser = argparse.ArgumentParser(prog="scripts/image", description="Builds, boots and tests images.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("lock", "pin the Debian packages that apt finds today"),
        ("build", "make the disk image"),
        ("bundle", "make a signed update of what was built"),
        ("boot", "start it in QEMU with the serial console here"),
        ("test", "start it in QEMU, use it as its user would, and cut its power"),
        ("write", "put it on a card or disk"),
        ("python", "print the path of the image's Python, made to run here with the tests' packages"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("board", choices=boards.names())
        if name == "build":
            command.add_argument("--offline", action="store_true", help="fetch nothing, use the cache")
            command.add_argument("--compiled", type=Path, metavar="DIR", help="the package with compiled modules")
            command.add_argument("--uncompiled", action="store_true", help="the sources, as they are")
            command.add_argument("--twice", action="store_true", help="two times from the locks, and compare")
            command.add_argument("--keyring", type=Path, metavar="PEM", help="who may sign updates of this image")
        if name in ("build", "bundle"):
            command.add_argument("--version", default=__version__, help="what the release is called (%(default)s)")
        if name == "bundle":
            command.add_argument("--sign-cert", metavar="PEM", help="the certificate to sign with")
            command.add_argument("--sign-key", metavar="PEM", help="its key; both without: those for development")
        if name == "test":
            command.add_argument("--only", choices=["use", "updates"], help="this part alone")
        if name in ("boot", "test"):
            command.add_argument("--uefi", action="store_true", help="by UEFI instead of BIOS")
        if name == "boot":
            command.add_argument("--pi", action="store_true", help="on QEMU's Pi 3, without network")
        if name == "test":
            command.add_argument("--power-cuts", type=int, default=20, metavar="N", help="how often (%(default)s)")
        if name == "write":
            command.add_argument("device", type=Path, help="the whole disk, as in /dev/sdX; or a file")
            command.add_argument("--force", action="store_true", help="even if it is not removable")
    options = parser.parse_args()
    board = boards.load(options.board)
    if options.command == "lock":
        _lock(board)
    elif options.command == "build":
        _build(board, options)
    elif options.command == "bundle":
        signer = keys.signer(options.sign_cert, options.sign_key)
        made = make_bundle(board, options.version, signer, bundle_path(board, options.version))
        print(f"{made}: {made.stat().st_size / 2**20:.1f} MiB")
    elif options.command == "python":
        print(compiled.python(board, offline=False))
    elif options.command == "write":
        write(image_path(board), options.device, force=options.force)
    elif options.command == "boot":
        raise SystemExit(boot(board, image_path(board), options.uefi, options.pi))
    elif options.only == "updates":
        trial_updates.trial(board, image_path(board), options.uefi)
    elif options.only == "use":
        from firmware.builder import trial_user  # pexpect is there for this one

        trial_user.trial(board, image_path(board), options.uefi, options.power_cuts)
    elif board.machine == "x86_64":
        how = ["--power-cuts", str(options.power_cuts), *(["--uefi"] if options.uefi else [])]
        side_by_side({part: ["test", board.name, "--only", part, *how] for part in ("use", "updates")})
    else:
        if "rpi" in board.loaders:
            pi_trial.check_card(board, image_path(board))
        trial(board, image_path(board), options.uefi)
        if "rpi" in board.loaders:
            pi_trial.on_a_pi(board, image_path(board))


def _lock(board: boards.Board) -> None:
    lock = debian.resolve(board)
    board.lock.write_text(debian.write_lock(lock))
    if compiled.lock_path(board).exists():
        compiled.lock_path(board).write_text(compiled.write_lock(board, lock))


def _build(board: boards.Board, options: argparse.Namespace) -> None:
    package = options.compiled
    if package is None and not options.uncompiled and compiled.is_possible(board):
        with step("the gateway's hot modules, compiled"):
            package = compiled.package(board, options.offline)

    def once() -> Path:
        return build(board, Wishes(options.offline, package, options.version, options.keyring))

    if options.twice:
        print(f"SHA-256 {build_twice(board, once)}, both times")
    else:
        once()


if __name__ == "__main__":
    main()
