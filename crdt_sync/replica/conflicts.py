"""Open conflicts, by the index that derivation keeps, and settling them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import groupby
from typing import Any

from crdt_sync.core.conflict import Conflict, ConflictKind
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, document_key, model_prefix, split_document_key
from crdt_sync.core.kinds import AskRegister
from crdt_sync.core.model import validate_change
from crdt_sync.errors import ConflictNotFoundError, InputError, NotACandidateError
from crdt_sync.replica.derive import conflicts_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import partition_of
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

CONFLICT_ID_BYTES = 16


def find_conflicts(
    state: State, records: Records, *, model: str | None, key: DocumentKey | None, kind: str | ConflictKind | None
) -> Iterator[Conflict]:
    """The open conflicts of a record, a model, or all, in the order of addresses, as an open transaction has them.

    Raises:
        InputError: there is no such kind.
    """
    try:
        wanted = set(ConflictKind) if kind is None else {ConflictKind(kind)}
    except ValueError:
        names = ", ".join(item.value for item in ConflictKind)
        raise InputError(f"there is no kind of conflict {kind!r}", hint=f"Kinds: {names}.") from None
    if key is not None:
        if model not in (None, split_document_key(key)[1]):
            return
        start = bytes(key)
    elif model is not None:
        start = model_prefix(DEFAULT_PARTITION, model)
    else:
        start = b""
    rows = state.store.scan(Table.CONFLICT, start=start, end=after_prefix(start) if start else None)
    indexed = (DocumentKey(name[:-CONFLICT_ID_BYTES]) for name, _ in rows)
    written = [document for document in records.written if document.startswith(start)]
    for document, _ in groupby(merge(indexed, written)):
        declared = state.schema.by_key(document)
        if declared is not None:
            content = state.documents.get(document).content(declared.text_fields)
            found = conflicts_of(state, declared, document, content) if content.is_live() else []
            yield from (conflict for conflict in found if conflict.kind in wanted)


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
    if not isinstance(kind, AskRegister) or dots.isdisjoint(item.dot for item in kind.clash(content)):
        raise ConflictNotFoundError("this conflict was settled meanwhile")
    if "take" in choice:
        value = choice["take"].value
    else:
        current = declared.values(content)
        value = validate_change(declared.model, current, {kind.name: choice["value"]})[kind.name]
    records.write(
        key,
        lambda context: kind.supersede(content, value, dots=dots, context=context),
        fields=frozenset((kind.name,)),
    )
