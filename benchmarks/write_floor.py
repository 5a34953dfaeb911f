"""The floor of `write`: pycrdt and SQLite with nothing around them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import apsw
from pycrdt import Doc, Map

from benchmarks.records import Values, digest
from crdt_sync.storage.base import Durability

CACHED_DOCUMENTS: Final = 1_024
DELETED: Final = "deleted"
_LOG = "INSERT INTO log (document, data) VALUES (?, ?)"
_DOCUMENT = "REPLACE INTO document (id, state) VALUES (?, ?)"


class Change(NamedTuple):
    """What one call did to one document.

    Args:
        key: the record's id.
        kind: create, update or delete.
        data: field → value, as given.
        document: as it is now.
        update: what the change was.
    """

    key: bytes
    kind: str
    data: Mapping[str, object]
    document: Doc[Map[object]]
    update: bytes


class FloorWriter:
    """A document a record, a map entry a field; each change logged as its update, each document kept as its state."""

    def __init__(self, folder: Path, *, durability: Durability) -> None:
        self._db = apsw.Connection(str(folder / "floor.db"))
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", durability)
        self._make_tables()
        self._ids: list[bytes] = []
        self._loaded: OrderedDict[bytes, Doc[Map[object]]] = OrderedDict()

    def create(self, batch: Sequence[Values]) -> None:
        changes: list[Change] = []
        for values in batch:
            document: Doc[Map[object]] = Doc()
            fields: Map[object] = document.get("m", type=Map)
            with document.transaction():
                for name, value in zip(Values._fields, values, strict=True):
                    fields[name] = value.isoformat() if isinstance(value, date) else value
            key = uuid4().bytes
            self._ids.append(key)
            self._keep(key, document)
            changes.append(Change(key, "create", values.given(), document, document.get_update()))
        self._commit(changes)

    def update(self, first: int, titles: Sequence[str]) -> None:
        keys = self._ids[first : first + len(titles)]
        self._commit([self._set(key, "update", "title", value=title) for key, title in zip(keys, titles, strict=True)])

    def delete(self, first: int, number: int) -> None:
        self._commit([self._set(key, "delete", DELETED, value=True) for key in self._ids[first : first + number]])

    def content(self) -> str:
        found = []
        for state in self._states():
            values = self._fields(self._read(state)).to_py()
            assert values is not None
            if DELETED not in values:
                found.append(tuple(_plain(values[name]) for name in Values._fields))
        return digest(found)

    def close(self) -> None:
        self._db.close()

    def _make_tables(self) -> None:
        self._db.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, document BLOB, data BLOB)")
        self._db.execute("CREATE TABLE document (id BLOB PRIMARY KEY, state BLOB) WITHOUT ROWID")

    def _states(self) -> Iterable[bytes]:
        return (state for (state,) in self._db.execute("SELECT state FROM document"))

    def _state(self, key: bytes) -> bytes:
        state: bytes = self._db.execute("SELECT state FROM document WHERE id = ?", (key,)).get
        return state

    def _write(self, changes: Sequence[Change]) -> None:
        self._db.executemany(_LOG, [(change.key, change.update) for change in changes])
        self._db.executemany(_DOCUMENT, [(change.key, encoded(change)) for change in changes])

    def _set(self, key: bytes, kind: str, name: str, *, value: object) -> Change:
        document = self._load(key)
        updates: list[bytes] = []
        watched = document.observe(lambda event: updates.append(event.update))
        self._fields(document)[name] = value
        document.unobserve(watched)
        return Change(key, kind, {name: value}, document, updates[0])

    def _commit(self, changes: Sequence[Change]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._write(changes)
        self._db.execute("COMMIT")
        while len(self._loaded) > CACHED_DOCUMENTS:
            self._loaded.popitem(last=False)

    def _load(self, key: bytes) -> Doc[Map[object]]:
        document = self._loaded.get(key)
        if document is None:
            document = self._read(self._state(key))
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


def encoded(change: Change) -> bytes:
    """The whole document; a new one is the update that made it."""
    return change.update if change.kind == "create" else change.document.get_update()


def _plain(value: object) -> object:
    """The engine gives integers back as floats."""
    return int(value) if isinstance(value, float) else value
