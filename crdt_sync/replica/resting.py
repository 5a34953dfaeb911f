"""What rests on entries that are set aside for a device, and so cannot reach it before they do.

An entry rests on another one by its author's chain or by the heads that it names. Of what was written here much rests
on such an entry by that alone: it touches none of the same records. It need not name it, then, and can be written again
so that it does not (`stepping`).
"""

from __future__ import annotations

from typing import NamedTuple

from crdt_sync.core.entry import SHORT_HASH_BYTES, Head, decode_entry
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.replica.ledger import CONTENT_AUTHOR, Ledger
from crdt_sync.replica.rows import LogRow, key_number, number_key, unpack_log_row
from crdt_sync.replica.set_aside import doubts
from crdt_sync.storage.base import Store, Table


class Root(NamedTuple):
    """An entry that is set aside: whose, which, and why."""

    author: Author
    sequence: int
    reason: str


class Resting:
    """What rests on what is set aside, by the log as it is.

    Args:
        store: where it is kept.
        ledger: its log.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self.documents: set[DocumentKey] = set()
        """Touched by what rests on such an entry for good."""
        self.by_name_only: list[int] = []
        """Log positions of rows of ours that rest on one by chain or heads alone."""
        self._roots: dict[Author, Root] | None = None
        self._first: dict[Author, tuple[int, Root]] = {}
        self._upto = self._folded = 0

    def reset(self) -> None:
        """What is set aside has changed, or rows were taken out of the log."""
        self._roots = None
        self._first = {}
        self.documents, self.by_name_only = set(), []

    def look(self) -> bool:
        """Bring it up to date; whether anything is set aside."""
        if self._folded != self._ledger.folded.generation:
            self.reset()  # what was folded rests on nothing any more: who lacks it gets content first
        if self._roots is None:
            self._find_roots()
        if self._roots and self._upto < self._ledger.end:
            for key, data in self._store.scan(Table.LOG, start=number_key(self._upto + 1)):
                row = unpack_log_row(data)
                if row.author != CONTENT_AUTHOR:
                    self._take(key_number(key), row)
            self._upto = self._ledger.end
        return bool(self._roots)

    def root_of(self, author: Author, sequence: int) -> Root | None:
        """What an entry rests on, or is; None where that is nothing that is set aside."""
        return self._rests(author, sequence) if self.look() else None

    def passed_over(self, partition: str, head: Head) -> Head | None:
        """What to name in the place of a head by an entry that rests on nothing that is set aside."""
        first = self._first.get(head.author)
        if first is None or head.sequence < first[0]:
            return head
        sequence = first[0] - 1
        before = self._ledger.hash_at(partition, head.author, sequence) if sequence else None
        if before is None:
            return None
        return Head(author=head.author, sequence=sequence, short_hash=before[:SHORT_HASH_BYTES])

    def _find_roots(self) -> None:
        roots: dict[Author, Root] = {}
        self._folded = self._ledger.folded.generation
        for device in doubts(self._store):
            for item in device.set_aside():
                held = roots.get(item.author)
                if self._is_folded(item.author, item.sequence):
                    continue
                if item.due_ms is None and (held is None or item.sequence < held.sequence):
                    roots[item.author] = Root(item.author, item.sequence, item.reason)
        self._roots = roots
        self._first = {author: (root.sequence, root) for author, root in roots.items()}
        places = (
            self._ledger.position_after(partition, root.author, root.sequence - 1)
            for partition in self._ledger.heads
            for root in roots.values()
        )
        self._upto = min((place for place in places if place is not None), default=self._ledger.end + 1) - 1

    def _is_folded(self, author: Author, sequence: int) -> bool:
        floors = self._ledger.floors.values()
        return any(author in floor and sequence <= floor[author].sequence for floor in floors)

    def _take(self, position: int, row: LogRow) -> None:
        """Note what a row rests on."""
        for at, data in enumerate(row.applied(), row.first):
            entry = decode_entry(data)
            root = self._rests(row.author, at) or next(
                (held for head in entry.heads if (held := self._rests(head.author, head.sequence)) is not None), None
            )
            if root is None:
                continue
            self._first.setdefault(row.author, (at, root))
            documents = {operation.document for operation in entry.operations}
            is_root = (row.author, at) == (root.author, root.sequence)
            if row.own and not is_root and documents.isdisjoint(self.documents):
                self.by_name_only.append(position)
            else:
                self.documents |= documents

    def _rests(self, author: Author, sequence: int) -> Root | None:
        first = self._first.get(author)
        return first[1] if first is not None and sequence >= first[0] else None
