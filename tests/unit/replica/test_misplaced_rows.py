"""A page that was written to the wrong place brings whole rows of one table into another: none of it ends a repair."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.replica.rows import number_key, pack_chain_row
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.replica.devices import Person, Task, on_disk

TABLES = (Table.LOG, Table.CHAIN, Table.TOUCH, Table.VERSION, Table.DOCUMENT, Table.BASE, Table.OPERATION)


def a_store(place: Path) -> Path:
    """With a record in a space that somebody's compaction settled, so that every address is looked at."""
    with on_disk(place, Task, Person) as replica:
        replica.create(Task, title="one", notes="text")
        replica.create(Person, email="a@b.c")
    return place / "a.db"


def repaired(path: Path) -> list[str]:
    """The titles after a repair."""
    with open_sqlite(path, read_only=True) as store:
        rows = {table: store.count(table) for table in Table}
    report = Replica.repair(path, state_dir=path.parent / "state")
    assert report.changed, rows
    with on_disk(path.parent, Task, Person, seed=3) as replica:
        assert replica.check().ok
        return [task.title for task in replica.find(Task)]


@pytest.mark.parametrize("into", TABLES)
@pytest.mark.parametrize("source", [Table.META, *TABLES, Table.SYNCLOG])
def test_rows_of_another_table_end_no_repair(tmp_path: Path, into: Table, source: Table) -> None:
    path = a_store(tmp_path)
    with open_sqlite(path) as store, store.transaction():
        rows = [row for row in store.scan(source) if store.get(into, row[0]) is None]
        if source is into or not rows:
            return
        store.put_many(into, rows)
    assert repaired(path) == ["one"]


LARGE = {
    "a long key of the log": (Table.LOG, b"\x40" * 30, b"\x90"),
    "a last position of the log": (Table.LOG, b"\xff" * 8, b"\x90"),
    "a last position of a chain": (Table.CHAIN, b"\0" + b"\1" * 13, pack_chain_row(2**64 - 1, b"h" * 32)),  # type: ignore[arg-type]  # a hash
    "a version of no document": (Table.VERSION, b"no", bytes(16)),
    "a touch of no document": (Table.TOUCH, bytes(20), b""),
    "a base of no document": (Table.BASE, b"no", b"\x92\x90\xc4\x00"),
}


@pytest.mark.parametrize("what", LARGE)
def test_no_position_and_no_address_is_believed(tmp_path: Path, what: str) -> None:
    table, key, value = LARGE[what]
    path = a_store(tmp_path)
    with open_sqlite(path) as store, store.transaction():
        store.put(table, key, value)
    assert repaired(path) == ["one"]


def test_a_whole_log_row_at_the_last_position_is_put_aside(tmp_path: Path) -> None:
    path = a_store(tmp_path)
    with open_sqlite(path) as store, store.transaction():
        key, value = next(store.scan(Table.LOG))
        store.put(Table.LOG, number_key(2**64 - 1), value)
        assert key
    assert repaired(path) == ["one"]
    with on_disk(tmp_path, Task, Person, seed=4) as replica:
        replica.create(Task, title="since")
        assert replica.check().ok
