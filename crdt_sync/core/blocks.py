"""What engine updates consist of: blocks of content and ranges of deletions, and how much of them is accepted."""

from __future__ import annotations

from typing import Final, NamedTuple

from crdt_sync.core.limits import ENTRY_LIMITS

CLOCK_MAX: Final = 2**31 - 1
"""Most operations of one author in one document: the engine counts them in 32 bits."""

UnitId = tuple[int, int]
"""(author, clock): one unit of content."""


class Bytes(NamedTuple):
    """A value of the map root."""

    value: bytes


class String(NamedTuple):
    """A piece of text; its length on the clock is in UTF-16 units."""

    text: str


class Deleted(NamedTuple):
    """What remains of content that was deleted: how many clock units it took."""

    length: int


class Format(NamedTuple):
    """The start or end of a text attribute: its name, and a JSON scalar (null ends it)."""

    name: str
    json: str


Content = Bytes | String | Deleted | Format


class Block(NamedTuple):
    """One run of content of one author.

    Args:
        author: who wrote it.
        clock: the first unit's clock.
        length: how many clock units it takes, at least 1.
        origin: what stood left of it when it was written, if anything did.
        right_origin: what stood right of it.
        root: name of its root; None where an origin implies it.
        key: its key in the map root; None in a text, and where an origin implies it.
    """

    author: int
    clock: int
    length: int
    origin: UnitId | None
    right_origin: UnitId | None
    root: str | None
    key: str | None
    content: Content


class DeleteRange(NamedTuple):
    """Units ``start`` up to, not including, ``end`` of one author are deleted."""

    author: int
    start: int
    end: int


class Update(NamedTuple):
    """A parsed update: blocks by author and clock, deletions by author and start."""

    blocks: tuple[Block, ...]
    deletes: tuple[DeleteRange, ...]


class UpdateBounds(NamedTuple):
    """What a parser accepts at most."""

    bytes_max: int
    blocks_max: int
    delete_ranges_max: int
    authors_max: int


ENTRY_BOUNDS: Final = UpdateBounds(
    bytes_max=ENTRY_LIMITS.entry_bytes_max,
    blocks_max=ENTRY_LIMITS.blocks_max,
    delete_ranges_max=ENTRY_LIMITS.delete_ranges_max,
    authors_max=ENTRY_LIMITS.authors_max,
)
"""Bounds of an update inside an entry."""

DOCUMENT_BOUNDS: Final = UpdateBounds(
    bytes_max=64 * ENTRY_LIMITS.entry_bytes_max,
    blocks_max=100 * ENTRY_LIMITS.blocks_max,
    delete_ranges_max=100 * ENTRY_LIMITS.delete_ranges_max,
    authors_max=100 * ENTRY_LIMITS.authors_max,
)
"""Bounds of a whole document, which many entries have built up."""


def utf16_length(text: str) -> int:
    """How many clock units the engine counts for ``text``."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) >> 1
