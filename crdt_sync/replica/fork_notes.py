"""The notes of forks that stay apart: whose author, since when, and which devices hold another branch.

They say what was met, not what was proven: a peer may claim what it likes. So they tell people, and make a replica more
careful with what devices are taken to hold; nothing is given up because of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.errors import CorruptStoreError
from crdt_sync.storage.base import Store, Table

FORKS_MAX: Final = 64
"""Authors whose forks are noted; the one that was met longest ago makes room."""
DEVICES_MAX: Final = 16
"""Devices noted for each."""
FORKS: Final = b"forks"
"""Key in the meta table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One author of whom branches stay apart; the arguments are those of `branches.Fork`."""

    partition: str
    author: Author
    first_ms: int
    last_ms: int
    shared: int
    differs_at: int
    devices: tuple[DeviceId, ...]

    def pack(self) -> tuple[object, ...]:
        """As `read_notes` takes it."""
        return (
            self.partition,
            self.author,
            self.first_ms,
            self.last_ms,
            self.shared,
            self.differs_at,
            self.devices,
        )


def read_notes(store: Store) -> dict[tuple[str, Author], Note]:
    """All notes, by partition and author.

    Raises:
        CorruptStoreError: they cannot be read.
    """
    data = store.get(Table.META, FORKS)
    return {} if data is None else unpack_notes(data)


def unpack_notes(data: bytes) -> dict[tuple[str, Author], Note]:
    """Read the row.

    Raises:
        CorruptStoreError: it cannot be read.
    """
    try:
        raw: Any = msgpack.unpackb(data, use_list=False)
        notes = [
            Note(
                partition=partition,
                author=Author(author),
                first_ms=first_ms,
                last_ms=last_ms,
                shared=shared,
                differs_at=differs_at,
                devices=tuple(map(DeviceId, devices)),
            )
            for partition, author, first_ms, last_ms, shared, differs_at, devices in raw
        ]
        for note in notes:
            numbers = (note.author, note.first_ms, note.last_ms, note.shared, note.differs_at)
            if not all(type(item) is int for item in numbers):
                raise TypeError("a number is expected")
            if not all(type(item) is str for item in (note.partition, *note.devices)):
                raise TypeError("a text is expected")
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        raise CorruptStoreError("the notes of forks cannot be read", table=Table.META, key=FORKS) from None
    return {(note.partition, note.author): note for note in notes}


def keep_notes(store: Store, notes: dict[tuple[str, Author], Note]) -> None:
    """Put these in the place of all notes, in a store transaction of its own."""
    with store.transaction():
        if notes:
            store.put(Table.META, FORKS, msgpack.packb([note.pack() for note in notes.values()]))
        else:
            store.delete(Table.META, FORKS)
