"""What a user does with a store that is damaged: `Replica.repair`, the production code, also for one in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from crdt_sync.errors import StoreError
from crdt_sync.replica import Replica
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.repairing import RepairReport
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.simulation.disk import Disk, DiskReader, Row

DERIVED = frozenset(Table) - {Table.LOG, Table.BASE, Table.RECORD, Table.META, Table.STAGED, Table.LOCAL, Table.SETTLED}
"""Tables whose rows hold no edit that is nowhere else in the store."""


def is_sound(path: Path) -> bool:
    """Whether `crdt-sync check` finds nothing."""
    try:
        with open_sqlite(path, read_only=True) as store:
            return check_store(store).ok
    except StoreError:
        return False


def repaired(path: Path, *, state_dir: Path) -> RepairReport | None:
    """What `crdt-sync repair` did; None where something is wrong still."""
    try:
        report = Replica.repair(path, state_dir=state_dir)
    except StoreError:
        return None  # the file cannot be read any more
    return report if report.changed and report.after.ok else None


def repair_in_memory(disk: Disk, *, state_dir: Path, folder: Path) -> RepairReport | None:
    """Write a store to a file, damage and all, repair that, and take it back.

    Args:
        disk: of the store, which no process has open.
        state_dir: its keys and its fence.
        folder: for the file; it is made.

    Returns:
        What was done; None where something is wrong still.
    """
    folder.mkdir(parents=True)
    path = folder / "store.db"
    DiskReader(disk).backup(path)
    _damage(path, disk.damaged())
    report = repaired(path, state_dir=state_dir)
    if report is None:
        return None
    with open_sqlite(path, read_only=True) as store:
        disk.restore(({table: dict(store.scan(table)) for table in Table}, {}, {}))  # the next open makes the views
    return report


def _damage(path: Path, rows: Iterable[Row]) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        for table, key in rows:
            column = "value" if raw.execute(_LENGTH.format(table), (key,)).fetchone()[0] else "sum"
            raw.execute(_ZERO.format(table, column), (key,))


_LENGTH = 'SELECT length(value) FROM "_crdt_{0}" WHERE key = ?'
_ZERO = 'UPDATE "_crdt_{0}" SET {1} = zeroblob(length({1})) WHERE key = ?'
