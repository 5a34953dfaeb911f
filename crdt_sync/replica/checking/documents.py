"""Checking documents: each is made anew from the log alone, and what is kept and shown of it is compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crdt_sync.core.entry import EntryOperation, OperationType
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.screening import screen_again, screen_content
from crdt_sync.core.version import version, version_of_update
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.checking.derived import DerivedCheck
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.reading import LogReader, whole_rows
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.opening import READER
from crdt_sync.replica.rows import DocumentRow, LogRow, after_prefix, split_touch_key, unpack_base, unpack_document_row
from crdt_sync.storage.base import Store, Table

TRIES_MAX: Final = 3
"""How often a document is compared while another process goes on writing."""


class DocumentCheck:
    """Makes every document's version anew from the log alone and compares what is kept of it."""

    def __init__(self, store: Store, report: CheckReport) -> None:
        self._store = store
        self._report = report
        self._log = LogReader(store)
        self._derived = DerivedCheck(store)

    def run(self) -> None:
        """Check all documents, and that nothing else is shown."""
        for key, _ in whole_rows(self._store, Table.VERSION):
            self._report.count("documents")
            document = DocumentKey(key)
            what, reason = self._compared(document)
            for _ in range(TRIES_MAX - 1):  # somebody may write meanwhile
                if reason:
                    what, reason = self._compared(document)
            if reason:
                self._report.add_document(what, document, reason)
            elif self._store.get(Table.DIRTY, key) is not None:
                self._report.count_behind("documents")
        for table in (Table.DOCUMENT, Table.BASE, Table.DIRTY):
            for key, _ in whole_rows(self._store, table):
                if self._store.get(Table.VERSION, key) is None:
                    self._report.add_document("index", DocumentKey(key), "the version table misses it")
        self._check_shown()

    def _compared(self, key: DocumentKey) -> tuple[str, str]:
        try:
            return self._differs(key)
        except CRDTSyncError as error:
            return "document", error.message

    def _check_shown(self) -> None:
        for model in self._derived.missing_tables():
            self._report.add("table", where=model, reason="the model has no table")
        for model, record in self._derived.strange_rows():
            self._report.add("table", where=f"{model} {record}", reason="the row belongs to no live record")
        for model, number in self._derived.behind.items():
            self._report.count_behind(f"rows of {model}", number)
        for name in self._derived.strange_conflicts():
            self._report.add("conflict", where=f"key {name}", reason="the conflict belongs to no record")

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
        alike = True
        shown: tuple[str, str] | None = None
        for position, author, operation in self._operations(key):
            if kept is None and position > row.position:
                kept, alike = replayed.version(), self._reads_alike(key, row, replayed)
            if is_marked and shown is None and replayed.known and replayed.version() == held:
                shown = self._derived.differs(key, replayed)
            _replay(replayed, author, operation)
        made = replayed.version()
        if version_of_update(row.state or state) != (made if kept is None else kept):
            return "document", "its content is not what the log makes"
        if _index_version(row) != version_of_update(row.state or state):
            return "document", "its index is not that of its content"
        if not (alike if kept is not None else self._reads_alike(key, row, replayed)):
            return "document", "its content reads otherwise than what the log makes"
        if shown is not None and made != held:
            return shown
        if made != held:
            return "document", "its version is not what the log makes"
        return self._derived.differs(key, replayed)

    def _reads_alike(self, key: DocumentKey, row: DocumentRow, replayed: Loaded) -> bool:
        """Whether what is kept holds the values, texts and units that the log makes, where both have one version."""
        if _index_version(row) != replayed.version():
            return True  # that is told by itself
        if row.units != replayed.index.to_bytes():
            units = DocumentIndex.from_bytes(row.units)
            units.pairs = replayed.index.pairs  # what is known of deleted texts may differ
            if units != replayed.index:
                return False
        if not row.state or row.state == replayed.encode() or version_of_update(row.state) != replayed.version():
            return True
        screen_content(row.state, index=DocumentIndex())  # the engine takes it on trust
        kept = Loaded(key, author=READER, snapshot=row.state).engine()
        made, texts = replayed.engine(), self._derived.texts_of(key)
        return kept.cells() == made.cells() and all(kept.text(name) == made.text(name) for name in texts)

    def _folded(self, key: DocumentKey) -> Loaded:
        base = self._store.get(Table.BASE, key)
        if base is None:
            return Loaded(key, author=READER)
        state = unpack_base(base).state
        return Loaded(key, author=READER, snapshot=state, index=DocumentIndex.from_update(state))

    def _operations(self, key: DocumentKey) -> Iterator[tuple[int, Author, EntryOperation]]:
        for name, _ in self._store.scan(Table.TOUCH, start=key, end=after_prefix(key)):
            touch = split_touch_key(name)
            row = self._log.row(touch.position)
            if row.author == CONTENT_AUTHOR:
                yield touch.position, row.author, _content_operation(key, row)
            else:
                operation = self._log.entry(touch.position, touch.entry).operations[touch.operation]
                yield touch.position, row.author, operation


def _replay(document: Loaded, author: Author, operation: EntryOperation) -> None:
    if author == CONTENT_AUTHOR:
        document.add_content(operation.update)
        return
    verdict = screen_again(operation.update, author=author, index=document.index, operation=operation.type)
    if verdict is not None:
        document.add(operation.update, verdict)


def _index_version(row: DocumentRow) -> bytes:
    index = DocumentIndex.from_bytes(row.units)
    return version(index.state_vector, index.delete_set)


def _content_operation(key: DocumentKey, row: LogRow) -> EntryOperation:
    return EntryOperation(type=OperationType.UPDATE, document=key, update=row.body)
