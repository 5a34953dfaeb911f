"""The part of a replica's facade that is about conflicts: finding, settling and remembering them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, overload

from crdt_sync.core.conflict import Candidate, Conflict, ConflictKind, Settled
from crdt_sync.core.ids import DEFAULT_PARTITION, RecordId, model_prefix
from crdt_sync.core.kinds import TextKind
from crdt_sync.core.model import Model
from crdt_sync.replica.conflicts import Rule, find_conflicts, find_settled, resolve, resolve_all
from crdt_sync.replica.derive import candidates_of
from crdt_sync.replica.duplicates import also_known_as, group_of, texts_of
from crdt_sync.replica.records import Records
from crdt_sync.replica.state import State
from crdt_sync.replica.upkeep import Upkeep


class ConflictCalls:
    """What `Replica` says about conflicts."""

    _state: State
    _records: Records
    _upkeep: Upkeep

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica cannot be used."""

    def conflicts(
        self,
        *,
        model: type[Model] | None = None,
        record: Model | None = None,
        kind: str | ConflictKind | None = None,
    ) -> list[Conflict]:
        """The open conflicts, of a model, a record or a kind; the same on every replica with the same documents."""
        self._check()
        self._upkeep.before_reading(texts_too=False)
        name = None if model is None else self._state.schema.of(model).spec.name
        key = None if record is None else group_of(self._state, *self._records.own(record))[0]
        found = list(find_conflicts(self._state, self._records, model=name, key=key, kind=kind))
        self._records.let_go()
        return found

    def candidates(self, record: Model, field: str, /) -> tuple[Candidate, ...]:
        """The concurrent values of a field, latest first; one where nobody wrote at the same time.

        Of a text there are none, but for a merged record: the text that is shown, and those of the others.
        """
        self._check()
        declared, key = self._records.own(record)
        kind = declared.spec.field(field)
        content = self._records.live_content(declared, key)
        if isinstance(kind, TextKind):
            return texts_of(self._state, kind, content)
        return candidates_of(self._state, kind, content)

    def also_known_as(self, record: Model, /) -> tuple[RecordId, ...]:
        """The ids of the records that a record was merged with, oldest first; `get` gives it for each of them."""
        self._check()
        declared, key = self._records.own(record)
        self._records.live_content(declared, key)
        return also_known_as(self._state, declared, key)

    @overload
    def resolve(self, conflict: Conflict, /, *, take: Candidate) -> None: ...
    @overload
    def resolve(self, conflict: Conflict, /, *, value: Any) -> None: ...
    @overload
    def resolve(self, conflict: Conflict, /, *, paths: dict[str, Any]) -> None: ...

    def resolve(self, conflict: Conflict, /, **choice: Any) -> None:
        """Settle a conflict, here and so everywhere: an ordinary write that supersedes exactly its candidates.

        Args:
            conflict: as `conflicts` gave it.
            choice: ``take=`` one of its candidates, as a whole; or ``value=`` any other value; or ``paths=`` for each
                of its paths (``""`` where it has none) the candidate to take there, or the part to put there: the
                rest is as in `Conflict.value`, where all that does not overlap is merged.

        Raises:
            ConflictNotFoundError: it was settled meanwhile, or kept while the app gave the model other fields.
            NotACandidateError: ``take``, or what a path takes, is not one of its candidates.
            InvalidValueError: the value, or what the parts come to, is of the wrong type.
            InputError: other paths than those of the conflict, or not all of them.
        """
        self._check()
        resolve(self._state, self._records, conflict, choice)

    def resolve_all(
        self,
        *,
        model: type[Model],
        field: str | None = None,
        kind: str | ConflictKind | None = None,
        take: Rule,
        progress: Callable[[int, int], object] | None = None,
    ) -> int:
        """Settle all open conflicts of a model, of one of its fields, or of one kind, by a rule.

        It is done in transactions of up to 1,000 conflicts; where the rule raises, the last of them is rolled back.

        Args:
            model: whose conflicts.
            field: of this field only.
            kind: of this kind only.
            take: ``"latest"`` or ``"earliest"``: the proposal, with that change wherever changes overlap; of whole
                records, that candidate; or a function of a `Conflict` that gives a `Candidate`, a `Choice`, or None to
                leave it open.
            progress: called after each transaction with (conflicts seen to, conflicts in total).

        Returns:
            How many were settled.

        Raises:
            InputError: no such rule or kind, or a function that gives something else.
            NotACandidateError, InvalidValueError: what the function gives does not settle the conflict.
        """
        self._check()
        declared = self._state.schema.of(model)
        if field is not None:
            declared.spec.field(field)
        self._upkeep.before_reading(texts_too=False)
        name = declared.spec.name
        return resolve_all(self._state, self._records, model=name, field=field, kind=kind, take=take, progress=progress)

    def settled(self, *, model: type[Model] | None = None, record: Model | None = None) -> list[Settled]:
        """The conflicts that were settled: who chose what, when, over which candidates; each record's latest first.

        Any write that saw the candidates is one that settled them, on whatever device. At most 64 of a record are kept.
        """
        self._check()
        self._upkeep.before_reading(texts_too=False)
        name = None if model is None else self._state.schema.of(model).spec.name
        start = b"" if name is None else model_prefix(DEFAULT_PARTITION, name)
        group = () if record is None else group_of(self._state, *self._records.own(record))
        starts = [start] if record is None else [bytes(key) for key in group if key.startswith(start)]
        found = list(find_settled(self._state, starts=starts))
        if len(group) > 1:
            found.sort(key=lambda item: -item.chosen.timestamp)
        self._records.let_go()
        return found
