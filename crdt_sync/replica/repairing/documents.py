"""Deriving everything anew in a store that was salvaged, and keeping what documents held beyond their log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Final

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.core.version import version_of_update
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.bases import base_state
from crdt_sync.replica.derive import ALL, MODELS, described_models, rebuild_views
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.opening import reader_state
from crdt_sync.replica.repairing.salvage import FROM_A_REPAIR
from crdt_sync.replica.rows import Base, LogRow, Touch, after_prefix, touch_key, unpack_document_row
from crdt_sync.replica.schema import OPEN
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store, Table

BATCH_DOCUMENTS: Final = 64
_NO_HEAD = ChainHash(bytes(32))


class Restoration:
    """Makes the documents of a salvaged store from its log, and all that is derived from them.

    Args:
        source: the damaged store.
        target: the salvaged one; its version table lists the documents.
    """

    def __init__(self, source: Store, target: Store) -> None:
        self._source = source
        self._state = reader_state(target)
        self.kept_content: list[DocumentKey] = []
        """Documents that held more than the log says; that is kept as content."""
        self.lost: list[DocumentKey] = []
        """Documents of which nothing could be read."""

    def run(self) -> None:
        """Make the documents, then tables and conflicts."""
        keys = self._keys()
        while batch := list(islice(keys, BATCH_DOCUMENTS)):
            with self._state.store.transaction():
                for key in batch:
                    self._restore(key)
            self._state.documents.shrink()
        rebuild_views(self._state)

    def leave_tables_to_the_app(self) -> None:
        """Have the next open make the tables again: an app's own functions may say what fields show."""
        store = self._state.store
        closed = {name: {**data, OPEN: False} for name, data in described_models(store).items()}
        if closed:
            with store.transaction():
                store.put(Table.META, MODELS, json.dumps(closed).encode())

    def _keys(self) -> Iterator[DocumentKey]:
        return (DocumentKey(key) for key, _ in self._state.store.scan(Table.VERSION))

    def _restore(self, key: DocumentKey) -> None:
        state, kept = self._state, self._kept(key)
        loaded = self._replayed(key)
        if loaded is None and kept:
            # Its base is gone, on which its log rests: what was kept of it takes that place.
            state.store.put(Table.BASE, key, Base({CONTENT_AUTHOR: FROM_A_REPAIR}, kept).pack())
            loaded = self._replayed(key)
            self.kept_content.append(key)
        if loaded is None or not (loaded.known or kept):
            self._give_up(key)
            return
        if kept and version_of_update(kept) != loaded.version():
            before = loaded.version()
            loaded.add_content(kept)
            if loaded.version() != before:
                _append_content(state, key, kept)
                self.kept_content.append(key)
        store = state.store
        store.put(Table.DOCUMENT, key, loaded.row(position=state.ledger.end).pack())
        store.put(Table.VERSION, key, loaded.version())
        store.put(Table.DIRTY, key, ALL)

    def _kept(self, key: DocumentKey) -> bytes:
        """What the damaged store kept of a document, as one update; empty where that is damaged too."""
        try:
            data = self._source.get(Table.DOCUMENT, key)
            state = b"" if data is None else unpack_document_row(data).state
            return state or base_state(self._source, key)
        except CRDTSyncError:
            return b""  # it is in the list of damaged rows

    def _replayed(self, key: DocumentKey) -> Loaded | None:
        try:
            return self._state.documents.rebuild(key)
        except CRDTSyncError:
            self._state.documents.drop(key)
            return None

    def _give_up(self, key: DocumentKey) -> None:
        """Leave a document out: a peer that has it sends it whole, since the fingerprints differ."""
        store = self._state.store
        store.delete(Table.VERSION, key)
        store.delete(Table.BASE, key)
        store.delete_range(Table.TOUCH, start=key, end=after_prefix(key))
        self._state.documents.drop(key)
        self.lost.append(key)


def _append_content(state: State, key: DocumentKey, update: bytes) -> None:
    row = LogRow(
        partition=split_document_key(key)[0],
        author=CONTENT_AUTHOR,
        first=0,
        last=0,
        head=_NO_HEAD,
        clock=state.ledger.clock(),
        own=False,
        body=update,
    )
    position = state.ledger.append(row).position
    state.store.put(Table.TOUCH, touch_key(key, Touch(position, 0, 0)), b"")
