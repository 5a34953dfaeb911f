"""What can befall a store, and how it ends: in a typed error with a hint that changed nothing, or in a sound store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.errors import CRDTSyncError, KeyFileError, StoreError, StoreFullError, StoreReadOnlyError
from crdt_sync.storage.base import Durability, Table
from crdt_sync.storage.migrations import MIGRATIONS
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.disks import Disk, Fault, Loss
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, Person, Task, memory, state_of

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS


def titles(replica: Replica) -> set[str]:
    return {task.title for task in replica.find(Task)}


def opened(place: Path, *, day: int = 0, durability: Durability = "full", now_ms: int | None = None) -> Replica:
    dice = Dice(day, now_ms=START_MS + DAY_MS * day if now_ms is None else now_ms)
    return Replica.open(
        place / "a.db", [Task, Person], state_dir=place / "state", durability=durability, sources=dice.sources
    )


def sound(replica: Replica) -> None:
    report = replica.check()
    assert report.ok, report.listed


# ── power loss and kill -9 at any operation of the disk ──────────────────────────────────────────────────────────────


class Life:
    """A first sync, writes, an apply, a compaction, and a clean end, until the disk fails; and what was promised."""

    def __init__(self, place: Path, hub: Replica, *, durability: Durability) -> None:
        self._place = place
        self._hub = hub
        self._durability = durability
        self.promised: set[str] = set()

    def run(self) -> None:
        replica: Replica | None = None
        with suppress(StoreError):
            replica = opened(self._place, durability=self._durability)
            self._sync(replica)
            for number in range(3):
                self._write(replica, number)
            big = replica.create(Task, title="big", notes="x" * 20_000)
            big.notes.append("more")
            self._sync(replica)
            self._hub.create(Task, title="from the hub")
            self._sync(replica)
            replica.compact()
            self._write(replica, 3)
            replica.close()
        with suppress(StoreError):
            if replica is not None:
                replica.close()

    def _write(self, replica: Replica, number: int) -> None:
        with replica.transaction():
            replica.create(Task, title=f"one {number}")
            replica.create(Task, title=f"two {number}")
        if self._durability == "full":
            self.promised |= {f"one {number}", f"two {number}"}

    def _sync(self, replica: Replica) -> None:
        if not exchange(replica, self._hub).proven_equal:
            raise StoreError("the disk ended the exchange")
        self.promised |= titles(replica)


def hub_with_data() -> Replica:
    hub = memory(7, Task, Person)
    for number in range(5):
        hub.create(Task, title=f"hub {number}")
    return hub


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many operations of the disk a life takes, by durability."""
    found: dict[str, int] = {}
    durabilities: tuple[Durability, ...] = ("full", "normal")
    for durability in durabilities:
        with Disk() as disk, hub_with_data() as hub:
            Life(tmp_path_factory.mktemp(durability), hub, durability=durability).run()
            found[durability] = disk.operations
    return found


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("durability", ["full", "normal"])
@pytest.mark.parametrize("part", range(10))
def test_nothing_promised_is_lost_with_the_power(
    tmp_path: Path, operations: dict[str, int], durability: Durability, loss: Loss, part: int
) -> None:
    point = 1 + (operations[durability] * (3 * part + list(Loss).index(loss))) // 31
    with Disk(seed=f"{durability} {loss} {part}") as disk, hub_with_data() as hub:
        life = Life(tmp_path, hub, durability=durability)
        disk.fail(Fault.POWER, after=point)
        life.run()
        disk.power_on(loss=loss)
        told = {author: end.sequence for author, end in state_of(hub).ledger.heads.get("", {}).items()}
        with opened(tmp_path, day=1) as again:
            assert life.promised <= titles(again)
            sound(again)
            own = state_of(again).lease.own_authors()
            held = state_of(again).ledger.heads.get("", {})
            for author in own & told.keys():
                assert held[author].sequence >= told[author], "something was sent before it was durable"
            assert exchange(again, hub).proven_equal
            again.create(Task, title="goes on")
            assert exchange(again, hub).proven_equal
            assert titles(again) == titles(hub)
            sound(again)


@pytest.mark.parametrize("loss", list(Loss))
def test_power_loss_amid_a_migration_leaves_the_old_version_or_the_new_one(tmp_path: Path, loss: Loss) -> None:
    old = tmp_path / "old"
    with open_sqlite(old, create=True, migrations=MIGRATIONS[:1]) as store, store.transaction():
        store.put(Table.LOG, b"key", b"value")
    path = tmp_path / "new"
    shutil.copy(old, path)
    with Disk() as disk:
        open_sqlite(path).close()
        total = disk.operations
    for point in range(1, total):
        shutil.copy(old, path)
        with Disk(seed=point) as disk:
            disk.fail(Fault.POWER, after=point)
            with suppress(StoreError):
                open_sqlite(path).close()
            disk.power_on(loss=loss)
            with open_sqlite(path) as store:
                assert store.schema_version == len(MIGRATIONS)
                assert store.get(Table.LOG, b"key") == b"value"
                assert list(store.check()) == []


# ── a disk that refuses ──────────────────────────────────────────────────────────────────────────────────────────────


def write_on(replica: Replica, written: set[str], name: str) -> None:
    for number in range(100):
        replica.create(Task, title=f"{name} {number}", notes="x" * 5_000)
        written.add(f"{name} {number}")


@pytest.mark.parametrize(("fault", "error"), [(Fault.FULL, StoreFullError), (Fault.READ_ONLY, StoreReadOnlyError)])
def test_a_disk_that_refuses_ends_a_call_and_no_more(tmp_path: Path, fault: Fault, error: type[StoreError]) -> None:
    with Disk() as disk, opened(tmp_path) as replica, hub_with_data() as hub:
        replica.create(Task, title="before")
        for after in range(4):
            before = titles(replica)
            disk.fail(fault, after=after)
            with pytest.raises(error) as caught:
                write_on(replica, before, str(after))
            assert caught.value.hint
            assert titles(replica) == before
            disk.mend()
            sound(replica)
        assert exchange(replica, hub).proven_equal
        assert titles(replica) == titles(hub)


def test_a_sync_that_the_disk_ends_goes_on_later(tmp_path: Path) -> None:
    with Disk() as disk, opened(tmp_path) as replica, hub_with_data() as hub:
        disk.fail(Fault.FULL)
        with suppress(StoreFullError):
            assert not exchange(replica, hub).proven_equal
        disk.mend()
        assert exchange(replica, hub).proven_equal
        assert titles(replica) == titles(hub)
        sound(replica)


# ── the files beside a store ─────────────────────────────────────────────────────────────────────────────────────────


def killed(place: Path, hub: Replica) -> None:
    """A store whose process was killed; the hub holds all of it."""
    with Disk() as disk:
        replica = opened(place)
        for number in range(4):
            replica.create(Task, title=f"t{number}")
        assert exchange(replica, hub).proven_equal
        disk.fail(Fault.POWER)
        with suppress(StoreError):
            replica.close()
        disk.power_on(loss=Loss.NOTHING)
    assert (place / "a.db-wal").stat().st_size


def remove(name: str) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        for path in place.glob(name):
            path.unlink()

    return damage


def overwrite(name: str) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        for path in place.glob(name):
            path.write_bytes(b"something else " * 400)

    return damage


def flip(place: Path) -> None:
    wal = place / "a.db-wal"
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 4
    wal.write_bytes(content)


def overwrite_index(place: Path) -> None:
    (place / "a.db-shm").write_bytes(b"something else " * 400)


def remove_state(place: Path) -> None:
    shutil.rmtree(place / "state")


def name_another_process(place: Path) -> None:
    (place / "a.db.pid").write_text("1")


BEFALLEN: dict[str, Callable[[Path], None]] = {
    "log gone": remove("a.db-wal"),
    "log is another file": overwrite("a.db-wal"),
    "a bit of the log flipped": flip,
    "index of the log gone": remove("a.db-shm"),
    "index of the log is another file": overwrite_index,
    "fence gone": remove("state/replicas/*/fence.json"),
    "fence is another file": overwrite("state/replicas/*/fence.json"),
    "state directory gone": remove_state,
    "lock gone": remove("a.db.lock"),
    "pid of another process": name_another_process,
}


@pytest.mark.parametrize("name", BEFALLEN)
def test_files_beside_a_store(tmp_path: Path, name: str) -> None:
    with hub_with_data() as hub:
        killed(tmp_path, hub)
        BEFALLEN[name](tmp_path)
        with opened(tmp_path, day=1) as again:
            sound(again)
            again.create(Task, title="since")
            assert exchange(again, hub).proven_equal
            assert titles(again) == titles(hub) >= {"t0", "t1", "t2", "t3", "since"}
            sound(again)


def test_a_key_file_that_is_another_file_is_refused(tmp_path: Path) -> None:
    with hub_with_data() as hub:
        killed(tmp_path, hub)
        overwrite("state/replicas/*/device.key")(tmp_path)
        with pytest.raises(KeyFileError) as caught:
            opened(tmp_path, day=1)
        assert caught.value.hint
        remove("state/replicas/*/device.key")(tmp_path)
        with opened(tmp_path, day=1) as again:
            assert {"t0", "t3"} <= titles(again)
            assert exchange(again, hub).proven_equal


# ── clocks, copies, backups ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("years", [-30, -1, 1, 30])
def test_a_clock_that_jumps_by_years(tmp_path: Path, years: int) -> None:
    with hub_with_data() as hub:
        with opened(tmp_path) as replica:
            task = replica.create(Task, title="before")
            assert exchange(replica, hub).proven_equal
        for now_ms in (START_MS + years * YEAR_MS, START_MS + DAY_MS):
            with opened(tmp_path, now_ms=now_ms) as again:
                record = again.get(Task, task.id)
                again.update(record, title=f"at {now_ms}")
                assert again.get(Task, task.id).title == f"at {now_ms}", "what saw a value takes its place"
                assert exchange(again, hub).proven_equal
                assert hub.get(Task, task.id).title == f"at {now_ms}"
                sound(again)


def test_a_cloned_store_is_two_devices(tmp_path: Path) -> None:
    with hub_with_data() as hub:
        killed(tmp_path, hub)
        second = tmp_path / "second"
        second.mkdir()
        for name in ("a.db", "a.db-wal"):
            shutil.copy(tmp_path / name, second / name)
        with opened(tmp_path, day=1) as one, opened(second, day=2) as two:
            assert one.device_id != two.device_id
            one.create(Task, title="one")
            two.create(Task, title="two")
            for _ in range(2):
                assert exchange(one, hub).proven_equal
                assert exchange(two, hub).proven_equal
            assert titles(one) == titles(hub) >= {"one", "two"}
            sound(one)
            sound(two)


def test_a_damaged_row_ends_in_a_typed_error_and_a_repair(tmp_path: Path) -> None:
    with hub_with_data() as hub:
        with opened(tmp_path) as replica:
            replica.create(Task, title="a")
            assert exchange(replica, hub).proven_equal
        content = bytearray((tmp_path / "a.db").read_bytes())
        with open_sqlite(tmp_path / "a.db", read_only=True) as store:
            _, row = next(store.scan(Table.LOG, limit=1))
        content[content.index(row) + 9] ^= 1
        (tmp_path / "a.db").write_bytes(content)
        with suppress(CRDTSyncError), opened(tmp_path, day=1) as damaged, memory(8, Task, Person) as new:
            assert not exchange(damaged, new).proven_equal
        assert Replica.repair(tmp_path / "a.db", state_dir=tmp_path / "state").after.ok
        with opened(tmp_path, day=2) as again:
            assert exchange(again, hub).proven_equal
            assert titles(again) == titles(hub)
            sound(again)
