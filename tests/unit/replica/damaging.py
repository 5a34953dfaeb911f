"""A store that lived through everything, and the ways in which one row of it can be damaged."""

# ruff: noqa: S608  # names are those of tables

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from crdt_sync import Model, Replica, Text, ask
from crdt_sync.core.entry import decode_run
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.replica.fork import believe_claim
from crdt_sync.replica.holdings import OTHERS
from crdt_sync.replica.journal import FAILED
from crdt_sync.replica.packing import pack_values
from crdt_sync.replica.rows import unpack_log_row, unpack_operation_row
from crdt_sync.replica.set_aside import DOUBTED
from crdt_sync.replica.staging import stage
from crdt_sync.replica.taking import VOUCHED
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, Task, on_disk, state_of
from tests.unit.replica.test_home import device_of, refuse


class Asked(Model, unique=("code",), on_duplicate="ask"):
    code: str
    name: str = ""


class Merged(Model, unique=("code",), on_duplicate="merge"):
    code: str
    name: str = ask(default="")
    notes: Text


MODELS = (Task, Person, Asked, Merged)


def opened(place: Path, *, seed: int = 9) -> Replica:
    return on_disk(place, *MODELS, seed=seed)


def peer(place: Path, *, seed: int = 8) -> Replica:
    return on_disk(place, *MODELS, seed=seed, name="b.db", state="other")


def make_rich(place: Path) -> None:
    """Make a.db, in which every table has rows, with its state; b.db, a peer's; and before.db, what a.db was before."""
    with opened(place, seed=1) as one, peer(place, seed=2) as two:
        _begin(one, two)
    shutil.copy(place / "a.db", place / "before.db")
    with opened(place, seed=3) as one, peer(place, seed=4) as two:
        _go_on(one, two)
    with opened(place, seed=5) as one, peer(place, seed=6) as two:
        _end(one, two)
    _leave_behind(place / "a.db")


def _meet(one: Replica, two: Replica) -> None:
    assert exchange(one, two).proven_equal


def _begin(one: Replica, two: Replica) -> None:
    task = one.create(Task, title="first", notes="text", tags=["a"])
    clash = one.create(Task, title="twice")
    merged = one.create(Merged, code="m", name="one", notes="left")
    one.create(Asked, code="q", name="one")
    other = two.create(Merged, code="m", name="two", notes="right")
    two.create(Asked, code="q", name="two")
    two.create(Person, email="a@b", name="Ada")
    one.local.save("token", [1, 2])
    one.name_device("desk")
    _meet(one, two)
    for replica, day in ((one, 1), (two, 2)):
        replica.update(replica.get(Task, task.id), due=date(2026, 1, day))
        replica.update(replica.get(Task, clash.id), due=date(2026, 2, day))
    one.get(Merged, merged.id).name = "three"
    two.get(Merged, other.id).name = "four"
    deleted = one.create(Task, title="deleted")
    one.delete(deleted)
    one.port.met("ws://hub:1", device_of(two))
    _meet(one, two)
    (conflict,) = one.conflicts(record=one.get(Task, clash.id))
    one.resolve(conflict, take=conflict.candidates[0])
    one.create(Task, title="undone")
    one.undo()
    _meet(one, two)
    for _ in range(3):
        _meet(one, two)
        for replica in (one, two):
            replica.compact(retention_s=0)


def _go_on(one: Replica, two: Replica) -> None:
    task = one.find(Task, title="first")[0]
    one.update(task, size=3)
    one.undo()
    one.name_device("table")
    one.local.save("token", [1, 2, 3])
    one.local.save("other", "x")
    gone = one.create(Task, title="gone")
    one.delete(gone)
    two.update(two.get(Task, task.id), size=5, notes="text and more")
    again = one.create(Task, title="again")
    _meet(one, two)
    for replica, day in ((one, 1), (two, 2)):
        replica.update(replica.get(Task, again.id), due=date(2026, 3, day))
    _meet(one, two)
    (conflict,) = one.conflicts(record=one.get(Task, again.id))
    one.resolve(conflict, take=conflict.candidates[0])
    for _ in range(3):
        _meet(one, two)
        for replica in (one, two):
            replica.compact(retention_s=0)


def _end(one: Replica, two: Replica) -> None:
    task = one.find(Task, title="first")[0]
    one.update(task, title="since")
    two.create(Person, email="c@d", name="Cy")
    clash = one.create(Task, title="open")
    _meet(one, two)
    for replica, day in ((one, 1), (two, 2)):
        replica.update(replica.get(Task, clash.id), due=date(2026, 4, day))
    _meet(one, two)
    one.create(Task, title="unsent")
    refuse(one, by=two, sequence=state_of(one).ledger.end_of("", _author(one)).sequence)
    state = state_of(one)
    assert state.identity is not None
    believe_claim(state, state.identity)  # a peer said that our author was used elsewhere
    one.create(Task, title="under another author")
    run = next(iter(two.port.runs_after(0, {}, bytes_max=1).runs))[0]
    state.keep_evidence(decode_run(run))
    base = next(state.store.scan(Table.BASE))
    stage(state, "", [(DocumentKey(base[0]), base[1])], is_first=True)  # a first sync that was cut short


def _leave_behind(path: Path) -> None:
    """What a process that was killed amid a large text, or in a session, leaves; and what a first sync does."""
    with open_sqlite(path) as store, store.transaction():
        key = next(key for key, _ in store.scan(Table.VERSION))
        store.put(Table.DIRTY, key, b"a")
        device = next(key for key, _ in store.scan(Table.HOLDING, start=OTHERS))
        doubted = ["", 5, 1, 0, 3, 0, "it closed the connection", True, 0, b""]
        store.put(Table.HOLDING, DOUBTED + device, pack_values(None, [doubted]))
        store.put(Table.META, VOUCHED, bytes(128))


def _author(replica: Replica) -> Author:
    identity = state_of(replica).identity
    assert identity is not None
    return identity.author


# ── damages ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TABLES = (*map(str, Table), "view", "seal")
Row = tuple[bytes, bytes, bytes]
"""Key, value, checksum."""


@dataclass(frozen=True)
class Damage:
    """Rows to be taken out of a table, and rows to be put into it, checksums included."""

    name: str
    table: str
    out: tuple[Row, ...] = ()
    into: tuple[Row, ...] = ()

    def do(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.executemany(f'DELETE FROM "_crdt_{self.table}" WHERE key = ?', [(row[0],) for row in self.out])
            raw.executemany(f'INSERT INTO "_crdt_{self.table}" VALUES (?, ?, ?)', self.into)


def rows_of(path: Path, table: str) -> dict[bytes, Row]:
    with closing(sqlite3.connect(path)) as raw:
        return {row[0]: row for row in raw.execute(f'SELECT key, value, sum FROM "_crdt_{table}" ORDER BY key')}


def damages(place: Path, table: str) -> Iterator[Damage]:
    """What may befall each kind of row of a table, with checksums that hold wherever a disk could leave such."""
    now, before = rows_of(place / "a.db", table), rows_of(place / "before.db", table)
    seen: dict[object, int] = {}
    for row in now.values():
        kind = kind_of(table, row)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > EACH_KIND:
            continue
        yield Damage(f"{kind} is gone", table, (row,))
        yield Damage(f"{kind} with another key", table, (row,), ((flipped(row[0]), *row[1:]),))
        yield Damage(f"{kind} with another value", table, (row,), ((row[0], flipped(row[1]) or b"x", row[2]),))
        others = [other for other in now.values() if other[0] != row[0] and other[1] != row[1]]
        if others:
            other = others[0]
            swapped = ((row[0], *other[1:]), (other[0], *row[1:]))
            yield Damage(f"{kind} and another row have each other's value", table, (row, other), swapped)
        if before.get(row[0], row)[1] != row[1]:
            yield Damage(f"{kind} as it was before", table, (row,), (before[row[0]],))
    for row in before.values():
        if row[0] not in now and seen.setdefault((kind_of(table, row), "back"), 0) < EACH_KIND:
            seen[kind_of(table, row), "back"] += 1
            yield Damage(f"{kind_of(table, row)} that was deleted is back", table, (), (row,))


EACH_KIND = 2


def kind_of(table: str, row: Row) -> str:
    """What kind of row it is, in words."""
    key, value, _ = row
    match table:
        case Table.META | "seal" | "view":
            return f"{table} {key.decode(errors='replace')}"
        case Table.HOLDING:
            return f"holding {key[:2] if key < OTHERS else 'of a device'!r}"
        case Table.RECORD:
            return f"record {value[1]}"
        case Table.UNIQUE:
            return f"unique {key[:1]!r}"
        case Table.PENDING:
            return "pending, failed" if key.startswith(FAILED) else "pending"
        case Table.CHAIN:
            return "chain, a floor" if not any(value[:8]) else "chain"
        case Table.LOG:
            return "log, own" if unpack_log_row(value).own else "log"
        case Table.OPERATION:
            operation = unpack_operation_row(value)
            return f"operation {operation.status}, {'written' if operation.sequence else 'taken back'}"
        case _:
            return table


def flipped(data: bytes) -> bytes:
    """With one bit that is another."""
    at = len(data) // 2
    return data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :] if data else data
