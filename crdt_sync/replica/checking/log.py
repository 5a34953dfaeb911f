"""Checking the log: every author's chain, and the indexes over it in both directions."""

from __future__ import annotations

from crdt_sync.core.entry import ChainHash, Entry, decode_entry, head_hash, run_statement, split_entries
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.records import OPEN_SPACE, AnyRecord, RecordSet, SpaceRecord, decode_record
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.checking.findings import CheckReport, named
from crdt_sync.replica.checking.reading import LogReader, whole_rows
from crdt_sync.replica.compaction import FOLDING
from crdt_sync.replica.lacking import holds_content
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    FOLDED,
    TOUCH_BYTES,
    LogRow,
    Touch,
    chain_key,
    key_number,
    split_chain_key,
    split_touch_key,
    touch_key,
    unpack_base,
    unpack_chain_row,
    unpack_log_row,
)
from crdt_sync.replica.taking import floors_being_taken
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Store, Table


def sound_records(store: Store, report: CheckReport) -> RecordSet:
    """The space records whose signatures hold; and that none is missing that another one names."""
    records: list[AnyRecord] = []
    for key, data in whole_rows(store, Table.RECORD):
        report.count("space records")
        where = f"space record {key_number(key)}"
        try:
            record = decode_record(data)
        except CRDTSyncError as error:
            report.add("signature", where=where, reason=error.message)
            continue
        if verify(record.public_key, statement=record.statement(), signature=record.signature):
            records.append(record)
        else:
            report.add("signature", where=where, reason="the signature does not hold")
    found = RecordSet(records)
    for record in records:
        parents = record.parents if isinstance(record, SpaceRecord) else ()
        for parent in parents:
            if parent not in found:
                report.add("signature", where=f"space record {parent.hex()}", reason="it is named and not here")
    return found


class LogCheck:
    """Follows every author's chain through the log: numbers, hashes, signatures, and the indexes over it."""

    def __init__(self, store: Store, report: CheckReport, records: RecordSet) -> None:
        self._store = store
        self._report = report
        self._ledger = Ledger(store)
        self._records = records
        self._settled = records.settled_partitions()
        self._folding = key_number(store.get(Table.META, FOLDING) or b"")
        self._taking = floors_being_taken(store)
        self._ends: dict[tuple[str, Author], tuple[int, ChainHash]] = {}
        self._position = 0
        self._unknown: set[bytes] = set()

    def run(self) -> None:
        """Check all rows."""
        for key, data in whole_rows(self._store, Table.LOG):
            self._position = key_number(key)
            self._report.count("log rows")
            row: LogRow | None = None
            try:
                row = unpack_log_row(data)
                self._check_row(row)
            except CRDTSyncError as error:
                self._find("log", error.message, row=row)

    def _check_row(self, row: LogRow) -> None:
        if row.author == CONTENT_AUTHOR:
            return
        entries = split_entries(row.body)
        floor = self._ledger.floor_of(row.partition, row.author)
        held, start = self._ends.get((row.partition, row.author), (floor.sequence, floor.hash))
        if row.first > held + 1:
            self._find("chain", f"author {row.author} goes from entry {held} to {row.first}", row=row)
        if row.first != held + 1:
            known = self._ledger.hash_at(row.partition, row.author, row.first - 1)
            if known is None:
                return
            start = known
        applied = row.last - row.first + 1
        head = head_hash(start, entries[:applied])
        if head != row.head or not 0 < applied <= len(entries):
            self._find("chain", f"the hash after entry {row.last} of author {row.author} does not hold", row=row)
        self._ends[row.partition, row.author] = (row.last, row.head)
        self._check_signature(row, end=row.first + len(entries) - 1, head=head_hash(head, entries[applied:]))
        self._check_index(row)
        for number, data in enumerate(entries[:applied]):
            if max(held, self._taking.get((row.partition, row.author), 0)) < row.first + number:
                self._check_entry(row, decode_entry(data), number)

    def _check_signature(self, row: LogRow, *, end: int, head: ChainHash) -> None:
        self._report.count("signatures")
        key = self._records.bound_key(row.author)
        if key is None:
            self._find("signature", f"author {row.author} is bound to no device", row=row)
        elif not verify(key, statement=run_statement(OPEN_SPACE, end, head), signature=row.signature):
            self._find("signature", f"the signature of author {row.author} at entry {end} does not hold", row=row)

    def _check_index(self, row: LogRow) -> None:
        data = self._store.get(Table.CHAIN, chain_key(row.partition, row.author, row.last))
        if data is None or unpack_chain_row(data) != (self._position, row.head):
            reason = f"the chain table does not lead to entry {row.last} of author {row.author}"
            self._find("index", reason, row=row)

    def _check_entry(self, row: LogRow, entry: Entry, number: int) -> None:
        self._report.count("entries")
        for record in entry.records:
            if record not in self._records and record not in self._unknown:
                self._unknown.add(record)
                self._find("signature", f"space record {record.hex()} is named and not here", row=row, number=number)
        if self._position <= self._folding:
            return  # its documents may be folded already
        for at, operation in enumerate(entry.operations):
            is_here = self._store.get(Table.VERSION, operation.document) is not None
            if not is_here and split_document_key(operation.document)[0] in self._settled:
                continue  # removed by a horizon
            touch = Touch(self._position, number, at)
            is_known = self._store.get(Table.TOUCH, touch_key(operation.document, touch)) is not None
            if not is_known and not holds_content(self._store, self._ledger, operation.document):
                reason = f"the touch table misses an operation on {named(operation.document)}"
                self._find("index", reason, row=row, number=number)
            if not is_here:
                reason = f"the version table misses {named(operation.document)}"
                self._find("index", reason, row=row, number=number)

    def _find(self, what: str, reason: str, *, row: LogRow | None, number: int = 0) -> None:
        author, sequence = (0, 0) if row is None else (row.author, row.first + number)
        self._report.add(what, where=f"log row {self._position}", reason=reason, author=author, sequence=sequence)


def check_indexes(store: Store, report: CheckReport) -> None:
    """That every row of the indexes leads to what it says: what is gone from the log is still named there."""
    log, floors = LogReader(store), 0
    for key, data in whole_rows(store, Table.CHAIN):
        _, author, sequence = split_chain_key(key)
        position, head = unpack_chain_row(data)
        if position == FLOOR_POSITION:
            floors += 1
            continue
        reason = ""
        try:
            row = log.row(position)
            if (row.author, row.last, row.head) != (author, sequence, head):
                reason = f"the chain table leads to another entry than {sequence} of author {author}"
        except CRDTSyncError as error:
            reason = error.message
        if reason:
            report.add("index", where=f"log row {position}", reason=reason, author=author, sequence=sequence)
    if floors and store.get(Table.META, FOLDED) is None:
        report.add("meta", where="key folded", reason="entries were folded, and nothing says so")
    for key, _ in whole_rows(store, Table.TOUCH):
        reason = _misled(log, DocumentKey(key[:-TOUCH_BYTES]), split_touch_key(key))
        if reason:
            report.add_document("index", DocumentKey(key[:-TOUCH_BYTES]), reason)


def check_bases(store: Store, report: CheckReport) -> None:
    """That what was folded into documents is held: a replica that claims less can take its own entries from nobody."""
    ledger, taking = Ledger(store), floors_being_taken(store)
    for key, data in whole_rows(store, Table.BASE):
        partition = split_document_key(DocumentKey(key))[0]
        for author, sequence in unpack_base(data).touched.items():
            held = max(ledger.end_of(partition, author).sequence, taking.get((partition, author), 0))
            if author != CONTENT_AUTHOR and sequence > held:
                reason = f"entry {sequence} of author {author} was folded into it, and is not held"
                report.add_document("index", DocumentKey(key), reason, author=author)


def _misled(log: LogReader, document: DocumentKey, touch: Touch) -> str:
    """Why a touch does not lead to an operation on its document, or an empty string."""
    try:
        if log.row(touch.position).author == CONTENT_AUTHOR:
            return ""
        operations = log.entry(touch.position, touch.entry).operations
    except CRDTSyncError as error:
        return error.message
    if touch.operation < len(operations) and operations[touch.operation].document == document:
        return ""
    return f"the touch table leads to another document in log row {touch.position}"
