"""Putting one file in a store's place, so that at any moment the old one is there, or the new one, each with its logs.

A file changes its name in one step; the logs that SQLite keeps beside it are files of their own, and SQLite would write
an old log over a new file. So where one is left, the new file first gets a name that says that it is to be the store.
From then on nobody opens the old one, and whoever opens the store for writing does what is left to do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import apsw

from crdt_sync.errors import StoreInUseError
from crdt_sync.storage.file_modes import make_empty

LOGS: Final = ("-wal", "-journal")
"""What SQLite keeps beside a file that was not closed: a part of what the file says."""
NEXT_SUFFIX: Final = ".next"
"""Of a file that is to be the store, while the logs of the old one are removed."""
_PARTIAL_SUFFIX: Final = ".partial"
_SIDECARS: Final = (*LOGS, "-shm")


def copy_files(source: Path, target: Path, *, like: Path | None) -> None:
    """Copy a file that nobody writes to, and the logs beside it; the given one is only read.

    Args:
        source: a store; SQLite keeps a log beside the file, not beside a link to it.
        target: the copy; what is there goes.
        like: the file whose mode the copy has; None for its owner alone.

    Raises:
        OSError: it cannot be done.
    """
    remove_files(target)
    place = source.resolve()
    for suffix in (*LOGS, ""):
        beside = _beside(place, suffix)
        if beside.exists() and (beside.stat().st_size or not suffix):
            copy = _beside(target, suffix)
            make_empty(copy, like=like)
            shutil.copyfile(beside, copy)
            sync_file(copy)


def keep(place: Path, kept: Path) -> None:
    """Copy a store with its logs to another name, which appears when all of it is durable.

    Args:
        place: the store; it may be gone, and a log of it left.
        kept: the name, which no file has.

    Raises:
        OSError: it cannot be done; nothing is left there.
    """
    partial = _beside(kept, _PARTIAL_SUFFIX)
    remove_files(kept)  # logs that were left by a call that was killed
    try:
        copy_files(place, partial, like=place if place.exists() else None)
        for suffix in (*LOGS, ""):
            if _beside(partial, suffix).exists():
                _beside(partial, suffix).rename(_beside(kept, suffix))
        sync_directory(place.parent)
    except BaseException:
        remove_files(partial)
        remove_files(kept)
        raise


def take_place(draft: Path, place: Path) -> None:
    """Give a file the name of a store; what was there is gone, its logs with it.

    Args:
        draft: one file, without logs.
        place: the store, which nobody has open, or where one was.

    Raises:
        StoreInUseError: somebody reads the store. Nothing was changed.
        OSError: it cannot be done; the store is the old one, or the new one.
    """
    sync_file(draft)
    sync_directory(place.parent)
    # Elsewhere than on POSIX a file that is open cannot be replaced, neither by others nor while it is locked here.
    with unused(place) if os.name == "posix" and place.exists() else nullcontext():
        if any(_beside(place, suffix).exists() for suffix in LOGS):
            draft.replace(_beside(place, NEXT_SUFFIX))
            sync_directory(place.parent)
            end_swap(place)
        else:
            draft.replace(place)
    sync_directory(place.parent)


def is_swapped(place: Path) -> bool:
    """Whether a file waits to take a store's place, because its process was killed, or the power went."""
    return _beside(place, NEXT_SUFFIX).exists()


def end_swap(place: Path) -> None:
    """Do what is left to do where one waits; the caller alone may write to the store.

    Raises:
        OSError: it cannot be done.
    """
    for suffix in _SIDECARS:
        _beside(place, suffix).unlink(missing_ok=True)
    sync_directory(place.parent)
    _beside(place, NEXT_SUFFIX).replace(place)


@contextmanager
def unused(place: Path) -> Iterator[None]:
    """Have nobody read or write a file meanwhile, by whatever name: whoever has a store open holds a lock on its file.

    Raises:
        StoreInUseError: somebody has it open.
    """
    # SQLite does it, since closing a file of ours would drop the locks that SQLite has on it.
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE
    file = apsw.VFSFile("", str(place.absolute()), [flags, 0])
    try:
        try:
            file.xLock(apsw.SQLITE_LOCK_SHARED)
            file.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
        except apsw.BusyError:
            raise StoreInUseError(f"{place.name} is open for reading elsewhere", hint="Close it there first.") from None
        except apsw.IOError:
            pass  # a file that this user may only read cannot be asked
        yield
    finally:
        file.xUnlock(apsw.SQLITE_LOCK_NONE)
        file.xClose()


def remove_files(path: Path) -> None:
    """Remove a file and what SQLite keeps beside it."""
    for suffix in ("", *_SIDECARS):
        _beside(path, suffix).unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make the content of a file survive power loss."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make new names in a directory survive power loss, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
