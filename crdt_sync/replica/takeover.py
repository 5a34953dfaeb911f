"""A peer's bases in place of entries that it has folded: staged page by page, judged as a whole, then taken over.

Afterwards this replica is as if it had folded up to the peer's floor itself: its bases hold exactly the entries up to
there, and what it holds beyond stands in its log as before, its own unsent entries too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from crdt_sync.core.entry import Run
from crdt_sync.core.ids import Author
from crdt_sync.core.logs import told
from crdt_sync.errors import ForkError, SignatureError
from crdt_sync.protocol.snapshots import EMPTY_ROOT, content_root, is_below, snapshot_statement
from crdt_sync.protocol.source import Position, Voucher
from crdt_sync.replica.fork import Sent, leave_branch
from crdt_sync.replica.horizons import Horizons
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.kept_content import KeptContent
from crdt_sync.replica.lacking import holds_content
from crdt_sync.replica.ledger import CONTENT_AUTHOR
from crdt_sync.replica.rows import unpack_base
from crdt_sync.replica.staging import discard, staged
from crdt_sync.replica.state import Change, State
from crdt_sync.replica.taking import TAKING, go_on, judge
from crdt_sync.security.identity import verify
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")


def take_over(
    state: State,
    horizons: Horizons,
    journal: Journal,
    partition: str,
    *,
    voucher: Voucher,
    public_key: bytes,
    acknowledged: Sent,
    sent: Sent,
) -> list[Change]:
    """Make what was staged the bases of this replica; returns what observers are to be told.

    Everything is judged before anything is changed. What was begun then goes on after a crash (`taking`).

    Args:
        state: the replica.
        horizons: tells which documents may be gone.
        journal: of the deletions that are said again.
        partition: of the snapshot.
        voucher: its end.
        public_key: the peer's.
        acknowledged: tells the last entry under an author of ours that anybody has acknowledged.
        sent: tells the last one that anybody has acknowledged, or may hold without that.

    Raises:
        SignatureError: the peer did not sign this content.
        ForkError: the peer's floor is on another branch than what is held here.
        EntryError: content that no document of ours can hold. Nothing was changed in any of these cases.
    """
    root = _check_voucher(state, partition, voucher=voucher, public_key=public_key)
    written = _leave_branches(state, journal, partition, voucher.floor, sent=sent)
    _keep_doubtful(state, partition, voucher.floor, acknowledged=acknowledged)
    if not is_below(_ends(state, partition), voucher.floor):
        discard(state, partition)
        return written
    mark = judge(state, partition, floor=voucher.floor, vouched=public_key + root + voucher.signature)
    with state.store.transaction():
        state.store.put(Table.META, TAKING + partition.encode(), mark)
        _note_content(state, partition)
    return [*written, *go_on(state, horizons, journal, partition)]


def _check_voucher(state: State, partition: str, *, voucher: Voucher, public_key: bytes) -> bytes:
    """Check that a peer vouches for exactly what was staged; returns the hash of that."""
    root = EMPTY_ROOT
    for key, data in staged(state, partition):
        root = content_root([(key, data)], seed=root)
    statement = snapshot_statement(state.space, partition=partition, floor=voucher.floor, root=root)
    if not verify(public_key, statement=statement, signature=voucher.signature):
        raise SignatureError("a snapshot whose signature does not hold")
    if any(state.records.bound_key(author) is None for author in voucher.floor):
        raise SignatureError("a snapshot of an author that no record binds")
    return root


def _note_content(state: State, partition: str) -> None:
    """Note that bases bring content which is in nobody's chain; documents that have such here are not counted again."""
    brings = [key for key, data in staged(state, partition) if CONTENT_AUTHOR in unpack_base(data).touched]
    if brings:
        KeptContent(state.store).note(sum(not holds_content(state.store, state.ledger, key) for key in brings))


def _leave_branches(
    state: State, journal: Journal, partition: str, floor: Mapping[Author, Position], *, sent: Sent
) -> list[Change]:
    """Write again what nobody can hold of ours where a floor is on another branch."""
    forks = [author for author, position in floor.items() if _parts(state, partition, author, position)]
    if not state.lease.own_authors().issuperset(forks):
        raise ForkError("a snapshot of another branch than the one held here")
    written: list[Change] = []
    for author in forks:
        written += leave_branch(state, journal, partition, author, sent=sent)
        if _parts(state, partition, author, floor[author]):
            raise ForkError("a snapshot of another branch of ours than others hold")
    return written


def _parts(state: State, partition: str, author: Author, position: Position) -> bool:
    held = state.ledger.hash_at(partition, author, position.sequence)
    return held is not None and held != position.hash


def _keep_doubtful(state: State, partition: str, floor: Mapping[Author, Position], *, acknowledged: Sent) -> None:
    """Keep as evidence what we wrote below a floor that nobody acknowledged, and that may be on another branch.

    Where the floor is beyond our last entry, nothing tells whether ours are among those that were folded: mostly they
    are, and this store is an old copy.
    """
    for author in state.lease.own_authors().intersection(floor):
        if floor[author].sequence <= state.ledger.end_of(partition, author).sequence:
            continue
        rows = [row for _, row in state.ledger.rows_of(partition, author, after=acknowledged(author))]
        if rows:
            told(log, logging.WARNING, "entries of ours may count no more, and are kept", author=author, runs=len(rows))
        for row in rows:
            run = Run(
                partition=partition, author=author, first_sequence=row.first, body=row.body, signature=row.signature
            )
            state.keep_evidence(run, is_own=True)


def _ends(state: State, partition: str) -> dict[Author, Position]:
    ends = state.ledger.heads.get(partition, {})
    return {author: Position(sequence=end.sequence, hash=end.hash) for author, end in ends.items()}
