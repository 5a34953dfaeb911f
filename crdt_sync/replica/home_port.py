"""The part of `Port` that is about what peers hold of the operations made here, and what they refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crdt_sync.core.ids import Author, DeviceId, device_id
from crdt_sync.protocol.source import EntryStatus, Position, StatusKind, Vector
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES
from crdt_sync.replica.home import Word, ever_acknowledged, held_back, let_go, note_met, note_word
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.observers import Observers
from crdt_sync.replica.state import State


class HomePort:
    """What `Port` inherits."""

    _state: State
    _journal: Journal
    _observers: Observers
    _check: Callable[[], None]

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
        refused = [item for item in statuses if item.kind is StatusKind.REFUSED and item.author in own]
        word = Word(device=device, held=held, unsure=frozenset(unsure), whole=but_for is not None)
        note_word(self._state, self._journal, word, refused=refused)

    def retry(self, operation_id: str | None) -> int:
        """Have what failed wait again; see `Replica.retry`. Returns how many operations do."""
        self._check()
        with self._state.store.transaction():
            authors = self._journal.retry(operation_id)
            again = let_go(self._state.store, None if operation_id is None else authors)
        if authors or again:
            self.retries += 1
            self._observers.wake()
        return len(authors)

    def held_back(self, public_key: bytes) -> Mapping[Author, int]:
        """What a device has refused and is not sent again."""
        return held_back(self._state.store, device_id(public_key))

    def refusal_of(self, public_key: bytes) -> str:
        """What keeps a device from holding everything, to be put behind an error's text; or nothing."""
        refused = self.held_back(public_key)
        return "".join(
            f": entry {sequence} of author {author} was refused before (`retry` sends it again)"
            for author, sequence in sorted(refused.items())[:1]
        )

    def has_pending(self, count: int) -> bool:
        """Whether so many operations are pending, or more; quick where they are far from it."""
        self._check()
        return self._journal.has_pending(count)

    def met(self, address: str, device: DeviceId) -> None:
        """Note which device answers at an address."""
        self._check()
        note_met(self._state, self._journal, address, device)

    def _is_ours(self, partition: str, author: Author, position: Position) -> bool:
        """Whether a peer's position is on the branch that we hold; one ahead of ours may be on another one."""
        held = self._state.ledger.hash_at(partition, author, position.sequence)
        return held is not None and held.startswith(position.hash[:WIRE_HASH_BYTES])

    def _acknowledged_by_anybody(self, author: Author) -> int:
        return ever_acknowledged(self._state.store, author)
