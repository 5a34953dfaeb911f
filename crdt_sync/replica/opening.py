"""Opening and closing: from a path to the shared state of a replica, and back to a file that is whole."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
from uuid_utils import uuid7

from crdt_sync.core.clock import Hlc, HybridClock
from crdt_sync.core.ids import Author
from crdt_sync.core.logs import told
from crdt_sync.core.model import Model
from crdt_sync.core.naming import NUMBER_MAX, NameRecord
from crdt_sync.core.records import OPEN_SPACE, RecordKind, SpaceRecord
from crdt_sync.errors import InputError, LimitError, NotAStoreError, StoreReadOnlyError, StoreVersionError
from crdt_sync.replica.derive import derive_marked, described_models, rebuild_views
from crdt_sync.replica.documents import DocumentCache
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.lease import Identity, Lease, StoreLock, check_state_dir
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.schema import Schema, models_of
from crdt_sync.replica.state import State, load_records
from crdt_sync.replica.totals import Totals
from crdt_sync.storage.base import Durability, Store
from crdt_sync.storage.memory import MemoryStore
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.storage.swapping import is_swapped

log = logging.getLogger("crdt_sync.replica")

MEMORY = ":memory:"
STATE_DIR_VARIABLE = "CRDT_SYNC_STATE_DIR"
READER = Author(1)
"""Stands for the author of a replica that cannot write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where time, randomness and ids come from; tests give their own.

    Args:
        now_ms: milliseconds since 1970.
        entropy: gives that many unpredictable bytes.
        new_record_id: a new UUIDv7 as text.
    """

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    entropy: Callable[[int], bytes] = os.urandom
    new_record_id: Callable[[], str] = lambda: str(uuid7())


@dataclass(slots=True, kw_only=True)
class Opened:
    """An open store with everything that belongs to it."""

    state: State
    lock: StoreLock | None


def default_state_dir() -> Path:
    """Where fences and keys are kept: ``$CRDT_SYNC_STATE_DIR``, or the user's state directory."""
    chosen = os.environ.get(STATE_DIR_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_state_path("crdt_sync", ensure_exists=False)


def open_store(
    path: str | Path,
    *,
    models: Iterable[type[Model]] | None,
    durability: Durability,
    read_only: bool,
    create: bool,
    state_dir: Path | None,
    device_name: str | None,
    sources: Sources,
) -> Opened:
    """Open a store for use; a failed open changes nothing and holds nothing.

    Args:
        path: the store's file, or ``:memory:``.
        models: the app's models; None takes those that the store describes.
        durability: ``full`` or ``normal``.
        read_only: for reading beside another process.
        create: make the store where there is none.
        state_dir: instead of `default_state_dir`.
        device_name: what the device calls itself from now on; None leaves it.
        sources: time, randomness, ids.
    """
    if durability not in ("full", "normal"):
        raise InputError(f"durability must be 'full' or 'normal', not {durability!r}")
    given = None if models is None else Schema(models)
    if str(path) == MEMORY:
        if read_only:
            raise StoreReadOnlyError("a store in memory begins empty and cannot be opened read-only")
        return _named(_assemble(MemoryStore(), given, lock=None, state_dir=None, sources=sources), device_name)
    place = Path(path)
    if read_only:
        if device_name is not None:
            raise StoreReadOnlyError("a device cannot be named by a replica that is opened read-only")
        store = open_sqlite(place, create=False, read_only=True, durability=durability)
        return _guarded(store, None, lambda: _assemble_reader(store, given, sources=sources))
    is_none = not create and not place.exists() and not is_swapped(place.resolve())
    if is_none or not place.parent.is_dir():
        open_sqlite(place, create=False, read_only=True).close()  # raises: there is none
    where = default_state_dir() if state_dir is None else state_dir
    check_state_dir(where)
    lock = StoreLock(place.resolve())
    lock.acquire()
    try:
        store = open_sqlite(place, create=create, durability=durability)
    except (NotAStoreError, StoreVersionError):
        lock.abandon()
        raise
    except BaseException:
        lock.release()
        raise
    return _guarded(
        store,
        lock,
        lambda: _named(_assemble(store, given, lock=lock, state_dir=where, sources=sources), device_name),
    )


def open_on(store: Store, models: Iterable[type[Model]] | None, *, state_dir: Path | None, sources: Sources) -> Opened:
    """Use a store that is open already, one of your own for instance: `Replica(open_on(...), name=...)`.

    Nobody else may write to it meanwhile; there is no lock. It is closed with the replica, and where this fails.

    Args:
        store: passes `crdt_sync.testing.stores`.
        models: the app's models; None takes those that the store describes.
        state_dir: where keys and fences are kept; None for a store that can be neither copied nor restored.
        sources: time, randomness, ids.
    """
    given = None if models is None else Schema(models)
    return _guarded(store, None, lambda: _assemble(store, given, lock=None, state_dir=state_dir, sources=sources))


def close_store(opened: Opened) -> None:
    """Bring derived state up to date, note the clean end, and let go of everything."""
    state = opened.state
    try:
        if state.identity is not None:
            derive_marked(state, texts_too=True, fold=True)
            state.totals.keep(state.store)
            state.lease.release(state.identity)
    finally:
        _let_go(state.store, opened.lock)


def _let_go(store: Store, lock: StoreLock | None) -> None:
    """Close a store, and give its lock back also where the disk fails at that."""
    try:
        store.close()
    finally:
        if lock is not None:
            lock.release()


def bind_author(state: State, identity: Identity) -> None:
    """Make the record that binds the author to this device, in the caller's store transaction."""
    record = SpaceRecord(
        kind=RecordKind.BIND_AUTHOR,
        space=state.space,
        parents=state.records.heads(),
        author=identity.author,
        salt=identity.salt,
        public_key=identity.key.public_key,
    )
    state.add_record(replace(record, signature=identity.key.sign(record.statement())))


def write_name(state: State, name: str) -> bool:
    """Record what this device calls itself; whether that is new."""
    identity = state.identity
    if identity is None:
        return False
    held = state.records.name_of(identity.key.public_key)
    if held is not None and held.name == name:
        return False
    number = 1 if held is None else held.number + 1
    if number > NUMBER_MAX:
        raise LimitError("this device has changed its name as often as it can")
    record = NameRecord(space=state.space, number=number, name=name, public_key=identity.key.public_key)
    try:
        with state.store.transaction():
            state.add_record(replace(record, signature=identity.key.sign(record.statement())))
    except BaseException:
        state.reload()  # or the name would stand here, and in no store
        raise
    return True


def _guarded(store: Store, lock: StoreLock | None, assemble: Callable[[], Opened]) -> Opened:
    try:
        return assemble()
    except BaseException:
        _let_go(store, lock)
        raise


def _assemble(
    store: Store, given: Schema | None, *, lock: StoreLock | None, state_dir: Path | None, sources: Sources
) -> Opened:
    schema = given if given is not None else _described(store)
    lease = Lease(store, state_dir=state_dir, entropy=sources.entropy)
    ledger = Ledger(store)
    clock = HybridClock(last=Hlc(ledger.clock()))
    is_ahead = not clock.observe(clock.last, sources.now_ms())
    identity = lease.acquire(doubt="clock far ahead" if is_ahead else _lost_binding(store, lease))
    state = _state(store, schema, ledger, lease=lease, identity=identity, sources=sources)
    if identity.is_new_author:
        told(log, logging.INFO, "writing under a new author", author=identity.author, reason=identity.reason)
        if is_ahead:
            state.clock.last = Hlc(0)
        with store.transaction():
            bind_author(state, identity)
            HoldingsBook(state).say_anew()
    state.name_everything()
    rebuild_views(state)
    derive_marked(state, texts_too=True)
    return Opened(state=state, lock=lock)


def _named(opened: Opened, name: str | None) -> Opened:
    if name is not None:
        write_name(opened.state, name)
    return opened


def _lost_binding(store: Store, lease: Lease) -> str:
    """Why the author held may not be used any more, though the past is sound: another device holds its binding."""
    held = lease.held()
    if held is None:
        return ""
    author, key = held
    bound = load_records(store).bound_key(author)
    return "bound elsewhere" if bound is not None and key is not None and bound != key else ""


def _assemble_reader(store: Store, given: Schema | None, *, sources: Sources) -> Opened:
    return Opened(state=reader_state(store, given, sources=sources), lock=None)


def reader_state(store: Store, schema: Schema | None = None, *, sources: Sources | None = None) -> State:
    """What the parts of a replica share, without the identity that writing takes.

    Args:
        store: it is not written to here.
        schema: the models; None takes those that the store describes.
        sources: of time, randomness and ids.
    """
    sources = sources or Sources()
    lease = Lease(store, state_dir=None, entropy=sources.entropy)
    declared = schema if schema is not None else _described(store)
    return _state(store, declared, Ledger(store), lease=lease, identity=None, sources=sources)


def _state(
    store: Store, schema: Schema, ledger: Ledger, *, lease: Lease, identity: Identity | None, sources: Sources
) -> State:
    author = READER if identity is None else identity.author
    return State(
        store=store,
        schema=schema,
        ledger=ledger,
        documents=DocumentCache(store, ledger, author=author),
        records=load_records(store),
        clock=HybridClock(last=Hlc(ledger.clock())),
        lease=lease,
        identity=identity,
        space=OPEN_SPACE,
        now_ms=sources.now_ms,
        entropy=sources.entropy,
        new_record_id=sources.new_record_id,
        totals=Totals.of(store),
    )


def _described(store: Store) -> Schema:
    return Schema(models_of(described_models(store)))
