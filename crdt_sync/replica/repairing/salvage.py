"""Making a new store of what is sound in a damaged one.

What must not be lost is taken over row by row, where it holds: checksums, chains, signatures, causes. What can be
derived is derived anew. A chain ends where its first entry is missing, so that this replica claims to hold nothing else
and a peer sends the rest; what documents held of it all the same stays in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from crdt_sync.core.clock import HLC_MAX
from crdt_sync.core.entry import Entry, decode_entry, head_hash, run_statement, split_entries
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.records import OPEN_SPACE, RecordSet, decode_record
from crdt_sync.errors import ChainError, CorruptStoreError, CRDTSyncError, MalformedEntryError, SignatureError
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.checking.readers import read_row
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.replica.lacking import holds_content
from crdt_sync.replica.lease import FENCES
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.repairing.doubts import Doubts
from crdt_sync.replica.repairing.quarantine import Quarantine
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    FOLDED,
    TOUCH_BYTES,
    Base,
    Folded,
    LogRow,
    Touch,
    after_prefix,
    key_number,
    pack_chain_row,
    split_chain_key,
    split_touch_key,
    touch_key,
    unpack_base,
    unpack_chain_row,
    unpack_folded,
    unpack_log_row,
)
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Store, Table

COPIED: Final = (
    Table.META,
    Table.HOLDING,
    Table.LOCAL,
    Table.EVIDENCE,
    Table.SYNCLOG,
    Table.SETTLED,
    Table.STAGED,
)
"""Taken over as they are."""
BATCH_ROWS: Final = 512
"""Rows in one transaction."""
FROM_A_REPAIR: Final = 1
"""Stands in a base, in place of the log position from where content was taken."""
POSITION_MAX: Final = 2**48
"""Of the log: beyond what any store comes to, and what follows it can still be counted."""
_UNKNOWN_VERSION = bytes(16)


class Salvage:
    """Takes over from a damaged store what holds; `run` once.

    Args:
        source: the damaged store; it is only read.
        target: a new store.
        quarantine: gets what cannot be taken over.
        step: told of each row.
        broken_seals: tables of the damaged store of which rows are gone, or older ones are back.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        quarantine: Quarantine,
        *,
        step: Callable[[], None],
        broken_seals: frozenset[str] = frozenset(),
    ) -> None:
        self._source = source
        self._target = target
        self._quarantine = quarantine
        self._step = step
        self._records = RecordSet()
        self._ledger = Ledger(target)
        self._contents: set[int] = set()
        self._here: set[DocumentKey] = set()
        self._floors: dict[tuple[str, Author], tuple[bytes, bytes]] = {}
        self._doubts = Doubts(broken_seals)
        self._clock = 0
        self._end = 0
        self.seen: dict[tuple[str, Author], int] = {}
        """The last entry of each author that the damaged store names."""
        self.unclaimed: list[DocumentKey] = []
        """Documents whose bases hold entries that this store cannot claim, since the row that tells of them is gone."""

    def run(self) -> None:
        """Take over everything but what is derived, and list the documents that are to be."""
        for table in COPIED:
            self._each(table, partial(self._copy, table))
        self._each(Table.RECORD, self._take_record)
        self._each(Table.BASE, self._take_base)
        self._here.update(_addresses(self._source))
        self._each(Table.CHAIN, self._take_floor)
        with self._target.transaction():
            self._put_floors()
        self._ledger.reload()
        self._each(Table.LOG, self._take_log_row)
        if self._contents:
            self._each(Table.TOUCH, self._take_content)
        self._claim_no_more_than_held()
        with self._target.transaction():
            self._leave_out_what_was_removed()
        with self._target.transaction():
            self._note_end()
            for key in sorted(self._here):
                self._target.put(Table.VERSION, key, _UNKNOWN_VERSION)

    def ends(self) -> dict[tuple[str, Author], int]:
        """The last entry of each author that was taken over."""
        return {
            (partition, author): end.sequence
            for partition, ends in self._ledger.heads.items()
            for author, end in ends.items()
        }

    def forget_fence(self) -> None:
        """Have the next open draw a new epoch and author: no finding tells surely that no own entry was lost."""
        with self._target.transaction():
            for table, key in (*FENCES, (Table.META, b"clean")):
                self._target.delete(table, key)

    def _each(self, table: Table, take: Callable[[bytes, bytes], None]) -> None:
        rows = whole_rows(self._source, table)
        while batch := [row for _, row in zip(range(BATCH_ROWS), rows, strict=False)]:
            with self._target.transaction():
                for key, value in batch:
                    self._step()
                    try:
                        take(key, value)
                    except CRDTSyncError as error:
                        self._quarantine.add(table, key, value, reason=error.message)

    def _copy(self, table: Table, key: bytes, value: bytes) -> None:
        read_row(table, key, value)
        reason = self._doubts.about(table, key)
        if reason:
            raise CorruptStoreError(reason, table=table, key=key)
        self._target.put(table, key, value)

    def _take_record(self, key: bytes, value: bytes) -> None:
        record = decode_record(value)
        if not verify(record.public_key, statement=record.statement(), signature=record.signature):
            raise SignatureError("the signature does not hold")
        self._records.add(record)
        self._target.put(Table.RECORD, key, value)

    def _take_base(self, key: bytes, value: bytes) -> None:
        partition, *_ = split_document_key(DocumentKey(key))
        for author, sequence in unpack_base(value).touched.items():
            if author != CONTENT_AUTHOR:
                self._note_seen(partition, author, sequence)
        self._here.add(DocumentKey(key))
        self._target.put(Table.BASE, key, value)

    def _take_floor(self, key: bytes, value: bytes) -> None:
        partition, author, sequence = split_chain_key(key)
        self._note_seen(partition, author, sequence)
        position, head = unpack_chain_row(value)
        self._note_position(position)
        if position == FLOOR_POSITION:
            if self._records.bound_key(author) is None:
                raise ChainError(f"no record says any more whose author {author} is, so it counts as content")
            before = self._floors.get((partition, author))
            if before is not None:  # keys are in order: this one is behind that
                reason = f"a later entry of author {author} was folded too"
                self._quarantine.add(Table.CHAIN, before[0], before[1], reason=reason)
            self._floors[partition, author] = key, pack_chain_row(FLOOR_POSITION, head)

    def _put_floors(self) -> None:
        self._target.put_many(Table.CHAIN, self._floors.values())
        if self._floors and self._target.get(Table.META, FOLDED) is None:
            self._target.put(Table.META, FOLDED, Folded(0, 0, 1).pack())

    def _take_log_row(self, key: bytes, value: bytes) -> None:
        row, position = unpack_log_row(value), key_number(key)
        if row.clock > HLC_MAX:
            raise CorruptStoreError("a row of table log names no moment", table=Table.LOG, key=key)
        self._note_position(position)
        self._clock = max(self._clock, row.clock)
        if row.author == CONTENT_AUTHOR:
            self._contents.add(position)
            self._target.put(Table.LOG, key, value)
            return
        self._note_seen(row.partition, row.author, row.last)
        entries = self._judge(row)
        before = self._ledger.end_of(row.partition, row.author).sequence
        self._ledger.end = position - 1
        self._ledger.append(row)
        for number, entry in enumerate(entries):
            if row.first + number > before:
                self._touch(row, Touch(position, number, 0), entry)

    def _judge(self, row: LogRow) -> list[Entry]:
        """The entries of a row that continues its author's chain, is rightly signed, and rests on what is here."""
        encoded = split_entries(row.body)
        held = self._ledger.end_of(row.partition, row.author).sequence
        start = self._ledger.hash_at(row.partition, row.author, row.first - 1)
        if row.first > held + 1 or row.last <= held or start is None:
            raise ChainError(f"what comes before entry {row.first} of author {row.author} is missing")
        applied = row.last - row.first + 1
        head = head_hash(start, encoded[:applied])
        if head != row.head or not 0 < applied <= len(encoded):
            raise ChainError(f"the hash after entry {row.last} of author {row.author} does not hold")
        end, key = row.first + len(encoded) - 1, self._records.bound_key(row.author)
        statement = run_statement(OPEN_SPACE, end, head_hash(head, encoded[applied:]))
        if key is None or not verify(key, statement=statement, signature=row.signature):
            raise SignatureError(f"the signature of author {row.author} at entry {end} does not hold")
        entries = [decode_entry(data) for data in encoded[:applied]]
        for seen in (head for entry in entries for head in entry.heads):
            if self._ledger.end_of(row.partition, seen.author).sequence < seen.sequence:
                raise ChainError(f"it rests on entry {seen.sequence} of author {seen.author}, which is missing")
        return entries

    def _touch(self, row: LogRow, touch: Touch, entry: Entry) -> None:
        for number, operation in enumerate(entry.operations):
            key = operation.document
            is_removed = key not in self._here and split_document_key(key)[0] in self._records.settled_partitions()
            is_folded = touched_by_base(self._target, key).get(row.author, 0) >= row.first + touch.entry
            if not is_removed:
                self._here.add(key)
            if not is_removed and not is_folded:
                self._target.put(Table.TOUCH, touch_key(key, touch._replace(operation=number)), b"")

    def _take_content(self, key: bytes, value: bytes) -> None:
        position = split_touch_key(key).position
        if position in self._contents:
            self._target.put(Table.TOUCH, key, value)

    def _claim_no_more_than_held(self) -> None:
        """Where the row is gone that tells up to where an author was folded, what bases hold of it becomes content.

        His entries come again then, from a peer, and find in the bases what they bring.
        """
        start = b""
        while batch := list(self._target.scan(Table.BASE, start=start, limit=BATCH_ROWS)):
            start = batch[-1][0] + b"\0"
            with self._target.transaction():
                for key, value in batch:
                    self._claim_no_more_of(DocumentKey(key), unpack_base(value))

    def _claim_no_more_of(self, key: DocumentKey, base: Base) -> None:
        partition, touched = split_document_key(key)[0], dict(base.touched)
        for author, sequence in base.touched.items():
            held = self._ledger.end_of(partition, author).sequence
            if author != CONTENT_AUTHOR and sequence > held:
                touched[author] = held
        if touched != base.touched:
            touched = {author: sequence for author, sequence in touched.items() if sequence}
            touched.setdefault(CONTENT_AUTHOR, FROM_A_REPAIR)
            self._target.put(Table.BASE, key, base._replace(touched=touched).pack())
            self.unclaimed.append(key)

    def _leave_out_what_was_removed(self) -> None:
        """Of records that horizons removed and content brought back, what came before has no part in them any more."""
        settled = self._records.settled_partitions()
        for key in self._here:
            if split_document_key(key)[0] not in settled or not holds_content(self._target, self._ledger, key):
                continue
            for name, _ in list(self._target.scan(Table.TOUCH, start=key, end=after_prefix(key))):
                if self._is_missing(Table.TOUCH, name):
                    self._target.delete(Table.TOUCH, name)

    def _is_missing(self, table: Table, key: bytes) -> bool:
        try:
            return self._source.get(table, key) is None
        except CRDTSyncError:
            return False  # it is there, and damaged

    def _note_position(self, position: int) -> None:
        if position > POSITION_MAX:
            raise CorruptStoreError(f"no log has a position {position:#x}", table=Table.LOG)
        self._end = max(self._end, position)

    def _note_seen(self, partition: str, author: Author, sequence: int) -> None:
        self.seen[partition, author] = max(sequence, self.seen.get((partition, author), 0))

    def _note_end(self) -> None:
        """Positions and timestamps that were used are not used again, though their rows may be gone."""
        held = unpack_folded(self._target.get(Table.META, FOLDED))
        self._ledger.reload()
        if self._ledger.end < self._end or self._ledger.clock() < self._clock:
            folded = Folded(max(held.end, self._end), max(held.clock, self._clock), held.generation)
            self._target.put(Table.META, FOLDED, folded.pack())


_DERIVED: Final = {Table.VERSION: 0, Table.DOCUMENT: 0, Table.TOUCH: TOUCH_BYTES}
"""Tables whose keys begin with the address of a document, and how many bytes follow it."""


def _addresses(source: Store) -> Iterator[DocumentKey]:
    """The documents that what is derived names; what names none is left, as it is derived anew."""
    for table, behind in _DERIVED.items():
        for key, _ in whole_rows(source, table):
            address = DocumentKey(key[: len(key) - behind])
            with suppress(MalformedEntryError):  # a row of another table that got here
                split_document_key(address)
                yield address


def rows_to_read(source: Store) -> Iterator[int]:
    """How many rows each table has that a salvage reads, as far as that can be counted."""
    for table in (*COPIED, Table.RECORD, Table.BASE, Table.CHAIN, Table.LOG):
        try:
            yield source.count(table)
        except CRDTSyncError:
            yield 0
