"""Copies of whole store files, with the logs beside them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from crdt_sync.storage.file_modes import make_empty

LOGS: Final = ("-wal", "-journal")
"""What SQLite keeps beside a file that was not closed: a part of what the file says."""
_SIDECARS: Final = (*LOGS, "-shm")


def copy_files(source: Path, target: Path, *, like: Path) -> None:
    """Copy a file that nobody writes to, and the logs beside it; the given one is only read.

    Args:
        source: a store; SQLite keeps a log beside the file, not beside a link to it.
        target: the copy; what is there goes.
        like: the file whose mode the copy has.

    Raises:
        OSError: it cannot be done.
    """
    remove_files(target)
    place = source.resolve()
    for suffix in ("", *LOGS):
        beside = _beside(place, suffix)
        if not suffix or (beside.exists() and beside.stat().st_size):
            copy = _beside(target, suffix)
            make_empty(copy, like=like)
            shutil.copyfile(beside, copy)
            sync_file(copy)


def remove_files(path: Path) -> None:
    """Remove a file and what SQLite keeps beside it."""
    for suffix in ("", *_SIDECARS):
        _beside(path, suffix).unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make the content of a file survive power loss."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
