"""Checking a store from end to end: every row, chain and signature, and what was derived against what was logged.

It reads the file alone, changes nothing, and works beside a process that writes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from crdt_sync.cli.derived import DerivedCheck
from crdt_sync.core.entry import (
    ChainHash,
    Entry,
    EntryOperation,
    OperationType,
    decode_entry,
    head_hash,
    run_statement,
    split_entries,
)
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.records import OPEN_SPACE, RecordSet, decode_record
from crdt_sync.core.screening import screen_again
from crdt_sync.core.version import version_of_update
from crdt_sync.errors import CorruptStoreError, CRDTSyncError
from crdt_sync.replica.compaction import FOLDING
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.lacking import holds_content
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.opening import READER
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    LogRow,
    OperationRow,
    Touch,
    after_prefix,
    chain_key,
    key_number,
    number_key,
    split_touch_key,
    touch_key,
    unpack_base,
    unpack_chain_row,
    unpack_document_row,
    unpack_log_row,
    unpack_operation_row,
)
from crdt_sync.replica.taking import floors_being_taken
from crdt_sync.replica.trimming import is_upkeep
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Store, Table

FINDINGS_MAX: Final = 1_000
"""Damage that is listed; the rest is counted."""
TRIES_MAX: Final = 3
"""How often a document is compared while another process goes on writing."""
CACHED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of log rows that are kept while documents are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: what kind of thing, where, and why."""

    what: str
    where: str
    reason: str


@dataclass(slots=True)
class Findings:
    """What a check found, and how much it looked at."""

    listed: list[Finding] = field(default_factory=list)
    total: int = 0
    checked: dict[str, int] = field(default_factory=dict)
    not_current: dict[str, int] = field(default_factory=dict)
    """What is not brought up to date yet, which is no damage, and how many of it there are."""

    def add(self, what: str, *, where: str, reason: str) -> None:
        """Note damage."""
        self.total += 1
        if len(self.listed) < FINDINGS_MAX:
            self.listed.append(Finding(what=what, where=where, reason=reason))

    def count(self, what: str, number: int = 1) -> None:
        """Note that something was looked at."""
        self.checked[what] = self.checked.get(what, 0) + number


def check_store(store: Store) -> Findings:
    """Check everything; a part that cannot be read ends only that part."""
    findings = Findings()
    for damage in store.check():
        where = f"table {damage.table}, key {damage.key.hex()}" if damage.table else "file"
        findings.add("row" if damage.table else "structure", where=where, reason=damage.reason)
    for table in Table:
        _part(findings, f"table {table}", partial(_count_rows, store, findings, table))
    _part(findings, "space records", lambda: _check_records(store, findings))
    _part(findings, "log", lambda: _LogCheck(store, findings).run())
    _part(findings, "journal", lambda: _check_journal(store, findings))
    _part(findings, "documents", lambda: _DocumentCheck(store, findings).run())
    return findings


def _part(findings: Findings, name: str, work: Callable[[], None]) -> None:
    try:
        work()
    except CRDTSyncError as error:
        findings.add("unreadable", where=name, reason=error.message)


def _count_rows(store: Store, findings: Findings, table: Table) -> None:
    findings.count("rows", store.count(table))


def _check_records(store: Store, findings: Findings) -> None:
    for key, data in store.scan(Table.RECORD):
        findings.count("space records")
        record = decode_record(data)
        if not verify(record.public_key, statement=record.statement(), signature=record.signature):
            findings.add("signature", where=f"space record {key_number(key)}", reason="the signature does not hold")


class _LogCheck:
    """Follows every author's chain through the log: numbers, hashes, signatures, and the indexes over it."""

    def __init__(self, store: Store, findings: Findings) -> None:
        self._store = store
        self._findings = findings
        self._ledger = Ledger(store)
        self._records = RecordSet(decode_record(data) for _, data in store.scan(Table.RECORD))
        self._settled = self._records.settled_partitions()
        self._folding = key_number(store.get(Table.META, FOLDING) or b"")
        self._taking = floors_being_taken(store)
        self._ends: dict[tuple[str, Author], tuple[int, ChainHash]] = {}
        self._position = 0

    def run(self) -> None:
        """Check all rows."""
        for key, data in self._store.scan(Table.LOG):
            self._position = key_number(key)
            self._findings.count("log rows")
            try:
                self._check_row(unpack_log_row(data))
            except CRDTSyncError as error:
                self._report("log", error.message)

    def _check_row(self, row: LogRow) -> None:
        if row.author == CONTENT_AUTHOR:
            return
        entries = split_entries(row.body)
        held, start = self._ends.get((row.partition, row.author), self._ledger.floor_of(row.partition, row.author))
        if row.first > held + 1:
            self._report("chain", f"author {row.author} goes from entry {held} to {row.first}")
        if row.first != held + 1:
            known = self._ledger.hash_at(row.partition, row.author, row.first - 1)
            if known is None:
                return
            start = known
        applied = row.last - row.first + 1
        head = head_hash(start, entries[:applied])
        if head != row.head or not 0 < applied <= len(entries):
            self._report("chain", f"the hash after entry {row.last} of author {row.author} does not hold")
        self._ends[row.partition, row.author] = (row.last, row.head)
        self._check_signature(row, end=row.first + len(entries) - 1, head=head_hash(head, entries[applied:]))
        self._check_index(row)
        for number, data in enumerate(entries[:applied]):
            if max(held, self._taking.get((row.partition, row.author), 0)) < row.first + number:
                self._check_entry(decode_entry(data), number)

    def _check_signature(self, row: LogRow, *, end: int, head: ChainHash) -> None:
        self._findings.count("signatures")
        key = self._records.bound_key(row.author)
        if key is None:
            self._report("signature", f"author {row.author} is bound to no device")
        elif not verify(key, statement=run_statement(OPEN_SPACE, end, head), signature=row.signature):
            self._report("signature", f"the signature of author {row.author} at entry {end} does not hold")

    def _check_index(self, row: LogRow) -> None:
        data = self._store.get(Table.CHAIN, chain_key(row.partition, row.author, row.last))
        if data is None or unpack_chain_row(data) != (self._position, row.head):
            self._report("index", f"the chain table does not lead to entry {row.last} of author {row.author}")

    def _check_entry(self, entry: Entry, number: int) -> None:
        self._findings.count("entries")
        if self._position <= self._folding:
            return  # its documents may be folded already
        for at, operation in enumerate(entry.operations):
            is_here = self._store.get(Table.VERSION, operation.document) is not None
            if not is_here and split_document_key(operation.document)[0] in self._settled:
                continue  # removed by a horizon
            touch = Touch(self._position, number, at)
            is_known = self._store.get(Table.TOUCH, touch_key(operation.document, touch)) is not None
            if not is_known and not holds_content(self._store, self._ledger, operation.document):
                self._report("index", f"the touch table misses an operation on {_named(operation.document)}")
            if not is_here:
                self._report("index", f"the version table misses {_named(operation.document)}")

    def _report(self, what: str, reason: str) -> None:
        self._findings.add(what, where=f"log row {self._position}", reason=reason)


def _check_journal(store: Store, findings: Findings) -> None:
    """Every operation stands in the log as the journal says, and every own operation in the journal."""
    log = _LogReader(store)
    journaled = 0
    for key, data in store.scan(Table.OPERATION):
        findings.count("operations")
        journaled += 1
        try:
            row = unpack_operation_row(data)
            reason = _misses(store, row, log)
            if row.status == 0 and store.get(Table.PENDING, key) is None:
                reason = reason or "pending, but not in the queue"
        except CRDTSyncError as error:
            reason = error.message
        if reason:
            findings.add("journal", where=f"operation {key_number(key)}", reason=reason)
    own = 0
    for _, data in store.scan(Table.LOG):
        log_row = unpack_log_row(data)
        if log_row.own:
            entries = map(decode_entry, split_entries(log_row.body))
            own += sum(not is_upkeep(item.update) for entry in entries for item in entry.operations)
    if own > journaled:
        findings.add("journal", where="journal", reason=f"{own} own operations in the log, {journaled} in the journal")


def _misses(store: Store, row: OperationRow, log: _LogReader) -> str:
    """Why an operation does not stand in the log as its row says, or an empty string."""
    partition = split_document_key(row.document)[0]
    start = chain_key(partition, row.author, row.sequence)
    found = next(store.scan(Table.CHAIN, start=start, end=after_prefix(start[:-8]), limit=1), None)
    if found is None:
        return "its entry is not in the log"
    position = unpack_chain_row(found[1])[0]
    if position == FLOOR_POSITION:
        return ""  # it was folded
    entry = log.entry(position, row.sequence - log.row(position).first)
    if row.index >= len(entry.operations):
        return "its entry has fewer operations"
    operation = entry.operations[row.index]
    if (operation.document, operation.type) != (row.document, row.type):
        return "its entry does something else"
    return ""


class _DocumentCheck:
    """Makes every document's version anew from the log alone and compares what is kept of it."""

    def __init__(self, store: Store, findings: Findings) -> None:
        self._store = store
        self._findings = findings
        self._log = _LogReader(store)
        self._derived = DerivedCheck(store)

    def run(self) -> None:
        """Check all documents, and that nothing else is shown."""
        for key, _ in self._store.scan(Table.VERSION):
            self._findings.count("documents")
            document = DocumentKey(key)
            try:
                what, reason = self._differs(document)
                for _ in range(TRIES_MAX - 1):  # somebody may write meanwhile
                    if reason:
                        what, reason = self._differs(document)
            except CRDTSyncError as error:
                what, reason = "document", error.message
            if reason:
                self._findings.add(what, where=_named(document), reason=reason)
            elif self._store.get(Table.DIRTY, key) is not None:
                self._findings.not_current["documents"] = self._findings.not_current.get("documents", 0) + 1
        for model in self._derived.missing_tables():
            self._findings.add("table", where=model, reason="the model has no table")
        for model, record in self._derived.strange_rows():
            self._findings.add("table", where=f"{model} {record}", reason="the row belongs to no live record")
        for model, number in self._derived.behind.items():
            self._findings.not_current[f"rows of {model}"] = number
        for name in self._derived.strange_conflicts():
            self._findings.add("conflict", where=f"key {name}", reason="the conflict belongs to no record")

    def _differs(self, key: DocumentKey) -> tuple[str, str]:
        """What is wrong with a document. One that is marked may be shown as of any time since its content was kept."""
        data, held = self._store.get(Table.DOCUMENT, key), self._store.get(Table.VERSION, key)
        if data is None:
            return "document", "it is not kept"
        row = unpack_document_row(data)
        is_marked = self._store.get(Table.DIRTY, key) is not None
        replayed = self._folded(key)
        state = replayed.snapshot
        kept: bytes | None = None
        shown: tuple[str, str] | None = None
        for position, author, operation in self._operations(key):
            if kept is None and position > row.position:
                kept = replayed.version()
            if is_marked and shown is None and replayed.known and replayed.version() == held:
                shown = self._derived.differs(key, replayed)
            self._replay(replayed, author, operation)
        version = replayed.version()
        if version_of_update(row.state or state) != (version if kept is None else kept):
            return "document", "its content is not what the log makes"
        if shown is not None and version != held:
            return shown
        if version != held:
            return "document", "its version is not what the log makes"
        return self._derived.differs(key, replayed)

    def _folded(self, key: DocumentKey) -> Loaded:
        base = self._store.get(Table.BASE, key)
        if base is None:
            return Loaded(key, author=READER)
        state = unpack_base(base).state
        return Loaded(key, author=READER, snapshot=state, index=DocumentIndex.from_update(state))

    def _replay(self, document: Loaded, author: Author, operation: EntryOperation) -> None:
        if author == CONTENT_AUTHOR:
            document.add_content(operation.update)
            return
        verdict = screen_again(operation.update, author=author, index=document.index, operation=operation.type)
        if verdict is not None:
            document.add(operation.update, verdict)

    def _operations(self, key: DocumentKey) -> Iterator[tuple[int, Author, EntryOperation]]:
        for name, _ in self._store.scan(Table.TOUCH, start=key, end=after_prefix(key)):
            touch = split_touch_key(name)
            row = self._log.row(touch.position)
            if row.author == CONTENT_AUTHOR:
                yield touch.position, row.author, _content_operation(key, row)
            else:
                operation = self._log.entry(touch.position, touch.entry).operations[touch.operation]
                yield touch.position, row.author, operation


def _content_operation(key: DocumentKey, row: LogRow) -> EntryOperation:
    return EntryOperation(type=OperationType.UPDATE, document=key, update=row.body)


class _LogReader:
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


def _named(document: DocumentKey) -> str:
    _, model, record = split_document_key(document)
    return f"{model} {record}"
