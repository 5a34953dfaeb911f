"""Any bytes in the place of any kind of row: whatever reads them refuses them by name, with a hint, or reads on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.checking.readers import read_row
from crdt_sync.replica.opening import open_on
from crdt_sync.replica.taking import VOUCHED
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.fuzz.refusing import attempt
from tests.unit.replica.damaging import EACH_KIND, MODELS, kind_of, make_rich
from tests.unit.replica.devices import Dice, Task, memory, on_disk

Row = tuple[Table, bytes, bytes]
GARBAGE = (
    *(b"", b"\0", b"\xc1", b"\xff" * 9, b"\x81\x81\x05\x4f\x3d", b"\x91" * 100_000),
    *map(
        msgpack.packb, (None, -1, 2**63, 1.5, "text", b"bytes", [], [[]], [None] * 5, [-1] * 5, {}, {"": 1}, {1: "x"})
    ),
    *map(msgpack.packb, ([{"": {1: "x"}}], [{"": []}], [-5], [0])),
)
"""Bytes that are no row, or one of another table."""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("rich")
    make_rich(folder)
    with open_sqlite(folder / "a.db", read_only=True) as store:
        return [(table, *row) for table in Table for row in store.scan(table)]


def kinds(rows: list[Row], tables: Any, *, most: int = EACH_KIND) -> Iterator[Row]:
    """The first rows of each kind."""
    seen: dict[str, int] = {}
    for table, key, value in rows:
        kind = kind_of(table, (key, value, b""))
        seen[kind] = seen.get(kind, 0) + 1
        if table in tables and seen[kind] <= most:
            yield table, key, value


def others(value: bytes) -> Iterator[bytes]:
    """Garbage, parts of the row, and the row with one of its values another."""
    yield from GARBAGE
    yield from (value[:size] for size in (1, len(value) // 2, max(0, len(value) - 1)))
    yield value + b"\0"
    try:
        items = msgpack.unpackb(value, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return
    if isinstance(items, list):
        for at in range(len(items)):
            for other in (None, -1, 1.5, "x" * 9, b"x", [], {}, [[None]], {"a": 1}, 2**64 - 1):
                yield msgpack.packb([*items[:at], other, *items[at + 1 :]])


@pytest.mark.parametrize("table", list(Table))
def test_any_bytes_are_read_or_refused(rich: list[Row], table: Table) -> None:
    for _, key, value in kinds(rich, {table}):
        read_row(table, key, value)
        for other in others(value):
            attempt(lambda: read_row(table, key, other))  # noqa: B023  called at once
        for other in (b"", b"x", key[:-1], key + b"x", b"\xff" * len(key)):
            attempt(lambda: read_row(table, other, value))  # noqa: B023  as above


def holding(rows: list[Row], change: Row) -> MemoryStore:
    store = MemoryStore()
    with store.transaction():
        for table, key, value in [*rows, change]:
            store.put(table, key, value)
    return store


def use(store: MemoryStore) -> None:
    """Open a replica on a store, read, write, undo, compact and sync."""
    with (
        Replica(open_on(store, MODELS, state_dir=None, sources=Dice(3).sources), name="altered") as replica,
        memory(4, *MODELS) as other,
    ):
        works: tuple[Callable[[], object], ...] = (
            lambda: [record.model_dump() for model in MODELS for record in replica.find(model)],
            lambda: [replica.conflicts(), list(replica.operations()), list(replica.sync_log()), replica.safe_to_wipe()],
            lambda: replica.create(Task, title="new"),
            replica.undo,
            replica.redo,
            lambda: replica.compact(retention_s=0),
            lambda: exchange(replica, other),
            replica.check,
        )
        for work in works:
            attempt(work)


@pytest.mark.parametrize("table", list(Table))
def test_a_store_with_garbage_in_a_row_is_checked_and_opened_or_refused(rich: list[Row], table: Table) -> None:
    for _, key, value in kinds(rich, {table}, most=1):
        altered = list(others(value))[len(GARBAGE) :]
        for other in (GARBAGE[2], *altered[4::23]):
            store = holding(rich, (table, key, other))
            check_store(store)
            attempt(lambda: use(store))  # noqa: B023  called at once


@pytest.mark.parametrize("key", [b"authors", b"inherited", b"replica_id", b"epoch", b"undo", b"horizons"])
def test_an_open_names_the_row_that_it_cannot_read(rich: list[Row], key: bytes) -> None:
    store = holding(rich, (Table.META, key, msgpack.packb({"no": "such"})))
    told = " ".join(item.where for item in check_store(store).listed)
    assert key.decode() in told
    with pytest.raises(CorruptStoreError) as caught:
        use_all(store)
    assert key.decode() in caught.value.message
    assert caught.value.hint


def use_all(store: MemoryStore) -> None:
    with Replica(open_on(store, MODELS, state_dir=None, sources=Dice(3).sources), name="altered") as replica:
        replica.undo()


@pytest.mark.parametrize("key", [b"forks", VOUCHED])
def test_a_note_that_cannot_be_read_is_told_and_a_repair_takes_it_out(tmp_path: Path, key: bytes) -> None:
    with on_disk(tmp_path, seed=1) as replica:
        replica.create(Task, title="one")
    with open_sqlite(tmp_path / "a.db") as store:
        with store.transaction():
            store.put(Table.META, key, b"\x01")
        assert any(key.decode() in item.where for item in check_store(store).listed)
    report = Replica.repair(tmp_path / "a.db", state_dir=tmp_path / "state")
    assert (report.changed, report.after.ok, report.quarantined) == (True, True, 1)
    with on_disk(tmp_path, seed=2) as replica, memory(3) as other:
        assert replica.forks() == ()
        assert exchange(replica, other).proven_equal
        assert replica.check().listed == []
