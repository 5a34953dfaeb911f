"""Targets of what a store holds: rows that are not what they were, with and without a checksum that tells."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import apsw

from crdt_sync import Replica
from crdt_sync.replica.checking import CheckReport, check_store
from crdt_sync.replica.opening import open_on
from crdt_sync.storage.base import Store, Table, View, ViewValue
from crdt_sync.storage.memory import MemoryStore
from crdt_sync.storage.rows import values
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.sqlite_statements import checksum, table_name
from crdt_sync.testing.exchange import exchange
from tests.fuzz.putting_back import edited
from tests.fuzz.reading import folder, seen
from tests.fuzz.refusing import Refused, attempt
from tests.unit.replica.devices import ACTS, Dice, Person, Task, memory, store_of

Row = tuple[Table, bytes, bytes]
_OF_ITSELF: Final = frozenset((Table.META, Table.LOCAL))
"""What stands in these nothing else tells of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A store with rows in most tables.

    Args:
        rows: (table, key, value).
        views: the tables of records with their rows.
        file: the same as an SQLite file.
        view: what is read from it.
    """

    rows: tuple[Row, ...]
    views: tuple[tuple[View, list[tuple[ViewValue, ...]]], ...]
    file: bytes
    view: Any

    def store(self, *, at: int, value: bytes) -> MemoryStore:
        """The store in memory, with another value in one row."""
        store = MemoryStore()
        with store.transaction():
            for number, (table, key, held) in enumerate(self.rows):
                store.put(table, key, value if number == at else held)
            for view, rows in self.views:
                store.define_view(view)
                store.put_rows(view.name, rows)
        return store


@cache
def stored() -> Stored:
    """The store of a replica with records, a conflict, something deleted, something unsent, and the app's own."""
    with memory(1) as hub, memory(2) as here:
        task = hub.create(Task, title="both have it", notes="né", tags=["a"])
        assert exchange(here, hub).proven_equal
        hub.update(hub.get(Task, task.id), due="2025-01-01")
        for act in ("due 2", "title a", "insert", "count", "add"):
            ACTS[act](here, here.get(Task, task.id))
        here.delete(here.create(Person, email="a@b.c"))
        clash = hub.create(Task, title="twice")
        assert exchange(here, hub).proven_equal
        hub.update(hub.get(Task, clash.id), due="2025-01-01")
        here.update(here.get(Task, clash.id), due="2025-01-02")
        here.local.save("name", {"a": [1, b"x"]})
        for _ in range(2):
            assert exchange(here, hub).proven_equal
        (conflict,) = here.conflicts(record=here.get(Task, clash.id))
        here.resolve(conflict, take=conflict.candidates[0])
        assert exchange(here, hub).proven_equal
        here.compact(retention_s=0)
        here.get(Task, task.id).notes.append("since")
        here.create(Task, title="unsent")
        path, view, store = folder() / "stored.db", seen(here), store_of(here)
        store.backup(path)
        assert isinstance(store, MemoryStore)
        return Stored(
            rows=tuple((table, key, value) for table in Table for key, value in store.scan(table)),
            views=tuple((view, _view_rows(store, view)) for view in store.views()),
            file=path.read_bytes(),
            view=view,
        )


def _view_rows(store: MemoryStore, view: View) -> list[tuple[ViewValue, ...]]:
    definition = store._definitions[view.name]
    return [(row_id, *values(definition, cells)) for row_id, cells in store._rows[view.name].items()]


def rows(data: bytes) -> None:
    """A row with other bytes and a checksum that holds: the check tells of it, or the records read alike.

    The first two bytes of an input name the row, the rest takes its place.
    """
    held = stored()
    at = int.from_bytes(data[:2], "big") % len(held.rows)
    table, key, _ = held.rows[at]
    store = held.store(at=at, value=data[2:])
    if not check_store(store).ok:
        return
    read = attempt(lambda: _read(store))
    assert isinstance(read, Refused) or table in _OF_ITSELF or read == held.view, f"{table} {key!r} misleads"


def damaged(data: bytes) -> None:
    """A file in which a column of a row, or some bytes, are not what they were: reading may tell, the check must.

    The first two bits of an input name what is damaged (value, key, checksum, the file), the next 14 the row; the rest
    is what takes its place. A key or checksum becomes what its first byte says: bytes, text, a number, a real.
    """
    held, what = stored(), data[0] >> 6 if data else 0
    path = folder() / "damaged.db"
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    path.write_bytes(edited(held.file, data[2:]) if what == FILE else held.file)
    is_same = path.read_bytes() == held.file if what == FILE else _alter(path, what, data)
    report = attempt(lambda: _checked(path))
    assert what == FILE or not isinstance(report, Refused)
    if not isinstance(report, Refused):
        assert report.ok or not is_same
        assert not report.ok or is_same or what == FILE, "the check does not tell"
    attempt(lambda: Replica.repair(path, dry_run=True, state_dir=folder() / "no state"))
    read = attempt(lambda: _read(open_sqlite(path)))
    is_found = isinstance(report, Refused) or not report.ok
    # What SQLite cannot see in pages of its own may look like something else until it is repaired.
    assert isinstance(read, Refused) or read == held.view or (is_found and what != VALUE), "it misleads"


VALUE, FILE = 0, 3
_COLUMNS = ("value", "key", "sum")


def _alter(path: Path, what: int, data: bytes) -> bool:
    """Put something else into a column; whether it is what was there."""
    rows = stored().rows
    table, key, value = rows[int.from_bytes(bytes((data[0] & 63,)) + data[1:2] if data else b"", "big") % len(rows)]
    before = (value, key, checksum(key, value))[what]
    after = data[2:] if what == VALUE else _typed(data[2:])
    with closing(apsw.Connection(str(path))) as connection, suppress(apsw.ConstraintError):
        sql = f"UPDATE {table_name(table)} SET {_COLUMNS[what]} = ? WHERE key = ?"  # noqa: S608  # closed sets
        connection.execute(sql, (after, key))
        return before == after
    return True  # another row has that key


def _typed(data: bytes) -> bytes | str | int | float:
    number, rest = data[0] % 4 if data else 0, data[1:]
    whole = int.from_bytes(rest[:7], "big")
    return (rest, rest.decode(errors="replace"), whole, whole / 3)[number]


def _checked(path: Path) -> CheckReport:
    with open_sqlite(path) as store:
        return check_store(store)


def honest_damage() -> dict[str, bytes]:
    """The first row of each table with a column of each type, and a file with zeroed sectors."""
    found: dict[str, bytes] = {}
    firsts: dict[Table, int] = {}
    for at, (table, *_) in enumerate(stored().rows):
        firsts.setdefault(table, at)
    for table, at in firsts.items():
        for what in (1, 2):
            head = bytes((what << 6 | at >> 8, at & 255))
            found |= {f"{table}, {_COLUMNS[what]} {kind}": head + bytes((kind,)) + b"12" for kind in range(4)}
    sectors = range(1, len(stored().file) // 512, max(1, len(stored().file) // 512 // 60))
    for sector in sectors:
        zeros = b"".join((sector * 512 + part * 128).to_bytes(3, "big") + b"\x80" + bytes(128) for part in range(4))
        found[f"sector {sector} of zeros"] = bytes((FILE << 6, 0)) + zeros
    return found


def _read(store: Store) -> Any:
    with Replica(open_on(store, [Task, Person], state_dir=None, sources=Dice(2).sources), name="altered") as replica:
        return seen(replica)
