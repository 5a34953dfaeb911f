"""Settled questions of whether a record stays deleted, as rows of the journal of settled conflicts.

What settles such a question takes the deletions away, so that the document tells nothing of it afterwards. But the
operation that did it says what its writer had seen: a deletion by its tombstone, whatever takes deletions back by its
touch. The document as it was then, made again from the log, has the conflict. So every replica that gets the operation
finds the same row, in whatever order it got what was done at once; but for one whose base holds by then what the writer
had not seen, or that took the operation over from a peer as part of a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from crdt_sync.core.conflict import ConflictKind, conflict_id
from crdt_sync.core.content import Content, Dot, RegisterValue, read_context, read_tombstone
from crdt_sync.core.deleting import Side, sides_of
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.layout import KeyClass, map_key, parsed_key
from crdt_sync.core.screening import Screened
from crdt_sync.errors import EntryError, MalformedEntryError
from crdt_sync.replica.derived_rows import AS_IT_WAS, GONE, SettledRow, settled_key, write_held
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.past import Step, steps_of
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.settled import keep_settled
from crdt_sync.replica.state import State

Seen = Mapping[Author, int]
"""A state vector: author → next clock."""


class _Done(NamedTuple):
    """A step that was made again, and where its author stood afterwards; None of a peer's content."""

    step: Step
    end: int | None


def settles(verdict: Screened) -> bool:
    """Whether an operation may settle whether a record stays deleted."""
    return any(_tells_what_it_saw(key.key_class, data) for key, data in verdict.written)


def journal_deletions(state: State, declared: Declared, key: DocumentKey, *, since: int) -> None:
    """Note what was settled by the operations on a document from a log position on; in a store transaction."""
    if declared.spec.on_edit_after_delete != "ask":
        return
    rows: dict[bytes, bytes] = {}
    done: list[_Done] = []
    replay = state.documents.base(key)
    for step in steps_of(state, (key,)):
        author = step.row.author
        verdict = step.apply(replay)
        told = None if verdict is None or step.touch.position < since else _seen(verdict)
        if told is not None:
            deletes, seen = told
            dot = Dot(author, replay.index.next_clock(author))
            chosen = RegisterValue(dot, step.hlc, GONE if deletes else AS_IT_WAS, {}, "")
            rows.update(_rows(declared, step, chosen, _as_seen(state, key, done, seen)))
        done.append(_Done(step, None if verdict is None else replay.index.next_clock(author)))
    keep_settled(state.store, key, rows)


def _tells_what_it_saw(key_class: KeyClass, data: bytes) -> bool:
    return key_class is KeyClass.TOMBSTONE or (key_class is KeyClass.TOUCH and data != b"")


def _seen(verdict: Screened) -> tuple[bool, Seen] | None:
    """Whether an operation deletes, and what its writer had seen of the document; None where it does not tell."""
    cells = {key.key_class: data for key, data in verdict.written}
    try:
        if KeyClass.TOMBSTONE in cells:
            return True, read_tombstone(cells[KeyClass.TOMBSTONE]).vector
        touch = cells.get(KeyClass.TOUCH, b"")
        return (False, read_context(touch, 0)[0]) if touch else None
    except MalformedEntryError:
        return None


def _as_seen(state: State, key: DocumentKey, done: list[_Done], seen: Seen) -> Loaded | None:
    """The document with what its writer had seen; None where that cannot be told apart any more."""
    past = state.documents.base(key)
    for step, end in done:
        if end is None or end <= seen.get(step.row.author, 0):
            try:
                step.apply(past)
            except EntryError:
                return None  # a writer that names what it cannot have seen
    is_more = any(clock > seen.get(Author(author), 0) for author, clock in past.index.state_vector.items())
    return None if is_more else past


def _rows(declared: Declared, step: Step, chosen: RegisterValue, past: Loaded | None) -> Iterator[tuple[bytes, bytes]]:
    """The row of a step that settled something, if it did."""
    if past is None:
        return
    content = past.content(declared.text_fields)
    sides = sides_of(content, declared.spec.on_edit_after_delete, past.index.last)
    if not sides or not _takes_away(step, past, content):
        return
    row = SettledRow(
        kind=ConflictKind.EDIT_OF_DELETED,
        register="",
        paths=(),
        chosen=chosen,
        candidates=tuple(map(_candidate, sides)),
        held=write_held(past.engine().cells(), content.texts),
    )
    number = conflict_id(row.kind, step.key, "", (side.dot for side in sides))
    yield settled_key(step.key, number, chosen.dot), row.pack()


def _candidate(side: Side) -> RegisterValue:
    return RegisterValue(side.dot, side.hlc, GONE if side.key else AS_IT_WAS, {}, "")


def _takes_away(step: Step, past: Loaded, content: Content) -> bool:
    """Whether a step removes or replaces a deletion that its writer had seen."""
    try:
        verdict = step.screened(past.index)
    except EntryError:
        return False
    if verdict is None:
        return False
    written = (key for key, _ in verdict.written)
    keys = {map_key(key.key_class, key.author) for key in (*written, *verdict.removed_keys) if not key.field}
    return any(parsed_key(key).key_class is KeyClass.TOMBSTONE for key in keys & content.tombstones.keys())
