"""Compaction and the journal: what waits for a home peer keeps its entry, and what was folded keeps its place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import DeviceId
from crdt_sync.protocol.source import EntryStatus, StatusKind
from crdt_sync.replica.checking import check_store
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import Task, memory, store_of, sync


@pytest.fixture
def two() -> Iterator[tuple[Replica, Replica]]:
    with memory(1) as hub, memory(2) as desk:
        yield hub, desk


def test_entries_with_pending_operations_are_not_folded(two: tuple[Replica, Replica]) -> None:
    hub, desk = two
    first = hub.create(Task, title="held")
    sync(hub, desk)
    first.title = "waiting"
    with hub.transaction():
        hub.create(Task, title="b")
        first.notes.append("c")
    first.title = "behind it"
    report = hub.compact(retention_s=0)
    assert (report.rows_before, report.rows_after) == (4, 3)
    assert hub.pending_count() == 4
    assert [dict(item.data)["title"] for item in hub.operations(status="pending") if "title" in item.data] == [
        "waiting",
        "b",
        "behind it",
    ]
    assert check_store(store_of(hub)).listed == []
    sync(hub, desk)
    assert (hub.pending_count(), hub.compact().rows_after) == (0, 0)
    assert desk.get(Task, first.id).title == "behind it"


def test_store_that_nobody_else_knows_keeps_its_log(replica: Replica) -> None:
    replica.create(Task, title="a")
    assert replica.compact().rows_after == 1
    assert [dict(item.data)["title"] for item in replica.operations()] == ["a"]


def test_folded_operations_stay_listed_without_what_they_wrote(two: tuple[Replica, Replica]) -> None:
    hub, desk = two
    task = hub.create(Task, title="a")
    task.title = "b"
    sync(hub, desk)
    assert hub.compact().rows_after == 0
    assert [(item.type.name, item.status.value, item.data) for item in hub.operations()] == [
        ("CREATE", "completed", {}),
        ("UPDATE", "completed", {}),
    ]


def test_what_a_failed_operation_wrote_stays_though_its_entry_is_folded_and_its_record_removed(
    two: tuple[Replica, Replica],
) -> None:
    """One peer refused it, all hold it by now, and the record is deleted for good: what was written is still listed."""
    hub, desk = two
    gone = {"title": "a", "size": 2**70, "due": date(2025, 1, 1), "extra": {"k": [1, "x"]}, "tags": {"x", "yy"}}
    text = "né😀" * 200_000  # more than one value may have
    with hub.transaction():
        task = hub.create(Task, **gone, notes=text)
        task.votes.increment(3)
    task.notes.insert(0, "b", {"bold": True})
    hub.delete(task)
    (author,) = hub.port.own_authors()
    wrote = [item.data for item in hub.operations()]
    refused = EntryStatus(
        partition="", author=author, sequence=1, kind=StatusKind.REFUSED, code="screening", reason="no"
    )
    hub.port.acknowledged(DeviceId("a third one"), {}, [refused])
    assert [item.data for item in hub.operations(status="failed")] == wrote
    for _ in range(3):
        sync(hub, desk)
        hub.compact()
    assert store_of(hub).count(Table.LOG) == store_of(hub).count(Table.DOCUMENT) == 0
    assert [item.data for item in hub.operations(status="completed")] == wrote
    assert wrote[0]["notes"] == [text]
    assert "b" in wrote[1]["notes"]


def test_operations_under_an_earlier_author_count_too(two: tuple[Replica, Replica]) -> None:
    hub, desk = two
    task = hub.create(Task, title="a")
    sync(hub, desk)
    task.title = "b"
    (pending,) = hub.operations(status="pending")
    hub.port.own_ahead("", next(iter(hub.port.own_authors())))
    task.title = "c"
    assert hub.compact(retention_s=0).rows_after == 2
    assert dict(hub.operation(pending.id).data)["title"] == "b"


def test_many_folded_documents_are_known_when_entries_on_them_come(two: tuple[Replica, Replica]) -> None:
    """So many that their absence is looked up in ranges: no operation in the log leads to them."""
    hub, desk = two
    ids = [hub.create(Task, title=f"{number}", size=number).id for number in range(12)]
    sync(hub, desk)
    assert hub.compact().rows_after == 0
    for name in ids:
        desk.get(Task, name).title += "!"
    sync(hub, desk)
    assert [(hub.get(Task, name).title, hub.get(Task, name).size) for name in ids] == [
        (f"{number}!", number) for number in range(12)
    ]
    assert check_store(store_of(hub)).listed == []


def test_folded_document_whose_row_is_missing_is_read_from_its_base(two: tuple[Replica, Replica]) -> None:
    hub, desk = two
    task = hub.create(Task, title="a", size=7)
    sync(hub, desk)
    hub.compact()
    task.title = "b"
    store = store_of(hub)
    with store.transaction():
        store.delete_range(Table.DOCUMENT)
    hub._state.documents.clear()
    again = hub.get(Task, task.id)
    assert (again.title, again.size) == ("b", 7)
