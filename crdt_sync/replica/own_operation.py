"""Whether an operation that somebody hands in is one of this replica: another one counts its operations alike."""

from __future__ import annotations

from crdt_sync.core.ids import split_document_key
from crdt_sync.errors import InputError
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.operations import SyncOperation
from crdt_sync.replica.rows import OperationRow

_HINT = "Take one of replica.operations()."


def own_row(journal: Journal, operation: SyncOperation, *, device_id: str) -> tuple[bytes, OperationRow]:
    """The row of an operation, as it is now.

    Args:
        journal: of this replica.
        operation: as the replica gave it.
        device_id: this device, as it is named in operations.

    Raises:
        InputError: it is no operation of this replica.
    """
    if not isinstance(operation, SyncOperation):
        raise InputError(f"an operation is expected, not a {type(operation).__name__}", hint=_HINT)
    key, row = journal.row(operation.id)
    _, model, record = split_document_key(row.document)
    held = (device_id, row.type, model, record, row.hlc)
    if held != (operation.device_id, operation.type, operation.model, operation.record_id, operation.timestamp):
        raise InputError(f"operation {operation.id} is another one here", hint=_HINT)
    return key, row
