"""What is held is told whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError, MalformedEntryError, StoreError
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore
from tests.unit.replica.devices import Task, memory, sync


def fail(replica: Replica, task: Task) -> None:
    with replica.transaction():
        task.title = "b"
        raise RuntimeError("it is rolled back")


@pytest.mark.parametrize("table", [Table.CHAIN, Table.RECORD])
def test_a_log_that_cannot_be_read_again_after_a_rollback_is_not_told_in_part(table: Table) -> None:
    scan = MemoryStore.scan

    def failing(store: MemoryStore, of: Table, **how: Any) -> Iterator[tuple[bytes, bytes]]:
        for number, row in enumerate(scan(store, of, **how)):
            if of is table and (number or how.get("end")):
                raise CorruptStoreError(f"a row of {of} is damaged", table=of)
            yield row

    with memory(1) as replica, memory(2) as other:
        task = replica.create(Task, title="a")
        other.create(Task, title="b")
        sync(replica, other)
        held = replica.port.vector()
        with patch.object(MemoryStore, "scan", failing):
            with pytest.raises(StoreError):
                fail(replica, task)
            with pytest.raises(StoreError, match="could not be read again"):
                replica.port.vector()
            assert not replica.check().ok, "a check tells of it"
        assert replica.port.vector() == held, "it can be read by now"
        assert task.title == "a"
        with pytest.raises(RuntimeError, match="rolled back"):
            fail(replica, task)


def test_a_check_tells_of_a_space_record_that_is_none_after_a_rollback() -> None:
    scan = MemoryStore.scan

    def strange(store: MemoryStore, of: Table, **how: Any) -> Iterator[tuple[bytes, bytes]]:
        for key, data in scan(store, of, **how):
            yield key, b"no record" if of is Table.RECORD else data

    with memory(1) as replica:
        task = replica.create(Task, title="a")
        with patch.object(MemoryStore, "scan", strange):
            with pytest.raises(MalformedEntryError):
                fail(replica, task)
            with pytest.raises(StoreError, match="could not be read again"):
                replica.port.vector()
            assert not replica.check().ok
        assert task.title == "a"
