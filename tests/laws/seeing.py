"""What a user of a replica sees, taken through the public interface alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdt_sync.core.conflict import Candidate, Conflict
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey
from crdt_sync.replica import Replica
from tests.laws.models import MAPS, MODELS, REGISTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One live record.

    Args:
        values: of every field, as plain values.
        candidates: of every register.
    """

    values: dict[str, Any]
    candidates: dict[str, tuple[Candidate, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """All that can be seen of a replica."""

    records: dict[str, Seen]
    conflicts: tuple[Conflict, ...]
    versions: tuple[tuple[DocumentKey, bytes], ...]
    fingerprint: bytes


def see_record(replica: Replica, record: Any) -> Seen:
    """A live record."""
    values = {name: getattr(record, name) for name in type(record).__crdt_spec__.fields}
    values |= {"notes": values["notes"].runs(), "votes": int(values["votes"]), "tags": set(values["tags"])}
    values |= {"steps": list(values["steps"]), **{name: dict(values[name]) for name in MAPS}}
    return Seen(values=values, candidates={name: replica.candidates(record, name) for name in REGISTERS})


def see(replica: Replica) -> Everything:
    """All that a replica shows: tables, records, conflicts, versions."""
    records = {
        f"{model.__name__} {record.id}": see_record(replica, record)
        for model in MODELS
        for record in replica.find(model)
    }
    return Everything(
        records=records,
        conflicts=tuple(replica.conflicts()),
        versions=tuple(replica.port.listing(DEFAULT_PARTITION, after=None, limit=10_000)),
        fingerprint=replica.port.fingerprint(DEFAULT_PARTITION),
    )
