"""Workload `write`: local durable writes, one a transaction and a thousand a transaction."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from benchmarks.harness import FLOOR, Column, Measurement, Settings, Stopwatch, Workload
from benchmarks.records import Generator, Task, Values, contents, digest
from benchmarks.write_floor import FloorWriter
from benchmarks.write_rows_floor import SameRowsWriter
from crdt_sync import Replica
from crdt_sync.storage.base import Durability

BATCH: Final = 1_000
"""Records in one transaction."""
SINGLES_FRACTION: Final = 20
"""Single writes are fewer than batched ones by this factor: each waits for the disk."""
DURABILITIES: Final[tuple[Durability, ...]] = ("full", "normal")


class Writer(Protocol):
    """What a contestant can do; a batch is one commit."""

    def create(self, batch: Sequence[Values]) -> None:
        """Create records; they are numbered in the order of their creation."""

    def update(self, first: int, titles: Sequence[str]) -> None:
        """Give records new titles, from number ``first`` on."""

    def delete(self, first: int, number: int) -> None:
        """Delete records."""

    def content(self) -> str:
        """The digest of all records that there are."""

    def close(self) -> None:
        """Let go of the files."""


class ReplicaWriter:
    """Writes through the public API."""

    def __init__(self, folder: Path, *, durability: Durability) -> None:
        self._replica = Replica.open(folder / "store.db", [Task], durability=durability, state_dir=folder / "state")
        self._tasks: list[Task] = []

    def create(self, batch: Sequence[Values]) -> None:
        if len(batch) == 1:
            self._tasks.append(self._replica.create(Task, **batch[0].given()))
            return
        with self._replica.transaction():
            self._tasks += [self._replica.create(Task, **values.given()) for values in batch]

    def update(self, first: int, titles: Sequence[str]) -> None:
        if len(titles) == 1:
            self._tasks[first].title = titles[0]
            return
        with self._replica.transaction():
            for task, title in zip(self._tasks[first : first + len(titles)], titles, strict=True):
                task.title = title

    def delete(self, first: int, number: int) -> None:
        if number == 1:
            self._replica.delete(self._tasks[first])
            return
        with self._replica.transaction():
            for task in self._tasks[first : first + number]:
                self._replica.delete(task)

    def content(self) -> str:
        return digest(contents(task.model_dump() for task in self._replica.find(Task)))

    def close(self) -> None:
        self._replica.close()


SAME_ROWS: Final = "same rows"
OURS: Final = "crdt_sync"
WRITERS: Final[Mapping[str, Callable[..., Writer]]] = {
    FLOOR: FloorWriter,
    SAME_ROWS: SameRowsWriter,
    OURS: ReplicaWriter,
}
"""Contestants by name; made with a folder and the durability."""


@contextmanager
def _writer(kind: str, durability: Durability) -> Iterator[Writer]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = WRITERS[kind](folder, durability=durability)
        try:
            yield writer
        finally:
            writer.close()


def _measure(kind: str, settings: Settings) -> Iterator[Measurement]:
    for durability in DURABILITIES:
        for batch in (min(BATCH, settings.records), 1):
            number = settings.records if batch > 1 else max(1, settings.records // SINGLES_FRACTION)
            with _writer(kind, durability) as writer:
                yield from _work(writer, settings, number=number, batch=batch, durability=durability)


def _work(writer: Writer, settings: Settings, *, number: int, batch: int, durability: str) -> Iterator[Measurement]:
    """Create, update and delete so many records; half of them stay, and are compared at the end."""
    generator = Generator(settings.seed)
    records, titles = generator.records(number), generator.titles(number)
    starts = range(0, number, batch)
    where = f"{batch:,} a transaction, {durability}" if batch > 1 else f"single, {durability}"
    with Stopwatch() as create:
        for start in starts:
            writer.create(records[start : start + batch])
    with Stopwatch() as update:
        for start in starts:
            writer.update(start, titles[start : start + batch])
    half = number // 2
    with Stopwatch() as delete:
        for start in range(0, half, batch):
            writer.delete(start, min(batch, half - start))
    kept = [values._replace(title=title) for values, title in zip(records, titles, strict=True)][half:]
    assert writer.content() == digest(kept), f"{where}: other records than were written"
    for name, watch, done in (("create", create, number), ("update", update, number), ("delete", delete, half)):
        if done:
            figures = {"cpu_us": watch.cpu_s / done * 1e6, "wall_us": watch.wall_s / done * 1e6}
            yield Measurement(row=f"{name}, {where}", figures=figures)


NOTE_FLOOR: Final = (
    "floor: a pycrdt document a record with a map entry a field, its update captured; log row and document row in "
    "SQLite (apsw, WAL, same synchronous, same number of commits); up to 1,024 documents kept in memory, as ours."
)
NOTE_SAME_ROWS: Final = (
    "same rows: as floor, and leaves in the file what ours leaves: for each record also its version, a journal row, a "
    "pending mark, the row of a table to query, and a checksum for each row; for each transaction a link of a hash "
    "chain and a signature. The aim of twice the floor is measured against this one."
)
NOTE_OURS: Final = (
    "Ours does, on top of that: validates (pydantic), merges by field kind, keeps what screening must know of each "
    "document, finds conflicts, checks what it reads, and tells observers."
)

WRITE = Workload(
    name="write",
    title="Local durable writes, microseconds a record",
    contestants={
        kind: lambda settings, number, kind=kind: list(_measure(kind, settings))  # type: ignore[misc]  # bound early
        for kind in WRITERS
    },
    columns=(
        Column(figure="cpu_us", title="CPU µs", has_ratio=True),
        Column(figure="wall_us", title="wall µs", has_ratio=True),
    ),
    notes=(NOTE_FLOOR, NOTE_SAME_ROWS, NOTE_OURS),
    floors=(FLOOR, SAME_ROWS),
)
