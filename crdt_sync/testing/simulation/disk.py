"""A disk in memory: what a process wrote, what of it is synced, and what becomes of the rest when the power fails.

`SimulatedStore` is the memory store over it, transaction by transaction: SQLite's write-ahead log loses whole commits
from its end, never one from the middle. `sqlite_disk` has SQLite itself, and what happens below transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from crdt_sync.errors import CorruptStoreError, EntryError, StoreClosedError, StoreFullError
from crdt_sync.storage.base import Damage, Durability, Progress, Store, Table
from crdt_sync.storage.memory import MemoryStore, MemoryTable
from crdt_sync.storage.ordering import Cell
from crdt_sync.storage.rows import ViewDefinition
from crdt_sync.testing.simulation.poison import Poison

Undo = list[Callable[[], object]]
Rows = dict[str, tuple[Cell, ...]]
"""Rows of a view: id → cells."""
Row: TypeAlias = tuple[Table, bytes]
"""One row of a table, by its key."""
Image: TypeAlias = Any
"""What a backup of a store holds; each kind of disk has its own."""


POISONED = "the simulated device cannot take this entry in"


def _ignore() -> None:
    """Nobody wants to know."""


class Disk:
    """What is left of a store when its process is gone.

    Args:
        durability: of the stores that are opened on it: with ``normal`` a commit is safe from the next flush on only.
    """

    can_be_copied = True
    """Whether an `image` can be put on another disk of this kind."""

    def __init__(self, durability: Durability) -> None:
        self.durability = durability
        self.tables: Mapping[Table, MemoryTable] = {table: MemoryTable() for table in Table}
        self.definitions: dict[str, ViewDefinition] = {}
        self.rows: dict[str, Rows] = {}
        self.unsynced: list[Undo] = []
        """How to take back each commit that a loss of power may take, the latest last."""
        self.breaks_after: int | None = None
        """The process dies at this many writes or commits from now."""
        self.on_death: Callable[[], None] = _ignore
        self.on_sync: Callable[[], None] = _ignore
        self.rotten: set[Row] = set()
        """Rows whose bytes are not what was written; nobody else ever wrote to them since."""
        self.noticed = False
        """Whether somebody was told so, as a row was read."""
        self.poison: Poison | None = None
        """What this machine cannot take in."""
        self._full = False
        self._open: SimulatedStore | None = None

    @property
    def dead(self) -> bool:
        """Whether the power failed under the process."""
        return False

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return self._full

    def fill(self, *, full: bool) -> None:
        """Have no room from now on, or have it again."""
        self._full = full

    @property
    def at_risk(self) -> Sequence[object]:
        """What was written and a loss of power may take."""
        return self.unsynced

    @property
    def views(self) -> dict[str, Rows]:
        """The rows of all views."""
        return self.rows

    def open(self) -> Store:
        """Open the store that is on it.

        Raises:
            StoreFullError: there is no room.
        """
        self._open = SimulatedStore(self)
        return self._open

    def break_after(self, writes: int | None) -> None:
        """Have the process die at one of its next writes; None lets it live."""
        self.breaks_after = writes

    def rot(self, first: int, second: int) -> bool:
        """Have a row rot, chosen by two numbers; whether there was any."""
        tables = [table for table in Table if self.tables[table].keys]
        if not tables:
            return False
        table = tables[first % len(tables)]
        keys = self.tables[table].keys
        key = keys[second % len(keys)]
        self.rotten.add((table, key))
        return True

    def damaged(self) -> list[Row]:
        """The rotten rows that are there."""
        return sorted((table, key) for table, key in self.rotten if key in self.tables[table].rows)

    def crash(self, loss: int | None) -> int:
        """End the process that has the store open, at once.

        Args:
            loss: which part of what was not synced goes with it, as any number; None where only the process ends.

        Returns:
            How many commits were lost.
        """
        if self._open is not None:
            self._open.die()
            self._open = None
        return 0 if loss is None else self.lose_power(loss % (len(self.unsynced) + 1))

    def lose_power(self, kept: int) -> int:
        """Take back all but the first ``kept`` of the commits that were not synced; returns how many were lost."""
        lost = self.unsynced[kept:]
        for undo in reversed(lost):
            for step in reversed(undo):
                step()
        self.unsynced.clear()
        return len(lost)

    def write_back(self) -> None:
        """The system syncs everything, as it does now and then."""
        self.unsynced.clear()
        self.on_sync()

    def image(self) -> Image:
        """A copy of everything, as a backup of the file is one."""
        return (
            {table: dict(content.rows) for table, content in self.tables.items()},
            dict(self.definitions),
            {name: dict(rows) for name, rows in self.rows.items()},
        )

    def restore(self, image: Image) -> None:
        """Hold what a copy holds, and nothing else; no process has the store open."""
        tables, definitions, rows = image
        self.rotten.clear()
        self.noticed = False
        self.unsynced.clear()
        for table, content in self.tables.items():
            content.rows = dict(tables[table])
            content.keys = sorted(content.rows)
        self.definitions, self.rows = dict(definitions), {name: dict(held) for name, held in rows.items()}

    def clear(self) -> None:
        """Be an empty disk; no process has the store open."""
        self.restore(({table: {} for table in Table}, {}, {}))

    def eject(self) -> None:
        """Let go of it; the simulation is over."""


class DiskReader(MemoryStore):
    """What is on a disk, to be read by whoever knows everything, as it was written.

    Args:
        disk: it is copied where it is not in memory.
    """

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._tables, self._definitions, self._rows = dict(disk.tables), disk.definitions, disk.rows


class SimulatedStore(MemoryStore):
    """A `Store` on a `Disk`, for one process that may die at any write."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self._tables, self._definitions, self._rows = dict(disk.tables), disk.definitions, disk.rows

    def die(self) -> None:
        """The process ends here: what is not committed is gone, and nothing more is read or written."""
        self._disk.breaks_after = None
        self.close()

    def get(self, table: Table, key: bytes) -> bytes | None:
        value = super().get(table, key)
        if self._disk.rotten and value is not None:
            self._refuse_rotten(table, key)
        return value

    def _scan(self, table: Table, *, start: bytes, end: bytes | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        rows = super()._scan(table, start=start, end=end, reverse=reverse)
        return self._readable(table, rows) if self._disk.rotten else rows

    def _readable(self, table: Table, rows: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for row in rows:
            self._refuse_rotten(table, row[0])
            yield row

    def check(self, *, progress: Progress | None = None) -> Iterator[Damage]:
        yield from super().check(progress=progress)
        for table, key in self._disk.damaged():
            yield Damage(table=table, key=key, reason="its checksum does not hold")

    def _refuse_rotten(self, table: Table, key: bytes) -> None:
        if (table, key) in self._disk.rotten:
            self._disk.noticed = True
            raise CorruptStoreError(f"a row of {table} is damaged", table=table, key=key)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        poison = self._disk.poison
        if poison is not None and table is Table.LOG and poison.is_in(value):
            if not poison.kills:
                raise EntryError(POISONED)
            self._end_process()
        super().put(table, key, value)

    def _put(self, table: Table, key: bytes, value: bytes) -> None:
        super()._put(table, key, value)
        self._disk.rotten.discard((table, key))

    def flush(self) -> None:
        super().flush()
        if self._disk.unsynced:
            if self._disk.full:
                raise StoreFullError("the simulated disk is full")
            self._disk.unsynced.clear()
            self._disk.on_sync()

    def _write(self, work: Callable[[], object]) -> None:
        self._strike()
        if self._disk.full and self._writing:
            self._failed = True
            raise StoreFullError("the simulated disk is full")
        super()._write(work)

    def _commit(self) -> None:
        self._strike()
        undo = list(self._undo)
        super()._commit()
        if undo and self._disk.durability == "normal":
            self._disk.unsynced.append(undo)
        self._strike()

    def _strike(self) -> None:
        """Die here, where this was to be the process's last write."""
        left = self._disk.breaks_after
        if left is None or self._closed:
            return
        if left > 0:
            self._disk.breaks_after = left - 1
            return
        self._end_process()

    def _end_process(self) -> NoReturn:
        self.die()
        self._disk.on_death()
        raise StoreClosedError("the simulated process died")
