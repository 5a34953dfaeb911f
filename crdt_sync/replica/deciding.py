"""Settling what becomes of records that were created twice: one record, by somebody's choice of values, or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crdt_sync.core.conflict import KEEP_BOTH, Candidate, Conflict, pointer
from crdt_sync.core.content import Content
from crdt_sync.core.duplicates import merge_contents, named_record
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey, RecordId, document_key, split_document_key
from crdt_sync.core.kinds import Write
from crdt_sync.core.links import FIELD_BY_FIELD, KEPT_APART, Link, LinkKind, Verdict, add_verdict
from crdt_sync.core.seen import Sight, shows_only
from crdt_sync.core.validating import validate_change
from crdt_sync.errors import ConflictNotFoundError, InputError, NotACandidateError
from crdt_sync.replica.duplicates import age
from crdt_sync.replica.questions import Member, Place, Question, places_of, question_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.schema import Declared, partition_of
from crdt_sync.replica.state import State
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.replica.unique_index import note_record


def settle_duplicate(state: State, records: Records, conflict: Conflict, choice: Mapping[str, Any]) -> None:
    """Settle such a conflict: merge its records by a choice of values, or keep them apart for ever.

    Args:
        state: the replica.
        records: its records.
        conflict: as it was found, here or on another replica. Of what came since nothing is merged or superseded.
        choice: ``take``: one of its candidates; ``paths``: for each of its paths a candidate, or a value to put there;
            or ``value``: `KEEP_BOTH`.

    Raises:
        ConflictNotFoundError: it was decided meanwhile, or the records differ now.
        NotACandidateError: a path takes what is not a candidate.
        InputError: another value, or other paths than its own.
        InvalidValueError: what is put there does not fit.
    """
    case = _Case.open(state, conflict)
    ((name, chosen),) = choice.items()
    match name:
        case "take":
            case.take(records, chosen)
        case "paths":
            case.merge_by_field(records, chosen)
        case _ if chosen is KEEP_BOTH:
            case.keep_apart(records)
        case _:
            raise InputError(
                "records that were created twice are settled by take=candidate, paths={…} or value=KEEP_BOTH",
                hint="To give the one that is left other values, take a candidate, then update the record.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A conflict, and what is still open of it.

    Args:
        state: the replica.
        declared: the model.
        conflict: as it was found.
        candidates: record → its candidate, the oldest record first.
        members: record → what it is now; those alone that are still in question with another one of the conflict.
        questions: the same members, question by question.
    """

    state: State
    declared: Declared
    conflict: Conflict
    candidates: Mapping[RecordId, Candidate]
    members: Mapping[RecordId, Member]
    questions: Sequence[Question]

    @classmethod
    def open(cls, state: State, conflict: Conflict) -> _Case:
        """What is still open of a conflict.

        Raises:
            ConflictNotFoundError: nothing.
        """
        declared = state.schema.of(conflict.model)
        candidates = {named_record(candidate.dot): candidate for candidate in reversed(conflict.candidates)}
        members: dict[RecordId, Member] = {}
        questions: dict[DocumentKey, dict[RecordId, Member]] = {}
        for record in candidates:
            question = question_of(state, declared, _key_of(declared, record))
            for member in question:
                if record in member.ids:
                    members[record] = member
                    questions.setdefault(question[0].group[0], {})[member.record] = member
        open_ones = [tuple(found.values()) for found in questions.values() if _has_open_pair(tuple(found.values()))]
        if not open_ones:
            raise ConflictNotFoundError("this conflict was settled meanwhile")
        return cls(
            state=state,
            declared=declared,
            conflict=conflict,
            candidates=candidates,
            members=members,
            questions=open_ones,
        )

    def take(self, records: Records, chosen: Candidate) -> None:
        """Merge with the values of one record, except for those that it is kept apart from."""
        record = named_record(chosen.dot)
        own = self.members.get(record)
        among = next((question for question in self.questions if own in question), ())
        if own is None or not any(not own.is_apart(other) for other in among if other is not own):
            raise ConflictNotFoundError("what became of this record was decided meanwhile")
        given = self._values(chosen)
        values = [(place, found[0]) for place in self._places() if (found := place.find(given))]
        taken = list(self.candidates).index(record) + 1
        self._merge(records, _united(own, among), values, taken=taken)

    def merge_by_field(self, records: Records, parts: Mapping[str, Any]) -> None:
        """Merge with a choice for each place in which they differ."""
        places = self._places()
        paths = [place.path for place in places]
        renamed = {self._first_path(place): place.path for place in places}
        parts = {path if path in paths else renamed.get(path, path): part for path, part in parts.items()}
        if set(parts) != set(paths):
            raise InputError(
                f"a part is chosen for each path of the conflict, not for {', '.join(map(repr, parts)) or 'none'}",
                hint=f"Its paths: {', '.join(map(repr, paths)) or 'none'}.",
            )
        among = self.questions[0]
        united = next(group for one in among if len(group := _united(one, among)) > 1)
        shown = self.declared.values(self._merged(united))
        values = [(place, self._part(place, parts[place.path], shown)) for place in places]
        self._merge(records, united, values, taken=FIELD_BY_FIELD)

    def keep_apart(self, records: Records) -> None:
        """Note in each record that the others are others."""
        with records.writing() as transaction:
            for question in self.questions:
                for member in question:
                    others = [other for other in question if other is not member]
                    self._note(transaction, member, others, kind=LinkKind.DISTINCT, taken=KEPT_APART)
            self._regroup(transaction, (member for question in self.questions for member in question))

    def _merge(
        self, records: Records, united: Sequence[Member], values: Sequence[tuple[Place, Any]], *, taken: int
    ) -> None:
        parts = self._parts(united)
        contents = [self._content(key) for key in parts]
        values = [  # one that differs is written to all, as one write that took the place of what each had
            (place, value)
            for place, value in values
            if not all(shows_only(place.register, content, value) for content in contents)
        ]
        with records.writing() as transaction:
            writes = {key: self._writes(transaction, key, values) for key in parts}
            for member in united:
                self._note(transaction, member, united, kind=LinkKind.MERGED, taken=taken)
            fields = frozenset(place.field for place, _ in values)
            for key in reversed(parts):  # the survivor's comes last, as the latest operation
                transaction.write(key, writes[key], operation=OperationType.UPDATE, fields=fields)
            self._regroup(transaction, united)

    def _writes(
        self, transaction: LocalTransaction, key: DocumentKey, values: Sequence[tuple[Place, Any]]
    ) -> list[Write]:
        """What puts the chosen values in the place of those of one document that the conflict saw."""
        loaded, record = self.state.documents.get(key), split_document_key(key)[2]
        seen = {
            author: clock
            for candidate in self.candidates.values()
            for name, author, clock in candidate.seen
            if name == record
        }
        content = self._content(key)
        sight = Sight(seen=seen, own=transaction.context.author, last=loaded.index.last)
        return [
            write
            for place, value in values
            for write in sight.choose(place.register, content, value, context=transaction.context)
        ]

    def _note(
        self,
        transaction: LocalTransaction,
        member: Member,
        others: Sequence[Member],
        *,
        kind: LinkKind,
        taken: int,
    ) -> None:
        """Note the choice in a record's documents. It is no edit, so it is not written to a dead one."""
        links = tuple(
            Link(kind if self.members.get(record) in others else LinkKind.NONE, record) for record in self.candidates
        )
        author, hlc = transaction.context.author, transaction.context.hlc
        for key in member.group:
            content = self._content(key)
            if self.declared.is_live(content):
                writes = add_verdict(content, Verdict(author, hlc, taken, links))
                transaction.write(key, writes, operation=OperationType.UPDATE, fields=frozenset())

    def _regroup(self, transaction: LocalTransaction, members: Iterable[Member]) -> None:
        """Let the open transaction see at once what belongs together now."""
        for member in members:
            for key in member.group:
                affected = note_record(self.state.store, self.declared, key, self._content(key))
                transaction.regrouped |= dict.fromkeys(affected, self.declared)

    def _places(self) -> list[Place]:
        return places_of(self.declared, [self._values(candidate) for candidate in self.candidates.values()])

    def _first_path(self, place: Place) -> str:
        """Where a place is by the name that its field had first."""
        stored = self.declared.spec.fields[place.field].stored
        return pointer((stored,) if place.entry is None else (stored, place.entry))

    def _values(self, candidate: Candidate) -> Mapping[str, Any]:
        """A candidate's values by the names that fields have now: it may be from before an update of the app.

        Raises:
            ConflictNotFoundError: the model had other fields then.
        """
        values: Mapping[str, Any] = candidate.value
        fields = self.declared.spec.fields
        if values.keys() >= fields.keys():
            return values
        if all(kind.stored in values for kind in fields.values()):
            return {name: values[kind.stored] for name, kind in fields.items()}
        raise ConflictNotFoundError(
            "this conflict was found by a version of the app with other fields",
            hint="Take it from replica.conflicts().",
        )

    def _part(self, place: Place, part: Any, shown: Mapping[str, Any]) -> Any:
        if not isinstance(part, Candidate):
            wanted = part if place.entry is None else {**shown[place.field], place.entry: part}
            checked = validate_change(self.declared.model, shown, {place.field: wanted})[place.field]
            return checked if place.entry is None else checked[place.entry]
        found = place.find(self._values(part)) if part in self.conflict.candidates else ()
        if not found:
            raise NotACandidateError(f"what is chosen for {place.path} is not in this conflict")
        return found[0]

    def _merged(self, united: Sequence[Member]) -> Content:
        return merge_contents([(split_document_key(key)[2], self._content(key)) for key in self._parts(united)])

    def _content(self, key: DocumentKey) -> Content:
        return self.state.documents.get(key).content(self.declared.text_fields)

    def _parts(self, united: Sequence[Member]) -> list[DocumentKey]:
        keys = (key for member in united for key in member.group)
        return sorted(keys, key=lambda key: age(self.state, self.declared, key))


def _united(one: Member, among: Question) -> list[Member]:
    """A member, and those that nobody keeps apart from it."""
    return [one, *(other for other in among if other is not one and not one.is_apart(other))]


def _has_open_pair(question: Question) -> bool:
    return any(len(_united(one, question)) > 1 for one in question)


def _key_of(declared: Declared, record: RecordId) -> DocumentKey:
    return document_key(partition_of(declared, {}), declared.spec.name, record)
