"""Work without end on data of one size: what a store holds stops growing, whatever the devices did meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.replica import facade
from crdt_sync.replica.keeping_policy import KeepingPolicy
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import START_MS, Dice, Task, state_of, store_of, sync

RECORDS = 6
MINUTE_MS = 61_000
BY_HORIZON = {Table.RECORD}
"""Horizons are records that stay, of some hundred bytes for a hundred deletions: that grows by design."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything that keeps a store small begin early, so that little work goes past all of it."""
    keeping = KeepingPolicy(rows_min=20, removals_min=4, operations_kept=20, results_kept=10)
    monkeypatch.setattr(facade, "KEEPING", keeping)


class Work:
    """A hub and two devices that write over their records, and replace them, forever."""

    def __init__(self, stack: ExitStack, place: Path | None) -> None:
        self.clocks = [Dice(number, now_ms=START_MS) for number in range(3)]
        self.replicas = [
            stack.enter_context(
                Replica.open(
                    ":memory:" if place is None else place / f"{number}.db",
                    [Task],
                    sources=clock.sources,
                    state_dir=None if place is None else place / f"state-{number}",
                )
            )
            for number, clock in enumerate(self.clocks)
        ]
        self._dice = random.Random(1)
        for number in range(RECORDS):
            self.replicas[0].create(Task, title=f"task {number}")
        self._sync()

    def go_on(self, minutes: int) -> None:
        for _ in range(minutes):
            for replica in self.replicas:
                for _ in range(3):
                    self._write(replica)
            self._sync()
            for clock in self.clocks:
                clock.now_ms += MINUTE_MS
            for replica in self.replicas:
                replica.bring_up_to_date()
                while replica.compact_some():
                    pass

    def _write(self, replica: Replica) -> None:
        task = self._dice.choice(list(replica.find(Task)))
        word = f"{self._dice.getrandbits(64):x}"
        match self._dice.randrange(5):
            case 0:
                task.title = word
            case 1:
                task.notes.replace(word)
            case 2:
                task.votes.increment(1)
            case 3:
                task.due = date(2000 + self._dice.randrange(10, 99), 1, 1)
            case _ if replica.count(Task) > RECORDS:
                replica.delete(task)
            case _:
                replica.create(Task, title=word)

    def _sync(self) -> None:
        sync(self.replicas[0], *self.replicas[1:])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[ExitStack]:
    """What is open in `tmp_path` is closed before that is removed."""
    with ExitStack() as stack:
        yield stack


def sizes(work: Work) -> dict[tuple[int, Table], int]:
    return {
        (number, table): sum(len(key) + len(value) for key, value in store_of(replica).scan(table))
        for number, replica in enumerate(work.replicas)
        for table in Table
    }


@pytest.mark.slow
def test_no_table_grows_with_work(stack: ExitStack) -> None:
    """The most that each table held stays what it was after a while."""
    work = Work(stack, None)
    most: list[dict[tuple[int, Table], int]] = []
    for _ in range(3):
        held: dict[tuple[int, Table], int] = {}
        for _ in range(12):
            work.go_on(2)
            held = {name: max(size, held.get(name, 0)) for name, size in sizes(work).items()}
        most.append(held)
    assert len(state_of(work.replicas[0]).records.horizons()) > 10
    grown = {
        name: [held[name] for held in most]
        for name in most[0]
        if name[1] not in BY_HORIZON and most[2][name] > 1.5 * most[0][name] + 500
    }
    assert grown == {}


@pytest.mark.slow
def test_no_file_grows_with_work(stack: ExitStack, tmp_path: Path) -> None:
    """Pages of what was folded and removed are used again."""
    work = Work(stack, tmp_path)
    work.go_on(40)
    before = [(tmp_path / f"{number}.db").stat().st_size for number in range(3)]
    work.go_on(40)
    after = [(tmp_path / f"{number}.db").stat().st_size for number in range(3)]
    assert all(size <= 1.25 * earlier for size, earlier in zip(after, before, strict=True)), (before, after)


def test_a_signed_vector_leaves_memory_with_its_row(stack: ExitStack) -> None:
    """The first vectors that named a horizon are let go with it; some hundred of them would stay otherwise."""
    work = Work(stack, None)
    work.go_on(16)
    for replica in work.replicas:
        assert len(state_of(replica).records.horizons()) > 3
        kept = {key for key, _ in store_of(replica).scan(Table.HOLDING)}
        assert set(replica.port._compactor._book._read_before) <= kept
