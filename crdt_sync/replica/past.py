"""What was, and why it is so: a record at a time, and the explanation of its fields."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Any, Final, cast

from crdt_sync.core.blocks import DOCUMENT_BOUNDS
from crdt_sync.core.clock import COUNTER_BITS, HLC_MAX, pack
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import merge_contents
from crdt_sync.core.entry import Entry, EntryOperation
from crdt_sync.core.equality import alike
from crdt_sync.core.explaining import LIFE_RULES, RULES, Explanation, explain_field, explain_life, time_text
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds import TextKind
from crdt_sync.core.screening import Screened, screen_again
from crdt_sync.core.spelling import inserted_by
from crdt_sync.core.update import parse_update
from crdt_sync.errors import HistoryFoldedError, InputError, MissingCauseError, RecordDeletedError, RecordNotFoundError
from crdt_sync.replica.bases import base_span
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import group_of, shown_content
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, Touch, after_prefix, number_key, split_touch_key
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.seen_since import SeenSince
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group
from crdt_sync.storage.base import Table

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTER_MAX: Final = (1 << COUNTER_BITS) - 1


class Step:
    """One operation on a document, as the log has it.

    Args:
        key: the document.
        touch: where.
        row: of the log.
        entry: the transaction; None for content taken from a peer, which nobody's entry tells of.
    """

    __slots__ = ("entry", "key", "row", "touch")

    def __init__(self, key: DocumentKey, touch: Touch, row: LogRow, entry: Entry | None) -> None:
        self.key, self.touch, self.row, self.entry = key, touch, row, entry

    @property
    def hlc(self) -> int:
        """When it was made; of a peer's content, when it was taken."""
        return self.row.clock if self.entry is None else self.entry.hlc

    @property
    def sequence(self) -> int:
        """The number of its entry in its author's chain."""
        return self.row.first + self.touch.entry

    @property
    def operation(self) -> EntryOperation | None:
        """What it did."""
        return None if self.entry is None else self.entry.operations[self.touch.operation]

    def apply(self, replay: Loaded) -> Screened | None:
        """Do it again on another copy of the document; None of what was taken from a peer, now or before.

        Raises:
            MissingCauseError: what it rests on is not there; nothing was changed.
        """
        operation = self.operation
        if operation is None:
            replay.add_content(self.row.body)
            return None
        verdict = self.screened(replay.index)
        if verdict is not None:
            replay.add(operation.update, verdict)
        return verdict

    def screened(self, index: DocumentIndex) -> Screened | None:
        """What it would do to a copy of the document; None where that has it. It is no content taken from a peer.

        Raises:
            EntryError: it can not be done there.
        """
        operation = self.entry.operations[self.touch.operation] if self.entry else None
        if operation is None:
            raise MissingCauseError("content from a peer is no operation")
        return screen_again(operation.update, author=self.row.author, index=index, operation=operation.type)


class Replay:
    """Copies of a record's document, and of those that it was merged with, that are brought forward step by step.

    Args:
        declared: the model.
        members: document → its copy, in the order of the group that they show as now, the survivor first.
    """

    def __init__(self, declared: Declared, members: Mapping[DocumentKey, Loaded]) -> None:
        self._declared = declared
        self.members = dict(members)

    @property
    def known(self) -> bool:
        """Whether any of them was written to."""
        return any(member.known for member in self.members.values())

    def content(self) -> Content:
        """What they show together, as far as they were written to; empty where none was."""
        names = self._declared.text_fields
        known = [(split_document_key(key)[2], item.content(names)) for key, item in self.members.items() if item.known]
        if len(self.members) > 1 and known:
            return merge_contents(known, survivor=split_document_key(next(iter(self.members)))[2])
        return known[0][1] if known else Content()


def replay_of(state: State, declared: Declared, group: Group) -> Replay:
    """Copies of the documents of a group, as their folded operations left them."""
    return Replay(declared, {key: state.documents.base(key) for key in group})


def steps_of(
    state: State, group: Sequence[DocumentKey], *, after: Mapping[DocumentKey, int] | None = None
) -> Iterator[Step]:
    """The operations on some documents in the order in which this replica applied them.

    Args:
        state: the replica.
        group: the documents.
        after: document → log position behind which its operations begin; from the first one on where it is not in it.
    """
    found = (_steps_of_one(state, key, after=(after or {}).get(key, 0)) for key in group)
    yield from merge(*found, key=lambda step: step.touch)


def _steps_of_one(state: State, key: DocumentKey, *, after: int) -> Iterator[Step]:
    start = key + number_key(after + 1)
    for touch_key, _ in state.store.scan(Table.TOUCH, start=start, end=after_prefix(key)):
        yield _step(state, key, split_touch_key(touch_key))


def _step(state: State, key: DocumentKey, touch: Touch) -> Step:
    row, _ = state.ledger.row(touch.position)
    is_content = row.author == CONTENT_AUTHOR
    return Step(key, touch, row, None if is_content else state.ledger.entry(touch.position, touch.entry))


def _steps_at(state: State, group: Group, until: int) -> Iterator[Step]:
    """The operations that count at a time: those made until then, and what those had seen, causes first.

    A clock that was ahead dates a write later than what rests on it, and what somebody had seen by then was there.
    """
    later: dict[Author, deque[tuple[int, Touch, DocumentKey]]] = {}
    seen: SeenSince | None = None
    for step in steps_of(state, group):
        author, touch = step.row.author, step.touch
        if step.hlc > until:
            if step.entry is not None:
                seen = seen or SeenSince(state.store, step.row.partition, start=touch.position)
                later.setdefault(author, deque()).append((step.sequence, touch, step.key))
            continue
        if seen is not None:
            known = seen.by(author, step.sequence, position=touch.position)
            counted: list[tuple[Touch, DocumentKey]] = []
            for other, waiting in later.items():
                while waiting and waiting[0][0] <= known.get(other, 0):
                    counted.append(waiting.popleft()[1:])
            yield from (_step(state, key, touch) for touch, key in sorted(counted))
        yield step


def values_at(state: State, declared: Declared, key: DocumentKey, *, time: datetime | int) -> dict[str, Any]:
    """The values of a record's fields as they were; see `Replica.at`."""
    until, group = packed_time(time), group_of(state, declared, key)
    replay = replay_of(state, declared, group)
    is_later = _is_folded_later(state, group, until)
    if is_later:
        replay = Replay(declared, {key: Loaded(key, author=state.documents.author) for key in group})
    for step in _steps_at(state, group, until):
        if is_later:  # it may have seen what was folded, which would count with it
            raise _folded(group, _reach(state, group))
        with suppress(MissingCauseError):  # it rests on content from a peer, which is dated later
            step.apply(replay.members[step.key])
    name, record = declared.spec.name, split_document_key(group[0])[2]
    if not replay.known:
        raise RecordNotFoundError(
            f"{name} {record} was not there at that time, as far as this replica's log tells",
            hint="replica.history(Model, id) begins with its creation.",
            model=name,
            record_id=record,
        )
    content = replay.content()
    if not declared.is_live(content):
        raise RecordDeletedError(f"{name} {record} was deleted at that time", model=name, record_id=record)
    return declared.values(content)


def _is_folded_later(state: State, group: Group, time: int) -> bool:
    """Whether what was folded of some documents was all made after a time, rather than all until then.

    Raises:
        HistoryFoldedError: a part of it may have been made until then, and nobody can tell which.
    """
    spans = [span for span in (base_span(state.store, key) for key in group) if span is not None]
    reach = _reach(state, group)
    if reach <= time:
        return False
    if min(since for since, _ in spans) <= time:
        raise _folded(group, reach)
    return True


def _reach(state: State, group: Group) -> int:
    """When the latest was made of what was folded of some documents; 0 where nothing was."""
    spans = (base_span(state.store, key) for key in group)
    return max((span[1] or state.ledger.folded.clock for span in spans if span is not None), default=0)


def _folded(group: Group, reach: int) -> HistoryFoldedError:
    _, model, record = split_document_key(group[0])
    return HistoryFoldedError(
        f"what was done to {model} {record} before {time_text(reach)} was compacted",
        hint="A replica that has not compacted it can tell.",
        model=model,
        record_id=record,
    )


def packed_time(time: object) -> int:
    """The last packed HLC timestamp of a time.

    Raises:
        InputError: neither an aware datetime nor a packed timestamp.
    """
    if type(time) is int and 0 <= time <= HLC_MAX:
        return time
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise InputError(
            "a time is a datetime with a time zone, or a timestamp as history gives it",
            hint="Write datetime(2026, 7, 1, 12, tzinfo=UTC).",
        )
    return pack(max((time - _EPOCH) // timedelta(milliseconds=1), 0), _COUNTER_MAX)


def explain(state: State, declared: Declared, key: DocumentKey, field: str | None) -> Explanation:
    """Why a field, or the record's life, is as it is; see `Replica.explain`."""
    group, content = shown_content(state, declared, key)
    record = split_document_key(group[0])[2]
    if field is None:
        policy = declared.spec.on_edit_after_delete
        causes, notes = explain_life(content, policy, name_of=state.name_of, names=state.names())
        shown: Any = declared.is_live(content)
        kind_name, rule = "life", LIFE_RULES[declared.spec.on_edit_after_delete]
    else:
        kind = declared.spec.field(field)
        pieces: list[tuple[Author, str]] = []
        if isinstance(kind, TextKind):
            shown_text = state.documents.get(group[0])
            whole = parse_update(shown_text.encode(), bounds=DOCUMENT_BOUNDS)
            pieces = list(inserted_by(whole, shown_text.index, kind.stored))
        names = state.names()
        shown, kind_name = declared.read(kind, content), type(kind).__name__
        upgraded = UNKNOWN if declared.upgrade is None or alike(shown, kind.read(content)) else shown
        causes, notes = explain_field(
            kind, content, name_of=state.name_of, names=names, pieces=pieces, upgraded=upgraded
        )
        rule = RULES[kind_name]
        kind_name = kind_name.removesuffix("Kind").removesuffix("Register").lower()
        if not declared.is_live(content):
            notes = (*notes, "the record is deleted")
    return Explanation(
        model=declared.spec.name,
        record_id=record,
        field=field or "",
        kind=kind_name,
        value=cast("Any", shown),
        rule=rule,
        causes=causes,
        notes=notes,
    )
