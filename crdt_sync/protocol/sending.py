"""What a session sends of the log: content first where the peer is below our floor, then runs, then suspects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import Author
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.care import Flight
from crdt_sync.protocol.flow import Outflow
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Runs
from crdt_sync.protocol.repeating import Repeating
from crdt_sync.protocol.snapshots import Snapshot, Snapshots
from crdt_sync.protocol.source import RunPage, SentRun, Source
from crdt_sync.protocol.standing import Standing
from crdt_sync.protocol.suspected import Suspected
from crdt_sync.protocol.vectors import Position, Vector

CAREFUL_RUNS: Final = 8
"""So many runs go one by one in a session where it is careful; then ever larger batches do, one at a time."""
CAREFUL_BYTES: Final = 4096
"""The first of these batches."""


class Sending:
    """Bulk data of the log for one peer.

    Args:
        source: the replica.
        limits: of the session.
        outflow: what was sent.
        standing: what the peer holds.
        public_key: the peer's.
        looked: called when every run up to our own vector was considered.
    """

    def __init__(
        self,
        source: Source,
        limits: WireLimits,
        outflow: Outflow,
        standing: Standing,
        *,
        public_key: bytes,
        looked: Callable[[], None],
    ) -> None:
        self._source = source
        self._public_key = public_key
        self._limits = limits
        self._outflow = outflow
        self._standing = standing
        self._looked = looked
        self._held_back = dict(source.held_back(public_key))
        """What the peer refused before: author → the first such entry. It would end the same way, so it is not sent,
        unless the peer has lost what comes before it, or holds it by now."""
        care = source.care(public_key)
        self._careful_until, self._careful_runs = care.until, 0
        self._suspected = Suspected(source, limits, outflow, standing, suspects=care.suspects, public_key=public_key)
        self._repeating = Repeating(source, outflow)
        self._left_out: dict[tuple[str, Author], int] = {}
        """What the source withheld as its turn came: author → the first such entry."""
        self._is_alone = False
        """What was sent last stays alone in flight, whatever comes behind it."""
        self._has_looked = False
        """Every run up to our own vector was considered once, so what is not in ``standing.known`` the peer holds."""
        self.snapshots = Snapshots(source, limits)

    @property
    def flight(self) -> Flight | None:
        """The first run that is not answered."""
        return self._outflow.flight

    def plan(self) -> None:
        """The peer stated its vector: everything is planned from it."""
        self._has_looked = False
        self._suspected.restart()
        self._repeating.restart()
        self._left_out.clear()
        self._outflow.restart()
        self.snapshots.look(self._standing.known)

    def wake(self) -> None:
        """The source has new commits, or withholds something no more."""
        self._outflow.at_end = False
        for name in self._left_out.keys() - self._source.postponed():
            before = Position(self._left_out.pop(name) - 1, ChainHash(b""))
            self._repeating.ask({name[0]: {name[1]: before}})

    def ask_again(self, positions: Vector) -> None:
        """What is behind these positions was not taken in, and can be by now."""
        asked = self._standing.stated(positions)
        self._suspected.passed(asked)
        self._repeating.ask(asked)

    @property
    def is_trying(self) -> bool:
        """Whether a run is alone in flight, so that the end of the session would say that it was this one."""
        return not self._outflow.settled and (self._is_alone or self._suspected.in_flight)

    def next_message(self, *, now_ms: int, owes_answer: bool = False) -> Runs | Snapshot | None:
        """The next bulk message, while there is credit.

        Args:
            now_ms: the time.
            owes_answer: the peer waits for documents, which go before what sessions end at.
        """
        out = self._outflow
        if not self.snapshots.at_end:
            return self._next_snapshot() if out.may_send else None
        while not out.at_end and out.may_send:
            careful = out.cursor < self._careful_until
            if self.is_trying or (careful and (owes_answer or not out.settled)):
                return None
            bytes_max = self._careful_bytes() if careful else self._limits.batch_bytes_max
            page = self._next_page(bytes_max=bytes_max)
            runs = tuple([run for run in page.runs if self._is_sent(run)])
            if runs:
                self._is_alone = careful
                self._careful_runs += careful
                self._source.handed_out(self._public_key, runs)
                out.sent_runs(runs, known=self._standing.known, is_single=bytes_max == 1)
            if not page.more:
                out.at_end = True
                self._has_looked = True
                self._standing.prune()
                self._looked()
            if runs:
                return Runs(runs=tuple([run for run, *_ in runs]))
        if out.at_end and self._repeating:
            again = self._repeat(owes_answer=owes_answer)
            if again is not None or self._repeating:
                return again
        if not out.at_end or not self._suspected or owes_answer:
            return None
        message = self._suspected.next_message(now_ms=now_ms)
        return self.next_message(now_ms=now_ms) if message is None and out.has_more else message

    def _next_page(self, *, bytes_max: int) -> RunPage:
        cursor = self._outflow.cursor
        page = self._source.runs_after(cursor, self._standing.known, bytes_max=bytes_max)
        if page.more and page.cursor <= cursor:
            raise LocalProtocolError("the source's cursor does not move on")
        self._outflow.cursor = page.cursor
        for name, (first, place) in self._source.postponed().items():
            if place <= page.cursor:
                self._left_out.setdefault(name, first)
        return page

    def _repeat(self, *, owes_answer: bool) -> Runs | None:
        careful = self._careful_until > 0
        if not self._outflow.may_send or self.is_trying or (careful and (owes_answer or not self._outflow.settled)):
            return None
        bytes_max = self._careful_bytes() if careful else self._limits.batch_bytes_max
        runs = self._repeating.next_runs(self._is_sent, bytes_max=bytes_max)
        if not runs:
            return None
        self._is_alone = careful
        self._careful_runs += careful
        self._source.handed_out(self._public_key, runs)
        return Runs(runs=tuple([run for run, *_ in runs]))

    def _careful_bytes(self) -> int:
        grown = self._careful_runs - CAREFUL_RUNS
        return 1 if grown < 0 else min(self._limits.batch_bytes_max, CAREFUL_BYTES << min(grown, 16))

    def _is_sent(self, run: SentRun) -> bool:
        return not (self._held_back and self._is_held_back(run)) and not self._suspected.skips(run)

    def _is_held_back(self, run: SentRun) -> bool:
        _, partition, author, last = run
        first = self._held_back.get(author)
        if first is None or last < first:
            return False
        held = self._standing.known.get(partition, {}).get(author)
        if held is not None and held.sequence >= first:
            del self._held_back[author]  # it has taken it in all the same
            return False
        return self._has_looked if held is None and first > 1 else held is None or held.sequence >= first - 1

    def _next_snapshot(self) -> Snapshot | None:
        snapshot = self.snapshots.next_message()
        if snapshot is not None:
            self._outflow.sent_documents()
        return snapshot
