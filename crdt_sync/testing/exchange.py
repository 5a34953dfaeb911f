"""Two replicas exchange what they have in one thread, without a network and without an event loop.

It is what `crdt_sync.aio` does with a session, over a `MemoryLine` whose faults a test decides frame by frame, so a run
is repeated by its decisions.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import assert_never

from crdt_sync.core.ids import DocumentKey
from crdt_sync.core.peer import PeerIdentity
from crdt_sync.errors import ChannelClosed, EntryError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.protocol.events import (
    Acknowledged,
    AllProven,
    ContentDiffers,
    DocumentsReceived,
    Drained,
    Ended,
    Event,
    ForeignFork,
    OwnAhead,
    OwnFork,
    PeerReady,
    ProvenEqual,
    RecordsReceived,
    RunsReceived,
)
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.session import Session
from crdt_sync.protocol.source import EntryStatus
from crdt_sync.replica import Replica
from crdt_sync.transport.memory import End, Fates, MemoryLine, always_deliver

FLIGHTS_MAX = 10_000
"""Two replicas that still have something to say after so many flights will never stop."""
TICKS_MAX = 64

ForkEvent = OwnFork | OwnAhead | ForeignFork


@dataclass(slots=True, kw_only=True)
class SideReport:
    """What one side of an exchange sent and saw.

    Args:
        frames_sent: handed to the line, also those that a fault then met.
        bytes_sent: of these frames.
        entries: foreign entries that were applied.
        statuses: what was received and not applied.
        forks: branches that showed, in order.
        differing: documents whose content had to be repaired.
        ended: how the session ended, once it has.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    entries: int = 0
    statuses: list[EntryStatus] = field(default_factory=list)
    forks: list[ForkEvent] = field(default_factory=list)
    differing: list[DocumentKey] = field(default_factory=list)
    ended: Ended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeReport:
    """How an exchange went.

    Args:
        proven_equal: both sides held equal content when everything was said, proven by fingerprints.
        flights: how often everything that was ready was carried across.
        left: of the replica given first, which dials.
        right: of the other one.
    """

    proven_equal: bool
    flights: int
    left: SideReport
    right: SideReport


class Side:
    """One replica, its session, and what a pump does between the two.

    Args:
        replica: idle, in this thread.
        end: of the line.
        peer: the replica at the other end.
        limits: of the session.
        now_ms: clock of the session, milliseconds since 1970.
    """

    def __init__(self, replica: Replica, *, end: End, peer: Replica, limits: WireLimits | None, now_ms: int) -> None:
        self.port = replica.port
        self.end = end
        self.report = SideReport()
        self.proven_token = 0
        """The latest own request for proof that was met."""
        self.outbox: deque[bytes] = deque()
        """Frames that the line has no room for yet."""
        self.session = Session(
            initiator=end is End.DIALER,
            peer=PeerIdentity.of(peer.port.key.public_key),
            source=self.port,
            limits=limits,
            now_ms=now_ms,
        )
        self._subscription = self.port.on_commit(self.session.wake)

    def close(self) -> None:
        """Be woken by the replica no more."""
        self._subscription.close()

    def turn(self, line: MemoryLine) -> bool:
        """Take what arrived, do what it asks for, send what there is; whether anything happened.

        Raises:
            ChannelClosed: the line has ended.
        """
        moved = self._handle()
        while (data := line.take(self.end)) is not None:
            self.session.receive(data)
            self._handle()
            moved = True
        return self._send(line) or moved

    def _send(self, line: MemoryLine) -> bool:
        moved = False
        while line.has_room(self.end):
            if not self.outbox:
                self.outbox.extend(self.session.data_to_send())
                moved = self._handle() or moved
            if not self.outbox:
                break
            data = self.outbox.popleft()
            self.report.frames_sent += 1
            self.report.bytes_sent += len(data)
            line.put(self.end, data=data)
            moved = True
        return moved

    def _handle(self) -> bool:
        moved = False
        while events := self.session.events():
            for event in events:
                self._take(event)
            moved = True
        return moved

    def _take(self, event: Event) -> None:
        match event:
            case RecordsReceived(records=records):
                self._take_records(records)
            case RunsReceived() | DocumentsReceived():
                self._take_batch(event)
            case Acknowledged(vector=vector, statuses=statuses):
                self.port.acknowledged(self.session.peer.device_id, vector, statuses)
            case OwnFork() | OwnAhead() | ForeignFork():
                self._take_fork(event)
            case ContentDiffers(partition=partition, keys=keys):
                self.report.differing.extend(keys)
                self.port.rederive(keys)
                self.session.repaired(partition)
            case AllProven(token=token):
                self.proven_token = token or self.proven_token
            case Ended():
                self.report.ended = event
            case PeerReady() | ProvenEqual() | Drained():
                pass
            case _:
                assert_never(event)

    def _take_records(self, records: tuple[bytes, ...]) -> None:
        try:
            self.port.accept_records(records)
        except EntryError as error:
            self.session.close(ErrorCode.REFUSED, error.message)

    def _take_batch(self, event: RunsReceived | DocumentsReceived) -> None:
        if isinstance(event, RunsReceived):
            batch = self.port.accept_runs(event.runs)
        else:
            batch = self.port.accept_documents(event.partition, event.documents)
        self.report.entries += batch.entries
        self.report.statuses.extend(batch.outcome.statuses)
        self.session.persisted(event.batch, batch.outcome)
        self.port.publish(batch.changes)

    def _take_fork(self, event: ForkEvent) -> None:
        self.report.forks.append(event)
        match event:
            case OwnFork():
                self.port.own_fork(event.partition, event.author)
                self.session.restate()
            case OwnAhead():
                self.port.own_ahead(event.partition, event.author)
            case ForeignFork():
                pass  # the session leaves that author alone; the report names it
            case _:
                assert_never(event)


class Exchange:
    """Two replicas with a session between them. Use `exchange` unless you want to do something in between.

    Args:
        left: the replica that dials.
        right: the other one.
        fates: what becomes of each frame.
        limits: of both sessions.
    """

    def __init__(
        self, left: Replica, right: Replica, *, fates: Fates = always_deliver, limits: WireLimits | None = None
    ) -> None:
        self._now_ms = max(left.port.now_ms(), right.port.now_ms())
        self.line = MemoryLine(fates=fates)
        self.left = Side(left, end=End.DIALER, peer=right, limits=limits, now_ms=self._now_ms)
        self.right = Side(right, end=End.LISTENER, peer=left, limits=limits, now_ms=self._now_ms)
        self.flights = 0

    def settle(self) -> None:
        """Carry frames until both sides have nothing more to say, or the line has ended.

        Raises:
            RuntimeError: they do not stop.
        """
        ticks = 0
        while True:
            if self._flight():
                self.flights += 1
                if self.flights > FLIGHTS_MAX:
                    raise RuntimeError(f"did not settle: {self.left.session!r} {self.right.session!r}")
                continue
            due = [due for side in self._sides() if (due := side.session.tick_due_ms) is not None]
            if not due or ticks == TICKS_MAX:
                return
            ticks += 1
            self._now_ms = max(self._now_ms, *due)
            for side in self._sides():
                side.session.tick(self._now_ms)

    def prove(self) -> bool:
        """Have the left side ask for proof, and settle; whether the proof came."""
        if self.line.ended is not None or self.left.report.ended is not None:
            return False
        token = self.left.session.request_proof()
        self.settle()
        return self.left.proven_token >= token

    def close(self) -> None:
        """End both sessions and let go of both replicas."""
        if self.line.ended is None:
            self.left.session.close()
            self.settle()
        for side in self._sides():
            side.close()

    def _sides(self) -> tuple[Side, Side]:
        return self.left, self.right

    def _flight(self) -> bool:
        moved = False
        for side in self._sides():
            try:
                moved = side.turn(self.line) or moved
            except ChannelClosed:
                side.outbox.clear()
        return moved


def exchange(
    left: Replica, right: Replica, *, fates: Fates = always_deliver, limits: WireLimits | None = None
) -> ExchangeReport:
    """Run a session between two replicas until neither has anything left to say; then ask for proof, and end it.

    Args:
        left: the replica that dials.
        right: the other one; both are open in this thread.
        fates: what becomes of each frame; without it all arrive. A cut ends the exchange, everything accepted stays.
        limits: of both sessions.

    Raises:
        RuntimeError: the two do not stop talking.
    """
    pair = Exchange(left, right, fates=fates, limits=limits)
    try:
        pair.settle()
        proven = pair.prove()
    finally:
        pair.close()
    return ExchangeReport(proven_equal=proven, flights=pair.flights, left=pair.left.report, right=pair.right.report)
