"""Records: created, read live, written, deleted, restored."""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.errors import RecordDeletedError, RecordNotFoundError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Mood, Person, Task, memory, on_disk, picture


def test_a_new_record_has_its_values_and_defaults(replica: Replica) -> None:
    task = replica.create(Task, title="x", price=Decimal("1.50"), mood=Mood.WILD, tags=["a"], notes="né", votes=3)
    assert (task.title, task.price, task.mood, task.done, task.due) == ("x", Decimal("1.50"), Mood.WILD, False, None)
    assert str(task.price) == "1.50"
    assert type(task.mood) is Mood
    assert (str(task.notes), int(task.votes), set(task.tags)) == ("né", 3, {"a"})
    assert str(uuid.UUID(task.id)) == task.id


def test_a_record_is_read_afresh_at_each_access(replica: Replica) -> None:
    task = replica.create(Task, title="x")
    again = replica.get(Task, task.id)
    again.title = "y"
    assert task.title == "y"
    assert task == again
    assert hash(task) == hash(again)
    assert task != replica.create(Task)
    assert copy.copy(task).title == "y"


def test_field_objects_write_at_once(replica: Replica) -> None:
    task = replica.create(Task, notes="héllo")
    task.notes.insert(2, "😀")
    task.notes.append("!")
    task.notes.delete(0)
    task.votes.increment(5)
    task.votes.decrement()
    task.tags.add("a")
    task.tags.add("b")
    task.tags.discard("a")
    again = replica.get(Task, task.id)
    assert (str(again.notes), int(again.votes), set(again.tags)) == ("é😀llo!", 4, {"b"})
    assert len(again.notes) == 6
    assert "b" in again.tags
    assert again.notes[1] == "😀"


def test_update_writes_several_fields_as_one_entry(replica: Replica) -> None:
    task = replica.create(Task)
    before = replica._state.ledger.end
    replica.update(task, title="t", due="2025-01-02", notes="n", tags={"x"}, at=datetime(2025, 1, 1, tzinfo=UTC))
    assert replica._state.ledger.end == before + 1
    assert (task.title, task.due, str(task.notes), set(task.tags)) == ("t", date(2025, 1, 2), "n", {"x"})


def test_writing_what_is_there_already_writes_nothing(replica: Replica) -> None:
    task = replica.create(Task, title="x", notes="n", tags=["a"], due=date(2025, 1, 1), extra={"k": [1]})
    before = picture(replica)
    task.title = "x"
    replica.update(task, notes="n", tags={"a"}, due=date(2025, 1, 1), extra={"k": [1]})
    task.votes.increment(0)
    task.tags.discard("never")
    task.notes.insert(0, "")
    task.notes.replace("n")
    replica.update(task)
    replica.restore(Task, task.id)
    assert picture(replica) == before


def test_equal_values_of_another_type_are_written(replica: Replica) -> None:
    task = replica.create(Task, extra={"k": 1})
    task.extra = {"k": 1.0}
    assert type(task.extra["k"]) is float
    task.extra = {"k": True}
    assert task.extra["k"] is True


def test_a_deleted_record_is_gone_and_comes_back_whole(replica: Replica) -> None:
    task = replica.create(Task, title="x", notes="n", tags=["a"], votes=2)
    name = task.id
    replica.delete(task)
    with pytest.raises(RecordNotFoundError):
        replica.get(Task, name)
    with pytest.raises(RecordDeletedError):
        _ = task.title
    assert replica.find(Task) == []
    back = replica.restore(Task, name)
    assert (back.title, str(back.notes), set(back.tags), int(back.votes)) == ("x", "n", {"a"}, 2)
    assert replica.count(Task) == 1
    task.title = "the old object is live again"
    assert back.title == task.title


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    with on_disk(tmp_path) as first:
        task = first.create(Task, title="x", notes="n", tags=["a"], votes=2, due=date(2025, 1, 1))
        gone = first.create(Task, title="gone")
        first.delete(gone)
        name, before = task.id, picture(first)
    with on_disk(tmp_path, seed=1) as second:
        task = second.get(Task, name)
        assert (task.title, str(task.notes), set(task.tags), int(task.votes)) == ("x", "n", {"a"}, 2)
        after = picture(second)
        for table in before.keys() - {"META", "RECORD"}:
            assert after[table] == before[table], table
        assert second.restore(Task, gone.id).title == "gone"


def test_an_edit_made_at_once_with_a_delete_wins(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    task = left.create(Task, title="x")
    exchange(left, right)
    left.delete(task)
    right.get(Task, task.id).tags.add("kept")
    assert exchange(left, right).proven_equal
    for replica in pair:
        assert set(replica.get(Task, task.id).tags) == {"kept"}


@pytest.mark.parametrize("removal", ["text", "set"])
def test_an_edit_that_only_removes_also_outlives_a_delete(pair: tuple[Replica, Replica], removal: str) -> None:
    left, right = pair
    task = left.create(Task, notes="abc", tags=["x"])
    exchange(left, right)
    left.delete(task)
    other = right.get(Task, task.id)
    if removal == "text":
        other.notes.delete(0)
    else:
        other.tags.discard("x")
    assert exchange(left, right).proven_equal
    assert left.count(Task) == right.count(Task) == 1


def test_two_deletes_at_once_are_one(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    task = left.create(Task)
    exchange(left, right)
    right.delete(right.get(Task, task.id))
    left.delete(task)
    assert exchange(left, right).proven_equal
    assert left.count(Task) == right.count(Task) == 0
    right.restore(Task, task.id)
    assert exchange(left, right).proven_equal
    assert left.count(Task) == right.count(Task) == 1


def test_repr_is_one_readable_line(replica: Replica) -> None:
    task = replica.create(Task, title="x")
    assert repr(replica) == f"<Replica :memory: device {replica.device_id} models=Task,Person log=1 pending=1>"
    assert repr(task).startswith(f"Task(id='{task.id}', title='x'")
    replica.close()
    assert repr(replica) == "<Replica :memory: closed>"


def test_closing_twice_is_no_error() -> None:
    replica = memory()
    replica.close()
    replica.close()


def test_models_are_found_by_name(replica: Replica) -> None:
    assert replica.models == (Task, Person)
    assert replica.model("Task") is Task
    assert len(replica.replica_id) == 32
