"""What an entry may have to wait for: its causes, and documents that horizons removed.

An entry of a device that was not waited for may have all its causes here, and not its document, or not all of it. Then
the document is fetched first, from whoever sends the entry: he has it, or a horizon covers the entry, so that it counts
for nothing. What comes with the document of entries that are yet to come is passed over when they come.
"""

from __future__ import annotations

from collections.abc import Iterator

from crdt_sync.core.entry import SHORT_HASH_BYTES, Entry, OperationType, Run
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.screening import is_there
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.rows import after_prefix, split_touch_key
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store, Table


class Parked(Exception):  # noqa: N818  not an error: the entry waits for something
    """An entry that cannot be judged yet."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LacksDocument(Parked):
    """An entry whose causes are all held, on a document that is not here, or not all of it: a horizon removed it."""

    def __init__(self, *keys: DocumentKey) -> None:
        super().__init__("missing_document", "a record that it changes was removed here, and is fetched first")
        self.keys = keys


def check_causes(state: State, run: Run, entry: Entry) -> None:
    """Look for what an entry of a run says that its author had seen.

    Raises:
        Parked: something of it is not here.
    """
    for name in entry.records:
        if name not in state.records:
            raise Parked("unknown_record", "a space record that it names is not here yet")
    for head in entry.heads:
        held = state.ledger.hash_at(run.partition, head.author, head.sequence)
        if held is None and head.sequence < state.ledger.floor_of(run.partition, head.author).sequence:
            continue  # it was folded: what lies below the floor is held, and its hashes are gone
        if held is None:
            raise Parked("missing_cause", "an entry that it saw is not here")
        if held[:SHORT_HASH_BYTES] != head.short_hash:
            raise Parked("forked", "an entry that it saw is held differently here")


def require_documents(state: State, run: Run, entries: list[Entry], *, sequence: int) -> None:
    """Have a run wait as a whole for documents that horizons removed: who holds a part of a run passes on all of it.

    Args:
        state: the replica.
        run: where the entries are from.
        entries: that are new of it.
        sequence: of the first one.

    Raises:
        LacksDocument: one is neither here nor created by these entries.
    """
    if not state.has_settled(run.partition):
        return
    missing = dict.fromkeys(_missing_documents(state, run, entries, sequence=sequence))
    if missing:
        raise LacksDocument(*missing)


def _missing_documents(state: State, run: Run, entries: list[Entry], *, sequence: int) -> Iterator[DocumentKey]:
    created: set[DocumentKey] = set()
    for number, entry in enumerate(entries):
        for operation in entry.operations:
            key = operation.document
            if operation.type is OperationType.CREATE:
                created.add(key)
            elif key in created or state.documents.get(key).known:
                continue
            elif not _has_causes(state, run, entry):
                return  # the rest waits for those
            elif not state.is_settled(run.partition, run.author, sequence + number):
                yield key


def _has_causes(state: State, run: Run, entry: Entry) -> bool:
    try:
        check_causes(state, run, entry)
    except Parked:
        return False
    return True


def came_with_content(state: State, loaded: Loaded, update: bytes, *, author: Author) -> bool:
    """Whether all that an update brings is here, with content that was taken from a peer before."""
    return is_there(update, author=author, index=loaded.index) and holds_content(state.store, state.ledger, loaded.key)


def holds_content(store: Store, ledger: Ledger, key: DocumentKey) -> bool:
    """Whether any part of a document was taken from a peer as content, so that touches may not lead to all of it."""
    if CONTENT_AUTHOR in touched_by_base(store, key):
        return True
    touches = store.scan(Table.TOUCH, start=key, end=after_prefix(key))
    return any(ledger.row(split_touch_key(name).position)[0].author == CONTENT_AUTHOR for name, _ in touches)
