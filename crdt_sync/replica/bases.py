"""Bases: what compaction has folded of each document, read from the store."""

from __future__ import annotations

from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.replica.rows import after_prefix, unpack_base
from crdt_sync.storage.base import Store, Table


def base_state(store: Store, key: DocumentKey) -> bytes:
    """A document as its folded operations left it, as one update; empty where none were folded."""
    data = store.get(Table.BASE, key)
    return b"" if data is None else unpack_base(data).state


def touched_by_base(store: Store, key: DocumentKey) -> dict[Author, int]:
    """The last entry of each author that is in a document's base."""
    data = store.get(Table.BASE, key)
    return {} if data is None else unpack_base(data).touched


def base_span(store: Store, key: DocumentKey) -> tuple[int, int] | None:
    """When the earliest and the latest entry in a document's base were made; 0 where that is not known.

    Clocks differ: the creation need not be the earliest. None where there is no base.
    """
    data = store.get(Table.BASE, key)
    if data is None:
        return None
    base = unpack_base(data)
    return base.since, base.until


def is_unwritten(store: Store, first: DocumentKey, last: DocumentKey) -> bool:
    """Whether the log and the bases know no document from one address to another."""
    end = after_prefix(last)
    rows = (store.scan(table, start=first, end=end, limit=1) for table in (Table.TOUCH, Table.BASE))
    return all(next(row, None) is None for row in rows)
