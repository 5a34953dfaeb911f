"""A disk that fails: what it keeps and loses, and that the store on it keeps what it promises."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from crdt_sync.errors import StoreError, StoreFullError, StoreReadOnlyError
from crdt_sync.storage.base import Durability, Table
from crdt_sync.storage.sqlite import SqliteStore, open_sqlite
from crdt_sync.testing.disks import Disk, Fault, Loss

DATA = b"x" * 600
ROUNDS = 12
"""Transactions of `work`, each of several rows."""


def put(store: SqliteStore, number: int) -> None:
    with store.transaction():
        store.put_many(Table.LOG, [(b"%03d.%d" % (number, part), DATA) for part in range(3)])


def rounds(store: SqliteStore) -> int:
    """How many rounds are there, each whole, and none left out before the last."""
    keys = [key for key, _ in store.scan(Table.LOG)]
    number = len(keys) // 3
    assert keys == [b"%03d.%d" % (at, part) for at in range(number) for part in range(3)]
    assert list(store.check()) == []
    return number


def work(path: Path, *, durability: Durability, flush_at: int = -1) -> int:
    """Put rounds until the disk fails; how many are promised to be there, whatever the loss."""
    promised = 0
    store: SqliteStore | None = None
    with suppress(StoreError):
        store = open_sqlite(path, create=True, durability=durability)
        for number in range(ROUNDS):
            put(store, number)
            if durability == "full":
                promised = number + 1
            if number == flush_at:
                store.flush()
                promised = number + 1
        store.close()
        promised = ROUNDS
    with suppress(StoreError):
        if store is not None:
            store.close()
    return promised


def fill(store: SqliteStore) -> None:
    for number in range(1, 50):
        put(store, number)
        with store.transaction():
            store.delete_range(Table.LOG, start=b"%03d" % number)


def operations_of(path: Path, *, durability: Durability, flush_at: int = -1) -> int:
    with Disk() as disk:
        assert work(path, durability=durability, flush_at=flush_at) == ROUNDS
        return disk.operations


def test_without_faults_nothing_is_different(tmp_path: Path) -> None:
    work(tmp_path / "plain", durability="full")
    with Disk():
        work(tmp_path / "disk", durability="full")
        with open_sqlite(tmp_path / "disk", read_only=True) as reader:
            assert rounds(reader) == ROUNDS
    assert (tmp_path / "disk").read_bytes() == (tmp_path / "plain").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "plain"]


@pytest.mark.parametrize("loss", list(Loss))
def test_what_was_promised_survives_power_loss_at_any_operation(tmp_path: Path, loss: Loss) -> None:
    for point in range(1, operations_of(tmp_path / "whole", durability="full")):
        path = tmp_path / str(point)
        with Disk(seed=point) as disk:
            disk.fail(Fault.POWER, after=point)
            promised = work(path, durability="full")
            disk.power_on(loss=loss)
            with open_sqlite(path, create=True) as store:
                assert promised <= rounds(store) <= promised + 1


@pytest.mark.parametrize("loss", list(Loss))
def test_normal_durability_keeps_whole_transactions_and_all_that_was_flushed(tmp_path: Path, loss: Loss) -> None:
    for point in range(1, operations_of(tmp_path / "whole", durability="normal", flush_at=5), 2):
        path = tmp_path / str(point)
        with Disk(seed=point) as disk:
            disk.fail(Fault.POWER, after=point)
            promised = work(path, durability="normal", flush_at=5)
            disk.power_on(loss=loss)
            with open_sqlite(path, create=True) as store:
                assert rounds(store) >= promised


def test_normal_durability_may_lose_what_was_not_flushed(tmp_path: Path) -> None:
    with Disk() as disk:
        store = open_sqlite(tmp_path / "a", create=True, durability="normal")
        put(store, 0)
        store.flush()
        put(store, 1)
        assert disk.unsynced()
        disk.fail(Fault.POWER)
        with suppress(StoreError):
            store.close()
        assert disk.power_on(loss=Loss.UNSYNCED).lost
        with open_sqlite(tmp_path / "a") as store:
            assert rounds(store) == 1


def test_a_seed_gives_one_outcome(tmp_path: Path) -> None:
    outcomes = []
    for folder in ("one", "two"):
        path = tmp_path / folder / "a"
        path.parent.mkdir()
        with Disk(seed="seed") as disk:
            store = open_sqlite(path, create=True, durability="normal")
            for number in range(9):
                put(store, number)
            disk.fail(Fault.POWER)
            with suppress(StoreError):
                store.close()
            outcome = disk.power_on(loss=Loss.SOME)
            with open_sqlite(path) as again:
                outcomes.append((outcome, rounds(again)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0].torn


def test_a_full_disk_refuses_and_goes_on_once_there_is_space(tmp_path: Path) -> None:
    with Disk() as disk, open_sqlite(tmp_path / "a", create=True) as store:
        put(store, 0)
        for after in range(6):
            disk.fail(Fault.FULL, after=after)
            with pytest.raises(StoreFullError) as caught:
                fill(store)
            assert caught.value.hint
            disk.mend()
            with store.transaction():
                store.delete_range(Table.LOG, start=b"001")
            assert rounds(store) == 1
        put(store, 1)
        assert rounds(store) == 2


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.POWER])
def test_what_is_elsewhere_is_on_another_disk(tmp_path: Path, fault: Fault) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    with Disk(within=folder) as disk, open_sqlite(folder / "a", create=True) as store:
        disk.fail(fault)
        before = disk.operations
        assert work(tmp_path / "b", durability="full") == ROUNDS
        assert disk.operations == before
        with pytest.raises(StoreError):
            fill(store)
        disk.mend()


@pytest.mark.parametrize(("fault", "error"), [(Fault.READ_ONLY, StoreReadOnlyError), (Fault.BROKEN, StoreError)])
def test_a_disk_that_refuses_writes_is_a_typed_error(tmp_path: Path, fault: Fault, error: type[StoreError]) -> None:
    with Disk() as disk, open_sqlite(tmp_path / "a", create=True) as store:
        put(store, 0)
        disk.fail(fault)
        with pytest.raises(error) as caught:
            put(store, 1)
        assert caught.value.hint
        assert disk.fault is fault
        disk.mend()
        put(store, 1)
        assert rounds(store) == 2


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    with Disk() as disk:
        with open_sqlite(tmp_path / "a", create=True) as store:
            put(store, 0)
        at = (tmp_path / "a").read_bytes().index(DATA)
        assert disk.rot(tmp_path / "a", bit=at * 8 + 3) == at * 8 + 3
        with open_sqlite(tmp_path / "a") as store:
            assert [damage.table for damage in store.check()] == ["log"]


def test_the_first_sync_of_a_log_makes_an_earlier_removal_durable(tmp_path: Path) -> None:
    """A rollback journal that comes back beside a write-ahead log would be played over what came after it."""
    path = tmp_path / "store"
    with Disk() as disk:
        with open_sqlite(path, create=True, durability="full") as store:
            put(store, 0)
        with open_sqlite(path, durability="full") as store:
            put(store, 1)
            disk.fail(Fault.POWER)
            with suppress(StoreError):
                store.close()
        disk.power_on(loss=Loss.UNSYNCED)
        assert not path.with_name("store-journal").exists()
        with open_sqlite(path) as store:
            assert rounds(store) == 2
