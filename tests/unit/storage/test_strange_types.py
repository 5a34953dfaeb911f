"""Damage changes the types of columns: a zeroed sector makes NULLs of them. Whatever stands there, a check says so."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

import apsw
import pytest

from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.storage.base import Table
from crdt_sync.storage.damaged_rows import broken_tables, damaged_rows
from crdt_sync.storage.migrations import MIGRATIONS
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.sqlite_statements import table_name

SEALED, FREE = Table.EVIDENCE, Table.LOG
VALUES = {"a null": "NULL", "a number": "7", "a real": "1.5", "a text": "'é'", "no text": "CAST(x'ff' AS TEXT)"}


def damaged(path: Path, *, table: str, column: str, value: str) -> None:
    """Make a store of three rows of each table, and let one of them have something else in a column.

    A constraint is taken out of the schema first, which SQLite does not hold a page against either.
    """
    with open_sqlite(path, create=True) as store, store.transaction():
        for number in range(3):
            for each in (SEALED, FREE):
                store.put(each, bytes((number,)), b"value")
    with closing(apsw.Connection(str(path))) as raw:
        raw.pragma("writable_schema", True)
        name = f"_crdt_{table}"
        raw.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = ?", (name,))
    with closing(apsw.Connection(str(path))) as raw:
        key = SEALED.encode() if table == "seal" else b"\1"
        raw.execute(f"UPDATE {table_name(table)} SET {column} = {value} WHERE key = ?", (key,))  # noqa: S608  # of this file


CHANGES = [
    (column, value)
    for column in ("key", "value", "sum")
    for value in VALUES
    if (column, value) != ("key", "a null")  # which SQLite writes nowhere
]


@pytest.mark.parametrize("table", [SEALED, FREE, "seal"])
@pytest.mark.parametrize(("column", "value"), CHANGES)
def test_a_column_of_another_type_is_damage(tmp_path: Path, table: str, column: str, value: str) -> None:
    path = tmp_path / "a.db"
    damaged(path, table=table, column=column, value=VALUES[value])
    with open_sqlite(path) as store:
        found = list(store.check())
    assert {item.table for item in found} >= {table if table != "seal" or column != "key" else SEALED}, found
    broken_tables(path)
    assert table == "seal" or [row.table for row in damaged_rows(path)] == [table]


@pytest.mark.parametrize("column", ["value", "sum"])
@pytest.mark.parametrize("value", VALUES)
def test_the_row_is_named_and_those_around_it_are_read(tmp_path: Path, column: str, value: str) -> None:
    path = tmp_path / "a.db"
    damaged(path, table=FREE, column=column, value=VALUES[value])
    with open_sqlite(path) as store:
        for start in (b"", b"\1"):
            with pytest.raises(CorruptStoreError) as caught:
                list(store.scan(FREE, start=start))
            assert caught.value.key == b"\1"
        with pytest.raises(CorruptStoreError):
            store.get(FREE, b"\1")
        assert [key for key, _ in islice(whole_rows(store, FREE), 9)] == [b"\0", b"\2"]


@pytest.mark.parametrize("column", ["value", "sum"])
def test_a_row_whose_checksum_is_gone_is_written_over(tmp_path: Path, column: str) -> None:
    path = tmp_path / "a.db"
    damaged(path, table=SEALED, column=column, value="NULL")
    with open_sqlite(path) as store:
        with store.transaction():
            store.put(SEALED, b"\1", b"value")
        assert {item.table for item in store.check()} <= {"", SEALED}
        with store.transaction():
            store.delete(SEALED, b"\1")
        assert store.count(SEALED) == 2


def test_a_store_of_an_older_version_is_upgraded_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with open_sqlite(path, create=True, migrations=MIGRATIONS[:-1]):
        pass
    with closing(apsw.Connection(str(path))) as raw:
        raw.pragma("writable_schema", True)
        raw.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = '_crdt_evidence'")
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute('INSERT INTO "_crdt_evidence" VALUES (?, ?, NULL)', (b"\1", b"value"))
    with open_sqlite(path) as store:
        assert {item.table for item in store.check()} == {SEALED}
