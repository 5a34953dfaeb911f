"""What devices are called: each says it for itself, everybody hears of it, and a peer cannot flood with it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from crdt_sync import Replica
from crdt_sync.errors import InputError, StoreFullError, StoreReadOnlyError, TransactionError
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Dice, Person, Task, memory, on_disk, store_of


def test_names_replicate_and_can_be_changed() -> None:
    one, other, third = (memory(seed) for seed in range(3))
    one.name_device("laptop")
    other.name_device("phone")
    exchange(one, other)
    exchange(other, third)
    wanted = {one.device_id: "laptop", other.device_id: "phone"}
    assert one.device_names == other.device_names == third.device_names == wanted
    other.name_device("tablet")
    exchange(third, other)
    exchange(third, one)
    assert one.device_names == {one.device_id: "laptop", other.device_id: "tablet"}


def test_a_name_takes_one_record_however_often_it_changes() -> None:
    one, other = memory(0), memory(1)
    for number in range(20):
        one.name_device(f"n{number}")
        exchange(one, other)
    for replica in (one, other):
        assert list(replica.device_names.values()) == ["n19"]
        assert store_of(replica).count(Table.RECORD) == 3


def test_a_name_that_a_full_disk_refused_can_be_given_again() -> None:
    with memory(0) as one, memory(1) as other:
        full = patch.object(MemoryStore, "put", side_effect=StoreFullError("no space"))
        with full, pytest.raises(StoreFullError):
            one.name_device("laptop")
        assert one.device_names == {}
        one.name_device("laptop")
        exchange(one, other)
        assert other.device_names == {one.device_id: "laptop"}


def test_an_older_name_changes_nothing() -> None:
    one, other = memory(0), memory(1)
    one.name_device("old")
    old, _ = one.port.space_records(0)
    one.name_device("new")
    exchange(one, other)
    other.port.accept_records(old)
    assert list(other.device_names.values()) == ["new"]


def test_a_name_is_kept_and_set_at_an_open(tmp_path: Path) -> None:
    def opened(name: str | None = None) -> Replica:
        state, sources = tmp_path / "state", Dice().sources
        return Replica.open(tmp_path / "a.db", [Task], device_name=name, state_dir=state, sources=sources)

    with opened("phone") as replica:
        records = store_of(replica).count(Table.RECORD)
    for name in (None, "phone"):
        with opened(name) as replica:
            assert replica.device_names == {replica.device_id: "phone"}
            assert store_of(replica).count(Table.RECORD) == records
    with opened("tablet") as replica:
        assert list(replica.device_names.values()) == ["tablet"]


def test_a_reader_sees_a_name_that_was_written_since(tmp_path: Path) -> None:
    with on_disk(tmp_path) as writer, Replica.open(tmp_path / "a.db", [Task, Person], read_only=True) as reader:
        writer.name_device("laptop")
        assert list(reader.device_names.values()) == ["laptop"]
        with pytest.raises(StoreReadOnlyError):
            reader.name_device("mine")
    with pytest.raises(StoreReadOnlyError):
        Replica.open(tmp_path / "a.db", [Task, Person], read_only=True, device_name="mine")


def test_what_is_no_name_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Replica.open(tmp_path / "a.db", device_name="a\tb")
    assert not (tmp_path / "a.db").exists()
    replica = memory()
    with pytest.raises(InputError):
        replica.name_device("x" * 65)
    with replica.transaction(), pytest.raises(TransactionError):
        replica.name_device("phone")
    assert replica.device_names == {}


def test_an_explanation_names_devices_alike_on_every_replica() -> None:
    one, other = memory(0), memory(1)
    one.name_device("laptop")
    task = one.create(Task, title="a")
    exchange(one, other)
    other.name_device("phone")
    one.update(task, due="2026-01-01")
    other.update(other.get(Task, task.id), due="2026-01-02")
    exchange(one, other)
    texts = {str(replica.explain(Task, task.id, field)) for replica in (one, other) for field in ("due", "notes", None)}
    assert len(texts) == 3
    due = one.explain(Task, task.id, "due")
    assert {cause.device_name for cause in due.causes[:2]} == {"phone", "laptop"}
    assert f"by phone ({str(other.device_id)[:4]}…) at" in str(due)
    assert f"by laptop ({str(one.device_id)[:4]}…) at" in str(one.explain(task))
