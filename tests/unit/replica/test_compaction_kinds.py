"""Compaction over fields of every kind: folded, taken over by a newcomer, and written again where they were removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crdt_sync import Replica
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.history import COMPACTED
from crdt_sync.storage.base import Table
from tests.laws.models import Page, Task
from tests.unit.replica.devices import memory, store_of, sync

Three = tuple[Replica, Replica, Replica]


@pytest.fixture
def three() -> Iterator[Three]:
    with memory(1, Task, Page) as hub, memory(2, Task, Page) as desk, memory(3, Task, Page) as phone:
        yield hub, desk, phone


def filled(replica: Replica) -> Task:
    parent = replica.create(Task, title="parent")
    task = replica.create(Task, title="a", parent=parent, leader="ann", best=3, least=2, due=1)
    task.notes.append("some text")
    task.notes.format(0, 4, bold=True)
    task.steps.extend(["wash", "cut", "cook"])
    task.steps.move(0, 2)
    task.prefs["a"], task.prefs["b/c"] = 1, 2
    del task.prefs["b/c"]
    task.days["a"] = 5
    task.tags.add("x")
    task.votes.increment(4)
    return task


def write(replica: Replica, name: str, number: int) -> None:
    task = replica.get(Task, name)
    task.due, task.best, task.least = 10 + number, 10 + number, -number
    task.days["a"] = 20 + number
    task.prefs["b/c"] = number
    task.steps.insert(1, f"step {number}")
    task.notes.append(f" {number}")
    task.votes.increment(number)


def clashes(replica: Replica) -> list[tuple[str, str]]:
    return sorted((conflict.field, conflict.id) for conflict in replica.conflicts())


def test_folding_changes_no_field_of_any_kind(three: Three) -> None:
    hub, desk, phone = three
    name = filled(hub).id
    sync(*three)
    for number, replica in enumerate(three):
        write(replica, name, number)
    sync(*three)
    before, open_, runs = hub.get(Task, name).model_dump(), clashes(hub), hub.get(Task, name).notes.runs()
    assert hub.compact().rows_after == 0
    assert (hub.get(Task, name).model_dump(), clashes(hub)) == (before, open_)
    assert {field for field, _ in open_} >= {"due", "days"}
    for number, replica in enumerate(three):
        write(replica, name, 100 + number)  # the others have folded nothing
    sync(*three)
    assert hub.get(Task, name).model_dump() == desk.get(Task, name).model_dump() == phone.get(Task, name).model_dump()
    assert clashes(hub) == clashes(desk) == clashes(phone)
    with memory(4, Task, Page) as fresh:
        sync(hub, fresh)
        assert fresh.get(Task, name).model_dump() == hub.get(Task, name).model_dump()
        assert fresh.get(Task, name).notes.runs()[0] == runs[0]
        assert clashes(fresh) == clashes(hub)
        assert check_store(store_of(fresh)).listed == []
    assert check_store(store_of(hub)).listed == []


def test_history_of_what_was_folded_tells_the_open_conflicts(three: Three) -> None:
    hub, desk, _ = three
    task = hub.create(Task, title="a")
    sync(*three)
    hub.get(Task, task.id).due, desk.get(Task, task.id).due = 1, 2
    sync(*three)
    hub.compact()
    (conflict,) = hub.conflicts()
    hub.resolve(conflict, value=3)
    first, second = hub.history(task)
    assert first.device_id == COMPACTED
    assert {change.field for change in first.changes if change.conflict == "opened"} == {"due"}
    assert [(change.field, change.new, change.conflict) for change in second.changes] == [("due", 3, "settled")]


def test_settled_conflicts_leave_with_a_removed_record(three: Three) -> None:
    hub, desk, _ = three
    task = hub.create(Task, title="a")
    sync(*three)
    hub.get(Task, task.id).due, desk.get(Task, task.id).due = 1, 2
    sync(*three)
    hub.resolve_all(model=Task, take="latest")
    sync(*three)
    assert store_of(hub).count(Table.SETTLED) == 1
    hub.delete(hub.get(Task, task.id))
    sync(*three)
    assert hub.compact().horizon_made
    sync(*three)
    hub.compact()
    sync(*three)
    assert [store_of(replica).count(Table.SETTLED) for replica in three] == [0, 0, 0]
    assert [store_of(replica).count(Table.VERSION) for replica in three] == [0, 0, 0]


def test_a_record_of_every_kind_comes_back_whole_where_it_was_removed_meanwhile(three: Three) -> None:
    hub, desk, phone = three
    name = filled(hub).id
    sync(*three)
    write(phone, name, 7)
    child = desk.create(Task, title="child", parent=name).id
    lost = phone.get(Task, name).model_dump()
    hub.forget_device(str(phone.device_id))
    hub.delete(hub.get(Task, name))
    sync(hub, desk)
    for _ in range(2):
        assert hub.compact().waiting_for == ()
        sync(hub, desk)
    sync(hub, phone)
    sync(*three)
    for replica in three:
        (again,) = replica.find(Task, title="a")
        parent = replica.get(Task, child).parent
        assert parent is not None
        assert parent.get(replica).id == again.id == name
        assert again.model_dump() == lost
        assert check_store(store_of(replica)).listed == []
