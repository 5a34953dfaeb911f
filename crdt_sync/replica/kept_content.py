"""Content that a repair kept beyond the log, or that came from such a store: it is in nobody's chain.

So no signed vector tells who has it. A device does once a session has proven that both sides are equal. Since a vector
does not show whether it lost it again, that counts until its next session begins, and from the proof in there on.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from crdt_sync.replica.packing import Shape, pack_values, unpack_shaped
from crdt_sync.storage.base import Store, Table

KEPT: Final = b"kept"
"""Key in the meta table."""
HOLDERS_MAX: Final = 64
"""Devices that are remembered; the one that proved equality longest ago makes room."""
_SHAPE: Final[Shape] = (int, [str])


class Kept(NamedTuple):
    """The row.

    Args:
        documents: how many documents have such content.
        holders: ids of the devices that were proven equal since, the latest last.
    """

    documents: int
    holders: tuple[str, ...]


def read_kept(data: bytes) -> Kept:
    """Read the row.

    Raises:
        CorruptStoreError: it is no such row.
    """
    return Kept(*unpack_shaped(data, _SHAPE, table=Table.META, key=KEPT))


class KeptContent:
    """What is known of it in one store; every change is made in the caller's store transaction.

    Args:
        store: which one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def documents(self) -> int:
        """How many documents have such content; 0 where there never was any."""
        return self._row().documents

    @property
    def holders(self) -> frozenset[str]:
        """The devices that are known to have it."""
        return frozenset(self._row().holders)

    def note(self, documents: int) -> None:
        """There is content of so many more documents: who has the rest may not have this."""
        self._keep(Kept(self.documents + documents, ()))

    def add_holder(self, device: str) -> None:
        """A device was proven to hold all that is here."""
        row = self._row()
        if row.documents and device not in row.holders[-1:]:
            others = [item for item in row.holders if item != device]
            self._keep(Kept(row.documents, (*others, device)[-HOLDERS_MAX:]))

    def drop_holder(self, device: str) -> None:
        """A device may have lost it, or is gone."""
        row = self._row()
        if device in row.holders:
            self._keep(Kept(row.documents, tuple(item for item in row.holders if item != device)))

    def _row(self) -> Kept:
        data = self._store.get(Table.META, KEPT)
        return Kept(0, ()) if data is None else read_kept(data)

    def _keep(self, row: Kept) -> None:
        self._store.put(Table.META, KEPT, pack_values(*row))
