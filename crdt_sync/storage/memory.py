"""The store in memory: for tests, and for replicas that need not outlive their process."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from crdt_sync.errors import StoreClosedError, StoreError
from crdt_sync.storage import refusals
from crdt_sync.storage.base import STORE_LIMITS, Damage, Progress, Query, Store, Table, View, ViewValue
from crdt_sync.storage.file_modes import make_empty
from crdt_sync.storage.migrations import SCHEMA_VERSION
from crdt_sync.storage.ordering import Cell
from crdt_sync.storage.query_python import Row, answer, matching
from crdt_sync.storage.rows import ViewDefinition, cell_makers, check_view, unknown_view, values
from crdt_sync.storage.sqlite import open_sqlite


class MemoryTable:
    """A dict, and its keys in order."""

    __slots__ = ("keys", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.rows:
            insort(self.keys, key)
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        if self.rows.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def span(self, start: bytes, end: bytes | None) -> tuple[int, int]:
        """Positions in `keys` of start <= key < end."""
        first = bisect_left(self.keys, start)
        return first, max(first, len(self.keys) if end is None else bisect_left(self.keys, end))


class MemoryStore(Store):
    """A `Store` without a file. `backup` writes one that `open_sqlite` opens."""

    def __init__(self) -> None:
        self._tables = {table: MemoryTable() for table in Table}
        self._definitions: dict[str, ViewDefinition] = {}
        self._rows: dict[str, dict[str, Row]] = {}
        self._undo: list[Callable[[], object]] = []
        self._transaction = _Transaction(self)
        self._writing = False
        self._failed = False
        self._closed = False

    @property
    def path(self) -> None:
        return None

    @property
    def read_only(self) -> bool:
        return False

    @property
    def schema_version(self) -> int:
        return SCHEMA_VERSION

    def __repr__(self) -> str:
        state = "closed" if self._closed else "writing" if self._writing else "open"
        rows = sum(len(table.keys) for table in self._tables.values())
        return f"<MemoryStore {state}, {rows} rows, {len(self._definitions)} views>"

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
        self._refuse_closed()
        if self._writing:
            raise refusals.nested()
        self._writing, self._failed = True, False

    def _commit(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed within a transaction, which was rolled back")
        if self._failed:
            self._roll_back()
            raise refusals.failed()
        self._writing = False
        self._undo.clear()

    def _roll_back(self) -> None:
        self._writing = self._failed = False
        for step in reversed(self._undo):
            step()
        self._undo.clear()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed")

    def _write(self, work: Callable[[], object]) -> None:
        self._refuse_closed()
        if self._failed:
            raise refusals.failed()
        if not self._writing:
            raise refusals.outside()
        try:
            work()
        except BaseException:
            self._failed = True
            raise

    # ------------------------------------------------------------------------------------------------------ tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        self._refuse_closed()
        return self._tables[table].rows.get(key)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._write(lambda: self._put(table, key, value))

    def put_many(self, table: Table, items: Iterable[tuple[bytes, bytes]]) -> None:
        def work() -> None:
            for key, value in items:
                self._put(table, key, value)

        self._write(work)

    def _put(self, table: Table, key: bytes, value: bytes) -> None:
        target = self._tables[table]
        before = target.rows.get(key)
        self._undo.append(lambda: target.delete(key) if before is None else target.put(key, before))
        target.put(bytes(memoryview(key)), bytes(memoryview(value)))  # TypeError for what is not bytes, as in SQLite

    def delete(self, table: Table, key: bytes) -> None:
        self.delete_many(table, (key,))

    def delete_many(self, table: Table, keys: Iterable[bytes]) -> None:
        def work() -> None:
            for key in keys:
                self._delete(table, key)

        self._write(work)

    def _delete(self, table: Table, key: bytes) -> None:
        target = self._tables[table]
        before = target.rows.get(key)
        if before is not None:
            self._undo.append(lambda: target.put(key, before))
            target.delete(key)

    def delete_range(self, table: Table, *, start: bytes = b"", end: bytes | None = None) -> None:
        self._refuse_closed()
        first, last = self._tables[table].span(start, end)
        self.delete_many(table, self._tables[table].keys[first:last])

    def scan(
        self,
        table: Table,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        rows = self._scan(table, start=start, end=end, reverse=reverse)
        return rows if limit is None else islice(rows, max(limit, 0))

    def _scan(self, table: Table, *, start: bytes, end: bytes | None, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        source = self._tables[table]
        page_rows = STORE_LIMITS.page_rows_max
        while True:
            self._refuse_closed()
            first, last = source.span(start, end)
            keys = source.keys[max(first, last - page_rows) : last] if reverse else source.keys[first:last][:page_rows]
            page = [(key, source.rows[key]) for key in (reversed(keys) if reverse else keys)]
            yield from page
            if len(page) < page_rows:
                return
            if reverse:
                end = page[-1][0]
            else:
                start = page[-1][0] + b"\x00"

    def count(self, table: Table, *, start: bytes = b"", end: bytes | None = None) -> int:
        self._refuse_closed()
        first, last = self._tables[table].span(start, end)
        return last - first

    # ------------------------------------------------------------------------------------------------------- views

    def define_view(self, view: View) -> bool:
        emptied: list[bool] = []
        self._write(lambda: emptied.append(self._define(view)))
        return emptied[0]

    def _define(self, view: View) -> bool:
        check_view(view, taken=self._definitions)
        existing = self._definitions.get(view.name)
        if existing is not None and existing.view.columns == view.columns:
            self._keep(ViewDefinition(view=view, wide=existing.wide))
            return False
        self._drop(view.name)
        self._keep(ViewDefinition(view=view))
        self._rows[view.name] = {}
        return True

    def _keep(self, definition: ViewDefinition) -> None:
        name = definition.view.name
        before = self._definitions.get(name)
        self._definitions[name] = definition

        def undo() -> None:
            if before is None:
                del self._definitions[name], self._rows[name]
            else:
                self._definitions[name] = before

        self._undo.append(undo)

    def drop_view(self, name: str) -> None:
        self._write(lambda: self._drop(name))

    def _drop(self, name: str) -> None:
        definition, rows = self._definitions.pop(name, None), self._rows.pop(name, None)
        if definition is None or rows is None:
            return

        def undo() -> None:
            self._definitions[name], self._rows[name] = definition, rows

        self._undo.append(undo)

    def views(self) -> tuple[View, ...]:
        self._refuse_closed()
        return tuple(self._definitions[name].view for name in sorted(self._definitions))

    def _definition(self, name: str) -> ViewDefinition:
        self._refuse_closed()
        if name not in self._definitions:
            raise unknown_view(name, known=self._definitions)
        return self._definitions[name]

    def put_rows(self, view: str, rows: Iterable[tuple[ViewValue, ...]]) -> None:
        self._write(lambda: self._put_rows(view, rows))

    def _put_rows(self, view: str, rows: Iterable[tuple[ViewValue, ...]]) -> None:
        definition, target = self._definition(view), self._rows[view]
        wide: set[str] = set()
        makers = cell_makers(definition.view, on_wide=wide.add)
        for row in rows:
            if len(row) != len(makers) + 1 or not isinstance(row[0], str):
                raise refusals.wrong_row(view, values=len(makers))
            cells = tuple(make(value) for make, value in zip(makers, row[1:], strict=True))
            try:
                "".join(cell for cell in (row[0], *cells) if isinstance(cell, str)).encode()
            except UnicodeEncodeError as error:
                raise refusals.lone_surrogates(view, error) from error
            self._set_row(target, row[0], cells)
        if not wide <= definition.wide:
            self._keep(ViewDefinition(view=definition.view, wide=definition.wide | wide))

    def _set_row(self, target: dict[str, Row], row_id: str, cells: tuple[Cell, ...] | None) -> None:
        before = target.get(row_id)

        def undo() -> None:
            if before is None:
                target.pop(row_id, None)
            else:
                target[row_id] = before

        self._undo.append(undo)
        if cells is None:
            target.pop(row_id, None)
        else:
            target[row_id] = cells

    def delete_rows(self, view: str, ids: Iterable[str]) -> None:
        def work() -> None:
            self._definition(view)
            for row_id in ids:
                self._set_row(self._rows[view], row_id, None)

        self._write(work)

    def query(self, query: Query) -> list[str]:
        return answer(self._definition(query.view), self._rows[query.view], query)

    def query_count(self, query: Query) -> int:
        return len(matching(self._definition(query.view), self._rows[query.view], query))

    # ------------------------------------------------------------------------------------------------- whole store

    def flush(self) -> None:
        self._refuse_within_transaction("flush")

    def give_back(self) -> None:
        self._refuse_within_transaction("give_back")

    def backup(self, path: Path, *, without: Iterable[tuple[Table, bytes]] = ()) -> None:
        self._refuse_within_transaction("backup")
        if path.exists():
            raise StoreError(f"{path} exists already", hint="Choose another path; nothing was overwritten.")
        try:
            make_empty(path, like=None)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error}", hint="Check its directory.") from error
        with open_sqlite(path, create=True) as copy, copy.transaction():
            for table, content in self._tables.items():
                copy.put_many(table, content.rows.items())
            for table, key in without:
                copy.delete(table, key)
            for name, definition in self._definitions.items():
                copy.define_view(definition.view)
                copy.put_rows(
                    name, ((row_id, *values(definition, cells)) for row_id, cells in self._rows[name].items())
                )

    def check(self, *, progress: Progress | None = None) -> Iterator[Damage]:
        self._refuse_within_transaction("check")
        if progress is not None:
            total = sum(len(table.keys) for table in self._tables.values())
            progress(total, total)
        return iter(())

    def _refuse_within_transaction(self, what: str) -> None:
        self._refuse_closed()
        if self._writing:
            raise refusals.within(what)

    def close(self) -> None:
        if self._closed:
            return
        if self._writing:
            self._roll_back()
        self._closed = True


class _Transaction:
    """The brackets of a transaction."""

    __slots__ = ("_store",)

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store._begin()  # noqa: SLF001  # a part of the store

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._store._commit()  # noqa: SLF001  # as above
        elif not self._store._closed:  # noqa: SLF001  # as above
            self._store._roll_back()  # noqa: SLF001  # as above
