"""How current the tables are for other readers of the file: any call brings them up to date, at most once a second."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.errors import StoreFullError
from crdt_sync.replica import upkeep
from crdt_sync.storage.base import Table
from tests.unit.replica.devices import Dice, Task, memory, on_disk, store_of

LARGE = "x" * 40_000
CALLS: dict[str, Callable[[Replica, Task], object]] = {
    "get": lambda replica, task: replica.get(Task, task.id),
    "read": lambda replica, task: task.title,
    "write": lambda replica, task: task.notes.append("more"),
    "pending": lambda replica, task: replica.pending_count(),
    "create": lambda replica, task: replica.create(Task),
    "local": lambda replica, task: replica.local.load("anything"),
    "by itself": lambda replica, task: replica.bring_up_to_date(),
}


def view(place: Path) -> str:
    """By the library that has the store open: a second one in the process lets go of the locks of the first."""
    with closing(apsw.Connection(str(place / "a.db"), flags=apsw.SQLITE_OPEN_READONLY)) as other:
        ((notes,),) = other.execute("SELECT notes FROM Task WHERE length(notes) > 9").fetchall()
    return str(notes).rstrip("x")


@pytest.mark.parametrize("name", CALLS)
def test_any_call_brings_large_texts_up_to_date_if_the_last_time_is_a_second_ago(tmp_path: Path, name: str) -> None:
    dice = Dice(step_ms=0)
    state = tmp_path / "state"
    with Replica.open(tmp_path / "a.db", [Task], state_dir=state, sources=dice.sources) as replica:
        task = replica.create(Task, notes=LARGE)
        replica.find(Task, notes__contains="x")
        task.notes.insert(0, "one")
        dice.now_ms += 999
        CALLS[name](replica, task)
        assert view(tmp_path) == ""
        dice.now_ms += 1
        CALLS[name](replica, task)
        assert view(tmp_path).startswith("one")


def test_nothing_is_derived_amid_a_transaction() -> None:
    dice = Dice(step_ms=0)
    with memory(dice=dice) as replica:
        task = replica.create(Task, notes=LARGE)
        replica.find(Task, notes__contains="x")
        task.notes.insert(0, "one")
        with replica.transaction():
            dice.now_ms += 1_000
            replica.bring_up_to_date()
            assert store_of(replica).count(Table.DIRTY) == 1
        replica.bring_up_to_date()
        assert store_of(replica).count(Table.DIRTY) == 0


def test_a_clock_that_goes_back_puts_nothing_off() -> None:
    dice = Dice(step_ms=0)
    with memory(dice=dice) as replica:
        task = replica.create(Task, notes=LARGE)
        replica.find(Task, notes__contains="x")
        task.notes.insert(0, "one")
        dice.now_ms -= 3_600_000
        replica.bring_up_to_date()
        assert store_of(replica).count(Table.DIRTY) == 0


def test_what_fails_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise StoreFullError("no room")

    dice = Dice(step_ms=0)
    with memory(dice=dice) as replica:
        task = replica.create(Task, notes=LARGE)
        replica.find(Task, notes__contains="x")
        task.notes.insert(0, "one")
        dice.now_ms += 1_000
        with monkeypatch.context() as patch:
            patch.setattr(upkeep, "derive_marked", fail)
            assert task.title == ""
        assert 'could not be brought up to date reason="no room' in caplog.text
        dice.now_ms += 1_000
        assert task.title == ""
        assert store_of(replica).count(Table.DIRTY) == 0


def test_a_replica_that_only_reads_has_nothing_to_bring_up_to_date(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        replica.create(Task, notes=LARGE)
    with Replica.open(tmp_path / "a.db", [Task], read_only=True) as reader:
        reader.bring_up_to_date()
        assert reader.count(Task) == 1
