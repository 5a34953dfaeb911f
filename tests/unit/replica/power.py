"""Files of one folder on a disk that loses its power: what may be there after each step of a work, by what was synced.

`Disk` of the test kit stands under SQLite; this stands under the plain calls that copy, rename and remove whole files.
What SQLite does between two of them counts as durable: that is for `Disk` to doubt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Files: TypeAlias = dict[str, bytes]


def is_passing(path: Path) -> bool:
    """Whether a file only tells who has a store open: nothing rests on it."""
    return path.suffix == ".pid"


@dataclass(slots=True, kw_only=True)
class _File:
    now: bytes
    durable: bytes = b""


_Names: TypeAlias = dict[str, _File]


@dataclass(slots=True, kw_only=True)
class Outages:
    """What may be there after a loss of power, or of the process alone, before or after each step.

    Args:
        folder: of which all files are followed.
    """

    folder: Path
    states: list[Files] = field(default_factory=list)
    """Each is one that may be found."""
    _held: _Names = field(default_factory=dict)
    _synced: _Names = field(default_factory=dict)
    _changes: list[dict[str, _File | None]] = field(default_factory=list)
    """Of names, since the folder was synced; each happens whole or not at all."""

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Follow what happens from now on."""
        self._catch_up()
        for module, name in (
            (os, "replace"),
            (os, "rename"),
            (os, "unlink"),
            (os, "fsync"),
            (os, "open"),
            (shutil, "copyfile"),
            (Path, "write_text"),
        ):
            patch.setattr(module, name, self._followed(getattr(module, name), name))

    def _followed(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if (name == "open" and not arguments[1] & os.O_CREAT) or (
                name == "write_text" and is_passing(arguments[0])
            ):
                return real(*arguments, **options)
            self._catch_up()
            before = self._names()
            target = None
            if name == "fsync":
                target = Path(f"/proc/self/fd/{arguments[0]}").readlink()
            found = real(*arguments, **options)
            self._note(name, before, target)
            self._remember()
            return found

        return call

    def _names(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self.folder.iterdir() if path.is_file()}

    def _catch_up(self) -> None:
        """Take over, as durable, what SQLite did meanwhile."""
        there = {name: (self.folder / name).read_bytes() for name in self._names()}
        for name in self._held.keys() - there.keys():
            del self._held[name]
            self._synced.pop(name, None)
        for name, content in there.items():
            held = self._held.get(name)
            if held is None:
                self._held[name] = self._synced[name] = _File(now=content, durable=content)
            elif held.now != content:
                held.now = held.durable = content

    def _note(self, name: str, before: dict[str, int], target: Path | None) -> None:
        after = self._names()
        if name == "fsync" and target == self.folder:
            self._synced, self._changes = dict(self._held), []
        elif name == "fsync" and target is not None and target.name in self._held:
            self._held[target.name].durable = self._held[target.name].now
        inodes = {inode: self._held[each] for each, inode in before.items()}
        change: dict[str, _File | None] = dict.fromkeys(before.keys() - after.keys())
        for each, inode in after.items():
            if before.get(each) != inode:
                change[each] = inodes.get(inode) or _File(now=b"")
            elif name in ("copyfile", "write_text"):
                self._held[each].now = (self.folder / each).read_bytes()
        for each, file in change.items():
            if file is None:
                self._held.pop(each, None)
            else:
                self._held[each] = file
                file.now = (self.folder / each).read_bytes()
        if change:
            self._changes.append(change)

    def _remember(self) -> None:
        """Note what may be there now: of changes that were not synced any one, none, all, or all but one."""
        numbers = range(len(self._changes))
        chosen = [set(numbers), set(), *({each} for each in numbers), *(set(numbers) - {each} for each in numbers)]
        for happened in chosen:
            names = dict(self._synced)
            for number in sorted(happened):
                for name, file in self._changes[number].items():
                    if file is None:
                        names.pop(name, None)
                    else:
                        names[name] = file
            for is_durable in (True, False):
                state = {name: file.durable if is_durable else file.now for name, file in names.items()}
                if state not in self.states:
                    self.states.append(state)
