"""Reading and writing single records: what the facade and live records go through, and where transactions are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from crdt_sync.core.content import Content, Dot
from crdt_sync.core.creating import creation_writes
from crdt_sync.core.duplicates import MergedContent
from crdt_sync.core.entry import OperationType
from crdt_sync.core.ids import DocumentKey, RecordId, document_key, record_id, split_document_key
from crdt_sync.core.kinds import CausalRegister, Drop, FieldKind, TextRun, Write, WriteContext
from crdt_sync.core.model import (
    Model,
    ModelSpec,
    bind,
    document_key_of,
    host_of,
    spec_of,
)
from crdt_sync.core.validating import validate_change, validate_creation
from crdt_sync.errors import (
    ModelError,
    RecordDeletedError,
    RecordExistsError,
    RecordNotFoundError,
    TransactionError,
)
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.duplicates import group_of, refuse_duplicate, shown_content
from crdt_sync.replica.field_of_record import FieldOfRecord
from crdt_sync.replica.group_writes import delete_group, member_writes, settling_writes, write_group
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.observers import Observers
from crdt_sync.replica.schema import Declared, partition_of
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.stepping import leave_resting
from crdt_sync.replica.transaction import LocalTransaction

M = TypeVar("M", bound=Model)


class Records:
    """The records of an open replica. It is what live records are bound to (`core.model.RecordHost`).

    Invariants:
        1. What is refused is refused before the first write, so an open transaction can go on after it.
        2. Observers are called after the commit, never before.

    Args:
        state: the replica.
        journal: its operations.
        observers: whom to tell.
        check: raises where the replica is closed or used in another thread.
    """

    def __init__(self, state: State, journal: Journal, observers: Observers, *, check: Callable[[], None]) -> None:
        self._state = state
        self._journal = journal
        self._observers = observers
        self._check = check
        self._transaction: LocalTransaction | None = None
        self._broken = False

    @property
    def in_transaction(self) -> bool:
        """Whether a local transaction is open."""
        return self._transaction is not None

    @property
    def written(self) -> list[DocumentKey]:
        """The records that the open transaction has written to, in order of address."""
        return [] if self._transaction is None else sorted(self._transaction.documents)

    @property
    def affected(self) -> list[DocumentKey]:
        """Those, and the records that show together with others than before, or are in other questions."""
        opened = self._transaction
        return [] if opened is None else sorted({*opened.documents, *opened.regrouped})

    def show(self) -> None:
        """Let an open transaction find its own writes."""
        if self._transaction is not None:
            self._transaction.show()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in the block is one entry and one commit; a transaction within another joins it.

        Raises:
            TransactionError: an inner block failed and its error was swallowed; everything is rolled back.
        """
        self._check()
        if self._transaction is None:
            with self._outermost():
                yield
            return
        try:
            yield
        except BaseException:
            self._broken = True
            raise

    def writing(self) -> AbstractContextManager[LocalTransaction]:
        """The open transaction, or one of its own for this change.

        An error in it does not break the open one: it was raised before anything was written, or the transaction knows
        that it is torn.
        """
        return self._outermost() if self._transaction is None else nullcontext(self._transaction)

    def create(self, model: type[M], values: Mapping[str, Any]) -> M:
        """Create a record; see `Replica.create`."""
        declared = self._state.schema.of(model)
        checked = validate_creation(model, values)
        spec = declared.spec
        name = spec.natural_id(checked) if spec.key else RecordId(self._state.new_record_id())
        key = document_key(partition_of(declared, checked), spec.name, name)
        with self.writing() as transaction:
            loaded = self._state.documents.get(key) if spec.key else self._state.documents.new(key)
            if loaded.known:
                given = {name: value for name, value in checked.items() if name in values}
                self._create_again(transaction, declared, loaded, given)
            else:
                refuse_duplicate(self._state, declared, checked, group=(key,), written=transaction.unique)
                writes = creation_writes(spec, checked, transaction.context, given=values)
                transaction.write(key, writes, operation=OperationType.CREATE, fields=declared.all_fields)
        return bind(model, self, key)

    def update(self, record: Model, values: Mapping[str, Any]) -> None:
        """Write fields of a record; see `Replica.update`."""
        declared, key = self.own(record)
        self.write_fields(key, declared.spec, values)

    def delete(self, record: Model) -> None:
        """Delete a record; see `Replica.delete`."""
        declared, key = self.own(record)
        with self.writing() as transaction:
            content = self.live_content(declared, key)
            loaded = self._state.documents.get(key)
            if isinstance(content, MergedContent):
                delete_group(self._state, declared, transaction, key, content)
            else:
                transaction.tombstone(loaded, over=content.tombstones, seen=loaded.index.state_vector)

    def restore(self, model: type[M], name: str) -> M:
        """Bring a deleted record back; see `Replica.restore`."""
        declared, key = self.known(model, name)
        group = group_of(self._state, declared, key)
        for member in group:
            content = self._state.documents.get(member).content(declared.text_fields)
            drops: list[Write] = [Drop(name) for name in content.tombstones]
            if drops and self._state.locks(member):
                raise _not_found(declared, key, deleted=True)
            if drops:
                with self.writing() as transaction:
                    transaction.write(member, drops, operation=OperationType.UPDATE, fields=declared.all_fields)
        return bind(model, self, group[0])

    def get(self, model: type[M], name: str) -> M:
        """A live record by id; see `Replica.get`."""
        declared = self._state.schema.of(model)
        key = self._key(declared, name)
        loaded = self._state.documents.get(key)
        group, content = shown_content(self._state, declared, key)
        live = loaded.known and declared.is_live(content)
        self.let_go()
        if not live:
            raise _not_found(declared, key, deleted=loaded.known)
        return bind(model, self, group[0])

    def own(self, record: object) -> tuple[Declared, DocumentKey]:
        """The model and address of a live record of this replica.

        Raises:
            ModelError: it belongs to another replica, or to none; or it is no record at all.
        """
        if not isinstance(record, Model):
            raise ModelError(
                f"a record is expected, not a {type(record).__name__}", hint="Get it by replica.get(Model, id) first."
            )
        key = document_key_of(record)
        if host_of(record) is not self:
            raise ModelError(
                f"this {type(record).__name__} belongs to another replica", hint="Get the record from this replica."
            )
        return self._state.schema.of(spec_of(type(record)).name), key

    def known(self, model: object, name: str) -> tuple[Declared, DocumentKey]:
        """The model and address of a record that is or was here.

        Raises:
            RecordNotFoundError: there never was one.
            ModelError, UnknownModelError: ``model`` is none, or not one of this replica's.
        """
        if not isinstance(model, type) or not issubclass(model, Model):
            raise ModelError("an id goes with a model", hint="Give a record alone, or its model and its id.")
        declared = self._state.schema.of(model)
        key = self._key(declared, name)
        if not self._state.documents.get(key).known:
            raise _not_found(declared, key)
        self.let_go()
        return declared, key

    def live_content(self, declared: Declared, key: DocumentKey) -> Content:
        """What a record shows: its document's content, and that of those it was merged with.

        Raises:
            RecordNotFoundError, RecordDeletedError: there is none, or it was deleted.
        """
        loaded = self._state.documents.get(key)
        if not loaded.known:
            raise _not_found(declared, key)
        content = shown_content(self._state, declared, key)[1]
        self.let_go()
        if not declared.is_live(content):
            name, record = declared.spec.name, split_document_key(key)[2]
            raise RecordDeletedError(f"{name} {record} was deleted", model=name, record_id=record)
        return content

    def write(self, key: DocumentKey, writes: list[Write], *, fields: frozenset[str]) -> None:
        """Write to one document: at once, or as part of the open transaction."""
        with self.writing() as transaction:
            transaction.write(key, writes, operation=OperationType.UPDATE, fields=fields)

    def settle(
        self, key: DocumentKey, content: Content, register: CausalRegister, data: bytes, *, field: str, dots: set[Dot]
    ) -> None:
        """Supersede values of a register of a live record: at once, or as part of the open transaction.

        Raises:
            RecordExistsError: another record has the unique values that this one gets.
        """
        fields = frozenset((field,))
        with self.writing() as transaction:
            self._refuse_duplicate(transaction, key, content, {field: register.decode(data)})
            if isinstance(content, MergedContent):
                found = settling_writes(register, content, data, dots=dots, context=transaction.context)
                write_group(self._declared(key), transaction, key, content, found, fields=fields)
            else:
                writes = register.supersede(content, data, dots=dots, context=transaction.context)
                transaction.write(key, writes, operation=OperationType.UPDATE, fields=fields)

    def let_go(self) -> None:
        """Keep memory bounded while many records are read."""
        if self._transaction is None:
            self._state.documents.shrink()

    # ── RecordHost ───────────────────────────────────────────────────────────────────────────────────────────────────

    def read_field(self, key: DocumentKey, kind: FieldKind) -> Any:
        """What attribute access of a live record gives."""
        self._check()
        if kind.in_creation:
            declared = self._state.schema.of(split_document_key(key)[1])
            return declared.read(kind, self.live_content(declared, key))
        return kind.live(FieldOfRecord(self, self._state, key, kind))

    def read_record(self, key: DocumentKey, spec: ModelSpec) -> dict[str, Any]:
        """All fields of a record as plain values."""
        self._check()
        declared = self._state.schema.of(spec.name)
        return declared.values(self.live_content(declared, key))

    def write_fields(self, key: DocumentKey, spec: ModelSpec, values: Mapping[str, Any]) -> None:
        """Validate and write fields of a record as one transaction."""
        self._check()
        declared = self._state.schema.of(spec.name)
        content = self.live_content(declared, key)
        checked = validate_change(declared.model, declared.values(content), values)
        with self.writing() as transaction:
            self._refuse_duplicate(transaction, key, content, checked)
            self._write_fields(transaction, key, content, {spec.fields[name]: item for name, item in checked.items()})

    def _write_fields(
        self, transaction: LocalTransaction, key: DocumentKey, content: Content, values: Mapping[FieldKind, Any]
    ) -> None:
        context = transaction.context
        found: dict[RecordId, list[Write]] = {}
        writes: list[Write] = []
        for kind, value in values.items():
            make = partial(_assignment, kind, value, context)
            if not isinstance(content, MergedContent):
                writes += make(content)
                continue
            for record, own in member_writes(kind, content, make).items():
                found.setdefault(record, []).extend(own)
        fields = frozenset(kind.name for kind in values)
        if isinstance(content, MergedContent):
            write_group(self._declared(key), transaction, key, content, found, fields=fields)
        else:
            transaction.write(key, writes, operation=OperationType.UPDATE, fields=fields)

    # ── what field objects use ───────────────────────────────────────────────────────────────────────────────────────

    def content_of(self, key: DocumentKey) -> Content:
        """The content of a live record, for its field objects."""
        self._check()
        return self.live_content(self._declared(key), key)

    def runs_of(self, key: DocumentKey, kind: FieldKind) -> list[TextRun]:
        """A text of a live record with its attributes."""
        self.content_of(key)
        survivor = group_of(self._state, self._declared(key), key)[0]
        runs = self._state.documents.get(survivor).engine().runs(kind.stored)
        self.let_go()
        return runs

    def edit_field(
        self, key: DocumentKey, kind: FieldKind, make: Callable[[Content, WriteContext], list[Write]]
    ) -> None:
        """A field object's change."""
        content, fields = self.content_of(key), frozenset((kind.name,))
        with self.writing() as transaction:
            if isinstance(content, MergedContent):
                found = member_writes(kind, content, lambda part: make(part, transaction.context))
                write_group(self._declared(key), transaction, key, content, found, fields=fields)
            else:
                writes = make(content, transaction.context)
                transaction.write(key, writes, operation=OperationType.UPDATE, fields=fields)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _outermost(self) -> Iterator[LocalTransaction]:
        leave_resting(self._state)
        transaction, self._broken = LocalTransaction(self._state, self._journal), False
        self._transaction = transaction
        changes: list[Change] = []
        try:
            with self._state.store.transaction():
                yield transaction
                if self._broken or transaction.torn:
                    raise TransactionError("a part of this transaction failed; all of it was rolled back")
                changes = transaction.commit()
            transaction.committed()
        except BaseException:
            if transaction.wrote:
                self._state.reload()
            raise
        finally:
            self._transaction = None
            self._state.documents.shrink()
            transaction.end()
            self._observers.wake()  # pumps wait while a transaction is open; after a rollback nothing else wakes them
        self._observers.publish(changes)

    def _create_again(
        self, transaction: LocalTransaction, declared: Declared, loaded: Loaded, given: Mapping[str, Any]
    ) -> None:
        content = loaded.content(declared.text_fields)
        name = split_document_key(loaded.key)[2]
        group, shown = shown_content(self._state, declared, loaded.key)
        if declared.is_live(shown):
            raise RecordExistsError(
                f"a {declared.spec.name} with this key exists", model=declared.spec.name, record_id=name
            )
        after = {**declared.values(content), **given}
        refuse_duplicate(self._state, declared, after, group=group, written=transaction.unique)
        writes: list[Write] = [Drop(key) for key in content.tombstones]
        for field, value in given.items():
            writes.extend(declared.spec.fields[field].recreate(content, value, context=transaction.context))
        transaction.write(loaded.key, writes, operation=OperationType.UPDATE, fields=declared.all_fields)

    def _refuse_duplicate(
        self, transaction: LocalTransaction, key: DocumentKey, content: Content, changed: Mapping[str, Any]
    ) -> None:
        """Refuse a change of some fields of a live record that makes it equal to another one."""
        declared = self._declared(key)
        if not changed.keys().isdisjoint(declared.spec.unique):
            group = group_of(self._state, declared, key)
            after = {**declared.values(content), **changed}
            refuse_duplicate(self._state, declared, after, group=group, written=transaction.unique)

    def _declared(self, key: DocumentKey) -> Declared:
        return self._state.schema.of(split_document_key(key)[1])

    def _key(self, declared: Declared, name: str) -> DocumentKey:
        return document_key(partition_of(declared, {}), declared.spec.name, record_id(name))


def _not_found(declared: Declared, key: DocumentKey, *, deleted: bool = False) -> RecordNotFoundError:
    name, record = declared.spec.name, split_document_key(key)[2]
    suffix = " (it was deleted)" if deleted else ""
    return RecordNotFoundError(f"there is no {name} {record}{suffix}", model=name, record_id=record)


def _assignment(kind: FieldKind, value: Any, context: WriteContext, content: Content) -> list[Write]:
    return kind.assign(content, value, context=context)
