"""Undo and redo: an ordinary transaction that takes back an earlier one of this replica, as far as it still stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import MergedContent
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author, DocumentKey, RecordId, split_document_key
from crdt_sync.core.inverting import OTHERS_WROTE, STAYS_SETTLED, Inversion
from crdt_sync.core.kinds import Drop, TextKind, Write
from crdt_sync.core.layout import parsed_key
from crdt_sync.core.links import verdicts_of
from crdt_sync.core.respelling import Action, Aliases, attributes_back, edits, plan, put_back
from crdt_sync.errors import HistoryFoldedError
from crdt_sync.replica.duplicates import are_apart, content_of, group_of, linked_group_of, refuse_duplicate
from crdt_sync.replica.group_writes import delete_group, write_group
from crdt_sync.replica.questions import places_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.retracing import Around, around, content_before, text_of
from crdt_sync.replica.rows import FLOOR_POSITION, OperationRow, chain_key, unpack_chain_row
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.replica.undo_stack import UndoStack, load_stack, operation_at
from crdt_sync.replica.unique_index import Group, unique_values
from crdt_sync.storage.base import Table

UNKNOWN_MODEL: Final = "this replica is not open with its model"
UNKNOWN_FIELD: Final = "this version of the app does not know the field"
DELETED_BY_OTHERS: Final = "others deleted the record"
STAYS_MERGED: Final = "the record was merged with another one since, and stays so"
GONE_FOR_GOOD: Final = "the record is gone for good: a horizon settled its deletion"
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


def take_back(state: State, records: Records, *, own: frozenset[Author], redo: bool) -> UndoReport | None:
    """Undo the latest transaction, or redo what was undone last; None where there is none.

    Transactions that came to nothing are passed over; where nothing else is left, nothing is written.
    """
    try:
        return _take_back_latest(state, records, own=own, redo=redo)
    except _NothingLeftError:
        return None


class _NothingLeftError(Exception):
    """Rolls back what was written to records that nobody sees."""


def _take_back_latest(state: State, records: Records, *, own: frozenset[Author], redo: bool) -> UndoReport | None:
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
        if report is None and written:
            raise _NothingLeftError
        if written:
            others.append(stack.at + written)
        stack.keep(state.store, at=stack.at + written)
    return report


def _take_back_one(
    state: State, transaction: LocalTransaction, stack: UndoStack, operation: OperationRow, *, own: frozenset[Author]
) -> UndoReport | None:
    """Take back the transaction that an operation belongs to; None where there was nothing to do or to leave.

    Raises:
        HistoryFoldedError: it was folded, or a part of it.
    """
    done: list[UndoItem] = []
    skipped: list[UndoItem] = []
    partition = split_document_key(operation.document)[0]
    found = state.store.get(Table.CHAIN, chain_key(partition, operation.author, operation.sequence))
    position = FLOOR_POSITION if found is None else unpack_chain_row(found)[0]
    if position == FLOOR_POSITION:
        raise _folded(operation.document)
    groups: dict[Group, Declared] = {}
    for key in [item.document for item in state.ledger.entry(position, 0).operations]:
        _, model, record = split_document_key(key)
        declared = state.schema.by_key(key)
        if declared is None:
            skipped.append(UndoItem(model=model, record_id=record, field=WHOLE_RECORD, reason=UNKNOWN_MODEL))
        else:
            groups[group_of(state, declared, key)] = declared
    changes: list[_Change] = []
    for group, declared in groups.items():
        past = around(state, declared, group, position, own=own)
        if past is None:
            raise _folded(group[0])
        changes += [
            _Change(state=state, transaction=transaction, stack=stack, past=part, declared=declared, group=keys)
            for keys, part in _apart(state, declared, group, past)
        ]
    for change in changes:
        change.make(own)
        done += change.named(change.done)
        skipped += [replace(item, reason=why) for name, why in change.skipped for item in change.named([name])]
    for change in changes:
        change.check_unique()
    if not done and not skipped:
        return None
    return UndoReport(timestamp=operation.hlc, done=tuple(done), skipped=tuple(skipped))


def _apart(state: State, declared: Declared, group: Group, past: Around) -> Iterator[tuple[Group, Around]]:
    """What is taken back by itself: all that show as one; but where lives began or ended, only what is linked by now.

    Records that show as one for their values alone come apart again once one of them is gone.
    """
    if len(group) == 1 or not past.changes_lives():
        yield group, past
        return
    left = list(group)
    while left:
        near = linked_group_of(state, declared, left[0])
        keys = tuple(key for key in left if key in near)
        left = [key for key in left if key not in near]
        if not past.wrote.isdisjoint(keys):
            yield keys, past.of(keys)


def _folded(key: DocumentKey) -> HistoryFoldedError:
    _, model, record = split_document_key(key)
    return HistoryFoldedError(
        "the transaction was compacted, so what it took the place of is not known any more",
        hint="Write the values that you want; every device has what the transaction wrote.",
        model=model,
        record_id=record,
    )


class _Change:
    """Takes back what one transaction did to one record, or to several that show as one."""

    def __init__(
        self,
        *,
        state: State,
        transaction: LocalTransaction,
        stack: UndoStack,
        past: Around,
        declared: Declared,
        group: Group,
    ) -> None:
        self._state, self._transaction, self._stack, self._past = state, transaction, stack, past
        self._declared, self._group = declared, group
        self._texts: dict[tuple[DocumentKey, str], list[Action]] = {}
        self._unique: bytes | None = None
        self._edits = False
        self.done: list[str] = []
        self.skipped: list[tuple[str, str]] = []

    def named(self, fields: Iterable[str]) -> list[UndoItem]:
        """What a report says of fields of the record."""
        _, model, record = split_document_key(self._group[0])
        return [UndoItem(model=model, record_id=record, field=name) for name in fields]

    def make(self, own: frozenset[Author]) -> None:
        """Decide by the record's life, then write."""
        past, now = self._past, self._content()
        is_live = self._declared.is_live(now)
        if past.was_live and past.left_live and past.changes_lives():
            self.skipped.append((WHOLE_RECORD, STAYS_MERGED))
            if is_live and len(past.before.creations) == len(past.after.creations):
                self._write({}, own)
        elif past.left_live and not is_live:
            if past.was_live:
                self.skipped.append((WHOLE_RECORD, DELETED_BY_OTHERS))
        elif past.left_live and not past.was_live:
            self._delete_again(own)
        elif past.was_live and not past.left_live:
            self._bring_back(own, is_live=is_live)
        elif past.left_live:
            self._leave_settled()
            self._unique, self._edits = unique_values(self._declared, now), True
            self._write({}, own)
        elif past.before.creations:
            self._write_unseen(own, is_live=is_live)

    def check_unique(self) -> None:
        """Refuse unique values that another record has by now; to be called once the whole transaction is taken back.

        A record that comes back is as one that is restored: it may meet another one.

        Raises:
            RecordExistsError: another record has them.
        """
        if not self._edits or not self._declared.spec.groups:
            return
        content = self._content()
        if unique_values(self._declared, content) != self._unique:
            group = group_of(self._state, self._declared, self._group[0])
            values, written = self._declared.values(content), self._transaction.unique
            refuse_duplicate(self._state, self._declared, values, group=group, written=written, unless=self._was_equal)

    def _was_equal(self, other: DocumentKey) -> bool:
        """Whether another record had the same values before the transaction, or somebody keeps it apart."""
        asks = self._declared.spec.asks
        group = group_of(self._state, self._declared, other) if asks else (other,)
        if asks and are_apart(self._state, self._declared, self._group, group):
            return True
        theirs = content_before(self._state, self._declared, group, self._past.position)
        return bool(theirs.creations) and unique_values(self._declared, theirs) == unique_values(
            self._declared, self._past.before
        )

    def _write_unseen(self, own: frozenset[Author], *, is_live: bool) -> None:
        """Take back what a record got that was deleted before and after, and have it deleted still: nobody sees it."""
        if is_live:  # by what others wrote
            self._write({}, own)
        elif not any(map(self._state.locks, self._group)):
            self._write({}, own)
            if self.done:
                self._delete()
            self.done, self.skipped = [], []

    def _leave_settled(self) -> None:
        """Note that what the transaction settled of the whole record stays so, such as deletions that it took away."""
        before, after = self._past.before, self._past.after
        asks = self._declared.spec.on_edit_after_delete == "ask"
        took_away = asks and before.tombstones.keys() - after.tombstones.keys()
        if took_away or _verdicts(after) - _verdicts(before):
            self.skipped.append((WHOLE_RECORD, STAYS_SETTLED))

    def _decided(self) -> frozenset[str]:
        """The registers in which the records differed that the transaction made one: what was chosen for them stays."""
        before = self._past.before
        if not isinstance(before, MergedContent) or not _verdicts(self._past.after) - _verdicts(before):
            return frozenset()
        shown = [self._declared.values(part) for _, part in before.parts]
        return frozenset(place.register.stored for place in places_of(self._declared, shown))

    def _delete_again(self, own: frozenset[Author]) -> None:
        past = self._past
        if past.since.wrote:
            self.skipped.append((WHOLE_RECORD, OTHERS_WROTE))
            return
        if past.before.creations:
            self._write({}, own)
        self._delete()
        self.done.append(WHOLE_RECORD)

    def _delete(self) -> None:
        content = self._content()
        if isinstance(content, MergedContent):
            delete_group(self._state, self._declared, self._transaction, self._group[0], content)
        else:
            loaded = self._state.documents.get(self._group[0])
            self._transaction.tombstone(loaded, over=content.tombstones, seen=loaded.index.state_vector)

    def _bring_back(self, own: frozenset[Author], *, is_live: bool) -> None:
        names = self._declared.text_fields
        deleted = sorted(self._past.deleted)
        tombs = {key: self._state.documents.get(key).content(names).tombstones for key in deleted}
        by_others = any(parsed_key(name).author not in own for found in tombs.values() for name in found)
        if is_live or by_others:
            self.skipped.append((WHOLE_RECORD, OTHERS_WROTE))
            return
        if any(map(self._state.locks, deleted)):
            self.skipped.append((WHOLE_RECORD, GONE_FOR_GOOD))
            return
        self._write({split_document_key(key)[2]: [Drop(name) for name in found] for key, found in tombs.items()}, own)
        self.done.insert(0, WHOLE_RECORD)
        self._leave_settled()

    def _write(self, writes: dict[RecordId, list[Write]], own: frozenset[Author]) -> None:
        past, survivor = self._past, self._group[0]
        now = self._content()
        inversion = Inversion(
            before=past.before,
            after=past.after,
            now=now,
            record=split_document_key(survivor)[2],
            own=own,
            since=past.since,
            context=self._transaction.context,
            shown=self._declared.values(past.before),
            decided=self._decided(),
            writes=writes,
        )
        for kind in self._declared.spec.fields.values():
            if isinstance(kind, TextKind):
                self._text(kind, inversion)
            else:
                inversion.invert(kind)
        for name in sorted(past.unknown):
            inversion.skip(name, UNKNOWN_FIELD)
        fields = frozenset(inversion.done) or self._declared.all_fields
        if isinstance(now, MergedContent):
            write_group(self._declared, self._transaction, survivor, now, inversion.writes, fields=fields)
        else:
            for own_writes in inversion.writes.values():
                self._transaction.write(survivor, own_writes, operation=OperationType.UPDATE, fields=fields)
        self.done += inversion.done
        self.skipped += inversion.skipped
        for (key, name), actions in self._texts.items():
            aliases = put_back(actions, text_of(self._state.documents.get(key), name).chars)
            self._stack.aliases += [(key, alias) for alias in aliases]

    def _text(self, kind: TextKind, inversion: Inversion) -> None:
        """Take back edits of a text in the document in which they were made; it may not be the one that shows."""
        name = kind.stored
        for key in self._group:
            if (key, name) not in self._past.spelled:
                continue
            before, after = self._past.spelled[key, name]
            now, pieces, plain = text_of(self._state.documents.get(key), name)
            aliases = Aliases(self._stack.aliases_of(key))
            cut = self._past.cut.get(key, {})
            actions, lost = plan(before, after, now, pieces=pieces, aliases=aliases, cut_by_others=cut)
            if lost:
                inversion.skip(kind.name, OTHERS_WROTE)
            back = attributes_back(before, after, now, aliases=aliases)
            writes = edits(name, actions, back=back, plain=plain)
            if writes:
                inversion.add(split_document_key(key)[2], writes)
                inversion.done += [] if kind.name in inversion.done else [kind.name]
                self._texts[key, name] = actions

    def _content(self) -> Content:
        return content_of(self._state, self._declared, self._group)


def _verdicts(content: Content) -> set[tuple[Author, int]]:
    """The choices that a record's documents tell of, about records that were created twice."""
    parts = [part for _, part in content.parts] if isinstance(content, MergedContent) else [content]
    return {(verdict.author, verdict.hlc) for part in parts for verdict in verdicts_of(part)}
