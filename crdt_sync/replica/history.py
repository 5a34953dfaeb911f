"""A record's history: its operations in the order in which this replica applied them, with old and new values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdt_sync.core.content import Content, Dot
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.screening import Screened
from crdt_sync.errors import CorruptStoreError, EntryError
from crdt_sync.replica.derive import fields_of, only_removes_values
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.past import Step, steps_of
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
        device_id: who made it; of what was folded, `COMPACTED`.
        timestamp: packed HLC timestamp; of what was folded, that of the creation.
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


COMPACTED = "earlier operations, compacted"
"""Stands for the device of the item that holds what was folded."""


def history_of(state: State, declared: Declared, key: DocumentKey) -> Iterator[HistoryItem]:
    """Replay a record's operations on a document of its own; takes time in proportion to them.

    What compaction has folded comes first, as one item.
    """
    replay = state.documents.base(key)
    before: dict[str, Any] = {}
    clashes: dict[str, frozenset[tuple[str, Dot]]] = {}
    if replay.known:
        yield _folded(declared, replay)
        content = replay.content(declared.text_fields)
        before, clashes = declared.values(content), _clashes(declared, content)
    for step in steps_of(state, key):
        verdict, operation = _applied(step, replay), step.operation
        written = frozenset[str]() if verdict is None else fields_of(verdict, declared)[0]
        kind = OperationType.UPDATE if operation is None else operation.type
        who = "content taken from a peer" if operation is None else state.name_of(step.row.author)
        content = replay.content(declared.text_fields)
        after = declared.values(content)
        clashing = _clashes(declared, content)
        compared = {name: _conflict(clashes.get(name), clashing.get(name)) for name in after}
        changes = tuple(
            FieldChange(field=name, old=before.get(name), new=value, conflict=compared[name])
            for name, value in after.items()
            if name not in before or before[name] != value or compared[name]
        )
        before, clashes = after, clashing
        if not changes and verdict is not None and only_removes_values(verdict):
            continue  # what nobody needed any more
        yield HistoryItem(
            type=kind,
            device_id=who,
            timestamp=step.hlc,
            live=declared.is_live(content),
            fields=tuple(name for name in after if name in written),
            changes=changes,
        )


def _applied(step: Step, replay: Loaded) -> Screened | None:
    try:
        return step.apply(replay)
    except EntryError:
        raise CorruptStoreError("rows that lead to the entries of a record are missing", table="touch") from None


def _folded(declared: Declared, base: Loaded) -> HistoryItem:
    content = base.content(declared.text_fields)
    values, clashing = declared.values(content), _clashes(declared, content)
    return HistoryItem(
        type=OperationType.CREATE,
        device_id=COMPACTED,
        timestamp=min((creation.hlc for creation in content.creations), default=0),
        live=declared.is_live(content),
        fields=tuple(values),
        changes=tuple(
            FieldChange(field=name, old=None, new=value, conflict=_conflict(None, clashing.get(name)))
            for name, value in values.items()
        ),
    )


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
