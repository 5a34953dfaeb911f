"""Open conflicts, by the index that derivation keeps, and settling them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import merge
from itertools import chain, groupby
from typing import Any, Final, Literal, TypeAlias

from crdt_sync.core import codec
from crdt_sync.core.conflict import (
    DELETED,
    BothKept,
    Candidate,
    Choice,
    Conflict,
    ConflictKind,
    Deletion,
    Settled,
    whole_path,
)
from crdt_sync.core.content import Content, Dot, RegisterValue
from crdt_sync.core.duplicates import dot_in, write_of
from crdt_sync.core.ids import DEFAULT_PARTITION, DocumentKey, document_key, model_prefix, record_id, split_document_key
from crdt_sync.core.kinds.base import Clash, FieldKind
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.kinds.plain import latest_first
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.merging import Given, UnfitPartError
from crdt_sync.core.validating import validate_change
from crdt_sync.errors import ConflictNotFoundError, InputError, InvalidValueError, NotACandidateError, RecordError
from crdt_sync.replica.deciding import settle_duplicate
from crdt_sync.replica.deletions import settle_deletion
from crdt_sync.replica.derive import conflicts_of, named
from crdt_sync.replica.derived_rows import GONE, SettledRow, read_held, split_settled_key, unpack_settled_row
from crdt_sync.replica.duplicates import group_of, shown_content
from crdt_sync.replica.questions import conflict_of, duplicate_conflicts, question_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import Declared, partition_of
from crdt_sync.replica.settled_duplicates import settled_duplicate
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

CONFLICT_ID_BYTES = 16
BATCH_CONFLICTS = 1_000
"""Conflicts that one transaction settles ..."""
BATCH_BYTES = ENTRY_LIMITS.entry_bytes_max // 4
"""... unless their values fill as much of its entry before."""

Rule: TypeAlias = Literal["latest", "earliest"] | Callable[[Conflict], Candidate | Choice | None]
"""What settles many conflicts: at each path the latest or the earliest change, or a function's answer for each."""


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
        declared = state.schema.by_key(key)
        if declared is None or model not in (None, declared.spec.name):
            return
        question = question_of(state, declared, key) if ConflictKind.DUPLICATE_CREATE in wanted else ()
        if question and question[0].group[0] != key:
            yield conflict_of(state, declared, question)  # it stands with another record
        start = bytes(key)
    elif model is not None:
        start = model_prefix(DEFAULT_PARTITION, model)
    else:
        start = b""
    rows = state.store.scan(Table.CONFLICT, start=start, end=after_prefix(start) if start else None)
    indexed = (DocumentKey(name[:-CONFLICT_ID_BYTES]) for name, _ in rows)
    affected = [document for document in records.affected if document.startswith(start)]
    for document, _ in groupby(merge(indexed, affected)):
        declared = state.schema.by_key(document)
        if declared is not None:
            group, content = shown_content(state, declared, document)
            is_shown = group[0] == document and declared.is_live(content)
            found = conflicts_of(state, declared, group, content) if is_shown else []
            found += duplicate_conflicts(state, declared, document) if is_shown else []
            yield from (conflict for conflict in found if conflict.kind in wanted)


def find_settled(state: State, *, starts: Iterable[bytes]) -> Iterator[Settled]:
    """The settled conflicts of the documents whose addresses begin so, each record's latest first.

    What was decided about several records stands with each of them, and is told once.
    """
    told: set[tuple[str, Dot]] = set()
    for item in chain.from_iterable(_find_settled(state, start=start) for start in starts):
        name = (item.id, item.chosen.dot)
        if name not in told:
            yield item
        if item.kind is ConflictKind.DUPLICATE_CREATE:
            told.add(name)


def _find_settled(state: State, *, start: bytes) -> Iterator[Settled]:
    rows = state.store.scan(Table.SETTLED, start=start, end=after_prefix(start) if start else None)
    for key, items in groupby(rows, key=lambda row: split_settled_key(row[0])[0]):
        declared = state.schema.by_key(key)
        if declared is not None:
            found = [(split_settled_key(name)[1], unpack_settled_row(data)) for name, data in items]
            found.sort(key=lambda item: (-item[1].chosen.hlc, item[1].register, item[1].chosen.dot, item[0]))
            for number, row in found:
                if row.kind is ConflictKind.DUPLICATE_CREATE:
                    yield settled_duplicate(state, declared, key, number, row)
                elif row.kind is ConflictKind.EDIT_OF_DELETED:
                    yield _settled_record(state, declared, key, number, row)
                elif row.field in declared.names:
                    yield _settled(state, declared.spec.field(declared.names[row.field]), key, number, row)


def _settled(state: State, kind: FieldKind, key: DocumentKey, number: str, row: SettledRow) -> Settled:
    _, model, record = split_document_key(key)
    register, start = kind.register_kind(row.register), whole_path(row.register)
    (chosen,) = named(state, register, (row.chosen,))
    return Settled(
        id=number,
        kind=row.kind,
        model=model,
        record_id=record,
        field=kind.name,
        register=register.name,
        paths=tuple(path for path in (start + inside for inside in row.paths) if path),
        candidates=named(state, register, row.candidates),
        chosen=chosen,
    )


def _settled_record(state: State, declared: Declared, key: DocumentKey, number: str, row: SettledRow) -> Settled:
    _, model, record = split_document_key(key)
    values = declared.values(read_held(row.held))
    chosen, *candidates = (
        Candidate(
            value=DELETED if item.data == GONE else values,
            device_id=state.name_of(item.dot.author),
            timestamp=item.hlc,
            dot=item.dot,
        )
        for item in (row.chosen, *row.candidates)
    )
    return Settled(
        id=number,
        kind=row.kind,
        model=model,
        record_id=record,
        field="",
        register="",
        paths=(),
        candidates=tuple(candidates),
        chosen=chosen,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """An open conflict, with what is needed to settle it."""

    conflict: Conflict
    declared: Declared
    key: DocumentKey
    kind: FieldKind
    register: CausalRegister
    content: Content
    candidates: list[RegisterValue]
    names: Mapping[Dot, Dot]
    """The candidates' dots in the conflict → as the content has them, in which another record may be the survivor."""

    def checked(self, value: Any) -> bytes:
        """Value bytes of what the conflict's register may hold.

        Raises:
            InvalidValueError, UnrepresentableValueError: it may not.
        """
        current, name = self.declared.values(self.content), self.kind.name
        _, separator, entry = self.conflict.register.partition(ENTRY_SEPARATOR)
        wanted = {**current[name], entry: value} if separator else value
        checked = validate_change(self.declared.model, current, {name: wanted})[name]
        return codec.encode(checked[entry] if separator else checked)

    def taken(self, candidate: Candidate) -> bytes:
        """Value bytes of one of the conflict's candidates."""
        if candidate not in self.conflict.candidates:
            raise NotACandidateError("the chosen candidate is not in this conflict")
        held = [item.data for item in self.candidates if item.dot == self.names[candidate.dot]]
        return held[0] if held else codec.encode(candidate.value)

    def merged(self, parts: Mapping[str, Any]) -> bytes:
        """Value bytes of the proposal, with chosen parts where the candidates overlap."""
        base = self._base()
        start = whole_path(self.conflict.register)
        paths = [start + path for path in self.register.merge(base, self.candidates).paths]
        wrong = [path for path in parts if path not in paths]
        if wrong or len(parts) < len(paths):
            raise InputError(
                f"a part is chosen for each path of the conflict, not for {', '.join(map(repr, parts)) or 'none'}",
                hint=f"Its paths: {', '.join(map(repr, paths))}.",
            )
        dots = [item.dot for item in self.candidates]
        choices: dict[str, int | Given] = {}
        for path, part in parts.items():
            if isinstance(part, Candidate):
                self.taken(part)
                choices[path.removeprefix(start)] = dots.index(self.names[part.dot])
            else:
                choices[path.removeprefix(start)] = Given(codec.encode(part))
        try:
            merged = self.register.merge_chosen(base, self.candidates, choices)
        except UnfitPartError as error:
            raise InvalidValueError(str(error), field=self.kind.name) from None
        return self.checked(self.register.decode(merged.data))

    def shown_by(self, rule: Literal["latest", "earliest"]) -> bytes:
        """Value bytes of the proposal, with the latest or the earliest change where the candidates overlap."""
        among = self.candidates if rule == "latest" else self.candidates[::-1]
        return self.register.merge(self._base(), among).data

    def write(self, records: Records, data: bytes) -> None:
        """Supersede exactly the candidates of the conflict; of a write to several merged records all of its values."""
        writes = {write_of(item) for item in self.candidates}
        kept = self.register.kept(self.content)
        dots = {*self.names.values(), *(item.dot for item in kept if write_of(item) in writes)}
        records.settle(self.key, self.content, self.register, data, field=self.kind.name, dots=dots)

    def _base(self) -> Any:
        if len(self.candidates) < len(self.conflict.candidates):
            raise ConflictNotFoundError("a candidate of this conflict is no longer kept")
        return self.register.base_data(self.content, self.candidates)


def resolve(state: State, records: Records, conflict: Conflict, choice: Mapping[str, Any]) -> None:
    """Settle a conflict; see `Replica.resolve`."""
    if not isinstance(conflict, Conflict):
        raise InputError(
            f"a conflict is expected, not a {type(conflict).__name__}", hint="Take one of replica.conflicts()."
        )
    if len(choice) != 1 or not choice.keys() <= {"take", "value", "paths"}:
        raise InputError("resolve takes one of take=candidate, value=… and paths={path: candidate or part}")
    ((name, chosen),) = choice.items()
    if name == "take" and chosen not in conflict.candidates:
        raise NotACandidateError("the chosen candidate is not in this conflict")
    if name == "paths" and not isinstance(chosen, Mapping):
        raise InputError("paths= takes a dict: path → candidate, or the part to put there")
    settle = _WHOLE_RECORD.get(conflict.kind)
    if settle is not None:
        settle(state, records, conflict, choice)
        return
    if isinstance(chosen, Deletion | BothKept):
        raise InputError(f"{chosen} settles no conflict of a field")
    case = _open_case(state, records, conflict)
    match name:
        case "take":
            data = case.taken(chosen)
        case "value":
            data = case.checked(chosen)
        case _:
            data = case.merged(chosen)
    case.write(records, data)


def resolve_all(
    state: State,
    records: Records,
    *,
    model: str,
    field: str | None,
    kind: str | ConflictKind | None,
    take: Rule,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Settle many conflicts by a rule; see `Replica.resolve_all`."""
    if take not in ("latest", "earliest") and not callable(take):
        raise InputError('take= is "latest", "earliest" or a function of a conflict')
    found = find_conflicts(state, records, model=model, key=None, kind=kind)
    waiting = [item for item in found if field in (None, item.field)]
    waiting.reverse()
    settled, total = 0, len(waiting)
    while waiting:
        with records.transaction():
            room = BATCH_BYTES
            for _ in range(min(BATCH_CONFLICTS, len(waiting))):
                size = _settle_by_rule(state, records, waiting.pop(), take)
                settled += size is not None
                room -= size or 0
                if room < 0:
                    break
        if progress is not None:
            progress(total - len(waiting), total)
    return settled


def _settle_by_rule(state: State, records: Records, conflict: Conflict, take: Rule) -> int | None:
    """Settle one conflict; returns the bytes of what was written, None where it is left or was settled meanwhile."""
    answer = take(conflict) if callable(take) else None
    if callable(take) and answer is None:
        return None
    if not isinstance(answer, Candidate | Choice | None):
        raise InputError(
            f"a rule gives a Candidate, a Choice or None, not a {type(answer).__name__}",
            hint="Write Choice(value=…) for a value of your own.",
        )
    if isinstance(answer, Choice) and not isinstance(answer.paths, Mapping | None):
        raise InputError(
            f"the paths of a Choice are a dict, not a {type(answer.paths).__name__}",
            hint="Write Choice(paths={path: candidate, or the part to put there}).",
        )
    if conflict.kind in _WHOLE_RECORD:
        answer = answer or conflict.candidates[0 if take == "latest" else -1]
        return _settle_record_by_rule(state, records, conflict, answer)
    try:
        case = _open_case(state, records, conflict)
    except (ConflictNotFoundError, RecordError):
        return None  # the rule itself, or another one's answer, saw to it
    if answer is None:
        data = case.shown_by("latest" if take == "latest" else "earliest")
    elif isinstance(answer, Candidate):
        data = case.taken(answer)
    else:
        data = case.checked(answer.value) if answer.paths is None else case.merged(answer.paths)
    case.write(records, data)
    return len(data)


_WHOLE_RECORD: Final = {
    ConflictKind.EDIT_OF_DELETED: settle_deletion,
    ConflictKind.DUPLICATE_CREATE: settle_duplicate,
}
"""How conflicts are settled that are about no field."""


def _settle_record_by_rule(
    state: State, records: Records, conflict: Conflict, answer: Candidate | Choice
) -> int | None:
    choice: dict[str, Any] = {"take": answer}
    if isinstance(answer, Choice):
        choice = {"value": answer.value} if answer.paths is None else {"paths": answer.paths}
    try:
        resolve(state, records, conflict, choice)
    except (ConflictNotFoundError, RecordError):
        return None
    return 0


def _open_case(state: State, records: Records, conflict: Conflict) -> _Case:
    """What settling a conflict needs.

    Raises:
        ConflictNotFoundError: none of its candidates is in a conflict any more.
        RecordNotFoundError, RecordDeletedError: there is no such record.
        InputError: its record id is none.
    """
    declared = state.schema.of(conflict.model)
    key = document_key(partition_of(declared, {}), declared.spec.name, record_id(conflict.record_id))
    kind = declared.spec.field(conflict.field)
    content = records.live_content(declared, key)
    register = kind.register_kind(conflict.register)
    survivor = split_document_key(group_of(state, declared, key)[0])[2]
    names = {item.dot: dot_in(item.dot, conflict.record_id, survivor=survivor) for item in conflict.candidates}
    dots = set(names.values())
    still_open = any(_is_open(clash, kind, conflict, dots) for clash in kind.clashes(content))
    if not isinstance(register, CausalRegister) or not still_open:
        raise ConflictNotFoundError("this conflict was settled meanwhile")
    held = sorted((item for item in register.kept(content) if item.dot in dots), key=latest_first)
    return _Case(
        conflict=conflict,
        declared=declared,
        key=key,
        kind=kind,
        register=register,
        content=content,
        candidates=held,
        names=names,
    )


def _is_open(clash: Clash, kind: FieldKind, conflict: Conflict, dots: AbstractSet[Dot]) -> bool:
    """Whether any candidate of a conflict still stands in a clash."""
    is_same = kind.register_kind(clash.register).name == conflict.register
    return is_same and not dots.isdisjoint(item.dot for item in clash.candidates)
