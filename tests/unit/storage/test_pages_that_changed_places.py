"""Two pages of a file change places: rows of other tables, of any types, in any order; each read comes to an end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest

from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.storage.base import STORE_LIMITS, Column, Table, View
from crdt_sync.storage.damaged_rows import damaged_rows
from crdt_sync.storage.sqlite import SqliteStore, open_sqlite

ROWS = STORE_LIMITS.page_rows_max * 2 + 100
PAGE_BYTES = 4096
TABLES = (Table.LOG, Table.META)
PAIRS = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "a.db"
    with open_sqlite(place, create=True) as store, store.transaction():
        for table in TABLES:
            store.put_many(table, ((number.to_bytes(8, "big"), b"%d" % number * 5) for number in range(ROWS)))
        store.define_view(View(name="Task", columns=(Column(name="title"), Column(name="notes"))))
        store.put_rows("Task", [(f"{number:08}", f"title {number}", "notes") for number in range(ROWS)])
    return place


def swapped(path: Path) -> Iterator[tuple[int, int]]:
    """Have two pages change places, time after time."""
    sound = path.read_bytes()
    pages = [sound[start : start + PAGE_BYTES] for start in range(0, len(sound), PAGE_BYTES)]
    pairs = [(one, other) for one, other in combinations(range(1, len(pages)), 2) if pages[one] != pages[other]]
    for one, other in random.Random(4).sample(pairs, PAIRS):
        changed = list(pages)
        changed[one], changed[other] = pages[other], pages[one]
        path.write_bytes(b"".join(changed))
        yield one, other


def scanned(store: SqliteStore, table: Table, *, reverse: bool) -> list[bytes]:
    keys: list[bytes] = []
    with suppress(CorruptStoreError):  # what came before counts
        keys.extend(key for key, _ in store.scan(table, reverse=reverse))
    return keys


def test_a_check_tells_of_it(path: Path) -> None:
    for pair in swapped(path):
        with open_sqlite(path, read_only=True) as store:
            found = list(store.check())
        assert found, pair
        assert all(isinstance(damage.key, bytes) for damage in found), pair


def test_rows_come_in_order_and_once_or_not_at_all(path: Path) -> None:
    for pair in swapped(path):
        with open_sqlite(path, read_only=True) as store:
            for table in TABLES:
                keys = scanned(store, table, reverse=False)
                assert keys == sorted(set(keys)), pair
                keys = scanned(store, table, reverse=True)
                assert keys == sorted(set(keys), reverse=True), pair
                keys = [key for key, _ in whole_rows(store, table)]
                assert keys == sorted(set(keys)), pair
        assert all(isinstance(row.key, bytes) for row in damaged_rows(path)), pair
