"""The cycle collector looks less often while a long transaction is open, and as before when it has ended."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from crdt_sync import Replica
from crdt_sync.errors import InvalidValueError
from crdt_sync.replica.collector import BULK_DOCUMENTS, BulkWork, collector_paused
from tests.unit.replica.devices import Task

BEFORE = (600, 9, 8)


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    kept = gc.get_threshold()
    gc.set_threshold(*BEFORE)
    yield
    gc.set_threshold(*kept)


def test_a_long_transaction_relaxes_it_until_its_end(replica: Replica) -> None:
    with replica.transaction():
        for _ in range(BULK_DOCUMENTS):
            replica.create(Task)
        assert gc.get_threshold() == BEFORE
        replica.create(Task)
        assert gc.get_threshold() == (BulkWork.YOUNG_OBJECTS, *BEFORE[1:])
    assert gc.get_threshold() == BEFORE


def test_also_where_it_is_rolled_back(replica: Replica) -> None:
    with pytest.raises(InvalidValueError), replica.transaction():  # noqa: PT012  the whole block is refused
        for _ in range(BULK_DOCUMENTS + 1):
            replica.create(Task)
        replica.create(Task, title=3)
    assert gc.get_threshold() == BEFORE


def test_the_last_of_several_sets_it_back() -> None:
    first, second = BulkWork(), BulkWork()
    first.begin()
    first.begin()
    second.begin()
    first.end()
    assert gc.get_threshold()[0] == BulkWork.YOUNG_OBJECTS
    second.end()
    second.end()
    assert gc.get_threshold() == BEFORE


def test_a_collector_that_never_looks_is_left_alone() -> None:
    gc.set_threshold(0, 5, 5)
    work = BulkWork()
    work.begin()
    assert gc.get_threshold() == (0, 5, 5)
    work.end()
    assert gc.get_threshold() == (0, 5, 5)


@pytest.mark.parametrize("documents", [1, BULK_DOCUMENTS])
def test_a_pause_ends_with_its_block(documents: int) -> None:
    with collector_paused(documents=documents):
        assert gc.isenabled() == (documents < BULK_DOCUMENTS)
    assert gc.isenabled()


def test_what_bulk_work_touched_is_not_kept_in_memory(replica: Replica) -> None:
    held = replica._state.documents._held
    first = replica.create(Task, title="a")
    assert len(held) == 1
    with replica.transaction():
        for _ in range(BULK_DOCUMENTS):
            replica.create(Task)
    assert len(held) == 1
    assert first.title == "a"
