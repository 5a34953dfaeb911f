"""Records that were created twice, of models that ask: which are in question, and the conflict that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from crdt_sync.core.conflict import UNKNOWN, Candidate, Conflict, ConflictKind, conflict_id, pointer
from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import record_dot, untagged
from crdt_sync.core.equality import alike
from crdt_sync.core.ids import Author, DocumentKey, RecordId, split_document_key
from crdt_sync.core.kinds import Lattice, MapKind, PlainRegister
from crdt_sync.core.links import links_of
from crdt_sync.replica.duplicates import age, content_of, group_of
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group, held_row, mates, unique_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of the records in question.

    Args:
        group: its documents, the survivor first: it may have been merged before.
        content: of all of them.
        ids: of all of them.
        apart: the records that it is kept apart from, as far as its own documents tell.
    """

    group: Group
    content: Content
    ids: frozenset[RecordId]
    apart: frozenset[RecordId]

    @property
    def record(self) -> RecordId:
        """Its id."""
        return split_document_key(self.group[0])[2]

    def is_apart(self, other: Member) -> bool:
        """Whether somebody keeps the two apart."""
        return not self.apart.isdisjoint(other.ids) or not other.apart.isdisjoint(self.ids)


Question = tuple[Member, ...]
"""Records with equal unique values about which nobody has decided yet, the oldest first; empty where all is decided."""


def question_of(state: State, declared: Declared, key: DocumentKey) -> Question:
    """The question that a record is in.

    Records are in one question where a chain of pairs that nobody has decided about connects them. The table tells who
    may be; the documents themselves, who is: an open transaction may have changed them since.
    """
    if not declared.spec.asks:
        return ()
    own = group_of(state, declared, key)
    values = held_row(state.store, own[0]).values
    groups = {group_of(state, declared, mate) for mate in mates(state.store, own[0], values)} if values else set()
    if len(groups) < 2 or own not in groups:
        return ()
    members = [_member(state, declared, group) for group in groups]
    equal = [member for member in members if unique_values(declared, member.content) == values]
    found = _connected(equal, own)
    return tuple(sorted(found, key=lambda member: age(state, declared, member.group[0]))) if len(found) > 1 else ()


def _member(state: State, declared: Declared, group: Group) -> Member:
    links = [links_of(state.documents.get(key).content(declared.text_fields)) for key in group]
    return Member(
        group=group,
        content=content_of(state, declared, group),
        ids=frozenset(split_document_key(key)[2] for key in group),
        apart=frozenset[RecordId]().union(*(item.distinct for item in links)),
    )


def _connected(members: Sequence[Member], own: Group) -> list[Member]:
    """The members that undecided pairs connect with one of them."""
    found = [member for member in members if member.group == own]
    left = [member for member in members if member.group != own]
    waiting = list(found)
    while waiting and left:
        one = waiting.pop()
        near = [member for member in left if not one.is_apart(member)]
        left = [member for member in left if one.is_apart(member)]
        found += near
        waiting += near
    return found


def duplicate_conflicts(state: State, declared: Declared, key: DocumentKey) -> list[Conflict]:
    """The conflict that stands with a record, if it is the oldest one in question."""
    question = question_of(state, declared, key)
    return [conflict_of(state, declared, question)] if question and question[0].group[0] == key else []


def conflict_of(state: State, declared: Declared, question: Question) -> Conflict:
    """What is asked: which of these records' values count if they are one thing, or whether they are several."""
    key = question[0].group[0]
    candidates = [_candidate(state, declared, member) for member in question]
    shown = [candidate.value for candidate in candidates]
    return Conflict(
        id=question_id(key, [member.record for member in question]),
        kind=ConflictKind.DUPLICATE_CREATE,
        model=declared.spec.name,
        record_id=question[0].record,
        field="",
        register="",
        paths=tuple(place.path for place in places_of(declared, shown)),
        base=UNKNOWN,
        candidates=tuple(reversed(candidates)),
        value=shown[0],
    )


def question_id(survivor: DocumentKey, records: Sequence[RecordId]) -> str:
    """Names a question by the records in it."""
    return conflict_id(ConflictKind.DUPLICATE_CREATE, survivor, "", map(record_dot, records))


def _candidate(state: State, declared: Declared, member: Member) -> Candidate:
    hlc, author = member.content.created() or (0, Author(0))
    seen = [
        (split_document_key(key)[2], Author(other), clock)
        for key in member.group
        for other, clock in state.documents.get(key).index.state_vector.items()
    ]
    return Candidate(
        value={"id": member.record, **declared.values(member.content)},
        device_id=state.name_of(untagged(author)),
        timestamp=hlc,
        dot=record_dot(member.record),
        seen=tuple(sorted(seen)),
    )


class Place(NamedTuple):
    """A register in which records differ: a field, or an entry of a map.

    Args:
        path: as a JSON Pointer inside of a record's values.
        field: the field.
        entry: the entry, where the field is a map.
        register: what keeps the value.
    """

    path: str
    field: str
    entry: str | None
    register: PlainRegister

    def find(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The value of a record there, or none where its map has no such entry."""
        if self.entry is None:
            return (values[self.field],)
        return (values[self.field][self.entry],) if self.entry in values[self.field] else ()


def places_of(declared: Declared, shown: Sequence[Mapping[str, Any]]) -> list[Place]:
    """Where records differ in a way that does not merge by itself.

    Args:
        declared: the model.
        shown: the values of each record.
    """
    return [
        place
        for place in _places(declared, shown)
        if _differ(found for values in shown for found in place.find(values))
    ]


def _places(declared: Declared, shown: Sequence[Mapping[str, Any]]) -> Iterator[Place]:
    for name, kind in declared.spec.fields.items():
        if name in declared.spec.key:
            continue  # it names the record for ever
        if isinstance(kind, MapKind):
            for entry in sorted({entry for values in shown for entry in values[name]}):
                if not isinstance(kind.entry, Lattice):
                    yield Place(pointer((name, entry)), name, entry, kind.register(entry))
        elif isinstance(kind, PlainRegister) and not isinstance(kind, Lattice):
            yield Place(pointer((name,)), name, None, kind)


def _differ(values: Iterator[Any]) -> bool:
    first = next(values, None)
    return not all(alike(first, other) for other in values)
