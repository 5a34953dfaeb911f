"""Values that no longer fit their field, written by another version of the app: finding them, so that they are mended.

They break nothing: they are given as stored, and an ordinary write puts another value in their place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crdt_sync.core.content import Content
from crdt_sync.core.ids import DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.model import Model
from crdt_sync.core.validating import WHOLE_RECORD, complaints
from crdt_sync.replica.query import build_query
from crdt_sync.replica.records import Records
from crdt_sync.replica.schema import Declared, partition_of
from crdt_sync.replica.state import State
from crdt_sync.replica.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidField:
    """A field whose value does not fit its declaration, or a record that does not.

    Args:
        model: the model's name.
        record_id: the record.
        field: the field; empty where each fits and a validator of the whole record refuses them together.
        raw: the value, as stored; of the whole record a dict of all fields.
        reason: why it does not fit, in a few words and without the value.
    """

    model: str
    record_id: RecordId
    field: str
    raw: Any
    reason: str


class InvalidCalls:
    """What `Replica` says about values that do not fit."""

    _state: State
    _records: Records
    _upkeep: Upkeep

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica cannot be used."""

    def invalid(self, model: type[Model] | Model | None = None, /) -> Iterator[InvalidField]:
        """The fields of live records whose values do not fit their declaration, such as those of an older version.

        Validators of the model are asked, too; a record that one refuses as a whole is given without a field.
        Takes time in proportion to the records.

        Args:
            model: of this model, or of this record; None looks at all models.
        """
        self._check()
        if isinstance(model, Model):
            declared, key = self._records.own(model)
            return invalid_fields(declared, key, self._records.live_content(declared, key))
        self._upkeep.before_reading(texts_too=False)
        wanted = list(self._state.schema) if model is None else [self._state.schema.of(model)]
        return self._invalid(wanted)

    def _invalid(self, wanted: list[Declared]) -> Iterator[InvalidField]:
        for declared in wanted:
            partition, name = partition_of(declared, {}), declared.spec.name
            everything = build_query(declared.spec, {}, order_by=None, limit=None, offset=0)
            for found in self._state.store.query(everything):
                self._check()
                key = document_key(partition, name, RecordId(found))
                content = self._state.documents.get(key).content(declared.text_fields)
                if declared.is_live(content):
                    yield from invalid_fields(declared, key, content)
                self._records.let_go()


def invalid_fields(declared: Declared, key: DocumentKey, content: Content) -> Iterator[InvalidField]:
    """The fields of one record whose values do not fit, in declared order."""
    _, model, record = split_document_key(key)
    values = declared.values(content)
    found = complaints(declared.model, values)
    for name in values:
        failure = declared.unreadable(declared.spec.fields[name], content)
        reason = f"it cannot be read ({failure})" if failure else found.get(name, "")
        if reason:
            yield InvalidField(model=model, record_id=record, field=name, raw=values[name], reason=reason)
    if WHOLE_RECORD in found:
        yield InvalidField(model=model, record_id=record, field=WHOLE_RECORD, raw=values, reason=found[WHOLE_RECORD])
