"""Undo and redo: an ordinary transaction that takes back an earlier one of this replica, as far as it still stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from crdt_sync.core.blocks import DOCUMENT_BOUNDS, Format
from crdt_sync.core.content import Content
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author, DocumentKey, RecordId, split_document_key
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.inverting import OTHERS_WROTE, Inversion, Place, Since, place_of
from crdt_sync.core.kinds import Drop, TextKind, TextRun, Write
from crdt_sync.core.layout import KeyClass, parsed_key
from crdt_sync.core.respelling import Action, Aliases, Spelled, attributes_back, edits, plan, put_back, spelled
from crdt_sync.core.screening import Screened
from crdt_sync.core.spelling import Piece, pieces_of
from crdt_sync.core.update import parse_update
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.past import Step, steps_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.rows import OperationRow, chain_key, unpack_chain_row, unpack_document_row
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.replica.undo_stack import UndoStack, load_stack, operation_at
from crdt_sync.storage.base import Table

UNKNOWN_MODEL: Final = "this replica is not open with its model"
DELETED_BY_OTHERS: Final = "others deleted the record"
WHOLE_RECORD: Final = ""
"""Stands for the field where it is about the record itself: its creation, its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoItem:
    """One thing that was taken back, or was not.

    Args:
        model: the model's name.
        record_id: the record.
        field: the field; empty for the record's creation, deletion or restoring.
        reason: why it was left as it is; empty where it was taken back.
    """

    model: str
    record_id: RecordId
    field: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoReport:
    """What an undo or redo did.

    Args:
        timestamp: packed HLC timestamp of the transaction that was taken back.
        done: what was taken back, in order.
        skipped: what was left as it is, in order.
    """

    timestamp: int
    done: tuple[UndoItem, ...]
    skipped: tuple[UndoItem, ...]


@dataclass(slots=True)
class _Past:
    """One document around the transaction that is taken back."""

    key: DocumentKey
    declared: Declared
    was_live: bool
    left_live: bool
    before: Content
    after: Content
    spelled: dict[str, tuple[Spelled, Spelled]]
    since: Since


def take_back(state: State, records: Records, *, own: frozenset[Author], redo: bool) -> UndoReport | None:
    """Undo the latest transaction, or redo what was undone last; None where there is none.

    Transactions that came to nothing are passed over.
    """
    stack = load_stack(state.store, own=own)
    numbers, others = (stack.redo, stack.undo) if redo else (stack.undo, stack.redo)
    if not numbers:
        return None
    report: UndoReport | None = None
    with records.writing() as transaction:
        while numbers and report is None:
            operation = operation_at(state.store, numbers.pop())
            if operation is not None:
                report = _take_back_one(state, transaction, stack, operation, own=own)
        written = len(records.written)
        if written:
            others.append(stack.at + written)
        stack.keep(state.store, at=stack.at + written)
    return report


def _take_back_one(
    state: State, transaction: LocalTransaction, stack: UndoStack, operation: OperationRow, *, own: frozenset[Author]
) -> UndoReport | None:
    """Take back the transaction that an operation belongs to; None where there was nothing to do or to leave."""
    done: list[UndoItem] = []
    skipped: list[UndoItem] = []
    partition = split_document_key(operation.document)[0]
    found = state.store.get(Table.CHAIN, chain_key(partition, operation.author, operation.sequence))
    if found is None:
        return None
    position = unpack_chain_row(found)[0]
    for key in [item.document for item in state.ledger.entry(position, 0).operations]:
        _, model, record = split_document_key(key)
        declared = state.schema.by_key(key)
        if declared is None:
            skipped.append(UndoItem(model=model, record_id=record, field=WHOLE_RECORD, reason=UNKNOWN_MODEL))
            continue
        past = _past(state, declared, key, position, own=own)
        change = _Change(state=state, transaction=transaction, stack=stack, past=past, own=own)
        change.make()
        done += [UndoItem(model=model, record_id=record, field=name) for name in change.done]
        skipped += [UndoItem(model=model, record_id=record, field=name, reason=why) for name, why in change.skipped]
    if not done and not skipped:
        return None
    return UndoReport(timestamp=operation.hlc, done=tuple(done), skipped=tuple(skipped))


class _Change:
    """Takes back what one transaction did to one record."""

    def __init__(
        self, *, state: State, transaction: LocalTransaction, stack: UndoStack, past: _Past, own: frozenset[Author]
    ) -> None:
        self._transaction, self._stack, self._past, self._own = transaction, stack, past, own
        self._loaded = state.documents.get(past.key)
        self._texts: dict[str, list[Action]] = {}
        self.done: list[str] = []
        self.skipped: list[tuple[str, str]] = []

    def make(self) -> None:
        """Decide by the record's life, then write."""
        past, now = self._past, self._content()
        is_live = past.declared.is_live(now)
        if past.left_live and not is_live:
            if past.was_live:
                self.skipped.append((WHOLE_RECORD, DELETED_BY_OTHERS))
            return
        if past.left_live and not past.was_live:
            self._delete_again()
        elif past.was_live and not past.left_live:
            self._bring_back(now, is_live=is_live)
        else:
            self._write([])

    def _delete_again(self) -> None:
        past = self._past
        if past.since.wrote:
            self.skipped.append((WHOLE_RECORD, OTHERS_WROTE))
            return
        if past.before.creations:
            self._write([])
        content, seen = self._content(), self._loaded.index.state_vector
        self._transaction.tombstone(self._loaded, over=content.tombstones, seen=seen)
        self.done.append(WHOLE_RECORD)

    def _bring_back(self, now: Content, *, is_live: bool) -> None:
        if is_live or any(parsed_key(key).author not in self._own for key in now.tombstones):
            self.skipped.append((WHOLE_RECORD, OTHERS_WROTE))
            return
        self._write([Drop(key) for key in now.tombstones])
        self.done.insert(0, WHOLE_RECORD)

    def _write(self, writes: list[Write]) -> None:
        past = self._past
        inversion = Inversion(
            before=past.before,
            after=past.after,
            now=self._content(),
            own=self._own,
            since=past.since,
            context=self._transaction.context,
            writes=writes,
        )
        for kind in past.declared.spec.fields.values():
            if isinstance(kind, TextKind):
                self._text(kind.stored, inversion)
            else:
                inversion.invert(kind)
        fields = frozenset(inversion.done) or frozenset(past.declared.spec.fields)
        self._transaction.write(past.key, inversion.writes, operation=OperationType.UPDATE, fields=fields)
        self.done += inversion.done
        self.skipped += inversion.skipped
        for name, actions in self._texts.items():
            aliases = put_back(actions, _text_of(self._loaded, name).chars)
            self._stack.aliases += [(past.key, alias) for alias in aliases]

    def _text(self, name: str, inversion: Inversion) -> None:
        if name not in self._past.spelled:
            return
        before, after = self._past.spelled[name]
        now, pieces, plain = _text_of(self._loaded, name)
        aliases = Aliases(self._stack.aliases_of(self._past.key))
        actions, lost = plan(before, after, now, pieces=pieces, aliases=aliases, cut_by_others=self._past.since.cut)
        if lost:
            inversion.skip(name, OTHERS_WROTE)
        back = attributes_back(before, after, now, aliases=aliases)
        writes = edits(name, actions, back=back, plain=plain)
        if writes:
            inversion.writes += writes
            inversion.done.append(name)
            self._texts[name] = actions

    def _content(self) -> Content:
        return self._loaded.content(self._past.declared.text_fields)


def _past(state: State, declared: Declared, key: DocumentKey, position: int, *, own: frozenset[Author]) -> _Past:
    """Replay a document from before a transaction of ours up to now."""
    replay = _starting_before(state, key, position)
    steps = steps_of(state, key, after=replay.position)
    found: _Past | None = None
    others = _Others()
    for step in steps:
        if step.touch.position < position:
            step.apply(replay)
        elif found is None:
            found = _around(declared, key, step, replay)
        else:
            verdict = step.apply(replay)
            if step.row.author not in own:
                others.take(verdict)
    if found is None:
        raise RuntimeError("a transaction that touched a document, and left no trace in its history")
    found.since = others.since()
    return found


def _around(declared: Declared, key: DocumentKey, step: Step, replay: Loaded) -> _Past:
    """The document before and after one step."""
    before = replay.content(declared.text_fields) if replay.known else Content()
    was_live = replay.known and declared.is_live(before)
    texts = {name: _text_of(replay, name).chars for name in declared.text_fields} if replay.known else {}
    verdict = step.apply(replay)
    after = replay.content(declared.text_fields)
    touched = frozenset[str]() if verdict is None else verdict.text_fields
    both = {
        name: (texts.get(name, {}), _text_of(replay, name).chars) for name in declared.text_fields if name in touched
    }
    return _Past(key, declared, was_live, declared.is_live(after), before, after, both, _Others().since())


class _Others:
    """Gathers what others did to a document."""

    def __init__(self) -> None:
        self._places: set[Place] = set()
        self._cut: dict[int, list[tuple[int, int]]] = {}
        self._everything = self._wrote = False

    def take(self, verdict: Screened | None) -> None:
        """One of their operations; None is content of which nobody can tell who wrote what."""
        self._wrote = True
        if verdict is None:
            self._everything = True
            return
        for key in (*(key for key, _ in verdict.written), *verdict.removed_keys):
            self._everything = self._everything or key.key_class is KeyClass.CREATION
            self._places.add(place_of(key))
        for author, start, end in verdict.update.deletes:
            self._cut.setdefault(author, []).append((start, end))

    def since(self) -> Since:
        """All that they did."""
        return Since(places=self._places, everything=self._everything, wrote=self._wrote, cut=self._cut)


def _starting_before(state: State, key: DocumentKey, position: int) -> Loaded:
    """A copy of a document as it was some time before a log position: its snapshot, or as it was folded."""
    data = state.store.get(Table.DOCUMENT, key)
    if data is not None:
        row = unpack_document_row(data)
        if row.state and row.position < position:
            index = DocumentIndex.from_bytes(row.units)
            return Loaded(key, author=state.documents.author, snapshot=row.state, index=index, position=row.position)
    return state.documents.base(key)


class _Text(NamedTuple):
    """A text as it stands: its code points, its pieces, and whether nobody ever gave it attributes."""

    chars: Spelled
    pieces: list[Piece]
    plain: bool


def _text_of(loaded: Loaded, field: str) -> _Text:
    if not loaded.known:
        return _Text({}, [], plain=True)
    state = parse_update(loaded.encode(), bounds=DOCUMENT_BOUNDS)
    pieces = list(pieces_of(state, loaded.index, field))
    plain = not any(type(block.content) is Format for block in state.blocks)
    runs: list[TextRun] = [] if plain else loaded.engine().runs(field)
    return _Text(spelled(pieces, runs), pieces, plain)
