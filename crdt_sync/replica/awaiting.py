"""What parked entries of one session wait for: the peer is asked for them again when it has come, and not before.

So an entry that can never be applied, as it rests on another branch than the one held here, is sent once in a session,
whatever else goes on. Entries that wait for each other are asked for together, so they come in one go, causes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from crdt_sync.core.entry import SHORT_HASH_BYTES, Head
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.protocol.session import Session
from crdt_sync.protocol.source import Position
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table

WAITING_MAX: Final = 1024
"""Authors of which entries are known to wait; with more of them, the peer is asked for all that is not held."""

Chain = tuple[str, Author]
"""A partition, and whose chain it is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A parked entry.

    Args:
        chain, sequence: which one.
        heads, records: what it saw.
        documents: what it needs of documents, and not all of which is here.
        had: what was here of these when it was parked.
    """

    chain: Chain
    sequence: int
    heads: tuple[Head, ...] = ()
    records: tuple[bytes, ...] = ()
    documents: tuple[DocumentKey, ...] = ()
    had: tuple[object, ...] = ()


def parked(
    state: State,
    chain: Chain,
    sequence: int,
    *,
    heads: tuple[Head, ...] = (),
    records: tuple[bytes, ...] = (),
    documents: tuple[DocumentKey, ...] = (),
) -> Waiting:
    """An entry that is parked now; the arguments are those of `Waiting`."""
    had = _held_of(state, chain, sequence, documents)
    return Waiting(chain=chain, sequence=sequence, heads=heads, records=records, documents=documents, had=had)


def _held_of(state: State, chain: Chain, sequence: int, documents: Iterable[DocumentKey]) -> tuple[object, ...]:
    """Changes where a document gets more content, or where an entry need not have it any more."""
    touches = [
        next(
            (
                name
                for name, _ in state.store.scan(Table.TOUCH, start=key, end=after_prefix(key), reverse=True, limit=1)
            ),
            b"",
        )
        for key in documents
    ]
    partition, author = chain
    return (*touches, bool(touches) and state.is_settled(partition, author, sequence))


class Awaited:
    """What of one peer's entries waits here.

    Args:
        state: the replica.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: dict[Chain, Waiting] = {}
        self._stuck: dict[Chain, tuple[Chain, Position]] = {}
        """Chains that lack an entry of another one → that one, and where it ended then: asking the log costs more."""
        self._looked_at = (0, 0, 0, 0)
        self._is_over = False
        """More wait than are known."""

    def add(self, waiting: Iterable[Waiting]) -> None:
        """Note what was parked: of each chain the first such entry counts."""
        for item in waiting:
            if item.chain not in self._waiting and len(self._waiting) >= WAITING_MAX:
                self._is_over = True
            elif item.chain not in self._waiting or item.sequence < self._waiting[item.chain].sequence:
                self._waiting[item.chain] = item

    def clear(self) -> None:
        """All that is not held is asked for."""
        self._waiting.clear()
        self._stuck.clear()
        self._is_over = False

    def ask(self, session: Session) -> None:
        """Have the peer send again what was parked, where what it waited for has come."""
        chains = self.take()
        if chains is None:
            session.restate()
        elif chains:
            session.ask_again(chains)

    def take(self) -> frozenset[Chain] | None:
        """The chains that can go on by now, to be asked for; None where all that is not held has to be."""
        if not self._waiting:
            return frozenset()
        state = self._state
        ledger = state.ledger  # content of documents is no entry, and ends the log elsewhere all the same
        now = (state.totals.foreign_entries, ledger.end, ledger.folded.generation, len(state.records))
        if now == self._looked_at:
            return frozenset()
        if now[2:] != self._looked_at[2:]:
            self._stuck.clear()  # what was folded counts as held
        self._looked_at = now
        ends = ledger.heads
        for chain, item in list(self._waiting.items()):
            position = ends.get(chain[0], {}).get(chain[1])
            if position is not None and position.sequence >= item.sequence:
                del self._waiting[chain]  # it came otherwise
                self._stuck.pop(chain, None)
        if self._is_over:
            self.clear()  # any of them may be able by now
            return None
        able = self._able()
        for chain in able:
            del self._waiting[chain]
        return frozenset(able)

    def _able(self) -> list[Chain]:
        """Those that lack nothing, or nothing but what others bring that lack nothing."""
        lacks: dict[Chain, int] = {}
        waited_for: dict[Chain, list[Chain]] = {}
        for chain, item in self._waiting.items():
            causes = self._causes(item)
            if causes is None:
                continue
            self._stuck.pop(chain, None)
            lacks[chain] = len(causes)
            for cause in causes:
                waited_for.setdefault(cause, []).append(chain)
        able = [chain for chain, count in lacks.items() if not count]
        for chain in able:  # grows
            for other in waited_for.get(chain, ()):
                lacks[other] -= 1
                if not lacks[other]:
                    able.append(other)
        return able

    def _causes(self, item: Waiting) -> list[Chain] | None:
        """Chains that wait here themselves and bring what an entry lacks; None where something else is lacking."""
        state, (partition, author) = self._state, item.chain
        ledger = state.ledger
        if ledger.end_of(partition, author).sequence < item.sequence - 1 or state.records.bound_key(author) is None:
            return None
        if item.documents and item.had == _held_of(state, item.chain, item.sequence, item.documents):
            return None
        if any(name not in state.records for name in item.records):
            return None
        stuck = self._stuck.get(item.chain)
        if stuck is not None and stuck[0] not in self._waiting and ledger.end_of(*stuck[0]) == stuck[1]:
            return None
        causes: list[Chain] = []
        for head in item.heads:
            held = ledger.hash_at(partition, head.author, head.sequence)
            if held is not None and held[:SHORT_HASH_BYTES] == head.short_hash:
                continue
            if held is None and head.sequence < ledger.floor_of(partition, head.author).sequence:
                continue
            cause = self._waiting.get((partition, head.author))
            if held is not None or cause is None or cause.sequence > head.sequence:
                self._stuck[item.chain] = (partition, head.author), ledger.end_of(partition, head.author)
                return None
            causes.append(cause.chain)
        return causes
