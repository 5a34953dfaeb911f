"""In which order observers are told, also where a callback writes itself."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from crdt_sync import Change, Replica
from crdt_sync.errors import InputError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory


def told(change: Change) -> tuple[str, ...]:
    return (change.type, *sorted(change.fields))


def test_what_a_callback_writes_is_told_after_what_made_it_write(replica: Replica) -> None:
    task = replica.create(Task, title="first")
    seen: list[tuple[str, tuple[str, ...]]] = []

    def follow(change: Change) -> None:
        seen.append(("follow", told(change)))
        if "title" in change.fields:
            task.done = True
        elif "done" in change.fields:
            task.size = 1

    replica.observe(follow)
    replica.observe(lambda change: seen.append(("watch", told(change))))
    task.title = "second"
    changes = [("update", "title"), ("update", "done"), ("update", "size")]
    assert seen == [(who, change) for change in changes for who in ("follow", "watch")]


def test_all_changes_of_a_commit_come_before_what_a_callback_writes(replica: Replica) -> None:
    one, other = replica.create(Task), replica.create(Task)
    seen: list[tuple[str, ...]] = []

    def follow(change: Change) -> None:
        seen.append(told(change))
        if "title" in change.fields:
            replica.get(Task, change.record_id).done = True

    replica.observe(follow)
    with replica.transaction():
        one.title = other.title = "new"
    assert seen == [("update", "title")] * 2 + [("update", "done")] * 2


def test_a_failing_callback_that_wrote_stops_nobody(replica: Replica, caplog: pytest.LogCaptureFixture) -> None:
    task = replica.create(Task)
    seen: list[tuple[str, ...]] = []

    def fail(change: Change) -> None:
        if "title" in change.fields:
            task.done = True
        raise RuntimeError("an observer's own fault")

    replica.observe(fail)
    replica.observe(lambda change: seen.append(told(change)))
    task.title = "new"
    assert seen == [("update", "title"), ("update", "done")]
    assert caplog.text.count("an observer failed") == 2


def test_an_interrupted_callback_leaves_the_rest_for_the_next_time(replica: Replica) -> None:
    task = replica.create(Task)
    seen: list[tuple[str, ...]] = []

    def interrupt(change: Change) -> None:
        if "title" in change.fields:
            task.done = True
            raise KeyboardInterrupt

    replica.observe(interrupt)
    replica.observe(lambda change: seen.append(told(change)))
    with pytest.raises(KeyboardInterrupt):
        task.title = "new"
    task.size = 1
    assert seen == [("update", "done"), ("update", "size")]


def test_who_subscribes_in_a_callback_is_told_of_what_comes_later(replica: Replica) -> None:
    task = replica.create(Task)
    seen: list[tuple[str, ...]] = []

    def subscribe(change: Change) -> None:
        first.close()
        task.done = True
        replica.observe(lambda change: seen.append(told(change)))
        task.size = 1

    first = replica.observe(subscribe)
    task.title = "new"
    assert seen == [("update", "size")]


def test_who_is_unsubscribed_in_a_callback_is_not_told_any_more(replica: Replica) -> None:
    task = replica.create(Task)
    seen: list[Change] = []
    replica.observe(lambda change: second.close())
    second = replica.observe(seen.append)
    task.title = "new"
    assert seen == []


@pytest.mark.parametrize("callback", [None, 5, "print", []])
def test_an_observer_must_be_callable(replica: Replica, callback: Any) -> None:
    with pytest.raises(InputError, match="cannot be called"):
        replica.observe(callback)


def test_a_record_is_told_of_before_its_conflicts() -> None:
    """So a screen never has a conflict without its record, nor one that is settled beside the one in its place."""
    with memory(1) as left, memory(2) as right, memory(3) as third:
        mine = left.create(Task, due=date(2025, 1, 1))
        exchange(left, right)
        mine.due = date(2025, 1, 2)
        right.get(Task, mine.id).due = date(2025, 1, 3)
        exchange(left, right)
        seen: list[tuple[str, tuple[str, ...]]] = []
        third.observe(lambda change: seen.append((change.type, change.conflicts)))
        exchange(left, third)
        (first,) = third.conflicts()
        assert seen == [("create", ()), ("conflict", (first.id,))]
        seen.clear()
        right.resolve(first, value=date(2025, 1, 4))
        left.resolve(first, value=date(2025, 1, 5))
        exchange(left, right)
        exchange(left, third)
        (second,) = third.conflicts()
        assert seen == [("update", ()), ("settled", (first.id,)), ("conflict", (second.id,))]
        seen.clear()
        third.delete(third.get(Task, mine.id))
        assert seen == [("delete", ()), ("settled", (second.id,))]
