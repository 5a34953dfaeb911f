"""Putting one file in a store's place, so that at any moment the old one is there, or the new one, each with its logs.

A file changes its name in one step; the logs that SQLite keeps beside it are files of their own, and SQLite would write
an old log over a new file. So where one is left, the new file first gets a name that says that it is to be the store.
From then on nobody opens the old one, and whoever opens the store for writing does what is left to do.

A name alone proves nothing, as anybody may have given it. A note beside it, which was durable before, says which
content the new file has, and where the old one is kept. Nothing is removed but what is kept there just so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import apsw

from crdt_sync.errors import CorruptStoreError, StoreError, StoreInUseError
from crdt_sync.storage.file_modes import make_empty

LOGS: Final = ("-wal", "-journal")
"""What SQLite keeps beside a file that was not closed: a part of what the file says."""
NEXT_SUFFIX: Final = ".next"
"""Of a file that is to be the store, while the logs of the old one are removed."""
_NOTE_SUFFIX: Final = ".swap"
"""Of what proves that it is: JSON with the hash of that file, and the name under which the old one is kept."""
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


def is_free(name: Path) -> bool:
    """Whether neither a store nor a log of one has a name."""
    return not any(_beside(name, suffix).exists() for suffix in ("", *LOGS))


def take_place(draft: Path, place: Path, *, kept: Path) -> None:
    """Give a file the name of a store; what was there is gone, its logs with it.

    Args:
        draft: one file, without logs.
        place: the store, which nobody has open, or where one was.
        kept: where `keep` has put what was there.

    Raises:
        StoreInUseError: somebody reads the store. Nothing was changed.
        OSError: it cannot be done; the store is the old one, or the new one.
    """
    sync_file(draft)
    sync_directory(place.parent)
    # Elsewhere than on POSIX a file that is open cannot be replaced, neither by others nor while it is locked here.
    with unused(place) if os.name == "posix" and place.exists() else nullcontext():
        if any(_beside(place, suffix).exists() for suffix in LOGS):
            note = _beside(place, _NOTE_SUFFIX)
            note.write_text(json.dumps({"next": _digest(draft), "kept": kept.name}))
            sync_file(note)
            sync_directory(place.parent)
            draft.replace(_beside(place, NEXT_SUFFIX))
            sync_directory(place.parent)
            _finish(place)
        else:
            draft.replace(place)
    sync_directory(place.parent)


def is_swapped(place: Path) -> bool:
    """Whether a file has the name of one that waits for a store's place: a process was killed, or the power went."""
    return os.path.lexists(_beside(place, NEXT_SUFFIX))


def refuse_swapped(place: Path, *, path: Path) -> None:
    """Refuse to read a store in whose place a file waits to be; nothing is changed.

    Args:
        place: the store.
        path: how the caller calls it.

    Raises:
        CorruptStoreError: nothing proves that the file is to be there.
        StoreError: it is.
        OSError: it cannot be read.
    """
    if is_swapped(place):
        _refuse_unproven(place)
        raise StoreError(
            f"{path} was being replaced by a repair or a restore that did not come to its end",
            hint=f"`crdt-sync repair {path}` ends it; so does opening it for writing, or the same restore again.",
        )


def end_swap(place: Path) -> None:
    """Do what is left to do where a file waits; the caller alone may write to the store.

    Raises:
        CorruptStoreError: nothing proves that the file is to be there. Nothing was changed.
        OSError: it cannot be done.
    """
    if is_swapped(place):
        _refuse_unproven(place)
        _finish(place)


def _finish(place: Path) -> None:
    for suffix in _SIDECARS:
        _beside(place, suffix).unlink(missing_ok=True)
    sync_directory(place.parent)
    _beside(place, NEXT_SUFFIX).replace(place)
    sync_directory(place.parent)
    _beside(place, _NOTE_SUFFIX).unlink(missing_ok=True)


def _refuse_unproven(place: Path) -> None:
    waiting = _beside(place, NEXT_SUFFIX)
    told, kept = _noted(place)
    if not kept or not waiting.is_file() or _digest(waiting) != told:
        reason = "it is not the file of a repair or a restore that did not come to its end"
    elif not _is_kept(place, place.with_name(kept)):
        reason = f"what lies at {place.name} is not what was kept as {kept}"
    else:
        return
    raise CorruptStoreError(
        f"{waiting.name} cannot take the place of {place}: {reason}",
        hint=f"Nothing was changed. To go on with {place.name} as it is, move {waiting.name} away"
        + (f"; if {kept} is there, it is the store as it was" if kept else "")
        + f". To take {waiting.name} instead, move {place.name} and any {place.name}-wal or {place.name}-journal away, "
        f"and rename it to {place.name}.",
    )


def _noted(place: Path) -> tuple[str, str]:
    """The hash of the file that is to be the store, and where the old one is kept; empty where no note tells."""
    try:
        note = json.loads(_beside(place, _NOTE_SUFFIX).read_bytes())
        told, kept = str(note["next"]), str(note["kept"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", ""
    is_beside = kept.startswith(f"{place.name}.") and Path(kept).name == kept
    return (told, kept) if is_beside else ("", "")


def _is_kept(place: Path, kept: Path) -> bool:
    """Whether all that is left of a store, and is to go, is kept with the same content; an empty log says nothing."""
    for suffix in ("", *LOGS):
        left, copy = _beside(place, suffix), _beside(kept, suffix)
        if not left.exists() or (suffix and not left.stat().st_size):
            continue
        if not copy.is_file() or copy.samefile(left) or _digest(copy) != _digest(left):
            return False
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def unused(place: Path) -> Iterator[None]:
    """Have nobody read or write a file meanwhile, by whatever name: whoever has a store open holds a lock on its file.

    Raises:
        StoreInUseError: somebody has it open.
        StoreError: it cannot be opened.
    """
    # SQLite does it, since closing a file of ours would drop the locks that SQLite has on it.
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE
    try:
        file = apsw.VFSFile("", str(place.absolute()), [flags, 0])
    except apsw.CantOpenError as error:
        raise StoreError(f"{place} cannot be opened", hint="Check that it is a file, and its permissions.") from error
    try:
        try:
            file.xLock(apsw.SQLITE_LOCK_SHARED)
            file.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
        except apsw.BusyError:
            raise StoreInUseError(f"{place.name} is open for reading elsewhere", hint="Close it there first.") from None
        except apsw.IOError as error:
            if os.access(place, os.W_OK):  # one that this user may only read cannot be asked, and is no one's to lock
                raise StoreError(f"{place} cannot be locked: {error}", hint="Check the disk.") from error
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
    return Path(f"{path}{suffix}")  # also of a root, which has no name
