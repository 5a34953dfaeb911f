"""Both stores keep every promise of the interface."""

from __future__ import annotations

from pathlib import Path

from crdt_sync.storage.base import Store
from crdt_sync.storage.memory import MemoryStore
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.stores import StoreAcceptance


class TestMemoryStore(StoreAcceptance):
    def open_store(self, directory: Path) -> Store:
        return MemoryStore()


class TestSqliteStore(StoreAcceptance):
    durable = True

    def open_store(self, directory: Path) -> Store:
        return open_sqlite(directory / "store", create=True)


class TestSqliteStoreWithNormalDurability(StoreAcceptance):
    durable = True

    def open_store(self, directory: Path) -> Store:
        return open_sqlite(directory / "store", create=True, durability="normal")
