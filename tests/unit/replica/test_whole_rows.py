"""Reading what is whole of a table comes to an end, whatever an error names as the damaged row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crdt_sync.errors import CorruptStoreError
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.storage.base import Table
from crdt_sync.storage.memory import MemoryStore

SCANS_MAX = 50


class Unreadable(MemoryStore):
    """A store with a row that no read can name, so that errors name where the read began."""

    def __init__(self, bad: bytes) -> None:
        super().__init__()
        self._bad = bad
        self._scans = 0
        with self.transaction():
            for number in range(4):
                self.put(Table.LOG, bytes((number,)), b"value")

    def scan(
        self,
        table: Table,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        self._scans += 1
        if self._scans > SCANS_MAX:
            pytest.fail("it goes on without end")
        last = None
        for key, value in super().scan(table, start=start, end=end, reverse=reverse, limit=limit):
            if key == self._bad:
                raise CorruptStoreError("damaged", table=table, key=start if last is None else last)
            yield key, value
            last = key


@pytest.mark.parametrize("bad", range(4))
def test_a_row_that_no_error_names_is_passed(bad: int) -> None:
    found = [key[0] for key, _ in whole_rows(Unreadable(bytes((bad,))), Table.LOG)]
    assert sorted(found) == [number for number in range(4) if number != bad]
