"""What the replica's tests share: models of every kind, clocks and dice of their own, a picture of a whole store."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from crdt_sync import Counter, Model, Replica, Set, Text, ask
from crdt_sync.replica import Sources
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store, Table
from crdt_sync.testing.exchange import exchange

START_MS = 1_750_000_000_000
FENCES_AND_TICKS = frozenset((b"fence", b"clean", b"pid"))


class Mood(Enum):
    CALM = "calm"
    WILD = "wild"


class Task(Model):
    title: str = ""
    done: bool = False
    size: int = 0
    price: Decimal | None = None
    due: date | None = ask(default=None)
    at: datetime | None = None
    mood: Mood = Mood.CALM
    extra: dict[str, Any] = Field(default_factory=dict)
    notes: Text
    votes: Counter
    tags: Set[str]


class Person(Model, key=("email",)):
    email: str
    name: str = ""
    age: int | None = ask(default=None)
    bio: Text
    visits: Counter
    groups: Set[str]


@dataclass
class Dice:
    """Time, randomness and ids that a test decides; `sources` wires them into a replica."""

    seed: int = 0
    now_ms: int = START_MS
    step_ms: int = 1
    made: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.made = random.Random(self.seed)

    def time(self) -> int:
        self.now_ms += self.step_ms
        return self.now_ms

    def record_id(self) -> str:
        return str(uuid.UUID(bytes=self.made.randbytes(16), version=4))

    @property
    def sources(self) -> Sources:
        return Sources(now_ms=self.time, entropy=self.made.randbytes, new_record_id=self.record_id)


def memory(seed: int = 0, *models: type[Model], dice: Dice | None = None) -> Replica:
    """A replica in memory that does the same at every run."""
    return Replica.open(":memory:", list(models) or [Task, Person], sources=(dice or Dice(seed)).sources)


def on_disk(place: Path, *models: type[Model], seed: int = 0, name: str = "a.db", state: str = "state") -> Replica:
    """A replica in a file, with its state directory beside it; another ``seed`` is another day."""
    dice = Dice(seed, now_ms=START_MS + 86_400_000 * seed)
    return Replica.open(place / name, list(models) or [Task, Person], state_dir=place / state, sources=dice.sources)


def state_of(replica: Replica) -> State:
    return replica._state


def store_of(replica: Replica) -> Store:
    return replica._state.store


def sync(hub: Replica, *others: Replica, rounds: int = 2) -> None:
    """Everybody has what everybody has, by way of one replica."""
    for _ in range(rounds):
        for other in others:
            _prove(other, hub)


def meet(*replicas: Replica) -> None:
    """Everybody has what everybody has, from neighbour to neighbour."""
    for _ in range(2):
        for left, right in pairwise(replicas):
            _prove(left, right)


def _prove(left: Replica, right: Replica) -> None:
    report = exchange(left, right)
    assert report.proven_equal, (report.left_end, report.right_end)


Picture = dict[str, Any]


def picture(replica: Replica) -> Picture:
    """Everything that a store holds, and how long its log is: equal pictures mean that nothing was changed."""
    state = state_of(replica)
    tables: Picture = {table.name: list(state.store.scan(table)) for table in Table}
    tables["end"] = state.ledger.end
    tables["rows"] = {
        declared.spec.name: [record.model_dump() for record in replica.find(declared.model)]
        for declared in state.schema
    }
    return tables


Act = Callable[[Replica, Task], None]


def _delete(replica: Replica, task: Task) -> None:
    replica.delete(task)


def _restore(replica: Replica, task: Task) -> None:
    replica.restore(Task, task.id)


ACTS: dict[str, Act] = {
    "title a": lambda _, task: setattr(task, "title", "a"),
    "title b": lambda _, task: setattr(task, "title", "b"),
    "due 1": lambda _, task: setattr(task, "due", "2025-01-01"),
    "due 2": lambda _, task: setattr(task, "due", "2025-01-02"),
    "insert": lambda _, task: task.notes.insert(0, "né😀"),
    "append": lambda _, task: task.notes.append("z"),
    "cut": lambda _, task: task.notes.delete(0, min(2, len(task.notes))),
    "replace": lambda _, task: task.notes.replace("abc"),
    "count": lambda _, task: task.votes.increment(2),
    "add": lambda _, task: task.tags.add("x"),
    "discard": lambda _, task: task.tags.discard("x"),
    "delete": _delete,
    "restore": _restore,
}
"""Things to do to a record, by name; some are refused where it is deleted."""
