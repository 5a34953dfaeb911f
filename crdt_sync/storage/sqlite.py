"""The store on SQLite: one file that every SQLite tool can read, with a checksum for each row.

SQLite notices damage to its own structure, not to the bytes of a value; the checksums do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import apsw

from crdt_sync.errors import CorruptStoreError, StoreClosedError, StoreReadOnlyError
from crdt_sync.storage import refusals
from crdt_sync.storage.base import STORE_LIMITS, Damage, Durability, Progress, Query, Store, Table, View, ViewValue
from crdt_sync.storage.migrations import MIGRATIONS, Migration
from crdt_sync.storage.sqlite_copy import back_up, damages, flush, give_back
from crdt_sync.storage.sqlite_file import BUSY_TIMEOUT_MS, OpenOptions, open_connection, remove_empty_log, translated
from crdt_sync.storage.sqlite_seals import SEALED, Seals
from crdt_sync.storage.sqlite_statements import STATEMENTS, checksum, holds, table_name
from crdt_sync.storage.sqlite_views import SqliteViews

_Answer = TypeVar("_Answer")


def open_sqlite(
    path: str | Path,
    *,
    create: bool = False,
    read_only: bool = False,
    durability: Durability = "full",
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    upgrade: bool = True,
    migrations: tuple[Migration, ...] = MIGRATIONS,
) -> SqliteStore:
    """Open a store's file. An open that fails leaves the disk as it was.

    Args:
        path: of the file; SQLite keeps `-wal` and `-shm` files beside it while it is open.
        create: make the store where there is none.
        read_only: refuse every write; works beside a process that writes.
        durability: whether a commit survives power loss at once ("full") or after `flush()` ("normal").
        busy_timeout_ms: how long to wait for another process's lock.
        upgrade: bring an older file to the newest schema version; otherwise it stays as it is, and may lack tables.
        migrations: the steps to the newest schema version; tests give their own.

    Raises:
        StoreNotFoundError: there is no such file, or an empty one (and it is not to be made), or no such directory.
        NotAStoreError: a directory, or a file that is no store.
        StoreVersionError: a newer program wrote it; or it needs an upgrade, and is opened read-only.
        StoreReadOnlyError: the file, or its directory, cannot be written.
        StoreInUseError: another process keeps it locked, or it is open by another name (a hard link).
        StoreFullError: the disk is full.
        CorruptStoreError: SQLite finds it damaged.
    """
    place = Path(path)
    options = OpenOptions(
        create=create,
        read_only=read_only,
        durability=durability,
        busy_timeout_ms=busy_timeout_ms,
        upgrade=upgrade,
        migrations=migrations,
    )
    return SqliteStore(open_connection(place, options=options), path=place, read_only=read_only, durability=durability)


class SqliteStore(Store):
    """A `Store` in a SQLite file; `open_sqlite` makes it.

    Invariants, besides those of `Store`:
        1. Nothing holds a read transaction open between two calls, so the write-ahead log can always be shortened.
        2. After an error in a write, its transaction can only be rolled back: SQLite may have done so already, and
           what came after would be kept alone.
    """

    def __init__(self, connection: apsw.Connection, *, path: Path, read_only: bool, durability: Durability) -> None:
        self._connection = connection
        self._path = path
        self._read_only = read_only
        self._durability = durability
        self._schema_version: int = connection.pragma("user_version")
        self._seals = Seals(connection)
        self._views = SqliteViews(connection, path=path, cached=not read_only)
        self._transaction = _Transaction(self)
        self._writing = False
        self._writable = False  # within a transaction of which no write has failed
        self._closed = False
        self._flushed = True

    @property
    def path(self) -> Path:
        return self._path

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def schema_version(self) -> int:
        return self._schema_version

    def __repr__(self) -> str:
        state = "closed" if self._closed else "writing" if self._writing else "open"
        access = "read-only" if self._read_only else f"durability {self._durability}"
        return f"<SqliteStore {self._path} {state}, {access}, schema {self._schema_version}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ transactions

    def transaction(self) -> _Transaction:
        return self._transaction

    def _begin(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self._path} was closed")
        if self._read_only:
            raise StoreReadOnlyError(f"{self._path} was opened read-only")
        if self._writing:
            raise refusals.nested()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise translated(error, path=self._path) from error
        self._writing = self._writable = True

    def _commit(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self._path} was closed within a transaction, which was rolled back")
        if not self._writable:
            self._roll_back()
            raise refusals.failed()
        try:
            self._seals.write()
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            system_errno = self._connection.system_errno
            self._roll_back()
            raise translated(error, path=self._path, system_errno=system_errno) from error
        except BaseException:
            self._roll_back()
            raise
        self._writing = self._writable = False
        self._flushed = self._durability == "full"

    def _roll_back(self) -> None:
        self._writing = self._writable = False
        self._views.forget()
        self._seals.forget()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.ConnectionClosedError:
            return  # closing rolled it back
        except apsw.Error as error:
            raise translated(error, path=self._path) from error

    def _refuse_write(self) -> NoReturn:
        if self._closed:
            raise StoreClosedError(f"{self._path} was closed")
        if self._read_only:
            raise StoreReadOnlyError(f"{self._path} was opened read-only")
        if self._writing:
            raise refusals.failed()
        raise refusals.outside()

    def _write(self, work: Callable[[], object]) -> None:
        """Do a write that is rare or large enough for a call around it."""
        if not self._writable:
            self._refuse_write()
        try:
            work()
        except apsw.Error as error:
            self._writable = False
            raise translated(error, path=self._path, system_errno=self._connection.system_errno) from error
        except BaseException:
            self._writable = False
            raise

    # ------------------------------------------------------------------------------------------------------ tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        try:
            row = self._connection.execute(STATEMENTS[table].get, (key,)).get
        except apsw.Error as error:
            raise translated(error, path=self._path) from error
        if row is None:
            return None
        value: bytes
        value, kept = row
        if not holds(key, value, kept):
            raise self._damaged(table, key)
        return value

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        if not self._writable:
            self._refuse_write()
        try:
            if table in SEALED:
                self._seals.put(table, ((key, value),))
            else:
                self._connection.execute(STATEMENTS[table].put, (key, value, checksum(key, value)))
        except apsw.Error as error:
            self._writable = False
            raise translated(error, path=self._path, system_errno=self._connection.system_errno) from error
        except BaseException:
            self._writable = False
            raise

    def put_many(self, table: Table, items: Iterable[tuple[bytes, bytes]]) -> None:
        if table in SEALED:
            self._write(lambda: self._seals.put(table, list(items)))
            return
        rows = ((key, value, checksum(key, value)) for key, value in items)
        self._write(lambda: self._connection.executemany(STATEMENTS[table].put, list(rows)))

    def delete(self, table: Table, key: bytes) -> None:
        self._delete(table, STATEMENTS[table].delete, ((key,),))

    def delete_many(self, table: Table, keys: Iterable[bytes]) -> None:
        self._delete(table, STATEMENTS[table].delete, ((key,) for key in keys))

    def delete_range(self, table: Table, *, start: bytes = b"", end: bytes | None = None) -> None:
        sql = STATEMENTS[table].delete_from if end is None else STATEMENTS[table].delete_range
        self._delete(table, sql, (_bounds(start, end),))

    def _delete(self, table: Table, sql: str, bound: Iterable[tuple[bytes, ...]]) -> None:
        if table in SEALED:
            self._write(lambda: self._seals.delete(table, sql, bound))
        else:
            self._write(lambda: self._connection.executemany(sql, bound))

    def scan(
        self,
        table: Table,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        left = -1 if limit is None else max(limit, 0)
        while left:
            rows_max = STORE_LIMITS.page_rows_max if left < 0 else min(left, STORE_LIMITS.page_rows_max)
            page, complete = self._page(table, start=start, end=end, reverse=reverse, rows_max=rows_max)
            for key, value, kept in page:
                # SQLite looks for the first row alone: in a damaged tree, the others may be in any order
                if not holds(key, value, kept) or key < start or (end is not None and key >= end):
                    raise self._damaged(table, key)
                yield key, value
                if reverse:
                    end = key
                else:
                    start = key + b"\x00"
            if complete or not page:
                return
            if left > 0:
                left -= len(page)

    def _page(
        self, table: Table, *, start: bytes, end: bytes | None, reverse: bool, rows_max: int
    ) -> tuple[list[tuple[bytes, bytes, bytes]], bool]:
        """Read rows up to a number or size; and whether the range ends with them."""
        sql = STATEMENTS[table].scan[end is not None, reverse]
        page, page_bytes = [], 0
        cursor = None
        try:
            cursor = self._connection.execute(sql, (*_bounds(start, end), rows_max))
            for row in cursor:
                page.append(row)
                page_bytes += len(row[1] or b"")  # None where damage made another type of it
                if page_bytes >= STORE_LIMITS.page_bytes_max:
                    return page, False
        except apsw.Error as error:
            raise translated(error, path=self._path) from error
        except UnicodeDecodeError as error:  # damage made a text out of a key: the row has no name
            raise self._damaged(table, page[-1][0] if page else start) from error
        finally:
            if cursor is not None:
                cursor.close()
        return page, len(page) < rows_max

    def count(self, table: Table, *, start: bytes = b"", end: bytes | None = None) -> int:
        try:
            total: int = self._connection.execute(STATEMENTS[table].count[end is not None], _bounds(start, end)).get
        except apsw.Error as error:
            raise translated(error, path=self._path) from error
        return total

    def _damaged(self, table: Table, key: object) -> CorruptStoreError:
        shown = key if isinstance(key, bytes) else b""
        return CorruptStoreError(
            f"{self._path}: the row {shown.hex() or '(empty key)'} of {table} is damaged", table=table, key=shown
        )

    # ------------------------------------------------------------------------------------------------------- views

    def define_view(self, view: View) -> bool:
        emptied: list[bool] = []
        self._write(lambda: emptied.append(self._views.define(view)))
        return emptied[0]

    def drop_view(self, name: str) -> None:
        self._write(lambda: self._views.drop(name))

    def views(self) -> tuple[View, ...]:
        return self._asked(lambda: tuple(held.view for held in self._views.all().values()), view="view")

    def put_rows(self, view: str, rows: Iterable[tuple[ViewValue, ...]]) -> None:
        self._write(lambda: self._views.put_rows(view, rows))

    def delete_rows(self, view: str, ids: Iterable[str]) -> None:
        self._write(lambda: self._views.delete_rows(view, ids))

    def query(self, query: Query) -> list[str]:
        return self._asked(lambda: self._views.query(query), view=query.view)

    def query_count(self, query: Query) -> int:
        return self._asked(lambda: self._views.query_count(query), view=query.view)

    def _asked(self, ask: Callable[[], _Answer], *, view: str) -> _Answer:
        try:
            return ask()
        except apsw.Error as error:
            raise translated(error, path=self._path) from error
        except (ValueError, ArithmeticError) as error:  # text that is no text, JSON or number: not as it was put
            raise CorruptStoreError(f"{self._path}: a row of {view} cannot be read: {error}", table=view) from error

    # ------------------------------------------------------------------------------------------------ whole store

    def flush(self) -> None:
        self._refuse_within_transaction("flush")
        if not self._flushed:
            flush(self._connection, path=self._path, version=self._schema_version, durability=self._durability)
            self._flushed = True

    def give_back(self) -> None:
        self._refuse_within_transaction("give_back")
        give_back(self._connection, path=self._path)

    def backup(self, path: Path, *, without: Iterable[tuple[Table, bytes]] = ()) -> None:
        self._refuse_within_transaction("backup")
        back_up(self._connection, source=self._path, target=path, without=tuple(without))

    def check(self, *, progress: Progress | None = None) -> Iterator[Damage]:
        self._refuse_within_transaction("check")
        tables = {name: table_name(name) for name in (*map(str, Table), "view", "seal")}
        return damages(self._connection, path=self._path, tables=tables, progress=progress)

    def _refuse_within_transaction(self, what: str) -> None:
        if self._closed:
            raise StoreClosedError(f"{self._path} was closed")
        if self._writing:
            raise refusals.within(what)

    def close(self) -> None:
        if self._closed:
            return
        self._closed, self._writing, self._writable = True, False, False
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.close()
        except apsw.Error as error:
            raise translated(error, path=self._path) from error
        if self._read_only:
            remove_empty_log(self._path)


class _Transaction:
    """The brackets of a transaction: a class, because a generator would cost more than a small transaction does."""

    __slots__ = ("_store",)

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store._begin()  # noqa: SLF001  # a part of the store

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._store._commit()  # noqa: SLF001  # as above
        else:
            self._store._roll_back()  # noqa: SLF001  # as above


def _bounds(start: bytes, end: bytes | None) -> tuple[bytes, ...]:
    return (start,) if end is None else (start, end)
