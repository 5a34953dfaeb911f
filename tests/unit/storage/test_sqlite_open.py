"""Opening a file as a store, or refusing to and leaving everything as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from crdt_sync.errors import (
    NotAStoreError,
    StoreError,
    StoreFullError,
    StoreInUseError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreVersionError,
)
from crdt_sync.storage.base import Column, Filter, FilterOp, Query, Table, View
from crdt_sync.storage.migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, Migration
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.disks import Disk, Fault, Loss

Contents = dict[str, tuple[bytes, int]]


def snapshot(directory: Path) -> Contents:
    """Every file's bytes and time of change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir() if path.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store with one row, closed cleanly."""
    path = tmp_path / "store"
    with open_sqlite(path, create=True) as store, store.transaction():
        store.put(Table.META, b"key", b"value")
    return path


def write_text(path: Path) -> None:
    path.write_text("no store, but longer than the header of one " * 100)


def write_start_of_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00")


def write_other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()


def write_other_database_in_wal_mode(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA application_id = 7")
    connection.execute("CREATE TABLE precious (x)")
    connection.close()


def write_newer_version(path: Path) -> None:
    open_sqlite(path, create=True).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("write", "error"),
    [
        (write_text, NotAStoreError),
        (write_start_of_header, NotAStoreError),
        (write_other_database, NotAStoreError),
        (write_other_database_in_wal_mode, NotAStoreError),
        (write_newer_version, StoreVersionError),
        (Path.mkdir, NotAStoreError),
    ],
)
def test_what_is_no_store_of_ours_is_left_as_it_is(
    tmp_path: Path, write: Callable[[Path], None], error: type[StoreError], create: bool, read_only: bool
) -> None:
    path = tmp_path / "store"
    write(path)
    before = snapshot(tmp_path)
    with pytest.raises(error) as caught:
        open_sqlite(path, create=create, read_only=read_only)
    assert caught.value.hint
    assert str(path) in str(caught.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "create", "read_only"),
    [("store", False, False), ("store", False, True), ("store", True, True), ("missing/store", True, False)],
)
def test_nothing_is_made_where_no_store_is(tmp_path: Path, name: str, create: bool, read_only: bool) -> None:
    with pytest.raises(StoreNotFoundError):
        open_sqlite(tmp_path / name, create=create, read_only=read_only)
    assert snapshot(tmp_path) == {}


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(StoreNotFoundError):
        open_sqlite(tmp_path / "file" / "store", create=True)


def test_an_empty_file_becomes_a_store_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.touch()
    for create, read_only in ((False, False), (False, True), (True, True)):
        with pytest.raises(StoreNotFoundError, match="empty") as caught:
            open_sqlite(path, create=create, read_only=read_only)
        assert "for writing" in caught.value.hint
    assert path.read_bytes() == b""
    with open_sqlite(path, create=True) as store:
        assert store.schema_version == SCHEMA_VERSION


def test_create_opens_a_store_that_exists(made: Path) -> None:
    with open_sqlite(made, create=True) as store:
        assert store.get(Table.META, b"key") == b"value"
        assert repr(store) == f"<SqliteStore {made} open, durability full, schema {SCHEMA_VERSION}>"


@pytest.mark.parametrize("name", ["with space", "per%cent", "ques?tion", "ha#sh", "Größe", "semi;colon", "quo'te"])
def test_any_name_can_be_a_store(tmp_path: Path, name: str) -> None:
    with open_sqlite(tmp_path / name, create=True) as store, store.transaction():
        store.put(Table.META, b"key", b"value")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with open_sqlite(str(tmp_path / name), read_only=True) as store:
        assert store.get(Table.META, b"key") == b"value"


def test_a_clean_close_leaves_one_file(made: Path) -> None:
    assert [path.name for path in made.parent.iterdir()] == ["store"]


# ----------------------------------------------------------------------------------------------------------- read-only


def test_a_read_only_store_refuses_writes(made: Path) -> None:
    with open_sqlite(made, read_only=True) as store:
        assert store.read_only
        assert store.get(Table.META, b"key") == b"value"
        with pytest.raises(StoreReadOnlyError), store.transaction():
            pass
        with pytest.raises(StoreReadOnlyError):
            store.put(Table.META, b"key", b"other")
        store.flush()
        assert list(store.check()) == []
        assert "read-only" in repr(store)


def test_a_reader_leaves_nothing_beside_the_store(made: Path) -> None:
    before = snapshot(made.parent)
    with open_sqlite(made, read_only=True) as one, open_sqlite(made, read_only=True) as other:
        assert one.get(Table.META, b"key") == other.get(Table.META, b"key") == b"value"
    assert snapshot(made.parent) == before


def test_a_reader_takes_nothing_from_who_goes_on(made: Path) -> None:
    with open_sqlite(made, read_only=True) as first:
        first.get(Table.META, b"key")
        with open_sqlite(made) as writer:
            first.close()
            with open_sqlite(made, read_only=True) as second:
                with writer.transaction():
                    writer.put(Table.META, b"key", b"new")
                assert second.get(Table.META, b"key") == b"new"
            with open_sqlite(made, read_only=True) as third:
                assert third.get(Table.META, b"key") == b"new"
    assert [path.name for path in made.parent.iterdir()] == ["store"]
    with open_sqlite(made, read_only=True) as store:
        assert store.get(Table.META, b"key") == b"new"


def test_a_reader_leaves_the_log_of_who_was_killed(made: Path) -> None:
    """What was committed and is only in the log beside the store stays there for the next writer."""
    with open_sqlite(made) as store:
        with store.transaction():
            store.put(Table.META, b"key", b"new")
        folder = made.with_name("copied")
        folder.mkdir()
        for name in ("store", "store-wal"):
            (folder / name).write_bytes(made.with_name(name).read_bytes())
    log = (folder / "store-wal").read_bytes()
    with open_sqlite(folder / "store", read_only=True) as reader:
        assert reader.get(Table.META, b"key") == b"new"
    assert (folder / "store-wal").read_bytes() == log


def test_a_reader_sees_what_a_writer_commits(made: Path) -> None:
    view = View(name="Note", columns=(Column(name="number"),))
    query = Query(view="Note", filters=(Filter(column="number", op=FilterOp.GT, value=5),))
    with open_sqlite(made) as writer, open_sqlite(made, read_only=True) as reader:
        with writer.transaction():
            writer.put(Table.META, b"key", b"new")
            writer.define_view(view)
            writer.put_rows("Note", [("a", 6)])
            assert reader.get(Table.META, b"key") == b"value"
        assert reader.get(Table.META, b"key") == b"new"
        assert reader.query(query) == ["a"]
        with writer.transaction():
            writer.put_rows("Note", [("b", 10**30), ("c", -(10**30))])
        assert reader.query(query) == ["a", "b"]


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that another user may reach, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def as_other_user(code: str) -> str:
    """Run code as a user who may only read, and give what it prints."""
    script = "import os\nif os.geteuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n" + code
    # Everything is imported before the user changes, for the other user may not be able to read the environment.
    preamble = (
        "from crdt_sync.storage.base import Table\nfrom crdt_sync.storage.sqlite import open_sqlite\n"
        "from crdt_sync.errors import StoreError\n"
    )
    command = [sys.executable, "-c", preamble + script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
class TestPermissions:
    def make(self, directory: Path) -> Path:
        path = directory / "store"
        with open_sqlite(path, create=True) as store, store.transaction():
            store.put(Table.META, b"key", b"value")
        path.chmod(0o444)
        directory.chmod(0o555)
        return path

    def test_a_file_that_cannot_be_written_is_refused_or_read(self, open_to_all: Path) -> None:
        path = self.make(open_to_all)
        before = snapshot(open_to_all)
        code = f"try:\n    open_sqlite({str(path)!r})\nexcept StoreError as error:\n    print(type(error).__name__)"
        assert as_other_user(code) == "StoreReadOnlyError"
        code = f"print(open_sqlite({str(path)!r}, read_only=True).get(Table.META, b'key'))"
        assert as_other_user(code) == "b'value'"
        assert snapshot(open_to_all) == before

    def test_a_file_with_two_names_that_cannot_be_written_is_read(self, open_to_all: Path) -> None:
        path = self.make(open_to_all)
        open_to_all.chmod(0o755)
        os.link(path, open_to_all / "link")
        code = f"print(open_sqlite({str(path)!r}, read_only=True).get(Table.META, b'key'))"
        assert as_other_user(code) == "b'value'"

    def test_a_directory_that_cannot_be_written_takes_no_store(self, open_to_all: Path) -> None:
        path = self.make(open_to_all).with_name("other")
        code = f"try:\n    open_sqlite({str(path)!r}, create=True)\nexcept StoreError as error:\n    print(error.hint)"
        assert as_other_user(code)
        assert not path.exists()

    def test_a_log_that_cannot_be_read_along_is_not_ignored(self, open_to_all: Path) -> None:
        path = open_to_all / "store"
        with open_sqlite(path, create=True) as store:
            with store.transaction():
                store.put(Table.META, b"key", b"value")
            copy = open_to_all / "copy"
            copy.write_bytes(path.read_bytes())
            copy.with_name("copy-wal").write_bytes(path.with_name("store-wal").read_bytes())
        open_to_all.chmod(0o555)
        code = (
            f"try:\n    open_sqlite({str(copy)!r}, read_only=True)\nexcept StoreError as error:\n    print(error.hint)"
        )
        assert "Copy the store" in as_other_user(code)


# -------------------------------------------------------------------------------------------------------------- in use


def test_a_second_writer_is_told_that_the_store_is_in_use(made: Path) -> None:
    with open_sqlite(made) as first, open_sqlite(made, busy_timeout_ms=10) as second:
        with first.transaction():
            first.put(Table.META, b"first", b"")
            with pytest.raises(StoreInUseError), second.transaction():
                pass
            assert second.get(Table.META, b"key") == b"value"
        with second.transaction():
            second.put(Table.META, b"second", b"")
        assert first.count(Table.META) == 3


OPEN_BY_ANOTHER_NAME = """
import sys
from crdt_sync.errors import StoreInUseError
from crdt_sync.storage.sqlite import open_sqlite
try:
    open_sqlite(sys.argv[1], read_only=sys.argv[2] == "True")
except StoreInUseError as error:
    print("another name" in error.message and bool(error.hint))
"""


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("apart", [False, True], ids=["one process", "two processes"])
def test_a_store_that_is_open_by_another_name_is_in_use(made: Path, apart: bool, read_only: bool) -> None:
    """Each name of a file has a log of its own, so two names in use would overwrite each other's commits."""
    link = made.with_name("link")
    with open_sqlite(made) as store:
        with store.transaction():
            store.put(Table.META, b"key", b"new")
        os.link(made, link)
        if apart:
            command = [sys.executable, "-c", OPEN_BY_ANOTHER_NAME, str(link), str(read_only)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            assert done.stdout == "True\n"
        else:
            with pytest.raises(StoreInUseError, match="another name") as caught:
                open_sqlite(link, read_only=read_only)
            assert caught.value.hint
        with open_sqlite(made, read_only=True) as reader:  # its own name is no other one
            assert reader.get(Table.META, b"key") == b"new"
        with store.transaction():
            store.put(Table.META, b"other", b"")
    assert sorted(path.name for path in made.parent.iterdir()) == ["link", "store"]
    with open_sqlite(link, read_only=read_only) as again:
        assert again.get(Table.META, b"key") == b"new"
        assert again.get(Table.META, b"other") == b""


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_a_reader_may_come_by_a_symbolic_link_to_the_name_in_use(made: Path) -> None:
    os.link(made, made.with_name("link"))
    made.with_name("symlink").symlink_to(made)
    made.with_name("symlink to link").symlink_to(made.with_name("link"))
    with open_sqlite(made) as store:
        with store.transaction():
            store.put(Table.META, b"key", b"new")
        with open_sqlite(made.with_name("symlink"), read_only=True) as reader:
            assert reader.get(Table.META, b"key") == b"new"
        with pytest.raises(StoreInUseError, match="another name") as caught:
            open_sqlite(made.with_name("symlink to link"), read_only=True)
        assert "open it by that name" in caught.value.hint


def test_a_store_that_is_locked_whole_is_in_use(made: Path) -> None:
    other = apsw.Connection(str(made))
    other.pragma("locking_mode", "exclusive")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreInUseError):
        open_sqlite(made, busy_timeout_ms=10)
    other.close()


def test_a_creation_that_was_killed_half_way_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Disk() as disk:
        disk.fail(Fault.POWER, after=8)
        with pytest.raises(StoreError):
            open_sqlite(path, create=True)
        disk.power_on(loss=Loss.NOTHING)
    assert path.stat().st_size > 0
    with pytest.raises(StoreNotFoundError, match="empty"):
        open_sqlite(path, read_only=True)
    with open_sqlite(path, create=True) as store:
        assert list(store.check()) == []


def test_a_first_page_that_is_half_written_comes_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Disk() as disk:
        store = open_sqlite(path, create=True)
        with store.transaction():
            store.put(Table.META, b"key", b"value")
            store.define_view(View(name="Note", columns=()))  # which changes the first page
        disk.fail(Fault.POWER)
        with suppress(StoreError):
            store.close()
        disk.power_on(loss=Loss.UNSYNCED)
    content = bytearray(path.read_bytes())
    content[512:4096] = bytes(4096 - 512)
    path.write_bytes(content)
    with open_sqlite(path) as store:
        assert store.get(Table.META, b"key") == b"value"


# ---------------------------------------------------------------------------------------------------------- migrations


def add_column(connection: apsw.Connection) -> None:
    connection.execute('CREATE TABLE "_crdt_added" (x)')
    connection.execute('INSERT INTO "_crdt_added" SELECT COUNT(*) FROM "_crdt_meta"')


def fail(connection: apsw.Connection) -> None:
    connection.execute('DELETE FROM "_crdt_meta"')
    raise ZeroDivisionError


NEWER = (*MIGRATIONS, Migration(name="add a table", apply=add_column))
BROKEN = (*NEWER, Migration(name="divide", apply=fail))


def test_an_older_store_is_upgraded_with_what_it_holds(made: Path) -> None:
    with open_sqlite(made, migrations=NEWER) as store:
        assert store.schema_version == SCHEMA_VERSION + 1
        assert store.get(Table.META, b"key") == b"value"
    with open_sqlite(made, migrations=NEWER) as store:
        assert store.schema_version == SCHEMA_VERSION + 1
    with sqlite3.connect(made) as connection:
        assert connection.execute('SELECT x FROM "_crdt_added"').fetchall() == [(1,)]
    connection.close()
    with pytest.raises(StoreVersionError):
        open_sqlite(made)


def test_an_upgrade_that_fails_changes_nothing(made: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        open_sqlite(made, migrations=BROKEN)
    assert "divide" in caught.value.__notes__[0]
    with open_sqlite(made) as store:
        assert store.schema_version == SCHEMA_VERSION
        assert store.get(Table.META, b"key") == b"value"


def test_an_upgrade_that_was_not_written_back_counts(made: Path) -> None:
    upgraded = open_sqlite(made, migrations=NEWER)
    with pytest.raises(StoreVersionError):
        open_sqlite(made)
    upgraded.close()


def test_a_read_only_open_does_not_upgrade(made: Path) -> None:
    before = snapshot(made.parent)
    with pytest.raises(StoreVersionError) as caught:
        open_sqlite(made, read_only=True, migrations=NEWER)
    assert "writing" in caught.value.hint
    assert snapshot(made.parent) == before


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_store_of_every_earlier_version_gets_the_tables_it_lacks(tmp_path: Path, version: int) -> None:
    with open_sqlite(tmp_path / "store", create=True, migrations=MIGRATIONS[:version]) as store, store.transaction():
        store.put(Table.LOG, b"key", b"value")
    with open_sqlite(tmp_path / "store") as store:
        assert store.schema_version == SCHEMA_VERSION
        assert {table for table in Table if store.count(table)} == {Table.LOG}


def test_a_new_store_takes_every_step(tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "store", create=True, migrations=NEWER) as store:
        assert store.schema_version == SCHEMA_VERSION + 1


@pytest.mark.parametrize("empty_file", [False, True])
def test_a_creation_that_fails_leaves_nothing(tmp_path: Path, empty_file: bool) -> None:
    path = tmp_path / "store"
    if empty_file:
        path.touch()
    with pytest.raises(ZeroDivisionError):
        open_sqlite(path, create=True, migrations=BROKEN)
    assert [file.name for file in tmp_path.iterdir()] == (["store"] if empty_file else [])


def test_a_creation_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def fill(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", 30)
        connection.execute("CREATE TABLE full (x)")
        connection.execute("INSERT INTO full VALUES (zeroblob(1000000))")

    with pytest.raises(StoreFullError):
        open_sqlite(tmp_path / "store", create=True, migrations=(*MIGRATIONS, Migration(name="fill", apply=fill)))
    assert list(tmp_path.iterdir()) == []


def test_the_steps_make_the_tables_that_there_are(made: Path) -> None:
    with sqlite3.connect(made) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    connection.close()
    assert names == {f"_crdt_{table}" for table in Table} | {"_crdt_view", "_crdt_seal"}
    assert marks == [APPLICATION_ID, len(MIGRATIONS)]
