"""The text by which SQLite knows the tables of a store: compared with what makes them, and written anew in a copy.

Where a bit of it is damaged, SQLite cannot read any table, or not that one, though every row is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, cast

import apsw

from crdt_sync.storage.migrations import MIGRATIONS, run_migrations

ALTERED: Final = "its text in the schema is not the one that made it"
_READ: Final = (
    "SELECT rowid, CAST(type AS BLOB), CAST(name AS BLOB), CAST(tbl_name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema"
)
_MEND: Final = "UPDATE sqlite_schema SET type = 'table', name = ?1, tbl_name = ?1, sql = ?2 WHERE rowid = ?3"


class _Altered(NamedTuple):
    rowid: int
    name: str
    sql: str


def altered_tables(connection: apsw.Connection) -> list[str]:
    """The tables of ours whose text is another one; those that are gone are not among them.

    Raises:
        apsw.Error: it cannot be read.
    """
    return [item.name.removeprefix("_crdt_") for item in _altered(connection)]


def is_schema_damaged(path: Path) -> bool:
    """Whether the text of a store's tables is another one, or cannot be read; of what is no SQLite file it is not."""
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.pragma("writable_schema", True)  # noqa: FBT003  # a pragma's value: what is malformed is read
            return next(_altered(connection), None) is not None or not _is_readable(path)
    except apsw.CorruptError:
        return True
    except apsw.Error:
        return False  # more is wrong than that: whoever opens it says so


def mend_schema(path: Path) -> list[str]:
    """Write the text of our tables anew, each where its rows are; returns what had another one, in words.

    Of other tables, which are derived, none is left where SQLite still cannot read the schema.

    Args:
        path: of a copy of a store, which nobody uses.

    Raises:
        apsw.Error: the schema cannot be read even so.
    """
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)  # a planted file must not run anything
        connection.pragma("writable_schema", True)  # noqa: FBT003  # a pragma's value
        found = list(_altered(connection))
        for item in found:
            connection.execute(_MEND, (item.name, item.sql, item.rowid))
        wrong = [f"table {item.name.removeprefix('_crdt_')}" for item in found]
        if not _is_readable(path):
            wrong.append("tables that are derived")
            names = ", ".join(f"'{name}'" for name in _made())
            connection.execute(f"DELETE FROM sqlite_schema WHERE name NOT IN ({names})")  # noqa: S608  # a closed set
    return wrong


def _altered(connection: apsw.Connection) -> Iterator[_Altered]:
    """One bit leaves two of a table's three names as they were: by any of them it is known."""
    made = _made()
    rows = cast("list[tuple[int, bytes, bytes, bytes, bytes]]", connection.execute(_READ).fetchall())
    for rowid, *texts in rows:
        _, name, table, sql = texts
        for known, text in made.items():
            if known.encode() in (name, table) or text.encode() == sql:
                if texts != [b"table", known.encode(), known.encode(), text.encode()]:
                    yield _Altered(rowid, known, text)
                break


def _is_readable(path: Path) -> bool:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()
        except apsw.CorruptError:
            return False
    return True


@cache
def _made() -> dict[str, str]:
    """The text of each table of ours, by its name in SQLite."""
    with closing(apsw.Connection(":memory:")) as connection:
        run_migrations(connection, MIGRATIONS, version=0)
        return {str(name): str(sql) for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema")}
