"""The materialised views of a SQLite store: ordinary tables, and their definitions beside them."""

# ruff: noqa: S608  # names are checked and quoted, values bound

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import apsw

from crdt_sync.errors import CorruptStoreError, SchemaError
from crdt_sync.storage import refusals
from crdt_sync.storage.base import Column, ColumnKind, Query, View, ViewValue
from crdt_sync.storage.ordering import Cell
from crdt_sync.storage.query_sql import quoted, select_count, select_ids
from crdt_sync.storage.rows import ViewDefinition, cell_makers, check_view, unknown_view
from crdt_sync.storage.sqlite_statements import checksum, holds, table_name

_DEFINITIONS = table_name("view")


class SqliteViews:
    """The views of one connection. The store that owns it brackets the calls in transactions and translates errors.

    Args:
        connection: of the store.
        path: of the store, for messages.
        cached: whether no other connection can change the views meanwhile.
    """

    def __init__(self, connection: apsw.Connection, *, path: Path, cached: bool) -> None:
        self._connection = connection
        self._path = path
        self._cached = cached
        self._definitions: dict[str, ViewDefinition] | None = None

    def forget(self) -> None:
        """Read the definitions again before they are next used: a transaction was rolled back."""
        self._definitions = None

    def all(self) -> dict[str, ViewDefinition]:
        """The definitions there are, by name in order."""
        if self._definitions is not None and self._cached:
            return self._definitions
        definitions = {}
        sql = f"SELECT key, value, sum FROM {_DEFINITIONS} ORDER BY key"
        for key, value, kept in self._connection.execute(sql):
            if not holds(key, value, kept):
                raise CorruptStoreError(f"{self._path}: the definition of a view is damaged", table="view", key=key)
            definition = ViewDefinition.from_bytes(value)
            definitions[definition.view.name] = definition
        self._definitions = definitions
        return definitions

    def definition(self, name: str) -> ViewDefinition:
        """Find a view.

        Raises:
            UnknownModelError: there is none of this name.
        """
        definitions = self.all()
        if name not in definitions:
            raise unknown_view(name, known=definitions)
        return definitions[name]

    def define(self, view: View) -> bool:
        """Do what `Store.define_view` does."""
        definitions = self.all()
        check_view(view, taken=definitions)
        existing = definitions.get(view.name)
        if existing is not None and existing.view == view:
            return False
        try:
            if existing is not None and existing.view.columns == view.columns:
                for index in set(existing.view.indexes) - set(view.indexes):
                    self._connection.execute(f"DROP INDEX {_index_name(view.name, index)}")
                self._make_indexes(view, set(view.indexes) - set(existing.view.indexes))
                self._keep(ViewDefinition(view=view, wide=existing.wide))
                return False
            if existing is not None:
                self._connection.execute(f"DROP TABLE {quoted(view.name)}")
            columns = ", ".join(['"id" TEXT PRIMARY KEY NOT NULL', *map(_column_sql, view.columns)])
            self._connection.execute(f"CREATE TABLE {quoted(view.name)} ({columns}) WITHOUT ROWID")
            self._make_indexes(view, view.indexes)
        except apsw.SQLError as error:  # a table of this name that some other tool made
            raise SchemaError(f"the view {view.name} cannot be made: {error}") from error
        self._keep(ViewDefinition(view=view))
        return True

    def drop(self, name: str) -> None:
        """Do what `Store.drop_view` does."""
        if name in self.all():
            self._connection.execute(f"DROP TABLE {quoted(name)}")
            self._connection.execute(f"DELETE FROM {_DEFINITIONS} WHERE key = ?", (name.encode(),))
            self.forget()

    def put_rows(self, name: str, rows: Iterable[tuple[ViewValue, ...]]) -> None:
        """Do what `Store.put_rows` does."""
        definition = self.definition(name)
        wide: set[str] = set()
        makers = cell_makers(definition.view, on_wide=wide.add)
        try:
            self._connection.executemany(_put_row_sql(definition.view), _cells(rows, name=name, makers=makers))
        except UnicodeEncodeError as error:
            raise refusals.lone_surrogates(name, error) from error
        if not wide <= definition.wide:
            self._keep(ViewDefinition(view=definition.view, wide=definition.wide | wide))

    def delete_rows(self, name: str, ids: Iterable[str]) -> None:
        """Do what `Store.delete_rows` does."""
        self.definition(name)
        self._connection.executemany(
            f'DELETE FROM {quoted(name)} WHERE "id" = ?',
            ((row_id,) for row_id in ids),
        )

    def query(self, query: Query) -> list[str]:
        """Do what `Store.query` does."""
        sql, arguments = select_ids(self.definition(query.view), query)
        return [row_id for (row_id,) in self._connection.execute(sql, arguments)]

    def query_count(self, query: Query) -> int:
        """Do what `Store.query_count` does."""
        sql, arguments = select_count(self.definition(query.view), query)
        total: int = self._connection.execute(sql, arguments).get
        return total

    def _make_indexes(self, view: View, indexes: Iterable[tuple[str, ...]]) -> None:
        for index in indexes:
            columns = ", ".join(map(quoted, index))
            sql = f"CREATE INDEX {_index_name(view.name, index)} ON {quoted(view.name)} ({columns})"
            self._connection.execute(sql)

    def _keep(self, definition: ViewDefinition) -> None:
        key, value = definition.view.name.encode(), definition.to_bytes()
        sql = f"REPLACE INTO {_DEFINITIONS} (key, value, sum) VALUES (?, ?, ?)"
        self._connection.execute(sql, (key, value, checksum(key, value)))
        self.forget()


def _column_sql(column: Column) -> str:
    """A VALUE column has no type, so that SQLite keeps every value as it is."""
    return quoted(column.name) if column.kind is ColumnKind.VALUE else f"{quoted(column.name)} TEXT"


def _index_name(view: str, index: tuple[str, ...]) -> str:
    return quoted(".".join(("_crdt_index", view, *index)))


def _put_row_sql(view: View) -> str:
    names = ["id", *(column.name for column in view.columns)]
    columns = ", ".join(map(quoted, names))
    changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in names[1:])
    action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
    places = ", ".join("?" * len(names))
    return f'INSERT INTO {quoted(view.name)} ({columns}) VALUES ({places}) ON CONFLICT ("id") {action}'


def _cells(
    rows: Iterable[tuple[ViewValue, ...]], *, name: str, makers: tuple[Callable[[object], Cell], ...]
) -> Iterator[tuple[Cell, ...]]:
    length = len(makers) + 1
    for row in rows:
        if len(row) != length or not isinstance(row[0], str):
            raise refusals.wrong_row(name, values=len(makers))
        yield (row[0], *[make(value) for make, value in zip(makers, row[1:], strict=True)])
