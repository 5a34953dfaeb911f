"""What names a document's content: its state vector, and the version, a hash of state vector and deletions.

A deletion does not advance the state vector, so vectors alone do not tell contents apart; vector and deletions do.
Encodings of the engine come in hash-map order, hence the canonical form here:

    version   = first 16 bytes of blake3(vector, deletions)
    vector    = count, then (author, next clock) in the order of authors
    deletions = count, then (author, count, (gap since the previous end, length)...) in the order of authors

with numbers as unsigned LEB128, authors without a range left out, and ranges sorted and joined where they touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NewType

from blake3 import blake3

from crdt_sync.core.blocks import CLOCK_MAX, DOCUMENT_BOUNDS
from crdt_sync.core.ids import AUTHOR_MAX
from crdt_sync.core.update import parse_update
from crdt_sync.core.varint import read_varint, varint
from crdt_sync.errors import LimitError, MalformedEntryError

Version = NewType("Version", bytes)
"""16 bytes; equal versions mean equal content."""

VERSION_BYTES = 16

Ranges = Sequence[tuple[int, int]]
"""(start, end) pairs of clocks, the end not included."""


def version(state_vector: Mapping[int, int], delete_set: Mapping[int, Ranges]) -> Version:
    """Name the content that has this state vector (next clock by author) and these deletions (ranges by author)."""
    if not delete_set:
        return _version_without_deletions(tuple(sorted(state_vector.items())))
    return Version(blake3(_canonical(sorted(state_vector.items()), delete_set)).digest(VERSION_BYTES))


@lru_cache(maxsize=1024)
def _version_without_deletions(state_vector: tuple[tuple[int, int], ...]) -> Version:
    """The documents that one author created have equal vectors, so there are few different ones."""
    return Version(blake3(_canonical(state_vector, {})).digest(VERSION_BYTES))


def _canonical(state_vector: Sequence[tuple[int, int]], delete_set: Mapping[int, Ranges]) -> bytes:
    out = bytearray()
    out += varint(len(state_vector))
    for author, clock in state_vector:
        out += varint(author)
        out += varint(clock)
    authors = sorted(author for author, ranges in delete_set.items() if ranges)
    out += varint(len(authors))
    for author in authors:
        ranges = squash(delete_set[author])
        out += varint(author)
        out += varint(len(ranges))
        previous = 0
        for start, end in ranges:
            out += varint(start - previous)
            out += varint(end - start)
            previous = end
    return bytes(out)


def version_of_update(state: bytes) -> Version:
    """Name the content of a document by its whole encoded state.

    Raises:
        MalformedEntryError: not an update that a document of ours can have.
        LimitError: larger than a document may be.
    """
    update = parse_update(state, bounds=DOCUMENT_BOUNDS)
    vector = {block.author: block.clock + block.length for block in update.blocks}  # the last of each author stays
    deletes: dict[int, list[tuple[int, int]]] = {}
    for author, start, end in update.deletes:
        deletes.setdefault(author, []).append((start, end))
    return version(vector, deletes)


def squash(ranges: Ranges) -> list[tuple[int, int]]:
    """Sort ranges and join those that touch or overlap."""
    squashed: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if squashed and start <= squashed[-1][1]:
            if end > squashed[-1][1]:
                squashed[-1] = (squashed[-1][0], end)
        else:
            squashed.append((start, end))
    return squashed


def parse_state_vector(data: bytes, *, authors_max: int = DOCUMENT_BOUNDS.authors_max) -> dict[int, int]:
    """Read a document's encoded state vector: next clock by author.

    Raises:
        MalformedEntryError: not a state vector.
        LimitError: it names more than ``authors_max`` authors.
    """
    vector: dict[int, int] = {}
    try:
        count, position = read_varint(data, 0)
        if count > authors_max:
            raise LimitError("a state vector with more authors than allowed")
        for _ in range(count):
            author, position = read_varint(data, position)
            clock, position = read_varint(data, position)
            if not 1 <= author <= AUTHOR_MAX or clock > CLOCK_MAX or author in vector:
                raise MalformedEntryError("a state vector with an author or clock that cannot be")
            vector[author] = clock
    except IndexError:
        raise MalformedEntryError("a state vector that ends too early") from None
    if position != len(data):
        raise MalformedEntryError("a state vector with trailing bytes")
    return vector


def encode_state_vector(vector: Iterable[tuple[int, int]]) -> bytes:
    """Write a state vector, given as (author, next clock), in the order of authors."""
    pairs = sorted(vector)
    out = bytearray()
    out += varint(len(pairs))
    for author, clock in pairs:
        out += varint(author)
        out += varint(clock)
    return bytes(out)
