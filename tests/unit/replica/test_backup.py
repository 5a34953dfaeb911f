"""Backups of a store in use, and what becomes of one that is opened."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.errors import (
    CorruptStoreError,
    InputError,
    NotAStoreError,
    StoreError,
    StoreInUseError,
    StoreNotFoundError,
    TransactionError,
)
from crdt_sync.replica.backup import back_up
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Task, memory, on_disk, state_of


def titles(replica: Replica) -> list[str]:
    return sorted(task.title for task in replica.find(Task))


def test_a_backup_holds_what_was_there_while_the_store_goes_on(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="before")
        told: list[tuple[int, int]] = []
        report = replica.backup(tmp_path / "backup.db", progress=lambda done, total: told.append((done, total)))
        assert (report.path, report.log_rows) == (tmp_path / "backup.db", 1)
        assert report.file_bytes == (tmp_path / "backup.db").stat().st_size > 0
        assert told[-1][0] == told[-1][1] > 0
        replica.create(Task, title="after")
        assert titles(replica) == ["after", "before"]
    assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup.db"]
    with Replica.open(tmp_path / "backup.db", [Task], read_only=True, state_dir=tmp_path / "state") as copy:
        assert titles(copy) == ["before"]


@pytest.mark.parametrize("crashed", [False, True])
def test_what_is_put_back_goes_on_under_a_new_epoch(tmp_path: Path, crashed: bool) -> None:  # pytest's
    with memory(7) as hub:
        first = on_disk(tmp_path)
        first.create(Task, title="before")
        assert exchange(first, hub).proven_equal
        first.backup(tmp_path / "backup.db")
        before = state_of(first).identity
        first.create(Task, title="sent")
        assert exchange(first, hub).proven_equal
        if crashed:
            shutil.copytree(tmp_path / "state", tmp_path / "then")
        first.close()
        if crashed:  # the fence as it was while the backup was made
            shutil.rmtree(tmp_path / "state")
            (tmp_path / "then").rename(tmp_path / "state")
        shutil.move(tmp_path / "backup.db", tmp_path / "a.db")
        with on_disk(tmp_path, seed=1) as again:
            after = state_of(again).identity
            assert before is not None
            assert after is not None
            assert after.reason == "restored or rebuilt"
            assert after.epoch != before.epoch
            assert after.author != before.author
            assert after.key.device_id == before.key.device_id
            again.create(Task, title="since")
            assert exchange(again, hub).proven_equal
            assert titles(again) == titles(hub) == ["before", "sent", "since"]


def test_a_backup_overwrites_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        (tmp_path / "taken").write_text("mine")
        with pytest.raises(StoreError) as error:
            replica.backup(tmp_path / "taken")
        assert error.value.hint
        assert (tmp_path / "taken").read_text() == "mine"
        with pytest.raises(StoreError):
            replica.backup(tmp_path / "missing" / "backup.db")
        with pytest.raises(StoreError):
            replica.backup(tmp_path / "a.db")
        for wrong in ("", "a\0b", 5):
            with pytest.raises(InputError):
                replica.backup(wrong)  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(TransactionError), replica.transaction():
            replica.backup(tmp_path / "backup.db")
        (tmp_path / "backup.db.unfinished").write_text("left by a backup that was killed")
        replica.backup(tmp_path / "backup.db")
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_damaged_store_makes_no_backup(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="a")
    with closing(sqlite3.connect(tmp_path / "a.db")) as raw, raw:
        raw.execute("UPDATE _crdt_log SET value = zeroblob(length(value))")
    with open_sqlite(tmp_path / "a.db", read_only=True) as store, pytest.raises(StoreError, match="damaged") as error:
        back_up(store, tmp_path / "backup.db")
    assert error.value.hint
    assert not list(tmp_path.glob("backup*"))


def test_replicas_in_memory_and_readers_can_be_backed_up(tmp_path: Path) -> None:
    with memory(1) as replica:
        replica.create(Task, title="a")
        replica.backup(tmp_path / "backup.db")
    with Replica.open(tmp_path / "backup.db", [Task], read_only=True, state_dir=tmp_path / "state") as reader:
        reader.backup(tmp_path / "again.db")
    with on_disk(tmp_path, name="again.db") as again:
        assert titles(again) == ["a"]


def put_back(place: Path, backup: Path) -> Path | None:
    return Replica.put_back(place / "a.db", backup, state_dir=place / "state").replaced


@pytest.mark.parametrize("state", ["there", "gone", "damaged", "no store"])
def test_a_backup_is_put_in_the_place_of_its_store(tmp_path: Path, state: str) -> None:
    backup = tmp_path / "backup.db"
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="before")
        replica.backup(backup)
        replica.create(Task, title="after")
    content = (tmp_path / "a.db").read_bytes()
    if state == "gone":
        (tmp_path / "a.db").unlink()
    elif state != "there":
        content = content[:6_000] if state == "damaged" else b"no store at all"
        (tmp_path / "a.db").write_bytes(content)
    replaced = put_back(tmp_path, backup)
    assert replaced == (None if state == "gone" else tmp_path / "a.db.replaced-1")
    assert replaced is None or replaced.read_bytes() == content
    assert backup.exists()
    with on_disk(tmp_path, seed=1) as again:
        identity = state_of(again).identity
        assert identity is not None
        assert identity.reason == "restored or rebuilt"
        assert titles(again) == ["before"]
        assert again.check().ok


@pytest.mark.parametrize("is_there", [True, False])
def test_a_backup_of_another_store_is_refused(tmp_path: Path, is_there: bool) -> None:  # pytest's
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="mine")
    with on_disk(tmp_path, seed=1, name="b.db", state="other") as other:
        other.backup(tmp_path / "other-backup.db")
    content = (tmp_path / "a.db").read_bytes()
    if not is_there:
        (tmp_path / "a.db").unlink()
    with pytest.raises(StoreError, match="another store") as caught:
        put_back(tmp_path, tmp_path / "other-backup.db")
    assert caught.value.hint
    assert (tmp_path / "a.db").exists() == is_there
    assert not is_there or (tmp_path / "a.db").read_bytes() == content
    assert not list(tmp_path.glob("*.re*"))


def copied(place: Path, to: Path) -> Path:
    """A store with the files beside it, as a person copies a folder."""
    to.mkdir()
    for path in place.glob("a.db*"):
        shutil.copy(path, to)
    return to / "a.db"


def test_a_copy_is_put_back_with_the_log_beside_it(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        for number in range(300):
            replica.create(Task, title=f"{number:03}")
        copy = copied(tmp_path, tmp_path / "copy")  # what a process that was killed leaves
    given = {path.name: path.read_bytes() for path in copy.parent.iterdir() if not path.name.endswith("-shm")}
    assert given["a.db-wal"]
    for path in tmp_path.glob("a.db*"):
        path.unlink()
    put_back(tmp_path, copy)
    assert {path.name: path.read_bytes() for path in copy.parent.iterdir() if not path.name.endswith("-shm")} == given
    assert {path.name for path in tmp_path.glob("a.db*")} <= {"a.db", "a.db.lock"}
    with on_disk(tmp_path, seed=1) as again:
        assert titles(again) == [f"{number:03}" for number in range(300)]
        assert again.check().ok


def test_a_store_in_use_is_no_backup(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="mine")
        with pytest.raises(StoreInUseError, match="in use") as caught:
            Replica.put_back(tmp_path / "b.db", tmp_path / "a.db", state_dir=tmp_path / "state")
        assert "backup" in caught.value.hint
        replica.create(Task, title="and this")
    assert not list(tmp_path.glob("b.db*"))
    put_back(tmp_path, tmp_path / "a.db")  # itself: nothing is lost
    with on_disk(tmp_path, seed=1) as again:
        assert titles(again) == ["and this", "mine"]


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="mine")
        replica.backup(tmp_path / "damaged.db")
        with pytest.raises(StoreInUseError):
            put_back(tmp_path, tmp_path / "damaged.db")
    with closing(sqlite3.connect(tmp_path / "damaged.db")) as raw, raw:
        raw.execute("UPDATE _crdt_log SET value = zeroblob(length(value))")
    (tmp_path / "text").write_text("no store")
    for name, error in (("damaged.db", CorruptStoreError), ("text", NotAStoreError), ("none", StoreNotFoundError)):
        with pytest.raises(error) as caught:
            put_back(tmp_path, tmp_path / name)
        assert caught.value.hint
    with on_disk(tmp_path, seed=1) as replica:
        assert titles(replica) == ["mine"]
