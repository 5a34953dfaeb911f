"""The simulated disk: a store like any other while nothing fails, and what is left of it after a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from crdt_sync.errors import StoreClosedError, StoreError, StoreFullError
from crdt_sync.storage.base import Column, Durability, Store, Table, View
from crdt_sync.testing.simulation.disk import Disk, SimulatedStore
from crdt_sync.testing.simulation.sqlite_disk import SqliteDisk
from crdt_sync.testing.stores import StoreAcceptance


class TestSimulatedStore(StoreAcceptance):
    def open_store(self, directory: Path) -> Store:
        return SimulatedStore(Disk("full"))


def put(store: Store, *keys: bytes) -> None:
    for key in keys:
        with store.transaction():
            store.put(Table.LOG, key, b"value")


def held(disk: Disk) -> list[bytes]:
    return [key for key, _ in SimulatedStore(disk).scan(Table.LOG)]


def test_a_loss_of_power_takes_the_latest_commits_that_were_not_synced() -> None:
    disk, synced = Disk("normal"), []
    disk.on_sync = lambda: synced.append(True)
    store = SimulatedStore(disk)
    put(store, b"1")
    store.flush()
    assert synced == [True]
    put(store, b"2", b"3", b"4")
    with store.transaction():
        store.delete(Table.LOG, b"1")
        store.define_view(View(name="Note", columns=(Column(name="title"),)))
        store.put_rows("Note", [("id", "title")])
    store.die()
    assert disk.lose_power(1) == 3
    assert held(disk) == [b"1", b"2"]
    assert SimulatedStore(disk).views() == ()


@pytest.mark.parametrize(("durability", "survive"), [("full", [b"1", b"2"]), ("normal", [])])
def test_what_survives_follows_from_the_durability(durability: Durability, survive: list[bytes]) -> None:
    disk = Disk(durability)
    put(SimulatedStore(disk), b"1", b"2")
    assert held(disk) == [b"1", b"2"], "the end of a process loses nothing"
    disk.lose_power(0)
    assert held(disk) == survive


def write_pairs(store: Store) -> None:
    for number in range(3):
        with store.transaction():
            store.put_many(Table.LOG, [(b"%d a" % number, b"")])
            store.put_many(Table.LOG, [(b"%d b" % number, b"")])


def test_a_process_dies_at_any_write_and_leaves_whole_transactions() -> None:
    left = []
    for writes in range(12):
        disk, died = Disk("full"), Counter[str]()
        disk.on_death = partial(died.update, ["died"])
        disk.breaks_after = writes
        store = SimulatedStore(disk)
        with pytest.raises(StoreClosedError):
            write_pairs(store)
        assert died == {"died": 1}
        left.append(len(held(disk)))
    assert left == [0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6], "the last write of a transaction is its commit's end"


def test_a_full_disk_keeps_what_it_has() -> None:
    disk = Disk("normal")
    store = SimulatedStore(disk)
    put(store, b"1")
    disk.fill(full=True)
    with pytest.raises(StoreFullError):
        put(store, b"2")
    with pytest.raises(StoreFullError):
        store.flush()
    disk.fill(full=False)
    put(store, b"3")
    assert held(disk) == [b"1", b"3"]


def test_a_backup_is_put_back_and_a_disk_is_emptied() -> None:
    disk = Disk("full")
    store = SimulatedStore(disk)
    put(store, b"1")
    image = disk.image()
    put(store, b"2")
    store.die()
    disk.restore(image)
    assert held(disk) == [b"1"]
    put(SimulatedStore(disk), b"3")
    disk.clear()
    assert held(disk) == []
    disk.restore(image)
    assert held(disk) == [b"1"], "the backup is still what it was"


@pytest.fixture
def sqlite_disk(tmp_path: Path) -> Iterator[SqliteDisk]:
    disk = SqliteDisk("normal", folder=tmp_path / "disk", seed="disk")
    yield disk
    disk.eject()


def kept(disk: SqliteDisk) -> list[bytes]:
    return disk.tables[Table.LOG].keys


def test_sqlite_keeps_what_was_synced_and_loses_the_rest_from_the_end(sqlite_disk: SqliteDisk) -> None:
    synced: list[bool] = []
    sqlite_disk.on_sync = lambda: synced.append(True)
    store = sqlite_disk.open()
    put(store, b"1", b"2")
    store.flush()
    assert synced == [True]
    put(store, b"3", b"4")
    assert sqlite_disk.at_risk
    assert kept(sqlite_disk) == [b"1", b"2", b"3", b"4"]
    assert sqlite_disk.crash(None) == 0, "the end of a process loses nothing"
    put(sqlite_disk.open(), b"5", b"6")
    lost = sqlite_disk.crash(1)
    assert kept(sqlite_disk) == [b"1", b"2", b"3", b"4", b"5", b"6"][: 6 - lost]


def test_sqlite_dies_at_a_write(sqlite_disk: SqliteDisk) -> None:
    store = sqlite_disk.open()
    put(store, b"1")
    sqlite_disk.break_after(0)
    with pytest.raises(StoreError):
        put(store, b"2", b"3")
    died = [sqlite_disk.dead]
    sqlite_disk.crash(None)
    assert [*died, sqlite_disk.dead] == [True, False]
    assert kept(sqlite_disk)[:1] == [b"1"]


def test_a_file_of_sqlite_is_full_and_is_put_back(sqlite_disk: SqliteDisk) -> None:
    store = sqlite_disk.open()
    put(store, b"1")
    image = sqlite_disk.image()
    sqlite_disk.fill(full=True)
    with pytest.raises(StoreFullError):
        put(store, *(b"%d" % number for number in range(100, 200)))
    sqlite_disk.fill(full=False)
    put(store, b"2")
    sqlite_disk.crash(None)
    sqlite_disk.restore(image)
    assert kept(sqlite_disk) == [b"1"]
    sqlite_disk.clear()
    assert kept(sqlite_disk) == []
