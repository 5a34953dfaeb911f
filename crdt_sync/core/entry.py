"""Entries and runs: the unit of the log, its hash chain, and its signed form.

An entry is one transaction of one author in one partition. Its position (partition, author, sequence) is not written
into it: the run that carries it gives the first sequence, and the chain hash binds it:

    hash(0)   = blake3("chain", partition, author)
    hash(n+1) = blake3(hash(n), entry bytes)

so one hash names a whole history. A run is the entries up to a head that its author's device has signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, NewType

import msgpack
from blake3 import blake3

from crdt_sync.core.ids import AUTHOR_MAX, Author, DocumentKey
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.varint import read_varint, varint
from crdt_sync.errors import ChainError, EntryError, LimitError, MalformedEntryError

ChainHash = NewType("ChainHash", bytes)
"""32 bytes naming the whole history of one author in one partition up to an entry."""

SHORT_HASH_BYTES = 8
RECORD_HASH_BYTES = 16
SEQUENCE_MAX = 2**53


class OperationType(str, Enum):
    """What an operation does to its record."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


_TYPE_CODES = {OperationType.CREATE: 0, OperationType.UPDATE: 1, OperationType.DELETE: 2}
_CODE_TYPES = {code: kind for kind, code in _TYPE_CODES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last entry of an author that was seen: sequence and the first 8 bytes of the chain hash there."""

    author: Author
    sequence: int
    short_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryOperation:
    """One change of one record: what it does, to which document, and the engine update that does it."""

    type: OperationType
    document: DocumentKey
    update: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transaction.

    Args:
        hlc: packed HLC timestamp of the transaction.
        records: first 16 bytes of the hashes of the maximal space records that the author's replica got to know since
            its previous entry.
        heads: maximal heads of other authors of the partition that moved since the author's previous entry.
        operations: at most one for each record, in the order of first touch.
    """

    hlc: int
    records: tuple[bytes, ...] = ()
    heads: tuple[Head, ...] = ()
    operations: tuple[EntryOperation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Entries of one author in one partition, up to a signed head.

    Args:
        body: the entries, each preceded by its length as a varint; relayed byte for byte.
        signature: 64 bytes of Ed25519 over `run_statement` of the last entry.
    """

    partition: str
    author: Author
    first_sequence: int
    body: bytes
    signature: bytes


def encode_entry(entry: Entry) -> bytes:
    """Encode an entry; equal entries give equal bytes."""
    encoded: bytes = msgpack.packb(
        (
            entry.hlc,
            entry.records,
            [(head.author, head.sequence, head.short_hash) for head in entry.heads],
            [(_TYPE_CODES[op.type], op.document, op.update) for op in entry.operations],
        )
    )
    if len(encoded) > ENTRY_LIMITS.entry_bytes_max:
        raise LimitError(f"an entry has at most {ENTRY_LIMITS.entry_bytes_max} bytes, this one {len(encoded)}")
    return encoded


def decode_entry(data: bytes) -> Entry:
    """Decode an entry, checking every shape and bound.

    Raises:
        MalformedEntryError: not an entry.
        LimitError: larger than a constant of the space.
    """
    if len(data) > ENTRY_LIMITS.entry_bytes_max:
        raise LimitError("an entry larger than the space allows")
    try:
        raw: Any = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        hlc, records, heads, operations = raw
        if len(heads) > ENTRY_LIMITS.heads_max or len(records) > ENTRY_LIMITS.heads_max:
            raise LimitError("an entry that names more heads or records than the space allows")
        if not 1 <= len(operations) <= ENTRY_LIMITS.operations_max:
            raise LimitError("an entry has from one operation up to as many as the space allows")
        entry = Entry(
            hlc=_bounded_int(hlc, 2**64 - 1),
            records=tuple(_sized_bytes(item, RECORD_HASH_BYTES) for item in records),
            heads=tuple(_head(item) for item in heads) if heads else (),
            operations=tuple([_operation(item) for item in operations]),
        )
    except (ValueError, TypeError, KeyError, RecursionError, msgpack.exceptions.UnpackException):
        raise MalformedEntryError("bytes that are no entry") from None
    if len({op.document for op in entry.operations}) != len(entry.operations):
        raise MalformedEntryError("an entry that names one document twice")
    return entry


def decode_readable(entries: Iterable[bytes]) -> list[Entry]:
    """The entries up to the first malformed one: what stands behind that counts for nothing."""
    decoded: list[Entry] = []
    for data in entries:
        try:
            decoded.append(decode_entry(data))
        except EntryError:
            break
    return decoded


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """Join encoded entries into the body of a run."""
    parts: list[bytes] = []
    for entry in entries:
        parts.append(varint(len(entry)))
        parts.append(entry)
    return b"".join(parts)


def split_entries(body: bytes) -> list[bytes]:
    """Split the body of a run into encoded entries.

    Raises:
        MalformedEntryError: lengths that do not add up.
        LimitError: more entries than a run may hold.
    """
    entries: list[bytes] = []
    position, end = 0, len(body)
    while position < end:
        length, position = read_varint(body, position)
        if length == 0 or position + length > end:
            raise MalformedEntryError("a run whose lengths do not add up")
        entries.append(body[position : position + length])
        position += length
        if len(entries) > ENTRY_LIMITS.run_entries_max:
            raise LimitError("a run with more entries than the space allows")
    return entries


@lru_cache(maxsize=1024)
def genesis_hash(partition: str, author: Author) -> ChainHash:
    """The chain hash before an author's first entry in a partition."""
    seed = author.to_bytes(5, "big") + partition.encode()
    return ChainHash(blake3(seed, derive_key_context="crdt_sync 2026 chain genesis").digest())


def next_hash(previous: ChainHash, entry: bytes) -> ChainHash:
    """The chain hash after one more encoded entry."""
    return ChainHash(blake3(previous + entry).digest())


def head_hash(previous: ChainHash, entries: Sequence[bytes]) -> ChainHash:
    """The chain hash after several more encoded entries."""
    for entry in entries:
        previous = next_hash(previous, entry)
    return previous


def run_statement(space: bytes, sequence: int, head: ChainHash) -> bytes:
    """The bytes that a device signs for a run whose last entry is at ``sequence`` with chain hash ``head``."""
    return b"crdt_sync run 0\0" + space + sequence.to_bytes(8, "big") + head


def encode_run(run: Run) -> bytes:
    """Encode a run as it is sent and relayed."""
    packed: bytes = msgpack.packb((run.partition, run.author, run.first_sequence, run.body, run.signature))
    return packed


def decode_run(data: bytes) -> Run:
    """Decode a run; its entries are decoded separately.

    Raises:
        MalformedEntryError: not a run.
        LimitError: larger than a constant of the space.
    """
    if len(data) > ENTRY_LIMITS.entry_bytes_max + 512:
        raise LimitError("a run larger than the space allows")
    try:
        raw: Any = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        partition, author, first, body, signature = raw
        if not isinstance(partition, str) or len(partition.encode()) > ENTRY_LIMITS.name_bytes_max:
            raise MalformedEntryError("a run of no partition")
        if not isinstance(body, bytes) or not body:
            raise MalformedEntryError("a run without entries")
        return Run(
            partition=partition,
            author=Author(_bounded_int(author, AUTHOR_MAX, least=1)),
            first_sequence=_bounded_int(first, SEQUENCE_MAX, least=1),
            body=body,
            signature=_sized_bytes(signature, 64),
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        raise MalformedEntryError("bytes that are no run") from None


def check_continues(*, expected: int, run: Run, entries: int) -> int:
    """How many leading entries of ``run`` are known already, when ``expected`` is the next sequence wanted.

    Raises:
        ChainError: the run starts beyond ``expected``, so entries in between are missing.
    """
    if run.first_sequence > expected:
        raise ChainError(f"a run starts at sequence {run.first_sequence}, expected was {expected}")
    return min(expected - run.first_sequence, entries)


def _head(item: Any) -> Head:
    author, sequence, short_hash = item
    return Head(
        author=Author(_bounded_int(author, AUTHOR_MAX, least=1)),
        sequence=_bounded_int(sequence, SEQUENCE_MAX, least=1),
        short_hash=_sized_bytes(short_hash, SHORT_HASH_BYTES),
    )


def _operation(item: Any) -> EntryOperation:
    code, document, update = item
    if type(document) is not bytes or type(update) is not bytes or not update or type(code) is not int:
        raise MalformedEntryError("an operation of the wrong shape")
    return EntryOperation(type=_CODE_TYPES[code], document=DocumentKey(document), update=update)


def _bounded_int(value: Any, most: int, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise MalformedEntryError("a number out of range")
    return value


def _sized_bytes(value: Any, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise MalformedEntryError("a byte string of the wrong length")
    return value
