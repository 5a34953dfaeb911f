"""Repair by content: building documents anew from the log, and taking in what a peer has of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.core.screening import screen_content
from crdt_sync.errors import EntryError, ScreeningError
from crdt_sync.protocol.source import ApplyOutcome, EntryStatus, StatusKind
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.derive import Derivation, fields_of
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.replica.lacking import holds_content
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, Touch, touch_key
from crdt_sync.replica.state import State, Touched
from crdt_sync.storage.base import Table

NO_HEAD = ChainHash(bytes(32))


def rederive(state: State, keys: Iterable[DocumentKey]) -> None:
    """Throw derived documents away and build them from the log, in one store transaction."""
    with state.store.transaction():
        derivation = Derivation(state, origin="local")
        for key in keys:
            state.store.delete(Table.DOCUMENT, key)
            state.documents.rebuild(key)
            derivation.derive(key, fold=True)
        derivation.finish()
    state.documents.shrink()


def refused_content(state: State, partition: str, error: EntryError) -> EntryStatus:
    """What a peer is told of content that was refused; it is counted."""
    state.totals.refused += 1
    return EntryStatus(
        partition=partition,
        author=CONTENT_AUTHOR,
        sequence=0,
        kind=StatusKind.REFUSED,
        code=error.code,
        reason=error.message[:200],
    )


def accept_content(state: State, partition: str, documents: Sequence[tuple[DocumentKey, bytes]]) -> Batch:
    """Screen and merge what a peer has of some documents; kept in the log, so that derived state stays derived.

    Args:
        state: the replica.
        partition: where the documents belong.
        documents: address and the update that this replica lacks.
    """
    batch = Batch()
    statuses: list[EntryStatus] = []
    with state.store.transaction():
        derivation = Derivation(state, origin="remote")
        for key, update in documents:
            try:
                touched = _merge(state, partition, key, update)
            except EntryError as error:
                statuses.append(refused_content(state, partition, error))
                continue
            derivation.touch(touched)
        derivation.finish()
    state.documents.shrink()
    batch.changes = derivation.changes
    batch.outcome = ApplyOutcome(statuses=tuple(statuses))
    return batch


def _merge(state: State, partition: str, key: DocumentKey, update: bytes) -> Touched:
    if split_document_key(key)[0] != partition:
        raise ScreeningError("a document outside of the partition")
    loaded = state.documents.get(key)
    screened = screen_content(update, index=loaded.index)
    loaded.add_content(update)
    KeptContent(state.store).note(not holds_content(state.store, state.ledger, key))
    row = LogRow(
        partition=partition,
        author=CONTENT_AUTHOR,
        first=0,
        last=0,
        head=NO_HEAD,
        clock=state.clock.last,
        own=False,
        body=update,
    )
    position = state.ledger.append(row).position
    state.store.put(Table.TOUCH, touch_key(key, Touch(position, 0, 0)), b"")
    fields, text_only = fields_of(screened, state.schema.by_key(key))
    return Touched(key=key, fields=fields, text_only=text_only, settles_at=position)
