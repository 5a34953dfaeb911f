"""Reading a row of any table on its own: that it can be read tells nothing of whether it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from blake3 import blake3

from crdt_sync.core import codec
from crdt_sync.core.entry import decode_entry, decode_run, split_entries
from crdt_sync.core.ids import split_document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.records import decode_record
from crdt_sync.errors import CorruptStoreError
from crdt_sync.protocol.durable import decode_durable
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica.compaction import FOLDING
from crdt_sync.replica.conflicts import CONFLICT_ID_BYTES
from crdt_sync.replica.derived_rows import split_settled_key, unpack_settled_row, unpack_unique_row
from crdt_sync.replica.fork import CLAIMS, read_claims
from crdt_sync.replica.fork_notes import FORKS, unpack_notes
from crdt_sync.replica.handed_out import HANDED, read_handed
from crdt_sync.replica.holdings import read_known
from crdt_sync.replica.home_peers import read_home
from crdt_sync.replica.horizons import APPLIED, read_applied
from crdt_sync.replica.journal import FAILED
from crdt_sync.replica.kept_content import KEPT, read_kept
from crdt_sync.replica.lease import EPOCH_BYTES, REPLICA_ID_BYTES
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.packing import unpack_author, unpack_authors, unpack_sized
from crdt_sync.replica.rows import (
    FOLDED,
    POSITION_BYTES,
    TOUCH_BYTES,
    split_chain_key,
    split_touch_key,
    unpack_base,
    unpack_chain_row,
    unpack_document_row,
    unpack_folded,
    unpack_log_row,
    unpack_operation_row,
    unpack_sync_log_row,
    unpack_vector,
)
from crdt_sync.replica.schema import read_description
from crdt_sync.replica.set_aside import read_doubts
from crdt_sync.replica.stated import read_stated
from crdt_sync.replica.stepping import DRAWN
from crdt_sync.replica.taking import TAKING, VOUCHED, VOUCHED_BYTES, read_mark
from crdt_sync.replica.totals import TOTALS, Totals
from crdt_sync.replica.undo_stack import STACK, read_stack
from crdt_sync.replica.written import unpack_written
from crdt_sync.storage.base import Table

_VERSION_BYTES: Final = 16
_SETTLED_KEY_BYTES: Final = 16 + 13
"""Of a key of the table of settled conflicts, behind the document's address."""


def read_row(table: Table, key: bytes, value: bytes) -> None:
    """Read a row, to know whether it can be read.

    Raises:
        CRDTSyncError: it cannot.
    """
    try:
        _READERS[table](key, value)
    except UnicodeDecodeError:
        raise CorruptStoreError(f"a row of table {table} holds bytes that are no text", table=table, key=key) from None


_META: Final[Mapping[bytes, Callable[[bytes], object]]] = {
    b"replica_id": lambda data: unpack_sized(data, REPLICA_ID_BYTES, key=b"replica_id"),
    b"epoch": lambda data: unpack_sized(data, EPOCH_BYTES, key=b"epoch"),
    b"author": lambda data: unpack_author(data, key=b"author"),
    b"authors": lambda data: unpack_authors(data, key=b"authors"),
    b"inherited": lambda data: unpack_authors(data, key=b"inherited"),
    b"models": read_description,
    TOTALS: Totals.read,
    STACK: read_stack,
    CLAIMS: read_claims,
    DRAWN: read_claims,
    KEPT: read_kept,
    HANDED: read_handed,
    APPLIED: read_applied,
    FOLDED: unpack_folded,
    FORKS: unpack_notes,
    FOLDING: lambda data: unpack_sized(data, POSITION_BYTES, key=FOLDING),
}


def _read_meta(key: bytes, value: bytes) -> None:
    if key.startswith(TAKING):
        read_mark(value)
    elif key.startswith(VOUCHED):
        unpack_sized(value, VOUCHED_BYTES, key=key)
    elif key in _META:
        _META[key](value)


def _read_log(key: bytes, value: bytes) -> None:
    _sized(Table.LOG, key, POSITION_BYTES)
    row = unpack_log_row(value)
    for data in split_entries(row.body) if row.author != CONTENT_AUTHOR else []:
        decode_entry(data)


def _read_chain(key: bytes, value: bytes) -> None:
    split_chain_key(key)
    unpack_chain_row(value)


def _read_touch(key: bytes, _: bytes) -> None:
    split_touch_key(key)
    split_document_key(key[:-TOUCH_BYTES])


def _read_document(key: bytes, value: bytes) -> None:
    split_document_key(key)
    DocumentIndex.from_bytes(unpack_document_row(value).units)


def _read_version(key: bytes, value: bytes) -> None:
    split_document_key(key)
    _sized(Table.VERSION, value, _VERSION_BYTES)


def _read_operation(key: bytes, value: bytes) -> None:
    _sized(Table.OPERATION, key, POSITION_BYTES)
    row = unpack_operation_row(value)
    split_document_key(row.document)
    if row.data:
        unpack_written(row.data)


def _read_conflict(key: bytes, value: bytes) -> None:
    split_document_key(key[:-CONFLICT_ID_BYTES])
    value.decode()


def _read_record(key: bytes, value: bytes) -> None:
    _sized(Table.RECORD, key, POSITION_BYTES)
    decode_record(value)


def _read_sync_log(key: bytes, value: bytes) -> None:
    _sized(Table.SYNCLOG, key, POSITION_BYTES)
    unpack_sync_log_row(value)


def _read_holding(key: bytes, value: bytes) -> None:
    match key[:2]:
        case b"\0v" | b"\0f":
            decode_durable(value, limits=WireLimits())
        case b"\0k":
            read_known(value)
        case b"\0d":
            read_doubts(value)
        case b"\0u":
            value.decode()
        case b"\0h":
            read_home(value)
        case b"\0n":
            read_stated(value)
        case _:
            unpack_vector(value)


def _read_local(key: bytes, value: bytes) -> None:
    key.decode()
    codec.decode(value)


def _read_evidence(key: bytes, value: bytes) -> None:
    if blake3(decode_run(value).body).digest(len(key)) != key:
        raise CorruptStoreError("its key does not name it", table=Table.EVIDENCE, key=key)


def _read_settled(key: bytes, value: bytes) -> None:
    if len(key) <= _SETTLED_KEY_BYTES:
        raise CorruptStoreError("its key names no conflict", table=Table.SETTLED, key=key)
    split_document_key(split_settled_key(key)[0])
    unpack_settled_row(value)


def _read_base(key: bytes, value: bytes) -> None:
    split_document_key(key)
    unpack_base(value)


def _read_staged(key: bytes, value: bytes) -> None:
    split_document_key(key)
    if value:  # empty: it is to be removed
        unpack_base(value)


def _sized(table: Table, data: bytes, size: int) -> None:
    if len(data) != size:
        raise CorruptStoreError(f"a row of table {table} has the wrong length", table=table)


_READERS: Final[Mapping[Table, Callable[[bytes, bytes], object]]] = {
    Table.META: _read_meta,
    Table.LOG: _read_log,
    Table.CHAIN: _read_chain,
    Table.TOUCH: _read_touch,
    Table.DOCUMENT: _read_document,
    Table.VERSION: _read_version,
    Table.DIRTY: lambda key, _: split_document_key(key),
    Table.OPERATION: _read_operation,
    Table.PENDING: lambda key, _: _sized(Table.PENDING, key.removeprefix(FAILED), POSITION_BYTES),
    Table.CONFLICT: _read_conflict,
    Table.RECORD: _read_record,
    Table.SYNCLOG: _read_sync_log,
    Table.HOLDING: _read_holding,
    Table.LOCAL: _read_local,
    Table.EVIDENCE: _read_evidence,
    Table.SETTLED: _read_settled,
    Table.BASE: _read_base,
    Table.STAGED: _read_staged,
    Table.UNIQUE: lambda key, value: unpack_unique_row(value) if key[:1] == b"d" else None,
}
