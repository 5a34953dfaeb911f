"""What the document of a record says of other records: those it was merged with, and those it is kept apart from.

Each author has a cell of links, to which it only adds. Links that a person's choice made stand together behind a mark
that says when it was made, over which records, and whose values were taken: the choice as all of them know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum, unique
from itertools import pairwise
from typing import Final, NamedTuple
from uuid import UUID

from crdt_sync.core.content import Content
from crdt_sync.core.ids import Author, RecordId
from crdt_sync.core.kinds import Put, Write
from crdt_sync.core.layout import KeyClass, map_key

_ID_BYTES: Final = 16
LINK_BYTES: Final = 1 + _ID_BYTES
"""Of one item of a cell."""
_CHOICE: Final = 3
"""In front of a choice: HLC (8) and what was taken (8); the records that it is about follow."""

KEPT_APART: Final = 0
"""What was taken, of records that are to stay apart; else the place (from 1 on) of the one whose values were ..."""
FIELD_BY_FIELD: Final = 2**64 - 1
"""... unless that was chosen for each field."""


@unique
class LinkKind(IntEnum):
    """What a link says of the record that it names."""

    NONE = 0
    """It was among those that somebody chose from, and nothing else follows."""
    MERGED = 1
    DISTINCT = 2


_KINDS: Final = frozenset(LinkKind)


class Links(NamedTuple):
    """What a record's document says of others; perhaps of itself, too, which means nothing."""

    merged: frozenset[RecordId]
    distinct: frozenset[RecordId]


NO_LINKS: Final = Links(frozenset(), frozenset())


class Link(NamedTuple):
    """One record, and what is said of it."""

    kind: int
    record: RecordId


class Verdict(NamedTuple):
    """What a person chose of records that were created twice.

    Args:
        author: whose choice.
        hlc: packed timestamp of it.
        taken: `KEPT_APART`, `FIELD_BY_FIELD`, or the place of the record whose values were taken, from 1 on.
        links: the records in question, in their order: what this document is to each.
    """

    author: Author
    hlc: int
    taken: int
    links: tuple[Link, ...]


def links_of(content: Content) -> Links:
    """What the cells of a document say, all authors' together."""
    return _joined(link for data in content.aliases.values() for link in _read(data)) if content.aliases else NO_LINKS


def verdicts_of(content: Content) -> Iterator[Verdict]:
    """The choices that a document tells of; what is malformed tells of none."""
    for author, data in content.aliases.items():
        items = [item for item in _items(data) if item[0] == _CHOICE or item[0] in _KINDS]
        starts = [at for at, (kind, _) in enumerate(items) if kind == _CHOICE]
        for start, end in pairwise([*starts, len(items)]):
            head, links = items[start][1], tuple(_link(kind, name) for kind, name in items[start + 1 : end])
            taken = int.from_bytes(head[8:], "big")
            if len(links) > 1 and (taken <= len(links) or taken == FIELD_BY_FIELD):
                yield Verdict(author, int.from_bytes(head[:8], "big"), taken, links)


def add_links(content: Content, *, author: Author, merged: Iterable[str]) -> list[Write]:
    """The write that adds links to an author's cell; none where the document has them already."""
    new = frozenset(map(RecordId, merged)) - links_of(content).merged
    if not new:
        return []
    added = b"".join(_packed(LinkKind.MERGED, name) for name in sorted(new))
    return [Put(map_key(KeyClass.ALIAS, author), added + content.aliases.get(author, b""))]  # in front of all choices


def add_verdict(content: Content, verdict: Verdict) -> list[Write]:
    """The write that adds a choice to its author's cell."""
    head = bytes((_CHOICE,)) + verdict.hlc.to_bytes(8, "big") + verdict.taken.to_bytes(8, "big")
    added = head + b"".join(_packed(kind, name) for kind, name in verdict.links)
    own = map_key(KeyClass.ALIAS, verdict.author)
    return [Put(own, content.aliases.get(verdict.author, b"") + added)]


def _joined(links: Iterable[Link]) -> Links:
    found: dict[int, set[RecordId]] = {kind: set() for kind in LinkKind}
    for kind, name in links:
        found[kind].add(name)
    return Links(frozenset(found[LinkKind.MERGED]), frozenset(found[LinkKind.DISTINCT]))


def _read(data: bytes) -> Iterator[Link]:
    return (_link(kind, name) for kind, name in _items(data) if kind in _KINDS)


def _items(data: bytes) -> Sequence[tuple[int, bytes]]:
    if len(data) % LINK_BYTES:
        return ()
    starts = range(0, len(data), LINK_BYTES)
    return [(data[start], data[start + 1 : start + LINK_BYTES]) for start in starts]


def _link(kind: int, name: bytes) -> Link:
    return Link(kind, RecordId(str(UUID(bytes=name))))


def _packed(kind: int, name: str) -> bytes:
    return bytes((kind,)) + UUID(name).bytes
