"""A local change as users see it: what it wrote, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import RecordId


class OperationStatus(str, Enum):
    """How far a local change has come."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOperation:
    """One local change.

    Args:
        id: names it on this device.
        type: ``create``, ``update`` or ``delete``.
        model: the record's model.
        record_id: the record.
        data: what it wrote, field → value; texts as the inserted pieces, and the attributes given as dicts between.
        timestamp: packed HLC timestamp.
        device_id: the device that made it.
        status: ``pending`` until a home peer holds it durably, then ``completed``; or ``failed``.
        attempts: how often it was sent.
        error: why it failed; of a pending one how the latest try ended, where that was at this one. Or empty.
    """

    id: str
    type: OperationType
    model: str
    record_id: RecordId
    data: Mapping[str, Any]
    timestamp: int
    device_id: str
    status: OperationStatus
    attempts: int
    error: str
