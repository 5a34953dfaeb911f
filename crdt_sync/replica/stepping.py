"""Around what is set aside: what was written here behind it, and touches nothing that it touches, is written again.

It rested on it by the chain of its author alone, or by a head that it named without need. Under a new author, and
naming what stands before, it reaches whoever cannot take the other. What does rest on it, as it touches the same
records, comes behind that under the same author, and waits.
"""

from __future__ import annotations

import logging
from typing import Final

from crdt_sync.core.entry import SEQUENCE_MAX, decode_entry
from crdt_sync.core.ids import Author
from crdt_sync.core.logs import told
from crdt_sync.errors import ForkError
from crdt_sync.replica.fork import Row, Sent, lease_new_author, may_draw, unused_identity, write_again
from crdt_sync.replica.holdings import HoldingsBook
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import LogRow, key_number, number_key, unpack_log_row
from crdt_sync.replica.set_aside import doubts
from crdt_sync.replica.state import Change, State
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

DRAWN: Final = b"stepped"
"""Key in the meta table: the day, and how many authors were drawn in it for what is set aside."""


def step_around(state: State, journal: Journal, *, since: int, sent: Sent) -> tuple[list[Change], frozenset[Author]]:
    """Write again, under a new author, what rests by its chain alone on what is set aside.

    Args:
        state: the replica.
        journal: its operations, which follow their entries.
        since: the position in the log behind which `sent` knows what was sent.
        sent: tells the last entry under an author of ours that was sent to anybody. Nobody may have what is written
            again: it would count twice where it comes back.

    Returns:
        What observers are to be told, and under which authors that was written before; none where nothing was.

    Raises:
        ForkError: others have it, or have written on it.
        EntryError: it cannot be written again; nothing was changed.
    """
    if state.identity is None or not state.resting.look() or not state.resting.by_name_only:
        return [], frozenset()
    free = frozenset(state.resting.by_name_only)
    rows = _withdrawn(state, free, since=since, sent=sent)
    if not may_draw(state, DRAWN):
        raise ForkError("too many authors were drawn today for what is set aside")
    identity = unused_identity(state)
    if identity is None:
        return [], frozenset()
    first: dict[Author, int] = {}
    for _, row in rows:
        first.setdefault(row.author, row.first)
    told(log, logging.WARNING, "entries are written again around what is set aside", entries=len(free))
    again = [*(row for row in rows if row[0] in free), *(row for row in rows if row[0] not in free)]
    changes = write_again(state, journal, rows, again=again, identity=identity, taken_out=lambda: _forget(state, first))
    leave_resting(state)
    return changes, frozenset(first)


def leave_resting(state: State) -> None:
    """Write under a new author from here on where the present one's last entry waits for what is set aside."""
    identity = state.identity
    if identity is None or not state.resting.look():
        return
    ends = (ends[identity.author] for ends in state.ledger.heads.values() if identity.author in ends)
    if any(state.resting.root_of(identity.author, end.sequence) for end in ends) and may_draw(state, DRAWN):
        lease_new_author(state, identity)


def _forget(state: State, first: dict[Author, int]) -> None:
    """Sessions ended at what is gone by now."""
    for device in doubts(state.store):
        device.forget(first)
    HoldingsBook(state).say_anew()


def _withdrawn(state: State, free: frozenset[int], *, since: int, sent: Sent) -> list[Row]:
    """Rows of ours, and what we wrote on top of them, in the order of the log.

    Raises:
        ForkError: somebody else holds one of them, or may.
    """
    own = state.lease.own_authors()
    rows: list[Row] = []
    withdrawn: dict[tuple[str, Author], int] = {}
    for key, data in state.store.scan(Table.LOG, start=number_key(min(free))):
        row, position = unpack_log_row(data), key_number(key)
        if row.author == CONTENT_AUTHOR:
            continue
        follows = row.first >= withdrawn.get((row.partition, row.author), SEQUENCE_MAX + 1)
        if position not in free and not follows and not _rests(row, withdrawn):
            continue
        if not row.own or row.author not in own or position <= since or row.first <= sent(row.author):
            raise ForkError("somebody else may have it, or has written on it")
        rows.append((position, row))
        withdrawn.setdefault((row.partition, row.author), row.first)
    return rows


def _rests(row: LogRow, withdrawn: dict[tuple[str, Author], int]) -> bool:
    """Whether a row has seen one of those that go."""
    heads = (head for data in row.applied() for head in decode_entry(data).heads)
    return any(head.sequence >= withdrawn.get((row.partition, head.author), SEQUENCE_MAX + 1) for head in heads)
