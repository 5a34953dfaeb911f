"""What the entries of the log had seen of each other: their chains and the heads that they name tell, and no clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from crdt_sync.core.entry import decode_entry
from crdt_sync.core.ids import Author
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, key_number, number_key, unpack_log_row
from crdt_sync.storage.base import Store, Table

_NOTHING: Mapping[Author, int] = {}


class SeenSince:
    """Follows the log from one position on, as far as it is asked; of entries before that it says nothing.

    Args:
        store: where the log is.
        partition: of the entries.
        start: the position.
    """

    def __init__(self, store: Store, partition: str, *, start: int) -> None:
        self._store = store
        self._partition = partition
        self._next = start
        self._seen: dict[Author, list[tuple[int, Mapping[Author, int]]]] = {}

    def by(self, author: Author, sequence: int, *, position: int) -> Mapping[Author, int]:
        """What an entry had seen: author → the last entry of that one, its own included.

        Args:
            author: whose entry.
            sequence: its number in that one's chain.
            position: of the log row that holds it.
        """
        for key, data in self._store.scan(Table.LOG, start=number_key(self._next), end=number_key(position + 1)):
            self._take(unpack_log_row(data))
            self._next = key_number(key) + 1
        return {**self._known(author, sequence), author: sequence}

    def _take(self, row: LogRow) -> None:
        if row.partition != self._partition or row.author == CONTENT_AUTHOR:
            return
        for sequence, data in enumerate(row.applied(), start=row.first):
            heads = decode_entry(data).heads
            if heads:
                seen = dict(self._known(row.author, sequence))
                for head in heads:
                    named = {**self._known(head.author, head.sequence), head.author: head.sequence}
                    seen.update((author, last) for author, last in named.items() if last > seen.get(author, 0))
                self._seen.setdefault(row.author, []).append((sequence, seen))

    def _known(self, author: Author, sequence: int) -> Mapping[Author, int]:
        """What an author had seen when it made an entry."""
        steps = self._seen.get(author, [])
        at = bisect_right(steps, sequence, key=lambda step: step[0])
        return steps[at - 1][1] if at else _NOTHING
