"""Deletions that a horizon removed before this device got them, said again for records that it had edited meanwhile."""

from __future__ import annotations

import logging

from crdt_sync.core.content import Tombstone, write_tombstone
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.kinds import Put
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.logs import told
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.transaction import LocalTransaction

log = logging.getLogger("crdt_sync.replica")


class DeletedAgain:
    """Collects records within a store transaction, and deletes them at its end, as of before the late edits.

    The model's rule then decides about those as it does about any edit that a deletion did not see.

    Args:
        state: the replica.
        journal: of its operations.
    """

    def __init__(self, state: State, journal: Journal) -> None:
        self._state = state
        self._journal = journal
        self._transaction: LocalTransaction | None = None

    def take(self, key: DocumentKey) -> list[Change]:
        """Say that somebody deleted a record who had seen all that is in its base, where that does not show it.

        Observers are told at the end.
        """
        state = self._state
        base, loaded = state.documents.base(key), state.documents.get(key)
        if not base.is_live():
            return []
        if self._transaction is None:
            self._transaction = LocalTransaction(state, self._journal)
        transaction = self._transaction
        author = transaction.context.author
        vector = {Author(other): clock for other, clock in base.index.state_vector.items()}
        if loaded.index.next_clock(author) == base.index.next_clock(author):
            vector[author] = loaded.index.next_clock(author) + 1  # the deletion itself, which is no edit
        write = Put(map_key(KeyClass.TOMBSTONE, author), write_tombstone(Tombstone(transaction.hlc, vector)))
        declared = state.schema.by_key(key)
        fields = frozenset() if declared is None else declared.all_fields
        transaction.write(key, [write], operation=OperationType.DELETE, fields=fields)
        _, model, record = split_document_key(key)
        text = "a record was deleted for good before this device had edited it; its rule decides"
        told(log, logging.WARNING, text, model=model, record=record)
        return []

    def finish(self) -> list[Change]:
        """Write it all, as the last act of the store transaction; returns what observers are to be told."""
        return [] if self._transaction is None else self._transaction.commit()

    def committed(self) -> None:
        """Note that the store transaction was committed."""
        if self._transaction is not None:
            self._transaction.committed()
