"""Rows that are whole and make no sense: a check reports them and raises nothing; what reads them refuses them by name.

No damage makes such rows, which would not match their checksum. `tests/fuzz` makes them at random.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.derive import described_models
from crdt_sync.replica.rows import (
    unpack_base,
    unpack_document_row,
    unpack_folded,
    unpack_log_row,
    unpack_operation_row,
    unpack_sync_log_row,
)
from crdt_sync.replica.totals import Totals
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore
from tests.fuzz.stores import stored


def store_with(key: bytes, value: bytes) -> MemoryStore:
    store = MemoryStore()
    with store.transaction():
        store.put(Table.META, key, value)
    return store


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"Task": 1}', b"[" * 100_000, b"\xff"])
def test_a_description_of_models_that_is_none(value: bytes) -> None:
    store = store_with(b"models", value)
    with pytest.raises(CorruptStoreError):
        described_models(store)
    assert not check_store(store).ok


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x01", b"\x81\xa8bytes_in\xa1x", b"\x91" * 100_000])
def test_totals_that_are_none(value: bytes) -> None:
    store = store_with(b"totals", value)
    with pytest.raises(CorruptStoreError):
        Totals.of(store)
    assert not check_store(store).ok


ROWS: dict[Table, tuple[Callable[[bytes], object], list[Any]]] = {
    Table.LOG: (unpack_log_row, ["", 5, 1, 1, b"h" * 32, 0, True, b"body", b""]),
    Table.DOCUMENT: (unpack_document_row, [1, True, [], b"state", b"units"]),
    Table.OPERATION: (unpack_operation_row, [0, b"document", 5, 1, 0, 0, 0, 0, "", 0]),
    Table.META: (unpack_folded, [1, 1, 1]),
    Table.SYNCLOG: (unpack_sync_log_row, [1, 1, "", 0, ""]),
}


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize("other", [None, -1, 1.5, {}, "x" * 9, b"x"], ids=repr)
def test_values_of_other_types_are_refused(table: Table, other: object) -> None:
    unpack, values = ROWS[table]
    unpack(msgpack.packb(values))
    for at, value in enumerate(values):
        if type(value) is not type(other) or other == -1:
            with pytest.raises(CorruptStoreError):
                unpack(msgpack.packb([*values[:at], other, *values[at + 1 :]]))


@pytest.mark.parametrize("values", [[3, b"d", 5, 1, 0, 0, 0, 0, "", 0], [0, b"d", 5, 1, 0, 0, 3, 0, "", 0]])
def test_an_operation_of_no_kind_or_status_is_refused(values: list[object]) -> None:
    with pytest.raises(CorruptStoreError):
        unpack_operation_row(msgpack.packb(values))


def test_an_author_beyond_all_authors_is_refused() -> None:
    for table in (Table.LOG, Table.OPERATION):
        unpack, values = ROWS[table]
        values = [2**35 if value == 5 else value for value in values]
        with pytest.raises(CorruptStoreError):
            unpack(msgpack.packb(values))


def test_a_check_tells_of_a_kept_document_with_other_content_of_the_same_version() -> None:
    at, value = next(
        (at, value)
        for at, (table, _, value) in enumerate(stored().rows)
        if table is Table.DOCUMENT and b"both have it" in value
    )
    assert check_store(stored().store(at=at, value=value)).ok
    changed = value.replace(b"both have it", b"both had  it")
    (finding,) = check_store(stored().store(at=at, value=changed)).listed
    assert (finding.what, finding.model) == ("document", "Task")


def test_a_check_tells_of_a_conflict_of_no_field() -> None:
    at = next(at for at, (table, *_) in enumerate(stored().rows) if table is Table.CONFLICT)
    report = check_store(stored().store(at=at, value=b"\xff"))
    assert {finding.what for finding in report.listed} == {"conflict"}


def test_a_map_whose_key_is_a_map_is_no_base() -> None:
    """A peer sends bases, so this came from outside."""
    with pytest.raises(CorruptStoreError):
        unpack_base(bytes.fromhex("8181054f3d"))


def test_a_check_tells_of_units_that_belong_to_another_key() -> None:
    at, value = next(
        (at, value)
        for at, (table, _, value) in enumerate(stored().rows)
        if table is Table.DOCUMENT and value.count(b"?due:") > 2
    )
    units = msgpack.unpackb(value)[4]
    changed = msgpack.packb([*msgpack.unpackb(value)[:4], units.replace(b"?due:", b"?duf:", 1)])
    (finding,) = check_store(stored().store(at=at, value=changed)).listed
    assert (finding.what, finding.model) == ("document", "Task")
