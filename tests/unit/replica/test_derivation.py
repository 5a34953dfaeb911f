"""Derived state: large documents are not rewritten by a keystroke, caches are bounded, derivation can be repeated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.core.model import document_key_of
from crdt_sync.errors import CorruptStoreError, RecordNotFoundError
from crdt_sync.replica import documents
from crdt_sync.replica.derive import derive_marked
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Dice, Task, memory, on_disk, picture, state_of, store_of

LARGE_CHARS = 300_000


class Written:
    """Counts the bytes that go into each table of a store."""

    def __init__(self, replica: Replica, patch: pytest.MonkeyPatch) -> None:
        self.bytes: dict[Table, int] = {}
        store = store_of(replica)
        put, put_many = store.put, store.put_many

        def counted_put(table: Table, key: bytes, value: bytes) -> None:
            self._count(table, [(key, value)])
            put(table, key, value)

        def counted_put_many(table: Table, items: Iterable[tuple[bytes, bytes]]) -> None:
            rows = list(items)
            self._count(table, rows)
            put_many(table, rows)

        patch.setattr(store, "put", counted_put)
        patch.setattr(store, "put_many", counted_put_many)

    def _count(self, table: Table, rows: list[tuple[bytes, bytes]]) -> None:
        self.bytes[table] = self.bytes.get(table, 0) + sum(len(key) + len(value) for key, value in rows)

    def of(self, table: Table) -> int:
        return self.bytes.get(table, 0)


@pytest.fixture
def large(replica: Replica) -> Task:
    task = replica.create(Task, title="t")
    for start in range(0, LARGE_CHARS, 100_000):
        task.notes.append(f"{start:06d}" + "né😀 " * 20_000 + "." * 19_994)
    replica.find(Task, notes__contains="x")
    return task


def test_a_keystroke_in_a_large_text_writes_no_document(
    replica: Replica, large: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(replica, monkeypatch)
    for number in range(50):
        large.notes.insert(150_000 + number, "k")
    assert written.of(Table.DOCUMENT) == 0
    assert written.of(Table.LOG) < 50 * 400
    assert sum(written.bytes.values()) < 50 * 1_000
    assert str(large.notes)[150_000:150_050] == "k" * 50


def test_keystrokes_are_in_the_table_when_it_is_asked_for_texts(
    replica: Replica, large: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    large.notes.insert(0, "needle")
    written = Written(replica, monkeypatch)
    assert replica.find(Task, notes__contains="needle") == [large]
    assert written.of(Table.DOCUMENT) == 0, "the table's row and the version are brought up to date, not the snapshot"
    assert store_of(replica).count(Table.DIRTY) == 0


def test_another_field_of_a_large_record_is_in_the_table_at_once(replica: Replica, large: Task) -> None:
    large.notes.insert(0, "k")
    large.title = "found"
    assert replica.find(Task, title="found") == [large]


def test_a_large_record_is_still_found_that_was_found_between_two_keystrokes(replica: Replica, large: Task) -> None:
    with replica.transaction():
        large.notes.insert(0, "k")
        assert replica.find(Task) == [large]
        large.notes.insert(0, "k")
    assert replica.find(Task) == [large]


def test_tables_lag_by_a_second_at_the_most(large: Task, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(replica)
    large.notes.insert(0, "k")
    now = state.now_ms()
    monkeypatch.setattr(state, "now_ms", lambda: now + 2_000)
    replica.find(Task, title="t")
    assert store_of(replica).count(Table.DIRTY) == 0


def test_a_clean_close_leaves_the_file_current(tmp_path: Path) -> None:
    with on_disk(tmp_path) as replica:
        task = replica.create(Task, title="t", notes="x" * 50_000)
        task.notes.append("end")
        before = dict(replica._state.store.scan(Table.DIRTY))
        assert len(before) == 1
    with sqlite3.connect(tmp_path / "a.db") as plain:
        ((notes,),) = plain.execute("SELECT notes FROM Task").fetchall()
    plain.close()
    assert notes.endswith("xend")


def test_a_long_tail_is_folded(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "TAIL_UPDATES_MAX", 20)
    task = replica.create(Task, notes="x" * 20_000)
    written = Written(replica, monkeypatch)
    for _ in range(60):
        task.notes.append("y" * 500)
        replica.find(Task, notes__contains="y")
    folds = written.of(Table.DOCUMENT) / 35_000
    assert 1 <= folds <= 6
    (loaded,) = (item for key, item in state_of(replica).documents._held.items())
    assert len(loaded.tail) < 60


def test_folding_by_hand_changes_no_content(replica: Replica, large: Task) -> None:
    large.notes.insert(5, "k")
    before, text = replica.port.fingerprint(""), str(large.notes)
    large.notes.insert(5, "k")
    large.notes.delete(5)
    derive_marked(state_of(replica), texts_too=True, fold=True)
    state_of(replica).documents.clear()
    assert str(large.notes) == text
    assert replica.port.fingerprint("") != before


def test_documents_in_memory_are_bounded(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CACHED_DOCUMENTS_MAX", 10)
    tasks = [replica.create(Task, title=str(number)) for number in range(30)]
    held = state_of(replica).documents._held
    assert len(held) <= 10
    for task in tasks:
        _ = task.title
    replica.conflicts()
    tasks[0].title = "again"
    assert len(held) <= 10
    assert [task.title for task in tasks[1:]] == [str(number) for number in range(1, 30)]


def test_reading_many_records_keeps_memory_bounded(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [replica.create(Task, title=str(number)) for number in range(30)]
    monkeypatch.setattr(documents, "CACHED_DOCUMENTS_MAX", 10)
    held = state_of(replica).documents._held
    held.clear()
    for task in tasks:
        _ = task.title
    assert len(held) <= 11


def test_large_documents_in_memory_are_bounded_by_bytes(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CACHED_BYTES_MAX", 100_000)
    tasks = [replica.create(Task, notes="x" * 30_000) for _ in range(10)]
    for task in tasks:
        task.notes.append("y")
    held = state_of(replica).documents._held
    assert sum(loaded.size for loaded in held.values()) <= 130_000
    assert all(str(task.notes) == "x" * 30_000 + "y" for task in tasks)


def test_rederiving_from_the_log_gives_the_same(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    task = left.create(Task, title="t", notes="n" * 20_000, tags=["a"])
    exchange(left, right)
    right.get(Task, task.id).notes.append("r")
    task.notes.append("l")
    left.update(task, due="2025-01-01")
    right.update(right.get(Task, task.id), due="2025-01-02")
    assert exchange(left, right).proven_equal
    state_of(left).documents.clear()
    before = picture(left)
    left.port.rederive([key for key, _ in left.port.listing("", after=None, limit=10)])
    after = picture(left)
    assert after["rows"] == before["rows"]
    for table in ("VERSION", "CONFLICT", "LOG"):
        assert after[table] == before[table]


def test_a_failed_derivation_is_made_up_for(replica: Replica, large: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    large.notes.append("needle")

    def fail(*args: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(store_of(replica), "put_rows", fail)
        with pytest.raises(OSError):  # noqa: PT011  ours
            replica.find(Task, notes__contains="needle")
    assert replica.find(Task, notes__contains="needle") == [large]


def test_the_same_dice_make_the_same_store() -> None:
    pictures = []
    for _ in range(2):
        with memory(dice=Dice(3)) as replica:
            task = replica.create(Task, title="t", notes="n", tags=["b", "a", "c"], extra={"b": 1, "a": 2})
            task.notes.replace("other")
            pictures.append(picture(replica))
    assert pictures[0] == pictures[1]


def lose(replica: Replica, task: Task) -> None:
    """What a foreign tool does that deletes a document's row."""
    with store_of(replica).transaction():
        store_of(replica).delete(Table.DOCUMENT, document_key_of(task))
    state_of(replica).documents.clear()


def test_a_lost_document_is_read_from_the_log(pair: tuple[Replica, Replica], caplog: pytest.LogCaptureFixture) -> None:
    left, right = pair
    task = left.create(Task, title="a", notes="n", due=date(2025, 1, 1))
    exchange(left, right)
    task.due = date(2025, 1, 2)
    right.get(Task, task.id).due = date(2025, 1, 3)
    exchange(left, right)
    before = (task.model_dump(), left.conflicts(), list(left.history(task)))
    lose(left, task)
    assert left.get(Task, task.id) == task
    assert (task.model_dump(), left.conflicts(), list(left.history(task))) == before
    assert "is read from the log" in caplog.text
    seen: list[str] = []
    left.observe(lambda change: seen.append(change.type))
    task.notes.append("!")
    assert seen == ["update"]
    assert store_of(left).get(Table.DOCUMENT, document_key_of(task)) is not None
    assert exchange(left, right).proven_equal


def test_runs_for_lost_documents_are_taken_in(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    tasks = [left.create(Task, title=f"{number}") for number in range(6)]
    exchange(left, right)
    for task in tasks:
        lose(right, task)
    with left.transaction():
        for task in tasks:
            task.title += "!"
    assert exchange(left, right).proven_equal
    assert [right.get(Task, task.id).title for task in tasks] == [task.title for task in tasks]
    (key,) = {document_key_of(task) for task in tasks[:1]}
    assert store_of(right).get(Table.DOCUMENT, key) is not None


def test_a_lost_deleted_document_stays_deleted(replica: Replica) -> None:
    task = replica.create(Task, title="a")
    replica.delete(task)
    lose(replica, task)
    with pytest.raises(RecordNotFoundError, match="deleted"):
        replica.get(Task, task.id)
    assert replica.restore(Task, task.id).title == "a"


def test_a_history_with_a_missing_touch_row_says_that_the_store_is_damaged(replica: Replica) -> None:
    task = replica.create(Task, title="a")
    task.title = "b"
    task.title = "c"
    key = document_key_of(task)
    rows = [name for name, _ in store_of(replica).scan(Table.TOUCH) if name.startswith(key)]
    with store_of(replica).transaction():
        store_of(replica).delete_many(Table.TOUCH, rows[1:2])
    with pytest.raises(CorruptStoreError) as error:
        list(replica.history(task))
    assert error.value.hint
    assert replica.get(Task, task.id).title == "c"
