"""What of ours was handed to somebody, who may hold it though he did not say so: it is not written again.

As a line breaks nobody knows what of it arrived, or still will. Written again under another author, it would count
twice once it comes back. So it is remembered: while the store is open by device, and behind that in one row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from crdt_sync.core.ids import AUTHOR_MAX, Author, DeviceId
from crdt_sync.core.logs import told
from crdt_sync.errors import CorruptStoreError, StoreFullError
from crdt_sync.protocol.source import EntryStatus, SentRun, Vector
from crdt_sync.replica.packing import Shape, pack_values, unpack_shaped
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store, Table

log = logging.getLogger("crdt_sync.replica")

HANDED: Final = b"handed"
"""Key in the meta table."""
_SHAPE: Final[Shape] = (int, {int: int})

Last = Mapping[Author, int]
"""Author of ours → the last entry that was handed to anybody."""


def read_handed(data: bytes) -> tuple[bool, Last]:
    """Read the row: whether the process that wrote it had not ended yet, and what was handed out before that.

    Raises:
        CorruptStoreError: it is no such row.
    """
    is_open, last = unpack_shaped(data, _SHAPE, table=Table.META, key=HANDED)
    if is_open > 1 or any(not 0 < author <= AUTHOR_MAX for author in last):
        raise CorruptStoreError("the row of what was handed out makes no sense", table=Table.META, key=HANDED)
    return bool(is_open), {Author(author): sequence for author, sequence in last.items()}


def hand_out_everything(store: Store) -> None:
    """Have everything that is there count as handed out, as after a process that was killed."""
    with store.transaction():
        store.put(Table.META, HANDED, pack_values(1, {}))


class HandedOut:
    """Remembers it; for one process that has the store open.

    Invariant: what is handed out is in the row, or stands for all there is, before it is on its way.

    Args:
        state: the replica.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._ends = [dict(ends) for ends in state.ledger.heads.values()]
        self._before: Last | None = None
        self._is_noted = False
        self._given: dict[DeviceId | None, dict[Author, int]] = {}
        """By device. Under None stands what was in flight as a line was lost: it may arrive at any time."""
        self._closed: set[DeviceId] = set()
        """Those that ended a session themselves: their next word tells what they took of it."""

    def note(self, device: DeviceId, runs: Sequence[SentRun]) -> None:
        """Some runs are about to be sent to a device."""
        own = self._state.lease.own_authors()
        sent = [(author, last) for _, _, author, last in runs if author in own]
        if not sent:
            return
        if not self._is_noted:
            self._note()
        given = self._given.setdefault(device, {})
        for author, last in sent:
            given[author] = max(last, given.get(author, 0))

    def answered(self, device: DeviceId, vector: Vector, statuses: Sequence[EntryStatus], *, is_all: bool) -> None:
        """A device said what it holds.

        Args:
            device: which one.
            vector: what it holds.
            statuses: what it did not take: it has not kept that, nor what follows, until it is sent again.
            is_all: whether it holds nothing else.
        """
        if is_all and device in self._closed:
            self._closed.remove(device)
            self._given.pop(device, None)
        given = self._given.get(device, {})
        for item in statuses:
            if item.author in given:
                at = vector.get(item.partition, {}).get(item.author)
                before = item.sequence - 1
                given[item.author] = before if at is None else min(before, at.sequence)

    def closed(self, device: DeviceId) -> None:
        """A device ended a session itself."""
        self._closed.add(device)

    def lost(self, device: DeviceId) -> None:
        """The line to a device broke."""
        lost = self._given.setdefault(None, {})
        for author, last in self._given.pop(device, {}).items():
            lost[author] = max(last, lost.get(author, 0))

    def last(self, author: Author) -> int:
        """The last entry under an author of ours that somebody may hold for that."""
        given = (held.get(author, 0) for held in self._given.values())
        return max(self._earlier().get(author, 0), *given, 0)

    def keep(self) -> None:
        """The process ends in good order: what it knows stays, in a store transaction of its own."""
        if not self._is_noted:
            return
        last = dict(self._earlier())
        for given in self._given.values():
            for author, sequence in given.items():
                last[author] = max(sequence, last.get(author, 0))
        with self._state.store.transaction():
            self._state.store.put(Table.META, HANDED, pack_values(0, last))

    def _note(self) -> None:
        """Until this process ends in good order, all that is here stands for what it hands out."""
        store = self._state.store
        try:
            with store.transaction():
                store.put(Table.META, HANDED, pack_values(1, dict(self._earlier())))
            store.flush()
        except StoreFullError as error:  # what is sent leaves the full disk: that goes before
            told(log, logging.WARNING, "what is handed out is remembered while this runs only", reason=error.message)
            return
        self._is_noted = True

    def _earlier(self) -> Last:
        """What was handed out before the store was opened."""
        if self._before is None:
            data = self._state.store.get(Table.META, HANDED)
            is_open, last = (False, {}) if data is None else read_handed(data)
            if is_open:
                own = self._state.lease.own_authors()
                ends = [(author, end.sequence) for ends in self._ends for author, end in ends.items() if author in own]
                last = {author: max(at for of, at in ends if of == author) for author, _ in ends}
            self._before = last
        return self._before
