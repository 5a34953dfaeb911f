"""What a session sends of the log: content first where the peer is below our floor, then runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crdt_sync.core.ids import Author
from crdt_sync.errors import LocalProtocolError
from crdt_sync.protocol.flow import Outflow
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.messages import Runs
from crdt_sync.protocol.snapshots import Snapshot, Snapshots
from crdt_sync.protocol.source import SentRun, Source
from crdt_sync.protocol.standing import Standing


class Sending:
    """Bulk data of the log for one peer.

    Args:
        looked: called when every run up to our own vector was considered.
    """

    def __init__(
        self, source: Source, limits: WireLimits, outflow: Outflow, standing: Standing, *, looked: Callable[[], None]
    ) -> None:
        self._source = source
        self._limits = limits
        self._outflow = outflow
        self._standing = standing
        self._looked = looked
        self._held_back: Mapping[Author, int] = {}
        self._has_looked = False
        """Every run up to our own vector was considered once, so what is not in ``standing.known`` the peer holds."""
        self.snapshots = Snapshots(source, limits)

    def hold_back(self, refused: Mapping[Author, int]) -> None:
        """Do not send what the peer refused before: author → the first such entry. It would end the same way.

        Where the peer has lost what comes before it, all of the author is sent.
        """
        self._held_back = refused

    def plan(self) -> None:
        """The peer stated its vector: everything is planned from it."""
        self._has_looked = False
        self._outflow.restart()
        self.snapshots.look(self._standing.known)

    def next_message(self) -> Runs | Snapshot | None:
        """The next bulk message, while there is credit."""
        out = self._outflow
        if not self.snapshots.at_end:
            return self._next_snapshot() if out.may_send else None
        while not out.at_end and out.may_send:
            page = self._source.runs_after(out.cursor, self._standing.known, bytes_max=self._limits.batch_bytes_max)
            if page.more and page.cursor <= out.cursor:
                raise LocalProtocolError("the source's cursor does not move on")
            out.cursor = page.cursor
            runs = [run for run in page.runs if not self._is_held_back(run)] if self._held_back else page.runs
            if not page.more:
                out.at_end = True
                self._has_looked = True
                self._standing.prune()
                self._looked()
            if runs:
                heads = tuple([(partition, author, last) for _, partition, author, last in runs])
                out.sent_batch(heads, known=self._standing.known)
                return Runs(runs=tuple([run for run, *_ in runs]))
        return None

    def _is_held_back(self, run: SentRun) -> bool:
        _, partition, author, last = run
        first = self._held_back.get(author)
        if first is None or last < first:
            return False
        held = self._standing.known.get(partition, {}).get(author)
        return self._has_looked if held is None and first > 1 else held is None or held.sequence >= first - 1

    def _next_snapshot(self) -> Snapshot | None:
        snapshot = self.snapshots.next_message()
        if snapshot is not None:
            self._outflow.sent_batch(())
        return snapshot
