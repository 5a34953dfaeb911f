"""Brings updates that nobody has yet under a new author, as a device does that finds its own authors used elsewhere.

One's own unsent updates of one document, by any number of earlier authors, are rewritten in their order, as if one
author that is new to the document had written all of them:

- ids change in blocks, origins, deletions, keys, causal contexts, tombstones, what a touch saw, and creations seen;
- the new author's clocks, and its counters of registers with a context, go on from one update to the next;
- one key of the new author takes what several authors wrote under keys of theirs: the later value supersedes;
- a text stays exactly where it was seen, also beside what others put at the same place at the same time, where the
  author decides: it goes between the neighbours that it had.

What an old author wrote before, and others have, stays its own. So the values it replaced there are deleted, as
another author's would be, apart from those that only their author may replace: a touch, and a counter's total, of
which only what came on top is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from crdt_sync.core import codec
from crdt_sync.core.blocks import Block, Bytes, DeleteRange, UnitId, Update
from crdt_sync.core.content import (
    CREATION_COUNTER,
    Content,
    read_context,
    read_register,
    read_tombstone,
    write_context,
    write_register,
    write_tombstone,
)
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import MAP_ROOT, KeyClass, map_key, parsed_key
from crdt_sync.core.placing import NOWHERE, Placer
from crdt_sync.core.update import encode_update, parse_update
from crdt_sync.errors import MalformedEntryError, ScreeningError

_OWNERS_ONLY = frozenset((KeyClass.CREATION, KeyClass.TOUCH, KeyClass.ALIAS, KeyClass.COUNTER, KeyClass.LATTICE))


class _Span(NamedTuple):
    """Numbers ``start`` up to, not including, ``end`` of an old author are the new author's from ``to`` on."""

    start: int
    end: int
    to: int


class _Spans:
    """How numbers of one old author (clocks, or counters of a register) became the new author's, in their order."""

    def __init__(self) -> None:
        self.spans: list[_Span] = []

    def add(self, start: int, end: int, *, to: int) -> None:
        """Note what numbers became; they are above all that are here."""
        last = self.spans[-1] if self.spans else None
        if last is not None and last.end == start and last.to + last.end - last.start == to:
            self.spans[-1] = last._replace(end=end)
        else:
            self.spans.append(_Span(start, end, to))

    def renamed(self, number: int) -> int | None:
        """What a number became; None where it stayed."""
        for span in reversed(self.spans):
            if span.start <= number < span.end:
                return span.to + number - span.start
        return None

    def prefix(self, end: int) -> tuple[int, int]:
        """What the numbers below ``end`` are now: those below the first of the old author, and of the new one."""
        moved = [span for span in self.spans if span.start < end]
        if not moved:
            return end, 0
        return moved[0].start, moved[-1].to + min(end, moved[-1].end) - moved[-1].start


class Rewriting:
    """The rewriting of one document's updates. It is of no use any more once `rewrite` has raised.

    Args:
        new: the author to take; it has not written to this document.
        seen: the document as it was, with the updates that are rewritten.
        content: the document without them; empty where they begin it. No texts are needed.
    """

    def __init__(self, new: Author, *, seen: DocumentIndex, content: Content) -> None:
        self._new = new
        self._seen = seen
        self._clocks: dict[Author, _Spans] = {}
        self._dots = _Dots(new, creators=frozenset(item.author for item in content.creations))
        self._totals = {
            (field, author): total for field, totals in content.counters.items() for author, total in totals.items()
        }

    def rewrite(self, update: bytes, *, index: DocumentIndex) -> bytes:
        """Rewrite the next update.

        Args:
            update: all of its blocks are of one author, and go on where that author's last ones ended.
            index: the document as the rewritten update will find it: all results so far are in it.

        Raises:
            ScreeningError: it is no such update, or refers to content that is not there.
            MalformedEntryError, LimitError: as `parse_update`, or a value that no kind of ours writes.
        """
        parsed = parse_update(update)
        placer = Placer(index)
        try:
            self._begin(parsed.blocks, placer)
            blocks = tuple([self._block(block, placer) for block in parsed.blocks])
            deletes = tuple(_joined(self._deletes(parsed.deletes, placer)))
        finally:
            placer.withdraw()
        return encode_update(Update(blocks, deletes))

    def renamed(self, unit: UnitId) -> UnitId:
        """What a unit is called now, as far as its update was rewritten."""
        clocks = self._clocks.get(Author(unit[0]))
        moved = None if clocks is None else clocks.renamed(unit[1])
        return unit if moved is None else (self._new, moved)

    def _begin(self, blocks: tuple[Block, ...], placer: Placer) -> None:
        """Note where the units of an update go."""
        author, start = Author(blocks[0].author), blocks[0].clock
        if blocks[-1].author != author or author == self._new:
            raise ScreeningError("only updates of one's own earlier authors can be brought under a new one")
        if start != self._end(author, placer):
            raise ScreeningError("an update that does not go on where its author's last one ended")
        end = blocks[-1].clock + blocks[-1].length
        self._clocks.setdefault(author, _Spans()).add(start, end, to=placer.next_clock(self._new))

    def _end(self, author: Author, placer: Placer) -> int:
        """The next clock of an author, by its old name; units above it are yet to be rewritten."""
        clocks = self._clocks.get(author)
        return placer.next_clock(author) if clocks is None else clocks.spans[-1].end

    def _block(self, block: Block, placer: Placer) -> Block:
        place = self._seen.find(block.author, block.clock)
        if place is None:
            raise ScreeningError(NOWHERE)
        renamed = self._text(block, place.name, placer) if place.is_text else self._value(block, place.name, placer)
        if not placer.place(renamed):
            raise ScreeningError(NOWHERE)
        return renamed

    def _text(self, block: Block, root: str, placer: Placer) -> Block:
        origin, right = self._unit(block.origin), self._unit(block.right_origin)
        order = placer.index.order
        if order.after(origin, root=root) != right:  # something that it had not seen has come between
            origin = self._left_neighbour(block, placer)
            right = order.after(origin, root=root)
        first = origin is None and right is None
        return block._replace(
            author=self._new,
            clock=placer.next_clock(self._new),
            origin=origin,
            right_origin=right,
            root=root if first else None,
        )

    def _left_neighbour(self, block: Block, placer: Placer) -> UnitId | None:
        """The nearest unit left of a block, as the user saw the text, that is in the rewritten document already."""
        run = self._seen.order.find(block.author, block.clock)
        end = block.clock
        while run is not None:
            if end > run.start:
                return self._unit((run.author, end - 1))
            run = run.previous
            if run is not None:
                ready = block.clock if run.author == block.author else self._end(Author(run.author), placer)
                end = min(run.end, ready)
        return None

    def _value(self, block: Block, name: str, placer: Placer) -> Block:
        key = parsed_key(name)
        rest = key.rest
        if key.key_class is KeyClass.CAUSAL:
            rest = str(self._dots.rename(key.register, key.author, int(rest)))
        elif key.key_class is KeyClass.CREATION:
            self._dots.created(key.author)
        name = map_key(key.key_class, self._new, field=key.register, rest=rest)
        origin = placer.last_of(name)
        content = block.content
        if isinstance(content, Bytes):
            content = Bytes(self._data(key.key_class, key.register, key.author, content.value))
        return Block(
            author=self._new,
            clock=placer.next_clock(self._new),
            length=block.length,
            origin=origin,
            right_origin=None,
            root=MAP_ROOT if origin is None else None,
            key=name if origin is None else None,
            content=content,
        )

    def _data(self, key_class: KeyClass, field: str, author: Author, data: bytes) -> bytes:
        match key_class:
            case KeyClass.COUNTER:
                total = codec.decode(data)
                if type(total) is not int:
                    raise MalformedEntryError("a counter's total that is no whole number")
                return codec.encode(self._total(field, author, total))
            case KeyClass.PLAIN | KeyClass.CAUSAL:
                hlc, context, value = read_register(data)
                return write_register(hlc, self._dots.context(field, context), value)
            case KeyClass.TOMBSTONE:
                tombstone = read_tombstone(data)
                return write_tombstone(tombstone._replace(vector=self._vector(tombstone.vector)))
            case KeyClass.TOUCH:
                return self._touch(data)
            case _:
                return data

    def _touch(self, data: bytes) -> bytes:
        """What a touch says that its writer had seen; most say nothing."""
        try:
            return write_context(self._vector(read_context(data, 0)[0])) if data else data
        except MalformedEntryError:
            return data

    def _total(self, field: str, author: Author, total: int) -> int:
        """The new author's total of a counter: what the old one's has grown by comes on top."""
        grown = total - self._totals.get((field, author), 0)
        self._totals[field, author] = total
        mine = self._totals[field, self._new] = self._totals.get((field, self._new), 0) + grown
        return mine

    def _vector(self, vector: Mapping[Author, int]) -> dict[Author, int]:
        """A tombstone's vector. The new author's clocks keep the order of writing, so what it saw is a prefix."""
        seen: dict[Author, int] = {}
        for author, clock in vector.items():
            kept, moved = self._clocks[author].prefix(clock) if author in self._clocks else (clock, 0)
            for name, end in ((author, kept), (self._new, moved)):
                if end:
                    seen[name] = max(end, seen.get(name, 0))
        return seen

    def _unit(self, unit: UnitId | None) -> UnitId | None:
        return None if unit is None else self.renamed(unit)

    def _deletes(self, ranges: Iterable[DeleteRange], placer: Placer) -> Iterator[DeleteRange]:
        for author, start, end in ranges:
            clocks = self._clocks.get(Author(author))
            kept = end
            for span in () if clocks is None else clocks.spans:
                kept = min(kept, span.start)
                first, last = max(start, span.start), min(end, span.end)
                if first < last:
                    yield DeleteRange(self._new, first - span.start + span.to, last - span.start + span.to)
            clock = start
            while clock < kept:
                place = placer.find(author, clock)
                behind = min(place.end, kept)
                if place.is_text or parsed_key(place.name).key_class not in _OWNERS_ONLY:
                    yield DeleteRange(author, clock, behind)
                clock = behind


class _Dots:
    """How the writes of registers are renamed: (author, counter) → the new author's counter."""

    def __init__(self, new: Author, *, creators: frozenset[Author]) -> None:
        self._new = new
        self._creators = creators
        self._moved_creators: set[Author] = set()
        self._counters: dict[tuple[str, Author], _Spans] = {}
        self._last: dict[str, int] = {}

    def created(self, author: Author) -> None:
        """A creation is rewritten, which is a write of every register; its author has written nothing before."""
        self._moved_creators.add(author)

    def rename(self, field: str, author: Author, counter: int) -> int:
        """The new author's counter for a write that is rewritten, in the order of writing."""
        counters = self._counters.get((field, author))
        if counters is None:
            counters = self._counters[field, author] = _Spans()
            self._take_creation(author, counters)
        renamed = self._last[field] = self._last.get(field, CREATION_COUNTER) + 1
        counters.add(counter, counter + 1, to=renamed)
        return renamed

    def context(self, field: str, context: dict[Author, int]) -> dict[Author, int]:
        """A causal context in terms of the writes as they are now."""
        seen: dict[Author, int] = {}
        for author, counter in context.items():
            counters = self._counters.get((field, author))
            if counters is None:
                counters = _Spans()
                self._take_creation(author, counters)
            kept, moved = counters.prefix(counter + 1)
            if kept > 1 or (kept and (author in self._creators or kept > counter)):
                seen[author] = kept - 1
            if moved:
                seen[self._new] = max(moved - 1, seen.get(self._new, CREATION_COUNTER))
        return seen

    def _take_creation(self, author: Author, counters: _Spans) -> None:
        if author in self._moved_creators:
            counters.add(CREATION_COUNTER, CREATION_COUNTER + 1, to=CREATION_COUNTER)


def _joined(ranges: Iterable[DeleteRange]) -> Iterator[DeleteRange]:
    """Sort ranges by author and start, and join those that touch."""
    held: DeleteRange | None = None
    for item in sorted(ranges):
        if held is not None and held.author == item.author and item.start <= held.end:
            held = held._replace(end=max(held.end, item.end))
        else:
            if held is not None:
                yield held
            held = item
    if held is not None:
        yield held
