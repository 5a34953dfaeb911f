"""Reading what is left of a damaged store: the rows of a table that are whole, and the log by position."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from crdt_sync.core.entry import Entry, decode_entry, split_entries
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, number_key, unpack_log_row
from crdt_sync.storage.base import Store, Table

CACHED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of log rows that are kept while documents are compared."""


def whole_rows(store: Store, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a table whose checksum holds, in order of key.

    Where the table itself cannot be read past some row, what stands behind that is read from its end, and comes last.
    """
    start, fault = b"", b""
    passed: bytes | None = None
    while True:
        try:
            for key, value in store.scan(table, start=start):
                yield key, value
                start = key + b"\0"
            return
        except CorruptStoreError as error:
            fault = error.key
        # One by one up to the row that was named: a page is given whole, or not at all.
        while True:
            try:
                row = next(store.scan(table, start=start, limit=1), None)
            except CorruptStoreError as error:
                if error.table != table or error.key < start or error.key == passed:  # nothing comes from going on
                    yield from reversed(list(_from_the_end(store, table, start)))
                    return
                start = passed = error.key + b"\0"
                break
            if row is None:
                return
            yield row
            start = row[0] + b"\0"
            if row[0] > fault:
                break


def _from_the_end(store: Store, table: Table, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The whole rows behind a part of a table that cannot be read, the last one first."""
    end: bytes | None = None
    while True:
        try:
            row = next(store.scan(table, start=start, end=end, reverse=True, limit=1), None)
        except CorruptStoreError as error:
            if error.table != table or error.key < start or (end is not None and error.key >= end):
                return
            end = error.key
            continue
        if row is None:
            return
        yield row
        end = row[0]


class LogReader:
    """Rows of the log and their entries, decoded; recent ones are kept, since one row may touch thousands of documents.

    Args:
        store: whose log.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: OrderedDict[int, tuple[LogRow, list[bytes], dict[int, Entry]]] = OrderedDict()
        self._bytes = 0

    def row(self, position: int) -> LogRow:
        """A row.

        Raises:
            CorruptStoreError: it is missing.
        """
        return self._held(position)[0]

    def entry(self, position: int, number: int) -> Entry:
        """An entry by its number in the row.

        Raises:
            CorruptStoreError: the row has no such entry.
        """
        _, entries, decoded = self._held(position)
        if number not in decoded:
            if not 0 <= number < len(entries):
                raise CorruptStoreError(f"log row {position} has no entry {number}", table=Table.LOG)
            decoded[number] = decode_entry(entries[number])
        return decoded[number]

    def _held(self, position: int) -> tuple[LogRow, list[bytes], dict[int, Entry]]:
        held = self._rows.get(position)
        if held is not None:
            self._rows.move_to_end(position)
            return held
        data = self._store.get(Table.LOG, number_key(position))
        if data is None:
            raise CorruptStoreError(f"log row {position} is missing", table=Table.LOG)
        row = unpack_log_row(data)
        held = (row, [] if row.author == CONTENT_AUTHOR else split_entries(row.body), {})
        self._rows[position] = held
        self._bytes += len(row.body)
        while self._bytes > CACHED_BYTES_MAX and len(self._rows) > 1:
            self._bytes -= len(self._rows.popitem(last=False)[1][0].body)
        return held
