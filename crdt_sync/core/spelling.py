"""A text unit by unit: which of them stand where, which are live, and what they say.

The order of units is in the index, what they say in the document's state; neither alone can tell where a unit that was
deleted would stand in the text that is shown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

from crdt_sync.core.blocks import Block, String, Update
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.layout import text_root


class Piece(NamedTuple):
    """Units of one author that stand next to each other, all live or all of them out of sight.

    Args:
        author: who inserted them.
        clock: the first one's clock.
        length: how many, in UTF-16 units.
        text: what they say; empty for what is deleted and for the ends of attributes.
    """

    author: Author
    clock: int
    length: int
    text: str

    def part(self, start: int, end: int) -> str:
        """What the units from clock ``start`` up to ``end`` say."""
        raw = self.text.encode("utf-16-le")
        return raw[2 * (start - self.clock) : 2 * (end - self.clock)].decode("utf-16-le")


def pieces_of(state: Update, index: DocumentIndex, field: str) -> Iterator[Piece]:
    """The pieces of a text in order, those out of sight too.

    Args:
        state: the whole document.
        index: of the same document.
        field: the text's field.
    """
    blocks: dict[int, list[Block]] = {}
    for block in state.blocks:
        blocks.setdefault(block.author, []).append(block)
    starts = {author: [block.clock for block in held] for author, held in blocks.items()}
    for run in index.order.in_order(text_root(field)):
        clock = run.start
        while clock < run.end:
            held = blocks[run.author][bisect_right(starts[run.author], clock) - 1]
            end, is_deleted = _stretch(index, run.author, clock, end=min(run.end, held.clock + held.length))
            text = ""
            if type(held.content) is String and not is_deleted:
                raw = held.content.text.encode("utf-16-le")
                text = raw[2 * (clock - held.clock) : 2 * (end - held.clock)].decode("utf-16-le")
            yield Piece(Author(run.author), clock, end - clock, text)
            clock = end


def inserted_by(state: Update, index: DocumentIndex, field: str) -> Iterator[tuple[Author, str]]:
    """The text that is shown, in pieces as long as they can be, each with who inserted it."""
    author, text = Author(0), ""
    for piece in pieces_of(state, index, field):
        if piece.text and piece.author == author:
            text += piece.text
        elif piece.text:
            if text:
                yield author, text
            author, text = piece.author, piece.text
    if text:
        yield author, text


def _stretch(index: DocumentIndex, author: int, clock: int, *, end: int) -> tuple[int, bool]:
    """Up to where units are deleted, or live, as the one at ``clock`` is."""
    ranges = index.deleted.get(author, ())
    at = bisect_right(ranges, clock, key=itemgetter(0))
    if at and clock < ranges[at - 1][1]:
        return min(ranges[at - 1][1], end), True
    return (min(ranges[at][0], end) if at < len(ranges) else end), False
