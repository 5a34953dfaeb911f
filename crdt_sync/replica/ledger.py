"""The log: entries in the order in which this replica applied them, each author's chain, and runs to send.

Invariants:
    1. Log order extends causality: a row never stands before one that it depends on.
    2. `heads` is what the store holds; it changes only together with a committed transaction (`rollback` re-reads it).
    3. Every row ends at a signed head: one's own are signed when they are committed (docs/adr/0005-sign-at-commit.md),
       so whoever holds a copy of the store can pass them on.
    4. What an author wrote up to its floor is in no row any more: it is in the bases of its documents (`compaction`).
       The row of the chain table at the floor stays, with position 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from crdt_sync.core.entry import (
    SHORT_HASH_BYTES,
    ChainHash,
    Entry,
    Head,
    Run,
    decode_entry,
    encode_run,
    genesis_hash,
    next_hash,
    pack_entries,
    split_entries,
)
from crdt_sync.core.horizons import POSITION_HASH_BYTES, HorizonRecord
from crdt_sync.core.ids import Author
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.errors import CorruptStoreError, StoreError
from crdt_sync.protocol.source import Position, RunPage, SentRun, Vector
from crdt_sync.replica.rows import (
    FLOOR_POSITION,
    FOLDED,
    Folded,
    LogRow,
    after_prefix,
    chain_key,
    chain_prefix,
    key_number,
    number_key,
    pack_chain_row,
    split_chain_key,
    unpack_chain_row,
    unpack_folded,
    unpack_log_row,
)
from crdt_sync.storage.base import Store, Table

CONTENT_AUTHOR = Author(0)
"""Stands in log rows that hold a document's content taken from a peer, which is in nobody's chain."""

_CHECK = "`crdt-sync check` says what is damaged."
_ROW_CACHE_MAX = 16
_DECODED_MAX = 8
SCAN_ROWS_MAX = 512
LEAP_ROWS = 16
"""Where more rows than this are left, it is asked for each author where the needed ones begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """A row that was appended to the log."""

    position: int
    row: LogRow


class Ledger:
    """Reads and appends to the log of one store.

    Args:
        store: where it is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: OrderedDict[int, tuple[LogRow, list[bytes]]] = OrderedDict()
        self._decoded: OrderedDict[tuple[int, int], Entry] = OrderedDict()
        self._heads: dict[str, dict[Author, Position]] = {}
        self.is_known = False
        """`heads` can be told; what `reload` could not read again is not told in part."""
        self.floors: dict[str, dict[Author, Position]] = {}
        """Each author's last entry that was folded; authors without one are left out."""
        self.folded = Folded(0, 0, 0)
        self.end = 0
        self._given_away = 0
        """The last position of a row that was removed: sessions may have passed it, so it is not used again."""
        self.reload()

    @property
    def heads(self) -> dict[str, dict[Author, Position]]:
        """Each author's last entry that is held.

        Raises:
            StoreError: it could not be read again after a failure: a part of it is never told as all.
        """
        if not self.is_known:
            raise StoreError("the log could not be read again after a failure", hint=_CHECK)
        return self._heads

    def forget(self) -> None:
        """Know nothing until `reload` comes to its end."""
        self.is_known = False

    def reload(self) -> None:
        """Take `heads` and `end` from the store again, after a rollback."""
        self.forget()
        self._rows.clear()
        self._decoded.clear()
        self._heads, self.floors = {}, {}
        self.folded = unpack_folded(self._store.get(Table.META, FOLDED))
        end: bytes | None = None
        while True:  # one reverse look-up for each author: the keys stand in order
            found = next(self._store.scan(Table.CHAIN, end=end, reverse=True, limit=1), None)
            if found is None:
                break
            partition, author, sequence = split_chain_key(found[0])
            self._heads.setdefault(partition, {})[author] = Position(sequence, unpack_chain_row(found[1])[1])
            end = chain_prefix(partition, author)
            if self.folded.generation:
                self._read_floor(partition, author, start=end)
        last = next(self._store.scan(Table.LOG, reverse=True, limit=1), None)
        self.end = max(self._given_away, self.folded.end, 0 if last is None else key_number(last[0]))
        self.is_known = True

    def _read_floor(self, partition: str, author: Author, *, start: bytes) -> None:
        key, data = next(self._store.scan(Table.CHAIN, start=start, limit=1))
        position, head = unpack_chain_row(data)
        if position == FLOOR_POSITION:
            self.floors.setdefault(partition, {})[author] = Position(split_chain_key(key)[2], head)

    def is_behind(self) -> bool:
        """Whether somebody else has appended to the log, or folded rows of it."""
        if unpack_folded(self._store.get(Table.META, FOLDED)) != self.folded:
            return True
        last = next(self._store.scan(Table.LOG, reverse=True, limit=1), None)
        return last is not None and key_number(last[0]) != self.end

    def clock(self) -> int:
        """The replica's HLC when the last row was written."""
        last = next(self._store.scan(Table.LOG, reverse=True, limit=1), None)
        return max(self.folded.clock, 0 if last is None else unpack_log_row(last[1]).clock)

    def floor_of(self, partition: str, author: Author) -> Position:
        """The last entry of an author that was folded; sequence 0 with the genesis hash where there is none."""
        return self.floors.get(partition, {}).get(author) or Position(0, genesis_hash(partition, author))

    def raise_floor(self, partition: str, author: Author, floor: Position) -> None:
        """Note that an author's entries up to ``floor`` are in the bases, in the caller's store transaction.

        The chain rows of what lies below it are taken out; rows of the log are the caller's to `drop`.
        """
        prefix = chain_prefix(partition, author)
        above = chain_key(partition, author, floor.sequence + 1)
        self._store.delete_range(Table.CHAIN, start=prefix, end=above)
        key = chain_key(partition, author, floor.sequence)
        self._store.put(Table.CHAIN, key, pack_chain_row(FLOOR_POSITION, floor.hash))
        self.floors.setdefault(partition, {})[author] = floor
        if self.end_of(partition, author).sequence < floor.sequence:
            self.heads.setdefault(partition, {})[author] = floor

    def drop(self, positions: Iterable[int], *, clock: int) -> None:
        """Take folded rows out of the log, in the caller's store transaction."""
        self._store.delete_many(Table.LOG, [number_key(position) for position in positions])
        self.folded = Folded(self.end, clock, self.folded.generation + 1)
        self._store.put(Table.META, FOLDED, self.folded.pack())
        self._rows.clear()
        self._decoded.clear()

    def end_of(self, partition: str, author: Author) -> Position:
        """The last entry held of an author; sequence 0 with the genesis hash where there is none."""
        return self.heads.get(partition, {}).get(author) or Position(0, genesis_hash(partition, author))

    def covers(self, record: HorizonRecord) -> bool:
        """Whether a horizon's vector is held, on the same branches."""
        for author, position in record.vector.items():
            if self.end_of(record.partition, author).sequence < position.sequence:
                return False
            held = self.hash_at(record.partition, author, position.sequence)
            if held is not None and held[:POSITION_HASH_BYTES] != position.hash:
                return False
        return True

    def append(self, row: LogRow) -> Appended:
        """Append a row, in the caller's store transaction."""
        position = self.end + 1
        self._store.put(Table.LOG, number_key(position), row.pack())
        if row.author != CONTENT_AUTHOR:
            key = chain_key(row.partition, row.author, row.last)
            self._store.put(Table.CHAIN, key, pack_chain_row(position, row.head))
            self.heads.setdefault(row.partition, {})[row.author] = Position(row.last, row.head)
        self.end = position
        return Appended(position=position, row=row)

    def row(self, position: int) -> tuple[LogRow, list[bytes]]:
        """A row of the log with its encoded entries; the last few are kept.

        Raises:
            CorruptStoreError: the row is damaged or missing.
        """
        held = self._rows.get(position)
        if held is not None:
            self._rows.move_to_end(position)
            return held
        data = self._store.get(Table.LOG, number_key(position))
        if data is None:
            raise CorruptStoreError("a row of the log is missing", table=Table.LOG, key=number_key(position))
        row = unpack_log_row(data)
        held = (row, split_entries(row.body) if row.author != CONTENT_AUTHOR else [])
        self._rows[position] = held
        if len(self._rows) > _ROW_CACHE_MAX:
            self._rows.popitem(last=False)
        return held

    def entry(self, position: int, index: int) -> Entry:
        """One entry of a row, decoded; the last few are kept, as operations are asked for by document, one by one."""
        found = self._decoded.get((position, index))
        if found is None:
            found = self._decoded[position, index] = decode_entry(self.row(position)[1][index])
            if len(self._decoded) > _DECODED_MAX:
                self._decoded.popitem(last=False)
        return found

    def hash_at(self, partition: str, author: Author, sequence: int) -> ChainHash | None:
        """The chain hash after entry ``sequence``, or None where this replica does not hold it."""
        if sequence == 0:
            return genesis_hash(partition, author)
        if sequence > self.end_of(partition, author).sequence:
            return None
        start, prefix = chain_key(partition, author, sequence), chain_prefix(partition, author)
        found = next(self._store.scan(Table.CHAIN, start=start, end=after_prefix(prefix), limit=1), None)
        if found is None:
            return None
        last = split_chain_key(found[0])[2]
        position, head = unpack_chain_row(found[1])
        if last == sequence:
            return head
        if position == FLOOR_POSITION:
            return None  # it is below the floor
        row, entries = self.row(position)
        if row.first > sequence:
            return None  # a chain with a hole: the index is damaged
        held = self.hash_at(partition, author, row.first - 1)
        for entry in entries[: sequence - row.first + 1]:
            if held is None:
                return None
            held = next_hash(held, entry)
        return held

    def head(self, partition: str, author: Author) -> Head:
        """The end of an author's chain, as an entry names it."""
        end = self.end_of(partition, author)
        return Head(author=author, sequence=end.sequence, short_hash=end.hash[:SHORT_HASH_BYTES])

    def remove(self, position: int, row: LogRow) -> None:
        """Take the last row of a chain out of the log, in the caller's store transaction; then `reload`."""
        self._given_away = max(self._given_away, position)
        self._store.delete(Table.LOG, number_key(position))
        self._store.delete(Table.CHAIN, chain_key(row.partition, row.author, row.last))

    def vector(self) -> dict[str, dict[Author, Position]]:
        """What this replica has durably applied."""
        return {partition: dict(ends) for partition, ends in self.heads.items()}

    def rows_of(self, partition: str, author: Author, *, after: int) -> Iterator[tuple[int, LogRow]]:
        """The rows of an author with entries behind sequence ``after``, in order, with their positions."""
        start, end = chain_key(partition, author, after + 1), after_prefix(chain_prefix(partition, author))
        for _, data in self._store.scan(Table.CHAIN, start=start, end=end):
            position = unpack_chain_row(data)[0]
            if position != FLOOR_POSITION:
                yield position, self.row(position)[0]

    def position_after(self, partition: str, author: Author, sequence: int) -> int | None:
        """The log position of the row with an author's next entry after ``sequence``, or None where there is none."""
        return next((position for position, _ in self.rows_of(partition, author, after=sequence)), None)

    def runs_after(self, cursor: int, known: Vector, *, bytes_max: int, own_before: int | None = None) -> RunPage:
        """The next runs behind log position ``cursor`` that ``known`` does not cover, in applied order.

        Rows that were written here are left out from position ``own_before`` on.

        Rows of one's own that follow each other become one run under the last one's signature. At least one run is
        returned where there is one, however large; at most `SCAN_ROWS_MAX` rows are looked at.
        """
        runs: list[SentRun] = []
        size = looked = open_size = 0
        open_rows: list[LogRow] = []
        if self.end - cursor > LEAP_ROWS:
            cursor = max(cursor, self._first_needed(known) - 1)
        for key, data in self._store.scan(Table.LOG, start=number_key(cursor + 1), limit=SCAN_ROWS_MAX):
            looked += 1
            row = unpack_log_row(data)
            if own_before is not None and row.own and key_number(key) >= own_before:
                cursor = key_number(key)
                continue
            held = known.get(row.partition, {}).get(row.author)
            if row.author != CONTENT_AUTHOR and (held is None or held.sequence < row.last):
                if size and size + len(row.body) > bytes_max:
                    return RunPage((*runs, *_join(open_rows)), cursor, more=True)
                if open_rows and not _joins(open_rows, row, size_bytes=open_size):
                    runs.extend(_join(open_rows))
                    open_rows, open_size = [], 0
                open_rows.append(row)
                open_size += len(row.body)
                size += len(row.body)
            cursor = key_number(key)
        return RunPage((*runs, *_join(open_rows)), cursor, more=looked == SCAN_ROWS_MAX)

    def _first_needed(self, known: Vector) -> int:
        """The first log position that ``known`` does not cover, or one behind the end."""
        first = self.end + 1
        for partition, ends in self.heads.items():
            for author, end in ends.items():
                held = known.get(partition, {}).get(author)
                after = 0 if held is None else held.sequence
                if after >= end.sequence:
                    continue
                start = chain_key(partition, author, max(after, self.floor_of(partition, author).sequence) + 1)
                found = next(self._store.scan(Table.CHAIN, start=start, limit=1), None)
                if found is not None:
                    first = min(first, unpack_chain_row(found[1])[0])
        return first


def _joins(rows: list[LogRow], row: LogRow, *, size_bytes: int) -> bool:
    """Whether a row can go into one run with the rows before it, which have this size."""
    last = rows[-1]
    return (
        row.own
        and last.own
        and (row.partition, row.author, row.first) == (last.partition, last.author, last.last + 1)
        and len(rows) < ENTRY_LIMITS.run_entries_max
        and size_bytes + len(row.body) <= ENTRY_LIMITS.run_bytes_max
    )


def _join(rows: list[LogRow]) -> tuple[SentRun, ...]:
    """The run that rows of one author make, under the last one's signature."""
    if not rows:
        return ()
    last = rows[-1]
    run = Run(
        partition=last.partition,
        author=last.author,
        first_sequence=rows[0].first,
        body=last.body if len(rows) == 1 else b"".join(row.body for row in rows),
        signature=last.signature,
    )
    return ((encode_run(run), last.partition, last.author, last.last),)


def shortened(row: LogRow, *, after: int) -> LogRow:
    """A row without its entries up to a sequence; its signature covers them by the chain all the same."""
    entries = split_entries(row.body)[after - row.first + 1 :]
    return LogRow(
        partition=row.partition,
        author=row.author,
        first=after + 1,
        last=row.last,
        head=row.head,
        clock=row.clock,
        own=row.own,
        body=pack_entries(entries),
        signature=row.signature,
    )
