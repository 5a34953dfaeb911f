"""Replica: the local facade. It validates, writes, persists and publishes; it never waits for a network."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from crdt_sync.core.ids import DeviceId
from crdt_sync.core.model import Model, bind
from crdt_sync.core.naming import checked_name
from crdt_sync.errors import EntryError, InputError, StoreClosedError, StoreError, TransactionError, WrongThreadError
from crdt_sync.replica.arguments import checked_models, checked_path
from crdt_sync.replica.branches import ForkCalls
from crdt_sync.replica.checking.calls import ChecksStore
from crdt_sync.replica.conflict_calls import ConflictCalls
from crdt_sync.replica.durability import DurabilityCalls
from crdt_sync.replica.history_calls import HistoryCalls
from crdt_sync.replica.invalid import InvalidCalls
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.journal_calls import JournalCalls
from crdt_sync.replica.keeping_policy import KEEPING, KeepingPolicy
from crdt_sync.replica.keeping_small import KeepsSmall
from crdt_sync.replica.local import LocalStorage
from crdt_sync.replica.naming import NamesDevices
from crdt_sync.replica.observers import Observers, Subscription
from crdt_sync.replica.opening import Opened, Sources, close_store, open_store
from crdt_sync.replica.port import Port
from crdt_sync.replica.query import build_query, fields_used, found_key
from crdt_sync.replica.records import Records
from crdt_sync.replica.referring import following
from crdt_sync.replica.schema import partition_of
from crdt_sync.replica.set_aside import RetryPolicy
from crdt_sync.replica.state import Change
from crdt_sync.replica.upkeep import Upkeep
from crdt_sync.storage.base import Durability

log = logging.getLogger("crdt_sync.replica")

M = TypeVar("M", bound=Model)


class Replica(
    ConflictCalls,
    HistoryCalls,
    InvalidCalls,
    JournalCalls,
    DurabilityCalls,
    ForkCalls,
    ChecksStore,
    KeepsSmall,
    NamesDevices,
):
    """One durable copy of the data, in one store. Every call is synchronous, and durable when it returns.

    Invariants:
        1. It is used in the thread and the process that opened it.
        2. Bad input raises a typed error and changes nothing.
        3. Observers are called after the commit, never before.

    Open one with `Replica.open`; close it, or use it as a context manager.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        name: str,
        retry_policy: RetryPolicy | None = None,
        keeping: KeepingPolicy | None = None,
    ) -> None:
        self._opened = opened
        self._state = opened.state
        self._name = name
        self._thread = threading.get_ident()
        self._process = os.getpid()
        self._closed = False
        state = opened.state
        state.keeping = keeping or KEEPING
        self._journal = Journal(state.store, state.ledger, state.documents, state.schema, resting=state.resting)
        self._journal.results.kept = state.keeping.results_kept
        self._observers = Observers()
        self._records = Records(self._state, self._journal, self._observers, check=self._check)
        self._upkeep = Upkeep(self._state, self._records, self._observers)
        self.local = LocalStorage(self._state.store, check=self._check)
        """Durable key-value storage that is private to the device."""
        self.port = Port(self._state, self._journal, self._observers, check=self._check_idle)
        self.port.policy = retry_policy or RetryPolicy()

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
        device_name: str | None = None,
        sources: Sources | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> Replica:
        """Open a store, and make it where there is none.

        Args:
            path: the store's file; ``":memory:"`` for tests.
            models: the app's models; None takes them as the store describes them.
            durability: ``"full"``: what returned survives power loss; ``"normal"``: it survives the end of the
                process, and power loss from the moment it was sent to anybody.
            read_only: for reading beside a process that writes. `find` answers by the tables as that process left them:
                texts over 16 KiB may be as of a second ago while it syncs, or else as of its latest call.
            create: False raises where there is no store.
            state_dir: where keys and fences are kept, instead of the user's state directory.
            device_name: what people call this device, 1 to 64 printable characters; None leaves it as it is.
            sources: where time, randomness and ids come from; tests give their own.
            retry_policy: how often a change is tried with a device whose sessions end at it.

        Raises:
            InputError: a path or an option that cannot be; models that are no list.
            SchemaError: the models cannot work together.
            StoreNotFoundError, NotAStoreError, StoreVersionError, StoreInUseError, StoreReadOnlyError,
            CorruptStoreError, KeyFileError: the store cannot be opened; nothing was changed.
        """
        place = checked_path(path, what="the path of a store")
        if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
            raise InputError(f"retry_policy is a RetryPolicy, not a {type(retry_policy).__name__}")
        opened = open_store(
            place,
            models=checked_models(models),
            durability=durability,
            read_only=read_only,
            create=create,
            state_dir=None if state_dir is None else checked_path(state_dir, what="state_dir"),
            device_name=None if device_name is None else checked_name(device_name),
            sources=sources or Sources(),
        )
        return cls(opened, name=str(path), retry_policy=retry_policy)

    def close(self) -> None:
        """Bring the tables up to date, note the clean end, and let go of the store. May be called again."""
        if self._closed:
            return
        self._check_idle()
        self._closed = True
        try:
            self.port.keep_handed_out()
        finally:
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
        with self._records.transaction():
            yield

    def create(self, model: type[M], /, **values: Any) -> M:
        """Create a record and return it, live.

        With a natural key, the record that two devices create is one; creating over a deleted one restores it and
        writes the values given, as assignments would: what a `first`, `max_` or `min_` field holds beyond them stays.

        Raises:
            UnknownModelError, UnknownFieldError, InvalidValueError: nothing was changed.
            RecordExistsError: a live record has this natural key, or these unique values.
        """
        self._check()
        return self._records.create(model, values)

    def update(self, record: Model, /, **values: Any) -> None:
        """Write fields of a record as one transaction.

        Raises:
            UnknownFieldError, InvalidValueError, RecordNotFoundError, RecordDeletedError: nothing was changed.
            RecordExistsError: another live record has these unique values; nothing was changed.
        """
        self._check()
        self._records.update(record, values)

    def delete(self, record: Model, /) -> None:
        """Delete a record. What becomes of an edit made at once elsewhere is up to its model's on_edit_after_delete.

        Raises:
            RecordNotFoundError, RecordDeletedError: nothing was changed.
        """
        self._check()
        self._records.delete(record)

    def restore(self, model: type[M], id: str, /) -> M:
        """Bring a deleted record back, with everything that was in it; nothing happens to a live one.

        Raises:
            RecordNotFoundError: there never was one.
        """
        self._check()
        return self._records.restore(model, id)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, model: type[M], id: str, /) -> M:
        """A live record by id; what was merged into another record gives that one.

        Raises:
            RecordNotFoundError: there is none, or it was deleted.
        """
        self._check()
        return self._records.get(model, id)

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
        self._upkeep.before_reading(texts_too=not fields_used(query).isdisjoint(declared.text_columns))
        query = following(self._state, declared, query)
        partition, name = partition_of(declared, {}), declared.spec.name
        found = self._state.store.query(query)
        return [bind(model, self._records, found_key(partition, name, row)) for row in found]

    def count(self, model: type[Model], /, **filters: Any) -> int:
        """How many records match all filters; they are written as for `find`."""
        self._check()
        declared = self._state.schema.of(model)
        query = build_query(declared.spec, filters, order_by=None, limit=None, offset=0)
        self._upkeep.before_reading(texts_too=not fields_used(query).isdisjoint(declared.text_columns))
        return self._state.store.query_count(following(self._state, declared, query))

    def bring_up_to_date(self) -> None:
        """Let other readers of the file see the latest texts, too. Any call does, at most once a second; so does sync.

        Nothing happens amid a transaction.
        """
        self._check()

    def observe(self, callback: Callable[[Change], object], *, model: type[Model] | None = None) -> Subscription:
        """Call ``callback`` with each `Change`, local or remote, after it is durable.

        Returns:
            A subscription; its ``close()`` ends it.
        """
        self._check()
        name = None if model is None else self._state.schema.of(model).spec.name
        return self._observers.add(callback, model=name)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check(self) -> None:
        self._check_usable()
        self._upkeep.now_and_then()

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreClosedError("this replica was closed")
        if threading.get_ident() != self._thread:
            raise WrongThreadError("a replica was used outside of the thread that opened it")
        if os.getpid() != self._process:
            raise WrongThreadError(
                "a replica was used in a child of the process that opened it",
                hint="Open replicas after the fork, or start processes by the method 'spawn'.",
            )
        if not self._state.ledger.is_known:
            with suppress(StoreError, EntryError):  # who asks for what cannot be read is told; a check goes on
                self._state.reload()
        elif self._state.identity is None:
            self._state.follow()

    def _check_idle(self) -> None:
        self._check_usable()
        if self._records.in_transaction:
            raise TransactionError(
                "a transaction is open", hint="Leave the transaction's block first, and do not await inside of one."
            )
