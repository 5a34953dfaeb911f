"""A table that is gone: a check names it; a repair makes it anew."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.replica.checking import check_store
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.replica.devices import Task, on_disk


@pytest.mark.parametrize("table", [*map(str, Table), "seal", "view"])
def test_a_table_that_is_gone_is_named_and_made_again(tmp_path: Path, table: str) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="one", notes="text")
    path = tmp_path / "a.db"
    with closing(apsw.Connection(str(path))) as raw:
        raw.execute(f'DROP TABLE "_crdt_{table}"')
    with open_sqlite(path, read_only=True) as store:
        found = check_store(store)
    assert [item.where for item in found.listed if item.reason == "the table is gone"] == [f"table {table}"]
    report = Replica.repair(path, state_dir=tmp_path / "state")
    assert report.changed
    assert report.after.ok
    with on_disk(tmp_path, seed=3) as replica:
        assert replica.check().ok
        assert [task.title for task in replica.find(Task)] == ["one"]
