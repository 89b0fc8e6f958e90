"""A file system in memory that forgets: what was not synced may be lost at a power cut, wholly or torn.

Stands in for `appliance.config.store.files.Files`. Octets of a file that were not synced survive whole, in part, as
zeros, or not at all; of each directory's changes since its last sync some first part survives, and that of one says
nothing about another: less than any file system in use promises. The power can be cut at the n-th operation.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

from appliance.config.store.files import Files


class PowerCut(BaseException):
    """The power went before the ordered operation."""


class _File:
    def __init__(self, octets: bytes = b"") -> None:
        self.octets = octets
        self.durable = octets


class _Link:
    def __init__(self, target: str) -> None:
        self.target = target


class _Directory:
    def __init__(self) -> None:
        self.names: dict[str, _Node] = {}
        self.durable: dict[str, _Node] = {}
        self.changes: list[Callable[[dict[str, _Node]], object]] = []

    def change(self, change: Callable[[dict[str, _Node]], object]) -> None:
        change(self.names)
        self.changes.append(change)


_Node = _File | _Link | _Directory
Survival = Callable[[int], int]
"""Of so many unsynced octets, or changes of a directory, how many survive."""

ALL: Survival = lambda number: number  # noqa: E731
NONE: Survival = lambda number: 0  # noqa: E731


def some(chance: random.Random) -> Survival:
    return lambda number: chance.choice((0, number // 2, number, chance.randint(0, number)))


class SimulatedFiles(Files):
    def __init__(self) -> None:
        super().__init__()
        self.operations_left = -1
        """So many more, then the power is cut; negative: never."""
        self.fault: int = 0
        """The errno that every operation which writes fails with; 0: none does."""
        self._root = _Directory()
        self._open: dict[int, _File] = {}
        self._next_fd = 1000

    def after_cut(self, octets: Survival, changes: Survival, *, zeros: bool = False) -> SimulatedFiles:
        """What the next start finds. `zeros`: octets that are lost leave a hole of the same length."""
        survivor = SimulatedFiles()

        def survive(node: _Node) -> _Node:
            if isinstance(node, _Link):
                return node
            if isinstance(node, _File):
                if node.octets == node.durable:
                    return _File(node.durable)
                kept = octets(len(node.octets))
                return _File(node.octets[:kept] + bytes(len(node.octets) - kept if zeros else 0))
            after = _Directory()
            after.names = dict(node.durable)
            for change in node.changes[: changes(len(node.changes))]:
                change(after.names)
            after.names = {name: survive(inner) for name, inner in after.names.items()}
            after.durable = dict(after.names)
            return after

        root = survive(self._root)
        assert isinstance(root, _Directory)
        survivor._root = root
        return survivor

    # -- operations that a cut may come before

    def _operation(self) -> None:
        if self.operations_left == 0:
            raise PowerCut
        self.operations_left -= 1
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))

    def _directory(self, path: Path) -> _Directory:
        node = self._node(path)
        if not isinstance(node, _Directory):
            raise NotADirectoryError(path)
        return node

    def _node(self, path: Path) -> _Node:
        node: _Node = self._root
        for part in path.parts[1:]:
            if not isinstance(node, _Directory) or part not in node.names:
                raise FileNotFoundError(path)
            node = node.names[part]
        return node

    def _add(self, path: Path, node: _Node) -> None:
        self._operation()
        directory = self._directory(path.parent)
        if path.name in directory.names:
            raise FileExistsError(path)
        directory.change(lambda names: names.__setitem__(path.name, node))

    def make_directory(self, path: Path) -> None:
        self._add(path, _Directory())

    def create(self, path: Path, *, shared: bool = True) -> int:
        file = _File()
        self._add(path, file)
        self._next_fd += 1
        self._open[self._next_fd] = file
        return self._next_fd

    def symlink(self, target: str, path: Path) -> None:
        self._add(path, _Link(target))

    def write(self, fd: int, octets: bytes) -> None:
        self._operation()
        self._open[fd].octets += octets

    def sync(self, fd: int) -> None:
        self._operation()
        self._open[fd].durable = self._open[fd].octets

    def rename(self, old: Path, new: Path) -> None:
        self._operation()
        assert old.parent == new.parent
        node = self._node(old)

        def change(names: dict[str, _Node]) -> None:
            names.pop(old.name, None)
            names[new.name] = node

        self._directory(old.parent).change(change)

    def unlink(self, path: Path) -> None:
        self._operation()
        assert not isinstance(self._node(path), _Directory)
        self._directory(path.parent).change(lambda names: names.pop(path.name, None))

    def remove_directory(self, path: Path) -> None:
        self._operation()
        if self._directory(path).names:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        self._directory(path.parent).change(lambda names: names.pop(path.name, None))

    def sync_directory(self, path: Path) -> None:
        self._operation()
        directory = self._directory(path)
        directory.durable = dict(directory.names)
        directory.changes.clear()

    # -- the rest

    def lock(self, path: Path) -> int:
        return 0

    def unlock(self, fd: int) -> None:
        return

    def close(self, fd: int) -> None:
        del self._open[fd]

    def read(self, path: Path) -> bytes:
        node = self._node(path)
        if not isinstance(node, _File):
            raise IsADirectoryError(path)
        return node.octets

    def names(self, directory: Path) -> list[str]:
        return sorted(self._directory(directory).names)

    def is_directory(self, path: Path) -> bool:
        return isinstance(self._node(path), _Directory)

    def exists(self, path: Path) -> bool:
        try:
            self._node(path)
        except FileNotFoundError:
            return False
        return True

    def readlink(self, path: Path) -> str:
        node = self._node(path)
        assert isinstance(node, _Link)
        return node.target
