"""Rows of the meta table that are whole and make no sense: a check reports them, and opening refuses them by name."""

from __future__ import annotations

import pytest

from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking import check_store
from crdt_sync.replica.derive import described_models
from crdt_sync.replica.totals import Totals
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore


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
