"""What goes to a peer behind everything else: entries at which sessions with it ended, and what rests on them."""

from __future__ import annotations

from typing import Final

from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import Author
from crdt_sync.protocol.care import Suspect
from crdt_sync.protocol.flow import Outflow
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Runs
from crdt_sync.protocol.source import SentRun, Source, Vector
from crdt_sync.protocol.standing import Standing
from crdt_sync.protocol.vectors import Position

PATIENCE_MS: Final = 5_000
"""A peer that holds more than it sends is waited for so long before a suspect is sent."""


class Suspected:
    """The suspects of one session; true while there is one.

    Invariants:
        1. A suspect is alone in flight, and goes when everything else that either side has is durable on both.
        2. What its author wrote after it goes when it was answered, in its order.

    Args:
        source: the replica.
        limits: of the session.
        outflow: what was sent.
        standing: what the peer holds.
        suspects: at most one of each author in a partition.
        public_key: the peer's.
    """

    def __init__(
        self,
        source: Source,
        limits: WireLimits,
        outflow: Outflow,
        standing: Standing,
        *,
        suspects: tuple[Suspect, ...],
        public_key: bytes,
    ) -> None:
        self._source = source
        self._public_key = public_key
        self._limits = limits
        self._outflow = outflow
        self._standing = standing
        self._suspects = {(suspect.partition, suspect.author): suspect for suspect in suspects}
        self._skipped: dict[tuple[str, Author], None] = {}
        """Of whom there is something to send, in the order of the log: what a suspect rests on goes before it."""
        self._tried: Suspect | None = None
        self._cursor = 0
        self._patient_until_ms: int | None = None

    def __bool__(self) -> bool:
        return bool(self._suspects)

    def restart(self) -> None:
        """The peer stated its vector: everything is planned from it."""
        self._skipped.clear()
        self._tried = None

    def skips(self, run: SentRun) -> bool:
        """Whether a run waits here until its turn comes."""
        _, partition, author, last = run
        suspect = self._suspects.get((partition, author))
        if suspect is None or last < suspect.first:
            return False
        self._skipped[partition, author] = None
        return True

    def passed(self, positions: Vector) -> None:
        """The peer holds all up to these, and asks for what is behind them: suspects among it are none any longer."""
        for name, suspect in list(self._suspects.items()):
            position = positions.get(name[0], {}).get(name[1])
            if position is not None and position.sequence >= suspect.first:
                del self._suspects[name]
                self._skipped.pop(name, None)
                self._tried = None if self._tried is suspect else self._tried

    @property
    def in_flight(self) -> bool:
        """Whether an answer to a suspect is waited for, so that nothing else may go."""
        return self._tried is not None and not self._outflow.settled

    def next_message(self, *, now_ms: int) -> Runs | None:
        """The next runs, where it is their turn."""
        while self._skipped and self._outflow.at_end and self._outflow.may_send and self._outflow.settled:
            if self._tried is None:
                self._tried, self._cursor = self._next_suspect(now_ms), 0
            if self._tried is None:
                return None
            message = self._next_runs(self._tried)
            if message is not None:
                return message
        return None

    def _next_suspect(self, now_ms: int) -> Suspect | None:
        due = (self._suspects[name] for name in self._skipped if self._suspects[name].due_ms <= now_ms)
        suspect = next(due, None)
        return suspect if suspect is not None and self._is_quiet(now_ms) else None

    def _is_quiet(self, now_ms: int) -> bool:
        """Whether the peer has sent what it has; one that cannot is not waited for for ever."""
        if all(self._standing.covered(partition) for partition in list(self._standing.known)):
            return True
        if self._patient_until_ms is None:
            self._patient_until_ms = now_ms + PATIENCE_MS
        return now_ms >= self._patient_until_ms

    def _next_runs(self, suspect: Suspect) -> Runs | None:
        """Runs of the suspect's author alone; None where there are no more, and so it is none any longer."""
        name = (suspect.partition, suspect.author)
        begins = self._cursor == 0
        bytes_max = 1 if begins else self._limits.batch_bytes_max
        known = self._all_but(suspect)
        page = self._source.runs_after(self._cursor, known, bytes_max=bytes_max)
        self._cursor = page.cursor
        runs = [run for run in page.runs if run[1:3] == name]
        if runs:
            self._source.handed_out(self._public_key, runs)
            self._outflow.sent_runs(runs, known=known, is_single=begins)
            return Runs(runs=tuple([run for run, *_ in runs]))
        if not page.more:
            del self._suspects[name]
            self._skipped.pop(name, None)
            self._tried = None
        return None

    def _all_but(self, suspect: Suspect) -> Vector:
        """Our own vector, but for a suspect and what follows it."""
        own = self._source.vector()
        before = Position(suspect.first - 1, ChainHash(b""))
        return {**own, suspect.partition: {**own.get(suspect.partition, {}), suspect.author: before}}
