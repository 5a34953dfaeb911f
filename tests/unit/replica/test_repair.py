"""Repairing damaged stores: nothing gets worse, nothing is invented, and a peer brings what is missing."""

# ruff: noqa: S608  # names are those of tables

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError, CRDTSyncError, InputError, NotAStoreError, StoreError, StoreInUseError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.repairing import RepairReport, read_quarantine
from crdt_sync.replica.rows import number_key
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.disks import Disk, Fault, Loss
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.damaging import MODELS
from tests.unit.replica.devices import Task, memory, on_disk, state_of
from tests.unit.replica.test_check import checked, lived

Shown = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a.db, its state directory, and the store of a peer that holds nearly all of it, b.db."""
    folder = tmp_path_factory.mktemp("made")
    lived(folder)
    return folder


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with a part of the log folded."""
    folder = tmp_path_factory.mktemp("compacted")
    lived(folder)
    with opened(folder) as one, peer(folder) as two:
        for _ in range(3):
            assert exchange(one, two).proven_equal
            one.compact()
            two.compact()
        assert state_of(one).store.count(Table.BASE)
        one.update(one.find(Task, title="first")[0], title="since")
    return folder


def copied(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place, dirs_exist_ok=True)
    fences = (place / "state" / "replicas").glob("*/fence.json")
    for fence in fences:  # as if the store had always been here
        fence.write_text(fence.read_text().replace(str(folder), str(place)))
    return place


def opened(place: Path, *, seed: int = 9) -> Replica:
    return on_disk(place, *MODELS, seed=seed)


def peer(place: Path) -> Replica:
    return on_disk(place, *MODELS, seed=8, name="b.db", state="other")


def repaired(place: Path, **options: Any) -> RepairReport:
    return Replica.repair(place / "a.db", state_dir=place / "state", **options)


def shown(replica: Replica) -> Shown:
    return {model.__name__: [record.model_dump() for record in replica.find(model)] for model in MODELS}


def shown_at(place: Path) -> Shown:
    with opened(place) as replica:
        return shown(replica)


def lose(place: Path, table: Table, number: int = 0) -> bytes:
    with open_sqlite(place / "a.db") as store:
        key, _ = list(store.scan(table))[number]
        with store.transaction():
            store.delete(table, key)
    return key


def zero(place: Path, table: Table, number: int = 0) -> bytes:
    """Zero the bytes of a row, as a page of a bad disk would be."""
    with closing(sqlite3.connect(place / "a.db")) as raw, raw:
        key: bytes = raw.execute(f'SELECT key FROM "_crdt_{table}" ORDER BY key').fetchall()[number][0]
        raw.execute(f'UPDATE "_crdt_{table}" SET value = zeroblob(length(value)) WHERE key = ?', (key,))
    return key


def test_a_sound_store_is_left_as_it_is(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    before = (place / "a.db").read_bytes()
    report = repaired(place)
    assert (report.changed, report.before.ok, report.quarantine) == (False, True, None)
    assert (place / "a.db").read_bytes() == before
    assert not [path for path in place.iterdir() if "repair" in path.name or "damaged" in path.name]


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("damage", [lose, zero])
def test_a_lost_row_of_the_log_changes_nothing_that_is_shown(
    made: Path, tmp_path: Path, number: int, damage: Any
) -> None:
    place = copied(made, tmp_path)
    was = shown_at(copied(made, tmp_path / "sound"))
    key = damage(place, Table.LOG, number)
    report = repaired(place)
    assert report.changed
    assert report.after.ok, report.after.listed
    assert report.missing
    assert not report.lost
    assert report.damaged is not None
    with open_sqlite(report.damaged, read_only=True) as damaged:
        assert not check_store(damaged).ok
    if damage is zero:
        assert report.quarantine is not None
        assert (str(Table.LOG), key.hex()) in [(row["table"], row["key"]) for row in read_quarantine(report.quarantine)]
    with opened(place) as replica, peer(place) as other:
        identity = state_of(replica).identity
        assert identity is not None
        assert identity.reason == "restored or rebuilt"
        assert shown(replica) == was
        assert exchange(replica, other).proven_equal
        assert shown(replica) == shown(other)
        assert replica.check().ok
        replica.create(Task, title="goes on")
        assert exchange(replica, other).proven_equal
        assert replica.check().ok
        assert other.check().ok
    assert repaired(place).before.ok


@pytest.mark.parametrize(
    "table", [Table.CHAIN, Table.TOUCH, Table.VERSION, Table.DOCUMENT, Table.CONFLICT, Table.UNIQUE, Table.PENDING]
)
@pytest.mark.parametrize("damage", [lose, zero])
def test_what_is_derived_comes_back_as_it_was(made: Path, tmp_path: Path, table: Table, damage: Any) -> None:
    place = copied(made, tmp_path)
    was = shown_at(copied(made, tmp_path / "sound"))
    damage(place, table, -1)
    if damage is zero and checked(place / "a.db").ok:
        pytest.skip("the rows of this table are empty")
    report = repaired(place)
    assert report.changed
    assert report.after.ok, report.after.listed
    assert (report.missing, report.lost, report.kept_content) == ((), (), ())
    with opened(place) as replica:
        assert shown(replica) == was
        assert replica.check().ok
    if damage is lose:
        assert report.quarantine is None


def test_a_record_whose_base_is_gone_comes_back_though_somebody_edits_it_first(tmp_path: Path) -> None:
    with opened(tmp_path) as replica, peer(tmp_path) as other:
        replica.create(Task, title="first")
        assert exchange(replica, other).proven_equal
        replica.compact()
        assert not state_of(replica).has_settled("")
    zero(tmp_path, Table.BASE)
    assert repaired(tmp_path).lost
    with opened(tmp_path) as replica, peer(tmp_path) as other:
        other.find(Task)[0].title = "again"
        assert exchange(replica, other).proven_equal
        assert [task.title for task in replica.find(Task)] == ["again"]
        assert replica.check().ok


def test_what_is_written_on_content_that_a_repair_kept_reaches_a_peer(tmp_path: Path) -> None:
    with opened(tmp_path) as replica:
        replica.create(Task, title="first", notes="abc")
    zero(tmp_path, Table.LOG)
    assert repaired(tmp_path).kept_content
    with opened(tmp_path) as replica, peer(tmp_path) as other:
        replica.find(Task)[0].notes.delete(0, 1)
        exchange(replica, other)
        assert exchange(replica, other).proven_equal
        assert [str(task.notes) for task in other.find(Task)] == ["bc"]
        assert other.check().ok


def test_what_was_refused_stays_refused(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    with opened(place) as replica:
        replica.create(Task, title="refused")
        state, last = state_of(replica), replica.last_operation()
        row = replica._journal.row(last.id)[1]
        with state.store.transaction():
            replica._journal.fail(row.author, sequence=row.sequence, error="refused", peer="hub", now_ms=1)
    lose(place, Table.PENDING, -1)
    assert not checked(place / "a.db").ok
    report = repaired(place)
    assert report.changed
    assert report.after.ok, report.after.listed
    with opened(place) as replica:
        (failed,) = replica.operations(status="failed")
        assert (failed.id, failed.error, dict(failed.data)["title"]) == (last.id, "refused", "refused")


def test_an_own_operation_that_the_journal_lost_is_offered_again(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    with opened(copied(made, tmp_path / "sound")) as replica:
        before = [(item.id, item.type, item.record_id) for item in replica.operations()]
    lose(place, Table.OPERATION, 2)
    assert repaired(place).journal_added == 1
    with opened(place) as replica, peer(place) as other:
        operations = list(replica.operations())
        assert [(item.id, item.type, item.record_id) for item in operations] == before
        assert operations[2].status == "pending"
        assert exchange(replica, other).proven_equal
        assert replica.pending_count() == 0


@pytest.mark.parametrize("key", [b"replica_id", b"epoch", b"author", b"authors", b"inherited", b"models"])
def test_who_the_store_is_is_found_out(made: Path, tmp_path: Path, key: bytes) -> None:
    place = copied(made, tmp_path)
    was = shown_at(copied(made, tmp_path / "sound"))
    with opened(copied(made, tmp_path / "other")) as replica:
        replica_id = replica.replica_id
    with open_sqlite(place / "a.db") as store, store.transaction():
        store.delete(Table.META, key)
    report = repaired(place)
    assert report.changed
    assert report.after.ok, report.after.listed
    with opened(place) as again, peer(place) as other:
        assert again.replica_id == replica_id
        assert shown(again) == was
        assert exchange(again, other).proven_equal
        assert again.check().ok


@pytest.mark.parametrize("table", [Table.LOG, Table.BASE, Table.CHAIN, Table.DOCUMENT, Table.VERSION, Table.META])
def test_a_compacted_store_is_mended_too(compacted: Path, tmp_path: Path, table: Table) -> None:
    with open_sqlite(compacted / "a.db", read_only=True) as store:
        total = store.count(table)
    was = shown_at(copied(compacted, tmp_path / "sound"))
    for number in range(total):
        place = copied(compacted, tmp_path / f"{table}{number}")
        lose(place, table, number)
        report = repaired(place)
        assert report.changed or report.before.ok
        assert report.after.ok, (table, number, report.after.listed)
        with opened(place) as replica, peer(place) as other:
            assert report.lost or shown(replica) == was
            assert exchange(replica, other).proven_equal
            assert shown(replica) == shown(other)
            assert replica.check().ok


def test_a_record_that_a_late_edit_brought_back_stays_as_it_is(tmp_path: Path) -> None:
    """What a horizon removed of it has no part in it any more, though its entries are in the log."""
    with on_disk(tmp_path, Task, seed=1) as desk, memory(2, Task) as hub, memory(3, Task) as phone:
        task = hub.create(Task, title="first", notes="text")
        for other in (desk, phone, desk):
            assert exchange(hub, other).proven_equal
        hub.forget_device(str(phone.device_id))
        phone.get(Task, task.id).title = "by phone"
        hub.delete(task)
        for _ in range(4):
            assert exchange(hub, desk).proven_equal
            hub.compact()
        assert state_of(hub).store.count(Table.LOG) == 0
        for other in (desk, phone, desk):
            assert exchange(hub, other).proven_equal
        versions = list(state_of(desk).store.scan(Table.VERSION))
        assert len(versions) == 1
    lose(tmp_path, Table.CHAIN)
    report = repaired(tmp_path)
    assert report.changed
    assert report.after.ok, report.after.listed
    assert not report.kept_content
    with on_disk(tmp_path, Task, seed=4) as desk:
        assert list(state_of(desk).store.scan(Table.VERSION)) == versions
        assert desk.get(Task, task.id).title == "by phone"


def test_damage_everywhere_is_survived_with_a_peer(made: Path, tmp_path: Path) -> None:
    """Bits flip all over the file: what is left is sound, and after a sync both hold the same."""
    mended = 0
    for seed in range(12):
        place = copied(made, tmp_path / str(seed))
        dice = random.Random(seed)
        content = bytearray((place / "a.db").read_bytes())
        for _ in range(dice.choice((1, 3, 30))):
            content[dice.randrange(100, len(content))] ^= 1 << dice.randrange(8)
        (place / "a.db").write_bytes(content)
        try:
            report = repaired(place)
        except (CorruptStoreError, NotAStoreError):
            assert (place / "a.db").read_bytes() == bytes(content)
            continue
        assert report.after.total <= report.before.total
        mended += report.changed
        assert report.after.ok, report.after.listed
        with opened(place) as replica, peer(place) as other:
            assert exchange(replica, other).proven_equal
            assert replica.check().ok
    assert mended > 3


def test_a_dry_run_changes_nothing(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    zero(place, Table.LOG, 3)
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    told: list[tuple[int, int]] = []
    report = repaired(place, dry_run=True, progress=lambda done, total: told.append((done, total)))
    assert (report.changed, report.after.ok, report.quarantine, report.damaged) == (False, True, None, None)
    assert report.quarantined
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]
    after = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    assert after.keys() - before.keys() <= {"a.db.lock"}
    assert after["a.db"] == before["a.db"]


def test_a_repair_that_is_killed_has_changed_nothing(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    zero(place, Table.LOG, 3)
    with Disk() as disk:
        repaired(place, dry_run=True)
        total = disk.operations
    content = (place / "a.db").read_bytes()
    for point in range(1, total, max(1, total // 25)):
        with Disk(seed=point) as disk:
            disk.fail(Fault.POWER, after=point)
            with suppress(CRDTSyncError):
                repaired(place)
            disk.power_on(loss=Loss.SOME)
        assert (place / "a.db").read_bytes() == content
    assert repaired(place).after.ok
    assert not list(place.glob("*.repairing*"))


def test_a_store_in_use_or_none_is_refused(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    with opened(place), pytest.raises(StoreInUseError):
        repaired(place)
    (place / "a.db").write_text("no store")
    with pytest.raises(NotAStoreError) as caught:
        repaired(place)
    assert caught.value.hint
    assert (place / "a.db").read_text() == "no store"


def test_a_full_disk_ends_a_repair_and_changes_nothing(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    zero(place, Table.LOG, 3)
    content = (place / "a.db").read_bytes()
    with Disk() as disk:
        disk.fail(Fault.FULL, after=20)
        with pytest.raises(StoreError) as caught:
            repaired(place)
    assert caught.value.hint
    assert (place / "a.db").read_bytes() == content
    assert not list(place.glob("*.repairing*"))


def test_the_quarantine_tells_what_it_holds(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    zero(place, Table.LOG, 0)
    report = repaired(place)
    assert report.quarantine is not None
    rows = list(read_quarantine(report.quarantine))
    assert len(rows) == report.quarantined
    assert rows[0]["key"] == number_key(1).hex()
    followers = [row for row in rows if row["table"] == "log" and "author" in row]
    assert followers
    assert all(row["records"] and row["reason"] for row in followers)
    with pytest.raises(InputError) as caught:
        list(read_quarantine(place / "a.db"))
    assert caught.value.hint


def test_a_choice_made_before_is_not_asked_again(made: Path, tmp_path: Path) -> None:
    place = copied(made, tmp_path)
    with opened(place) as replica:
        conflict = next(iter(replica.conflicts(model=Task)))
        replica.resolve(conflict, value=date(2026, 1, 5))
        left = [item.id for item in replica.conflicts()]
    zero(place, Table.DOCUMENT, 0)
    assert repaired(place).after.ok
    with opened(place) as replica:
        assert [item.id for item in replica.conflicts()] == left


@pytest.mark.parametrize(
    "tables", [("log",), ("log", "chain"), ("log", "chain", "operation"), ("operation",), ("version",)]
)
def test_a_repaired_store_never_goes_on_under_the_same_author(tmp_path: Path, tables: tuple[str, ...]) -> None:
    with opened(tmp_path) as replica, peer(tmp_path) as other:
        for title in ("first", "second"):
            replica.create(Task, title=title)
            assert exchange(replica, other).proven_equal
        before = state_of(replica).identity
        assert before is not None
    with closing(sqlite3.connect(tmp_path / "a.db")) as raw, raw:
        for table in tables:
            raw.execute(f'DELETE FROM "_crdt_{table}" WHERE key = (SELECT max(key) FROM "_crdt_{table}")')
    assert repaired(tmp_path).changed
    with opened(tmp_path, seed=10) as replica, peer(tmp_path) as other:
        after = state_of(replica).identity
        assert after is not None
        assert after.author != before.author
        replica.create(Task, title="third")
        assert exchange(replica, other).proven_equal
        assert (replica.forks(), other.forks()) == ((), ())
        assert shown(replica) == shown(other)
