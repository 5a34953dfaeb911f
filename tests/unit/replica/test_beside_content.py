"""Entries that come after content of the same write, and hostile ones that would hide behind it."""

from __future__ import annotations

import pytest

from crdt_sync import Replica
from crdt_sync.core.entry import EntryOperation
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, RecordId, document_key
from crdt_sync.errors import ScreeningError
from crdt_sync.replica.beside_content import LogAlone
from crdt_sync.replica.content import accept_content
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, Task, memory, state_of


def key_of(task: Task) -> DocumentKey:
    return document_key(DEFAULT_PARTITION, "Task", RecordId(task.id))


def take_content(target: Replica, source: Replica, key: DocumentKey) -> None:
    """What a peer has of a document, ahead of the entries that made it; the author's binding is known."""
    for record in (data for _, data in state_of(source).store.scan(Table.RECORD)):
        target.port.accept_records([record])
    outcome = accept_content(state_of(target), "", [(key, state_of(source).documents.get(key).encode())]).outcome
    assert outcome.statuses == ()


def test_entries_that_come_after_content_are_taken_in() -> None:
    with memory(1, Task, Person) as writer, memory(2, Task, Person) as reader:
        task = writer.create(Task, title="a", notes="one", tags=["x"])
        assert exchange(writer, reader).proven_equal
        task.title = "b"
        task.notes.append(" two")
        task.votes.increment(3)
        with writer.transaction():
            task.tags.discard("x")
            writer.create(Task, title="beside")
        take_content(reader, writer, key_of(task))
        assert reader.get(Task, task.id).model_dump() == task.model_dump()
        assert exchange(writer, reader).proven_equal
        assert state_of(reader).ledger.vector() == state_of(writer).ledger.vector()
        assert reader.check().ok
        reader.get(Task, task.id).notes.append(" three")
        task.notes.append(" four")
        assert exchange(writer, reader).proven_equal
        assert reader.get(Task, task.id).model_dump() == task.model_dump()
        assert str(task.notes).startswith("one two")
        assert reader.check().ok
        assert len(list(reader.history(reader.get(Task, task.id)))) > 1


def test_what_stands_beside_content_survives_compaction() -> None:
    with memory(1, Task, Person) as writer, memory(2, Task, Person) as reader:
        task = writer.create(Task, title="a", notes="one")
        assert exchange(writer, reader).proven_equal
        task.title = "b"
        take_content(reader, writer, key_of(task))
        for _ in range(3):
            assert exchange(writer, reader).proven_equal
            writer.compact()
            reader.compact()
        task.title = "c"
        assert exchange(writer, reader).proven_equal
        assert reader.get(Task, task.id).title == "c"
        assert reader.check().ok


def test_they_may_come_by_way_of_somebody_else() -> None:
    with memory(1, Task, Person) as writer, memory(2, Task, Person) as reader, memory(3, Task, Person) as other:
        task = writer.create(Task, title="a")
        assert exchange(writer, reader).proven_equal
        assert exchange(writer, other).proven_equal
        task.title = "b"
        take_content(reader, writer, key_of(task))
        assert exchange(writer, other).proven_equal
        assert exchange(other, reader).proven_equal
        assert reader.check().ok


def test_what_the_log_alone_refuses_is_refused_beside_content() -> None:
    with memory(1, Task, Person) as writer, memory(2, Task, Person) as reader:
        task = writer.create(Task, title="a")
        key = key_of(task)
        first = next(state_of(writer).documents.tail_of(key, after=0))
        assert exchange(writer, reader).proven_equal
        again = EntryOperation(type=first[1], document=key, update=first[2])
        documents = state_of(reader).documents
        error = ScreeningError("refused")
        with pytest.raises(ScreeningError, match="refused"):  # there is no content
            LogAlone(documents).judge(again, author=first[0], error=error, is_first=True)
        task.title = "b"
        take_content(reader, writer, key)
        with pytest.raises(ScreeningError, match="go on"):  # an author that writes its blocks twice
            LogAlone(documents).judge(again, author=first[0], error=error, is_first=True)
        assert LogAlone(documents).judge(again, author=first[0], error=error, is_first=False) is None
