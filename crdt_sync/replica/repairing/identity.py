"""Mending what a store says of itself, as far as the log and the state directory tell."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack

from crdt_sync.core.ids import Author
from crdt_sync.replica.lease import EPOCH_BYTES, REPLICA_ID_BYTES
from crdt_sync.replica.packing import unpack_author, unpack_authors
from crdt_sync.replica.rows import unpack_log_row, unpack_operation_row
from crdt_sync.storage.base import Store, Table


def mend_identity(target: Store, *, path: Path, state_dir: Path) -> None:
    """Complete the rows of ``meta`` that say who a store is.

    The author and the epoch are only placeholders then: the next open draws others.

    Args:
        target: the salvaged store.
        path: where the damaged store is.
        state_dir: where its fence is.
    """
    found: dict[bytes, bytes] = {}
    if target.get(Table.META, b"replica_id") is None:
        # One that no fence tells has no fence either, so the store goes on as a new replica, as a copy would.
        found[b"replica_id"] = replica_of(path, state_dir) or bytes(REPLICA_ID_BYTES)
    if target.get(Table.META, b"epoch") is None:
        found[b"epoch"] = bytes(EPOCH_BYTES)
    if target.get(Table.META, b"inherited") is None:
        found[b"inherited"] = msgpack.packb([])
    authors = _held(target, b"authors")
    author = target.get(Table.META, b"author")
    wrote = _writers(target) - set(_held(target, b"inherited"))
    # The one that is held may have written nothing, and stands last, as the latest does.
    held = [] if author is None else [unpack_author(author, key=b"author")]
    added = [*sorted(wrote - {*authors, *held}), *(other for other in held if other not in authors)]
    if target.get(Table.META, b"authors") is None or added:
        authors = [*authors, *added]
        found[b"authors"] = msgpack.packb(authors)
    if author is None:
        last = authors[-1] if authors else Author(1)
        found[b"author"] = last.to_bytes(5, "big")
        found[b"authors"] = msgpack.packb(authors or [last])
    if found:
        with target.transaction():
            target.put_many(Table.META, found.items())


def _held(target: Store, name: bytes) -> list[Author]:
    return unpack_authors(target.get(Table.META, name), key=name)


def _writers(target: Store) -> set[Author]:
    rows = (unpack_log_row(data) for _, data in target.scan(Table.LOG))
    operations = (unpack_operation_row(data) for _, data in target.scan(Table.OPERATION))
    return {row.author for row in rows if row.own} | {row.author for row in operations}


def replica_of(path: Path, state_dir: Path) -> bytes | None:
    """The replica whose fence names this store, where it is one alone."""
    here = str(path.resolve())
    fences = [fence for fence in sorted((state_dir / "replicas").glob("*/fence.json")) if _place_of(fence) == here]
    return bytes.fromhex(fences[0].parent.name) if len(fences) == 1 else None


def _place_of(fence: Path) -> str:
    """The store that a fence names; empty where it cannot be read."""
    try:
        return str(json.loads(fence.read_text())["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
