"""The quarantine: what a repair could not leave in a store, in a file that people and programs can read.

One JSON object a line. The first says what the file is, each other one is a row: table, key, value and checksum in hex,
why it is here, and what it is about as far as that can be told. Nothing goes back by itself: entries come back from
peers, or from here (`returning`), and the values of a row of `local` can be saved again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgpack

from crdt_sync.core.entry import decode_entry, split_entries
from crdt_sync.core.ids import split_document_key
from crdt_sync.errors import CRDTSyncError, InputError
from crdt_sync.replica.rows import unpack_log_row, unpack_operation_row
from crdt_sync.storage.base import Table

FORMAT: Final = "crdt_sync quarantine"
VERSION: Final = 1
RECORDS_MAX: Final = 100
"""Records that are named of one row."""


class Quarantine:
    """Writes rows to a file that appears when the first one comes; `keep` makes it durable.

    Args:
        path: of the file.
        store: the name of the store that the rows are from.
    """

    def __init__(self, path: Path, *, store: str) -> None:
        self._path = path
        self._store = store
        self._file: IO[str] | None = None
        self.rows = 0
        """How many there are."""
        self.tables: set[Table] = set()
        """Where they are from."""

    def add(self, table: Table, key: bytes, value: bytes, *, reason: str, checksum: bytes = b"") -> None:
        """Put a row aside."""
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")
            self._write({"format": FORMAT, "version": VERSION, "store": self._store})
        row = {"table": str(table), "key": key.hex(), "value": value.hex(), "reason": reason}
        if checksum:
            row["sum"] = checksum.hex()
        self._write({**row, **about(table, value)})
        self.rows += 1
        self.tables.add(table)

    def keep(self) -> None:
        """Make it survive power loss."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, item: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(item, sort_keys=True) + "\n")


def about(table: Table, value: bytes) -> dict[str, Any]:
    """Whose entries a row of the log holds and which records they are about; nothing where that cannot be told."""
    try:
        if table is Table.LOG:
            row = unpack_log_row(value)
            entries = [decode_entry(entry) for entry in split_entries(row.body)] if row.author else []
            found = dict.fromkeys(item.document for entry in entries for item in entry.operations)
            records = [list(split_document_key(key)[1:]) for key in list(found)[:RECORDS_MAX]]
            return {"author": row.author, "first": row.first, "last": row.last, "own": row.own, "records": records}
        if table is Table.OPERATION:
            operation = unpack_operation_row(value)
            _, model, record = split_document_key(operation.document)
            return {
                "author": operation.author,
                "first": operation.sequence,
                "last": operation.sequence,
                "own": True,
                "records": [[model, record]],
                "type": operation.type.value,
            }
    except (CRDTSyncError, ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException):
        return {}  # damaged: the bytes are there all the same
    return {}


def read_quarantine(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a quarantine file, as dicts.

    Raises:
        InputError: it cannot be read, or is none.
    """
    hint = "`crdt-sync repair` names the file that it made."
    try:
        with path.open(encoding="utf-8") as lines:
            head = json.loads(next(lines, "null"))
            if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (FORMAT, VERSION):
                raise InputError(f"{path} is no quarantine file of this version", hint=hint)
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InputError(f"{path} has a line that is no row", hint=hint)
                yield row
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=hint) from None
