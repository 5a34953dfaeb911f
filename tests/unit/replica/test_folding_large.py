"""Folding of documents that are kept as snapshot and tail, and are small when they are folded."""

from __future__ import annotations

from pathlib import Path

from crdt_sync import Replica
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.documents import LARGE_BYTES
from tests.unit.replica.devices import Task, memory, on_disk, store_of, sync


def emptied(hub: Replica, desk: Replica) -> str:
    """A record of a long text that both emptied, and that the hub has written to since; its id."""
    task = hub.create(Task, notes="x" * 2 * LARGE_BYTES)
    sync(hub, desk)
    task.notes.replace("")
    sync(hub, desk)
    hub.get(Task, task.id).title = "late"  # the desk does not have this: it stays in the log
    hub.compact()
    return task.id


def test_what_stays_in_the_log_is_there_where_the_base_is_small() -> None:
    with memory(1) as hub, memory(2) as desk:
        name = emptied(hub, desk)
        assert hub.get(Task, name).title == "late"
        hub.get(Task, name).votes.increment(1)
        sync(hub, desk)
        assert (desk.get(Task, name).title, int(desk.get(Task, name).votes)) == ("late", 1)
        assert not list(hub.operations(status="failed"))
        assert check_store(store_of(hub)).listed == []


def test_it_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with memory(2) as desk:
        with on_disk(tmp_path, seed=1) as hub:
            name = emptied(hub, desk)
        with on_disk(tmp_path, seed=1) as hub:
            task = hub.get(Task, name)
            task.votes.increment(1)
            sync(hub, desk)
            assert (desk.get(Task, name).title, int(desk.get(Task, name).votes)) == ("late", 1)
