"""New records of what this device had written to records that a horizon removed."""

from __future__ import annotations

import logging

from crdt_sync.core.creating import creation_writes
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey, RecordId, document_key, natural_record_id, split_document_key
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

_EVIDENCE = b"document "


def rescued_key(key: DocumentKey) -> DocumentKey:
    """Where a removed record is written again: the same for every device, so that links to the old id lead there."""
    partition, model, _ = split_document_key(key)
    return document_key(partition, model, natural_record_id(model, b"rescued " + key))


def follow_rescued(state: State, key: DocumentKey) -> DocumentKey:
    """The address of a record, or of the one that it was written again as where a horizon has removed it."""
    if not state.has_settled(split_document_key(key)[0]) or state.documents.get(key).known:
        return key
    again = rescued_key(key)
    return again if state.documents.get(again).known else key


class Rescue:
    """Collects records within a store transaction, before they are removed, and writes them again at its end.

    Args:
        state: the replica.
        journal: its operations; the copies are journaled as creations.
    """

    def __init__(self, state: State, journal: Journal) -> None:
        self._state = state
        self._journal = journal
        self._transaction: LocalTransaction | None = None

    def take(self, key: DocumentKey) -> RecordId | None:
        """Copy a record as it is shown here now, under an id that follows from its own; returns that.

        A record of a model that is not open cannot be read; its state is kept as evidence, and there is no copy.
        """
        state = self._state
        _, model, record = split_document_key(key)
        declared = state.schema.by_key(key)
        loaded = state.documents.get(key)
        if declared is None:
            state.store.put(Table.EVIDENCE, _EVIDENCE + key, loaded.encode())
            log.error("%s %s was removed by a horizon; what was written to it here is kept as evidence", model, record)
            return None
        values = declared.values(loaded.content(declared.text_fields))
        copy = rescued_key(key)
        again = split_document_key(copy)[2]
        if state.documents.get(copy).known:
            return again
        if self._transaction is None:
            self._transaction = LocalTransaction(state, self._journal)
        writes = creation_writes(declared.spec, values, self._transaction.context, given=values)
        self._transaction.write(copy, writes, operation=OperationType.CREATE, fields=declared.all_fields)
        log.warning("%s %s was removed by a horizon; what was written to it here is %s now", model, record, again)
        return again

    def finish(self) -> list[Change]:
        """Write the copies, as the last act of the store transaction; returns what observers are to be told."""
        return [] if self._transaction is None else self._transaction.commit()

    def committed(self) -> None:
        """Note that the store transaction was committed."""
        if self._transaction is not None:
            self._transaction.committed()
