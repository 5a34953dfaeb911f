"""Makes the example of docs/spec/storage.md: a store with one record, from fixed time and randomness.

`python -m tests.docs.storage_example` prints the two blocks that stand there. The bytes are put together here from the
specification's words alone, piece by piece; the test compares them with what the package writes.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack
from blake3 import blake3

from crdt_sync import Model, Replica, Text
from crdt_sync.replica import Sources

NOW_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
RECORD_ID = "019b76da-a800-7000-8000-000000000001"
WIDTH = 64
"""Hex digits in one line of the dump."""


class Note(Model):
    title: str
    body: Text


class Piece(NamedTuple):
    """Some bytes of the example, and what they are."""

    data: bytes
    meaning: str


def entropy() -> Callable[[int], bytes]:
    """Bytes that look random and are the same each time."""
    numbers = itertools.count(1)
    return lambda count: blake3(f"storage example {next(numbers)}".encode()).digest(count)


def write_store(folder: Path) -> dict[str, dict[bytes, bytes]]:
    """Make the example's store; table → key → value, as any SQLite tool reads it."""
    sources = Sources(now_ms=lambda: NOW_MS, entropy=entropy(), new_record_id=lambda: RECORD_ID)
    path = folder / "example.db"
    with Replica.open(path, models=[Note], state_dir=folder / "state", sources=sources) as replica:
        replica.create(Note, title="Milk", body="2 l")
    connection = sqlite3.connect(path)
    try:
        every = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        names = [name for (name,) in every if name.startswith("_crdt_")]
        query = 'SELECT key, value, sum FROM "{}" ORDER BY key'
        tables = {name: connection.execute(query.format(name)).fetchall() for name in names}
    finally:
        connection.close()
    for rows in tables.values():
        assert all(blake3(key + value).digest(8) == kept for key, value, kept in rows)
    return {name: {key: value for key, value, _ in rows} for name, rows in tables.items()}


def dump(tables: dict[str, dict[bytes, bytes]]) -> str:
    """Every row of every table that has rows: key, then value, in hex; JSON as it is."""
    return "\n".join(line for name, rows in tables.items() if rows for line in (name, *_row_lines(rows)))


def log_row_pieces(tables: dict[str, dict[bytes, bytes]]) -> list[Piece]:
    """The example's log row, put together from what the specification says."""
    author = int.from_bytes(tables["_crdt_meta"][b"author"], "big")
    signature: bytes = msgpack.unpackb(tables["_crdt_log"][bytes(7) + b"\x01"])[8]
    record = msgpack.unpackb(tables["_crdt_record"][bytes(7) + b"\x01"])
    statement = b"crdt_sync record 0\0" + msgpack.packb(record[:6])
    entry = list(_entry_pieces(author, record_hash=blake3(statement).digest(16)))
    encoded = b"".join(piece.data for piece in entry)
    before = blake3(author.to_bytes(5, "big"), derive_key_context="crdt_sync 2026 chain genesis").digest()
    head = blake3(before + encoded).digest()
    body = _varint(len(encoded)) + encoded
    return [
        Piece(b"\x99", "an array of 9"),
        Piece(msgpack.packb(""), "partition"),
        Piece(msgpack.packb(author), f"author {author}"),
        Piece(msgpack.packb(1), "first sequence"),
        Piece(msgpack.packb(1), "last applied sequence"),
        Piece(msgpack.packb(head), "chain hash there"),
        Piece(msgpack.packb(NOW_MS << 16), "the replica's HLC"),
        Piece(msgpack.packb(True), "own"),
        Piece(msgpack.packb(body)[: -len(body)], f"body of {len(body)} bytes"),
        Piece(_varint(len(encoded)), f"  an entry of {len(encoded)} bytes"),
        *(Piece(piece.data, "  " + piece.meaning) for piece in entry),
        Piece(msgpack.packb(signature), "signature of the run that ends here"),
    ]


def annotated(pieces: list[Piece]) -> str:
    """Bytes in hex, a few to a line, with what they are behind the first of them."""
    lines: list[str] = []
    for piece in pieces:
        digits = piece.data.hex()
        for start in range(0, len(digits), 32):
            meaning = piece.meaning if start == 0 else ""
            lines.append(f"{digits[start : start + 32]:32}  {meaning}".rstrip())
    return "\n".join(lines)


def _entry_pieces(author: int, *, record_hash: bytes) -> Iterator[Piece]:
    update = list(_update_pieces(author))
    size = sum(len(piece.data) for piece in update)
    document = bytes((0, 4)) + b"Note" + bytes.fromhex(RECORD_ID.replace("-", ""))
    yield Piece(b"\x94", "an array of 4")
    yield Piece(msgpack.packb(NOW_MS << 16), "HLC of the transaction")
    yield Piece(msgpack.packb([record_hash]), "space records known: the author's binding")
    yield Piece(msgpack.packb([]), "heads seen: none")
    yield Piece(b"\x91\x93\x00", "one operation of 3 items, 0 = create")
    yield Piece(msgpack.packb(document), "document: partition, model, record id")
    yield Piece(msgpack.packb(bytes(size))[:-size], f"update of {size} bytes")
    for piece in update:
        yield Piece(piece.data, "  " + piece.meaning)


def _update_pieces(author: int) -> Iterator[Piece]:
    key = b"!" + _author_text(author)
    value = (NOW_MS << 16).to_bytes(8, "big") + msgpack.packb({"title": "Milk"})
    yield Piece(b"\x01\x02" + _varint(author) + b"\x00", "1 author, 2 blocks, author, first clock")
    yield Piece(b"\x28\x01\x01m" + _varint(len(key)) + key, "block: value under a key of root m, the creation")
    yield Piece(b"\x01\x74" + _varint(len(value)), "one buffer")
    yield Piece(value[:8], "HLC of the creation")
    yield Piece(value[8:], '{"title": "Milk"}')
    yield Piece(b"\x04\x01\x05tbody\x032 l", "block: text, root tbody, 3 characters")
    yield Piece(b"\x00", "nothing deleted")


def _author_text(author: int) -> bytes:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return bytes(alphabet[author >> shift & 63] for shift in range(30, -1, -6))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _row_lines(rows: dict[bytes, bytes]) -> Iterator[str]:
    for key, value in rows.items():
        name = key.decode() if key.isalpha() or (b"_" in key and key.isascii()) else key.hex()
        yield f"  {name}"
        shown = value.decode() if value[:1] == b"{" else value.hex()
        for start in range(0, len(shown), WIDTH) or (0,):
            yield f"    {shown[start : start + WIDTH] or '(empty)'}"


def blocks() -> tuple[str, str]:
    """The two blocks of the specification: the whole store, and its log row taken apart."""
    with tempfile.TemporaryDirectory() as folder:
        tables = write_store(Path(folder))
    return dump(tables), annotated(log_row_pieces(tables))


if __name__ == "__main__":
    print("\n\n".join(blocks()))  # noqa: T201  what it is for
