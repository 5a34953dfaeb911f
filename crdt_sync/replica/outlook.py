"""What a compaction would do now, and which devices hold it up: read from the store, without any change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crdt_sync.core.ids import Author, DeviceId, device_id
from crdt_sync.protocol.source import Vector
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedDevice:
    """A device that does not hold everything yet, as far as is known here.

    Args:
        device_id: which one.
        heard_ms: when it last said what it holds, by its own clock, milliseconds since 1970; None where it never did.
        entries: how many entries that are here it is not known to hold.
    """

    device_id: DeviceId
    heard_ms: int | None
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionOutlook:
    """What `Replica.compact` would do now.

    Args:
        rows: rows of the log.
        rows_to_fold: of them would go.
        documents: documents, deleted records among them.
        records_to_remove: deleted records that are on their way out, or would be.
        values_to_remove: superseded values that are on their way out, or would be.
        waiting_for: devices without which more could be folded, those that were silent for longest first.
    """

    rows: int
    rows_to_fold: int
    documents: int
    records_to_remove: int
    values_to_remove: int
    waiting_for: tuple[AwaitedDevice, ...]


def awaited(state: State, book: HoldingsBook, own: Vector) -> tuple[AwaitedDevice, ...]:
    """The enrolled devices that are not known to hold everything, those that were silent for longest first."""
    held = book.latest()
    found: list[AwaitedDevice] = []
    for key in sorted(state.records.enrolled()):
        lacks = _lacks(book.acknowledged(own, (key,)), own)
        if lacks:
            heard = held[key].stamp if key in held else None
            found.append(AwaitedDevice(device_id=device_id(key), heard_ms=heard, entries=lacks))
    return tuple(sorted(found, key=lambda device: (device.heard_ms or 0, device.device_id)))


def _lacks(acknowledged: Mapping[str, Mapping[Author, int]], own: Vector) -> int:
    return sum(
        max(0, position.sequence - acknowledged[partition].get(author, 0))
        for partition, ends in own.items()
        for author, position in ends.items()
    )
