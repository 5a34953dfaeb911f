"""Folding: what every device of the space holds goes out of the log and into the bases of its documents.

A *base* is a document's state as its folded operations left it; what is folded is a beginning of the log, so that the
bases of a partition hold exactly the entries up to its floor (`Ledger.floors`). The rest of the log is applied to them
as it was before. Nothing of this can be seen in a document: versions, views and conflicts stay as they are.

It is done in steps, each one transaction: a document's touches go when its base is written, and a row of the log when
no touch leads to it any more. Whatever is killed in between goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.screening import screen_again
from crdt_sync.core.version import version_of_update
from crdt_sync.errors import CorruptStoreError
from crdt_sync.protocol.source import Position
from crdt_sync.replica.bases import base_span, touched_by_base
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    Base,
    DocumentRow,
    LogRow,
    Touch,
    after_prefix,
    chain_key,
    chain_prefix,
    key_number,
    number_key,
    split_touch_key,
    unpack_chain_row,
    unpack_document_row,
    unpack_log_row,
    unpack_operation_row,
)
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

Acknowledged = Mapping[str, Mapping[Author, int]]
"""What every device that counts holds: partition → author → sequence."""

Span = tuple[int, int]
"""Timestamps of the earliest and of the latest of some entries; 0 where that is not known."""

FOLDING = b"folding"
"""Key in the meta table of the position up to which a folding that was begun goes."""

STEP_ROWS = 256
"""Rows of the log in one step ..."""
STEP_TOUCHES = 2_048
"""... and operations that are folded in it, unless a single row has more."""
CROWDED_VALUES_MIN = 4
"""Hidden values that make a document worth looking at without being asked to ..."""
CROWDED_MAX = 1_000
"""... of which so many are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did.

    Args:
        rows: rows that it took out of the log.
        documents: bases that it wrote.
        is_last: whether everything up to the target is folded.
    """

    rows: int = 0
    documents: int = 0
    is_last: bool = True


class Folding:
    """Folds the beginning of a replica's log.

    Args:
        state: the replica; no local transaction is open.
        journal: its operations; entries with pending ones are not folded, as the journal reads there what they wrote.
    """

    def __init__(self, state: State, journal: Journal) -> None:
        self._state = state
        self._journal = journal
        self._content_keys: dict[int, DocumentKey] | None = None
        self._budget = 0
        self._touches_max = STEP_TOUCHES
        self._folded = 0
        self.crowded: dict[DocumentKey, None] = {}
        """Documents in which many hidden values were seen when they were folded, the latest last."""

    @property
    def target(self) -> int:
        """The position up to which a folding that was begun goes; 0 where none is under way."""
        data = self._state.store.get(Table.META, FOLDING)
        return 0 if data is None else key_number(data)

    def reach(self, acknowledged: Acknowledged) -> int:
        """The last position of the log before the first row that somebody may not hold, or has not acknowledged."""
        state, pending = self._state, self._journal.first_pending()
        reach = state.ledger.end if pending is None else pending - 1
        for partition, ends in state.ledger.heads.items():
            for author in ends:
                after = acknowledged.get(partition, {}).get(author, 0)
                start, end = chain_key(partition, author, after + 1), after_prefix(chain_prefix(partition, author))
                for _, data in state.store.scan(Table.CHAIN, start=start, end=end, limit=2):
                    position = unpack_chain_row(data)[0]
                    if position != FLOOR_POSITION:
                        reach = min(reach, position - 1)
                        break
        return reach

    def begin(self, acknowledged: Acknowledged) -> int:
        """Decide how far to go, unless that was decided before; returns how many rows go out of the log.

        Nothing is folded while a chain of ours is in doubt.
        """
        state = self._state
        if not self.target and not state.doubted:
            reach = self.reach(acknowledged)
            if state.store.count(Table.LOG, end=number_key(reach + 1)):
                with state.store.transaction():
                    state.store.put(Table.META, FOLDING, number_key(reach))
        target = self.target
        return state.store.count(Table.LOG, end=number_key(target + 1)) if target else 0

    def step(self, *, touches_max: int = STEP_TOUCHES) -> Step:
        """Fold some more, in one store transaction.

        Args:
            touches_max: about how many operations to fold at most.

        Raises:
            CorruptStoreError: a base would not hold what the log says; nothing was changed in this step.
        """
        state, target = self._state, self.target
        if not target:
            return Step()
        self._budget, self._folded, self._touches_max = touches_max, 0, touches_max
        dropped: list[int] = []
        try:
            with state.store.transaction():
                for position, row in self._rows(target):
                    if not self._fold_row(position, row, through=target):
                        break
                    dropped.append(position)
                self._drop(dropped)
                is_last = state.store.count(Table.LOG, end=number_key(target + 1)) == 0
                if is_last:
                    state.store.delete(Table.META, FOLDING)
        except BaseException:
            state.reload()
            raise
        state.documents.shrink()
        return Step(rows=len(dropped), documents=self._folded, is_last=is_last)

    def trim_journal(self) -> int:
        """Let go of completed operations whose entries were folded, but for the latest; returns how many."""
        state = self._state
        store = state.store
        surplus = store.count(Table.OPERATION) - state.keeping.operations_kept
        gone: list[bytes] = []
        for key, data in store.scan(Table.OPERATION, limit=max(0, surplus)):
            row = unpack_operation_row(data)
            floor = state.ledger.floor_of(_partition_of(row.document), row.author)
            if row.status == 1 and row.sequence <= floor.sequence:
                gone.append(key)
        if gone:
            with store.transaction():
                store.delete_many(Table.OPERATION, gone)
        return len(gone)

    def _rows(self, target: int) -> Iterator[tuple[int, LogRow]]:
        end = number_key(target + 1)
        for key, data in islice(self._state.store.scan(Table.LOG, end=end), STEP_ROWS):
            yield key_number(key), unpack_log_row(data)

    def _fold_row(self, position: int, row: LogRow, *, through: int) -> bool:
        """Fold the documents that a row touches; whether nothing leads to the row any more."""
        for key in self._touched(position, row):
            if self._budget <= 0 or not self._fold(key, through=through):
                return False
        return True

    def _touched(self, position: int, row: LogRow) -> Iterator[DocumentKey]:
        ledger = self._state.ledger
        if row.author == CONTENT_AUTHOR:
            key = self._content_key(position)
            if key is not None:
                yield key
            return
        for at in range(row.last - row.first + 1):
            for operation in ledger.entry(position, at).operations:
                yield operation.document

    def _content_key(self, position: int) -> DocumentKey | None:
        """The document of a row of content, which only the touch table tells."""
        if self._content_keys is None:
            ledger, self._content_keys = self._state.ledger, {}
            for key, _ in self._state.store.scan(Table.TOUCH):
                at = split_touch_key(key).position
                if ledger.row(at)[0].author == CONTENT_AUTHOR:
                    self._content_keys[at] = DocumentKey(key[:-_TOUCH_BYTES])
        return self._content_keys.get(position)

    def _fold(self, key: DocumentKey, *, through: int) -> bool:
        """Bring a document's base forward; whether it holds everything up to ``through``."""
        store = self._state.store
        touches = [
            split_touch_key(name)
            for name, _ in store.scan(
                Table.TOUCH, start=key, end=_touch_start(key, through + 1), limit=self._touches_max
            )
        ]
        if not touches:
            return True
        last = touches[-1].position
        if len(touches) == self._touches_max and touches[0].position != last:
            touches = [touch for touch in touches if touch.position != last]  # a row's touches stay together
        elif len(touches) == self._touches_max:
            end = _touch_start(key, last + 1)
            touches = [split_touch_key(name) for name, _ in store.scan(Table.TOUCH, start=key, end=end)]
        loaded = self._state.documents.base(key)
        touched = touched_by_base(self._state.store, key)
        for touch in touches:
            author, sequence = replay(self._state, loaded, touch)
            touched[author] = sequence
        span = span_of(self._state, key, touches)
        self._write_base(loaded, touched, span=span, through=touches[-1].position)
        self._note_crowded(loaded)
        self._budget -= len(touches)
        self._folded += 1
        return touches[-1].position == last and len(touches) < self._touches_max

    def _note_crowded(self, loaded: Loaded) -> None:
        self.crowded.pop(loaded.key, None)
        causal = loaded.content(()).causal
        if sum(map(len, causal.values())) - len(causal) >= CROWDED_VALUES_MIN:
            self.crowded[loaded.key] = None
            if len(self.crowded) > CROWDED_MAX:
                del self.crowded[next(iter(self.crowded))]

    def _write_base(self, loaded: Loaded, touched: dict[Author, int], *, span: Span, through: int) -> None:
        """Keep a base, and take out the touches that are in it. The derived row follows where it lies behind."""
        key, store = loaded.key, self._state.store
        store.put(Table.BASE, key, base_of(loaded, touched, span=span).pack())
        store.delete_range(Table.TOUCH, start=key, end=_touch_start(key, through + 1))
        data = store.get(Table.DOCUMENT, key)
        if data is None:
            return
        row = unpack_document_row(data)
        is_all = next(store.scan(Table.TOUCH, start=key, end=after_prefix(key), limit=1), None) is None
        if is_all or row.position <= through:
            folded = DocumentRow(
                position=self._state.ledger.end if is_all else through,
                live=row.live,
                conflicts=row.conflicts,
                state=b"",
                units=loaded.index.to_bytes(),
            )
            store.put(Table.DOCUMENT, key, folded.pack())
            self._state.documents.drop(key)

    def _drop(self, positions: list[int]) -> None:
        if not positions:
            return
        ledger = self._state.ledger
        floors: dict[tuple[str, Author], Position] = {}
        for position in positions:
            row, _ = ledger.row(position)
            if row.author != CONTENT_AUTHOR:
                floors[row.partition, row.author] = Position(row.last, row.head)
        clock = ledger.clock()
        for (partition, author), floor in floors.items():
            ledger.raise_floor(partition, author, floor)
        ledger.drop(positions, clock=clock)


def replay(state: State, loaded: Loaded, touch: Touch) -> tuple[Author, int]:
    """Apply one operation of the log to a document; returns whose entry it was."""
    row, _ = state.ledger.row(touch.position)
    if row.author == CONTENT_AUTHOR:
        loaded.add_content(row.body)
        return CONTENT_AUTHOR, touch.position
    operation = state.ledger.entry(touch.position, touch.entry).operations[touch.operation]
    verdict = screen_again(operation.update, author=row.author, index=loaded.index, operation=operation.type)
    if verdict is not None:
        loaded.add(operation.update, verdict)
    return row.author, row.first + touch.entry


def span_of(state: State, key: DocumentKey, touches: Iterable[Touch]) -> Span:
    """When the earliest and the latest of some operations, and of those in the document's base, were made."""
    before = base_span(state.store, key)
    spans = [] if before is None else [before]
    for touch in touches:
        row, _ = state.ledger.row(touch.position)
        if row.author == CONTENT_AUTHOR:
            spans.append((0, row.clock))  # what was taken from a peer is older than that
        else:
            time = state.ledger.entry(touch.position, touch.entry).hlc
            spans.append((time, time))
    return joined_span(spans)


def joined_span(spans: Sequence[Span]) -> Span:
    """From the earliest to the latest, each 0 where that is not known of one of them, or there are none."""
    sinces, untils = zip(*spans, strict=True) if spans else ((0,), (0,))
    return min(sinces), max(untils) if all(untils) else 0


def base_of(loaded: Loaded, touched: dict[Author, int], *, span: Span) -> Base:
    """A document's base.

    The engine leaves out of an encoded state what still waits for something: so the version is compared, which counts
    every block and deletion that was applied.

    Raises:
        CorruptStoreError: the encoded state would not hold what was applied.
    """
    state = loaded.encode()
    if version_of_update(state) != loaded.version():
        raise CorruptStoreError("a document could not be folded: its state lacks what the log holds")
    since, until = span
    return Base(touched, state, until, since)


_TOUCH_BYTES = 12


def _touch_start(key: DocumentKey, position: int) -> bytes:
    return key + number_key(position)


def _partition_of(key: DocumentKey) -> str:
    return key[1 : 1 + key[0]].decode()
