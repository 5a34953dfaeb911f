"""Forks that are not settled: noted when they are met, and told with what they affect.

Two branches of one author stay apart where both were sent to others before anybody noticed (docs/adr/0018). Each
replica keeps the branch that it holds. What counts here goes on; what others wrote on the other branch waits. A note
says whose author it is, since when, and which devices hold another branch; the log, and the runs kept as evidence, say
which records are affected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from crdt_sync.core.entry import Entry, Run, decode_entry, decode_readable, decode_run, split_entries
from crdt_sync.core.ids import Author, DeviceId, DocumentKey, RecordId, device_id, split_document_key
from crdt_sync.errors import InputError
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES, Vector
from crdt_sync.replica.fork import shared_sequence
from crdt_sync.replica.fork_notes import DEVICES_MAX, FORKS_MAX, Note, keep_notes, read_notes
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import number_key, unpack_log_row
from crdt_sync.replica.state import State, load_records
from crdt_sync.replica.stated import note_nothing
from crdt_sync.storage.base import Table

_QUIET_MS: Final = 3_600_000
"""A fork that is met again so soon, and as before, is not noted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two branches of one author that stay apart.

    Args:
        partition: of the entries.
        author: whose chain it is.
        device_id: the device that wrote both; empty where no record binds the author.
        is_own: whether that is this store.
        first_seen_ms, last_seen_ms: when it was met here, milliseconds since 1970; the latter to the hour.
        shared: both branches surely have the entries up to this one; 0 where that is not known.
        differs_at: at this entry they surely differ.
        devices: those that hold another branch than this replica, and are still waited for; 16 at most.
        kept: entries of the other branch that are kept here as evidence.
    """

    partition: str
    author: Author
    device_id: DeviceId | None
    is_own: bool
    first_seen_ms: int
    last_seen_ms: int
    shared: int
    differs_at: int
    devices: tuple[DeviceId, ...]
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedRecord:
    """A record that a fork affects.

    Args:
        model: the model's name.
        record_id: the record.
        here: whether the branch that counts here, or what was written on it, touches the record.
        kept: whether what is kept of the other branch does.
    """

    model: str
    record_id: RecordId
    here: bool
    kept: bool


def note_fork(state: State, partition: str, author: Author, *, differs_at: int, device: DeviceId | None) -> int | None:
    """Note that somebody holds another branch of an author, in a store transaction of its own.

    Args:
        state: the replica.
        partition: of the chain.
        author: whose chain it is.
        differs_at: an entry that is another one there.
        device: who holds it; None where that is not known.

    Returns:
        Up to where that device's branch is surely alike, if it was not met with that branch before; else None.
    """
    notes, now_ms = read_notes(state.store), state.now_ms()
    held = notes.get((partition, author))
    if held is None and len(notes) >= FORKS_MAX:
        del notes[min(notes, key=lambda name: notes[name].last_ms)]
    devices = () if held is None else held.devices
    is_other = device is not None and device not in devices
    if is_other and len(devices) >= DEVICES_MAX:
        waited_for = {device_id(key) for key in state.records.enrolled()}
        devices = tuple(item for item in devices if item in waited_for)
    is_new = is_other and len(devices) < DEVICES_MAX
    if device is not None and is_new:
        devices = (*devices, device)
    told = _told_alike(state, partition, author, device, below=differs_at)
    shared = told if held is None else held.shared
    if held is not None and held.devices and is_other:
        shared = min(shared, told)  # it may be a third branch
    note = Note(
        partition=partition,
        author=author,
        first_ms=now_ms if held is None else held.first_ms,
        last_ms=now_ms,
        shared=shared,
        differs_at=differs_at if held is None else min(differs_at, held.differs_at),
        devices=devices,
    )
    if held is not None and now_ms - held.last_ms < _QUIET_MS and replace(note, last_ms=held.last_ms) == held:
        return None
    keep_notes(state.store, {**notes, (partition, author): note})
    if held is None or is_new:
        _doubt_word(state, author, met=device)
    return told if is_new else None


def _doubt_word(state: State, author: Author, *, met: DeviceId | None) -> None:
    """Who wrote both branches was rewound, or doubled: what it signed before tells nothing of what it holds now.

    It counts as holding nothing until it is met again. Where it is the one that was met, it has just said so itself.
    """
    key = state.records.bound_key(author)
    if key is None or author in state.lease.own_authors() or device_id(key) == met:
        return
    with state.store.transaction():
        note_nothing(state.store, device_id(key))


def note_alike(state: State, device: DeviceId, vector: Vector, *, apart: frozenset[Author]) -> None:
    """A device has told all that it holds: what does not differ from here any more is no fork with it.

    Args:
        state: the replica.
        device: who.
        vector: what it holds.
        apart: the authors of which it holds another branch.
    """
    notes = read_notes(state.store)
    left = {
        name: replace(note, devices=tuple(item for item in note.devices if item != device))
        if device in note.devices and note.author not in apart and _is_alike(state, note, vector)
        else note
        for name, note in notes.items()
    }
    if left != notes:
        # a note from evidence alone never named a device: that says nothing of whether it is settled
        keep_notes(state.store, {name: note for name, note in left.items() if note.devices or not notes[name].devices})


def _is_alike(state: State, note: Note, vector: Vector) -> bool:
    """Whether a position is on the branch that is held here; one ahead of it says nothing."""
    position = vector.get(note.partition, {}).get(note.author)
    if position is None or not position.sequence:
        return True
    held = state.ledger.hash_at(note.partition, note.author, position.sequence)
    return held is not None and held.startswith(position.hash[:WIRE_HASH_BYTES])


def note_settled(state: State, partition: str, author: Author) -> None:
    """The branches of an author of ours have come together."""
    notes = read_notes(state.store)
    if notes.pop((partition, author), None) is not None:
        keep_notes(state.store, notes)


class ForkCalls(ABC):
    """What a replica offers about forks that are not settled."""

    _state: State

    @abstractmethod
    def _check(self) -> None:
        """Raise where the replica is closed or in another thread."""

    def forks(self) -> tuple[Fork, ...]:
        """Authors of which this replica and another device hold different branches, the oldest first.

        It happens when a whole machine is taken back to an earlier moment, or cloned, and both pasts sync with
        different devices before these meet. Nothing is merged and nothing is thrown away: what counts here goes on.
        """
        self._check()
        return forks_of(self._state)

    def forked_records(self, fork: Fork, /) -> list[ForkedRecord]:
        """The records that a fork affects, as far as it is known here, in order of model and id.

        Where `Fork.shared` is 0 it is not known where the branches part, so all that the device wrote here counts.

        Args:
            fork: as `forks` gives it.

        Raises:
            InputError: it is no fork.
        """
        self._check()
        if not isinstance(fork, Fork):
            raise InputError(f"a fork is expected, not a {type(fork).__name__}", hint="Take one of replica.forks().")
        here = _touched_here(self._state, fork)
        kept = {
            operation.document
            for _, entries in _kept(self._state, _evidence(self._state).get((fork.partition, fork.author), ()))
            for entry in entries
            for operation in entry.operations
        }
        found = []
        for key in here | kept:
            _, model, record = split_document_key(key)
            found.append(ForkedRecord(model=model, record_id=record, here=key in here, kept=key in kept))
        return sorted(found, key=lambda item: (item.model, item.record_id))


def forks_of(state: State) -> tuple[Fork, ...]:
    """All forks that are not settled, the oldest first."""
    store = state.store
    records = state.records if state.identity is not None else load_records(store)
    waited_for = {device_id(key) for key in records.enrolled()}
    own = state.lease.own_authors()
    found: list[Fork] = []
    notes = read_notes(store)
    evidence = _evidence(state) if notes else {}
    for note in sorted(notes.values(), key=lambda note: (note.first_ms, note.author)):
        devices = tuple(item for item in note.devices if item in waited_for)
        if note.devices and not devices:
            continue  # nobody is waited for any more who holds another branch
        kept = list(_kept(state, evidence.get((note.partition, note.author), ())))
        key = records.bound_key(note.author)
        found.append(
            Fork(
                partition=note.partition,
                author=note.author,
                device_id=None if key is None else device_id(key),
                is_own=note.author in own,
                first_seen_ms=note.first_ms,
                last_seen_ms=note.last_ms,
                shared=_shared(note, [shared for shared, _ in kept]),
                differs_at=note.differs_at,
                devices=devices,
                kept=sum(len(entries) for _, entries in kept),
            )
        )
    return tuple(found)


def _shared(note: Note, kept: Sequence[int]) -> int:
    """Up to where the branches are alike; what is kept of one branch says nothing of a third one."""
    return max(note.shared, min(kept)) if kept and len(note.devices) <= 1 else note.shared


def _touched_here(state: State, fork: Fork) -> set[DocumentKey]:
    """What the branch held here touches, behind where it is surely shared, and what rests on it."""
    first = state.ledger.position_after(fork.partition, fork.author, fork.shared)
    touched: set[DocumentKey] = set()
    if first is None:
        return touched
    resting = {fork.author: fork.shared + 1}
    for _, data in state.store.scan(Table.LOG, start=number_key(first)):
        row = unpack_log_row(data)
        if row.partition != fork.partition or row.author == CONTENT_AUTHOR:
            continue
        for sequence, encoded in enumerate(row.applied(), row.first):
            entry = decode_entry(encoded)
            follows = sequence >= resting.get(row.author, sequence + 1)
            if follows or any(head.sequence >= resting.get(head.author, head.sequence + 1) for head in entry.heads):
                resting.setdefault(row.author, sequence)
                touched.update(operation.document for operation in entry.operations)
    return touched


def _evidence(state: State) -> dict[tuple[str, Author], list[Run]]:
    """The runs that are kept as evidence, by partition and author."""
    runs: dict[tuple[str, Author], list[Run]] = {}
    for _, data in state.store.scan(Table.EVIDENCE):
        run = decode_run(data)
        runs.setdefault((run.partition, run.author), []).append(run)
    return runs


def _kept(state: State, runs: Iterable[Run]) -> Iterator[tuple[int, list[Entry]]]:
    """Of runs of another branch the last entry that is shared, and those behind it that can be read."""
    for run in runs:
        shared = max(shared_sequence(state, run), run.first_sequence - 1)
        entries = split_entries(run.body)[shared + 1 - run.first_sequence :]
        if entries:
            yield shared, decode_readable(entries)


def _told_alike(state: State, partition: str, author: Author, device: DeviceId | None, *, below: int) -> int:
    """Up to where a device signed, before the fork was met, that it has the entries that are here; 0 if it did not."""
    own = state.ledger.vector()
    if device is None or author not in own.get(partition, {}):
        return 0
    book = HoldingsBook(state)
    words = (vector for key, vector in book.latest().items() if device_id(key) == device)
    reached = max((book.reach(vector, partition, author, own=own) for vector in words), default=0)
    return reached if reached < below else 0
