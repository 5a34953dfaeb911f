"""Checking what stands for itself: who the store is, and tables whose rows nothing else tells of."""

from __future__ import annotations

from typing import Final

from crdt_sync.core.ids import Author
from crdt_sync.core.records import RecordSet
from crdt_sync.errors import CorruptStoreError, CRDTSyncError
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.readers import read_row
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.replica.derive import described_models
from crdt_sync.replica.fork_notes import read_notes
from crdt_sync.replica.packing import unpack_authors
from crdt_sync.replica.rows import unpack_log_row, unpack_operation_row
from crdt_sync.storage.base import Store, Table

IDENTITY: Final = (b"replica_id", b"epoch", b"author", b"authors", b"inherited")
"""What every store that was opened once says about itself. What is missing of the fence or the mark of a clean end has
the next open draw a new author, and nothing is lost."""


def check_identity(store: Store, report: CheckReport, records: RecordSet) -> None:
    """Who the store is: that it says so, and that what it wrote was written by an author that it held."""
    held = {key: store.get(Table.META, key) for key in IDENTITY}
    if not any(held.values()):
        if store.count(Table.LOG):
            report.add("meta", where="table meta", reason="it does not say which replica this is")
        return
    for key in IDENTITY:
        if held[key] is None:
            report.add("meta", where=f"key {key.decode()}", reason="it is missing")
    authors = _authors(held[b"authors"], b"authors")
    journaled = authors | _authors(held[b"inherited"], b"inherited")
    current = held[b"author"]
    if current is not None and held[b"authors"] is not None and int.from_bytes(current, "big") not in authors:
        report.add("meta", where="key author", reason="it is none of the authors that the store held")
    if store.get(Table.META, b"clean") == b"\1" and current is not None:
        author = Author(int.from_bytes(current, "big"))
        if records.bound_key(author) is None:
            report.add("signature", where="key author", reason=f"author {author} is bound to no device", author=author)
    if held[b"authors"] is not None and held[b"inherited"] is not None:
        _check_authors(store, report, journaled)


def _authors(data: bytes | None, name: bytes) -> set[int]:
    try:
        return set(unpack_authors(data, key=name))
    except CorruptStoreError:
        return set()  # that was told with the row


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
        return  # that was told with the row
    for view in store.views():
        if view.name not in described:
            report.add("meta", where="key models", reason=f"the model {view.name} has a table and is not described")


def check_forks(store: Store, report: CheckReport) -> None:
    """Count forks that stay apart, which are no damage."""
    try:
        noted = len(read_notes(store))
    except CorruptStoreError:
        return  # that was told with the row
    if noted:
        report.count("forks", noted)


def check_readable(store: Store, report: CheckReport) -> None:
    """That the rows which nothing else looks into can be read."""
    for table in _READ:
        for key, data in whole_rows(store, table):
            try:
                read_row(table, key, data)
            except CRDTSyncError as error:
                name = key.decode(errors="replace") if table in _NAMED else key.hex()
                report.add("row", where=f"table {table}, key {name}", reason=error.message)


_NAMED: Final = frozenset((Table.META, Table.LOCAL))
"""Tables whose keys are names."""
_READ: Final = (
    Table.META,
    Table.HOLDING,
    Table.LOCAL,
    Table.EVIDENCE,
    Table.SETTLED,
    Table.STAGED,
    Table.SYNCLOG,
)
"""The tables that nothing else looks into."""
