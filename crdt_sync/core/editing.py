"""Local changes of the map root without the engine: the update that it would emit, and the document that it would hold.

Most changes touch registers, counters, sets and tombstones only, of documents with a handful of blocks. To load such a
document into the engine, edit it there, read the update back as everybody else will, and encode the whole again costs
ten times what follows here. Changes of texts are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crdt_sync.core.blocks import CLOCK_MAX, Block, Bytes, Deleted, DeleteRange, UnitId, Update
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds.base import Drop, Put, Write
from crdt_sync.core.layout import MAP_ROOT, KeyClass, parsed_key
from crdt_sync.core.limits import ENTRY_LIMITS, TOO_LARGE_HINT
from crdt_sync.core.placing import Item, Placed
from crdt_sync.core.screening import check_removals
from crdt_sync.core.update import encode_update
from crdt_sync.errors import LimitError, MalformedEntryError, ScreeningError


class MapEdit(NamedTuple):
    """What one local change does to a document: its update, its blocks, and where they belong."""

    update: bytes
    blocks: tuple[Block, ...]
    placed: Placed


def map_writes(writes: Sequence[Write]) -> list[Put | Drop] | None:
    """Writes of the map root alone, each key once; None where there is anything else."""
    found = [write for write in writes if isinstance(write, (Put, Drop))]
    if len(found) != len(writes) or len({write.key for write in found}) != len(found):
        return None
    return found


def edit_map(
    writes: Sequence[Put | Drop], *, author: Author, index: DocumentIndex, operation: OperationType
) -> MapEdit:
    """Make one change, and judge it as `screening.screen` would.

    Args:
        writes: none of them names a key twice.
        author: who writes.
        index: the document as the change finds it; it is left as it is.
        operation: what kind of change it is.

    Raises:
        ScreeningError: more than an entry may do.
        LimitError: larger than an entry may be.
        MalformedEntryError: a key that no document has, or more changes than a document can count.
    """
    if len(writes) > ENTRY_LIMITS.blocks_max:
        raise LimitError("a change of more values than the space allows")
    clock = index.next_clock(author)
    blocks: list[Block] = []
    items: list[Item] = []
    gone: list[UnitId] = []
    dropped: list[str] = []
    for write in writes:
        key = write.key
        before = index.last.get(key)
        if type(write) is Put:
            blocks.append(_block(key, write.data, author=author, clock=clock, before=before))
            items.append(Item(author, clock, clock + 1, key))
            clock += 1
            if before is not None and not index.is_deleted(*before):
                gone.append(before)
        elif before is None or index.is_deleted(*before):
            raise ScreeningError("a change that removes a value which is not there")
        else:
            gone.append(before)
            dropped.append(key)
    _check(blocks, items, index=index, operation=operation)
    if clock > CLOCK_MAX:
        raise MalformedEntryError("more changes of one author than a document can count")
    if dropped:
        check_removals(dict.fromkeys(dropped, True), written=[item.key for item in items], author=author)
    if len(gone) > ENTRY_LIMITS.authors_max and len({unit[0] for unit in gone}) > ENTRY_LIMITS.authors_max:
        raise LimitError("a change that removes values of more authors than the space allows")
    deletes = tuple(_ranges(gone)) if gone else ()
    update = encode_update(Update(tuple(blocks), deletes))
    if len(update) > ENTRY_LIMITS.entry_bytes_max:
        raise LimitError("a change larger than the space allows")
    return MapEdit(update, tuple(blocks), Placed({author: clock}, items, (), deletes))


def merge_map(state: Update, added: Sequence[Block], *, index: DocumentIndex) -> Update:
    """A whole document with the blocks of one more update, which changes no text.

    Args:
        state: the document before.
        added: the update's blocks, which go on where their author's last ones ended.
        index: the document after the update; it tells what is deleted.
    """
    blocks: list[Block] = []
    author = added[0].author
    for block in _with(state.blocks, added, author=author):
        unit = block.author, block.clock
        if type(block.content) is not Bytes or (unit in index.tips and not index.is_deleted(*unit)):
            blocks.append(block)
            continue
        last = blocks[-1] if blocks else None
        if (
            last is not None
            and type(last.content) is Deleted
            and block.origin == (last.author, last.clock + last.length - 1) == (block.author, block.clock - 1)
        ):
            length = last.length + 1
            blocks[-1] = last._replace(length=length, content=Deleted(length))
        else:
            blocks.append(block._replace(content=Deleted(1)))
    deletes = [
        DeleteRange(other, start, end) for other, ranges in sorted(index.deleted.items()) for start, end in ranges
    ]
    return Update(tuple(blocks), tuple(deletes))


def _block(key: str, data: bytes, *, author: Author, clock: int, before: UnitId | None) -> Block:
    if len(data) > ENTRY_LIMITS.value_bytes_max:
        raise LimitError(
            f"a value has at most {ENTRY_LIMITS.value_bytes_max} bytes with all that is written beside it",
            hint=TOO_LARGE_HINT,
        )
    if before is None:
        return Block(author, clock, 1, None, None, MAP_ROOT, key, Bytes(data))
    return Block(author, clock, 1, before, None, None, None, Bytes(data))


def _check(blocks: Sequence[Block], items: Sequence[Item], *, index: DocumentIndex, operation: OperationType) -> None:
    """What `screening` and `placing` demand of blocks."""
    if not blocks:
        raise ScreeningError("a change that does not move the state vector")
    creates = False
    for block, item in zip(blocks, items, strict=True):
        parsed = parsed_key(item.key)
        if parsed.author != item.author:
            raise ScreeningError("a value under another author's key")
        if parsed.key_class is KeyClass.CREATION:
            creates = True
            if block.origin is not None:
                raise ScreeningError("a second creation by one author")
    if operation is OperationType.CREATE and not index.clocks and not creates:
        raise ScreeningError("a document that does not begin with a creation")


def _with(blocks: Sequence[Block], added: Sequence[Block], *, author: int) -> list[Block]:
    """All blocks, those of one author one after the other."""
    at = len(blocks)
    while at and blocks[at - 1].author != author:
        at -= 1
    at = at or len(blocks)  # an author that is new here comes last
    return [*blocks[:at], *added, *blocks[at:]]


def _ranges(units: Iterable[UnitId]) -> list[DeleteRange]:
    """Single units as ranges, by author and clock, joined where they touch."""
    ranges: list[DeleteRange] = []
    for author, clock in sorted(units):
        if ranges and ranges[-1].author == author and ranges[-1].end == clock:
            ranges[-1] = ranges[-1]._replace(end=clock + 1)
        else:
            ranges.append(DeleteRange(author, clock, clock + 1))
    return ranges
