"""What was decided about records that were created twice, in the journal of settled conflicts.

Each of the records tells of it in its own document, so each has a row, and the question is named as it was open.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from crdt_sync.core.conflict import KEEP_BOTH, Candidate, ConflictKind, Settled
from crdt_sync.core.content import Content, Dot, RegisterValue
from crdt_sync.core.duplicates import record_dot
from crdt_sync.core.ids import Author, DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.links import FIELD_BY_FIELD, KEPT_APART, Verdict, verdicts_of
from crdt_sync.replica.derived_rows import SettledRow, settled_key
from crdt_sync.replica.questions import question_id
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.settled import keep_settled
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Store

_TAKEN_BYTES = 8


def journal_verdicts(store: Store, key: DocumentKey, content: Content) -> None:
    """Note what a record's document tells of choices about it; in a store transaction."""
    if content.aliases:
        keep_settled(store, key, dict(_row(key, verdict) for verdict in verdicts_of(content)))


def _row(key: DocumentKey, verdict: Verdict) -> tuple[bytes, bytes]:
    records = [link.record for link in verdict.links]
    taken = verdict.taken.to_bytes(_TAKEN_BYTES, "big")
    chosen = RegisterValue(Dot(verdict.author, verdict.hlc), verdict.hlc, taken, {}, "")
    row = SettledRow(
        kind=ConflictKind.DUPLICATE_CREATE,
        register="",
        paths=(),
        chosen=chosen,
        candidates=tuple(RegisterValue(Dot(Author(0), 0), 0, UUID(name).bytes, {}, "") for name in records),
    )
    return settled_key(key, question_id(_sibling(key, records[0]), records), chosen.dot), row.pack()


def settled_duplicate(state: State, declared: Declared, key: DocumentKey, number: str, row: SettledRow) -> Settled:
    """A row as users see it: of each record what its registers were created with, as far as it is here."""
    records = [RecordId(str(UUID(bytes=item.data))) for item in row.candidates]
    candidates = [_candidate(state, declared, _sibling(key, record)) for record in records]
    taken = int.from_bytes(row.chosen.data, "big")
    place = 0 if taken == FIELD_BY_FIELD else taken - 1
    author = row.chosen.dot.author
    return Settled(
        id=number,
        kind=row.kind,
        model=declared.spec.name,
        record_id=records[0],
        field="",
        register="",
        paths=(),
        candidates=tuple(reversed(candidates)),
        chosen=Candidate(
            value=KEEP_BOTH if taken == KEPT_APART else candidates[place].value,
            device_id=state.name_of(author),
            timestamp=row.chosen.hlc,
            dot=row.chosen.dot,
        ),
    )


def _candidate(state: State, declared: Declared, key: DocumentKey) -> Candidate:
    loaded, record = state.documents.get(key), split_document_key(key)[2]
    made = sorted(loaded.content(()).creations, key=lambda item: (item.hlc, item.author))[:1] if loaded.known else []
    content = Content(creations=made)
    return Candidate(
        value={"id": record, **(dict(_created(declared, content)) if made else {})},
        device_id=state.name_of(made[0].author) if made else "",
        timestamp=made[0].hlc if made else 0,
        dot=record_dot(record),
    )


def _created(declared: Declared, content: Content) -> Iterator[tuple[str, Any]]:
    for name, kind in declared.spec.fields.items():
        if kind.in_creation:
            yield name, declared.read(kind, content)


def _sibling(key: DocumentKey, record: RecordId) -> DocumentKey:
    partition, model, _ = split_document_key(key)
    return document_key(partition, model, record)
