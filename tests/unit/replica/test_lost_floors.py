"""Where a compacted store lost the row that tells up to where an author was folded, it can sync after a repair."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.core.ids import DocumentKey
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import split_chain_key
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Person, Task, on_disk, state_of
from tests.unit.replica.test_repair import repaired


def opened(place: Path, seed: int = 3) -> Replica:
    return on_disk(place, seed=seed)


def peer(place: Path, seed: int = 4) -> Replica:
    return on_disk(place, seed=seed, name="b.db", state="other")


def sync(one: Replica, two: Replica) -> None:
    for _ in range(2):
        exchange(one, two)
    report = exchange(one, two)
    assert report.proven_equal, (report.left_end, report.right_end)


def shown(replica: Replica) -> dict[str, dict[str, object]]:
    return {item.id: item.model_dump() for model in (Task, Person) for item in replica.find(model)}


def make(place: Path, *, retention_s: int | None, both: bool, later: bool) -> None:
    with opened(place, 1) as one, peer(place, 2) as two:
        task = one.create(Task, title="a", notes="hello", tags=["x"])
        task.title = "b"
        task.notes.insert(2, "zz")
        task.notes.delete(1, 2)
        task.votes.increment(2)
        task.due = date(2026, 1, 1)
        one.create(Person, email="a@b", name="Ada")
        one.delete(one.create(Task, title="gone"))
        two.create(Task, title="c")
        for _ in range(3):
            assert exchange(one, two).proven_equal
        two.get(Task, task.id).notes.append("two")
        for _ in range(3):
            assert exchange(one, two).proven_equal
        one.compact(retention_s=retention_s)
        if both:
            two.compact(retention_s=retention_s)
        if later:
            assert exchange(one, two).proven_equal
            one.get(Task, task.id).title = "after the compaction"
            two.get(Task, task.id).title = "and there"
            assert exchange(one, two).proven_equal
        assert state_of(one).store.count(Table.BASE)


def damage(place: Path, how: str) -> None:
    with closing(sqlite3.connect(place / "a.db")) as raw, raw:
        match how:
            case "bit":
                query = 'UPDATE "_crdt_chain" SET value = zeroblob(length(value)) WHERE key = ({})'
            case "row":
                query = 'DELETE FROM "_crdt_chain" WHERE key = ({})'
            case _:
                query = 'DELETE FROM "_crdt_chain"'
        raw.execute(query.format('SELECT min(key) FROM "_crdt_chain"'))


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("retention_s", [None, 0])
@pytest.mark.parametrize("how", ["bit", "row", "all rows"])
def test_a_store_without_a_floor_syncs_after_a_repair(
    tmp_path: Path, how: str, retention_s: int | None, both: bool, later: bool
) -> None:
    make(tmp_path, retention_s=retention_s, both=both, later=later)
    with opened(tmp_path) as one:
        before = shown(one)
    damage(tmp_path, how)
    report = repaired(tmp_path)
    assert report.after.ok, report.after.listed
    assert not report.lost
    assert report.missing
    with opened(tmp_path) as one, peer(tmp_path) as two:
        assert shown(one) == before
        assert not one.safe_to_wipe()
        for replica in (one, two):
            replica.create(Task, title="new")
        for task in one.find(Task):
            task.notes.append("!")
        sync(one, two)
        assert shown(one) == shown(two)
        assert one.check().ok
        assert two.check().ok
        assert one.safe_to_wipe()
        for replica in (one, two):
            replica.compact(retention_s=0)
        assert exchange(one, two).proven_equal
        assert one.check().ok
    with on_disk(tmp_path, seed=5, name="c.db", state="third") as three, opened(tmp_path, 6) as one:
        sync(three, one)
        assert shown(three) == shown(one)


def test_a_check_tells_of_entries_that_are_in_documents_and_not_held(tmp_path: Path) -> None:
    """As a repair once left it: nothing else is wrong."""
    make(tmp_path, retention_s=None, both=False, later=False)
    with open_sqlite(tmp_path / "a.db") as store:
        key = next(key for key, _ in store.scan(Table.CHAIN))
        with store.transaction():
            store.delete(Table.CHAIN, key)
        found = check_store(store)
    assert {finding.reason.split(" ", 2)[2] for finding in found.listed} >= {
        f"of author {split_chain_key(key)[1]} was folded into it, and is not held"
    }
    assert repaired(tmp_path).after.ok
    with opened(tmp_path) as one, peer(tmp_path) as two:
        exchange(one, two)
        assert exchange(one, two).proven_equal


def test_a_store_without_a_floor_can_be_the_source_of_a_new_one(tmp_path: Path) -> None:
    make(tmp_path, retention_s=None, both=False, later=False)
    damage(tmp_path, "row")
    repaired(tmp_path)
    with opened(tmp_path) as one, on_disk(tmp_path, seed=5, name="c.db", state="third") as three:
        ends = state_of(one).ledger.heads[""]
        for key, _ in state_of(one).store.scan(Table.BASE):
            touched = touched_by_base(state_of(one).store, DocumentKey(key))
            touched.pop(CONTENT_AUTHOR, None)
            assert all(author in ends and sequence <= ends[author].sequence for author, sequence in touched.items())
        sync(three, one)
        assert shown(three) == shown(one)
