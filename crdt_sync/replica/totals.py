"""Running totals of a store: what came, what was refused, what went over channels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import msgpack

from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.report import Moved
from crdt_sync.storage.base import Store, Table

TOTALS: Final = b"totals"


@dataclass(slots=True, kw_only=True)
class Totals(Moved):
    """Since the store was made; those of a process that was killed since they were kept last are not in it."""

    sessions: int = 0
    """conversations that got past the handshake"""
    reconnects: int = 0
    """tries to reach a peer again, after a loss or in vain"""
    hellos: int = 0
    """peers that said hello"""
    clock_offset_ms: int = 0
    """the clock of the peer that said hello last, minus ours"""
    conflicts_opened: int = 0
    foreign_entries: int = 0
    drifted: int = 0
    """entries whose timestamp was too far ahead to follow"""
    refused: int = 0
    parked: int = 0

    @classmethod
    def of(cls, store: Store) -> Totals:
        """Those that a store keeps.

        Raises:
            CorruptStoreError: they cannot be read.
        """
        data = store.get(Table.META, TOTALS)
        return cls() if data is None else cls.read(data)

    @classmethod
    def read(cls, data: bytes) -> Totals:
        """Those of a stored row.

        Raises:
            CorruptStoreError: they cannot be read.
        """
        try:
            held = msgpack.unpackb(data)
        except (ValueError, msgpack.exceptions.UnpackException):
            raise CorruptStoreError("the running totals cannot be read", table=Table.META, key=TOTALS) from None
        if not isinstance(held, dict) or any(type(count) is not int for count in held.values()):
            raise CorruptStoreError("the running totals have the wrong shape", table=Table.META, key=TOTALS)
        known = {item.name for item in fields(cls)}
        return cls(**{name: count for name, count in held.items() if name in known})

    def greeted(self, offset_ms: int) -> int:
        """A peer said hello, whose clock is so far ahead of ours; returns that."""
        self.hellos += 1
        self.clock_offset_ms = offset_ms
        return offset_ms

    def keep(self, store: Store) -> None:
        """Keep them, in a store transaction of its own; nothing is written where they have not changed."""
        counts = {item.name: getattr(self, item.name) for item in fields(self)}
        data: bytes = msgpack.packb(counts)
        if any(counts.values()) and data != store.get(Table.META, TOTALS):
            with store.transaction():
                store.put(Table.META, TOTALS, data)
