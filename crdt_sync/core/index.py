"""What screening must know of a document: which unit of content belongs to which key or text, and what is deleted.

An update names content by (author, clock) only, and may delete content that none of its blocks names. The index turns
such names into keys and texts. It is kept beside the document and changes with it, in the same transaction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgpack

from crdt_sync.core.blocks import CLOCK_MAX, DOCUMENT_BOUNDS, String, UnitId
from crdt_sync.core.ids import Author
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.order import DOCUMENT_STEPS_MAX, Run, TextOrder
from crdt_sync.core.placing import Place, Placed, Placer, pairs_of, place_all
from crdt_sync.core.update import parse_update
from crdt_sync.errors import MalformedEntryError, ScreeningError

ALIKE_BYTES_MAX = 512
"""Indexes up to this size are remembered once they are read."""

FORMAT = 0
"""Version of `DocumentIndex.to_bytes`; an index of another version is built again from its document."""


class HasPlaced(Protocol):
    """What `screening` returns."""

    @property
    def placed(self) -> Placed:
        """Where the update's blocks belong."""
        ...


class DocumentIndex:
    """The units of one document.

    Invariants:
        1. Every unit below an author's next clock belongs to exactly one key or text (`find`).
        2. Only the last unit of a key can be live; ``deleted`` holds every other one.
        3. Equal documents have equal indexes (`to_bytes`), whatever the order in which updates came, except that the
           halves of characters outside of the basic plane are forgotten where only a deleted text was ever seen.
    """

    __slots__ = ("_order", "clocks", "deleted", "last", "pairs", "ranges", "tips")

    def __init__(self) -> None:
        self.clocks: dict[int, int] = {}
        self.last: dict[str, UnitId] = {}
        self.tips: dict[UnitId, str] = {}
        self.ranges: dict[int, list[tuple[int, int, str]]] = {}
        self.deleted: dict[int, list[tuple[int, int]]] = {}
        self._order: TextOrder | None = None
        self.pairs: set[UnitId] = set()

    @property
    def order(self) -> TextOrder:
        """The places of all units of texts; most documents have none."""
        if self._order is None:
            self._order = TextOrder()
        return self._order

    @property
    def state_vector(self) -> Mapping[int, int]:
        """Next clock by author."""
        return self.clocks

    @property
    def delete_set(self) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Deleted (start, end) ranges by author, sorted and joined where they touch."""
        return self.deleted

    @property
    def edited(self) -> Mapping[int, int]:
        """Next clock by author, as if nobody had written links to other records: those are no edits."""
        edited: dict[int, int] | None = None
        for author in self.clocks:
            own = map_key(KeyClass.ALIAS, Author(author))
            if own in self.last:
                edited = dict(self.clocks) if edited is None else edited
                for start, end, key in reversed(self.ranges[author]):
                    if key != own or end != edited[author]:
                        break
                    edited[author] = start
        return self.clocks if edited is None else edited

    def next_clock(self, author: int) -> int:
        """The clock of the next unit that ``author`` adds."""
        return self.clocks.get(author, 0)

    def last_of(self, key: str) -> UnitId | None:
        """The last unit that was written under a key, live or deleted."""
        return self.last.get(key)

    def find(self, author: int, clock: int) -> Place | None:
        """Where a unit belongs; None where there is no such unit."""
        key = self.tips.get((author, clock))
        if key is not None:
            return Place(key, clock + 1, is_text=False)
        ranges = self.ranges.get(author)
        if ranges:
            at = bisect_right(ranges, (clock, CLOCK_MAX)) - 1
            if at >= 0 and clock < ranges[at][1]:
                return Place(ranges[at][2], ranges[at][1], is_text=False)
        run = None if self._order is None else self._order.find(author, clock)
        return None if run is None else Place(run.root, run.end, is_text=True)

    def is_deleted(self, author: int, clock: int) -> bool:
        """Whether a unit is deleted."""
        ranges = self.deleted.get(author)
        if not ranges:
            return False
        at = bisect_right(ranges, (clock, CLOCK_MAX)) - 1
        return at >= 0 and clock < ranges[at][1]

    def apply(self, screened: HasPlaced) -> None:
        """Take over an update that `screening` judged against this very index, unchanged since."""
        placed = screened.placed
        self.take_over(placed)
        if placed.texts:
            self.order.steps_left = DOCUMENT_STEPS_MAX  # screening has counted them
            for block, root in placed.texts:
                self.order.place(
                    block.author,
                    clock=block.clock,
                    length=block.length,
                    origin=block.origin,
                    right_origin=block.right_origin,
                    root=root,
                    journal=None,
                )

    def take_over(self, placed: Placed) -> None:
        """As `apply`, where the texts of the update have their places in ``order`` already."""
        self.clocks.update(placed.clocks)
        for author, start, end, key in placed.items:
            before = self.last.get(key)
            if before is not None:
                del self.tips[before]
                self.delete(before[0], before[1], before[1] + 1)
            tip = (author, end - 1)
            self.last[key] = tip
            self.tips[tip] = key
            ranges = self.ranges.get(author)
            if ranges is None:
                self.ranges[author] = [(start, end, key)]
            elif ranges[-1][1] == start and ranges[-1][2] == key:
                ranges[-1] = (ranges[-1][0], end, key)
            else:
                ranges.append((start, end, key))
        for block, _ in placed.texts:
            if type(block.content) is String and not block.content.text.isascii():
                self.pairs.update(pairs_of(block.author, block.clock, block.content.text))
        for author, start, end in placed.deletes:
            self.delete(author, start, end)

    def delete(self, author: int, start: int, end: int) -> None:
        """Mark units as deleted."""
        ranges = self.deleted.get(author)
        if ranges is None:
            self.deleted[author] = [(start, end)]
            return
        if ranges[-1][1] < start:
            ranges.append((start, end))
            return
        first = bisect_left(ranges, (start, 0))
        if first and ranges[first - 1][1] >= start:
            first -= 1
        behind = first
        while behind < len(ranges) and ranges[behind][0] <= end:
            behind += 1
        if first < behind:
            start, end = min(start, ranges[first][0]), max(end, ranges[behind - 1][1])
        ranges[first:behind] = [(start, end)]

    def copy(self) -> DocumentIndex:
        """An index of its own with the same contents."""
        return DocumentIndex.from_bytes(self.to_bytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DocumentIndex) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return (
            f"<DocumentIndex {len(self.clocks)} authors, {len(self.last)} keys, {len(list(self.order.roots()))} texts>"
        )

    def to_bytes(self) -> bytes:
        """Encode it for storage, canonically: equal indexes give equal bytes."""
        if len(self.clocks) == len(self.ranges) == 1 and not self.deleted and not self._order:
            (author, clock), (ranges,) = next(iter(self.clocks.items())), self.ranges.values()
            return _encode_one(author, clock, tuple(ranges))
        authors = sorted(self.clocks)
        number = {author: index for index, author in enumerate(authors)}
        names: dict[str, int] = {}
        keys = [_encode_keys(self.ranges.get(author, ()), names) for author in authors]
        texts = [
            (root, [value for run in self.order.in_order(root) for value in _encode_run(run, number)])
            for root in (sorted(self._order.roots()) if self._order else ())
        ]
        deleted = [_encode_ranges(self.deleted.get(author, ())) for author in authors] if self.deleted else []
        pairs = sorted((number[author], clock) for author, clock in self.pairs)
        encoded: bytes = msgpack.packb(
            (FORMAT, authors, [self.clocks[author] for author in authors], keys, texts, deleted, pairs)
        )
        return encoded

    @classmethod
    def from_bytes(cls, data: bytes) -> DocumentIndex:
        """Read what `to_bytes` wrote.

        Raises:
            MalformedEntryError: not an index of this version; build it from the document again.
        """
        alike = _without_texts(data) if len(data) <= ALIKE_BYTES_MAX else None
        return cls._parse(data) if alike is None else alike._without_order()  # noqa: SLF001  of this class

    @classmethod
    def _parse(cls, data: bytes) -> DocumentIndex:
        try:
            raw: Any = msgpack.unpackb(data, use_list=False, strict_map_key=True)
            if raw[0] != FORMAT:
                raise MalformedEntryError("an index of another version")
            return cls._from_parts(raw)
        except (ValueError, TypeError, IndexError, AttributeError, msgpack.exceptions.UnpackException):
            raise MalformedEntryError("bytes that are no index of a document") from None

    def _without_order(self) -> DocumentIndex:
        """A copy of an index without texts."""
        copy = DocumentIndex()
        copy.clocks = self.clocks.copy()
        copy.last = self.last.copy()
        copy.tips = self.tips.copy()
        copy.ranges = {author: ranges.copy() for author, ranges in self.ranges.items()}
        copy.deleted = {author: ranges.copy() for author, ranges in self.deleted.items()}
        copy.pairs = self.pairs.copy()
        return copy

    @classmethod
    def _from_parts(cls, raw: Any) -> DocumentIndex:
        _, authors, clocks, keys, texts, deleted, pairs = raw
        index = cls()
        index.clocks = dict(zip(authors, clocks, strict=True))
        names: list[str] = []
        for author, flat in zip(authors, keys, strict=True):
            if flat:
                index.ranges[author] = _decode_keys(flat, names)
                for _, end, key in index.ranges[author]:
                    index.last[key] = (author, end - 1)
        index.tips = {unit: key for key, unit in index.last.items()}
        for author, flat in zip(authors, deleted, strict=False):  # an index without deletions has an empty list here
            if flat:
                index.deleted[author] = _decode_ranges(flat)
        for root, flat in texts:
            _decode_runs(index.order, root, flat, authors)
        if texts:
            index.order.index_runs()
        index.pairs = {(authors[number], clock) for number, clock in pairs}
        return index

    @classmethod
    def from_update(cls, state: bytes) -> DocumentIndex:
        """Build the index of a document from its whole encoded state.

        Raises:
            MalformedEntryError, ScreeningError: no document of ours can have this state.
            LimitError: larger than a document may be.
        """
        index = cls()
        update = parse_update(state, bounds=DOCUMENT_BOUNDS)
        placer = Placer(index, steps_max=DOCUMENT_STEPS_MAX)
        place_all(update, placer=placer)
        for author, _, end in update.deletes:
            if end > placer.next_clock(author):
                raise ScreeningError("an update that deletes what is not there")
        index.take_over(placer.placed(update.deletes))
        return index


@lru_cache(maxsize=1024)
def _without_texts(data: bytes) -> DocumentIndex | None:
    """The index that these bytes are, not to be changed; None where it holds texts. Many documents have equal ones."""
    index = DocumentIndex._parse(data)  # noqa: SLF001  of this module
    return None if index._order else index  # noqa: SLF001  of this module


@lru_cache(maxsize=1024)
def _encode_one(author: int, clock: int, ranges: tuple[tuple[int, int, str], ...]) -> bytes:
    """The index of a document that holds nothing but keys of one author: many are equal, as only values differ."""
    encoded: bytes = msgpack.packb((FORMAT, [author], [clock], [_encode_keys(ranges, {})], [], [], []))
    return encoded


def _encode_keys(ranges: Sequence[tuple[int, int, str]], names: dict[str, int]) -> list[int | str]:
    """Flatten to gap, length, key, …; a key is written once and then named by its number."""
    flat: list[int | str] = []
    previous = 0
    for start, end, key in ranges:
        known = len(names)
        number = names.setdefault(key, known)
        flat += (start - previous, end - start, key if number == known else number)
        previous = end
    return flat


def _decode_keys(flat: Sequence[Any], names: list[str]) -> list[tuple[int, int, str]]:
    ranges: list[tuple[int, int, str]] = []
    end = 0
    for at in range(0, len(flat), 3):
        start = end + flat[at]
        end = start + flat[at + 1]
        key = flat[at + 2]
        if isinstance(key, str):
            names.append(key)
        else:
            key = names[key]
        ranges.append((start, end, key))
    return ranges


def _encode_ranges(ranges: Sequence[tuple[int, int]]) -> list[int]:
    flat: list[int] = []
    previous = 0
    for start, end in ranges:
        flat += (start - previous, end - start)
        previous = end
    return flat


def _decode_ranges(flat: Sequence[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    end = 0
    for at in range(0, len(flat), 2):
        start = end + flat[at]
        end = start + flat[at + 1]
        ranges.append((start, end))
    return ranges


def _encode_run(run: Run, number: Mapping[int, int]) -> tuple[int, ...]:
    left, right = run.origin, run.right_origin
    return (
        number[run.author],
        run.start,
        run.end - run.start,
        *((-1, 0) if left is None else (number[left[0]], left[1])),
        *((-1, 0) if right is None else (number[right[0]], right[1])),
    )


def _decode_runs(order: TextOrder, root: str, flat: Sequence[int], authors: Sequence[int]) -> None:
    previous: Run | None = None
    for at in range(0, len(flat), 7):
        author, start, length, left, left_clock, right, right_clock = flat[at : at + 7]
        run = Run(
            authors[author],
            start=start,
            end=start + length,
            origin=None if left < 0 else (authors[left], left_clock),
            right_origin=None if right < 0 else (authors[right], right_clock),
            root=root,
        )
        order.append(run, after=previous)
        previous = run
