"""Who a repaired store is: every author that it held is listed, so that the log beside it is known for its own."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.packing import unpack_author, unpack_authors
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.sqlite_log import refuse_foreign_log
from tests.unit.replica.devices import Task, on_disk, store_of


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A store whose last author, drawn after an unclean end, wrote nothing."""
    with on_disk(tmp_path, seed=1) as replica:
        replica.create(Task, title="one")
    put(tmp_path / "a.db", b"clean", b"\0")
    with on_disk(tmp_path, seed=2):
        pass
    return tmp_path


def put(path: Path, key: bytes, value: bytes) -> None:
    with open_sqlite(path) as store, store.transaction():
        store.put(Table.META, key, value)


def as_killed(place: Path, folder: Path) -> Path:
    """What a process that is killed now leaves: the file, and the log beside it."""
    folder.mkdir()
    for name in ("a.db", "a.db-wal"):
        shutil.copy(place / name, folder / name)
    return folder / "a.db"


def test_a_repaired_store_knows_its_log_after_a_kill(held: Path) -> None:
    with closing(sqlite3.connect(held / "a.db")) as raw, raw:
        raw.execute("UPDATE _crdt_meta SET value = x'00' WHERE key = CAST('authors' AS BLOB)")
    assert Replica.repair(held / "a.db", state_dir=held / "state").changed
    with open_sqlite(held / "a.db", read_only=True) as store:
        author = unpack_author(store.get(Table.META, b"author") or b"", key=b"author")
        assert author in unpack_authors(store.get(Table.META, b"authors"), key=b"authors")
    with on_disk(held, seed=3) as replica:
        replica.create(Task, title="two")
        left = as_killed(held, held / "killed")
    refuse_foreign_log(left)
    with open_sqlite(left, read_only=True) as store:
        assert store.count(Table.LOG) == 2


def test_an_open_lists_the_author_that_was_held(held: Path) -> None:
    """As an earlier version left it."""
    with open_sqlite(held / "a.db", read_only=True) as store:
        author = unpack_author(store.get(Table.META, b"author") or b"", key=b"author")
        authors = unpack_authors(store.get(Table.META, b"authors"), key=b"authors")
    put(held / "a.db", b"authors", msgpack.packb([other for other in authors if other != author]))
    with on_disk(held, seed=3) as replica:
        assert author in unpack_authors(store_of(replica).get(Table.META, b"authors"), key=b"authors")


def test_a_log_of_the_same_replica_is_its_own(held: Path) -> None:
    """Also one that an earlier version wrote, after which the author of the file is listed nowhere."""
    with on_disk(held, seed=3) as replica:
        store = store_of(replica)
        last = unpack_authors(store.get(Table.META, b"authors"), key=b"authors")
        with store.transaction():
            store.put(Table.META, b"author", last[0].to_bytes(5, "big"))
            store.put(Table.META, b"authors", msgpack.packb(last[:1]))
        left = as_killed(held, held / "killed")
        with store.transaction():
            store.put(Table.META, b"author", last[-1].to_bytes(5, "big"))
            store.put(Table.META, b"authors", msgpack.packb(last))
    refuse_foreign_log(left)


@pytest.mark.parametrize("is_same_name", [False, True])
def test_a_log_of_another_store_is_refused_as_before(held: Path, tmp_path: Path, is_same_name: bool) -> None:
    with open_sqlite(held / "a.db", read_only=True) as store:
        name = store.get(Table.META, b"replica_id") or b""
    (tmp_path / "other").mkdir()
    with on_disk(tmp_path / "other", seed=4) as replica:
        replica.create(Task, title="foreign")
        other = store_of(replica)
        if is_same_name:  # a page of it may be the file's own
            with other.transaction():
                other.put(Table.META, b"replica_id", name)
        shutil.copy(tmp_path / "other" / "a.db-wal", held / "a.db-wal")
    with pytest.raises(CorruptStoreError, match="belongs to another store"):
        refuse_foreign_log(held / "a.db")
