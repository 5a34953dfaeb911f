"""Entries that a device cannot take in: its process dies of them, or fails; and what rests on such an entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crdt_sync.core.entry import decode_entry
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, unpack_log_row


@dataclass(slots=True, kw_only=True)
class Poison:
    """What one device cannot take in.

    Args:
        author, sequence: the entry.
        kills: its process dies of it; else it says that the entry cannot be.
        steps: after so many steps it can; None for not before the end.
        met: how often it was there.
    """

    author: int
    sequence: int
    kills: bool
    steps: int | None
    met: int = 0

    def is_in(self, row: bytes) -> bool:
        """Whether a row of the log has it, and somebody else wrote it."""
        read = unpack_log_row(row)
        found = not read.own and read.author == self.author and read.first <= self.sequence <= read.last
        self.met += found
        return found


def resting_on(poisons: Iterable[Poison], logs: Iterable[Iterable[bytes]]) -> Mapping[int, int]:
    """What rests on poison, by chains or by what was seen: author → the first entry that does.

    Args:
        poisons: the entries.
        logs: the logs of all stores.
    """
    first: dict[int, int] = {}
    for poison in poisons:
        first[poison.author] = min(poison.sequence, first.get(poison.author, poison.sequence))
    rows = [row for log in logs for row in map(unpack_log_row, log) if row.author != CONTENT_AUTHOR]
    before: dict[int, int] = {}
    while before != first:
        before = dict(first)
        for row in rows:
            _take_in(first, row)
    return first


def _take_in(first: dict[int, int], row: LogRow) -> None:
    for at, data in enumerate(row.applied(), row.first):
        if at >= first.get(row.author, at + 1):
            return
        if any(head.sequence >= first.get(head.author, head.sequence + 1) for head in decode_entry(data).heads):
            first[row.author] = at
            return
