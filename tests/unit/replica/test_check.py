"""Mutations of a store, table by table and row by row: a check finds each, or nothing is lost by it."""

# ruff: noqa: S608  # names are those of tables and columns

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.replica.checking import CheckReport, check_store
from crdt_sync.replica.journal import FAILED
from crdt_sync.replica.rows import number_key
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.damaging import MODELS, Asked, Merged
from tests.unit.replica.devices import Dice, Person, Task, memory, on_disk, state_of
from tests.unit.replica.test_home import device_of, refuse

UNSEEN: dict[Table, set[bytes] | None] = {
    # Nothing else in a store tells of these rows but the seals, which follow what is deleted through the store itself.
    # What is deleted behind its back is in test_damage.py.
    Table.LOCAL: None,
    Table.EVIDENCE: None,
    Table.STAGED: None,
    Table.SYNCLOG: None,  # results that were noted, for people
    Table.SETTLED: None,  # choices that were noted, for people; the values stand in the documents
    Table.HOLDING: None,  # who holds what: without it less counts as safe until the next session says it again
    Table.DIRTY: None,  # large texts amid their writing; the document is read from the log
    Table.META: {b"fence", b"clean", b"totals", b"horizons", b"undo", b"handed"},  # the next open draws a new author
}
"""Rows whose absence cannot be noticed, by table; None stands for all of them."""


def lived(place: Path) -> Path:
    """A store in which every table that a usual life fills has rows."""
    with (
        on_disk(place, *MODELS, seed=1) as one,
        on_disk(place, *MODELS, seed=2, name="b.db", state="other") as two,
    ):
        task = one.create(Task, title="first", notes="text")
        merged = one.create(Merged, code="m", name="one", notes="left")
        one.create(Asked, code="q", name="one")
        other = two.create(Merged, code="m", name="two", notes="right")
        two.create(Asked, code="q", name="two")
        two.create(Person, email="a@b", name="Ada")
        one.local.save("token", [1, 2])
        assert exchange(one, two).proven_equal
        one.update(task, due=date(2026, 1, 1))
        two.update(two.get(Task, task.id), due=date(2026, 1, 2))
        one.get(Merged, merged.id).name = "three"
        two.get(Merged, other.id).name = "four"
        assert exchange(one, two).proven_equal
        deleted = one.create(Task, title="deleted")
        one.delete(deleted)
        one.name_device("desk")
    return place / "a.db"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lived(tmp_path_factory.mktemp("made"))


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "a.db"))


def checked(path: Path) -> CheckReport:
    with open_sqlite(path, read_only=True) as store:
        return check_store(store)


def rows(path: Path) -> Iterator[tuple[Table, bytes]]:
    with open_sqlite(path, read_only=True) as store:
        for table in Table:
            yield from ((table, key) for key, _ in store.scan(table))


def test_the_store_is_sound_and_fills_the_tables(made: Path) -> None:
    report = checked(made)
    assert report.listed == []
    assert report.ok
    filled = {table for table, _ in rows(made)}
    assert set(Table) - filled <= {Table.EVIDENCE, Table.STAGED, Table.BASE, Table.DIRTY, Table.SETTLED}


@pytest.mark.parametrize("table", list(Table))
def test_a_row_that_is_gone_is_found(made: Path, store: Path, table: Table) -> None:
    unseen = UNSEEN.get(table, set())
    for where, key in list(rows(made)):
        if where is not table or unseen is None or key in unseen:
            continue
        if table is Table.RECORD and _is_name(made, key):
            continue  # a name comes back with the next exchange
        shutil.copy(made, store)
        with open_sqlite(store) as opened, opened.transaction():
            opened.delete(table, key)
        assert not checked(store).ok, f"{table} {key!r}"


def _is_name(path: Path, key: bytes) -> bool:
    with open_sqlite(path, read_only=True) as store:
        return (store.get(Table.RECORD, key) or b"")[1:2] == b"\x04"


@pytest.mark.parametrize("table", list(Table))
def test_a_bit_that_flipped_in_any_row_is_found(made: Path, store: Path, table: Table) -> None:
    for number, (where, key) in enumerate(list(rows(made))):
        if where is not table:
            continue
        shutil.copy(made, store)
        column = ("key", "value", "sum")[number % 3]
        with closing(sqlite3.connect(store)) as raw, raw:
            (data,) = raw.execute(f'SELECT {column} FROM "_crdt_{table}" WHERE key = ?', (key,)).fetchone()
            if not data:
                continue
            changed = bytearray(data)
            changed[number % len(changed)] ^= 1 << number % 8
            raw.execute(f'UPDATE "_crdt_{table}" SET {column} = ? WHERE key = ?', (bytes(changed), key))
        with open_sqlite(store, read_only=True) as opened:
            assert [damage for damage in opened.check() if damage.table == table], f"{table} {key!r} {column}"


@pytest.mark.parametrize("name", [model.__name__ for model in MODELS])
def test_every_row_that_is_shown_is_compared(made: Path, store: Path, name: str) -> None:
    with closing(sqlite3.connect(made)) as raw:
        columns = [row[1] for row in raw.execute(f"PRAGMA table_info({name})") if row[1] != "id"]
        ids = [row[0] for row in raw.execute(f"SELECT id FROM {name}")]
    assert ids
    for record in ids:
        statements = [f"DELETE FROM {name} WHERE id = ?", f"UPDATE {name} SET id = id || 'x' WHERE id = ?"]
        statements += [f"UPDATE {name} SET {column} = '[77]' WHERE id = ?" for column in columns]
        for statement in statements:
            shutil.copy(made, store)
            with closing(sqlite3.connect(store)) as raw, raw:
                raw.execute(statement, (record,))
            report = checked(store)
            assert {item.what for item in report.listed} == {"table"}, statement


def test_findings_name_what_is_affected(store: Path) -> None:
    with open_sqlite(store) as opened:
        key, _ = next(opened.scan(Table.LOG, limit=1))
        with opened.transaction():
            opened.delete(Table.LOG, key)
    report = checked(store)
    assert {item.model for item in report.listed} >= {"Task"}
    assert all(len(item.record_id) == 36 for item in report.listed if item.model)
    assert 1 in {item.sequence for item in report.listed if item.author}


def test_the_queue_is_compared_with_what_the_operations_say() -> None:
    with memory(1) as replica:
        for title in ("a", "b", "c"):
            replica.create(Task, title=title)
        state = state_of(replica)
        assert state.identity is not None
        with state.store.transaction():
            replica._journal.complete({state.identity.author: 1}, peer="hub", now_ms=1)
            replica._journal.fail(state.identity.author, sequence=3, error="refused", peer="hub", now_ms=2)
        assert replica.check().listed == []
        listed = [key for key, _ in state.store.scan(Table.PENDING)]
        assert listed == [number_key(2), FAILED + number_key(3)]
        for change in ({listed[0]}, {listed[1]}, {number_key(1)}, {number_key(3)}, {FAILED + number_key(2)}, {b"x"}):
            with state.store.transaction():
                state.store.delete_range(Table.PENDING)
                state.store.put_many(Table.PENDING, [(key, b"") for key in change.symmetric_difference(listed)])
            assert {item.what for item in replica.check().listed} == {"journal"}, change


def test_what_is_noted_of_peers_is_sound() -> None:
    with memory(1) as replica, memory(2) as hub:
        replica.create(Task, title="a")
        replica.port.met("ws://hub:1", device_of(hub))
        refuse(replica, by=hub, sequence=1)
        assert {key[:2] for key, _ in state_of(replica).store.scan(Table.HOLDING)} >= {b"\0u", b"\0r"}
        assert replica.check().listed == []


def test_an_open_replica_checks_itself() -> None:
    with Replica.open(":memory:", [Task], sources=Dice().sources) as replica:
        replica.create(Task, title="a")
        told: list[tuple[int, int]] = []
        report = replica.check(progress=lambda done, total: told.append((done, total)))
        assert report.ok
        assert report.checked["documents"] == 1
