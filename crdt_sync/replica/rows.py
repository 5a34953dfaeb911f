"""Keys and rows of the store's tables: the one place that knows their bytes (docs/spec/storage.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from crdt_sync.core.clock import HLC_MAX
from crdt_sync.core.entry import ChainHash, OperationType, split_entries
from crdt_sync.core.ids import AUTHOR_MAX, Author, DocumentKey
from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.packing import pack_values, unpack_shaped, unpack_values

POSITION_BYTES = 8
_CHAIN_ROW_BYTES = POSITION_BYTES + 32
_CHAIN_KEY_BYTES = 1 + 5 + 8
"""Without the partition's name."""
TOUCH_BYTES = 12
"""Of a key of the touch table, behind the document's address."""


def number_key(number: int) -> bytes:
    """A counting key: 8 bytes, big-endian, so that byte order is number order."""
    return number.to_bytes(POSITION_BYTES, "big")


def key_number(key: bytes) -> int:
    """The number of a counting key."""
    return int.from_bytes(key, "big")


def chain_prefix(partition: str, author: Author) -> bytes:
    """The common start of all chain keys of one author in one partition."""
    name = partition.encode()
    return bytes((len(name),)) + name + author.to_bytes(5, "big")


def chain_key(partition: str, author: Author, sequence: int) -> bytes:
    """Key of the chain table."""
    return chain_prefix(partition, author) + sequence.to_bytes(8, "big")


def split_chain_key(key: bytes) -> tuple[str, Author, int]:
    """(partition, author, sequence) of a chain key."""
    end = 1 + key[0] if key else 0
    if len(key) != _CHAIN_KEY_BYTES + end - 1:
        raise CorruptStoreError("a key of table chain names no entry", table="chain", key=key)
    partition, author = key[1:end].decode(errors="replace"), Author(int.from_bytes(key[end : end + 5], "big"))
    return partition, author, int.from_bytes(key[end + 5 :], "big")


def after_prefix(prefix: bytes) -> bytes:
    """The smallest key behind all keys that start with ``prefix``."""
    number = int.from_bytes(prefix, "big") + 1
    return number.to_bytes(len(prefix), "big") if number >> (8 * len(prefix)) == 0 else prefix + b"\xff" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One row of the log: one's own entry, somebody's run, or content taken from a peer's document.

    Args:
        partition: where it belongs.
        author: whose chain it continues; 0 for content, which is in no chain.
        first: sequence of the first entry in ``body``.
        last: sequence of the last entry that is applied; entries behind it are void.
        head: chain hash at ``last``.
        clock: the replica's HLC when the row was written.
        own: whether this replica wrote it.
        body: entries, packed.
        signature: of its author's device, at the end of the body.
    """

    partition: str
    author: Author
    first: int
    last: int
    head: ChainHash
    clock: int
    own: bool
    body: bytes
    signature: bytes = b""

    def applied(self) -> list[bytes]:
        """Its entries, encoded, without the void ones: those may be bytes that are no entry."""
        return split_entries(self.body)[: self.last - self.first + 1]

    def pack(self) -> bytes:
        """The row's bytes."""
        return pack_values(
            self.partition,
            self.author,
            self.first,
            self.last,
            self.head,
            self.clock,
            self.own,
            self.body,
            self.signature,
        )


_LOG_TYPES = (str, int, int, int, bytes, int, bool, bytes, bytes)


def unpack_log_row(data: bytes) -> LogRow:
    """Read a row of the log."""
    values = unpack_values(data, 9, "log")
    _check_types(values, _LOG_TYPES, "log")
    partition, author, first, last, head, clock, own, body, signature = values
    _check_author(author, "log")
    return LogRow(
        partition=partition,
        author=author,
        first=first,
        last=last,
        head=head,
        clock=clock,
        own=own,
        body=body,
        signature=signature,
    )


def pack_chain_row(position: int, head: ChainHash) -> bytes:
    """A row of the chain table: where in the log, and the chain hash there."""
    return number_key(position) + head


def unpack_chain_row(data: bytes) -> tuple[int, ChainHash]:
    """Read a row of the chain table."""
    if len(data) != _CHAIN_ROW_BYTES:
        raise CorruptStoreError("a row of table chain has the wrong length", table="chain")
    return key_number(data[:POSITION_BYTES]), ChainHash(data[POSITION_BYTES:])


class Touch(NamedTuple):
    """Which operation of which entry of which log row touched a document."""

    position: int
    entry: int
    operation: int


def touch_key(document: DocumentKey, touch: Touch) -> bytes:
    """Key of the touch table: one for each operation, so a document's history is a range."""
    return (
        document
        + touch.position.to_bytes(8, "big")
        + touch.entry.to_bytes(2, "big")
        + touch.operation.to_bytes(2, "big")
    )


def split_touch_key(key: bytes) -> Touch:
    """The touch of a key of the touch table."""
    if len(key) <= TOUCH_BYTES:
        raise CorruptStoreError("a key of table touch names no operation", table="touch", key=key)
    return Touch(int.from_bytes(key[-12:-4], "big"), int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big"))


class DocumentRow(NamedTuple):
    """Derived state of one document.

    Args:
        position: the log position up to which ``state`` and ``units`` hold everything.
        live: whether the record is live (as of its last derivation).
        conflicts: ids of its open conflicts, 16 bytes each.
        state: the engine's state as one update.
        units: what screening must know, packed (`core.index`).
    """

    position: int
    live: bool
    conflicts: tuple[bytes, ...]
    state: bytes
    units: bytes

    def pack(self) -> bytes:
        """The row's bytes."""
        return pack_values(*self)


def unpack_document_row(data: bytes) -> DocumentRow:
    """Read a row of the document table."""
    return DocumentRow._make(unpack_shaped(data, (int, bool, [bytes], bytes, bytes), table="document"))


NO_ENTRY = 0
"""The sequence of an operation whose entry was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """One row of the journal.

    Args:
        type: create, update or delete.
        document: the record.
        author, sequence, index: where it stands: whose entry, and which operation in it. The sequence is `NO_ENTRY`
            where that was taken back.
        hlc: packed timestamp.
        status: 0 pending, 1 completed, 2 failed.
        attempts: how often it was sent.
        error: why it failed, or empty.
        finished_ms: when it was completed or failed, milliseconds since 1970; 0 while pending.
        data: of a failed one, what it wrote (`written.pack_written`), so that this outlives its entry.
    """

    type: OperationType
    document: DocumentKey
    author: Author
    sequence: int
    index: int
    hlc: int
    status: int = 0
    attempts: int = 0
    error: str = ""
    finished_ms: int = 0
    data: bytes = b""

    def pack(self) -> bytes:
        """The row's bytes."""
        values = (
            _TYPES.index(self.type),
            self.document,
            self.author,
            self.sequence,
            self.index,
            self.hlc,
            self.status,
            self.attempts,
            self.error,
            self.finished_ms,
        )
        return pack_values(*values, self.data) if self.data else pack_values(*values)

    def changed(self, **values: Any) -> OperationRow:
        """A copy with some values changed."""
        return replace(self, **values)


_TYPES = (OperationType.CREATE, OperationType.UPDATE, OperationType.DELETE)
_STATUS_MAX = 2
_OPERATION_TYPES = (int, bytes, int, int, int, int, int, int, str, int, bytes)


def unpack_operation_row(data: bytes) -> OperationRow:
    """Read a row of the journal."""
    values = unpack_values(data, (10, 11), "operation")
    _check_types(values, _OPERATION_TYPES[: len(values)], "operation")
    kind, document, author, sequence, index, hlc, status, attempts, error, finished, *wrote = values
    _check_author(author, "operation")
    if kind >= len(_TYPES) or status > _STATUS_MAX:
        raise CorruptStoreError("a row of table operation has values out of range", table="operation")
    return OperationRow(
        type=_TYPES[kind],
        document=document,
        author=author,
        sequence=sequence,
        index=index,
        hlc=hlc,
        status=status,
        attempts=attempts,
        error=error,
        finished_ms=finished,
        data=wrote[0] if wrote else b"",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncLogRow:
    """One row of the log of results: of operations that came through, or were refused, together.

    Args:
        first, last: numbers of the operations.
        error: why they failed, or empty.
        finished_ms: when it was noted, milliseconds since 1970.
        peer: the device that said so.
    """

    first: int
    last: int
    error: str
    finished_ms: int
    peer: str

    def pack(self) -> bytes:
        """The row's bytes."""
        return pack_values(self.first, self.last, self.error, self.finished_ms, self.peer)


def unpack_sync_log_row(data: bytes) -> SyncLogRow:
    """Read a row of the log of results."""
    values = unpack_values(data, 5, "synclog")
    _check_types(values, (int, int, str, int, str), "synclog")
    first, last, error, finished, peer = values
    return SyncLogRow(first=first, last=last, error=error, finished_ms=finished, peer=peer)


def pack_vector(vector: dict[str, dict[Author, int]]) -> bytes:
    """Partition → author → last sequence."""
    return pack_values(vector)


def unpack_vector(data: bytes) -> dict[str, dict[Author, int]]:
    """Read a vector of sequences."""
    (vector,) = unpack_shaped(data, ({str: {int: int}},), table="holding")
    return vector  # type: ignore[no-any-return]  # it has this shape


class Base(NamedTuple):
    """What was folded of one document.

    Args:
        touched: author → sequence of its last entry in it; 0 stands for content taken from a peer.
        state: the engine's state as one update.
        until: timestamp of the latest entry in it; 0 where that is not known.
        since: timestamp of the earliest entry in it; 0 where that is not known.
    """

    touched: dict[Author, int]
    state: bytes
    until: int = 0
    since: int = 0

    def pack(self) -> bytes:
        """The bytes of a row of the base table; equal bases of one state have equal bytes."""
        flat = [item for pair in sorted(self.touched.items()) for item in pair]
        return pack_values(flat, self.state, self.until, *([self.since] if self.since else []))


def unpack_base(data: bytes) -> Base:
    """Read a row of the base table, or what a peer sent of one.

    Raises:
        CorruptStoreError: it is none.
    """
    flat, state, *times = unpack_values(data, (2, 3, 4), "base")
    until, since, *_ = *times, 0, 0
    if type(flat) is not tuple or len(flat) % 2 or type(state) is not bytes or any(type(n) is not int for n in flat):
        raise CorruptStoreError("a row of table base has the wrong shape", table="base")
    if any(type(time) is not int or not 0 <= time <= HLC_MAX for time in (since, until)):
        raise CorruptStoreError("a row of table base has the wrong shape", table="base")
    return Base(dict(zip(flat[::2], flat[1::2], strict=True)), state, until, since)


class Folded(NamedTuple):
    """What the log was when rows were last taken out of it by compaction.

    Args:
        end: its last position then, which is never given to another row.
        clock: the replica's HLC then.
        generation: how often rows were taken out, so that other readers notice.
    """

    end: int
    clock: int
    generation: int

    def pack(self) -> bytes:
        """The bytes of the row in the meta table."""
        return pack_values(*self)


FOLDED = b"folded"
"""Key of `Folded` in the meta table."""

FLOOR_POSITION = 0
"""Stands in chain rows for an entry whose row was folded: the author's chain begins behind it here."""


def unpack_folded(data: bytes | None) -> Folded:
    """Read what the meta table says; nothing where no row was ever folded."""
    if data is None:
        return Folded(0, 0, 0)
    values = unpack_values(data, 3, "meta")
    _check_types(values, (int, int, int), "meta")
    return Folded(*values)


def _check_types(values: tuple[Any, ...], types: tuple[type, ...], table: str) -> None:
    """Refuse a row with a value of another type, or a number below 0."""
    for value, wanted in zip(values, types, strict=True):
        if type(value) is not wanted or (isinstance(value, int) and value < 0):
            raise CorruptStoreError(f"a row of table {table} has values of other types", table=table)


def _check_author(author: int, table: str) -> None:
    if author > AUTHOR_MAX:
        raise CorruptStoreError(f"a row of table {table} names no author", table=table)
