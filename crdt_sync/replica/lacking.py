"""Entries on documents that a horizon removed here: by devices that were not waited for, or removed elsewhere as well.

Their causes are all held, and yet the document is not here, or not all of it. The document is fetched first, from
whoever sends the entry: he has it, or a horizon covers the entry, so that it counts for nothing. What comes with the
document of entries that are yet to come is passed over when they come.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdt_sync.core.entry import Entry, OperationType
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.screening import is_there
from crdt_sync.protocol.source import Lacking
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.rows import after_prefix, split_touch_key
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store, Table


def lacking_of(
    state: State, key: DocumentKey, entries: Iterable[Entry], *, author: Author, sequence: int
) -> tuple[Lacking, ...]:
    """What has to be fetched for entries that wait: a document, and those that are neither here nor created by them.

    Args:
        state: the replica.
        key: the document that the first entry lacks, or lacks a part of.
        entries: of one author.
        author: whose.
        sequence: of the first one.
    """
    found: dict[DocumentKey, None] = {key: None}
    created: set[DocumentKey] = set()
    for operation in (operation for entry in entries for operation in entry.operations):
        touched = operation.document
        if operation.type is OperationType.CREATE:
            created.add(touched)
        elif touched not in created and not state.documents.get(touched).known:
            found[touched] = None
    return tuple(Lacking(document, author, sequence) for document in found)


def came_with_content(state: State, loaded: Loaded, update: bytes, *, author: Author) -> bool:
    """Whether all that an update brings is here, with content that was taken from a peer before."""
    return is_there(update, author=author, index=loaded.index) and holds_content(state.store, state.ledger, loaded.key)


def holds_content(store: Store, ledger: Ledger, key: DocumentKey) -> bool:
    """Whether any part of a document was taken from a peer as content, so that touches may not lead to all of it."""
    if CONTENT_AUTHOR in touched_by_base(store, key):
        return True
    touches = store.scan(Table.TOUCH, start=key, end=after_prefix(key))
    return any(ledger.row(split_touch_key(name).position)[0].author == CONTENT_AUTHOR for name, _ in touches)
