"""Checking what stands for itself: who the store is, and tables whose rows nothing else tells of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgpack
from blake3 import blake3

from crdt_sync.core import codec
from crdt_sync.core.entry import decode_run
from crdt_sync.core.ids import Author
from crdt_sync.core.records import RecordSet
from crdt_sync.errors import CorruptStoreError, CRDTSyncError
from crdt_sync.protocol.durable import decode_durable
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.replica.derive import described_models
from crdt_sync.replica.derived_rows import unpack_settled_row
from crdt_sync.replica.fork_notes import read_notes
from crdt_sync.replica.rows import unpack_base, unpack_log_row, unpack_operation_row, unpack_sync_log_row, unpack_vector
from crdt_sync.replica.set_aside import read_doubts
from crdt_sync.replica.totals import Totals
from crdt_sync.storage.base import Store, Table

IDENTITY = {b"replica_id": 16, b"epoch": 8, b"author": 5, b"authors": None, b"inherited": None}
"""What every store that was opened once says about itself, and how many bytes it takes. What is missing of the fence or
the mark of a clean end makes the next open draw a new author, and nothing is lost."""
SETTLED_BYTES_MIN = 16 + 13
"""Of a key of the table of settled conflicts, behind the document's address."""


def check_identity(store: Store, report: CheckReport, records: RecordSet) -> None:
    """Who the store is: that it says so, and that what it wrote was written by an author that it held."""
    held = {key: store.get(Table.META, key) for key in IDENTITY}
    if not any(held.values()):
        if store.count(Table.LOG):
            report.add("meta", where="table meta", reason="it does not say which replica this is")
        return
    for key, size in IDENTITY.items():
        data = held[key]
        if data is None or (size is not None and len(data) != size):
            reason = "it is missing" if data is None else "it has the wrong length"
            report.add("meta", where=f"key {key.decode()}", reason=reason)
    authors = _authors(report, held[b"authors"], "authors")
    journaled = authors | _authors(report, held[b"inherited"], "inherited")
    current = held[b"author"]
    if current is not None and held[b"authors"] is not None and int.from_bytes(current, "big") not in authors:
        report.add("meta", where="key author", reason="it is none of the authors that the store held")
    if store.get(Table.META, b"clean") == b"\1" and current is not None:
        author = Author(int.from_bytes(current, "big"))
        if records.bound_key(author) is None:
            report.add("signature", where="key author", reason=f"author {author} is bound to no device", author=author)
    if held[b"authors"] is not None and held[b"inherited"] is not None:
        _check_authors(store, report, journaled)


def _authors(report: CheckReport, data: bytes | None, name: str) -> set[int]:
    try:
        return set() if data is None else set(msgpack.unpackb(data))
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        report.add("meta", where=f"key {name}", reason="it cannot be read")
        return set()


def _check_authors(store: Store, report: CheckReport, known: set[int]) -> None:
    own = (unpack_log_row(data) for _, data in whole_rows(store, Table.LOG))
    wrote = {row.author for row in own if row.own}
    wrote |= {unpack_operation_row(data).author for _, data in whole_rows(store, Table.OPERATION)}
    for author in sorted(wrote - known):
        report.add("meta", where="key authors", reason=f"author {author} wrote here and is not listed", author=author)


def check_models(store: Store, report: CheckReport) -> None:
    """That the store describes the models that it has tables of."""
    try:
        described = described_models(store)
    except CorruptStoreError:
        report.add("meta", where="key models", reason="it cannot be read")
        return
    for view in store.views():
        if view.name not in described:
            report.add("meta", where="key models", reason=f"the model {view.name} has a table and is not described")


def check_totals(store: Store) -> None:
    """That the running totals can be read.

    Raises:
        CorruptStoreError: they cannot.
    """
    Totals.of(store)


def check_forks(store: Store, report: CheckReport) -> None:
    """Count forks that stay apart, which are no damage.

    Raises:
        CorruptStoreError: the notes of them cannot be read.
    """
    noted = len(read_notes(store))
    if noted:
        report.count("forks", noted)


def check_readable(store: Store, report: CheckReport) -> None:
    """That the rows which nothing else looks into can be read."""
    for table, read in _READ.items():
        for key, data in whole_rows(store, table):
            try:
                read(key, data)
            except (CRDTSyncError, ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException) as error:
                reason = error.message if isinstance(error, CRDTSyncError) else "it cannot be read"
                report.add("row", where=f"table {table}, key {key.hex()}", reason=reason)


def _read_holding(key: bytes, data: bytes) -> None:
    match key[:2]:
        case b"\0v" | b"\0f":
            decode_durable(data, limits=WireLimits())
        case b"\0k":
            msgpack.unpackb(data, strict_map_key=False)
        case b"\0d":
            read_doubts(data)
        case b"\0u":
            data.decode()
        case _:
            unpack_vector(data)


def _read_evidence(key: bytes, data: bytes) -> None:
    if blake3(decode_run(data).body).digest(len(key)) != key:
        raise CorruptStoreError("its key does not name it", table=Table.EVIDENCE)


def _read_settled(key: bytes, data: bytes) -> None:
    if len(key) <= SETTLED_BYTES_MIN:
        raise CorruptStoreError("its key names no conflict", table=Table.SETTLED)
    unpack_settled_row(data)


def _read_staged(_key: bytes, data: bytes) -> None:
    if data:  # empty: it is to be removed
        unpack_base(data)


_READ: Mapping[Table, Callable[[bytes, bytes], object]] = {
    Table.HOLDING: _read_holding,
    Table.LOCAL: lambda _, data: codec.decode(data),
    Table.EVIDENCE: _read_evidence,
    Table.SETTLED: _read_settled,
    Table.STAGED: _read_staged,
    Table.SYNCLOG: lambda _, data: unpack_sync_log_row(data),
}
