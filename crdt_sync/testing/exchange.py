"""Two replicas exchange what they have in one thread, without a network and without an event loop.

It moves the bytes of two conversations as `crdt_sync.aio` does, over a `MemoryLine` whose faults a test decides frame
by frame, so a run is repeated by its decisions.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crdt_sync.errors import ChannelClosed
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica import Replica
from crdt_sync.replica.conversation import Conversation
from crdt_sync.replica.ending import End as Ended
from crdt_sync.replica.report import Traffic
from crdt_sync.transport.memory import End, Fates, MemoryLine, always_deliver

FLIGHTS_MAX = 10_000
"""Two replicas that still have something to say after so many flights will never stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeReport:
    """How an exchange went.

    Args:
        proven_equal: both sides held equal content when everything was said, proven by fingerprints.
        flights: how often everything that was ready was carried across.
        left: traffic of the replica given first, which dials.
        right: traffic of the other one.
        left_end: how the conversation ended for the left side; with `lost` where the line was cut under it.
        right_end: the same of the right side.
    """

    proven_equal: bool
    flights: int
    left: Traffic
    right: Traffic
    left_end: Ended | None
    right_end: Ended | None


class Side:
    """One replica's conversation, and what a shell does for it.

    Args:
        replica: idle, in this thread.
        end: of the line.
        limits: of the session.
    """

    def __init__(self, replica: Replica, *, end: End, limits: WireLimits | None) -> None:
        self.end = end
        self.conversation = Conversation(replica.port, initiator=end is End.DIALER, limits=limits)
        self._outbox: deque[bytes] = deque()
        self._subscription = replica.port.on_commit(self.conversation.wake)

    def close(self) -> None:
        """Be woken by the replica no more."""
        self._subscription.close()

    def turn(self, line: MemoryLine) -> bool:
        """Take what arrived, send what there is, then tell observers; whether any frame moved."""
        moved = False
        try:
            while (data := line.take(self.end)) is not None:
                self.conversation.receive(data)
                moved = True
            moved = self._send(line) or moved
        except ChannelClosed as closed:
            self._outbox.clear()
            self.conversation.lost(closed.message)
        self.conversation.publish()
        return moved

    def _send(self, line: MemoryLine) -> bool:
        moved = False
        while line.has_room(self.end):
            if not self._outbox:
                self._outbox.extend(self.conversation.data_to_send())
            if not self._outbox:
                break
            line.put(self.end, data=self._outbox.popleft())
            moved = True
        return moved


class Exchange:
    """Two replicas with a line between them. Use `exchange` unless you want to do something in between.

    Args:
        left: the replica that dials.
        right: the other one.
        fates: what becomes of each frame.
        limits: of both sessions.
    """

    def __init__(
        self, left: Replica, right: Replica, *, fates: Fates = always_deliver, limits: WireLimits | None = None
    ) -> None:
        self.line = MemoryLine(fates=fates)
        self.left = Side(left, end=End.DIALER, limits=limits)
        self.right = Side(right, end=End.LISTENER, limits=limits)
        self.flights = 0

    def settle(self) -> None:
        """Carry frames until neither side has more to say, or the line has ended.

        Raises:
            RuntimeError: they do not stop.
        """
        while self.left.turn(self.line) | self.right.turn(self.line):
            self.flights += 1
            if self.flights > FLIGHTS_MAX:
                raise RuntimeError(f"did not settle: {self.left.conversation!r} {self.right.conversation!r}")

    def prove(self) -> bool:
        """Have the left side ask for proof, and settle; whether the proof came."""
        conversation = self.left.conversation
        if conversation.session is None or conversation.end is not None:
            return False
        token = conversation.request_proof()
        self.settle()
        return conversation.proven(token)

    def close(self) -> None:
        """End both conversations and let go of both replicas."""
        if self.line.ended is None:
            self.left.conversation.close()
            self.settle()
        self.left.close()
        self.right.close()

    def report(self, *, proven_equal: bool) -> ExchangeReport:
        """What happened so far."""
        left, right = self.left.conversation, self.right.conversation
        return ExchangeReport(
            proven_equal=proven_equal,
            flights=self.flights,
            left=left.traffic,
            right=right.traffic,
            left_end=left.end,
            right_end=right.end,
        )


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
    return pair.report(proven_equal=proven)
