"""Putting a backup in the place of a store, or where one was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import apsw
import filelock

from crdt_sync.errors import CorruptStoreError, StoreError, StoreInUseError
from crdt_sync.replica.lease import StoreLock
from crdt_sync.replica.repairing.identity import replica_of
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.sqlite_file import translated
from crdt_sync.storage.swapping import (
    copy_files,
    end_swap,
    is_free,
    is_swapped,
    keep,
    remove_files,
    sync_file,
    take_place,
    unused,
)

DRAFT_SUFFIX: Final = ".restoring"
"""Of the copy while it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """A backup that was put in a store's place.

    Args:
        path: the store.
        replaced: where the store is that was there before, or None where none was.
    """

    path: Path
    replaced: Path | None


def put_back(path: Path, backup: Path, *, state_dir: Path) -> RestoreReport:
    """Put a copy of a backup in a store's place; the backup stays, and so does the store, under another name.

    Opened next, the store draws a new epoch and a new author.

    Args:
        path: of the store, which nobody has open; it may be gone or damaged.
        backup: a file that `Replica.backup` made; or a store that nobody uses, of which a log beside it is a part.
        state_dir: where fences are kept; where the store is gone, they say which one it was.

    Raises:
        StoreError: the backup is of another store, or there is no space. Nothing was changed.
        StoreNotFoundError, NotAStoreError, StoreVersionError, CorruptStoreError: the backup is none that can be used.
        StoreInUseError: somebody has the store open, or the backup.
    """
    with _unused(backup) if backup.resolve() != path.resolve() else nullcontext():
        return _put_back(path, backup, state_dir=state_dir)


def end_interrupted(path: Path) -> None:
    """End a restore or a repair that did not come to its end; where none is left, nothing is done.

    Args:
        path: of the store, which nobody has open.

    Raises:
        CorruptStoreError: a file waits for its place, and nothing proves that it is to be there. Nothing was changed.
        StoreInUseError: somebody has the store open.
        StoreError: it cannot be written.
    """
    place = path.resolve()
    if not is_swapped(place):
        return
    lock = StoreLock(place)
    lock.acquire()
    try:
        open_sqlite(path, upgrade=False).close()
    except BaseException:
        lock.abandon()
        raise
    lock.release()


@contextmanager
def _unused(backup: Path) -> Iterator[None]:
    """Have nobody write to a backup: one could not copy the file and its log as of one moment.

    Raises:
        StoreInUseError: it is a store that is open.
    """
    place = backup.resolve()
    beside = place.with_name(place.name + ".lock")
    if not beside.exists():  # a store that is open has one; nothing is made beside a backup
        yield
        return
    lock = filelock.FileLock(beside, timeout=0)
    with suppress(OSError):  # where it cannot be locked, nobody can write either
        try:
            lock.acquire()
        except filelock.Timeout:
            hint = "Close it first; or make a backup of it, which also works while it is in use: `crdt-sync backup`."
            raise StoreInUseError(f"{backup} is a store in use, and no backup", hint=hint) from None
    try:
        yield
    finally:
        lock.release()


def _put_back(path: Path, backup: Path, *, state_dir: Path) -> RestoreReport:
    place = path.resolve()
    found = _replica_in(backup)
    if not place.parent.is_dir() or (place.exists() and not place.is_file()):
        open_sqlite(path)  # raises: there is no such folder, or it is one
    lock = StoreLock(place)
    lock.acquire()
    try:
        end_swap(place)
        if place.exists():
            with unused(place):
                pass
        expected = _expected(place, state_dir)
        if expected is not None and expected != found:
            raise StoreError(
                f"{backup} is a backup of another store than {path}",
                hint="Give a backup of this store; or a path where no store was, to go on as a copy of that one.",
            )
        return RestoreReport(path=path, replaced=_swap(place, backup))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", hint="Nothing was changed. Check its folder.") from error
    finally:
        lock.release()


def _replica_in(path: Path) -> bytes | None:
    """Which replica a file is a store of, whatever version it has."""
    with open_sqlite(path, read_only=True, upgrade=False) as store:
        return store.get(Table.META, b"replica_id")


def _expected(place: Path, state_dir: Path) -> bytes | None:
    """Which replica belongs there, as far as the store that is there, or a fence, tells."""
    if place.exists():
        with suppress(StoreError):  # it may be damaged, which is why a backup is wanted
            return _replica_in(place)
    return replica_of(place, state_dir)


def _swap(place: Path, backup: Path) -> Path | None:
    draft = place.with_name(place.name + DRAFT_SUFFIX)
    try:
        _copy(backup, draft, like=place if place.exists() else backup)
        with suppress(StoreError):  # what cannot be opened is kept as it is, with the log beside it
            open_sqlite(place, upgrade=False).close()
        numbered = (place.with_name(f"{place.name}.replaced-{number}") for number in count(1))
        replaced = next(name for name in numbered if is_free(name))
        keep(place, replaced)
        try:
            take_place(draft, place, kept=replaced)
        except StoreInUseError:
            remove_files(replaced)
            raise
    finally:
        remove_files(draft)
    return replaced if replaced.exists() else None


def _copy(backup: Path, draft: Path, *, like: Path) -> None:
    """Copy a file with the log beside it, and bring the copy to the present version; the given one is only read.

    Args:
        backup: what is copied.
        draft: the copy.
        like: the file whose mode the copy has.

    Raises:
        CorruptStoreError: the backup is damaged.
        StoreError: SQLite cannot do that.
    """
    copy_files(backup, draft, like=like)
    with open_sqlite(draft) as store:
        damage = next(store.check(), None)
    if damage is not None:
        hint = "Take an older backup, or repair this one: `crdt-sync repair`."
        raise CorruptStoreError(f"{backup} is damaged: {damage.reason}", table=damage.table, hint=hint)
    try:
        with closing(apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)  # a planted file must not run anything
            connection.pragma("journal_mode", "delete")
    except apsw.Error as error:
        raise translated(error, path=backup) from error
    sync_file(draft)
