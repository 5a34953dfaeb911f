"""Removing hidden values that every device has gone past: what two horizons make needless of superseded values.

Whoever made the later horizon K of a pair writes it, once K is held here: ordinary entries that remove, of live
records, the values below one that the earlier horizon J covers (`core.kinds.hidden`). Such an entry is no edit: it
brings nothing back that was deleted meanwhile, and there is no operation of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdt_sync.core.blocks import Bytes
from crdt_sync.core.content import Content, RegisterValue
from crdt_sync.core.entry import SEQUENCE_MAX, OperationType
from crdt_sync.core.horizons import HorizonRecord
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.kinds import Drop, Put, Write
from crdt_sync.core.kinds.hidden import needed_no_more
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.links import LINK_BYTES, links_of
from crdt_sync.core.update import parse_update
from crdt_sync.replica.bases import touched_by_base
from crdt_sync.replica.duplicates import group_of
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import after_prefix, split_touch_key, unpack_document_row
from crdt_sync.replica.state import State
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.storage.base import Table

TRIM_BATCH = 256
"""Documents in one entry."""


def is_upkeep(update_bytes: bytes) -> bool:
    """Whether an operation looks like one that removes needless values, of which the journal knows nothing."""
    update = parse_update(update_bytes)
    if len(update.blocks) != 1 or not update.deletes:
        return False
    (block,) = update.blocks
    if block.key is None:  # it goes on under an own key
        return block.origin is not None and type(block.content) is Bytes and not len(block.content.value) % LINK_BYTES
    return block.key.startswith(KeyClass.ALIAS.value)


class Trimming:
    """Removes what no clash to come needs from the records of one replica.

    Args:
        state: the replica.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def count(self, horizons: Iterable[HorizonRecord], keys: Iterable[DocumentKey]) -> int:
        """How many hidden values some horizons would make needless, each taken as the earlier one of a pair."""
        found = 0
        for number, key in enumerate(keys):
            found += max((len(self._needless(key, horizon)) for horizon in horizons), default=0)
            if number % TRIM_BATCH == 0:
                self._state.documents.shrink()
        return found

    def trim(self, earlier: HorizonRecord, keys: Iterable[DocumentKey]) -> int:
        """Remove what a horizon has made needless; returns how many values went. The later one is held here.

        Each batch is a store transaction of its own; whatever is interrupted is done by the next call.
        """
        gone = 0
        batch: list[tuple[DocumentKey, list[str]]] = []
        for number, key in enumerate(keys):
            needless = self._needless(key, earlier)
            if needless:
                batch.append((key, needless))
            if len(batch) == TRIM_BATCH:
                gone += self._remove(batch)
                batch.clear()
            if number % TRIM_BATCH == 0:
                self._state.documents.shrink()
        return gone + (self._remove(batch) if batch else 0)

    def _remove(self, batch: list[tuple[DocumentKey, list[str]]]) -> int:
        state = self._state
        transaction = LocalTransaction(state, None)
        try:
            with state.store.transaction():
                for key, needless in batch:
                    author = transaction.context.author
                    held = state.documents.get(key).content(()).aliases.get(author, b"")
                    drops: list[Write] = [Drop(name) for name in needless]
                    moves = Put(map_key(KeyClass.ALIAS, author), held)
                    transaction.write(key, [*drops, moves], operation=OperationType.UPDATE, fields=frozenset())
                transaction.commit()
            transaction.committed()
        except BaseException:
            state.reload()
            raise
        finally:
            transaction.end()
        state.documents.shrink()
        return sum(len(needless) for _, needless in batch)

    def _needless(self, key: DocumentKey, earlier: HorizonRecord) -> list[str]:
        data = self._state.store.get(Table.DOCUMENT, key)
        if data is None or not unpack_document_row(data).live:
            return []
        loaded = self._state.documents.get(key)
        content = loaded.content(())
        if not any(len(values) > 1 for values in content.causal.values()) or self._is_one_of_several(key, content):
            return []
        return needed_no_more(content, is_old=_Old(self._state, key, earlier).holds)

    def _is_one_of_several(self, key: DocumentKey, content: Content) -> bool:
        """Whether a record is shown with others: their values stand in one line only together."""
        links = links_of(content)
        if links.merged or links.distinct:
            return True
        declared = self._state.schema.by_key(key)
        return declared is not None and bool(declared.spec.unique) and len(group_of(self._state, declared, key)) > 1


class _Old:
    """Tells which values of a document a horizon covers."""

    def __init__(self, state: State, key: DocumentKey, horizon: HorizonRecord) -> None:
        self._state = state
        self._key = key
        self._horizon = horizon
        self._base = touched_by_base(state.store, key)
        self._later: dict[Author, list[bytes]] | None = None

    def holds(self, value: RegisterValue) -> bool:
        """Whether an entry in the horizon's past wrote a value, as far as base and log tell."""
        author = value.dot.author
        if self._later is None:
            self._later = self._updates_beyond()
        if CONTENT_AUTHOR in self._later or CONTENT_AUTHOR in self._base:
            return False  # who wrote what a peer's content brought is not known
        if not self._horizon.covers(author, self._base.get(author, 0 if author in self._later else SEQUENCE_MAX)):
            return False
        name = value.key.encode()
        return not any(name in update for update in self._later.get(author, ()))  # a key is written once

    def _updates_beyond(self) -> dict[Author, list[bytes]]:
        state, found = self._state, dict[Author, list[bytes]]()
        for name, _ in state.store.scan(Table.TOUCH, start=self._key, end=after_prefix(self._key)):
            touch = split_touch_key(name)
            row, _ = state.ledger.row(touch.position)
            updates = found.setdefault(row.author, [])
            if row.author != CONTENT_AUTHOR and not self._horizon.covers(row.author, row.first + touch.entry):
                operation = state.ledger.entry(touch.position, touch.entry).operations[touch.operation]
                updates.append(operation.update)
        return found
