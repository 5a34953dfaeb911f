"""Inputs that broke a target: told apart by where they did, made as small as they get, and written as files."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path
from typing import Final

from tests.fuzz import replicas
from tests.fuzz.memory import refuse_much
from tests.fuzz.targets import Target

TRIES_MAX: Final = 2_000
"""Inputs that are tried to make one smaller."""
FRAMES: Final = 3
"""Of a traceback, from its end: where two findings agree in these they are one."""

Place = tuple[str, ...]


def broken(target: Target, data: bytes) -> BaseException | None:
    """What an input breaks, if it does."""
    try:
        refuse_much(target.run, data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  the engine's panics are no `Exception`, and findings as any other
        replicas.forget()
        return error
    return None


def place(error: BaseException) -> Place:
    """Where something broke."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return (type(error).__name__, *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames))


def smaller(target: Target, data: bytes, at: Place) -> bytes:
    """The smallest input that was found to break the target at the same place."""
    tries, size = 0, max(1, len(data) // 2)
    while size and tries < TRIES_MAX:
        start, before = 0, len(data)
        while start < len(data) and tries < TRIES_MAX:
            shorter = data[:start] + data[start + size :]
            error = broken(target, shorter)
            tries += 1
            if error is not None and place(error) == at:
                data = shorter
            else:
                start += size
        if size > 1 or len(data) == before:
            size //= 2
    return data


class Findings:
    """Those of one run, in a folder: for each an input, and beside it what it broke."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._places: set[Place] = set()

    def run(self, data: bytes) -> None:
        """Run one input; the first that breaks something at a place is made smaller and written."""
        error = broken(self._target, data)
        if error is None or place(error) in self._places:
            return
        at = place(error)
        self._places.add(at)
        data = smaller(self._target, data, at)
        file = self._folder / f"{self._target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        file.write_bytes(data)
        told = "".join(traceback.format_exception(broken(self._target, data) or error))
        file.with_name(file.name + ".txt").write_text(told, encoding="utf-8")
