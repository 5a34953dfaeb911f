"""A record's history: its operations in the order in which this replica applied them, with old and new values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdt_sync.core.content import Content, Dot
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey
from crdt_sync.replica.derive import fields_of
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.past import steps_of
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State


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
    for step in steps_of(state, key):
        verdict, operation = step.apply(replay), step.operation
        written = frozenset[str]() if verdict is None else fields_of(verdict, declared)[0]
        kind = OperationType.UPDATE if operation is None else operation.type
        who = "content taken from a peer" if operation is None else state.name_of(step.row.author)
        content = replay.content(declared.text_fields)
        after = declared.values(content)
        clashing = _clashes(declared, content)
        compared = {name: _conflict(clashes.get(name), clashing.get(name)) for name in after}
        yield HistoryItem(
            type=kind,
            device_id=who,
            timestamp=step.hlc,
            live=content.is_live(),
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
    if not content.is_live():
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
