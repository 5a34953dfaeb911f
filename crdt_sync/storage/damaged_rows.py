"""The rows of a damaged SQLite store as they are, whatever became of them, to be kept aside."""

# ruff: noqa: S608  # names come from a closed set, everything else is bound

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from crdt_sync.core.logs import told
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite_file import translated
from crdt_sync.storage.sqlite_seals import broken_seals
from crdt_sync.storage.sqlite_statements import checksum, table_name

log = logging.getLogger("crdt_sync.storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """A row whose checksum does not hold, as bytes."""

    table: Table
    key: bytes
    value: bytes
    sum: bytes


def broken_tables(path: Path) -> frozenset[str]:
    """The tables of which rows are gone, or older ones are back.

    Args:
        path: of the store; nothing is changed.

    Raises:
        StoreError: the file cannot be read.
    """
    with closing(_opened(path)) as connection:
        try:
            return frozenset(damage.table for damage in broken_seals(connection))
        except apsw.Error as error:
            raise translated(error, path=path) from error


def damaged_rows(path: Path) -> Iterator[RawRow]:
    """Every damaged row that SQLite can still read; parts of the file that it cannot are left out.

    Args:
        path: of the store; nothing is changed.

    Raises:
        StoreError: the file cannot be opened.
    """
    with closing(_opened(path)) as connection:
        for table in Table:
            yield from _damaged(connection, table)


def _opened(path: Path) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise translated(error, path=path) from error
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)  # a planted file must not run anything
    return connection


def _damaged(connection: apsw.Connection, table: Table) -> Iterator[RawRow]:
    columns = ("key", "value", "sum")
    types = " || ' ' || ".join(f"typeof({name})" for name in columns)
    values = ", ".join(f"CAST({name} AS BLOB)" for name in columns)  # damage may have made texts of them
    try:
        for kinds, key, value, kept in connection.execute(f"SELECT {types}, {values} FROM {table_name(table)}"):
            if kinds != "blob blob blob" or checksum(key, value) != kept:
                yield RawRow(table=table, key=key or b"", value=value or b"", sum=kept or b"")
    except apsw.Error as error:
        told(log, logging.WARNING, "a table cannot be read to its end", table=str(table), reason=str(error))
