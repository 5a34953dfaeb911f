"""What a SQLite store does when its medium, or its process, fails."""

# ruff: noqa: PT012  # a transaction that ends in an error is the single statement, however much is in it

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from crdt_sync.errors import CorruptStoreError, StoreError, StoreFullError, TransactionError
from crdt_sync.storage.base import Column, ColumnKind, Durability, Filter, FilterOp, Query, Table, View
from crdt_sync.storage.sqlite import SqliteStore, open_sqlite

ROWS = [(b"key %03d" % number, b"value %03d " % number * 20) for number in range(300)]


def fill(path: Path) -> None:
    with open_sqlite(path, create=True) as store, store.transaction():
        store.put_many(Table.LOG, ROWS)


def flip(path: Path, *, within: bytes, offset: int = 0) -> None:
    """Flip one bit of a passage that stands in the file once."""
    content = bytearray(path.read_bytes())
    assert content.count(within) == 1
    content[content.index(within) + offset] ^= 4
    path.write_bytes(content)


# -------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("offset", [0, 100, 199])
def test_a_flipped_bit_in_a_value_is_noticed(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "store"
    fill(path)
    key, value = ROWS[137]
    flip(path, within=value, offset=offset)
    with open_sqlite(path) as store:
        with pytest.raises(CorruptStoreError) as caught:
            store.get(Table.LOG, key)
        assert (caught.value.table, caught.value.key) == ("log", key)
        assert store.get(Table.LOG, ROWS[136][0]) == ROWS[136][1]
        for reverse, before in ((False, ROWS[:137]), (True, ROWS[:137:-1])):
            seen: list[tuple[bytes, bytes]] = []
            with pytest.raises(CorruptStoreError) as caught:
                for row in store.scan(Table.LOG, reverse=reverse):
                    seen.append(row)  # noqa: PERF402  # extend would lose what came before the error
            assert caught.value.key == key
            assert seen == before
        assert [(damage.table, damage.key) for damage in store.check()] == [("log", key)]
        assert store._connection.pragma("integrity_check") == "ok"  # SQLite alone does not see it


def test_a_flipped_bit_in_a_checksum_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with sqlite3.connect(path) as connection:
        (kept,) = connection.execute('SELECT sum FROM "_crdt_log" WHERE key = ?', (ROWS[5][0],)).fetchone()
    connection.close()
    flip(path, within=kept)
    with open_sqlite(path) as store:
        assert [damage.key for damage in store.check()] == [ROWS[5][0]]


def test_a_damaged_row_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    flip(path, within=ROWS[7][1])
    with open_sqlite(path) as store:
        with store.transaction():
            with pytest.raises(CorruptStoreError):
                store.get(Table.LOG, ROWS[7][0])
            store.put(Table.LOG, *ROWS[7])
        assert list(store.scan(Table.LOG)) == ROWS
        assert list(store.check()) == []


def test_bytes_that_damage_made_a_text_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE \"_crdt_log\" SET value = CAST(x'ff00fe' AS TEXT) WHERE key = ?", (ROWS[0][0],))
    connection.close()
    with open_sqlite(path) as store:
        with pytest.raises(CorruptStoreError):
            store.get(Table.LOG, ROWS[0][0])
        with pytest.raises(CorruptStoreError):
            list(store.scan(Table.LOG))
        assert [damage.table for damage in store.check()][:1] == ["log"]


@pytest.mark.parametrize("value", ["text", 5, 1.5])
def test_a_value_of_another_type_is_damage(tmp_path: Path, value: object) -> None:
    path = tmp_path / "store"
    fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute('UPDATE "_crdt_log" SET value = ? WHERE key = ?', (value, ROWS[0][0]))
    connection.close()
    with open_sqlite(path) as store:
        with pytest.raises(CorruptStoreError):
            store.get(Table.LOG, ROWS[0][0])
        with pytest.raises(CorruptStoreError):
            list(store.scan(Table.LOG))
        assert [damage.key for damage in store.check()] == [ROWS[0][0]]


def test_a_damaged_definition_of_a_view_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_sqlite(path, create=True) as store, store.transaction():
        store.define_view(View(name="Note", columns=(Column(name="title", kind=ColumnKind.DECIMAL),)))
    flip(path, within=b'"decimal"', offset=2)
    with open_sqlite(path) as store:
        with pytest.raises(CorruptStoreError):
            store.views()
        with pytest.raises(CorruptStoreError):
            store.query(Query(view="Note"))
        assert [(damage.table, damage.key) for damage in store.check()] == [("view", b"Note")]


@pytest.mark.parametrize(
    ("column", "cell"), [("json", "no json"), ("json", b"\xff"), ("decimal", "no number"), ("decimal", b"\xff")]
)
def test_a_view_that_something_else_wrote_into_is_damage(tmp_path: Path, column: str, cell: str | bytes) -> None:
    path = tmp_path / "store"
    columns = (Column(name="json", kind=ColumnKind.JSON), Column(name="decimal", kind=ColumnKind.DECIMAL))
    with open_sqlite(path, create=True) as store, store.transaction():
        store.define_view(View(name="Note", columns=columns))
        store.put_rows("Note", [("a", None, None)])
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE Note SET {column} = CAST(? AS TEXT)", (cell,))  # noqa: S608  # a name from above
    connection.close()
    contains = Filter(column="json", op=FilterOp.CONTAINS, value=1)
    equals = Filter(column="decimal", op=FilterOp.EQ, value=1)
    with open_sqlite(path) as store:
        with pytest.raises(CorruptStoreError) as caught:
            store.query(Query(view="Note", filters=(contains if column == "json" else equals,)))
        assert caught.value.table == "Note"


def test_lost_pages_are_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    sound = path.read_bytes()
    page_bytes = int.from_bytes(sound[16:18], "big")
    outcomes = set()
    for page in range(1, len(sound) // page_bytes):
        for filler in (b"\x00", b"\xff"):
            start = page * page_bytes
            path.write_bytes(sound[:start] + filler * page_bytes + sound[start + page_bytes :])
            try:
                with open_sqlite(path) as store:
                    damage = list(store.check())
                    outcomes.add(bool(damage))
                    assert all(row in ROWS for row in _readable(store))
            except CorruptStoreError:
                outcomes.add(True)
    assert True in outcomes


def _readable(store: SqliteStore) -> list[tuple[bytes, bytes]]:
    rows = []
    for key, _ in ROWS:
        try:
            value = store.get(Table.LOG, key)
        except CorruptStoreError:
            continue  # told of, which is what is asked
        if value is not None:
            rows.append((key, value))
    return rows


# ----------------------------------------------------------------------------------------------------------- full disk


def test_a_full_disk_rolls_back_the_whole_transaction(tmp_path: Path) -> None:
    path = tmp_path / "store"
    fill(path)
    with open_sqlite(path) as store:
        pages = store._connection.pragma("page_count")
        store._connection.pragma("max_page_count", pages + 5)
        with pytest.raises(StoreFullError), store.transaction():
            for number in range(1000):
                store.put(Table.META, b"%d" % number, bytes(1000))
        with pytest.raises(StoreFullError), store.transaction():
            store.put_many(Table.META, ((b"%d" % number, bytes(1000)) for number in range(1000)))
        assert store.count(Table.META) == 0
        assert list(store.scan(Table.LOG)) == ROWS
        store._connection.pragma("max_page_count", pages + 1000)
        with store.transaction():
            store.put(Table.META, b"key", bytes(100_000))
        assert list(store.check()) == []


def test_going_on_after_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    """SQLite may have rolled back by itself by then; what came after would be committed alone."""
    path = tmp_path / "store"
    fill(path)
    with open_sqlite(path) as store:
        store._connection.pragma("max_page_count", store._connection.pragma("page_count") + 2)
        with pytest.raises(TransactionError), store.transaction():
            store.put(Table.META, b"before", b"")
            with pytest.raises(StoreFullError):
                store.put(Table.META, b"large", bytes(100_000))
            with pytest.raises(TransactionError):
                store.put(Table.META, b"after", b"")
        assert store.count(Table.META) == 0
    with open_sqlite(path) as store:
        assert store.count(Table.META) == 0


LIMITED = """
import resource, sys
from crdt_sync.errors import StoreFullError
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite

def put(store):
    with store.transaction():
        if sys.argv[2] == "rows":
            store.put_many(Table.META, ((b"%d" % number, bytes(1000)) for number in range(20_000)))
        elif sys.argv[2] == "row":
            store.put(Table.META, b"large", bytes(20_000_000))
        else:
            store.put(Table.META, b"small", bytes(300_000))

with open_sqlite(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        put(store)
    except StoreFullError as error:
        print(error.hint)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(store.count(Table.META), len(list(store.check())))
    put(store)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
@pytest.mark.parametrize("written", ["rows", "row", "at the commit"])
def test_a_limit_of_the_system_is_a_full_disk_too(tmp_path: Path, written: str) -> None:
    """A quota, or the largest file that a process may have: SQLite calls these I/O errors."""
    path = tmp_path / "store"
    fill(path)
    command = [sys.executable, "-c", LIMITED, str(path), written]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [StoreFullError("").hint, "0 0"]


# ------------------------------------------------------------------------------------------------------- kill and power

WRITER = """
import sys
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite

store = open_sqlite(sys.argv[1], durability=sys.argv[2])
number = 0
while True:
    number += 1
    with store.transaction():
        for row in range(50):
            store.put(Table.LOG, b"%d" % row, b"%d" % number * 50)
            if row == 25:
                print("within", flush=True)
        store.put(Table.META, b"last", b"%d" % number)
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
@pytest.mark.parametrize("durability", ["full", "normal"])
@pytest.mark.parametrize("lines", [1, 2, 7, 30, 101])
def test_a_killed_process_leaves_whole_transactions(tmp_path: Path, lines: int, durability: Durability) -> None:
    path = tmp_path / "store"
    open_sqlite(path, create=True).close()
    command = [sys.executable, "-c", WRITER, str(path), durability]
    acknowledged = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            line = process.stdout.readline().strip()
            acknowledged = int(line) if line != "within" else acknowledged
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    acknowledged = max([acknowledged, *(int(line) for line in rest if line != "within")])
    with open_sqlite(path) as store:
        last = int(store.get(Table.META, b"last") or 0)
        assert acknowledged <= last <= acknowledged + 1
        values = {value for _, value in store.scan(Table.LOG)}
        assert values == ({b"%d" % last * 50} if last else set())
        assert list(store.check()) == []


class SyncedFiles(apsw.VFS):
    """A file system that knows what of each file would survive a power cut if nothing unsynced had reached the disk."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        self.images: dict[str, bytes] = {}
        super().__init__("synced", self.base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # apsw's
        return SyncedFile(self, name, flags)

    def after_power_cut(self, directory: Path) -> None:
        directory.mkdir()
        for name, content in self.images.items():
            if Path(name).parent == directory.parent:  # not what was made of an earlier cut
                (directory / Path(name).name).write_bytes(content)


class SyncedFile(apsw.VFSFile):
    def __init__(self, files: SyncedFiles, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._files = files
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__(files.base, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802  # apsw's
        super().xSync(flags)
        if self._path is not None and Path(self._path).exists():
            self._files.images[self._path] = Path(self._path).read_bytes()


@pytest.fixture
def synced_files() -> Iterator[SyncedFiles]:
    files = SyncedFiles()
    yield files
    files.unregister()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_power_cut_loses_nothing_that_is_durable(
    tmp_path: Path, synced_files: SyncedFiles, durability: Durability, seed: int
) -> None:
    generator = random.Random(seed)
    path = tmp_path / "store"
    store = open_sqlite(path, create=True, durability=durability)
    committed = durable = 0
    for round_ in range(40):
        for _ in range(generator.randrange(1, 4)):
            committed += 1
            with store.transaction():
                for row in range(10):
                    store.put(Table.LOG, b"%d" % row, b"%d " % committed * generator.randrange(1, 400))
                store.put(Table.META, b"last", b"%d" % committed)
            durable = committed if durability == "full" else durable
        if generator.random() < 0.5:
            store.flush()
            durable = committed
        images = tmp_path / f"cut {round_}"
        synced_files.after_power_cut(images)
        with open_sqlite(images / "store") as survivor:
            last = int(survivor.get(Table.META, b"last") or 0)
            assert durable <= last <= committed
            assert {value.split()[0] for _, value in survivor.scan(Table.LOG)} == ({b"%d" % last} if last else set())
            assert list(survivor.check()) == []
    store.close()


def test_flushing_twice_syncs_once(tmp_path: Path, synced_files: SyncedFiles) -> None:
    with open_sqlite(tmp_path / "store", create=True, durability="normal") as store:
        with store.transaction():
            store.put(Table.META, b"key", b"value")
        store.flush()
        synced_files.images.clear()
        store.flush()
        assert synced_files.images == {}
        with store.transaction():
            store.put(Table.META, b"key", b"other")
        assert synced_files.images == {}
        store.flush()
        assert [Path(name).name for name in synced_files.images] == ["store-wal"]


# -------------------------------------------------------------------------------------------------------------- backup


def test_a_backup_of_a_store_that_is_written_to_is_one_moment_of_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    open_sqlite(path, create=True).close()
    stop = threading.Event()

    def write() -> None:
        with open_sqlite(path, durability="normal", busy_timeout_ms=10_000) as store:
            number = 0
            while not stop.is_set():
                number += 1
                with store.transaction():
                    store.put_many(Table.LOG, [(b"%d" % row, b"%d" % number * 200) for row in range(200)])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with open_sqlite(path, read_only=True) as reader:
            for number in range(20):
                reader.backup(tmp_path / f"backup {number}")
    finally:
        stop.set()
        thread.join()
    assert list(tmp_path.glob("*.partial*")) == []
    for number in range(20):
        with open_sqlite(tmp_path / f"backup {number}", read_only=True) as copy:
            assert len({value for _, value in copy.scan(Table.LOG)}) <= 1
            assert list(copy.check()) == []


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    fill(path)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(target)

    monkeypatch.setattr(Path, "rename", refuse)
    with open_sqlite(path) as store, pytest.raises(StoreError) as caught:
        store.backup(tmp_path / "backup")
    assert caught.value.hint
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


# --------------------------------------------------------------------------------------------------------- other tools


def test_the_standard_module_reads_tables_and_views(tmp_path: Path) -> None:
    path = tmp_path / "store"
    view = View(
        name="Task",
        columns=(
            Column(name="title"),
            Column(name="number"),
            Column(name="price", kind=ColumnKind.DECIMAL),
            Column(name="tags", kind=ColumnKind.JSON),
        ),
        indexes=(("title",), ("price", "number")),
    )
    with open_sqlite(path, create=True) as store, store.transaction():
        store.put(Table.LOG, b"key", b"value")
        store.define_view(view)
        store.put_rows("Task", [("a", "ä", 2**70, "1.50", ["x", 1]), ("b", None, True, None, None)])
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute('SELECT key, value FROM "_crdt_log"').fetchall() == [(b"key", b"value")]
        assert connection.execute("SELECT * FROM Task ORDER BY price, number").fetchall() == [
            ("b", None, 1, None, None),
            ("a", "ä", str(2**70), "1.50", '["x",1]'),
        ]
        assert connection.execute("SELECT value FROM Task, json_each(tags) WHERE Task.id = 'a'").fetchall() == [
            ("x",),
            (1,),
        ]
        connection.execute("UPDATE Task SET title = 'other' WHERE id = 'a'")
    connection.close()


def test_indexes_serve_filters_and_orders(tmp_path: Path) -> None:
    view = View(name="Task", columns=(Column(name="done"), Column(name="due")), indexes=(("done", "due"),))
    with open_sqlite(tmp_path / "store", create=True) as store:
        with store.transaction():
            store.define_view(view)
        plan = store._connection.execute(
            'EXPLAIN QUERY PLAN SELECT "id" FROM "Task" WHERE ("done" = ?) ORDER BY "due", "id"', (1,)
        ).fetchall()
        assert len(plan) == 1  # no step that sorts
        assert "USING COVERING INDEX" in str(plan[0][3])
