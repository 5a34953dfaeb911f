"""What is sent though its turn is over: a peer asks for it and can take it in by now, or it was withheld."""

from __future__ import annotations

from collections.abc import Callable

from crdt_sync.core.ids import Author
from crdt_sync.protocol.flow import Outflow
from crdt_sync.protocol.source import SentRun, Source
from crdt_sync.protocol.vectors import Position, Vector


class Repeating:
    """The authors whose entries one session sends again; true while there are any.

    Invariant: they go in the order of the log and in one go, so that causes come before effects.

    Args:
        source: the replica.
        outflow: what was sent.
    """

    def __init__(self, source: Source, outflow: Outflow) -> None:
        self._source = source
        self._outflow = outflow
        self._asked: dict[tuple[str, Author], Position] = {}
        self._going: dict[tuple[str, Author], Position] = {}
        self._cursor = 0

    def __bool__(self) -> bool:
        return bool(self._asked or self._going)

    def ask(self, positions: Vector) -> None:
        """Send again what is behind these, when what is being sent again has gone out."""
        for partition, authors in positions.items():
            self._asked.update({(partition, author): position for author, position in authors.items()})

    def restart(self) -> None:
        """The peer stated its vector: everything is planned from it."""
        self._asked, self._going = {}, {}

    def next_runs(self, is_sent: Callable[[SentRun], bool], *, bytes_max: int) -> tuple[SentRun, ...]:
        """The next of them, noted as sent; none where all went out.

        Args:
            is_sent: whether a run may go to this peer.
            bytes_max: of them all, unless a single one is larger.
        """
        while self:
            if not self._going:
                self._going, self._asked, self._cursor = self._asked, {}, 0
            known = self._source.vector()
            theirs = {partition: dict(authors) for partition, authors in known.items()}
            for (partition, author), position in self._going.items():
                theirs.setdefault(partition, {})[author] = position
            page = self._source.runs_after(self._cursor, theirs, bytes_max=bytes_max)
            self._cursor = page.cursor
            runs = tuple([run for run in page.runs if run[1:3] in self._going and is_sent(run)])
            if not page.more:
                self._going = {}
            if runs:
                self._outflow.sent_runs(runs, known=theirs, is_single=bytes_max == 1)
                return runs
        return ()
