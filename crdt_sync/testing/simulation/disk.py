"""A disk in memory: what a process wrote, what of it is synced, and what becomes of the rest when the power fails.

`SimulatedStore` is the memory store over it, transaction by transaction: SQLite's write-ahead log loses whole commits
from its end, never one from the middle. Torn pages below that are `crdt_sync.testing.disks`, with SQLite itself.
"""

from __future__ import annotations

from collections.abc import Callable

from crdt_sync.errors import StoreClosedError, StoreFullError
from crdt_sync.storage.base import Durability, Table
from crdt_sync.storage.memory import MemoryStore, MemoryTable
from crdt_sync.storage.ordering import Cell
from crdt_sync.storage.rows import ViewDefinition

Undo = list[Callable[[], object]]
Image = tuple[dict[Table, dict[bytes, bytes]], dict[str, ViewDefinition], dict[str, dict[str, tuple[Cell, ...]]]]
"""What a backup of a store holds: tables, definitions of views, and their rows."""


def _ignore() -> None:
    """Nobody wants to know."""


class Disk:
    """What is left of a store when its process is gone.

    Args:
        durability: of the stores that are opened on it: with ``normal`` a commit is safe from the next flush on only.
    """

    def __init__(self, durability: Durability) -> None:
        self.durability = durability
        self.tables = {table: MemoryTable() for table in Table}
        self.definitions: dict[str, ViewDefinition] = {}
        self.rows: dict[str, dict[str, tuple[Cell, ...]]] = {}
        self.unsynced: list[Undo] = []
        """How to take back each commit that a loss of power may take, the latest last."""
        self.full = False
        self.breaks_after: int | None = None
        """The process dies at this many writes or commits from now."""
        self.on_death: Callable[[], None] = _ignore
        self.on_sync: Callable[[], None] = _ignore

    def lose_power(self, kept: int) -> int:
        """Take back all but the first ``kept`` of the commits that were not synced; returns how many were lost."""
        lost = self.unsynced[kept:]
        for undo in reversed(lost):
            for step in reversed(undo):
                step()
        self.unsynced.clear()
        return len(lost)

    def image(self) -> Image:
        """A copy of everything, as a backup of the file is one."""
        return (
            {table: dict(content.rows) for table, content in self.tables.items()},
            dict(self.definitions),
            {name: dict(rows) for name, rows in self.rows.items()},
        )

    def restore(self, image: Image) -> None:
        """Hold what a copy holds, and nothing else."""
        tables, definitions, rows = image
        self.unsynced.clear()
        for table, content in self.tables.items():
            content.rows = dict(tables[table])
            content.keys = sorted(content.rows)
        self.definitions, self.rows = dict(definitions), {name: dict(held) for name, held in rows.items()}

    def clear(self) -> None:
        """Be an empty disk."""
        self.restore(({table: {} for table in Table}, {}, {}))


class SimulatedStore(MemoryStore):
    """A `Store` on a `Disk`, for one process that may die at any write."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk
        self._tables, self._definitions, self._rows = disk.tables, disk.definitions, disk.rows

    def die(self) -> None:
        """The process ends here: what is not committed is gone, and nothing more is read or written."""
        self._disk.breaks_after = None
        self.close()

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
        self.die()
        self._disk.on_death()
        raise StoreClosedError("the simulated process died")
