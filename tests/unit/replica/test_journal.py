"""Operations, history, observers and local storage."""

from __future__ import annotations

import logging
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Change, Replica
from crdt_sync.core.entry import OperationType
from crdt_sync.errors import InputError, RecordNotFoundError
from crdt_sync.protocol.source import EntryStatus, Position, StatusKind
from crdt_sync.replica import OperationStatus, history
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Mood, Person, Task, memory, on_disk, state_of, store_of

# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_change_is_an_operation(replica: Replica) -> None:
    task = replica.create(Task, title="t", tags=["a"], notes="n", votes=2)
    replica.update(task, title="u", due=date(2025, 1, 1))
    task.notes.append("m")
    replica.delete(task)
    replica.restore(Task, task.id)
    found = list(replica.operations())
    assert [operation.type for operation in found] == ["create", "update", "update", "delete", "update"]
    assert {operation.record_id for operation in found} == {task.id}
    assert {operation.model for operation in found} == {"Task"}
    assert {operation.device_id for operation in found} == {replica.device_id}
    assert [operation.timestamp for operation in found] == sorted(operation.timestamp for operation in found)
    first, second, third = (operation.data for operation in found[:3])
    assert {"title": "t", "tags": ["a"], "votes": 2}.items() <= first.items()
    assert "".join(first["notes"]) == "n"
    assert second == {"title": "u", "due": date(2025, 1, 1)}
    assert third == {"notes": ["m"]}
    task.title = "v"
    task.title = "w"
    assert replica.last_operation().data == {"title": "w"}
    replica.update(task, due=date(2025, 1, 2), tags=["b"], notes="nm!")
    assert replica.last_operation().data == {"due": date(2025, 1, 2), "tags": ["b"], "notes": ["!"]}
    assert replica.operation(found[1].id) == found[1]
    assert replica.last_operation() == list(replica.operations())[-1]
    assert replica.pending_count() == 8


def test_one_transaction_is_one_operation_for_each_record(replica: Replica) -> None:
    with replica.transaction():
        one, two = replica.create(Task, title="1"), replica.create(Task, title="2")
        one.title = "one"
        two.votes.increment()
    found = list(replica.operations())
    assert [(operation.type, operation.record_id) for operation in found] == [
        (OperationType.CREATE, one.id),
        (OperationType.CREATE, two.id),
    ]
    assert len({operation.timestamp for operation in found}) == 1


def test_operations_are_completed_when_a_peer_holds_them(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    task = left.create(Task)
    assert [operation.status for operation in left.operations()] == [OperationStatus.PENDING]
    assert exchange(left, right).proven_equal
    (operation,) = left.operations(status="completed")
    assert (operation.attempts, operation.error) == (1, "")
    task.title = "x"
    assert len(list(left.operations(status="pending"))) == 1
    assert len(list(left.operations(status=OperationStatus.COMPLETED))) == 1
    assert list(right.operations()) == []
    exchange(right, left)
    assert left.pending_count() == 0


def test_refused_operations_fail_with_the_reason_and_all_behind_them(replica: Replica) -> None:
    for number in range(3):
        replica.create(Task, title=str(number))
    identity = state_of(replica).identity
    assert identity is not None
    refused = EntryStatus(
        partition="", author=identity.author, sequence=2, kind=StatusKind.REFUSED, code="screening", reason="no"
    )
    ours = replica.port.vector()[""][identity.author]
    first = replica.port.hash_at("", identity.author, 1)
    assert first is not None
    device = memory(5).device_id
    assert device is not None
    replica.port.acknowledged(device, {"": {identity.author: Position(sequence=1, hash=first)}}, [refused])
    found = [(operation.status.value, operation.error) for operation in replica.operations()]
    assert found == [("completed", ""), ("failed", "screening: no"), ("failed", "screening: no")]
    told = [(item.operation, item.result, item.error, item.peer) for item in replica.sync_log()]
    failed = [(number, "failure", "screening: no", device) for number in ("2", "3")]
    assert told == [("1", "success", "", device), *failed]
    assert ours.sequence == 3


def test_the_sync_log_names_each_result_once(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    assert left.sync_log() == []
    with left.transaction():
        for _ in range(50):
            left.create(Task)
    exchange(left, right)
    task = left.create(Task)
    exchange(left, right)
    with memory(3) as third:
        exchange(left, third)
    told = left.sync_log()
    assert [item.operation for item in told] == [str(number) for number in range(1, 52)]
    assert {(item.result, item.error, item.peer) for item in told} == {("success", "", right.device_id)}
    assert len({item.id for item in told}) == 51
    assert told[0].timestamp < told[-1].timestamp
    assert START_MS < told[0].timestamp >> 16 < START_MS + 60_000
    assert left.sync_log(limit=2) == told[-2:]
    assert store_of(left).count(Table.SYNCLOG) == 2, "operations that came through together are one row"
    assert left.operation(told[-1].operation).record_id == task.id
    assert right.sync_log() == []
    for limit in (0, -1, "2", None, True):
        with pytest.raises(InputError):
            left.sync_log(limit=limit)  # type: ignore[arg-type]  # wrong on purpose


def test_the_sync_log_keeps_the_newest_rows(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    left._journal.results.kept = 3
    for _ in range(5):
        left.create(Task)
        exchange(left, right)
    assert [item.operation for item in left.sync_log()] == ["3", "4", "5"]


def test_a_position_on_another_branch_completes_nothing(replica: Replica) -> None:
    replica.create(Task)
    identity = state_of(replica).identity
    device = memory(5).device_id
    assert identity is not None
    assert device is not None
    for position in (Position(1, bytes(32)), Position(7, bytes(16))):  # type: ignore[arg-type]  # wrong on purpose
        replica.port.acknowledged(device, {"": {identity.author: position}}, [])
    assert replica.pending_count() == 1


# ── history ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_history_tells_who_changed_what(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    task = left.create(Task, title="a", price=Decimal(1))
    task.title = "b"
    exchange(left, right)
    right.get(Task, task.id).notes.append("n")
    exchange(left, right)
    left.delete(task)
    left.restore(Task, task.id)
    items = list(left.history(task))
    assert [item.type.value for item in items] == ["create", "update", "update", "delete", "update"]
    assert [item.device_id for item in items] == [left.device_id] * 2 + [right.device_id] + [left.device_id] * 2
    assert [item.live for item in items] == [True, True, True, False, True]
    changes = [{change.field: (change.old, change.new) for change in item.changes} for item in items]
    assert changes[0]["title"] == (None, "a")
    assert changes[1:3] == [{"title": ("a", "b")}, {"notes": ("", "n")}]


def test_history_of_a_deleted_record_is_readable(replica: Replica) -> None:
    task = replica.create(Task, title="a", mood=Mood.WILD)
    replica.delete(task)
    items = list(replica.history(task))
    assert [item.live for item in items] == [True, False]
    assert {change.field: change.new for change in items[0].changes}["mood"] is Mood.WILD


def test_history_is_asked_for_by_model_and_id_too(pair: tuple[Replica, Replica]) -> None:
    replica, other = pair
    task = replica.create(Task, title="a")
    replica.delete(task)
    assert (
        list(replica.history(Task, task.id))
        == list(replica.history(Task, task.id.upper()))
        == list(replica.history(task))
    )
    with pytest.raises(RecordNotFoundError):
        other.history(Task, task.id)
    with pytest.raises(InputError, match="UUID"):
        replica.history(Task, "x")


def test_history_tells_of_conflicts_opened_and_settled(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    one, two = date(2025, 1, 2), date(2025, 1, 3)
    task = left.create(Task, due=date(2025, 1, 1))
    exchange(left, right)
    task.due = one
    right.get(Task, task.id).due = two
    right.get(Task, task.id).title = "t"
    exchange(left, right)
    (conflict,) = left.conflicts()
    left.resolve(conflict, take=conflict.candidates[0])
    exchange(left, right)
    for replica in pair:
        items = list(replica.history(Task, task.id))
        assert [item.fields for item in items[1:]] == [("due",), ("due",), ("title",), ("due",)] or replica is right
        assert [change.conflict for item in items for change in item.changes if change.conflict] == [
            "opened",
            "settled",
        ]
        (last,) = items[-1].changes
        assert (last.field, last.old, last.new, last.conflict) == ("due", conflict.value, conflict.value, "settled")


# ── observers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_observers_are_told_after_the_commit(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    seen: list[tuple[str, Change]] = []
    left.observe(lambda change: seen.append(("left", change)))
    right.observe(lambda change: seen.append(("right", change)))
    task = left.create(Task, title="a")
    task.title = "b"
    task.notes.append("n")
    left.delete(task)
    left.restore(Task, task.id)
    kinds = [(change.type, change.origin) for side, change in seen if side == "left"]
    assert kinds == [(kind, "local") for kind in ("create", "update", "update", "delete", "create")]
    assert [change.fields for _, change in seen][1:3] == [{"title"}, {"notes"}]
    exchange(left, right)
    assert [(change.type, change.origin) for side, change in seen if side == "right"] == [("create", "remote")]
    right.get(Task, task.id).title = "c"
    exchange(left, right)
    side, change = seen[-1]
    assert (side, change.type, change.origin) == ("left", "update", "remote")
    assert change.fields == {"title"}


def test_observers_of_a_model_hear_of_it_alone(replica: Replica) -> None:
    seen: list[str] = []
    subscription = replica.observe(lambda change: seen.append(change.model), model=Person)
    replica.create(Task)
    replica.create(Person, email="a@b")
    assert seen == ["Person"]
    subscription.close()
    subscription.close()
    replica.create(Person, email="c@d")
    assert seen == ["Person"]
    with replica.observe(lambda change: seen.append("block")):
        replica.create(Task)
    replica.create(Task)
    assert seen == ["Person", "block"]


def test_an_observer_that_fails_stops_nobody(replica: Replica, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Change] = []

    def fail(change: Change) -> None:
        raise ValueError(change.model)

    replica.observe(fail)
    replica.observe(seen.append)
    with caplog.at_level(logging.ERROR):
        task = replica.create(Task)
    assert len(seen) == 1
    assert "observer" in caplog.text
    task.title = "goes on"


# ── local storage ────────────────────────────────────────────────────────────────────────────────────────────────────

VALUES: list[Any] = [None, True, 2**80, 1.5, "é😀", b"\0", [1, [2]], (1, 2), {"a": {"b": 1}}, date(2025, 1, 1)]


def test_local_storage_keeps_values_and_is_never_replicated(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica, memory(5) as other:
        for number, value in enumerate(VALUES):
            replica.local.save(f"k{number}", value)
        replica.local.save("k0", "replaced")
        assert replica.local.delete("k1")
        assert not replica.local.delete("k1")
        assert replica.local.load("k1") is None
        assert replica.local.load("never", 5) == 5
        assert exchange(replica, other).proven_equal
        assert other.local.keys() == []
    with on_disk(tmp_path, seed=1) as replica:
        assert replica.local.keys() == [f"k{number}" for number in range(len(VALUES)) if number != 1]
        assert replica.local.load("k0") == "replaced"
        for number, value in list(enumerate(VALUES))[2:]:
            back = replica.local.load(f"k{number}")
            assert back == value
            assert type(back) is type(value)


def test_the_latest_of_a_history_is_its_end() -> None:
    with memory(1) as replica, memory(2) as hub:
        task = replica.create(Task, title="0")
        for number in range(1, 8):
            replica.update(task, title=str(number), due=date(2025, 1, number))
        whole = list(replica.history(task))
        for latest in range(1, 10):
            assert list(replica.history(task, latest=latest)) == whole[-latest:]
        exchange(replica, hub)
        replica.compact()
        task.title = "8"
        whole = list(replica.history(task))
        assert [list(replica.history(task, latest=latest)) for latest in (1, 2)] == [whole[-1:], whole]
        for wrong in (0, -1, True, "1"):
            with pytest.raises(InputError):
                replica.history(task, latest=wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_the_latest_of_a_long_history_works_out_no_more_than_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory(1) as replica:
        task = replica.create(Task, title="0")
        for number in range(50):
            task.title = str(number)
        worked_out: list[object] = []
        shown = history._Shown.__init__

        def counting(self: history._Shown, *args: object) -> None:
            worked_out.append(self)
            shown(self, *args)  # type: ignore[arg-type]  # as they come

        monkeypatch.setattr(history._Shown, "__init__", counting)
        assert len(list(replica.history(task, latest=3))) == 3
        assert len(worked_out) == 4
