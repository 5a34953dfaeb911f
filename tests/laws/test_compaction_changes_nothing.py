"""Compaction changes nothing that is shown: a world that compacts now and then ends as one that never does.

Two worlds are given the same edits, syncs and newcomers; the replicas of one are compacted in between, so logs are
folded, newcomers get content first and deleted records leave. After every session and at the end both show the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.errors import RecordNotFoundError
from crdt_sync.replica import Sources
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.laws.models import MODELS, Page, Task

EPOCH_MS = 1_900_000_000_000
REPLICAS_MAX = 6


@dataclass(slots=True)
class Twin:
    """Some replicas with clocks, dice and ids that do not depend on how often they are asked."""

    now_ms: int = EPOCH_MS
    replicas: list[Replica] = field(default_factory=list)

    def add(self) -> None:
        number = len(self.replicas)
        dice, ids = Random(number), Random(-1 - number)
        sources = Sources(
            now_ms=lambda: self.now_ms,
            entropy=dice.randbytes,
            new_record_id=lambda: str(uuid.UUID(bytes=ids.randbytes(16), version=4)),
        )
        self.replicas.append(Replica.open(":memory:", list(MODELS), sources=sources))

    def close(self) -> None:
        for replica in self.replicas:
            replica.close()


def shown(replica: Replica) -> dict[str, object]:
    models = {model.__name__: {item.id: item.model_dump() for item in replica.find(model)} for model in MODELS}
    clashes = [(item.record_id, item.register, item.value, item.base) for item in replica.conflicts()]
    return {**models, "conflicts": sorted(clashes, key=repr)}


def sync(one: Replica, other: Replica) -> None:
    report = exchange(one, other)
    assert report.proven_equal, (report.left_end, report.right_end)


def write(step: int, choice: int) -> Callable[[Replica, str], None]:
    """An edit of a task, which raises where the record is not live, or cannot be restored any more."""

    def edit(replica: Replica, record: str) -> None:
        if choice == 0:
            replica.restore(Task, record)
            return
        task = replica.get(Task, record)
        if choice == 1:
            replica.delete(task)
        elif choice == 2:
            task.title = f"title {step}"
        elif choice in (3, 4):
            task.due = step
        elif choice == 5:
            task.days["a"] = step
        else:
            task.notes.insert(0, f"note {step} ")

    return edit


class Worlds:
    """The two of them: the first is compacted, the second never."""

    def __init__(self, number: int) -> None:
        self.both = (Twin(), Twin())
        self.tasks: list[str] = []
        self.gone = 0
        for _ in range(number):
            self.add()

    def add(self) -> None:
        for world in self.both:
            world.add()

    def act(self, step: int, kind: str, first: int, second: int) -> None:
        for world in self.both:
            world.now_ms += 1000
        count = len(self.both[0].replicas)
        at, other = first % count, (first + 1 + second % (count - 1)) % count
        if kind == "create":
            self.tasks.append(*{world.replicas[at].create(Task, title=f"task {step}").id for world in self.both})
        elif kind == "page":
            for world in self.both:
                world.replicas[at].create(Page, slug=f"{step}")
        elif kind == "write" and self.tasks:
            self.edit(at, self.tasks[second % len(self.tasks)], write(step, (first + second) % 7))
        elif kind == "sync":
            for world in self.both:
                sync(world.replicas[at], world.replicas[other])
            assert shown(self.both[0].replicas[at]) == shown(self.both[1].replicas[at])
        elif kind == "compact":
            self.both[0].replicas[at].compact()
        elif kind == "round":
            self.settle()
            self.both[0].replicas[at].compact()
            self.settle()
            self.gone += self.both[0].replicas[other].compact().values_removed
            self.settle()
        elif kind == "join" and count < REPLICAS_MAX:
            self.add()

    def edit(self, at: int, record: str, edit: Callable[[Replica, str], None]) -> None:
        try:
            edit(self.both[0].replicas[at], record)
        except RecordNotFoundError:
            return  # what is on its way out cannot be restored: the other world leaves it too
        edit(self.both[1].replicas[at], record)

    def settle(self) -> None:
        for world in self.both:
            for _ in range(2):
                for replica in world.replicas[1:]:
                    sync(replica, world.replicas[0])


ACTIONS = st.sampled_from(["create", "page", *["write"] * 4, *["sync"] * 3, "compact", "round", "join"])
"""A round is all that it takes to have deleted records and hidden values gone."""
STEPS = st.lists(st.tuples(ACTIONS, st.integers(0, 30), st.integers(0, 30)), min_size=10, max_size=50)


EDITS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "sync"]), st.integers(0, 30), st.integers(0, 30)),
    min_size=4,
    max_size=14,
)


@given(number=st.integers(2, 4), parts=st.lists(EDITS, min_size=2, max_size=4))
def test_superseded_values_that_go_are_missed_by_nobody(number: int, parts: list[list[tuple[str, int, int]]]) -> None:
    """Edits of one record by all, and between them all that it takes to have its hidden values gone."""
    worlds = Worlds(number)
    try:
        worlds.act(0, "create", 0, 0)
        worlds.settle()
        for part, steps in enumerate(parts):
            for step, (kind, first, second) in enumerate(steps):
                worlds.act(100 * part + step, kind, first, second)
            worlds.act(100 * part + 99, "round", part, 1)
        compacted, plain = worlds.both
        expected = shown(plain.replicas[0])
        assert all(shown(replica) == expected for replica in compacted.replicas)
    finally:
        for world in worlds.both:
            world.close()


@given(number=st.integers(2, 4), steps=STEPS)
def test_compaction_changes_nothing_that_is_shown(number: int, steps: list[tuple[str, int, int]]) -> None:
    worlds = Worlds(number)
    try:
        for step, (kind, first, second) in enumerate(steps):
            worlds.act(step, kind, first, second)
        worlds.settle()
        compacted, plain = worlds.both
        expected = shown(plain.replicas[0])
        assert all(shown(replica) == expected for replica in compacted.replicas)
        counts = {replica._state.store.count(Table.VERSION) for replica in compacted.replicas}
        assert len(counts) == 1
    finally:
        for world in worlds.both:
            world.close()
