"""Conflicts: semantic clashes that need a person's choice, as pure functions of a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from blake3 import blake3

from crdt_sync.core.content import Dot
from crdt_sync.core.equality import is_same
from crdt_sync.core.ids import Author, DocumentKey, RecordId
from crdt_sync.core.layout import ENTRY_SEPARATOR


class ConflictKind(str, Enum):
    """What clashed."""

    CONCURRENT_EDIT = "concurrent_edit"
    EDIT_OF_DELETED = "edit_of_deleted"
    DUPLICATE_CREATE = "duplicate_create"


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown.UNKNOWN
"""The base of a conflict whose common ancestor is no longer kept."""


class Deletion(Enum):
    """The type of `DELETED`."""

    DELETED = "deleted"

    def __repr__(self) -> str:
        return "DELETED"


DELETED = Deletion.DELETED
"""Stands for the deletion of a record, among the candidates of a conflict and as what it is resolved by."""


class BothKept(Enum):
    """The type of `KEEP_BOTH`."""

    KEEP_BOTH = "keep_both"

    def __repr__(self) -> str:
        return "KEEP_BOTH"


KEEP_BOTH = BothKept.KEEP_BOTH
"""What a conflict of records that were created twice is resolved by where they are not the same thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the values that stand side by side.

    Args:
        value: the value as the field's type; of a whole record its values by field, or `DELETED`.
        device_id: who wrote it; ``author:…`` where no record names the device.
        timestamp: packed HLC timestamp of the write.
        dot: the write's identity; where a whole record is in question, the author and how far it had written; of one
            of several records, which.
        seen: of one of several records: how far its documents had been written, as record, author and next clock, so
            that what comes later is not superseded by a choice that did not see it.
    """

    value: Any
    device_id: str
    timestamp: int
    dot: Dot
    seen: tuple[tuple[RecordId, Author, int], ...] = field(default=(), repr=False)

    def __eq__(self, other: object) -> bool:
        """The same write of the same value, NaN too."""
        if not isinstance(other, Candidate):
            return NotImplemented
        ours, theirs = ((item.device_id, item.timestamp, item.dot, item.seen) for item in (self, other))
        return ours == theirs and is_same(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.device_id, self.timestamp, self.dot))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A clash, the same on every replica that holds the same document.

    Args:
        id: 32 hex digits, derived from the record, the field and the candidates.
        kind: what clashed.
        model: the model's name.
        record_id: the record.
        field: the field, empty where the whole record is in question.
        register: the field, or ``field/entry`` for an entry of a map; empty as ``field`` is.
        paths: the clashing paths inside the field's value, as JSON Pointers; empty for the whole value.
        base: the common ancestor, or `UNKNOWN`.
        candidates: the concurrent values, latest first.
        value: what is shown provisionally: what merges is merged, and the latest stands where they overlap.
    """

    id: str
    kind: ConflictKind
    model: str
    record_id: RecordId
    field: str
    register: str
    paths: tuple[str, ...]
    base: Any
    candidates: tuple[Candidate, ...]
    value: Any

    def __eq__(self, other: object) -> bool:
        """The same clash of the same values, NaN too."""
        if not isinstance(other, Conflict):
            return NotImplemented
        ours, theirs = (
            (item.id, item.kind, item.model, item.record_id, item.field, item.register, item.paths, item.candidates)
            for item in (self, other)
        )
        return ours == theirs and is_same((self.base, self.value), (other.base, other.value))

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What settles a conflict, where it is none of the candidates as it is: a value, or parts.

    Args:
        value: another value; of no matter where ``paths`` is given.
        paths: for each path of the conflict, the candidate to take there, or the part to put there.
    """

    value: Any = None
    paths: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A conflict that was settled: who chose what, when, over which candidates.

    Args:
        id: the conflict's id.
        kind: what clashed.
        model: the model's name.
        record_id: the record.
        field: the field; empty where the whole record was in question.
        register: the field, or ``field/entry`` for an entry of a map; empty as ``field`` is.
        paths: where the candidates overlapped; empty for the whole value.
        candidates: the concurrent values, latest first.
        chosen: the write that settled it: value, device, timestamp and dot. Of a whole record the value is `DELETED`,
            or its values by field.
    """

    id: str
    kind: ConflictKind
    model: str
    record_id: RecordId
    field: str
    register: str
    paths: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate


def conflict_id(kind: ConflictKind, document: DocumentKey, register: str, dots: Iterable[Dot]) -> str:
    """Name a conflict by what it is about, so that every replica gives it the same name."""
    hasher = blake3(kind.value.encode() + b"\0" + document + register.encode() + b"\0")
    for dot in sorted(dots):
        size = 5 if dot.author < 1 << 40 else 21  # with the record's id, in a merged record (`duplicates.tagged`)
        hasher.update(dot.author.to_bytes(size, "big") + dot.counter.to_bytes(8, "big"))
    return hasher.hexdigest(16)


_ESCAPES: Final = str.maketrans({"~": "~0", "/": "~1", "#": "~2"})


def pointer(path: Iterable[str | int]) -> str:
    """The JSON Pointer (RFC 6901) of a place inside of a value: keys of dicts, and numbers of items from 0 on.

    A `#` in a key is ``~2``, which the RFC does not have: behind a `#` stand lines or items.
    """
    return "".join("/" + str(step).translate(_ESCAPES) for step in path)


def whole_path(register: str) -> str:
    """Where a register stands in its field's value, as a JSON Pointer: empty, or that of a map's entry."""
    _, separator, entry = register.partition(ENTRY_SEPARATOR)
    return pointer((entry,)) if separator else ""
