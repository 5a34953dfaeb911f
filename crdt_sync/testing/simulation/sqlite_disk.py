"""A disk under the real SQLite store: the power fails between sectors, and pages are torn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from crdt_sync.errors import EntryError, StoreError
from crdt_sync.storage.base import Durability, Table
from crdt_sync.storage.memory import MemoryTable
from crdt_sync.storage.migrations import MIGRATIONS
from crdt_sync.storage.sqlite import SqliteStore
from crdt_sync.storage.sqlite_file import OpenOptions, open_connection
from crdt_sync.testing import disks
from crdt_sync.testing.simulation.disk import POISONED, Disk, Image, Rows

BUSY_TIMEOUT_MS = 0
_SIDECARS = ("", "-wal", "-shm")


class _Store(SqliteStore):
    """The production store, which tells its disk of each sync that was asked for."""

    def __init__(self, disk: SqliteDisk) -> None:
        options = OpenOptions(
            create=True,
            read_only=False,
            durability=disk.durability,
            busy_timeout_ms=BUSY_TIMEOUT_MS,
            migrations=MIGRATIONS,
        )
        connection = open_connection(disk.path, options=options)
        super().__init__(connection, path=disk.path, read_only=False, durability=disk.durability)
        self._disk = disk

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        poison = self._disk.poison
        if poison is not None and table is Table.LOG and poison.is_in(value):
            if not poison.kills:
                raise EntryError(POISONED)
            self._disk.break_after(-1)
            self._disk.on_death()
        super().put(table, key, value)

    def flush(self) -> None:
        was_flushed = self._flushed
        super().flush()
        if not was_flushed:
            self._disk.on_sync()

    def table(self, table: Table) -> MemoryTable:
        """A copy of a table."""
        copy = MemoryTable()
        copy.rows = dict(self.scan(table))
        copy.keys = list(copy.rows)
        return copy

    def view_rows(self) -> dict[str, Rows]:
        """A copy of the rows of all views."""
        return {
            view.name: {row[0]: tuple(row[1:]) for row in self._connection.execute(f'SELECT * FROM "{view.name}"')}  # noqa: S608  our models' names
            for view in self.views()
        }


class _Tables(Mapping[Table, MemoryTable]):
    """The tables as they are, read when they are asked for."""

    def __init__(self, disk: SqliteDisk) -> None:
        self._disk = disk

    def __getitem__(self, table: Table) -> MemoryTable:
        return self._disk.read(table)

    def __iter__(self) -> Iterator[Table]:
        return iter(Table)

    def __len__(self) -> int:
        return len(Table)


class SqliteDisk(Disk):
    """A `Disk` with a file on it. One at a time in a process.

    Args:
        durability: of the stores that are opened on it; what SQLite makes of it is on trial here.
        folder: for the file.
        seed: of what a loss of power takes.
    """

    can_be_copied = False

    def __init__(self, durability: Durability, *, folder: Path, seed: str) -> None:
        super().__init__(durability)
        folder.mkdir(parents=True)
        self.path = folder / "store.db"
        self.tables = _Tables(self)
        self._platter = disks.Disk(seed=seed, within=folder)  # others repair their files elsewhere
        self._platter.__enter__()
        self._store: _Store | None = None
        self._kept: dict[Table, MemoryTable] | None = None
        self._is_full = False

    @property
    def dead(self) -> bool:
        """Whether the power failed under the process."""
        return self._platter.fault is disks.Fault.POWER

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return self._is_full

    def fill(self, *, full: bool) -> None:
        self._is_full = full
        if not self.dead:
            self._mend()

    @property
    def at_risk(self) -> Sequence[object]:
        return range(self._platter.unsynced()) if self.durability == "normal" else ()

    @property
    def views(self) -> dict[str, Rows]:
        return {} if self._store is None or self._store.closed else self._store.view_rows()

    def open(self) -> _Store:
        self._kept = None
        self._store = _Store(self)
        return self._store

    def break_after(self, writes: int | None) -> None:
        if writes is not None:
            self._platter.fail(disks.Fault.POWER, after=writes + 1)
        elif not self.dead:
            self._mend()

    def rot(self, first: int, second: int) -> bool:
        """Flip up to three bits of the file, which no process has open."""
        self.read(Table.LOG)  # what there was is known from here on, whatever can be read later
        for _ in range((first + second) % 3 + 1):
            self._platter.rot(self.path)
        return True

    def mended(self) -> None:
        """The file is another one."""
        self._kept = None

    def crash(self, loss: int | None) -> int:
        before = len(self.read(Table.LOG).keys)
        self._platter.fail(disks.Fault.POWER)
        if self._store is not None:
            with suppress(StoreError):  # its process is dead, and nothing reaches the disk
                self._store.close()
        self._store = None
        kind = disks.Loss.NOTHING if loss is None else disks.Loss.SOME if loss % 2 else disks.Loss.UNSYNCED
        self._platter.power_on(loss=kind)
        self._mend()
        return max(0, before - len(self.read(Table.LOG).keys))

    def image(self) -> Image:
        return {suffix: self._file(suffix).read_bytes() for suffix in _SIDECARS[:2] if self._file(suffix).exists()}

    def restore(self, image: Image) -> None:
        self.clear()
        for suffix, data in image.items():
            self._file(suffix).write_bytes(data)

    def clear(self) -> None:
        self._kept = None
        for suffix in _SIDECARS:
            self._file(suffix).unlink(missing_ok=True)

    def eject(self) -> None:
        if self._store is not None:
            with suppress(StoreError):  # the history is over, whatever state it is in
                self._store.close()
        self._platter.__exit__(None, None, None)

    def read(self, table: Table) -> MemoryTable:
        """A table as it is; where no process has the file open, one that opens it for this."""
        if self._store is not None and not self._store.closed:
            return self._store.table(table)
        if self._kept is None:
            self._platter.mend()
            with _Store(self) as store:
                self._kept = {name: store.table(name) for name in Table}
            self._mend()
        return self._kept[table]

    def _mend(self) -> None:
        """Be full, or without a fault."""
        self._platter.mend()
        if self._is_full:
            self._platter.fail(disks.Fault.FULL)

    def _file(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)
