"""Local changes as a queue: nothing leaves it but by a recorded result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crdt_sync import OperationQueue, Replica
from crdt_sync.errors import InputError, RecordNotFoundError, TransactionError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory


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
