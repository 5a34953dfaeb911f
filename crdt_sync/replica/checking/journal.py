"""Checking the journal against the log, in both directions, and the queue against the journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crdt_sync.core.entry import decode_entry, split_entries
from crdt_sync.core.ids import Author, split_document_key
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.checking.findings import CheckReport, Finding
from crdt_sync.replica.checking.reading import LogReader, whole_rows
from crdt_sync.replica.journal import FAILED, listed_as, status_of
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    NO_ENTRY,
    OperationRow,
    after_prefix,
    chain_key,
    key_number,
    unpack_chain_row,
    unpack_log_row,
    unpack_operation_row,
)
from crdt_sync.replica.trimming import is_upkeep
from crdt_sync.storage.base import Store, Table


class OwnOperation(NamedTuple):
    """Where an operation of this replica stands: whose entry, and the number of the operation in it."""

    author: Author
    sequence: int
    number: int


def own_operations(store: Store) -> Iterator[tuple[OwnOperation, OperationRow]]:
    """What this replica wrote, as the log has it: pending rows; without what the journal never holds."""
    for _, data in whole_rows(store, Table.LOG):
        row = unpack_log_row(data)
        if not row.own:
            continue
        for number, entry in enumerate(map(decode_entry, split_entries(row.body))):
            for index, item in enumerate(entry.operations):
                if not is_upkeep(item.update):
                    operation = OperationRow(
                        type=item.type,
                        document=item.document,
                        author=row.author,
                        sequence=row.first + number,
                        index=index,
                        hlc=entry.hlc,
                    )
                    yield OwnOperation(row.author, operation.sequence, index), operation


class _JournalCheck:
    def __init__(self, store: Store, report: CheckReport) -> None:
        self._store = store
        self._report = report
        self._log = LogReader(store)

    def run(self) -> None:
        """Every operation stands in the log as the journal says, and every own operation in the journal."""
        logged = 0
        for key, data in whole_rows(self._store, Table.OPERATION):
            self._report.count("operations")
            row: OperationRow | None = None
            try:
                row = unpack_operation_row(data)
                reason, is_logged = self._misses(row)
                logged += is_logged
                listed = listed_as(key, row)
                if listed is not None and self._store.get(Table.PENDING, listed) is None:
                    reason = reason or f"{status_of(row).value}, but not in the queue"
            except CRDTSyncError as error:
                reason = error.message
            if reason:
                self._find(key, row, reason)
        self._check_queue()
        if sum(1 for _ in own_operations(self._store)) > logged:
            self._find_missing()

    def _check_queue(self) -> None:
        for key, _ in whole_rows(self._store, Table.PENDING):
            number = key.removeprefix(FAILED)
            data = self._store.get(Table.OPERATION, number)
            if data is None or listed_as(number, unpack_operation_row(data)) != key:
                self._find(number, None, "in the queue, and not in the place of its status")

    def _find(self, key: bytes, row: OperationRow | None, reason: str) -> None:
        where = f"operation {key_number(key)}"
        if row is None:
            self._report.add("journal", where=where, reason=reason)
            return
        _, model, record = split_document_key(row.document)
        self._report.note(
            Finding(
                what="journal",
                where=where,
                reason=reason,
                model=model,
                record_id=record,
                author=row.author,
                sequence=row.sequence,
            )
        )

    def _find_missing(self) -> None:
        rows = (unpack_operation_row(data) for _, data in whole_rows(self._store, Table.OPERATION))
        journaled = {OwnOperation(row.author, row.sequence, row.index) for row in rows}
        for place, row in own_operations(self._store):
            if place not in journaled:
                _, model, record = split_document_key(row.document)
                self._report.note(
                    Finding(
                        what="journal",
                        where="journal",
                        reason="an own operation of the log is not in the journal",
                        model=model,
                        record_id=record,
                        author=place.author,
                        sequence=place.sequence,
                    )
                )

    def _misses(self, row: OperationRow) -> tuple[str, bool]:
        """Why an operation does not stand in the log as its row says, and whether it does."""
        if row.sequence == NO_ENTRY:
            return "" if row.data else "its entry was taken back, and what it wrote is not kept", False
        partition = split_document_key(row.document)[0]
        start = chain_key(partition, row.author, row.sequence)
        found = next(self._store.scan(Table.CHAIN, start=start, end=after_prefix(start[:-8]), limit=1), None)
        if found is None:
            return "its entry is not in the log", False
        position = unpack_chain_row(found[1])[0]
        if position == FLOOR_POSITION:
            return "", False  # it was folded
        log_row = self._log.row(position)
        entry = self._log.entry(position, row.sequence - log_row.first)
        if row.index >= len(entry.operations):
            return "its entry has fewer operations", False
        operation = entry.operations[row.index]
        if (operation.document, operation.type) != (row.document, row.type):
            return "its entry does something else", False
        return "", log_row.own


def check_journal(store: Store, report: CheckReport) -> None:
    """Compare the journal with the log, and the queue with the journal."""
    _JournalCheck(store, report).run()
