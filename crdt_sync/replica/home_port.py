"""The part of `Port` that is about what peers hold of the operations made here, and what they refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from crdt_sync.core.entry import SEQUENCE_MAX
from crdt_sync.core.ids import Author, DeviceId, device_id
from crdt_sync.core.logs import told
from crdt_sync.errors import EntryError, ForkError, StoreError
from crdt_sync.protocol.care import Care, Flight
from crdt_sync.protocol.session import Session
from crdt_sync.protocol.source import EntryStatus, Position, SentRun, StatusKind, Vector
from crdt_sync.protocol.states import Phase
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES
from crdt_sync.replica.branches import note_alike, note_fork
from crdt_sync.replica.handed_out import HandedOut
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.home import (
    Word,
    ever_acknowledged,
    held_back,
    hold_back,
    let_go,
    let_go_of_held,
    note_met,
    note_word,
    set_home,
)
from crdt_sync.replica.home_peers import is_home
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.replica.observers import Observers
from crdt_sync.replica.operations import SyncOperation
from crdt_sync.replica.own_operation import own_row
from crdt_sync.replica.set_aside import Doubts, Fault, RetryPolicy, SetAside
from crdt_sync.replica.set_aside import doubts as all_doubts
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.stepping import step_around
from crdt_sync.replica.synclog import results_after

log = logging.getLogger("crdt_sync.replica")


Stepped = tuple[list[Change], frozenset[Author]]


class HomePort:
    """What `Port` inherits."""

    _state: State
    _journal: Journal
    _observers: Observers
    _check: Callable[[], None]
    _guarded: Callable[[Callable[[], Stepped]], Stepped]
    _fingerprints: dict[str, tuple[tuple[int, int, bytes], bytes]]
    busy: Callable[[], bool]
    _handed_out: HandedOut
    _opened_at: int
    """The end of the log when the store was opened: nobody remembers who was sent what up to there."""

    policy = RetryPolicy()
    """How often is tried what sessions end at."""

    completed = 0
    """How many operations became completed since the store was opened."""

    retries = 0
    """How often `retry` had something wait again; sessions that began before do not send it."""

    def acknowledged(
        self,
        device: DeviceId,
        vector: Vector,
        statuses: Sequence[EntryStatus],
        *,
        but_for: frozenset[Author] | None = None,
    ) -> None:
        """Note what a peer holds durably, and what of ours it refused: operations become completed or failed.

        Args:
            device: the peer.
            vector: positions that it holds.
            statuses: what it did not apply.
            but_for: None where it may hold more; else operations that nobody is known to hold by now wait again, but
                for those of these authors.
        """
        self._check()
        HoldingsBook(self._state).correct(device, vector, is_all=but_for is not None)
        if but_for is not None:
            self._note_content(device, is_proven=False)
        self._handed_out.answered(device, vector, statuses, is_all=but_for is not None)
        own = self._state.lease.journaled_authors()
        held: dict[Author, int] = {}
        unsure = set(but_for or ())
        for partition, ends in vector.items():
            for author, position in ends.items():
                if author not in own or not position.sequence:
                    continue
                if self._is_ours(partition, author, position):
                    held[author] = position.sequence
                elif position.sequence >= self._state.ledger.floor_of(partition, author).sequence:
                    unsure.add(author)  # it is ahead of us, or on another branch
        theirs = {author: at.sequence for ends in vector.values() for author, at in ends.items() if author not in own}
        let_go_of_held(self._state.store, device, {**theirs, **held})
        refused = [item for item in statuses if item.kind is StatusKind.REFUSED and item.author in own]
        word = Word(device=device, held=held, unsure=frozenset(unsure), whole=but_for is not None)
        self.completed += note_word(self._state, self._journal, word, refused=refused)
        self._note_branches(device, vector, statuses, apart=but_for)
        doubts = Doubts(self._state.store, device)
        if doubts:
            with self._state.store.transaction():
                cut = {item.author: item.sequence for item in statuses if item.kind is StatusKind.REFUSED}
                changed = doubts.note_answer(vector, cut)
            if changed:
                self._state.resting.reset()

    def _note_branches(
        self, device: DeviceId, vector: Vector, statuses: Sequence[EntryStatus], *, apart: frozenset[Author] | None
    ) -> None:
        if apart is not None:
            note_alike(self._state, device, vector, apart=apart)
        for item in statuses:
            if item.code == ForkError.code and not item.retry:
                end = self._state.ledger.end_of(item.partition, item.author).sequence
                if end:
                    note_fork(self._state, item.partition, item.author, differs_at=end, device=device)

    def care(self, public_key: bytes) -> Care:
        """How to send to a device with which sessions ended at some entry."""
        doubts = Doubts(self._state.store, device_id(public_key))
        return doubts.care(self.policy, now_ms=self._state.now_ms())

    def ended_at(self, device: DeviceId, flight: Flight, fault: Fault, *, reason: str, epoch: bytes) -> bool:
        """A session ended with a run in flight; whether that is noted, so that the next one goes another way.

        Args:
            device: the peer.
            flight: the run.
            fault: how it ended.
            reason: the same for people.
            epoch: the peer's, by its hello.
        """
        if fault is Fault.FAILURE:
            self._handed_out.closed(device)
        else:
            self._handed_out.lost(device)
        try:
            if self.busy() or not self._note_end(device, flight, fault, reason=reason, epoch=epoch):
                return False
            self._state.resting.reset()
            self._observers.publish(self.step_around())
            return True
        except StoreError as error:
            told(log, logging.WARNING, "how a session ended could not be kept", reason=error.message)
            return False

    def _note_end(self, device: DeviceId, flight: Flight, fault: Fault, *, reason: str, epoch: bytes) -> bool:
        state = self._state
        with state.store.transaction():
            doubts = Doubts(state.store, device)
            verdict = doubts.note_end(
                flight,
                fault,
                reason=reason,
                policy=self.policy,
                now_ms=state.now_ms(),
                epoch=epoch,
            )
            if verdict.is_aside:
                told(
                    log, logging.WARNING, "an entry is set aside", device=device, author=flight.author, at=flight.first
                )
                hold_back(state.store, device, [(flight.author, flight.first)])
            if not verdict.tries or flight.author not in state.lease.journaled_authors():
                return True
            author, first, tries = flight.author, flight.first, f"{verdict.tries} sessions with a device ended at it"
            error = f"set_aside: {tries}; the last one: {reason}" if verdict.is_aside else reason
            self._journal.tried(author, first=first, last=flight.last, error=error)
            if verdict.is_aside and is_home(state.store, device):
                now_ms, only = state.now_ms(), flight.last
                self._journal.fail(
                    author, sequence=first, last=only, error=error, peer=device, now_ms=now_ms, sent=False
                )
        return True

    def handed_out(self, public_key: bytes, runs: Sequence[SentRun]) -> None:
        """Note what is on its way: it is not written again, as somebody who did not answer may hold it."""
        self._handed_out.note(device_id(public_key), runs)

    def keep_handed_out(self) -> None:
        """The process ends in good order."""
        self._handed_out.keep()

    def step_around(self) -> list[Change]:
        """Write again what rests on what is set aside by its chain alone; what observers are to be told."""
        state, since, sent = self._state, self._opened_at, self._held_by_anybody
        try:
            changes, authors = self._guarded(lambda: step_around(state, self._journal, since=since, sent=sent))
        except EntryError as error:
            told(log, logging.WARNING, "what is behind an entry that is set aside waits", reason=error.message)
            return []
        if authors:
            self.retries += 1
            self._observers.wake()
        return changes

    def equal(self, device: DeviceId) -> None:
        """A device was proven to hold all that is here."""
        self._note_content(device, is_proven=True)
        let_go_of_held(self._state.store, device, None)
        doubts = Doubts(self._state.store, device)
        if doubts:
            with self._state.store.transaction():
                doubts.note_equal()
            self._state.resting.reset()

    def _note_content(self, device: DeviceId, *, is_proven: bool) -> None:
        """Note whether a device has what a repair kept here beyond the log: its vector does not tell."""
        kept = KeptContent(self._state.store)
        if kept.documents and (device in kept.holders) != is_proven:
            with self._state.store.transaction():
                (kept.add_holder if is_proven else kept.drop_holder)(device)

    def set_aside(self) -> tuple[SetAside, ...]:
        """What devices are not sent at once."""
        self._check()
        return tuple(item for doubts in all_doubts(self._state.store) for item in doubts.set_aside())

    def retry(self, operation_id: str | None) -> int:
        """Have what failed, or was set aside, wait again; see `Replica.retry`. Returns how many operations do."""
        self._check()
        with self._state.store.transaction():
            waiting = self._put_back(operation_id)
            authors = [] if operation_id is not None and waiting else self._journal.retry(operation_id)
            again = let_go(self._state.store, None if operation_id is None else authors)
        self._state.resting.reset()
        if authors or again or waiting:
            self.retries += 1
            self._observers.wake()
        return len(authors) + waiting

    def own_id(self, operation: SyncOperation) -> str:
        """The id of an operation of this replica.

        Raises:
            InputError: it is none.
        """
        own_row(self._journal, operation, device_id=str(self._state.device() or ""))
        return operation.id

    def results_after(self, number: int) -> tuple[list[range], int]:
        """Which operations got a result since one of the sync log, by number; and the number of the last result."""
        return results_after(self._state.store, number)

    def begin_anew(self, authors: Collection[Author]) -> None:
        """Entries of some authors of ours were taken back: nothing of these is held back, and sessions begin anew."""
        with self._state.store.transaction():
            let_go(self._state.store, authors)
            for doubts in all_doubts(self._state.store):
                doubts.let_go(dict.fromkeys(authors, SEQUENCE_MAX))
        self._state.resting.reset()
        self._fingerprints.clear()  # where nothing is written again, the log ends where it did
        self.retries += 1
        self._observers.wake()

    def _put_back(self, operation_id: str | None) -> int:
        """Send again at once what sessions ended at: all, or what keeps one operation; how many were our own."""
        upto = None
        if operation_id is not None:
            _, row = self._journal.row(operation_id)
            upto = {row.author: row.sequence}
        own, count = self._state.lease.journaled_authors(), 0
        for doubts in all_doubts(self._state.store):
            count += sum(item.due_ms is not None and item.author in own for item in doubts.let_go(upto))
        return count

    def held_back(self, public_key: bytes) -> Mapping[Author, int]:
        """What a device has refused and is not sent again."""
        return held_back(self._state.store, device_id(public_key))

    def obstacle(self, public_key: bytes) -> str:
        """The same, to be put behind an error's text."""
        held = self.waits_for(public_key)
        return f": {held}" if held else ""

    def left_out(self, session: Session | None) -> str:
        """What is set aside, where all else that either side is known to have is durable on both; or nothing."""
        if session is None or not session.drained or session.state not in (Phase.FINGERPRINTS, Phase.LIVE):
            return ""
        return self.waits_for(session.peer.public_key)

    def waits_for(self, public_key: bytes) -> str:
        """What a device is not sent, so that it cannot hold everything, with the reason; or nothing."""
        now_ms = self._state.now_ms()
        for item in Doubts(self._state.store, device_id(public_key)).set_aside():
            until = "" if item.due_ms is None else f" for {max(0, item.due_ms - now_ms) / 1000:.0f} s more"
            name = self._journal.named(item.author, item.sequence)
            return f"{name} is set aside{until} ({item.reason}; `retry` sends it again)"
        for author, sequence in sorted(self.held_back(public_key).items()):
            name = self._journal.named(author, sequence)
            return f"{name} was refused before (`retry` sends it again)"
        return ""

    def has_pending(self, count: int) -> bool:
        """Whether so many operations are pending, or more; quick where they are far from it."""
        self._check()
        return self._journal.has_pending(count)

    def met(self, address: str, device: DeviceId) -> None:
        """Note which device answers at an address."""
        self._check()
        self.completed += note_met(self._state, self._journal, address, device)

    def set_home(self, addresses: Collection[str]) -> None:
        """Note which peers the app named: they are home; see `home_peers`."""
        self._check()
        self.completed += set_home(self._state, self._journal, addresses)

    def _is_ours(self, partition: str, author: Author, position: Position) -> bool:
        """Whether a peer's position is on the branch that we hold; one ahead of ours may be on another one."""
        held = self._state.ledger.hash_at(partition, author, position.sequence)
        return held is not None and held.startswith(position.hash[:WIRE_HASH_BYTES])

    def _acknowledged_by_anybody(self, author: Author) -> int:
        return ever_acknowledged(self._state.store, author)

    def _held_by_anybody(self, author: Author) -> int:
        """As far as can be known: somebody may hold what he was sent, and did not answer."""
        return max(self._acknowledged_by_anybody(author), self._handed_out.last(author))

    def _held_beside(self, author: Author) -> int:
        """The same of what failed: but for those who refused it, or whose sessions end at it.

        What a process handed out that was killed does not count, or nothing could be taken back after that.
        """
        store, ends_at = self._state.store, dict[DeviceId, int]()
        refused = ((device, held_back(store, device).get(author)) for device in self._handed_out.devices())
        aside = ((item.device_id, item.sequence) for item in self.set_aside() if item.author == author)
        for device, sequence in (*refused, *aside):
            if sequence is not None:
                ends_at[device] = min(sequence, ends_at.get(device, sequence))
        return max(self._acknowledged_by_anybody(author), self._handed_out.last_beside(author, ends_at))
