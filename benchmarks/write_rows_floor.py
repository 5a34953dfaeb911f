"""The second floor of `write`: pycrdt and SQLite that leave the same things in the file as crdt_sync does.

Written by hand for these five fields: no validation, no merging by kind, no screening, no conflicts, no rebuilding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from time import time_ns
from typing import Final
from uuid import UUID

import msgpack
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pycrdt import Doc, Map, Snapshot

from benchmarks.records import Values
from benchmarks.write_floor import Change, FloorWriter, encoded
from crdt_sync.storage.base import Durability

_TABLES: Final = ("log", "chain", "document", "version", "operation", "pending")
_PUT: Final = {name: f"REPLACE INTO {name} VALUES (?, ?, ?)" for name in _TABLES}  # noqa: S608  names are constants
_INSERT_TASK: Final = "INSERT INTO task VALUES (?, ?, ?, ?, ?, ?)"
_UPDATE_TASK: Final = "UPDATE task SET title = ? WHERE id = ?"
_DELETE_TASK: Final = "DELETE FROM task WHERE id = ?"
_TYPES: Final = {"create": 0, "update": 1, "delete": 2}


class SameRowsWriter(FloorWriter):
    """Leaves more than the bare floor does.

    For each record: its version, a journal row, a pending mark, a table row, a checksum for each other row. For each
    transaction: a link of a hash chain, and a signature.
    """

    def __init__(self, folder: Path, *, durability: Durability) -> None:
        super().__init__(folder, durability=durability)
        self._key = Ed25519PrivateKey.generate()
        self._chain = bytes(32)
        self._numbers = count(1)
        self._sequences = count(1)

    def _make_tables(self) -> None:
        for name in _TABLES:
            self._db.execute(f"CREATE TABLE {name} (key BLOB PRIMARY KEY, value BLOB, sum BLOB) WITHOUT ROWID")
        self._db.execute("CREATE TABLE task (id TEXT PRIMARY KEY, title, body, done, rank, due) WITHOUT ROWID")

    def _states(self) -> Iterable[bytes]:
        return (state for (state,) in self._db.execute("SELECT value FROM document"))

    def _state(self, key: bytes) -> bytes:
        state: bytes = self._db.execute("SELECT value FROM document WHERE key = ?", (key,)).get
        return state

    def _write(self, changes: Sequence[Change]) -> None:
        sequence, now = next(self._sequences), time_ns()
        numbers = [next(self._numbers).to_bytes(8, "big") for _ in changes]
        named = list(zip(numbers, changes, strict=True))
        self._put("log", [(number, change.key + change.update) for number, change in named])
        self._chain = blake3(self._chain + b"".join(change.update for change in changes)).digest()
        signature = self._key.sign(sequence.to_bytes(8, "big") + self._chain)
        self._put("chain", [(sequence.to_bytes(8, "big"), self._chain + signature)])
        self._put("document", [(change.key, encoded(change)) for change in changes])
        self._put("version", [(change.key, version(change.document)) for change in changes])
        self._put("operation", [(number, _operation(change, sequence, now)) for number, change in named])
        self._put("pending", [(number, b"") for number in numbers])
        self._write_rows(changes)

    def _put(self, table: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        rows = [(key, value, blake3(key + value).digest(8)) for key, value in items]
        self._db.executemany(_PUT[table], rows)

    def _write_rows(self, changes: Sequence[Change]) -> None:
        match changes[0].kind:  # a call makes changes of one kind
            case "create":
                self._db.executemany(_INSERT_TASK, [_row(change) for change in changes])
            case "update":
                rows = [(change.data["title"], str(UUID(bytes=change.key))) for change in changes]
                self._db.executemany(_UPDATE_TASK, rows)
            case _:
                self._db.executemany(_DELETE_TASK, [(str(UUID(bytes=change.key)),) for change in changes])


def version(document: Doc[Map[object]]) -> bytes:
    """16 bytes that name the content: a hash of state vector and deletions, in the order of authors."""
    numbers = _numbers(Snapshot.from_doc(document).encode())
    deletions = sorted(
        (next(numbers), sorted((next(numbers), next(numbers)) for _ in range(next(numbers))))
        for _ in range(next(numbers))
    )
    vector = sorted((next(numbers), next(numbers)) for _ in range(next(numbers)))
    return blake3(msgpack.packb((vector, deletions))).digest(16)


def _numbers(data: bytes) -> Iterator[int]:
    """The unsigned LEB128 numbers that a snapshot consists of."""
    value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        if byte < 128:
            yield value
            value = shift = 0
        else:
            shift += 7


def _operation(change: Change, sequence: int, now: int) -> bytes:
    data = [str(value) if name == "due" else value for name, value in change.data.items()]
    packed: bytes = msgpack.packb((_TYPES[change.kind], change.key, sequence, now, data, 0, 0, ""))
    return packed


def _row(change: Change) -> tuple[object, ...]:
    values = Values(**change.data)  # type: ignore[arg-type]  # a creation gives all fields
    return (str(UUID(bytes=change.key)), *values[:4], values.due.isoformat())
