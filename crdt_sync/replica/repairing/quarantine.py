"""The quarantine: what a repair could not leave in a store, in a file that people and programs can read.

One JSON object a line. The first says what the file is, each other one is a row: table, key, value and checksum in hex,
why it is here, and what it is about as far as that can be told. Nothing goes back by itself: entries come back from
peers, or from here (`returning`), and the values of a row of `local` can be saved again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Final, Literal, Self

import msgpack
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from crdt_sync.core.entry import decode_entry, split_entries
from crdt_sync.core.ids import split_document_key
from crdt_sync.errors import CRDTSyncError, InputError
from crdt_sync.replica.rows import unpack_log_row, unpack_operation_row
from crdt_sync.storage.base import Table
from crdt_sync.storage.file_modes import make_empty

FORMAT: Final = "crdt_sync quarantine"
VERSION: Final = 1
RECORDS_MAX: Final = 100
"""Records that are named of one row."""
FILE_BYTES_MAX: Final = 4 * 1024**3
"""Of a file that is read."""
LINE_BYTES_MAX: Final = 256 * 1024**2
"""Of a row in it."""


class Quarantine:
    """Writes rows to a file that appears when the first one comes; `keep` makes it durable.

    Args:
        path: of the file.
        store: the store that the rows are from, by whose mode the file can be read.
    """

    def __init__(self, path: Path, *, store: Path) -> None:
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
            make_empty(self._path, like=self._store)
            self._file = self._path.open("w", encoding="utf-8")
            self._write({"format": FORMAT, "version": VERSION, "store": self._store.name})
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


class _Head(BaseModel, strict=True):
    """The first line."""

    format: Literal["crdt_sync quarantine"]
    version: Literal[1]
    store: str


def _table(name: str) -> str:
    return str(Table(name))


_Hex = Annotated[str, Field(pattern="^([0-9a-f]{2})*$")]
_Number = Annotated[int, Field(ge=0, lt=2**64)]


class _Row(BaseModel, strict=True, extra="forbid"):
    """Any other line."""

    table: Annotated[str, AfterValidator(_table)]
    key: _Hex
    value: _Hex
    reason: str
    sum: _Hex = ""


class _RowOfEntries(_Row):
    """One of which could be told what it is about."""

    author: _Number
    first: _Number
    last: _Number
    own: bool
    records: Annotated[list[Annotated[list[str], Field(min_length=2, max_length=2)]], Field(max_length=RECORDS_MAX)]
    type: str = ""


_ROWS: Final[TypeAdapter[_Row | _RowOfEntries]] = TypeAdapter(_Row | _RowOfEntries)


def read_quarantine(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a quarantine file, as dicts: each of the shape that a repair writes, whoever wrote the file.

    Raises:
        InputError: it cannot be read, is none, or is larger than any that is read.
    """
    hint = "`crdt-sync repair` names the file that it made. Take it as it was written."
    if path.exists() and not path.is_file():  # a pipe would never end
        raise InputError(f"{path} is no regular file", hint=hint)
    number = 1
    try:
        with path.open("rb") as lines:
            if os.fstat(lines.fileno()).st_size > FILE_BYTES_MAX:
                raise InputError(f"{path} is larger than {FILE_BYTES_MAX} bytes", hint=hint)
            for number in count(1):
                line = lines.readline(LINE_BYTES_MAX + 1)
                if len(line) > LINE_BYTES_MAX:
                    raise InputError(f"{path} has a line that is larger than {LINE_BYTES_MAX} bytes", hint=hint)
                if number == 1:
                    _Head.model_validate_json(line)
                elif not line:
                    return
                else:
                    yield _ROWS.validate_json(line).model_dump(exclude_unset=True)
    except OSError as error:
        raise InputError(f"the file {path} cannot be read: {error.strerror}", hint=hint) from None
    except ValidationError as error:
        if number == 1:
            raise InputError(f"{path} is no quarantine file of this version", hint=hint) from None
        why = error.errors(include_url=False, include_input=False)[0]["msg"][:100]
        raise InputError(f"line {number} of {path} is no row of a quarantine: {why}", hint=hint) from None
