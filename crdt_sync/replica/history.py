"""A record's history: its operations in the order in which this replica applied them, with old and new values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdt_sync.core.content import Content, Dot
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.screening import screen
from crdt_sync.replica.derive import fields_of
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import after_prefix, split_touch_key
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field before and after an operation.

    Args:
        field: its name.
        old: the value shown before.
        new: the value shown after it; the same where only a conflict was settled or opened.
        conflict: ``opened`` or ``settled`` where the operation did so, or empty.
    """

    field: str
    old: Any
    new: Any
    conflict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One operation on a record.

    Args:
        type: what it did.
        device_id: who made it.
        timestamp: packed HLC timestamp.
        live: whether the record was live after it.
        fields: the fields that it wrote, in declared order.
        changes: the fields whose shown value it changed here, or in which it opened or settled a conflict.
    """

    type: OperationType
    device_id: str
    timestamp: int
    live: bool
    fields: tuple[str, ...]
    changes: tuple[FieldChange, ...]


def history_of(state: State, declared: Declared, key: DocumentKey) -> Iterator[HistoryItem]:
    """Replay a record's operations on a document of its own; takes time in proportion to them."""
    replay = Loaded(key, author=state.documents.author)
    before: dict[str, Any] = {}
    clashes: dict[str, frozenset[tuple[str, Dot]]] = {}
    for touch_key, _ in state.store.scan(Table.TOUCH, start=key, end=after_prefix(key)):
        touch = split_touch_key(touch_key)
        row, _ = state.ledger.row(touch.position)
        if row.author == CONTENT_AUTHOR:
            replay.add_content(row.body)
            hlc, kind, who = row.clock, OperationType.UPDATE, "content taken from a peer"
            written = frozenset[str]()
        else:
            entry = state.ledger.entry(touch.position, touch.entry)
            operation = entry.operations[touch.operation]
            verdict = screen(operation.update, author=row.author, index=replay.index, operation=operation.type)
            replay.add(operation.update, verdict)
            hlc, kind, who = entry.hlc, operation.type, state.name_of(row.author)
            written = fields_of(verdict, declared)[0]
        content = replay.content(declared.text_fields)
        after = declared.values(content)
        clashing = _clashes(declared, content)
        compared = {name: _conflict(clashes.get(name), clashing.get(name)) for name in after}
        yield HistoryItem(
            type=kind,
            device_id=who,
            timestamp=hlc,
            live=declared.is_live(content),
            fields=tuple(name for name in after if name in written),
            changes=tuple(
                FieldChange(field=name, old=before.get(name), new=value, conflict=compared[name])
                for name, value in after.items()
                if name not in before or before[name] != value or compared[name]
            ),
        )
        before, clashes = after, clashing


def _clashes(declared: Declared, content: Content) -> dict[str, frozenset[tuple[str, Dot]]]:
    """The fields that are in conflict, each with the values that clash."""
    if not declared.is_live(content):
        return {}
    found = ((name, kind.clashes(content)) for name, kind in declared.spec.fields.items())
    return {
        name: frozenset((clash.register, item.dot) for clash in clashes for item in clash.candidates)
        for name, clashes in found
        if clashes
    }


def _conflict(before: frozenset[tuple[str, Dot]] | None, after: frozenset[tuple[str, Dot]] | None) -> str:
    """What became of a field's conflict; another one in its place counts as opened."""
    if before == after:
        return ""
    return "opened" if after else "settled"
