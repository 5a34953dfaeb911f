"""Deletions that met edits made at once: who stands on which side, where a model asks (semantics: deleting)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from crdt_sync.core.blocks import UnitId
from crdt_sync.core.content import Content, Dot, EditAfterDelete
from crdt_sync.core.duplicates import tagged
from crdt_sync.core.ids import Author, RecordId
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


Part = tuple[RecordId | None, Content, Mapping[str, UnitId]]


def sides_of(content: Content, policy: EditAfterDelete, last: Mapping[str, UnitId]) -> list[Side]:
    """The sides of a record's open question whether it stays deleted, latest first; none where there is no question.

    Args:
        content: the record's.
        policy: of its model.
        last: key → the last unit written under it (`DocumentIndex.last`).
    """
    return group_sides([(None, content, last)], policy) if content.tombstones else []


def group_sides(parts: Iterable[Part], policy: EditAfterDelete) -> list[Side]:
    """The same of records that show as one, where an edit of one is an edit of the whole.

    Args:
        parts: of each record its id (None for a record that is alone), content and last units. The first one's dots are
            as they are, those of the others carry the record's id.
        policy: of their model.
    """
    held = [(record if number else None, content, last) for number, (record, content, last) in enumerate(parts)]
    if policy != "ask" or not any(content.tombstones for _, content, _ in held):
        return []
    deletions = [_tagged(deletion_side(content, key), tag) for tag, content, _ in held for key in content.tombstones]
    latest = max(side.hlc for side in deletions)
    edits = [_tagged(side, tag) for tag, content, last in held for side in _edits(content, last, latest)]
    if not edits:
        return []
    return sorted([*deletions, *edits], key=lambda side: (-side.hlc, bool(side.key), -side.dot.author))


def _tagged(side: Side, tag: RecordId | None) -> Side:
    return side._replace(dot=Dot(tagged(side.dot.author, tag), side.dot.counter))


def _edits(content: Content, last: Mapping[str, UnitId], latest: int) -> Iterator[Side]:
    """What each author did outside of the deletions.

    Texts, counters and sets carry no time: such an edit is taken to be as late as the latest deletion, and to go first.
    """
    edited, seen = content.edited_since(), content.deleted_vector()
    times: dict[Author, int] = {}
    for key, hlc in _dated(content) if edited else ():
        author, clock = parsed_key(key).author, last[key][1]
        if clock >= seen.get(author, 0):
            times[author] = max(hlc, times.get(author, 0))
    return (Side(Dot(author, clock), times.get(author, latest), "") for author, clock in edited.items())


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
