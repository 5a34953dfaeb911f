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
_SHAPE: Final[Shape] = (int, {str: {int: int}})
DEVICES_MAX: Final = 64
"""Devices that are told apart in the row; what others were handed stands under `ANYBODY`."""
ANYBODY: Final = DeviceId("")
"""Stands for devices that are not known."""

Last = dict[Author, int]
"""Author of ours → the last entry that was handed out."""
Handed = dict[DeviceId, Last]
"""What each device was handed."""
Chain = tuple[str, Author]
"""Partition and author of ours."""


def read_handed(data: bytes) -> tuple[bool, Handed]:
    """Read the row: whether the process that wrote it had not ended yet, and what was handed out before that.

    Raises:
        CorruptStoreError: it is no such row.
    """
    is_open, handed = unpack_shaped(data, _SHAPE, table=Table.META, key=HANDED)
    if is_open > 1 or any(not 0 < author <= AUTHOR_MAX for last in handed.values() for author in last):
        raise CorruptStoreError("the row of what was handed out makes no sense", table=Table.META, key=HANDED)
    return bool(is_open), handed


def hand_out_everything(store: Store) -> None:
    """Have everything that is there count as handed out, as after a process that was killed."""
    with store.transaction():
        store.put(Table.META, HANDED, pack_values(1, {}))


class HandedOut:
    """Remembers it; for one process that has the store open.

    Invariant: what is handed out is in the row, or stands for all there is, before it is on its way. On a full disk,
    where a row cannot be written, it is in memory alone until there is room as more is handed out, or at the end.

    So it is forgotten where the process is killed before that. For something to count twice by it, the whole machine
    must have been taken back or cloned too, and have written on under the same author, and whoever has the other branch
    must be met before the one who was sent this, and whose answer could not be kept either. To be sure of the row, it
    would have to be written at each open, before anything is sent: then every process that is killed would have handed
    out all there is, and forks that are settled today by writing again would stay apart.

    Args:
        state: the replica.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._ends = [dict(ends) for ends in state.ledger.heads.values()]
        self._before: Handed | None = None
        self._is_noted = False
        self._given: dict[DeviceId, dict[Chain, int]] = {}
        """To be lowered by what a device says of a chain; all else is for an author, whatever the partition."""
        self._lost: Handed = {}
        """What was in flight as a line was lost: it may arrive at any time."""
        self._closed: set[DeviceId] = set()
        """Those that ended a session themselves: their next word tells what they took of it."""

    def note(self, device: DeviceId, runs: Sequence[SentRun]) -> None:
        """Some runs are about to be sent to a device."""
        own = self._state.lease.own_authors()
        sent = [((partition, author), last) for _, partition, author, last in runs if author in own]
        if not sent:
            return
        if not self._is_noted:
            self._note()
        given = self._given.setdefault(device, {})
        for chain, last in sent:
            given[chain] = max(last, given.get(chain, 0))

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
            chain = item.partition, item.author
            if chain in given:
                at = vector.get(item.partition, {}).get(item.author)
                before = item.sequence - 1
                given[chain] = before if at is None else min(before, at.sequence)

    def closed(self, device: DeviceId) -> None:
        """A device ended a session itself."""
        self._closed.add(device)

    def lost(self, device: DeviceId) -> None:
        """The line to a device broke."""
        _join(self._lost, {device: _of_authors(self._given.pop(device, {}))})

    def last(self, author: Author) -> int:
        """The last entry under an author of ours that somebody may hold for that."""
        return max((last.get(author, 0) for last in self._all().values()), default=0)

    def last_beside(self, author: Author, ends_at: Mapping[DeviceId, int]) -> int:
        """The same, as far as is known to whom it was handed.

        Args:
            author: of ours.
            ends_at: devices that did not take an entry of that author, nor hold what follows.
        """
        handed = ((device, last.get(author, 0)) for device, last in self._all().items() if device != ANYBODY)
        return max((min(last, ends_at.get(device, last + 1) - 1) for device, last in handed), default=0)

    def devices(self) -> tuple[DeviceId, ...]:
        """Who was handed anything."""
        return tuple(self._all())

    def keep(self) -> None:
        """The process ends in good order: what it knows stays, in a store transaction of its own."""
        if not (self._is_noted or self._given or self._lost):
            return
        with self._state.store.transaction():
            self._state.store.put(Table.META, HANDED, _packed(self._all(), is_open=False))

    def _note(self) -> None:
        """Until this process ends in good order, all that is here stands for what it hands out."""
        store = self._state.store
        try:
            with store.transaction():
                store.put(Table.META, HANDED, _packed(self._earlier(), is_open=True))
            store.flush()
        except StoreFullError as error:  # what is sent leaves the full disk: that goes before
            told(log, logging.WARNING, "what is handed out is remembered while this runs only", reason=error.message)
            return
        self._is_noted = True

    def _all(self) -> Handed:
        found: Handed = {}
        given = {device: _of_authors(chains) for device, chains in self._given.items()}
        for handed in (self._earlier(), given, self._lost):
            _join(found, handed)
        return found

    def _earlier(self) -> Handed:
        """What was handed out before the store was opened."""
        if self._before is None:
            data = self._state.store.get(Table.META, HANDED)
            is_open, self._before = (False, {}) if data is None else read_handed(data)
            own = self._state.lease.own_authors() if is_open else frozenset()
            for ends in self._ends:
                _join(self._before, {ANYBODY: {author: end.sequence for author, end in ends.items() if author in own}})
        return self._before


def _of_authors(chains: Mapping[Chain, int]) -> Last:
    found: Last = {}
    for (_, author), last in chains.items():
        found[author] = max(last, found.get(author, 0))
    return found


def _join(handed: Handed, other: Handed) -> None:
    for device, ends in other.items():
        last = handed.setdefault(device, {})
        for author, sequence in ends.items():
            last[author] = max(sequence, last.get(author, 0))


def _packed(handed: Handed, *, is_open: bool) -> bytes:
    kept: Handed = {}
    for number, (device, last) in enumerate(handed.items()):
        _join(kept, {device if number < DEVICES_MAX else ANYBODY: last} if last else {})
    return pack_values(int(is_open), kept)
