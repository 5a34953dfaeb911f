"""Backups: a copy of a store in use that knows, wherever it is opened, that its past may have gone on without it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crdt_sync.errors import StoreError, StoreFullError
from crdt_sync.replica.lease import FENCES
from crdt_sync.storage.base import Progress, Store, Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.sqlite_file import refused
from crdt_sync.storage.swapping import sync_directory

_SUFFIX = ".unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """A backup that is complete and durable.

    Args:
        path: where it is.
        file_bytes: its size.
        log_rows: rows of the log in it.
    """

    path: Path
    file_bytes: int
    log_rows: int


def back_up(store: Store, target: Path, *, progress: Progress | None = None) -> BackupReport:
    """Copy everything committed to a new file, and check the copy; the store stays in use.

    The fence is left out. So whoever opens the copy, at its old place or elsewhere, draws a new epoch and a new author.

    Args:
        store: what to copy.
        target: where nothing is yet; it appears when the copy is complete.
        progress: told how many rows of the copy are checked, and of how many.

    Raises:
        StoreError: something exists there, it cannot be written, or the copy is damaged; nothing is left there.
        TransactionError: within a transaction.
    """
    if target.exists():
        raise StoreError(f"{target} exists already", hint="Choose another path; nothing was overwritten.")
    unfinished = target.with_name(target.name + _SUFFIX)
    try:
        unfinished.unlink(missing_ok=True)  # left by a backup that was killed
        store.backup(unfinished, without=FENCES)
        with open_sqlite(unfinished, read_only=True) as copy:
            damage = next(copy.check(progress=progress), None)
            if damage is not None:
                raise StoreError(
                    f"the store is damaged ({damage.reason}), and so is a copy of it",
                    hint="See `crdt-sync check`. A peer or an older backup holds what is damaged.",
                )
            rows = copy.count(Table.LOG)
        unfinished.rename(target)
        sync_directory(target.parent)
    except BaseException as error:
        with suppress(OSError):  # the next backup removes it; the first error is the one to tell
            unfinished.unlink(missing_ok=True)
        if isinstance(error, StoreFullError):
            raise StoreFullError(f"{target} cannot be written: there is no room for it") from error
        if isinstance(error, OSError):
            raise refused(error, f"{target} cannot be written", hint="Check its directory.") from error
        raise
    return BackupReport(path=target, file_bytes=target.stat().st_size, log_rows=rows)
