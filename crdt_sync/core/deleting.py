"""Deletions that met edits made at once: who stands on which side, where a model asks (semantics: deleting)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from crdt_sync.core.blocks import UnitId
from crdt_sync.core.content import Content, Dot, EditAfterDelete
from crdt_sync.core.ids import Author
from crdt_sync.core.layout import KeyClass, map_key, parsed_key


class Side(NamedTuple):
    """One deletion, or all that one author did outside of the deletions.

    Args:
        dot: the author, and its next clock behind the deletion or behind its last edit. Whoever edits on is another
            side, so nobody settles what he has not seen.
        hlc: packed timestamp.
        key: the deletion's key in the map root; empty for an edit.
    """

    dot: Dot
    hlc: int
    key: str


def sides_of(content: Content, policy: EditAfterDelete, last: Mapping[str, UnitId]) -> list[Side]:
    """The sides of a record's open question whether it stays deleted, latest first; none where there is no question.

    Args:
        content: the record's.
        policy: of its model.
        last: key → the last unit written under it (`DocumentIndex.last`).
    """
    if policy != "ask" or not content.tombstones:
        return []
    edited = content.edited_since()
    if not edited:
        return []
    sides = [deletion_side(content, key) for key in content.tombstones]
    seen, latest = content.deleted_vector(), max(side.hlc for side in sides)
    times: dict[Author, int] = {}
    for key, hlc in _dated(content):
        author, clock = parsed_key(key).author, last[key][1]
        if clock >= seen.get(author, 0):
            times[author] = max(hlc, times.get(author, 0))
    # texts, counters and sets carry no time: such an edit is taken to be as late as the deletion, and to go before it
    sides.extend(Side(Dot(author, clock), times.get(author, latest), "") for author, clock in edited.items())
    sides.sort(key=lambda side: (-side.hlc, bool(side.key), -side.dot.author))
    return sides


def deletion_side(content: Content, key: str) -> Side:
    """The deletion whose tombstone is at ``key``."""
    tombstone, author = content.tombstones[key], parsed_key(key).author
    return Side(Dot(author, tombstone.vector.get(author, 0)), tombstone.hlc, key)


def _dated(content: Content) -> Iterator[tuple[str, int]]:
    """Keys and timestamps of all that carries one."""
    for creation in content.creations:
        yield map_key(KeyClass.CREATION, creation.author), creation.hlc
    for registers in (content.plain, content.causal, content.lattices):
        for values in registers.values():
            for value in values:
                yield value.key, value.hlc
