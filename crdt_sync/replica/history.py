"""A record's history: its operations in the order in which this replica applied them, with old and new values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.screening import screen
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import after_prefix, split_touch_key
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field's value before and after an operation."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One operation on a record.

    Args:
        type: what it did.
        device_id: who made it; of what was folded, `COMPACTED`.
        timestamp: packed HLC timestamp; of what was folded, that of the creation.
        live: whether the record was live after it.
        changes: the fields whose shown value it changed here.
    """

    type: OperationType
    device_id: str
    timestamp: int
    live: bool
    changes: tuple[FieldChange, ...]


COMPACTED = "earlier operations, compacted"
"""Stands for the device of the item that holds what was folded."""


def history_of(state: State, declared: Declared, key: DocumentKey) -> Iterator[HistoryItem]:
    """Replay a record's operations on a document of its own; takes time in proportion to them.

    What compaction has folded comes first, as one item.
    """
    replay = state.documents.base(key)
    before: dict[str, Any] = {}
    if replay.known:
        folded = _folded(declared, replay)
        before = {change.field: change.new for change in folded.changes}
        yield folded
    for touch_key, _ in state.store.scan(Table.TOUCH, start=key, end=after_prefix(key)):
        touch = split_touch_key(touch_key)
        row, _ = state.ledger.row(touch.position)
        if row.author == CONTENT_AUTHOR:
            replay.add_content(row.body)
            hlc, kind, who = row.clock, OperationType.UPDATE, "content taken from a peer"
        else:
            entry = state.ledger.entry(touch.position, touch.entry)
            operation = entry.operations[touch.operation]
            verdict = screen(operation.update, author=row.author, index=replay.index, operation=operation.type)
            replay.add(operation.update, verdict)
            hlc, kind, who = entry.hlc, operation.type, state.name_of(row.author)
        content = replay.content(declared.text_fields)
        after = declared.values(content)
        changes = tuple(
            FieldChange(field=name, old=before.get(name), new=value)
            for name, value in after.items()
            if name not in before or before[name] != value
        )
        yield HistoryItem(type=kind, device_id=who, timestamp=hlc, live=content.is_live(), changes=changes)
        before = after


def _folded(declared: Declared, base: Loaded) -> HistoryItem:
    content = base.content(declared.text_fields)
    changes = tuple(FieldChange(field=name, old=None, new=value) for name, value in declared.values(content).items())
    return HistoryItem(
        type=OperationType.CREATE,
        device_id=COMPACTED,
        timestamp=min((creation.hlc for creation in content.creations), default=0),
        live=content.is_live(),
        changes=changes,
    )
