"""Targets of what is signed and kept: entries and runs, value bytes, and engine updates as screening judges them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from crdt_sync.core import codec
from crdt_sync.core.entry import (
    OperationType,
    decode_entry,
    decode_run,
    encode_entry,
    encode_run,
    pack_entries,
    split_entries,
)
from crdt_sync.core.ids import AUTHOR_MAX, Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.records import decode_record, encode_record
from crdt_sync.core.screening import Screened, screen, screen_content
from crdt_sync.core.varint import read_varint
from crdt_sync.errors import MalformedEntryError
from tests.fuzz.refusing import Refused, attempt
from tests.unit.core.hostile import OWNER, check_engine_agrees, held

EMPTY: Final = b"\0\0"
"""The engine's state of an empty document."""


def entries(data: bytes) -> None:
    """Bytes as an entry, a run, the body of one, and a space record: refused, or the same when they are passed on."""
    entry = attempt(lambda: decode_entry(data))
    if not isinstance(entry, Refused):
        assert decode_entry(encode_entry(entry)) == entry
    record = attempt(lambda: decode_record(data))
    if not isinstance(record, Refused):
        assert decode_record(encode_record(record)) == record
        record.hash()
    run = attempt(lambda: decode_run(data))
    if not isinstance(run, Refused):
        assert decode_run(encode_run(run)) == run
    for body in (data, b"" if isinstance(run, Refused) else run.body):
        parts = attempt(partial(split_entries, body))
        if not isinstance(parts, Refused):
            assert pack_entries(parts) == body


def values(data: bytes) -> None:
    """Value bytes: refused, or a value whose own bytes give it back."""
    value = attempt(lambda: codec.decode(data))
    assert codec.is_value(data) != isinstance(value, Refused)
    if isinstance(value, Refused):
        return
    codec.decode_as_written(data)
    again = codec.encode(value)
    assert codec.encode(codec.decode(again)) == again


def updates(data: bytes) -> None:
    """An update by the author that it names, to a record of author 7 and to none: refused, or harmless."""
    author = claimed_author(data)
    _judged(
        data,
        EMPTY,
        DocumentIndex(),
        lambda index: screen(data, author=author, index=index, operation=OperationType.CREATE),
    )
    _judged(
        data,
        held().state,
        held().index,
        lambda index: screen(data, author=author, index=index, operation=OperationType.UPDATE),
    )


def contents(data: bytes) -> None:
    """A document's content as a peer sends it, for a record that is here and for none: refused, or harmless."""
    for state, index in ((EMPTY, DocumentIndex()), (held().state, held().index)):
        _judged(data, state, index, lambda index: screen_content(data, index=index))


def claimed_author(data: bytes) -> Author:
    """The author of an update's first block, or that of the record: whoever signs an entry can be anybody."""
    try:
        _, position = read_varint(data, 0)
        _, position = read_varint(data, position)
        author, _ = read_varint(data, position)
    except MalformedEntryError:
        return Author(OWNER)
    return Author(author if 1 <= author <= AUTHOR_MAX else OWNER)


def _judged(data: bytes, state: bytes, index: DocumentIndex, judge: Callable[[DocumentIndex], Screened]) -> None:
    before = index.to_bytes()
    screened = attempt(lambda: judge(index))
    assert index.to_bytes() == before, "judging an update changed the record"
    if isinstance(screened, Refused):
        return
    after = index.copy()
    after.apply(screened)
    values_left = check_engine_agrees(state, data, after)
    if index.clocks:
        assert map_key(KeyClass.CREATION, Author(OWNER)) in values_left, "the record was erased"
