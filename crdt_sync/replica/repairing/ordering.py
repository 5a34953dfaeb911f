"""Rows of a quarantine file in the order in which they are put back, and what the journal knows; in bounded memory.

Both are in a temporary file of SQLite's, which is gone when it is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import msgpack

from crdt_sync.core.ids import DocumentKey
from crdt_sync.replica.checking.journal import OwnOperation
from crdt_sync.replica.rows import NO_ENTRY, OperationRow
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite_file import translated

FIRST: Final = (Table.RECORD, Table.LOG, Table.OPERATION)
"""What rests on nothing first: bindings, then entries, then what is noted of these."""
_TABLES: Final = (
    "CREATE TABLE rows (rank INTEGER, key BLOB, number INTEGER, name TEXT, value BLOB, sum BLOB,"
    " PRIMARY KEY (rank, key, number)) WITHOUT ROWID;"
    "CREATE TABLE places (place BLOB PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE writes (written BLOB PRIMARY KEY, place BLOB) WITHOUT ROWID;"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A row of a file that anybody may have changed."""

    table: Table
    key: bytes
    value: bytes
    sum: bytes
    """The checksum, where it did not hold."""


class Ordering:
    """The rows of one file, and the operations of one journal.

    Args:
        connection: to an empty database.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute(_TABLES)

    def take(self, rows: Iterable[Parsed]) -> None:
        """Take all rows of a file."""
        with self._connection:
            for number, row in enumerate(rows):
                rank = FIRST.index(row.table) if row.table in FIRST else len(FIRST)
                values = (rank, row.key, number, str(row.table), row.value, row.sum)
                self._connection.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", values)

    def rows(self) -> Iterator[Parsed]:
        """All of them, in order."""
        select = "SELECT name, key, value, sum FROM rows ORDER BY rank, key, number"
        for name, key, value, kept in self._connection.execute(select):
            yield Parsed(table=Table(name), key=key, value=value, sum=kept)

    def note_all(self, rows: Iterable[OperationRow]) -> None:
        """Take the operations of the journal."""
        with self._connection:
            for row in rows:
                self.note(row)

    def note(self, row: OperationRow) -> None:
        """Take one operation of the journal."""
        place, written = _place(row), _written(row.hlc, row.document)
        if row.sequence != NO_ENTRY:  # these stand nowhere
            self._connection.execute("INSERT OR IGNORE INTO places VALUES (?)", (place,))
        self._connection.execute("INSERT OR REPLACE INTO writes VALUES (?, ?)", (written, place))

    def is_noted(self, row: OperationRow) -> bool:
        """Whether the journal has an operation: by where it stands, or by what it wrote and when."""
        if self._connection.execute("SELECT 1 FROM places WHERE place = ?", (_place(row),)).get is not None:
            return True
        return self._noted_place(row.hlc, row.document) is not None

    def is_elsewhere(self, place: OwnOperation, *, hlc: int, document: DocumentKey) -> bool:
        """Whether the journal has what was written then to this document at another place than where it was once.

        A device's timestamps never repeat, and an entry has one operation of each document. So this was taken back, or
        written again under another author.
        """
        found = self._noted_place(hlc, document)
        return found is not None and found != msgpack.packb(place)

    def _noted_place(self, hlc: int, document: DocumentKey) -> object:
        return self._connection.execute("SELECT place FROM writes WHERE written = ?", (_written(hlc, document),)).get


@contextmanager
def ordering(path: Path) -> Iterator[Ordering]:
    """Make one for a file.

    Raises:
        StoreFullError: there is no space for temporary files.
    """
    try:
        connection = apsw.Connection("")
        try:
            yield Ordering(connection)
        finally:
            connection.close()
    except apsw.Error as error:
        raise translated(error, path=path) from error


def _place(row: OperationRow) -> bytes:
    packed: bytes = msgpack.packb(OwnOperation(row.author, row.sequence, row.index))
    return packed


def _written(hlc: int, document: DocumentKey) -> bytes:
    packed: bytes = msgpack.packb((hlc, document))
    return packed
