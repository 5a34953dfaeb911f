"""Brings updates that nobody has yet under another author, as a device does that finds its author used elsewhere.

What an author wrote at or above a clock gets the new author's name in blocks, origins, deletions and keys, so that
text keeps its place and later updates still refer to what they meant. What the old author wrote below that clock
stays, which changes what an update means where it replaced a value of its own:

- a register value, a tombstone or an element of a set: the old value is deleted, as one of another author's would be;
- a touch or a counter's total: the old one stays, since only its author may replace it. A counter adds up the totals
  of all authors, so the caller's ``rewrite_value`` must take the old total off the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from crdt_sync.core.blocks import Block, Bytes, DeleteRange, UnitId, Update
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import MAP_ROOT, KeyClass, MapKey, map_key, parsed_key
from crdt_sync.core.placing import NOWHERE, Placer
from crdt_sync.core.update import encode_update, parse_update
from crdt_sync.errors import ScreeningError

_OWNERS_ONLY = frozenset((KeyClass.CREATION, KeyClass.TOUCH, KeyClass.ALIAS, KeyClass.COUNTER, KeyClass.LATTICE))


def rewrite_author(
    update: bytes,
    *,
    old: Author,
    new: Author,
    from_clock: int,
    shift: int,
    index: DocumentIndex,
    rewrite_value: Callable[[MapKey, bytes], bytes] | None = None,
) -> bytes:
    """Bring an update of ``old`` under ``new``: clock c >= from_clock becomes c - from_clock + shift.

    Updates are rewritten one after the other, in their order, with the same three numbers; each result is applied to
    the document and its index before the next one is rewritten.

    Args:
        update: all of its blocks are of ``old``, at or above ``from_clock``.
        old: the author to leave.
        new: the author to take, one that has not written to causal registers of this document (their keys count on).
        from_clock: ``old``'s first clock that is rewritten; what is below is in the document.
        shift: ``new``'s next clock in the document before the first update was rewritten.
        index: the document as the rewritten update will find it.
        rewrite_value: given the key as it was and the value, returns the value to write (contexts, totals).

    Raises:
        ScreeningError: a block of another author or below ``from_clock``, or an origin that is not in the document.
        MalformedEntryError, LimitError: as `parse_update`.
    """
    parsed = parse_update(update)
    placer = Placer(index)
    rename = _Rename(old, new=new, from_clock=from_clock, shift=shift, placer=placer)
    try:
        blocks = tuple([rename.block(block, rewrite_value) for block in parsed.blocks])
        deletes = tuple(_joined(rename.deletes(parsed.deletes)))
    finally:
        placer.withdraw()
    return encode_update(Update(blocks, deletes))


class _Rename:
    """The mapping of one update; what it has renamed already is in ``placer``."""

    def __init__(self, old: Author, *, new: Author, from_clock: int, shift: int, placer: Placer) -> None:
        self._old = old
        self._new = new
        self._from_clock = from_clock
        self._offset = shift - from_clock
        self._placer = placer

    def block(self, block: Block, rewrite_value: Callable[[MapKey, bytes], bytes] | None) -> Block:
        if block.author != self._old or block.clock < self._from_clock:
            raise ScreeningError("only an update of the old author's own can be brought under a new one")
        key = self._key(block)
        if key is None:
            return self._place_text(
                block._replace(
                    author=self._new,
                    clock=block.clock + self._offset,
                    origin=self._unit(block.origin),
                    right_origin=self._unit(block.right_origin),
                )
            )
        name = map_key(key.key_class, self._new, field=key.register, rest=key.rest)
        origin = self._placer.last_of(name)
        content = block.content
        if rewrite_value is not None and isinstance(content, Bytes):
            content = Bytes(rewrite_value(key, content.value))
        renamed = Block(
            author=self._new,
            clock=block.clock + self._offset,
            length=block.length,
            origin=origin,
            right_origin=None,
            root=MAP_ROOT if origin is None else None,
            key=name if origin is None else None,
            content=content,
        )
        self._placer.place(renamed)
        return renamed

    def _place_text(self, block: Block) -> Block:
        """Place a text block. Where rivals of the old author now stand elsewhere, it keeps to its left neighbour."""
        try:
            is_placed = self._placer.place(block)
        except ScreeningError:
            neighbour = block.origin or block.right_origin
            if neighbour is None:
                raise
            root = self._placer.find(*neighbour).name
            block = block._replace(right_origin=self._placer.index.order.after(block.origin, root=root))
            is_placed = self._placer.place(block)
        if not is_placed:
            raise ScreeningError(NOWHERE)
        return block

    def deletes(self, ranges: Iterable[DeleteRange]) -> Iterator[DeleteRange]:
        for author, start, end in ranges:
            if author != self._old or end <= self._from_clock:
                kept = end
            else:
                kept = max(start, self._from_clock)
                yield DeleteRange(self._new, kept + self._offset, end + self._offset)
            clock = start
            while clock < kept:
                place = self._placer.find(author, clock)
                behind = min(place.end, kept)
                if author != self._old or place.is_text or parsed_key(place.name).key_class not in _OWNERS_ONLY:
                    yield DeleteRange(author, clock, behind)
                clock = behind

    def _key(self, block: Block) -> MapKey | None:
        """The key that a block writes, by its old name; None for text."""
        if block.origin is None:
            return None if block.key is None else parsed_key(block.key)
        unit = self._unit(block.origin)
        place = None if unit is None else self._placer.find(*unit)
        if place is None or place.is_text:
            return None
        return replace(parsed_key(place.name), author=self._old)

    def _is_renamed(self, unit: UnitId) -> bool:
        return unit[0] == self._old and unit[1] >= self._from_clock

    def _unit(self, unit: UnitId | None) -> UnitId | None:
        if unit is None or not self._is_renamed(unit):
            return unit
        return self._new, unit[1] + self._offset


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
