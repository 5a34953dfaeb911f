"""What connects a live field object with its record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from crdt_sync.core.content import Content
from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.kinds import FieldKind, TextRun, Write, WriteContext
from crdt_sync.core.reference import Ref
from crdt_sync.replica.referring import ids_of
from crdt_sync.replica.state import State


class _Records(Protocol):
    """The records of a replica, as far as its fields need them (`records.Records`)."""

    def content_of(self, key: DocumentKey) -> Content:
        """The content of a live record."""

    def runs_of(self, key: DocumentKey, kind: FieldKind) -> list[TextRun]:
        """A text of a live record with its attributes."""

    def edit_field(
        self, key: DocumentKey, kind: FieldKind, make: Callable[[Content, WriteContext], list[Write]]
    ) -> None:
        """Change a field."""


class FieldOfRecord:
    """What a live field object needs of its record (`core.kinds.base.FieldHost`).

    Args:
        records: of the replica.
        state: the replica.
        key: the record.
        kind: the field.
    """

    __slots__ = ("_key", "_kind", "_records", "_state")

    def __init__(self, records: _Records, state: State, key: DocumentKey, kind: FieldKind) -> None:
        self._records, self._state, self._key, self._kind = records, state, key, kind

    def content(self) -> Content:
        """The record's document, as it is now."""
        return self._records.content_of(self._key)

    def runs(self) -> list[TextRun]:
        """The field's text with its attributes, as it is now."""
        return self._records.runs_of(self._key, self._kind)

    def edit(self, make: Callable[[Content, WriteContext], list[Write]]) -> None:
        """Make a local change: at once, or as part of the open transaction."""
        self._records.edit_field(self._key, self._kind, make)

    def same(self, reference: Ref[Any]) -> list[Ref[Any]]:
        """All references to the record that one names, if it was merged with others: first by the id that it shows."""
        return [type(reference)(name) for name in ids_of(self._state, (reference.model,), reference.id)]
