"""The part of a replica's facade that looks back: history, records as they were, and why values are as they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar, cast, overload

from crdt_sync.core.explaining import Explanation
from crdt_sync.core.ids import DocumentKey, split_document_key
from crdt_sync.core.model import Model
from crdt_sync.errors import HistoryFoldedError, InputError, StoreReadOnlyError
from crdt_sync.replica.history import HistoryItem, history_of
from crdt_sync.replica.past import explain, values_at
from crdt_sync.replica.port import Port
from crdt_sync.replica.records import Records
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.undo import UndoReport, take_back

M = TypeVar("M", bound=Model)


class HistoryCalls:
    """What `Replica` says about the past."""

    _state: State
    _records: Records

    port: Port

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica cannot be used."""

    @abstractmethod
    def _check_idle(self) -> None:
        """Raise where the replica cannot be used, or a transaction is open."""

    def history(
        self, record: Model | type[Model], id: str | None = None, /, *, latest: int | None = None
    ) -> Iterator[HistoryItem]:
        """What was done to a record, in the order in which this replica applied it; also of a deleted one.

        It is read while it is iterated over, so that a long one takes little memory. Of records that were merged it is
        one history.

        Args:
            record: a record; or its model, with ``id``.
            id: the record's id, where a model is given.
            latest: only so many of the latest; what came before them is gone through quickly.

        Raises:
            RecordNotFoundError: there never was one.
            InputError: ``latest`` is no positive whole number.
            HistoryFoldedError: it was compacted while it was iterated over.
        """
        self._check()
        if latest is not None and (type(latest) is not int or latest < 1):
            raise InputError("latest is a whole number from 1 on")
        declared, key = self._records.own(record) if id is None else self._records.known(record, id)
        return self._history(declared, key, latest=latest)

    def _history(self, declared: Declared, key: DocumentKey, *, latest: int | None) -> Iterator[HistoryItem]:
        generation = self._state.ledger.folded.generation
        for item in history_of(self._state, declared, key, latest=latest):
            self._records.let_go()
            yield item
            self._check()
            if self._state.ledger.folded.generation != generation:
                name, record = declared.spec.name, split_document_key(key)[2]
                raise HistoryFoldedError(
                    f"the history of {name} {record} was compacted meanwhile",
                    hint="Read it again.",
                    model=name,
                    record_id=record,
                )

    @overload
    def at(self, record: M, time: datetime | int, /) -> M: ...
    @overload
    def at(self, record: type[M], id: str, time: datetime | int, /) -> M: ...

    def at(self, record: Any, /, *which: Any) -> Any:
        """A record as it was: a plain object, attached to nothing, with what was written up to a time.

        It goes by the timestamps of the writes, so every replica that holds them gives the same; what a device wrote
        out of touch is in it at the time when it was written. A write that a clock ahead dated later is in it too where
        one that is in it had seen it. Takes time in proportion to the record's operations, and to the log behind the
        first of them that was made later.

        Args:
            record: a record; or its model, with its id.
            which: the id, where a model is given; and the time: a datetime with a zone, or a packed timestamp.

        Raises:
            RecordNotFoundError: it was not there yet.
            HistoryFoldedError: what was done to it then can not be told from what was compacted, in this replica.
            RecordDeletedError: it was deleted then.
            InputError: no such time.
        """
        self._check()
        declared, key, (time,) = self._addressed(record, which, more=1)
        values = values_at(self._state, declared, key, time=time)
        return declared.model.model_construct(**values)

    @overload
    def explain(self, record: Model, field: str | None = None, /) -> Explanation: ...
    @overload
    def explain(self, record: type[Model], id: str, field: str | None = None, /) -> Explanation: ...

    def explain(self, record: Any, /, *which: Any) -> Explanation:
        """Why a field shows what it shows; without a field, why the record is live or deleted.

        ``str()`` of it is the text; it is the same on every replica that holds the same.

        Args:
            record: a record, also a deleted one; or its model, with its id.
            which: the id, where a model is given; and the field.

        Raises:
            UnknownFieldError: the model has no such field.
            RecordNotFoundError: there never was such a record.
        """
        self._check()
        declared, key, rest = self._addressed(record, which, more=None)
        field = rest[0] if rest else None
        explanation = explain(self._state, declared, key, field)
        self._records.let_go()
        return explanation

    def undo(self) -> UndoReport | None:
        """Take back the latest transaction of this replica that stands, by a new one; call again for the one before.

        Only what still stands as it was written is taken back, so nothing that others wrote is lost: the report's
        ``skipped`` names the rest, with the reason. The last 100 can be undone, also after the replica was opened
        again. Takes time in proportion to the history of the records that the transaction wrote to.

        Returns:
            What was taken back and what was not; None where there is nothing to undo.

        Raises:
            TransactionError: a transaction is open.
            HistoryFoldedError: the transaction was compacted, so what it took the place of is not known any more.
            RecordExistsError: it would give back unique values that another record has by now; nothing is changed.
        """
        return self._take_back(redo=False)

    def redo(self) -> UndoReport | None:
        """Take back the latest `undo`. Any other write in between takes away what could be redone.

        Returns:
            What was done again and what was not; None where there is nothing to redo.

        Raises:
            TransactionError: a transaction is open.
            HistoryFoldedError: the transaction was compacted, so what it took the place of is not known any more.
            RecordExistsError: it would give back unique values that another record has by now; nothing is changed.
        """
        return self._take_back(redo=True)

    def _take_back(self, *, redo: bool) -> UndoReport | None:
        self._check_idle()
        if self._state.identity is None:
            raise StoreReadOnlyError("this replica was opened read-only")
        return take_back(self._state, self._records, own=self.port.own_authors(), redo=redo)

    def _addressed(
        self, record: object, which: tuple[Any, ...], *, more: int | None
    ) -> tuple[Declared, DocumentKey, tuple[Any, ...]]:
        """A record, or a model with an id, and what follows: exactly so many, or one at most."""
        is_model = isinstance(record, type)
        rest = which[1:] if is_model else which
        if (is_model and not which) or len(rest) not in ((0, 1) if more is None else (more,)):
            raise InputError("a record is given alone, or as its model and its id; then the rest")
        if is_model:
            return *self._records.known(cast("type[Model]", record), which[0]), rest
        return *self._records.own(record), rest
