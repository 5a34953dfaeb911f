"""What a replica shows of an app's models, through the public interface, and where two replicas differ in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crdt_sync.core import codec
from crdt_sync.core.conflict import Conflict
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey
from crdt_sync.core.kinds import PlainRegister, TextKind
from crdt_sync.core.model import Model, spec_of
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica import Replica

DOCUMENTS_MAX = 10_000
ABSENT = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Something that is shown: a field of a record, or what stands for more than one."""

    model: str = ""
    record: str = ""
    field: str = ""

    def __str__(self) -> str:
        parts = (self.model and f"model {self.model!r}", self.field and f"field {self.field!r}", self.record)
        return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Item:
    """What is shown in one place.

    Args:
        exact: tells whether two are the same, types and all.
        text: for people.
    """

    exact: object
    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and self.exact == other.exact

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All that a replica shows.

    Args:
        fields: of every record.
        conflicts: in their order.
        versions: of every document.
        fingerprint: of them all.
    """

    fields: dict[Place, Item]
    conflicts: tuple[Conflict, ...]
    versions: tuple[tuple[DocumentKey, bytes], ...]
    fingerprint: bytes

    def without_versions(self) -> Shown:
        """What users see: compaction lets documents of deleted records go."""
        return replace(self, versions=(), fingerprint=b"")

    def items(self) -> Iterator[tuple[Place, Item]]:
        """Everything by its place, conflicts by their fields; last what tells no more than that something differs."""
        yield from self.fields.items()
        for conflict in self.conflicts:
            place = Place(model=conflict.model, record=conflict.record_id, field=conflict.field)
            values = [candidate.value for candidate in conflict.candidates]
            yield place, Item(conflict, f"a conflict {conflict.id} of {values!r}")
        yield Place(record="versions of documents"), Item(self.versions, self.fingerprint.hex())
        yield Place(record="fingerprint"), Item(self.fingerprint, self.fingerprint.hex())


def show(replica: Replica, models: Sequence[type[Model]]) -> Shown:
    """Read all that a replica shows."""
    fields: dict[Place, Item] = {}
    for model in models:
        for record in replica.find(model):
            fields.update(_record(replica, record))
    return Shown(
        fields=fields,
        conflicts=tuple(replica.conflicts()),
        versions=tuple(replica.port.listing(DEFAULT_PARTITION, after=None, limit=DOCUMENTS_MAX)),
        fingerprint=replica.port.fingerprint(DEFAULT_PARTITION),
    )


def differences(first: Shown, second: Shown) -> Iterator[tuple[Place, str, str]]:
    """Where two differ, with what each shows there: fields before conflicts, and both before versions."""
    ours, theirs = list(first.items()), list(second.items())
    if ours == theirs:
        return
    for place, item in ours:
        others = [other for there, other in theirs if there == place]
        if item not in others:
            yield place, item.text, "; ".join(other.text for other in others) or ABSENT
    for place, item in theirs:
        if all(there != place for there, _ in ours):
            yield place, ABSENT, item.text
    yield Place(record="the order of conflicts"), "one", "another"


def _record(replica: Replica, record: Model) -> Iterator[tuple[Place, Item]]:
    spec = spec_of(type(record))
    values: dict[str, Any] = dict(record)
    for name, kind in spec.fields.items():
        place = Place(model=spec.name, record=record.id, field=name)
        value: Any = values[name]
        exact: list[object] = [picture(value)]
        if isinstance(kind, PlainRegister):
            exact.append(replica.candidates(record, name))
        if isinstance(kind, TextKind):
            exact.append(getattr(record, name).runs())
        yield place, Item(exact, repr(value))
    yield Place(model=spec.name, record=record.id), Item(replica.also_known_as(record), "its other names")


def picture(value: Any) -> object:
    """What is the same for equal values of the same type only, NaN and sets too."""
    try:
        if isinstance(value, set | frozenset):
            return sorted(codec.encode(item) for item in value)
        return codec.encode(value)
    except CRDTSyncError:
        return type(value).__name__, repr(value)
