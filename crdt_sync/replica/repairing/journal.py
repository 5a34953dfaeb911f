"""Mending the journal of a salvaged store: what it says is compared with the log, and what it lacks is added."""

from __future__ import annotations

from itertools import islice
from typing import Final

from crdt_sync.core.ids import split_document_key
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.checking.journal import OwnOperation, own_operations
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.replica.journal import listed_as, status_of
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.operations import OperationStatus
from crdt_sync.replica.repairing.quarantine import Quarantine
from crdt_sync.replica.rows import NO_ENTRY, OperationRow, key_number, number_key, unpack_operation_row
from crdt_sync.storage.base import Store, Table

BATCH_ROWS: Final = 512


def mend_journal(source: Store, target: Store, quarantine: Quarantine, *, is_doubtful: bool = False) -> int:
    """Take over the journal, as far as its entries are in the log or were folded; returns how many rows were added.

    What the log holds of this replica and the journal does not is added as pending: it is offered again, and whoever
    holds it says so.

    Args:
        source: the damaged store.
        target: the salvaged one.
        quarantine: gets what cannot be taken over.
        is_doubtful: rows of the journal are gone, or older ones are back. What is completed by its row and still in the
            queue is pending then.
    """
    ledger = Ledger(target)
    numbers: dict[OwnOperation, int] = {}
    rows = whole_rows(source, Table.OPERATION)
    while batch := list(islice(rows, BATCH_ROWS)):
        with target.transaction():
            for key, data in batch:
                try:
                    row = unpack_operation_row(data)
                    reason = refused_operation(ledger, row)
                except CRDTSyncError as error:
                    quarantine.add(Table.OPERATION, key, data, reason=error.message)
                    continue
                if reason:
                    quarantine.add(Table.OPERATION, key, data, reason=reason)
                    continue
                number = key_number(key)
                sequence = -number if row.sequence == NO_ENTRY else row.sequence  # of these there may be many
                numbers[OwnOperation(row.author, sequence, row.index)] = number
                if is_doubtful and status_of(row) is OperationStatus.COMPLETED and _is_queued(source, key):
                    row = row.changed(status=0, finished_ms=0)
                put_operation(target, number, row)
    return _add_missing(target, numbers)


def _is_queued(source: Store, key: bytes) -> bool:
    try:
        return source.get(Table.PENDING, key) is not None
    except CRDTSyncError:
        return True  # it is damaged, and there


def refused_operation(ledger: Ledger, row: OperationRow) -> str:
    """Why an operation does not stand in the log, or an empty string."""
    if row.sequence == NO_ENTRY:
        return "" if row.data else "its entry was taken back, and what it wrote is not kept"
    partition = split_document_key(row.document)[0]
    if row.sequence > ledger.end_of(partition, row.author).sequence:
        return "its entry is not in the log"
    if row.sequence <= ledger.floor_of(partition, row.author).sequence:
        return ""
    found = next(ledger.rows_of(partition, row.author, after=row.sequence - 1), None)
    if found is None:
        return "its entry is not in the log"
    operations = ledger.entry(found[0], row.sequence - found[1].first).operations
    if row.index >= len(operations):
        return "its entry has fewer operations"
    operation = operations[row.index]
    return "" if (operation.document, operation.type) == (row.document, row.type) else "its entry does something else"


def _add_missing(target: Store, numbers: dict[OwnOperation, int]) -> int:
    taken, added, last = set(numbers.values()), 0, 0
    with target.transaction():
        for place, row in own_operations(target):
            number = numbers.get(place)
            if number is None:
                # Numbers follow the log, so a lost one is free where it was; else it goes to the end.
                number = last + 1 if last + 1 not in taken else max(taken) + 1
                taken.add(number)
                put_operation(target, number, row)
                added += 1
            last = number
    return added


def put_operation(target: Store, number: int, row: OperationRow) -> None:
    """Put a row into the journal, and into the queue where it waits, in the caller's store transaction."""
    target.put(Table.OPERATION, number_key(number), row.pack())
    listed = listed_as(number_key(number), row)
    if listed is not None:
        target.put(Table.PENDING, listed, b"")
