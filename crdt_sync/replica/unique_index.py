"""The table of unique values: which records have equal ones, and which ones their documents link for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import values_hash
from crdt_sync.core.ids import DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.links import links_of
from crdt_sync.replica.derived_rows import UniqueRow, unique_key, unique_link_key, unique_value_key, unpack_unique_row
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import Declared
from crdt_sync.storage.base import Store, Table

Group = tuple[DocumentKey, ...]
"""The records that are shown as one, the survivor first; most are alone."""

_ID_BYTES = 16


def unique_values(declared: Declared, content: Content) -> bytes | None:
    """Names the unique values of a record; None where it is not compared: deleted, or without one of them."""
    if not declared.spec.unique or not declared.is_live(content):
        return None
    return declared.shield.call(partial(_unique_hash, declared, content), otherwise=None, what="the unique values")


def _unique_hash(declared: Declared, content: Content) -> bytes | None:
    return values_hash(declared.spec.unique, declared.unique_values(content))


def held_row(store: Store, key: DocumentKey) -> UniqueRow:
    """What is known of a record."""
    data = store.get(Table.UNIQUE, unique_key(key))
    return UniqueRow() if data is None else unpack_unique_row(data)


def note_record(store: Store, declared: Declared, key: DocumentKey, content: Content) -> set[DocumentKey]:
    """Bring the table up to date with one document; returns whose groups that may change.

    Args:
        store: in a transaction.
        declared: the model.
        key: the document.
        content: of this document alone. Where the model asks, the values are those of its group (`note_group`).
    """
    spec, own = declared.spec, key[-_ID_BYTES:]
    held = held_row(store, key)
    links = tuple(sorted(links_of(content).merged - {split_document_key(key)[2]}))
    affected = {key}
    if spec.groups:
        affected |= set(linked(store, key) if spec.asks else neighbours(store, key))
    for other in {*links, *held.links}:
        row = unique_link_key(_sibling(key, other)) + own
        if other not in links:
            store.delete(Table.UNIQUE, row)
        elif other not in held.links:
            store.put(Table.UNIQUE, row, b"")
    if links != held.links or not held.shown:
        store.put(Table.UNIQUE, unique_key(key), replace(held, links=links).pack())
    if not spec.asks:
        _note_values(store, key, unique_values(declared, content) or b"")
    return affected


def note_group(store: Store, group: Group, values: bytes | None) -> set[DocumentKey]:
    """Note the unique values that records show as one; returns the records that had or have the same.

    Args:
        store: in a transaction.
        group: the records.
        values: what names the values; None where they are not compared.
    """
    affected: set[DocumentKey] = set()
    for number, key in enumerate(group):
        before, now = held_row(store, key).values, b"" if number else values or b""
        if before:
            affected |= set(mates(store, key, before))
        _note_values(store, key, now)
    if values is not None:
        affected |= set(mates(store, group[0], values))
    return affected


def forget_record(store: Store, key: DocumentKey) -> set[DocumentKey]:
    """Take a document that is removed out of the table; returns whose groups that may change."""
    held = held_row(store, key)
    affected = set(neighbours(store, key))
    _note_values(store, key, b"")
    for other in held.links:
        store.delete(Table.UNIQUE, unique_link_key(_sibling(key, other)) + key[-_ID_BYTES:])
    store.delete(Table.UNIQUE, unique_key(key))
    return affected


def _note_values(store: Store, key: DocumentKey, values: bytes) -> None:
    held = held_row(store, key)
    if values != held.values:
        if held.values:
            store.delete(Table.UNIQUE, _value_row(key, held.values))
        if values:
            store.put(Table.UNIQUE, _value_row(key, values), b"")
        store.put(Table.UNIQUE, unique_key(key), replace(held, values=values).pack())


def _value_row(key: DocumentKey, values: bytes) -> bytes:
    return unique_value_key(key[:-_ID_BYTES], values) + key[-_ID_BYTES:]


def neighbours(store: Store, key: DocumentKey) -> Iterator[DocumentKey]:
    """The records that have the same unique values as one, or are linked with it."""
    yield from linked(store, key)
    held = held_row(store, key)
    if held.values:
        yield from (other for other in mates(store, key, held.values) if other != key)


def linked(store: Store, key: DocumentKey) -> Iterator[DocumentKey]:
    """The records that are linked with one for ever."""
    found = [_sibling(key, other) for other in held_row(store, key).links]
    start = unique_link_key(key)
    found += [_with_id(key, row) for row, _ in store.scan(Table.UNIQUE, start=start, end=after_prefix(start))]
    yield from (other for other in found if store.get(Table.UNIQUE, unique_key(other)) is not None)


def mates(store: Store, key: DocumentKey, values: bytes) -> Iterator[DocumentKey]:
    """The records of a record's model that have these values."""
    prefix = key[:-_ID_BYTES]
    start = unique_value_key(prefix, values)
    for row, _ in store.scan(Table.UNIQUE, start=start, end=after_prefix(start)):
        yield DocumentKey(prefix + row[-_ID_BYTES:])


def _sibling(key: DocumentKey, record: str) -> DocumentKey:
    partition, model, _ = split_document_key(key)
    return document_key(partition, model, RecordId(record))


def _with_id(key: DocumentKey, row: bytes) -> DocumentKey:
    return DocumentKey(key[:-_ID_BYTES] + row[-_ID_BYTES:])
