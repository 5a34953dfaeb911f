"""Stores of an earlier schema version: damaged, dry-run, and as backups."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.errors import StoreError, StoreVersionError
from crdt_sync.storage.base import Table
from crdt_sync.storage.migrations import SCHEMA_VERSION
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.sqlite_seals import SEALED
from tests.unit.replica.devices import Task, on_disk, state_of

AGO = 4
"""The last version without seals."""


def older(path: Path) -> Path:
    """Have a store be what a program of that version left."""
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute('DROP TABLE "_crdt_seal"')
        raw.pragma("user_version", AGO)
    return path


def lacking(place: Path, table: str) -> Path:
    with on_disk(place) as replica:
        replica.create(Task, title="one")
    with closing(apsw.Connection(str(older(place / "a.db")))) as raw:
        raw.execute(f'DROP TABLE "_crdt_{table}"')
    return place / "a.db"


def content(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.glob("a.db*") if path.suffix != ".lock"}


def version_of(path: Path) -> int:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as raw:
        found: int = raw.pragma("user_version")
        return found


@pytest.mark.parametrize("table", [*map(str, Table), "view"])
def test_one_that_lacks_a_table_is_repaired(tmp_path: Path, table: str) -> None:
    path, state = lacking(tmp_path, table), tmp_path / "state"
    before = content(tmp_path)
    dry = Replica.repair(path, state_dir=state, dry_run=True)
    assert dry.after.ok
    assert f"table {table}" in {item.where for item in dry.before.listed}
    assert content(tmp_path) == before
    assert Replica.repair(path, state_dir=state).changed
    assert content(tmp_path)["a.db.damaged-1"] == before["a.db"]
    with on_disk(tmp_path, seed=3) as replica:
        assert replica.check().ok
        assert [task.title for task in replica.find(Task)] == ["one"]


@pytest.mark.parametrize("table", sorted(SEALED))
def test_one_that_lacks_a_table_is_upgraded_and_says_so(tmp_path: Path, table: str) -> None:
    with open_sqlite(lacking(tmp_path, table)) as store:
        assert store.schema_version == SCHEMA_VERSION
        assert (table, "the table is gone") in {(item.table, item.reason) for item in store.check()}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_sound_one_is_left_as_it_is_by_a_repair(tmp_path: Path, dry_run: bool) -> None:  # pytest's
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="one")
    path = older(tmp_path / "a.db")
    before = content(tmp_path)
    assert not Replica.repair(path, state_dir=tmp_path / "state", dry_run=dry_run).changed
    assert content(tmp_path) == before


@pytest.mark.parametrize("there", ["newer", "older", "gone"])
def test_a_backup_is_put_back_and_stays_as_it_is(tmp_path: Path, there: str) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="before")
        replica.backup(tmp_path / "backup.db")
        replica.create(Task, title="after")
        identity = state_of(replica).identity
    backup = older(tmp_path / "backup.db")
    given = backup.read_bytes()
    if there == "older":
        older(tmp_path / "a.db")
    elif there == "gone":
        (tmp_path / "a.db").unlink()
    Replica.put_back(tmp_path / "a.db", backup, state_dir=tmp_path / "state")
    assert backup.read_bytes() == given
    with on_disk(tmp_path, seed=1) as again:
        assert [task.title for task in again.find(Task)] == ["before"]
        now = state_of(again).identity
        assert identity is not None
        assert now is not None
        assert (now.replica_id, now.reason) == (identity.replica_id, "restored or rebuilt")
        assert again.check().ok


def test_a_backup_of_another_store_is_refused_though_both_are_older_and_no_fence_is_there(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="mine")
    with on_disk(tmp_path, name="b.db", seed=2) as other:
        other.backup(tmp_path / "backup.db")
    older(tmp_path / "a.db")
    older(tmp_path / "backup.db")
    with pytest.raises(StoreError, match="another store"):
        Replica.put_back(tmp_path / "a.db", tmp_path / "backup.db", state_dir=tmp_path / "none")
    assert version_of(tmp_path / "a.db") == AGO


def test_who_only_reads_a_backup_is_not_told_to_open_it(tmp_path: Path) -> None:
    """Opened, it would be another replica."""
    with on_disk(tmp_path) as replica:
        replica.backup(tmp_path / "backup.db")
    with pytest.raises(StoreVersionError) as caught:
        open_sqlite(older(tmp_path / "backup.db"), read_only=True)
    assert "put-back" in caught.value.hint
