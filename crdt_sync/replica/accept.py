"""Accepting what others wrote: every check before anything changes, in the order of security.md §6.

size → version (wire) → chain and signature → binding → screening → persist. What is refused is refused alike by every
replica, since nothing here looks at this replica's models, clock or order of arrival. What is only missing something is
parked: not kept, not counted, and sent again by whoever has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from crdt_sync.core.entry import (
    SHORT_HASH_BYTES,
    ChainHash,
    Entry,
    EntryOperation,
    Head,
    OperationType,
    Run,
    check_continues,
    decode_entry,
    decode_readable,
    decode_run,
    next_hash,
    pack_entries,
    run_statement,
    split_entries,
)
from crdt_sync.core.ids import Author, DeviceId, DocumentKey, device_id, split_document_key
from crdt_sync.core.logs import told
from crdt_sync.core.records import decode_record
from crdt_sync.core.screening import Screened, screen
from crdt_sync.errors import ChainError, EntryError, ForkError, MissingCauseError, ScreeningError, SignatureError
from crdt_sync.protocol.source import ApplyOutcome, EntryStatus, Lacking, StatusKind
from crdt_sync.replica.awaiting import Waiting, parked
from crdt_sync.replica.collector import collector_paused
from crdt_sync.replica.derive import Derivation, fields_of, removes_hidden
from crdt_sync.replica.documents import Loaded
from crdt_sync.replica.lacking import (
    LacksDocument,
    Parked,
    came_with_content,
    check_causes,
    holds_content,
    require_documents,
)
from crdt_sync.replica.rows import LogRow, Touch, touch_key
from crdt_sync.replica.settled_deletions import settles
from crdt_sync.replica.settled_fields import causal_cells, settles_field
from crdt_sync.replica.state import Change, State, Touched
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")


DOCUMENT_BYTES: Final = 200
"""What a small document takes in a run, about: tells bulk from little."""


_Judged = tuple[Loaded, bytes, Screened | None]
"""A document, an update of it, and what that does; None where the document has it already."""


@dataclass(slots=True)
class Batch:
    """What one accepted batch did.

    Args:
        outcome: statuses of what was not applied, for the acknowledgement.
        changes: what observers are to be told, after the acknowledgement is on its way.
        records: how many new space records were kept.
        entries: how many entries were applied.
        authors: whose entries were applied.
        forked_runs: runs that continue a chain from another entry than the one held here.
        restated: whether our own vector changed otherwise than by growing, so that the peer must be told it again.
        lacking: documents that parked entries wait for.
        waiting: the entries that were parked and may be sent again.
    """

    outcome: ApplyOutcome = field(default_factory=ApplyOutcome)
    changes: list[Change] = field(default_factory=list)
    records: int = 0
    entries: int = 0
    authors: set[Author] = field(default_factory=set)
    forked_runs: list[Run] = field(default_factory=list)
    restated: bool = False
    lacking: list[Lacking] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)


@dataclass(slots=True)
class _Taken:
    """What the runs of one batch did to documents so far: how each changed, and keys for the touch table."""

    touched: dict[DocumentKey, Touched] = field(default_factory=dict)
    touches: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Checked:
    """A run whose chain and signature hold: what of it is new."""

    run: Run
    entries: list[bytes]
    known: int
    hashes: list[ChainHash]


def accept_records(
    state: State, records: Iterable[bytes], *, gone: Callable[[DeviceId], None], back: Callable[[DeviceId], None]
) -> int:
    """Verify and keep signed space records; returns how many were new. Opens its own store transaction.

    Args:
        state: the replica.
        records: encoded records.
        gone: called in the transaction for every other device that is waited for no more.
        back: the same for every one that is waited for from now on.

    Raises:
        EntryError: one is malformed, of another space, or badly signed; none was kept.
    """
    decoded = [decode_record(data) for data in records]
    for record in decoded:
        if record.hash() in state.records:
            continue
        if record.space != state.space:
            raise SignatureError("a space record of another space")
        if not verify(record.public_key, statement=record.statement(), signature=record.signature):
            raise SignatureError("a space record whose signature does not hold")
    own = b"" if state.identity is None else state.identity.key.public_key
    with state.store.transaction():
        before = state.records.enrolled()
        count = sum(state.add_record(record) for record in decoded)
        after = state.records.enrolled()
        for key in sorted((before ^ after) - {own}):
            (back if key in after else gone)(device_id(key))
    return count


def accept_runs(state: State, runs: Sequence[bytes]) -> Batch:
    """Check and apply foreign runs in one store transaction; durable when it returns.

    Args:
        state: the replica.
        runs: encoded runs, causes before effects.
    """
    batch = Batch()
    with collector_paused(documents=sum(map(len, runs)) // DOCUMENT_BYTES):
        with state.store.transaction():
            _apply_runs(state, runs, batch=batch)
        state.documents.shrink()  # before the collector looks at them
    state.totals.foreign_entries += batch.entries
    return batch


def _apply_runs(state: State, runs: Sequence[bytes], *, batch: Batch) -> None:
    statuses: list[EntryStatus] = []
    taken = _Taken()
    for data in runs:
        try:
            run = decode_run(data)
        except EntryError as error:
            told(log, logging.WARNING, "a run was refused", reason=error.message)
            state.totals.refused += 1
            continue
        status = _accept_run(state, run, batch=batch, taken=taken)
        if status is not None:
            statuses.append(status)
    state.store.put_many(Table.TOUCH, [(key, b"") for key in taken.touches])
    derivation = Derivation(state, origin="remote")
    for item in taken.touched.values():
        derivation.touch(item)
    derivation.finish()
    batch.outcome = ApplyOutcome(statuses=tuple(statuses), lacking=tuple(batch.lacking))
    batch.changes = derivation.changes


def _accept_run(state: State, run: Run, *, batch: Batch, taken: _Taken) -> EntryStatus | None:
    """Apply what is new in a run, up to its first refused entry; returns the status of what was not applied."""
    applied: list[bytes] = []
    checked: _Checked | None = None
    status: EntryStatus | None = None
    entry: Entry | None = None
    sequence = run.first_sequence
    try:
        checked = _check_run(state, run)
        run = checked.run
        sequence = run.first_sequence + checked.known
        new = checked.entries[checked.known :]
        if not new:
            return None
        position = state.ledger.end + 1
        entries = decode_readable(new)  # a malformed one is decoded again, and refused, when its turn comes
        state.documents.expect(operation.document for entry in entries for operation in entry.operations)
        require_documents(state, run, entries, sequence=sequence)
        for at_entry, data in enumerate(new):
            entry = entries[at_entry] if at_entry < len(entries) else decode_entry(data)
            check_causes(state, run, entry)
            operations = _screen_entry(state, run, entry, sequence=sequence)
            for at, operation in enumerate(operations):
                if operation is not None:
                    _take(state, operation, taken, touch=Touch(position, checked.known + at_entry, at))
            _observe(state, run, entry, sequence, checked.hashes[checked.known + at_entry])
            applied.append(data)
            sequence += 1
    except (Parked, MissingCauseError) as reason:
        status = _park(state, batch, run, sequence, entry=entry, reason=reason)
    except ForkError as error:
        state.totals.parked += 1
        batch.forked_runs.append(run)
        status = _status(run, sequence, StatusKind.PARKED, error.code, error.message, retry=False)
    except EntryError as error:
        state.totals.refused += 1
        told(log, logging.WARNING, "an entry was refused", author=run.author, sequence=sequence, reason=error.message)
        status = _status(run, sequence, StatusKind.REFUSED, error.code, error.message, retry=False)
    if checked is not None and applied:
        _append(state, run, checked, applied=len(applied))
        batch.entries += len(applied)
        batch.authors.add(run.author)
    return status


def _park(
    state: State, batch: Batch, run: Run, sequence: int, *, entry: Entry | None, reason: Parked | MissingCauseError
) -> EntryStatus:
    """Note what an entry waits for; None for ``entry`` where its run waits as a whole."""
    state.totals.parked += 1
    lacks = reason.keys if isinstance(reason, LacksDocument) else ()
    batch.lacking += [Lacking(key, run.author, sequence) for key in lacks]
    if isinstance(reason, MissingCauseError) and entry is not None:
        lacks = tuple(operation.document for operation in entry.operations)
    heads, records = ((), ()) if entry is None else (entry.heads, entry.records)
    chain = (run.partition, run.author)
    batch.waiting.append(parked(state, chain, sequence, heads=heads, records=records, documents=lacks))
    text = reason.reason if isinstance(reason, Parked) else reason.message
    return _status(run, sequence, StatusKind.PARKED, reason.code, text, retry=True)


def _check_run(state: State, run: Run) -> _Checked:
    """Chain, signature and binding of a run.

    Raises:
        Parked: its author is not known yet, or entries before it are not here.
        ForkError, ChainError, SignatureError, MalformedEntryError: see there.
    """
    run = _above_floor(state, run)
    end = state.ledger.end_of(run.partition, run.author)
    entries = split_entries(run.body)
    if not entries:
        return _Checked(run, entries, 0, [])
    if run.first_sequence > end.sequence + 1:
        raise Parked("missing_cause", "entries of this author before it are not here")
    known = check_continues(expected=end.sequence + 1, run=run, entries=len(entries))
    start = state.ledger.hash_at(run.partition, run.author, run.first_sequence - 1)
    if start is None:
        raise ChainError("a run whose start is not held")
    hashes: list[ChainHash] = []
    for entry in entries:
        start = next_hash(start, entry)
        hashes.append(start)
    key = state.records.bound_key(run.author)
    if key is None:
        raise Parked("unknown_author", "no record binds this author yet")
    last = run.first_sequence + len(entries) - 1
    statement = run_statement(state.space, last, hashes[-1])
    if not verify(key, statement=statement, signature=run.signature):
        raise SignatureError("a run whose signature does not hold")
    if known:
        held = state.ledger.hash_at(run.partition, run.author, run.first_sequence + known - 1)
        if held != hashes[known - 1]:
            raise ForkError("another entry is held at this position")
    return _Checked(run, entries, known, hashes)


def _above_floor(state: State, run: Run) -> Run:
    """A run without the entries that were folded here: their hashes are gone, and the chain goes on at the floor."""
    floor = state.ledger.floor_of(run.partition, run.author).sequence
    if run.first_sequence > floor:
        return run
    entries = split_entries(run.body)[floor - run.first_sequence + 1 :]
    return replace(run, first_sequence=floor + 1, body=pack_entries(entries))


def _screen_entry(state: State, run: Run, entry: Entry, *, sequence: int) -> list[_Judged | None]:
    """Screen all operations of an entry before any of them is taken in; None for those that count for nothing.

    All causes of the entry are here. So where a document is not, or not all of it, a horizon has removed it, here or
    where it came from; or a repair had to leave it out here, or keep it as content where it came from.

    Raises:
        LacksDocument: it has to be fetched first.
    """
    screened: list[_Judged | None] = []
    for operation in entry.operations:
        partition, _, _ = split_document_key(operation.document)
        if partition != run.partition:
            raise ChainError("an operation outside of its entry's partition")
        screened.append(_screen_operation(state, run, operation, sequence=sequence))
    return screened


def _screen_operation(state: State, run: Run, operation: EntryOperation, *, sequence: int) -> _Judged | None:
    """Screen one operation; None where it counts for nothing, and without a verdict where content brought it before."""
    loaded = state.documents.get(operation.document)
    is_gone = not loaded.known and operation.type is not OperationType.CREATE
    try:
        if is_gone and state.has_settled(run.partition):
            raise MissingCauseError("a record that is not here")
        verdict = screen(operation.update, author=run.author, index=loaded.index, operation=operation.type)
    except MissingCauseError:
        if not state.has_settled(run.partition) or not state.is_settled(run.partition, run.author, sequence):
            raise LacksDocument(operation.document) from None
        if is_gone or holds_content(state.store, state.ledger, operation.document):
            return None
        raise
    except ScreeningError:
        if came_with_content(state, loaded, operation.update, author=run.author):
            return loaded, operation.update, None
        raise
    return loaded, operation.update, verdict


def _take(
    state: State,
    update: _Judged,
    taken: _Taken,
    *,
    touch: Touch,
) -> None:
    loaded, data, screened = update
    key = loaded.key
    taken.touches.append(touch_key(key, touch))
    if screened is None:
        return
    declared = state.schema.by_key(key)
    fields, text_only = fields_of(screened, declared)
    if removes_hidden(screened, loaded):
        fields = frozenset()  # nothing that shows has changed
    is_settling = settles(screened) or settles_field(declared, loaded, causal_cells(screened))
    settles_at = touch.position if is_settling else None
    loaded.add(data, screened)
    before = taken.touched.get(key)
    if before is not None:
        fields, text_only = fields | before.fields, text_only and before.text_only
        settles_at = settles_at if before.settles_at is None else before.settles_at
    taken.touched[key] = Touched(key=key, fields=fields, text_only=text_only, settles_at=settles_at)


def _observe(state: State, run: Run, entry: Entry, sequence: int, chain_hash: ChainHash) -> None:
    if not state.clock.observe(entry.hlc, state.now_ms()):
        state.totals.drifted += 1
        told(log, logging.WARNING, "an entry is dated far in the future", author=run.author, sequence=sequence)
    head = Head(author=run.author, sequence=sequence, short_hash=chain_hash[:SHORT_HASH_BYTES])
    state.saw(run.partition, head, entry.heads)


def _append(state: State, run: Run, checked: _Checked, *, applied: int) -> None:
    """Log the whole run as it came, so that it can be relayed byte for byte; entries behind ``last`` are void."""
    last = run.first_sequence + checked.known + applied - 1
    state.ledger.append(
        LogRow(
            partition=run.partition,
            author=run.author,
            first=run.first_sequence,
            last=last,
            head=checked.hashes[checked.known + applied - 1],
            clock=state.clock.last,
            own=False,
            body=run.body,
            signature=run.signature,
        )
    )


def _status(run: Run, sequence: int, kind: StatusKind, code: str, reason: str, *, retry: bool) -> EntryStatus:
    return EntryStatus(
        partition=run.partition,
        author=run.author,
        sequence=sequence,
        kind=kind,
        code=code,
        reason=reason[:200],
        retry=retry,
    )
