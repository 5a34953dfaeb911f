"""The past beside compaction: what the log still tells is told, and what was folded is a typed error, never a guess."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from crdt_sync import Counter, Model, Replica, Text, ask
from crdt_sync.core.clock import physical_ms
from crdt_sync.errors import HistoryFoldedError, RecordDeletedError, RecordNotFoundError
from crdt_sync.replica.history import COMPACTED
from crdt_sync.replica.undo import GONE_FOR_GOOD
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory

LATE = datetime(2100, 1, 1, tzinfo=UTC)


class Note(Model):
    title: str = ""
    due: int | None = ask(default=None)
    text: Text
    votes: Counter


@pytest.fixture
def two() -> Iterator[tuple[Replica, Replica]]:
    with memory(1, Note) as one, memory(2, Note, dice=Dice(2, now_ms=START_MS + 50)) as other:
        yield one, other


def fold(one: Replica, other: Replica) -> None:
    for _ in range(2):
        assert exchange(one, other).proven_equal
    assert one.compact().rows_after == 0


def time_of(replica: Replica) -> int:
    return replica.last_operation().timestamp


def test_as_it_was_reaches_back_to_the_latest_that_was_folded_of_the_record(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note, still = one.create(Note, title="a"), one.create(Note, title="still")
    made = time_of(one)
    note.votes.increment(1)
    note.text.append("x")  # neither says when
    folded = time_of(one)
    one.create(Note)
    fold(one, other)
    note.title = "b"
    for time in (made, folded - 1):
        with pytest.raises(HistoryFoldedError) as refused:
            one.at(note, time)
        assert (refused.value.model, refused.value.record_id) == ("Note", note.id)
        assert refused.value.hint
        assert one.at(still, time).title == "still"  # nothing was done to it since
    assert other.at(Note, note.id, made).votes == 0  # whoever folded nothing can tell
    assert (one.at(note, folded).title, str(one.at(note, folded).text)) == ("a", "x")
    assert one.at(note, LATE).title == "b"
    for record in (note, still):
        with pytest.raises(RecordNotFoundError):
            one.at(record, physical_ms(made) - 60_000)


def test_it_goes_for_a_base_that_came_from_a_peer_too(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a")
    made = time_of(one)
    note.title = "b"
    folded = time_of(one)
    fold(one, other)
    with memory(3, Note) as late:
        exchange(one, late)
        with pytest.raises(HistoryFoldedError):
            late.at(Note, note.id, made)
        assert late.at(Note, note.id, folded).title == "b"


def test_it_grows_with_what_is_folded(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a")
    fold(one, other)
    note.title = "b"
    second = time_of(one)
    one.delete(note)
    deleted = time_of(one)
    assert one.at(note, second).title == "b"
    fold(one, other)
    with pytest.raises(HistoryFoldedError):
        one.at(note, second)
    with pytest.raises(RecordDeletedError):
        one.at(note, deleted)


def test_undo_of_what_was_folded_says_so_and_changes_nothing(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a")
    note.title = "b"
    one.undo()
    fold(one, other)
    before = (note.model_dump(), one.pending_count())
    for _ in range(2):
        with pytest.raises(HistoryFoldedError):
            one.undo()
        with pytest.raises(HistoryFoldedError):
            one.redo()
    assert (note.model_dump(), one.pending_count()) == before
    note.title = "c"
    report = one.undo()
    assert report is not None
    assert note.title == "a"
    with pytest.raises(HistoryFoldedError):
        one.undo()
    assert one.redo() is not None
    assert note.title == "c"


def test_undo_beside_what_was_folded(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a", text="né😀", votes=2)
    note.due = 1
    fold(one, other)
    with one.transaction():
        note.title, note.due = "b", 2
        note.text.delete(1, 2)
        note.votes.increment(5)
    assert one.undo() is not None
    assert note.model_dump() == {"title": "a", "due": 1, "text": "né😀", "votes": 2}
    assert one.redo() is not None
    assert note.model_dump() == {"title": "b", "due": 2, "text": "n", "votes": 7}


def test_deletion_that_a_horizon_settled_is_not_undone(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a")
    one.delete(note)
    for _ in range(3):
        for _ in range(2):
            exchange(one, other)
        one.compact()
    with pytest.raises(HistoryFoldedError):
        one.undo()
    assert one.count(Note) == other.count(Note) == 0


def test_history_that_is_compacted_while_it_is_read(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a")
    note.title = "b"
    reading = one.history(note)
    next(reading)
    fold(one, other)
    with pytest.raises(HistoryFoldedError):
        list(reading)
    (folded,) = one.history(note)
    assert (folded.device_id, folded.record_ids) == (COMPACTED, (note.id,))


def test_deletion_that_a_horizon_locks_is_not_undone_though_the_log_still_has_it(two: tuple[Replica, Replica]) -> None:
    one, other = two
    note = one.create(Note, title="a")
    one.delete(note)
    exchange(one, other)
    exchange(one, other)
    assert other.compact().horizon_made
    exchange(one, other)
    report = one.undo()
    assert report is not None
    assert [item.reason for item in report.skipped] == [GONE_FOR_GOOD]
    assert (one.count(Note), one.undo()) == (0, None)


def test_the_latest_of_a_history_are_as_many_as_there_are(two: tuple[Replica, Replica]) -> None:
    """What compaction itself wrote, to remove values that nobody needs any more, is none of them."""
    one, other = two
    note = one.create(Note, due=0)
    for due in range(1, 12):
        note.due = due
    fold(one, other)
    exchange(one, other)
    note.due = 50
    exchange(one, other)
    assert one.compact().values_removed
    exchange(one, other)
    for replica in two:
        every = list(replica.history(Note, note.id))
        assert len(every) > 1 or replica is one
        for count in range(1, len(every) + 2):
            assert list(replica.history(Note, note.id, latest=count)) == every[-count:]
