"""Replica: the local facade. It validates, writes, persists and publishes; it never waits for a network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from crdt_sync.core.conflict import Candidate, Conflict, ConflictKind
from crdt_sync.core.content import Content, write_creation
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DeviceId, DocumentKey, RecordId, document_key, record_id, split_document_key
from crdt_sync.core.kinds import Drop, FieldKind, Put, Write, WriteContext
from crdt_sync.core.kinds.ask import AskRegister
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.model import (
    Model,
    ModelSpec,
    bind,
    document_key_of,
    host_of,
    spec_of,
    validate_change,
    validate_creation,
)
from crdt_sync.errors import (
    ConflictNotFoundError,
    InputError,
    ModelError,
    NotACandidateError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotFoundError,
    StoreClosedError,
    TransactionError,
    WrongThreadError,
)
from crdt_sync.replica.conflicts import find_conflicts
from crdt_sync.replica.derive import candidates_of, derive_marked
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.history import HistoryItem, history_of
from crdt_sync.replica.journal import Journal, OperationStatus, SyncOperation
from crdt_sync.replica.local import LocalStorage
from crdt_sync.replica.observers import Observers, Subscription
from crdt_sync.replica.opening import Opened, Sources, close_store, open_store
from crdt_sync.replica.port import Port
from crdt_sync.replica.query import build_query, fields_used
from crdt_sync.replica.schema import Declared, partition_of
from crdt_sync.replica.state import Change
from crdt_sync.replica.transaction import LocalTransaction
from crdt_sync.storage.base import Durability

log = logging.getLogger("crdt_sync.replica")

M = TypeVar("M", bound=Model)

TEXT_DERIVE_INTERVAL_MS = 1_000


class Replica:
    """One durable copy of the data, in one store. Every call is synchronous, and durable when it returns.

    Invariants:
        1. It is used in the thread that opened it.
        2. Bad input raises a typed error and changes nothing.
        3. Observers are called after the commit, never before.

    Open one with `Replica.open`; close it, or use it as a context manager.
    """

    def __init__(self, opened: Opened, *, name: str) -> None:
        self._opened = opened
        self._state = opened.state
        self._name = name
        self._thread = threading.get_ident()
        self._closed = False
        self._transaction: LocalTransaction | None = None
        self._broken = False
        self._journal = Journal(self._state.store, self._state.ledger)
        self._observers = Observers()
        self._texts_derived_ms = 0
        self.local = LocalStorage(self._state.store, check=self._check)
        """Durable key-value storage that is private to the device."""
        self.port = Port(self._state, self._journal, self._observers, check=self._check_idle)
        """What sessions and their pumps use."""

    @classmethod
    def open(
        cls,
        path: str | Path,
        models: list[type[Model]] | tuple[type[Model], ...] | None = None,
        *,
        durability: Durability = "full",
        read_only: bool = False,
        create: bool = True,
        state_dir: str | Path | None = None,
        sources: Sources | None = None,
    ) -> Replica:
        """Open a store, and make it where there is none.

        Args:
            path: the store's file; ``":memory:"`` for tests.
            models: the app's models; None takes them as the store describes them.
            durability: ``"full"``: what returned survives power loss; ``"normal"``: it survives the end of the
                process, and power loss from the moment it was sent to anybody.
            read_only: for reading beside a process that writes.
            create: False raises where there is no store.
            state_dir: where keys and fences are kept, instead of the user's state directory.
            sources: where time, randomness and ids come from; tests give their own.

        Raises:
            SchemaError: the models cannot work together.
            StoreNotFoundError, NotAStoreError, StoreVersionError, StoreInUseError, StoreReadOnlyError,
            CorruptStoreError, KeyFileError: the store cannot be opened; nothing was changed.
        """
        opened = open_store(
            path,
            models=models,
            durability=durability,
            read_only=read_only,
            create=create,
            state_dir=None if state_dir is None else Path(state_dir),
            sources=sources or Sources(),
        )
        return cls(opened, name=str(path))

    def close(self) -> None:
        """Bring the tables up to date, note the clean end, and let go of the store. May be called again."""
        if self._closed:
            return
        self._check_idle()
        self._closed = True
        close_store(self._opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<Replica {self._name} closed>"
        state = self._state
        mode = "read-only" if state.identity is None else f"device {state.identity.key.device_id}"
        return (
            f"<Replica {self._name} {mode} models={','.join(state.schema.names()) or '-'} "
            f"log={state.ledger.end} pending={self._journal.pending_count()}>"
        )

    @property
    def device_id(self) -> DeviceId | None:
        """This device, or None where the replica is read-only."""
        return self._state.device()

    @property
    def replica_id(self) -> str:
        """The id of this store, as hex digits."""
        return self._state.lease.peek()[0].hex()

    @property
    def models(self) -> tuple[type[Model], ...]:
        """The models it was opened with."""
        return tuple(declared.model for declared in self._state.schema)

    def model(self, name: str) -> type[Model]:
        """A model by name.

        Raises:
            UnknownModelError: the replica was not opened with it.
        """
        return self._state.schema.of(name).model

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the block is one entry and one commit, applied whole on every device, or not at all.

        A transaction within another joins it.

        Raises:
            TransactionError: an inner block failed and its error was swallowed; everything is rolled back.
        """
        self._check()
        if self._transaction is not None:
            try:
                yield
            except BaseException:
                self._broken = True
                raise
            return
        self._transaction, self._broken = LocalTransaction(self._state, self._journal), False
        changes: list[Change] = []
        try:
            with self._state.store.transaction():
                yield
                if self._broken:
                    raise TransactionError("a part of this transaction failed; all of it was rolled back")
                changes = self._transaction.commit()
            self._transaction.committed()
        except BaseException:
            if self._transaction.wrote:
                self._state.reload()
            raise
        finally:
            self._transaction = None
        self._state.documents.shrink()
        self._observers.publish(changes)

    def create(self, model: type[M], /, **values: Any) -> M:
        """Create a record and return it, live.

        With a natural key, the record that two devices create is one; creating over a deleted one restores it.

        Raises:
            UnknownModelError, UnknownFieldError, InvalidValueError: nothing was changed.
            RecordExistsError: a live record has this natural key.
        """
        self._check()
        declared = self._state.schema.of(model)
        checked = validate_creation(model, values)
        spec = declared.spec
        name = spec.natural_id(checked) if spec.key else RecordId(self._state.new_record_id())
        key = document_key(partition_of(declared, checked), spec.name, name)
        with self._writing() as transaction:
            loaded = self._state.documents.get(key) if spec.key else None
            if loaded is not None and loaded.known:
                given = {name: value for name, value in checked.items() if name in values}
                self._create_again(transaction, declared, loaded, given)
            else:
                if not spec.key:
                    self._state.documents.new(key)
                writes = _creation(spec, checked, transaction.context)
                fields = frozenset(spec.fields)
                transaction.write(key, writes, operation=OperationType.CREATE, fields=fields)
        return bind(model, self, key)

    def update(self, record: Model, /, **values: Any) -> None:
        """Write fields of a record as one transaction.

        Raises:
            UnknownFieldError, InvalidValueError, RecordNotFoundError, RecordDeletedError: nothing was changed.
        """
        self._check()
        declared, key = self._own(record)
        self.write_fields(key, declared.spec, values)

    def delete(self, record: Model, /) -> None:
        """Delete a record. An edit made at once on another device keeps it, by the model's on_edit_after_delete.

        Raises:
            RecordNotFoundError, RecordDeletedError: nothing was changed.
        """
        self._check()
        declared, key = self._own(record)
        with self._writing() as transaction:
            content = self._live_content(declared, key)
            transaction.tombstone(self._state.documents.get(key), content)

    def restore(self, model: type[M], id: str, /) -> M:
        """Bring a deleted record back, with everything that was in it; nothing happens to a live one.

        Raises:
            RecordNotFoundError: there never was one.
        """
        self._check()
        declared = self._state.schema.of(model)
        key = self._key(declared, id)
        loaded = self._state.documents.get(key)
        if not loaded.known:
            raise RecordNotFoundError(f"there is no {declared.spec.name} {id}", model=declared.spec.name, record_id=id)
        drops: list[Write] = [Drop(name) for name in loaded.content(declared.text_fields).tombstones]
        if drops:
            with self._writing() as transaction:
                transaction.write(key, drops, operation=OperationType.UPDATE, fields=frozenset(declared.spec.fields))
        return bind(model, self, key)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, model: type[M], id: str, /) -> M:
        """A live record by id.

        Raises:
            RecordNotFoundError: there is none, or it was deleted.
        """
        self._check()
        declared = self._state.schema.of(model)
        key = self._key(declared, id)
        loaded = self._state.documents.get(key)
        if not loaded.known or not loaded.content(declared.text_fields).is_live():
            deleted = " (it was deleted)" if loaded.known else ""
            raise RecordNotFoundError(
                f"there is no {declared.spec.name} {id}{deleted}", model=declared.spec.name, record_id=id
            )
        return bind(model, self, key)

    def find(
        self,
        model: type[M],
        /,
        *,
        order_by: str | list[str] | tuple[str, ...] | None = None,
        limit: int | None = None,
        offset: int = 0,
        **filters: Any,
    ) -> list[M]:
        """The records that match all filters: ``done=False``, ``due__lt=date(…)``; also le, gt, ge, ne, in, contains.

        Args:
            model: what to look for.
            order_by: a field, or several; a ``-`` in front sorts descending. Ties are in the order of ids.
            limit: at most so many.
            offset: how many to pass over.
            filters: field and comparison → value.

        Raises:
            UnknownModelError, UnknownFieldError, InvalidValueError: the question makes no sense.
        """
        self._check()
        declared = self._state.schema.of(model)
        query = build_query(declared.spec, filters, order_by=order_by, limit=limit, offset=offset)
        self._derive(texts_too=not fields_used(query).isdisjoint(declared.text_fields))
        name = declared.spec.name
        return [
            bind(model, self, document_key(partition_of(declared, {}), name, RecordId(found)))
            for found in self._state.store.query(query)
        ]

    def count(self, model: type[Model], /, **filters: Any) -> int:
        """How many records match all filters; they are written as for `find`."""
        self._check()
        declared = self._state.schema.of(model)
        query = build_query(declared.spec, filters, order_by=None, limit=None, offset=0)
        self._derive(texts_too=not fields_used(query).isdisjoint(declared.text_fields))
        return self._state.store.query_count(query)

    def history(self, record: Model, /) -> list[HistoryItem]:
        """What was done to a record, in the order in which this replica applied it; also of a deleted one."""
        self._check()
        declared, key = self._own(record)
        return list(history_of(self._state, declared, key))

    def operations(self, *, status: str | OperationStatus | None = None) -> Iterator[SyncOperation]:
        """The local changes, oldest first; ``status`` is ``pending``, ``completed`` or ``failed``."""
        self._check()
        try:
            wanted = None if status is None else OperationStatus(status)
        except ValueError:
            raise InputError(f"there is no status {status!r}", hint="Use pending, completed or failed.") from None
        device = str(self._state.device() or "")
        for key, row in self._journal.rows(status=wanted):
            yield self._journal.operation(key, row, device_id=device)

    def operation(self, operation_id: str, /) -> SyncOperation:
        """One local change by its id.

        Raises:
            InputError: there is none.
        """
        self._check()
        key, row = self._journal.row(operation_id)
        return self._journal.operation(key, row, device_id=str(self._state.device() or ""))

    def last_operation(self) -> SyncOperation:
        """The latest local change.

        Raises:
            InputError: there is none yet.
        """
        self._check()
        return self.operation(self._journal.last_id())

    def pending_count(self) -> int:
        """How many local changes wait for a home peer."""
        self._check()
        return self._journal.pending_count()

    def observe(self, callback: Callable[[Change], object], *, model: type[Model] | None = None) -> Subscription:
        """Call ``callback`` with each `Change`, local or remote, after it is durable.

        Returns:
            A subscription; its ``close()`` ends it.
        """
        self._check()
        name = None if model is None else self._state.schema.of(model).spec.name
        return self._observers.add(callback, model=name)

    # ── conflicts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def conflicts(
        self,
        *,
        model: type[Model] | None = None,
        record: Model | None = None,
        kind: str | ConflictKind | None = None,
    ) -> list[Conflict]:
        """The open conflicts, of a model, a record or a kind; the same on every replica with the same documents."""
        self._check()
        self._derive(texts_too=False)
        name = None if model is None else self._state.schema.of(model).spec.name
        key = None if record is None else self._own(record)[1]
        try:
            wanted = None if kind is None else ConflictKind(kind)
        except ValueError:
            names = ", ".join(item.value for item in ConflictKind)
            raise InputError(f"there is no kind of conflict {kind!r}", hint=f"Kinds: {names}.") from None
        return [
            conflict
            for conflict in find_conflicts(self._state, model=name, key=key)
            if wanted is None or conflict.kind is wanted
        ]

    def candidates(self, record: Model, field: str, /) -> tuple[Candidate, ...]:
        """The concurrent values of a field, latest first; one where nobody wrote at the same time."""
        self._check()
        declared, key = self._own(record)
        kind = declared.spec.field(field)
        return candidates_of(self._state, kind, self._live_content(declared, key))

    @overload
    def resolve(self, conflict: Conflict, /, *, take: Candidate) -> None: ...
    @overload
    def resolve(self, conflict: Conflict, /, *, value: Any) -> None: ...

    def resolve(self, conflict: Conflict, /, **choice: Any) -> None:
        """Settle a conflict, here and so everywhere: an ordinary write that supersedes exactly its candidates.

        Args:
            conflict: as `conflicts` gave it.
            choice: ``take=`` one of its candidates, or ``value=`` any other value.

        Raises:
            ConflictNotFoundError: it was settled meanwhile.
            NotACandidateError: ``take`` is not one of its candidates.
            InvalidValueError: ``value`` is of the wrong type.
        """
        self._check()
        if len(choice) != 1 or not choice.keys() <= {"take", "value"}:
            raise InputError("resolve takes either take=candidate or value=…")
        declared = self._state.schema.of(conflict.model)
        key = document_key(partition_of(declared, {}), declared.spec.name, conflict.record_id)
        kind = declared.spec.field(conflict.field)
        if "take" in choice and choice["take"] not in conflict.candidates:
            raise NotACandidateError("the chosen candidate is not in this conflict")
        content = self._live_content(declared, key)
        dots = {candidate.dot for candidate in conflict.candidates}
        if not isinstance(kind, AskRegister) or len(dots & {item.dot for item in kind.clash(content)}) == 0:
            raise ConflictNotFoundError("this conflict was settled meanwhile")
        if "take" in choice:
            value = choice["take"].value
        else:
            current = declared.values(content)
            value = validate_change(declared.model, current, {kind.name: choice["value"]})[kind.name]
        with self._writing() as transaction:
            writes = kind.supersede(content, value, dots=dots, context=transaction.context)
            transaction.write(key, writes, operation=OperationType.UPDATE, fields=frozenset((kind.name,)))

    # ── what live records use ────────────────────────────────────────────────────────────────────────────────────────

    def read_field(self, key: DocumentKey, kind: FieldKind) -> Any:
        """What attribute access of a live record gives."""
        self._check()
        return kind.live(_FieldHost(self, key, kind.name))

    def read_record(self, key: DocumentKey, spec: ModelSpec) -> dict[str, Any]:
        """All fields of a record as plain values."""
        self._check()
        declared = self._state.schema.of(spec.name)
        return declared.values(self._live_content(declared, key))

    def write_fields(self, key: DocumentKey, spec: ModelSpec, values: Mapping[str, Any]) -> None:
        """Validate and write fields of a record as one transaction."""
        self._check()
        declared = self._state.schema.of(spec.name)
        content = self._live_content(declared, key)
        checked = validate_change(declared.model, declared.values(content), values)
        with self._writing() as transaction:
            writes = [
                write
                for name, value in checked.items()
                for write in spec.fields[name].assign(content, value, context=transaction.context)
            ]
            transaction.write(key, writes, operation=OperationType.UPDATE, fields=frozenset(checked))

    def content_of(self, key: DocumentKey) -> Content:
        """The content of a live record, for its field objects."""
        self._check()
        return self._live_content(self._state.schema.of(split_document_key(key)[1]), key)

    def edit_field(self, key: DocumentKey, field: str, make: Callable[[Content, WriteContext], list[Write]]) -> None:
        """A field object's change: at once, or as part of the open transaction."""
        content = self.content_of(key)
        with self._writing() as transaction:
            transaction.edit(key, make, content=content, field_name=field)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _writing(self) -> Iterator[LocalTransaction]:
        with self.transaction():
            if self._transaction is None:
                raise TransactionError("there is no open transaction")
            yield self._transaction

    def _create_again(
        self, transaction: LocalTransaction, declared: Declared, loaded: Loaded, given: Mapping[str, Any]
    ) -> None:
        content = loaded.content(declared.text_fields)
        name = split_document_key(loaded.key)[2]
        if content.is_live():
            raise RecordExistsError(
                f"a {declared.spec.name} with this key exists", model=declared.spec.name, record_id=name
            )
        writes: list[Write] = [Drop(key) for key in content.tombstones]
        for field, value in given.items():
            writes.extend(declared.spec.fields[field].recreate(content, value, context=transaction.context))
        fields = frozenset(declared.spec.fields)
        transaction.write(loaded.key, writes, operation=OperationType.UPDATE, fields=fields)

    def _live_content(self, declared: Declared, key: DocumentKey) -> Content:
        loaded = self._state.documents.get(key)
        name, record = declared.spec.name, split_document_key(key)[2]
        if not loaded.known:
            raise RecordNotFoundError(f"there is no {name} {record}", model=name, record_id=record)
        content = loaded.content(declared.text_fields)
        if not content.is_live():
            raise RecordDeletedError(f"{name} {record} was deleted", model=name, record_id=record)
        return content

    def _own(self, record: Model) -> tuple[Declared, DocumentKey]:
        key = document_key_of(record)
        if host_of(record) is not self:
            raise ModelError(
                f"this {type(record).__name__} belongs to another replica", hint="Get the record from this replica."
            )
        return self._state.schema.of(spec_of(type(record)).name), key

    def _key(self, declared: Declared, name: str) -> DocumentKey:
        return document_key(partition_of(declared, {}), declared.spec.name, record_id(name))

    def _derive(self, *, texts_too: bool) -> None:
        """Bring the tables up to date before they are read; texts at most once a second unless they are asked for."""
        if self._state.identity is None or self._transaction is not None:
            return
        now = self._state.now_ms()
        if not 0 <= now - self._texts_derived_ms < TEXT_DERIVE_INTERVAL_MS:
            texts_too = True
        if texts_too:
            self._texts_derived_ms = now
        derive_marked(self._state, texts_too=texts_too)

    def _check(self) -> None:
        if self._closed:
            raise StoreClosedError("this replica was closed")
        if threading.get_ident() != self._thread:
            raise WrongThreadError("a replica was used outside of the thread that opened it")

    def _check_idle(self) -> None:
        self._check()
        if self._transaction is not None:
            raise TransactionError(
                "a transaction is open", hint="Leave the transaction's block first, and do not await inside of one."
            )


class _FieldHost:
    """Connects a live field object with its record."""

    __slots__ = ("_field", "_key", "_replica")

    def __init__(self, replica: Replica, key: DocumentKey, field: str) -> None:
        self._replica, self._key, self._field = replica, key, field

    def content(self) -> Content:
        return self._replica.content_of(self._key)

    def edit(self, make: Callable[[Content, WriteContext], list[Write]]) -> None:
        self._replica.edit_field(self._key, self._field, make)


def _creation(spec: ModelSpec, checked: Mapping[str, Any], context: WriteContext) -> list[Write]:
    """The writes of a new record: one value for all registers, then what other kinds begin with."""
    registers = {name: value for name, value in checked.items() if spec.fields[name].in_creation}
    key = map_key(KeyClass.CREATION, context.author)
    writes: list[Write] = [Put(key, write_creation(context.hlc, registers))]
    for name, value in checked.items():
        writes.extend(spec.fields[name].create(value, context=context))
    return writes
