"""Bulk data in both directions: batches, credit, acknowledgements."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from crdt_sync.core.entry import ChainHash, decode_run
from crdt_sync.core.ids import Author
from crdt_sync.errors import EntryError, LocalProtocolError
from crdt_sync.protocol.care import Flight
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Ack, Credit
from crdt_sync.protocol.source import EntryStatus, SentRun, Source, Vector
from crdt_sync.protocol.vectors import Position

RunHead = tuple[str, Author, int]
"""Partition, author and sequence of the last entry of a run."""

_NO_HASH = ChainHash(bytes(32))
_NOTHING = Position(0, _NO_HASH)
_GRANT_SHARE = 4
"""Credit is given back once a quarter of the window is used up, so that small exchanges need no message for it."""


def run_head(run: bytes) -> RunHead:
    """The last position that a run brings; raises `PeerError`."""
    try:
        decoded = decode_run(run)
    except EntryError as error:
        raise PeerError(ErrorCode.MALFORMED, error.message) from None
    body, count, position = decoded.body, 0, 0
    end = len(body)
    while position < end:
        length = body[position]
        position += 1
        if length > 127:
            length, shift = length & 127, 7
            while position < end:
                byte = body[position]
                position += 1
                length |= (byte & 127) << shift
                if byte < 128:
                    break
                shift += 7
                if shift > 28:
                    raise PeerError(ErrorCode.MALFORMED, "a run whose lengths do not end")
        position += length
        count += 1
    if position != end:
        raise PeerError(ErrorCode.MALFORMED, "a run whose lengths do not add up")
    return decoded.partition, decoded.author, decoded.first_sequence + count - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    heads: tuple[RunHead, ...] = ()
    first: bytes = b""
    """Its first run ..."""
    held: int = 0
    """... up to which entry of it the peer held that already."""
    until: int = 0
    """The log position behind it."""
    is_single: bool = False
    """It is one run that cannot be smaller."""


class Outflow:
    """What this side has sent and may send.

    Invariant: a bulk message is sent only while credit is left; it may overdraw it.
    """

    def __init__(self) -> None:
        self._window = 0
        self._credit = 0
        self._unacked: deque[_Sent] = deque()
        self._ends: dict[tuple[str, Author], int] = {}
        """The last entry that was sent of each author."""
        self.entries = 0
        """Entries sent that the peer was not known to have."""
        self.sent = 0
        self.acked = 0
        self.cursor = 0
        self.at_end = False
        """Every run up to our own vector was sent, or is known to the peer."""

    def open(self, window_bytes: int) -> None:
        """The peer's hello grants its window."""
        self._window = self._credit = window_bytes

    @property
    def may_send(self) -> bool:
        """There is credit for one more bulk message."""
        return self._credit > 0

    @property
    def settled(self) -> bool:
        """Everything sent is acknowledged."""
        return self.sent == self.acked

    @property
    def has_more(self) -> bool:
        """There is some of the log to look at."""
        return not self.at_end

    def spend(self, size_bytes: int) -> None:
        """A bulk message goes out."""
        self._credit -= size_bytes

    @property
    def flight(self) -> Flight | None:
        """The first run that is not answered; none where documents were sent before it."""
        if not self._unacked or not self._unacked[0].heads:
            return None
        sent = self._unacked[0]
        partition, author, last = sent.heads[0]
        first = max(decode_run(sent.first).first_sequence, sent.held + 1)  # a run may begin with what is held
        return Flight(
            partition=partition,
            author=author,
            first=first,
            last=last,
            until=sent.until,
            alone=(sent.is_single or first == last) and len(self._unacked) == len(sent.heads) == 1,
        )

    def sent_runs(self, runs: Sequence[SentRun], *, known: Vector, is_single: bool = False) -> None:
        """A batch of runs goes out, up to our cursor.

        Args:
            runs: at least one.
            known: what the peer holds, as far as it said.
            is_single: it is one run that cannot be smaller.
        """
        heads = tuple([(partition, author, last) for _, partition, author, last in runs])
        held = self._held_of(heads[0], known)
        for data, partition, author, last in runs:
            at = known.get(partition, {}).get(author, _NOTHING).sequence
            before = max(self._ends.get((partition, author), 0), at) or decode_run(data).first_sequence - 1
            self.entries += max(0, last - before)
            self._ends[partition, author] = max(last, before)
        self._sent(_Sent(heads=heads, first=runs[0][0], held=held, until=self.cursor, is_single=is_single))

    def _held_of(self, head: RunHead, known: Vector) -> int:
        """Up to which entry the peer holds a run that it lacks the end of: as it said, or as it was sent before."""
        partition, author, last = head
        position = known.get(partition, {}).get(author)
        held = self._ends.get((partition, author), 0) if position is None else position.sequence
        return min(held, last - 1)

    def sent_documents(self) -> None:
        """A batch of documents goes out."""
        self._sent(_Sent())

    def _sent(self, batch: _Sent) -> None:
        self.sent += 1
        self._unacked.append(batch)

    def receive_credit(self, amount: int) -> None:
        """The peer grants more; raises `PeerError` beyond the window."""
        if self._credit + amount > self._window:
            raise PeerError(ErrorCode.CREDIT_OVERFLOW, "more credit than the window that the hello stated")
        self._credit += amount

    def receive_ack(self, batch: int) -> list[RunHead]:
        """Everything up to a batch is durable there; returns the heads that this brings. Raises `PeerError`."""
        if not self.acked <= batch <= self.sent:
            raise PeerError(ErrorCode.BAD_ACK, f"batch {batch} was not sent, or acknowledged before a later one")
        heads: list[RunHead] = []
        for _ in range(batch - self.acked):
            heads.extend(self._unacked.popleft().heads)
        self.acked = batch
        return heads

    def restart(self) -> None:
        """Plan from the beginning of the log again."""
        self.cursor, self.at_end = 0, False


@dataclass(frozen=True, slots=True)
class _Batch:
    size_bytes: int
    heads: tuple[RunHead, ...]


class Inflow:
    """What this side has received and owes an acknowledgement or credit for.

    Invariants:
        1. Bulk data received and not yet persisted is at most the window and one message.
        2. Batches are acknowledged in order, after the host said that they are durable.
    """

    def __init__(self, source: Source, limits: WireLimits, *, window_bytes: int) -> None:
        self._source = source
        self._limits = limits
        self._window = window_bytes
        self._granted = window_bytes
        """Credit that the peer has left, as it must see it."""
        self._unreturned = 0
        self._waiting: deque[_Batch] = deque()
        self.received = 0
        self.persisted = 0
        self._acked = 0
        self._statuses: deque[EntryStatus] = deque()
        self._corrections: dict[str, dict[Author, Position]] = {}
        self._again: set[tuple[str, Author]] = set()
        """Whose entries the peer is asked for again."""

    def receive_bulk(self, size_bytes: int) -> None:
        """A bulk message came in; raises `PeerError` if there was no credit for it."""
        if self._granted <= 0:
            raise PeerError(ErrorCode.CREDIT_EXCEEDED, "bulk data without credit")
        self._granted -= size_bytes

    def receive_batch(self, size_bytes: int, heads: tuple[RunHead, ...]) -> int:
        """Number a batch whose bytes come back as credit once it is persisted."""
        self.received += 1
        self._waiting.append(_Batch(size_bytes, heads))
        return self.received

    def release(self, size_bytes: int) -> None:
        """Bulk data is worked off."""
        self._unreturned += size_bytes

    def persist(self, batch: int, statuses: tuple[EntryStatus, ...]) -> None:
        """The host has committed a batch; raises `LocalProtocolError` out of order."""
        if batch != self.persisted + 1 or batch > self.received:
            raise LocalProtocolError(f"batch {self.persisted + 1} is next to be persisted, not {batch}")
        done = self._waiting.popleft()
        self.persisted = batch
        self.release(done.size_bytes)
        statuses = tuple([status for status in statuses if status.sequence])  # no message tells of refused content
        self._statuses.extend(statuses)
        self._correct(done.heads, statuses)

    @property
    def owes_acknowledgement(self) -> bool:
        """A batch is persisted and not acknowledged yet."""
        return self._acked < self.persisted

    def ask_again(self, chains: Collection[tuple[str, Author]]) -> None:
        """Have the next acknowledgement ask for what is behind our end of these chains; for none, ask for nothing."""
        self._again = {*self._again, *chains} if chains else set()

    def acks(self) -> list[Ack]:
        """Acknowledgements that are due; more than one only with very many statuses, or what is asked for."""
        acks = self._due_acks() if self.owes_acknowledgement else []
        if self._again:
            asked, self._again = self._again, set()
            acks.append(Ack(batch=self.persisted, corrections=self._held_of(asked), statuses=()))
        return acks

    def _due_acks(self) -> list[Ack]:
        self._acked = self.persisted
        acks: list[Ack] = []
        while not acks or self._statuses:
            count = min(len(self._statuses), self._limits.statuses_max)
            statuses = tuple(self._statuses.popleft() for _ in range(count))
            acks.append(Ack(batch=self.persisted, corrections=self._corrections, statuses=statuses))
            self._corrections = {}
        return acks

    def credit(self) -> Credit | None:
        """Credit to give back, if it is worth a message."""
        if self._unreturned * _GRANT_SHARE < self._window:
            return None
        amount, self._unreturned = self._unreturned, 0
        self._granted += amount
        return Credit(amount=amount)

    def _correct(self, heads: tuple[RunHead, ...], statuses: tuple[EntryStatus, ...]) -> None:
        # The peer takes every run of the batch for held; state what is held of each author of whom that is not so, and
        # of each with a status: another branch at the same position shows only in the hash.
        own = self._source.vector()
        told = {(status.partition, status.author) for status in statuses}
        brought = {(partition, author): sequence for partition, author, sequence in heads}
        for partition, author in sorted(told | brought.keys()):
            held = own.get(partition, {}).get(author, _NOTHING)
            if (partition, author) in told or held.sequence < brought[partition, author]:
                self._corrections.setdefault(partition, {})[author] = held

    def _held_of(self, chains: Iterable[tuple[str, Author]]) -> dict[str, dict[Author, Position]]:
        own, held = self._source.vector(), dict[str, dict[Author, Position]]()
        for partition, author in sorted(chains):
            held.setdefault(partition, {})[author] = own.get(partition, {}).get(author, _NOTHING)
        return held
