"""A record's history: its operations in the order in which this replica applied them, with old and new values.

Of records that were merged it is one history: what was done to any of them, and what they showed together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from crdt_sync.core.content import Content
from crdt_sync.core.deleting import sides_of
from crdt_sync.core.duplicates import untagged
from crdt_sync.core.entry import OperationType
from crdt_sync.core.equality import is_same
from crdt_sync.core.ids import Author, DocumentKey, RecordId, split_document_key
from crdt_sync.core.screening import Screened
from crdt_sync.errors import CorruptStoreError, EntryError
from crdt_sync.replica.derive import fields_of, only_removes_values
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import group_of
from crdt_sync.replica.past import Replay, Step, replay_of, steps_of
from crdt_sync.replica.rows import after_prefix, split_touch_key
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group
from crdt_sync.storage.base import Table

Clashing = dict[str, frozenset[tuple[str, Author, int]]]
"""Field → the writes that clash in it: register, author, timestamp. The whole record is the field without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field before and after an operation.

    Args:
        field: its name; empty where it is about whether the record stays deleted, which was opened or settled.
        old: the value shown before; of the whole record, whether it was live.
        new: the value shown after it; the same where only a conflict was settled or opened.
        conflict: ``opened`` or ``settled`` where the operation did so, or empty.
    """

    field: str
    old: Any
    new: Any
    conflict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One operation on a record, or what one transaction did to several that were merged.

    Args:
        type: what it did.
        device_id: who made it; of what was folded, `COMPACTED`.
        timestamp: packed HLC timestamp; of what was folded, that of the creation.
        live: whether the record was live after it.
        fields: the fields that it wrote, in declared order.
        changes: the fields whose shown value it changed here, or in which it opened or settled a conflict.
        record_ids: the records that it wrote to: one, but for those that were merged.
    """

    type: OperationType
    device_id: str
    timestamp: int
    live: bool
    fields: tuple[str, ...]
    changes: tuple[FieldChange, ...]
    record_ids: tuple[RecordId, ...]


COMPACTED = "earlier operations, compacted"
"""Stands for the device of the item that holds what was folded."""


def history_of(
    state: State, declared: Declared, key: DocumentKey, *, latest: int | None = None
) -> Iterator[HistoryItem]:
    """Replay a record's operations on documents of its own; takes time in proportion to them.

    What compaction has folded comes first, as one item.

    Args:
        state: the replica.
        declared: the record's model.
        key: the record.
        latest: only so many; what the ones before them changed is not worked out, which takes most of the time.
    """
    group = group_of(state, declared, key)
    if latest is None:
        yield from _told(state, declared, group)
        return
    count, asked = _transactions(state, group), latest
    found = list(_told(state, declared, group, skipped=max(0, count - asked), folded=count < asked))
    while len(found) < latest and asked <= count:  # of so many some only removed values
        asked *= 2
        found = list(_told(state, declared, group, skipped=max(0, count - asked), folded=count < asked))
    yield from found[-latest:]


def _told(
    state: State, declared: Declared, group: Group, *, skipped: int = 0, folded: bool = True
) -> Iterator[HistoryItem]:
    """The items of some documents behind a number of transactions, and before them, if asked for, what was folded."""
    replay = replay_of(state, declared, group)
    transactions = groupby(steps_of(state, group), key=lambda step: step.touch[:2])
    if replay.known and folded:
        yield _folded(replay, _Shown(declared, Replay(declared, {})), _Shown(declared, replay))
    for _, together in islice(transactions, skipped):
        for step in together:
            _applied(step, replay.members[step.key])
    before = _Shown(declared, replay if replay.known else Replay(declared, {}))
    for _, together in transactions:
        steps = list(together)
        verdicts = [_applied(step, replay.members[step.key]) for step in steps]
        written = frozenset[str]().union(*(fields_of(item, declared)[0] for item in verdicts if item is not None))
        after = _Shown(declared, replay)
        item = _item(state, declared, steps, written, (before, after))
        before = after
        if item.changes or not all(verdict is not None and only_removes_values(verdict) for verdict in verdicts):
            yield item  # but for what removed values that nobody needed any more


def _transactions(state: State, group: Sequence[DocumentKey]) -> int:
    """How many transactions wrote to some documents since they were folded; none of them is read."""
    found = (
        split_touch_key(key)[:2]
        for document in group
        for key, _ in state.store.scan(Table.TOUCH, start=document, end=after_prefix(document))
    )
    return len(set(found))


class _Shown:
    """What a replay shows.

    Args:
        declared: the model.
        replay: as it stands; it may go on afterwards.
    """

    def __init__(self, declared: Declared, replay: Replay) -> None:
        content = replay.content()
        self.values = declared.values(content) if replay.known else dict[str, Any]()
        self.is_live = replay.known and declared.is_live(content)
        self.clashing = _clashes(declared, content) if self.is_live else Clashing()
        if len(replay.members) == 1 and self.is_live and content.tombstones:
            (member,) = replay.members.values()
            sides = sides_of(content, declared.spec.on_edit_after_delete, member.index.last)
            if sides:
                self.clashing[""] = frozenset((side.key, *side.dot) for side in sides)

    def changes_to(self, after: _Shown) -> tuple[FieldChange, ...]:
        """What is different afterwards."""
        names = [*({""} & (self.clashing.keys() | after.clashing.keys())), *after.values]
        changes = []
        for name in names:
            old, new = self.values.get(name), after.values.get(name)
            if not name:
                old, new = self.is_live, after.is_live
            conflict = _conflict(self.clashing.get(name), after.clashing.get(name))
            if conflict or (name and (name not in self.values or not is_same(old, new))):
                changes.append(FieldChange(field=name, old=old, new=new, conflict=conflict))
        return tuple(changes)


def _item(
    state: State, declared: Declared, steps: list[Step], written: frozenset[str], shown: tuple[_Shown, _Shown]
) -> HistoryItem:
    """What some steps of one transaction did, with what was shown before and after."""
    before, after = shown
    types = [step.operation.type for step in steps if step.operation is not None]
    kind = next((wanted for wanted in (OperationType.DELETE, OperationType.CREATE) if wanted in types), None)
    return HistoryItem(
        type=kind or OperationType.UPDATE,
        device_id=state.name_of(steps[0].row.author) if types else "content taken from a peer",
        timestamp=steps[0].hlc,
        live=after.is_live,
        fields=tuple(name for name in after.values if name in written),
        changes=before.changes_to(after),
        record_ids=tuple(dict.fromkeys(split_document_key(step.key)[2] for step in steps)),
    )


def _applied(step: Step, replay: Loaded) -> Screened | None:
    try:
        return step.apply(replay)
    except EntryError:
        raise CorruptStoreError("rows that lead to the entries of a record are missing", table="touch") from None


def _folded(replay: Replay, before: _Shown, after: _Shown) -> HistoryItem:
    return HistoryItem(
        type=OperationType.CREATE,
        device_id=COMPACTED,
        timestamp=min((creation.hlc for creation in replay.content().creations), default=0),
        live=after.is_live,
        fields=tuple(after.values),
        changes=before.changes_to(after),
        record_ids=tuple(split_document_key(key)[2] for key, member in replay.members.items() if member.known),
    )


def _clashes(declared: Declared, content: Content) -> Clashing:
    """The fields that are in conflict, each with the writes that clash."""
    found = ((name, declared.clashes(kind, content)) for name, kind in declared.spec.fields.items())
    return {
        name: frozenset(
            (clash.register, untagged(item.dot.author), item.hlc) for clash in clashes for item in clash.candidates
        )
        for name, clashes in found
        if clashes
    }


def _conflict(
    before: frozenset[tuple[str, Author, int]] | None, after: frozenset[tuple[str, Author, int]] | None
) -> str:
    """What became of a conflict; another one in its place counts as opened."""
    if before == after:
        return ""
    return "opened" if after else "settled"
