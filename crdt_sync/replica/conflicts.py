"""Open conflicts, by the index that derivation keeps, and settling them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crdt_sync.core.conflict import Conflict
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, document_key, model_prefix, split_document_key
from crdt_sync.core.kinds import AskRegister, Clash
from crdt_sync.core.model import validate_change
from crdt_sync.errors import ConflictNotFoundError, InputError, NotACandidateError
from crdt_sync.replica.derive import conflicts_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import partition_of
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

CONFLICT_ID_BYTES = 16


def find_conflicts(state: State, *, model: str | None, key: DocumentKey | None) -> Iterator[Conflict]:
    """The open conflicts of a record, a model, or all, in the order of addresses."""
    if key is not None:
        if model not in (None, split_document_key(key)[1]):
            return
        start = bytes(key)
    elif model is not None:
        start = model_prefix(DEFAULT_PARTITION, model)
    else:
        start = b""
    last = b""
    for name, _ in state.store.scan(Table.CONFLICT, start=start, end=after_prefix(start) if start else None):
        document = DocumentKey(name[:-CONFLICT_ID_BYTES])
        if document == last:
            continue
        last = document
        declared = state.schema.by_key(document)
        if declared is not None:
            content = state.documents.get(document).content(declared.text_fields)
            yield from conflicts_of(state, declared, document, content)


def resolve(state: State, records: Records, conflict: Conflict, choice: Mapping[str, Any]) -> None:
    """Settle a conflict; see `Replica.resolve`."""
    if not isinstance(conflict, Conflict):
        raise InputError(
            f"a conflict is expected, not a {type(conflict).__name__}", hint="Take one of replica.conflicts()."
        )
    if len(choice) != 1 or not choice.keys() <= {"take", "value"}:
        raise InputError("resolve takes either take=candidate or value=…")
    declared = state.schema.of(conflict.model)
    key = document_key(partition_of(declared, {}), declared.spec.name, conflict.record_id)
    kind = declared.spec.field(conflict.field)
    if "take" in choice and choice["take"] not in conflict.candidates:
        raise NotACandidateError("the chosen candidate is not in this conflict")
    content = records.live_content(declared, key)
    dots = {candidate.dot for candidate in conflict.candidates}
    register = kind.register_kind(conflict.register)
    if not isinstance(register, AskRegister) or not any(_is_open(clash, conflict) for clash in kind.clashes(content)):
        raise ConflictNotFoundError("this conflict was settled meanwhile")
    if "take" in choice:
        value = choice["take"].value
    else:
        current = declared.values(content)
        value = validate_change(declared.model, current, {kind.name: choice["value"]})[kind.name]
    records.write(
        key,
        lambda context: register.supersede(content, value, dots=dots, context=context),
        fields=frozenset((kind.name,)),
    )


def _is_open(clash: Clash, conflict: Conflict) -> bool:
    """Whether any candidate of a conflict still stands in a clash."""
    dots = {candidate.dot for candidate in conflict.candidates}
    return clash.register == conflict.register and not dots.isdisjoint(item.dot for item in clash.candidates)
