"""A replica on a store that is open already."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync import Model, Replica
from crdt_sync.errors import CorruptStoreError, StoreClosedError
from crdt_sync.replica import Sources
from crdt_sync.replica.opening import open_on
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore
from crdt_sync.storage.sqlite import open_sqlite


class Task(Model):
    title: str = ""


def test_it_is_a_replica_like_any_other_and_closes_the_store(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "store", create=True)
    with Replica(open_on(store, [Task], state_dir=tmp_path / "state", sources=Sources()), name="mine") as replica:
        replica.create(Task, title="kept")
        assert repr(replica).startswith("<Replica mine device ")
    with pytest.raises(StoreClosedError):
        store.count(Table.LOG)
    with Replica.open(tmp_path / "store", [Task], state_dir=tmp_path / "state") as again:
        assert [task.title for task in again.find(Task)] == ["kept"]


def test_a_store_that_cannot_be_used_is_closed() -> None:
    store = MemoryStore()
    with store.transaction():
        store.put(Table.META, b"replica_id", b"x")
        store.put(Table.META, b"authors", b"\xc1")
    with pytest.raises(CorruptStoreError, match="replica_id"):
        open_on(store, [Task], state_dir=None, sources=Sources())
    with pytest.raises(StoreClosedError):
        store.count(Table.LOG)
