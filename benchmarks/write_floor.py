"""The floor of `write`: pycrdt and SQLite with nothing around them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final
from uuid import uuid4

import apsw
from pycrdt import Doc, Map, TransactionEvent

from benchmarks.records import Values, digest
from crdt_sync.storage.base import Durability

CACHED_DOCUMENTS: Final = 1_024
DELETED: Final = "deleted"
_LOG = "INSERT INTO log (document, data) VALUES (?, ?)"
_DOCUMENT = "REPLACE INTO document (id, state) VALUES (?, ?)"


class FloorWriter:
    """A document a record, a map entry a field; each change logged as its update, each document kept as its state."""

    def __init__(self, folder: Path, *, durability: Durability) -> None:
        self._db = apsw.Connection(str(folder / "floor.db"))
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", durability)
        self._db.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, document BLOB, data BLOB)")
        self._db.execute("CREATE TABLE document (id BLOB PRIMARY KEY, state BLOB) WITHOUT ROWID")
        self._ids: list[bytes] = []
        self._loaded: OrderedDict[bytes, Doc[Map[object]]] = OrderedDict()

    def create(self, batch: Sequence[Values]) -> None:
        logged: list[tuple[bytes, bytes]] = []
        for values in batch:
            document: Doc[Map[object]] = Doc()
            fields: Map[object] = document.get("m", type=Map)
            with document.transaction():
                for name, value in zip(Values._fields, values, strict=True):
                    fields[name] = value.isoformat() if isinstance(value, date) else value
            key = uuid4().bytes
            self._ids.append(key)
            self._keep(key, document)
            logged.append((key, document.get_update()))
        self._commit(logged, logged)

    def update(self, first: int, titles: Sequence[str]) -> None:
        self._change(self._ids[first : first + len(titles)], [("title", title) for title in titles])

    def delete(self, first: int, number: int) -> None:
        self._change(self._ids[first : first + number], [(DELETED, True)] * number)

    def content(self) -> str:
        found = []
        for (state,) in self._db.execute("SELECT state FROM document"):
            values = self._fields(self._read(state)).to_py()
            assert values is not None
            if DELETED not in values:
                found.append(tuple(_plain(values[name]) for name in Values._fields))
        return digest(found)

    def close(self) -> None:
        self._db.close()

    def _change(self, keys: Sequence[bytes], changes: Sequence[tuple[str, object]]) -> None:
        logged, states = [], []
        for key, (name, value) in zip(keys, changes, strict=True):
            document = self._load(key)
            updates: list[bytes] = []

            def note(event: TransactionEvent, updates: list[bytes] = updates) -> None:
                updates.append(event.update)

            watched = document.observe(note)
            self._fields(document)[name] = value
            document.unobserve(watched)
            logged.append((key, updates[0]))
            states.append((key, document.get_update()))
        self._commit(logged, states)

    def _commit(self, logged: Sequence[tuple[bytes, bytes]], states: Sequence[tuple[bytes, bytes]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(_LOG, logged)
        self._db.executemany(_DOCUMENT, states)
        self._db.execute("COMMIT")
        while len(self._loaded) > CACHED_DOCUMENTS:
            self._loaded.popitem(last=False)

    def _load(self, key: bytes) -> Doc[Map[object]]:
        document = self._loaded.get(key)
        if document is None:
            document = self._read(self._db.execute("SELECT state FROM document WHERE id = ?", (key,)).get)
        self._keep(key, document)
        return document

    def _keep(self, key: bytes, document: Doc[Map[object]]) -> None:
        self._loaded[key] = document
        self._loaded.move_to_end(key)

    @staticmethod
    def _read(state: bytes) -> Doc[Map[object]]:
        document: Doc[Map[object]] = Doc()
        document.apply_update(state)
        return document

    @staticmethod
    def _fields(document: Doc[Map[object]]) -> Map[object]:
        fields: Map[object] = document.get("m", type=Map)
        return fields


def _plain(value: object) -> object:
    """The engine gives integers back as floats."""
    return int(value) if isinstance(value, float) else value
