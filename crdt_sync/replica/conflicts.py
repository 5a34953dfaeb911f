"""Open conflicts, by the index that derivation keeps."""

from __future__ import annotations

from collections.abc import Iterator

from crdt_sync.core.conflict import Conflict
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, model_prefix
from crdt_sync.replica.derive import conflicts_of
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

CONFLICT_ID_BYTES = 16


def find_conflicts(state: State, *, model: str | None, key: DocumentKey | None) -> Iterator[Conflict]:
    """The open conflicts of a record, a model, or all, in the order of addresses."""
    if key is not None:
        start = bytes(key)
    elif model is not None:
        start = model_prefix(DEFAULT_PARTITION, model)
    else:
        start = b""
    last = b""
    for name, _ in state.store.scan(Table.CONFLICT, start=start, end=after_prefix(start) if start else None):
        document = DocumentKey(name[:-CONFLICT_ID_BYTES])
        if document == last:
            continue
        last = document
        declared = state.schema.by_key(document)
        if declared is not None:
            content = state.documents.get(document).content(declared.text_fields)
            yield from conflicts_of(state, declared, document, content)
    state.documents.shrink()
