"""A seal that is gone, older or unreadable: a check tells of it, and the store goes on."""

# ruff: noqa: S608  # what is put into statements is of this file

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import SqliteStore, open_sqlite
from crdt_sync.storage.sqlite_seals import Seals

LOCAL = "key = CAST('local' AS BLOB)"
DAMAGES = {
    "gone": f"DELETE FROM _crdt_seal WHERE {LOCAL}",
    "a text": f"UPDATE _crdt_seal SET value = CAST(x'fffefdfc' AS TEXT) WHERE {LOCAL}",
    "a number": f"UPDATE _crdt_seal SET value = 7 WHERE {LOCAL}",
    "a sum of text": f"UPDATE _crdt_seal SET sum = CAST(x'fffefdfc' AS TEXT) WHERE {LOCAL}",
    "older": "",
}


def damaged(path: Path, what: str) -> None:
    with open_sqlite(path, create=True) as store:
        with store.transaction():
            store.put(Table.LOCAL, b"a", b"1")
        with closing(apsw.Connection(str(path))) as raw:
            older = raw.execute(f"SELECT value, sum FROM _crdt_seal WHERE {LOCAL}").get
        with store.transaction():
            store.put(Table.LOCAL, b"b", b"2")
    with closing(apsw.Connection(str(path))) as raw:
        if what == "older":
            raw.execute(f"UPDATE _crdt_seal SET value = ?, sum = ? WHERE {LOCAL}", older)
        else:
            raw.execute(DAMAGES[what])


@pytest.fixture(params=DAMAGES)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SqliteStore]:
    damaged(tmp_path / "a.db", request.param)
    with open_sqlite(tmp_path / "a.db") as store:
        yield store


def told(store: SqliteStore) -> bool:
    return Table.LOCAL in {damage.table for damage in store.check()} or "seal" in {each.table for each in store.check()}


def test_rows_are_deleted_and_put_all_the_same(store: SqliteStore) -> None:
    assert told(store)
    with store.transaction():
        store.delete_many(Table.LOCAL, [b"a", b"b"])
    assert store.count(Table.LOCAL) == 0
    with store.transaction():
        store.put(Table.LOCAL, b"c", b"3")
        store.put(Table.META, b"c", b"3")
    assert store.get(Table.LOCAL, b"c") == b"3"


def test_a_backup_without_rows_is_made(store: SqliteStore, tmp_path: Path) -> None:
    store.backup(tmp_path / "b.db", without=[(Table.LOCAL, b"a"), (Table.LOCAL, b"b")])
    with open_sqlite(tmp_path / "b.db") as copy:
        assert copy.count(Table.LOCAL) == 0


def test_any_error_of_a_commit_rolls_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sqlite(tmp_path / "a.db", create=True) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Seals, "write", lambda _: 1 // 0)
            with pytest.raises(ZeroDivisionError), store.transaction():
                store.put(Table.LOCAL, b"a", b"1")
        assert store.get(Table.LOCAL, b"a") is None
        with store.transaction():
            store.put(Table.LOCAL, b"b", b"2")
        assert store.count(Table.LOCAL) == 1
