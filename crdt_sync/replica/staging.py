"""Pages of bases: those that this replica gives a peer, and those that a peer's voucher has yet to come for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crdt_sync.core.ids import Author, DocumentKey, split_document_key
from crdt_sync.errors import MalformedEntryError
from crdt_sync.protocol.snapshots import content_root, snapshot_statement
from crdt_sync.protocol.source import Position, SnapshotPage, Voucher
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.state import State
from crdt_sync.storage.base import Table


def snapshot_page(
    state: State, partition: str, *, after: DocumentKey | None, root: bytes, keys_max: int, bytes_max: int
) -> SnapshotPage:
    """Some bases of a partition; see `protocol.source.Source.snapshot`."""
    prefix = prefix_of(partition)
    start = prefix if after is None else after + b"\0"
    found: list[tuple[DocumentKey, bytes]] = []
    size = 0
    for key, data in state.store.scan(Table.BASE, start=start, end=after_prefix(prefix)):
        if found and (len(found) == keys_max or size + len(data) > bytes_max):
            return SnapshotPage(tuple(found), None)
        found.append((DocumentKey(key), data))
        size += len(data)
    floor = floor_of(state, partition)
    statement = snapshot_statement(state.space, partition=partition, floor=floor, root=content_root(found, seed=root))
    identity = state.identity
    signature = b"" if identity is None else identity.key.sign(statement)
    return SnapshotPage(tuple(found), Voucher(floor, signature))


def floor_of(state: State, partition: str) -> dict[Author, Position]:
    """A partition's floor as sessions know it."""
    floors = state.ledger.floors.get(partition, {})
    return {author: Position(sequence=end.sequence, hash=end.hash) for author, end in floors.items()}


def stage(state: State, partition: str, documents: Sequence[tuple[DocumentKey, bytes]], *, is_first: bool) -> None:
    """Keep a page until the voucher comes, in a store transaction of its own.

    Raises:
        MalformedEntryError: a document of another partition.
    """
    if any(split_document_key(key)[0] != partition for key, _ in documents):
        raise MalformedEntryError("a document outside of the snapshot's partition")
    with state.store.transaction():
        if is_first:
            _clear(state, partition)
        state.store.put_many(Table.STAGED, documents)


def discard(state: State, partition: str) -> None:
    """Let go of what was staged, in a store transaction of its own."""
    with state.store.transaction():
        _clear(state, partition)


def staged(state: State, partition: str) -> Iterator[tuple[DocumentKey, bytes]]:
    """What is staged of a partition, in order."""
    prefix = prefix_of(partition)
    for key, data in state.store.scan(Table.STAGED, start=prefix, end=after_prefix(prefix)):
        yield DocumentKey(key), data


def prefix_of(partition: str) -> bytes:
    """How the addresses of a partition's documents begin."""
    name = partition.encode()
    return bytes((len(name),)) + name


def _clear(state: State, partition: str) -> None:
    prefix = prefix_of(partition)
    state.store.delete_range(Table.STAGED, start=prefix, end=after_prefix(prefix))
