"""The replica as sessions and their pumps see it: what they read, and what they hand in.

Everything a session reads here is durable; everything it hands in is durable when the call returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from crdt_sync.core.entry import ChainHash, Run, encode_run, split_entries
from crdt_sync.core.fingerprint import fingerprint
from crdt_sync.core.ids import Author, DeviceId, DocumentKey
from crdt_sync.core.logs import told
from crdt_sync.core.version import Version, encode_state_vector
from crdt_sync.errors import CRDTSyncError, EntryError, StoreReadOnlyError, TransactionError
from crdt_sync.protocol.source import ApplyOutcome, Position, Postponed, RunPage, Vector
from crdt_sync.replica.accept import Batch, accept_records, accept_runs
from crdt_sync.replica.awaiting import Awaited
from crdt_sync.replica.branches import note_fork, note_settled
from crdt_sync.replica.compacting_port import CompactingPort
from crdt_sync.replica.compactor import Compactor
from crdt_sync.replica.content import accept_content, rederive
from crdt_sync.replica.derive import derive_marked
from crdt_sync.replica.doubting import Doubting
from crdt_sync.replica.fork import believe_claim, lease_new_author, leave_lost_authors, note_proof, settle_fork
from crdt_sync.replica.handed_out import HandedOut
from crdt_sync.replica.home import note_back, note_gone
from crdt_sync.replica.home_port import HomePort
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.observers import Observers, Subscription
from crdt_sync.replica.rows import after_prefix, key_number, number_key
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.totals import Totals
from crdt_sync.security.identity import DeviceKey
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

RECORDS_PER_PAGE = 256


class Port(CompactingPort, HomePort):
    """Implements `protocol.source.Source`, and takes in what sessions receive.

    Args:
        state: the replica.
        journal: its operations.
        observers: whom to tell.
        check: raises where the replica is closed, in another thread, or amid a local transaction.
    """

    def __init__(self, state: State, journal: Journal, observers: Observers, *, check: Callable[[], None]) -> None:
        compactor = Compactor(
            state,
            journal,
            own_vector=self.vector,
            acknowledged=self._acknowledged_by_anybody,
            sent=self._held_by_anybody,
            taken=self._held_beside,
            publish=observers.publish,
            wake=observers.wake,
        )
        super().__init__(state, compactor, check=check)
        self._journal = journal
        self._observers = observers
        self._doubting = Doubting(state)
        self._flushed = -1
        self._handed_out, self._opened_at = HandedOut(state), state.ledger.end
        self._fingerprints: dict[str, tuple[tuple[int, int, bytes], bytes]] = {}

    # ── Source ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def space(self) -> bytes:
        """32 bytes."""
        return self._state.space

    @property
    def replica_id(self) -> bytes:
        """16 bytes."""
        return self._state.lease.peek()[0]

    @property
    def epoch(self) -> bytes:
        """8 bytes."""
        return self._state.lease.peek()[1]

    def vector(self) -> Vector:
        """What this replica holds durably; chains of ours that are in doubt up to where they are surely alike."""
        self._make_durable()
        return self._doubting.shown(self._state.ledger.vector())

    def hash_at(self, partition: str, author: Author, sequence: int) -> ChainHash | None:
        """The chain hash after an entry, or None where this replica does not know it."""
        doubted = self._state.doubted.get((partition, author))
        if doubted is not None and sequence > doubted:
            return None
        return self._state.ledger.hash_at(partition, author, sequence)

    def own_authors(self) -> frozenset[Author]:
        """Every author that this replica has ever leased, but for those that are bound to another device by now."""
        identity, records, authors = self._state.identity, self._state.records, self._state.lease.own_authors()
        if identity is None:
            return authors  # a reader does not know the key
        key = identity.key.public_key
        return frozenset(item for item in authors if records.bound_key(item) in (None, key))

    def runs_after(self, cursor: int, known: Vector, *, bytes_max: int) -> RunPage:
        """Whole runs after ``cursor`` that ``known`` does not cover.

        While a chain of ours is in doubt, what we wrote since it may have parted is left out: see `postponed`.
        """
        self._make_durable()
        own_before = self._doubting.postponed_from()
        return self._state.ledger.runs_after(cursor, known, bytes_max=bytes_max, own_before=own_before)

    def postponed(self) -> Postponed:
        """What of ours `runs_after` leaves out, since it may be written again."""
        return self._doubting.postponed()

    def space_records(self, after: int) -> tuple[tuple[bytes, ...], int]:
        """Encoded space records after a cursor, and the next cursor."""
        self._check()
        records: list[bytes] = []
        start = number_key(after + 1)
        for key, data in self._state.store.scan(Table.RECORD, start=start, limit=RECORDS_PER_PAGE):
            records.append(data)
            after = key_number(key)
        if records:
            self._state.store.flush()  # some may be our own, and no entry tells when they came
        return tuple(records), after

    def partitions(self) -> tuple[str, ...]:
        """Partitions that hold anything."""
        return tuple(sorted(self._state.ledger.heads))

    def fingerprint(self, partition: str) -> bytes:
        """16 bytes over (document, version) of a whole partition; kept until the log changes."""
        self._make_durable()
        derive_marked(self._state, texts_too=True)
        held = self._fingerprints.get(partition)
        ledger = self._state.ledger
        stands_for = (ledger.end, ledger.folded.generation, self.horizon(partition))
        if held is None or held[0] != stands_for:
            made = fingerprint(self._listed(partition, after=None, limit=None))
            held = self._fingerprints[partition] = (stands_for, made)
        return held[1]

    def listing(
        self, partition: str, *, after: DocumentKey | None, limit: int
    ) -> tuple[tuple[DocumentKey, bytes], ...]:
        """Documents and their versions, ascending by key, after ``after``."""
        self._make_durable()
        derive_marked(self._state, texts_too=True)
        return tuple(self._listed(partition, after=after, limit=limit))

    def state_vector(self, document: DocumentKey) -> bytes:
        """The encoded state vector of a document."""
        self._make_durable()
        encoded = encode_state_vector(self._state.documents.get(document).index.state_vector.items())
        self._state.documents.shrink()
        return encoded

    def content(self, document: DocumentKey, state_vector: bytes) -> bytes | None:
        """The update that somebody at ``state_vector`` lacks; None if the document does not exist here."""
        self._make_durable()
        loaded = self._state.documents.get(document)
        delta = loaded.delta(state_vector) if loaded.known else None
        self._state.documents.shrink()
        return delta

    # ── what sessions hand in ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def key(self) -> DeviceKey:
        """The device's key, for the handshake.

        Raises:
            StoreReadOnlyError: a replica that was opened read-only cannot take part.
        """
        if self._state.identity is None:
            raise StoreReadOnlyError("a replica that was opened read-only cannot sync")
        return self._state.identity.key

    def now_ms(self) -> int:
        """Wall time, milliseconds since 1970."""
        return self._state.now_ms()

    def entropy(self, count: int) -> bytes:
        """Unpredictable bytes."""
        return self._state.entropy(count)

    def busy(self) -> bool:
        """Whether the replica is amid a local transaction, so that nothing can be handed in."""
        try:
            self._check()
        except TransactionError:
            return True
        return False

    def awaited(self) -> Awaited:
        """What the entries of one session wait for."""
        return Awaited(self._state)

    def accept_records(self, records: Iterable[bytes]) -> Batch:
        """Verify and keep signed space records, durably."""
        self._check()
        gone, back = (partial(note, self._state, self._journal) for note in (note_gone, note_back))
        batch = Batch(records=self._guarded(lambda: accept_records(self._state, records, gone=gone, back=back)))
        if batch.records:
            end = self._state.ledger.end
            batch.changes = self.leave_lost_authors()
            batch.restated = self._state.ledger.end != end
            self._leave_if_forgotten()
            batch.changes += self._apply_horizons()
            self._observers.wake()
        return batch

    def accept_runs(self, runs: Sequence[bytes]) -> Batch:
        """Check and apply a batch of runs, durably. The caller acknowledges, then calls `publish`."""
        self._check()
        batch = self._guarded(lambda: accept_runs(self._state, runs))
        self._take_proof({*batch.authors, *(run.author for run in batch.forked_runs)})
        for run in batch.forked_runs:
            self._settle_fork(run, batch)
        batch.changes += self._apply_horizons()
        self._make_durable()
        return batch

    def accept_documents(self, partition: str, documents: Sequence[tuple[DocumentKey, bytes]]) -> Batch:
        """Screen and merge content that a repair asked for, durably."""
        self._check()
        batch = self._guarded(lambda: accept_content(self._state, partition, documents))
        self._make_durable()
        return batch

    def rederive(self, keys: Iterable[DocumentKey]) -> None:
        """Build documents anew from the log, because a peer holds them differently."""
        self._check()
        self._guarded(lambda: rederive(self._state, keys))
        self._fingerprints.clear()

    def own_ahead(self, partition: str, author: Author) -> None:
        """A peer holds more of an author of ours than we do: this store was rewound. What is missing will come."""
        self._check()
        told(
            log,
            logging.WARNING,
            "a peer holds entries of ours that are not here: the store was restored",
            author=author,
        )
        self._believe(author)

    def own_fork(self, partition: str, author: Author, *, device: DeviceId) -> bool:
        """A peer holds another branch of an author of ours: find out from its runs where they part.

        Returns:
            Whether the chain is in doubt by that until `end_doubt`.
        """
        self._check()
        said = "somebody else wrote under our author: the store was copied or restored"
        told(log, logging.WARNING, said, author=author)
        self._believe(author)
        after = self._acknowledged_by_anybody(author)
        return self._doubting.begin(partition, author, after=after, device=device)

    def branch_met(self, partition: str, author: Author, position: Position, *, device: DeviceId) -> str:
        """A peer holds another branch of an author: noted until they come together. Returns what errors say of it."""
        self._check()
        told(log, logging.WARNING, "a peer holds another branch", device=device, author=author, at=position.sequence)
        at = position.sequence
        shared = self._guarded(lambda: note_fork(self._state, partition, author, differs_at=at, device=device))
        doubted = self._state.doubted.get((partition, author))
        if doubted is not None and shared is not None and at <= doubted:
            # what parts was acknowledged, so it will stay apart: have the other branch sent once, to keep and to tell
            self._state.doubted[partition, author] = min(doubted, shared)
        wrote = self._state.name_of(author)
        return f": it holds another branch of what device {wrote} wrote; `crdt-sync forks` shows what that affects"

    @property
    def totals(self) -> Totals:
        """What is counted over all sessions."""
        return self._state.totals

    def session_ended(self, *, had_begun: bool) -> None:
        """Count a conversation that is over, and keep what was counted."""
        self._state.totals.sessions += had_begun
        try:
            if not self._state.store.read_only and not self.busy():
                self._state.totals.keep(self._state.store)
        except CRDTSyncError as error:
            told(log, logging.WARNING, "what was counted could not be kept", reason=error.message)

    def end_doubt(self, device: DeviceId, *, if_late: bool = False) -> None:
        """Doubts that a device raised about chains of ours are over: what waited for their settlement may go on.

        Args:
            device: which one.
            if_late: only where they were looked into for long enough.
        """
        if (not if_late or self._doubting.is_over(device)) and self._doubting.end(device):
            self._observers.wake()

    def leave_lost_authors(self) -> list[Change]:
        """Of two bindings of one author the smaller record hash holds: where ours lost, write again under another."""
        sent = self._held_by_anybody
        try:
            return self._guarded(lambda: leave_lost_authors(self._state, self._journal, sent=sent))
        except EntryError as error:
            told(log, logging.ERROR, "what we wrote under a lost author stays there", reason=error.message)
            return []

    def publish(self, changes: Sequence[Change]) -> None:
        """Tell observers of remote changes, after they were acknowledged."""
        self._observers.publish(changes)

    def on_commit(self, waker: Callable[[], None]) -> Subscription:
        """Call ``waker`` after every commit; it must only take a note."""
        return self._observers.add_waker(waker)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _listed(
        self, partition: str, *, after: DocumentKey | None, limit: int | None
    ) -> list[tuple[DocumentKey, Version]]:
        name = partition.encode()
        prefix = bytes((len(name),)) + name
        start = prefix if after is None else bytes(after) + b"\0"
        rows = self._state.store.scan(Table.VERSION, start=start, end=after_prefix(prefix), limit=limit)
        return [(DocumentKey(key), Version(version)) for key, version in rows]

    def _make_durable(self) -> None:
        """With durability ``normal`` a commit may not survive power loss yet: it must before anybody hears of it."""
        self._check()
        if self._flushed != self._state.ledger.end:
            self._state.store.flush()
            self._flushed = self._state.ledger.end

    def _believe(self, author: Author) -> None:
        """Write under a new author before the next local write, where a peer says that the present one was used."""
        identity = self._state.identity
        if identity is not None and identity.author == author:
            self._guarded(lambda: believe_claim(self._state, identity))
            self._observers.wake()

    def _take_proof(self, authors: set[Author]) -> None:
        """Whoever else wrote under these authors had signed it with the key that they are bound to."""
        identity = self._state.identity
        if identity is None or authors.isdisjoint(self.own_authors()):
            return
        self._guarded(lambda: note_proof(self._state))
        if identity.author in authors:
            self._guarded(lambda: lease_new_author(self._state, identity))
            self._observers.wake()

    def _leave_if_forgotten(self) -> None:
        """Bind a new author where the others were told not to wait for this device, so that they do again."""
        identity = self._state.identity
        if identity is not None and identity.key.public_key not in self._state.records.enrolled():
            told(
                log,
                logging.WARNING,
                "this device was forgotten by the others; it binds a new author, and is waited for again",
            )
            self._guarded(lambda: lease_new_author(self._state, identity))
            self._observers.wake()

    def _keep_branch(self, run: Run) -> None:
        self._state.keep_evidence(run)
        last = run.first_sequence + len(split_entries(run.body)) - 1
        self._guarded(lambda: note_fork(self._state, run.partition, run.author, differs_at=last, device=None))

    def _settle_fork(self, run: Run, batch: Batch) -> None:
        name = (run.partition, run.author)
        if run.author not in self.own_authors() or name not in self._state.doubted:
            told(log, logging.WARNING, "two branches of an author: one is kept, the other reported", author=run.author)
            self._keep_branch(run)
            return
        del self._state.doubted[name]
        sent = self._held_by_anybody
        try:
            settled = self._guarded(lambda: settle_fork(self._state, self._journal, run, sent=sent))
        except EntryError as error:
            told(log, logging.ERROR, "two branches of our author stay apart", author=run.author, reason=error.message)
            self._keep_branch(run)
            return
        self._guarded(lambda: note_settled(self._state, *name))
        batch.changes.extend(settled)
        batch.restated = True
        again = self._guarded(lambda: accept_runs(self._state, [encode_run(run)]))
        batch.entries += again.entries
        batch.changes.extend(again.changes)
        batch.waiting.extend(again.waiting)
        remaining = tuple(item for item in batch.outcome.statuses if (item.partition, item.author) != name)
        batch.outcome = ApplyOutcome(
            statuses=(*remaining, *again.outcome.statuses), lacking=(*batch.outcome.lacking, *again.outcome.lacking)
        )
