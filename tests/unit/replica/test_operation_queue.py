"""Local changes as a queue: nothing leaves it but by a recorded result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import OperationQueue, Replica
from crdt_sync.errors import CRDTSyncError, InputError, LimitError, RecordNotFoundError, TransactionError
from crdt_sync.replica.rows import number_key
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, picture, store_of


@pytest.fixture
def replica() -> Iterator[Replica]:
    with memory(1) as made:
        yield made


def titles(queue: OperationQueue) -> list[Any]:
    found = []
    while (operation := queue.dequeue()) is not None:
        found.append(operation.data["title"])
    return found


def test_changes_wait_in_order_until_a_peer_has_them(replica: Replica) -> None:
    queue = OperationQueue(replica)
    assert (queue.peek(), queue.dequeue(), len(queue)) == (None, None, 0)
    first = queue.enqueue("create", Task, {"title": "a"})
    queue.enqueue("update", Task, {"id": first.record_id, "title": "b"})
    assert queue.peek() == first
    assert len(queue) == 2
    with memory(2) as hub:
        assert exchange(replica, hub).proven_equal
    assert (queue.peek(), queue.dequeue(), len(queue)) == (None, None, 0)


def test_what_is_leased_stays_pending_and_goes_to_one_only(replica: Replica) -> None:
    queue = OperationQueue(replica)
    for title in ("a", "b"):
        queue.enqueue("create", Task, {"title": title})
    leased = queue.dequeue()
    assert leased is not None
    assert leased == queue.peek()
    assert leased.status == "pending"
    assert titles(queue) == ["b"]
    queue.give_back(leased)
    assert titles(queue) == ["a"]
    assert len(queue) == 2
    assert titles(OperationQueue(replica)) == ["a", "b"]  # another one knows of no lease


def test_a_lease_ends_with_the_result(replica: Replica) -> None:
    queue = OperationQueue(replica)
    operation = queue.enqueue("create", Task, {"title": "a"})
    assert titles(queue) == ["a"]
    with memory(2) as hub:
        assert exchange(replica, hub).proven_equal
    assert titles(queue) == []
    assert repr(queue) == "<OperationQueue 0 pending, 0 leased>"
    with pytest.raises(InputError):
        queue.give_back(operation)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("drop", {}),
        ("create", []),
        ("create", {1: 2}),
        ("update", {"title": "b"}),
        ("update", {"id": "x"}),
        ("delete", {"id": "x", "title": "b"}),
    ],
)
def test_bad_operations_change_nothing(replica: Replica, kind: str, data: Any) -> None:
    with pytest.raises(InputError):
        OperationQueue(replica).enqueue(kind, Task, data)
    assert len(OperationQueue(replica)) == 0


def test_what_the_replica_refuses_is_not_queued(replica: Replica) -> None:
    queue = OperationQueue(replica)
    with pytest.raises(RecordNotFoundError):
        queue.enqueue("delete", Task, {"id": "01970000-0000-7000-8000-000000000000"})
    made = queue.enqueue("create", Task, {"title": "a"})
    with pytest.raises(InputError, match="changes nothing"):
        queue.enqueue("update", Task, {"id": made.record_id, "title": "a"})
    with replica.transaction(), pytest.raises(TransactionError):
        queue.enqueue("create", Task, {"title": "b"})
    assert len(queue) == 1
    wrongs: tuple[Any, ...] = (made, "1")
    for wrong in wrongs:
        with pytest.raises(InputError):
            queue.give_back(wrong)


def test_a_lease_ends_with_the_process(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        OperationQueue(replica).enqueue("create", Task, {"title": "a"})
    crashed = Replica.open(tmp_path / "a.db", [Task], state_dir=tmp_path / "state")
    leased = OperationQueue(crashed).dequeue()
    assert leased is not None
    lock = crashed._opened.lock
    assert lock is not None
    lock.release()  # as the end of a process does; nothing else is cleaned up
    with Replica.open(tmp_path / "a.db", [Task], state_dir=tmp_path / "state") as replica:
        queue = OperationQueue(replica)
        assert (len(queue), queue.peek()) == (1, leased)
        assert queue.dequeue() == leased


def test_what_waits_again_after_its_result_is_given_again(replica: Replica) -> None:
    queue = OperationQueue(replica)
    first = queue.enqueue("create", Task, {"title": "a"})
    leased = queue.dequeue()
    assert leased == first
    with memory(2) as hub:
        exchange(replica, hub)
        with pytest.raises(InputError, match="not leased"):
            queue.give_back(first)
        assert hub.device_id is not None
        replica.port.acknowledged(hub.device_id, {}, [], but_for=frozenset())  # the hub has lost it
    again = queue.dequeue()
    assert again is not None
    assert (again.id, again.status) == (first.id, "pending")
    assert queue.dequeue() is None, "it is leased again"


def test_a_queue_at_its_bound_takes_no_more_and_loses_nothing(replica: Replica) -> None:
    queue = OperationQueue(replica, pending_max=2)
    first = queue.enqueue("create", Task, {"title": "a"})
    queue.enqueue("create", Task, {"title": "b"})
    before = picture(replica)
    for kind, data in (("create", {"title": "c"}), ("update", {"id": first.record_id, "title": "d"})):
        with pytest.raises(TransactionError, match="2 changes are pending") as raised:
            queue.enqueue(kind, Task, data)
        assert "Sync with a peer" in raised.value.hint
    assert picture(replica) == before
    replica.create(Task, title="through the replica")
    with memory(2) as hub:
        exchange(replica, hub)
    assert queue.enqueue("create", Task, {"title": "e"}).status == "pending"
    for wrong in (0, -1, True, "2", None):
        with pytest.raises(InputError):
            OperationQueue(replica, pending_max=wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_what_is_pending_may_lie_far_apart(replica: Replica) -> None:
    """Numbers of operations say quickly that there is room; only counting says that there is none."""
    queue = OperationQueue(replica, pending_max=3)
    for title in "abcd":
        replica.create(Task, title=title)
    assert replica.port.has_pending(4)
    assert not replica.port.has_pending(5)
    with pytest.raises(TransactionError):
        queue.enqueue("create", Task, {})
    store = store_of(replica)
    with store.transaction():
        store.delete_many(Table.PENDING, [number_key(2), number_key(3)])
    assert queue.enqueue("create", Task, {}).status == "pending"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        pytest.param({"extra": {"k": "x" * 2**20}}, "files outside", id="a value"),
        pytest.param({"notes": "x" * 1_000_001}, "Split the change", id="a text"),
        pytest.param({"tags": {f"{number}" * 25 for number in range(100_000)}}, "Split the change", id="an entry"),
    ],
)
def test_an_operation_that_is_too_large_changes_nothing(replica: Replica, data: dict[str, Any], hint: str) -> None:
    queue = OperationQueue(replica)
    first = queue.enqueue("create", Task, {"title": "a"})
    before = picture(replica)
    with pytest.raises(CRDTSyncError) as raised:
        queue.enqueue("create", Task, data)
    assert isinstance(raised.value, LimitError)
    assert hint in raised.value.hint
    assert picture(replica) == before
    assert queue.peek() == first
