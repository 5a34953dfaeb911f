"""What was, and why it is so: a record at a time, and the explanation of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from crdt_sync.core.blocks import DOCUMENT_BOUNDS
from crdt_sync.core.clock import COUNTER_BITS, HLC_MAX, pack
from crdt_sync.core.entry import Entry, EntryOperation
from crdt_sync.core.explaining import LIFE_RULES, RULES, Explanation, explain_field, explain_life
from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.core.kinds import TextKind
from crdt_sync.core.screening import Screened, screen
from crdt_sync.core.spelling import inserted_by
from crdt_sync.core.update import parse_update
from crdt_sync.errors import InputError, MissingCauseError, RecordDeletedError, RecordNotFoundError
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, Touch, after_prefix, number_key, split_touch_key
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTER_MAX: Final = (1 << COUNTER_BITS) - 1


class Step:
    """One operation on a document, as the log has it.

    Args:
        touch: where.
        row: of the log.
        entry: the transaction; None for content taken from a peer, which nobody's entry tells of.
    """

    __slots__ = ("entry", "row", "touch")

    def __init__(self, touch: Touch, row: LogRow, entry: Entry | None) -> None:
        self.touch, self.row, self.entry = touch, row, entry

    @property
    def hlc(self) -> int:
        """When it was made; of a peer's content, when it was taken."""
        return self.row.clock if self.entry is None else self.entry.hlc

    @property
    def operation(self) -> EntryOperation | None:
        """What it did."""
        return None if self.entry is None else self.entry.operations[self.touch.operation]

    def apply(self, replay: Loaded) -> Screened | None:
        """Do it again on another copy of the document.

        Raises:
            MissingCauseError: what it rests on is not there; nothing was changed.
        """
        operation = self.operation
        if operation is None:
            replay.add_content(self.row.body)
            return None
        verdict = screen(operation.update, author=self.row.author, index=replay.index, operation=operation.type)
        replay.add(operation.update, verdict)
        return verdict


def steps_of(state: State, key: DocumentKey, *, after: int = 0) -> Iterator[Step]:
    """A record's operations in the order in which this replica applied them, those behind log position ``after``."""
    start = key + number_key(after + 1)
    for touch_key, _ in state.store.scan(Table.TOUCH, start=start, end=after_prefix(key)):
        touch = split_touch_key(touch_key)
        row, _ = state.ledger.row(touch.position)
        is_content = row.author == CONTENT_AUTHOR
        yield Step(touch, row, None if is_content else state.ledger.entry(touch.position, touch.entry))


def values_at(state: State, declared: Declared, key: DocumentKey, *, time: datetime | int) -> dict[str, Any]:
    """The values of a record's fields as they were; see `Replica.at`."""
    until = packed_time(time)
    replay = state.documents.base(key)
    if replay.known and min((item.hlc for item in replay.content(()).creations), default=0) > until:
        replay = Loaded(key, author=state.documents.author)
    for step in steps_of(state, key):
        if step.hlc <= until:
            try:
                step.apply(replay)
            except MissingCauseError:
                continue  # a clock that went wrong: it rests on what was made later, so it was made later, too
    name, record = declared.spec.name, split_document_key(key)[2]
    if not replay.known:
        raise RecordNotFoundError(
            f"{name} {record} was not there at that time, as far as this replica's log tells",
            hint="replica.history(Model, id) begins with its creation.",
            model=name,
            record_id=record,
        )
    content = replay.content(declared.text_fields)
    if not declared.is_live(content):
        raise RecordDeletedError(f"{name} {record} was deleted at that time", model=name, record_id=record)
    return declared.values(content)


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
    loaded = state.documents.get(key)
    content = loaded.content(declared.text_fields)
    record = split_document_key(key)[2]
    if field is None:
        policy = declared.spec.on_edit_after_delete
        causes, notes = explain_life(content, policy, name_of=state.name_of, names=state.names())
        shown: Any = declared.is_live(content)
        kind_name, rule = "life", LIFE_RULES[declared.spec.on_edit_after_delete]
    else:
        kind = declared.spec.field(field)
        pieces: list[tuple[Author, str]] = []
        if isinstance(kind, TextKind):
            pieces = list(inserted_by(parse_update(loaded.encode(), bounds=DOCUMENT_BOUNDS), loaded.index, field))
        names = state.names()
        causes, notes = explain_field(kind, content, name_of=state.name_of, names=names, pieces=pieces)
        shown, kind_name = kind.read(content), type(kind).__name__
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
