"""The text by which SQLite knows the tables is damaged: the rows are all there, and a repair finds them."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.repairing import RepairReport
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.replica.devices import Task, on_disk

HEADER_BYTES = 100
CELLS = slice(105, 107)
"""Where the first page says where its rows begin."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with on_disk(tmp_path) as replica:
        replica.create(Task, title="one", notes="text", tags={"a"})
        replica.local.save("token", 1)
    return tmp_path


def altered(place: Path, before: str, after: str) -> None:
    """Replace bytes of the schema by as many others."""
    path = place / "a.db"
    data = path.read_bytes()
    assert len(before) == len(after)
    assert before.encode() in data
    path.write_bytes(data.replace(before.encode(), after.encode("latin-1"), 1))


def repaired(place: Path) -> RepairReport:
    report = Replica.repair(place / "a.db", state_dir=place / "state")
    assert report.changed
    assert report.after.ok
    assert not list(place.glob("*.repair*"))
    return report


def whole(place: Path) -> None:
    with on_disk(place, seed=3) as replica:
        (task,) = replica.find(Task)
        assert (task.title, str(task.notes), set(task.tags)) == ("one", "text", {"a"})
        assert replica.local.load("token") == 1
        assert replica.check().ok
        replica.create(Task, title="goes on")


@pytest.mark.parametrize("table", [*map(str, Table), "seal", "view"])
def test_a_text_that_is_no_sql(place: Path, table: str) -> None:
    altered(place, f'CREATE TABLE "_crdt_{table}"', f'CREATE UABLE "_crdt_{table}"')
    as_it_was = (place / "a.db").read_bytes()
    with pytest.raises(CorruptStoreError, match="schema") as caught:
        open_sqlite(place / "a.db", read_only=True)
    assert "repair" in caught.value.hint
    dry = Replica.repair(place / "a.db", state_dir=place / "state", dry_run=True)
    assert (dry.changed, dry.after.ok, dry.quarantined) == (False, True, 0)
    assert (place / "a.db").read_bytes() == as_it_was
    report = repaired(place)
    assert f"table {table}" in {item.where for item in report.before.listed}
    assert report.damaged is not None
    assert report.damaged.read_bytes() == as_it_was
    whole(place)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('TABLE "_crdt_log" (key', 'TABLE "_crdt_log" (kez'),
        ('TABLE "_crdt_local"', 'TABLE "_crdt_lobal"'),
        ("_crdt_record_crdt_record", "_crdt_rekord_crdt_record"),
        ("_crdt_record_crdt_record", "_crdt_record_crdt_rekord"),
        ("_crdt_record_crdt_record", "_crdt_xecord_crdt_xecord"),
        ("_crdt_base_crdt_base", "_crdt_b\xe9se_crdt_base"),
        ('CREATE TABLE "Task"', 'CREATE TABLF "Task"'),
    ],
)
def test_a_text_with_another_letter(place: Path, before: str, after: str) -> None:
    altered(place, before, after)
    try:
        with open_sqlite(place / "a.db", read_only=True) as store:
            assert not check_store(store).ok
    except CorruptStoreError as error:
        assert "repair" in error.hint  # noqa: PT017  either is right
    repaired(place)
    whole(place)


def test_with_a_log_beside_the_file_that_cannot_be_brought_in(place: Path) -> None:
    with on_disk(place, seed=2) as replica:
        replica.create(Task, title="in the log")
        saved = {name: (place / name).read_bytes() for name in ("a.db", "a.db-wal")}
    for name, content in saved.items():
        (place / name).write_bytes(content)
    altered(place, 'CREATE TABLE "_crdt_log"', 'CREATE UABLE "_crdt_log"')
    repaired(place)
    with on_disk(place, seed=3) as replica:
        assert sorted(task.title for task in replica.find(Task)) == ["in the log", "one"]
        assert replica.check().ok


def test_any_bit_of_the_schema(place: Path) -> None:
    """Most leave a store that a repair makes whole; of no other is anything changed."""
    path, dice = place / "a.db", random.Random(5)
    sound = path.read_bytes()
    begin = int.from_bytes(sound[CELLS], "big")
    with closing(apsw.Connection(str(path))) as raw:
        size: int = raw.pragma("page_size")
    ends: Counter[str] = Counter()
    for _ in range(60):
        for left in place.glob("a.db*"):
            left.unlink()
        data = bytearray(sound)
        data[dice.randrange(begin, size)] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        try:
            report = Replica.repair(path, state_dir=place / "state")
        except CorruptStoreError as error:
            assert "repair" not in error.hint  # noqa: PT017  either is right
            assert path.read_bytes() == data
            ends["refused"] += 1
        else:
            ends["mended" if report.changed else "left"] += 1
            assert report.after.ok
            with open_sqlite(path, read_only=True) as store:
                assert store.get(Table.LOCAL, b"token") is not None
    assert ends["mended"] > 4 * (ends["refused"] + ends["left"]), ends
