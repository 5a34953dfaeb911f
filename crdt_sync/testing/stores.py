"""The acceptance suite of stores: what every `Store` must do, ours and yours.

Subclass it in a test module and say how to open a store; pytest then runs every promise of
`crdt_sync.storage.base.Store` against it:

    class TestMyStore(StoreAcceptance):
        durable = True

        def open_store(self, directory):
            return MyStore(directory / "store")

What a store does when its medium fails (a full disk, a flipped bit, a process killed) cannot be asked of every store
alike; a store of yours needs tests of its own for that.
"""

# ruff: noqa: PT012  # a transaction that ends in an error is the single statement, however much is in it

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from crdt_sync.errors import StoreClosedError, StoreError, TransactionError
from crdt_sync.storage.base import STORE_LIMITS, Column, Query, Store, Table, View
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.store_views import ViewAcceptance

_VIEW = View(name="Note", columns=(Column(name="title"),))


class _Stop(Exception):  # noqa: N818  # not an error: how a test leaves a transaction
    pass


def _numbered(number: int) -> bytes:
    return number.to_bytes(4, "big")


class StoreAcceptance(ViewAcceptance):
    """The promises of `Store`; each test gets a fresh one."""

    durable = False
    """Whether a store that is opened in the same directory again holds what it held."""

    def open_store(self, directory: Path) -> Store:
        """Open a store for writing in a directory, which is empty at first."""
        raise NotImplementedError("say in your subclass how to open a store")

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """A fresh store."""
        with self.open_store(tmp_path) as store:
            yield store

    # ------------------------------------------------------------------------------------------------------ tables

    def test_a_value_comes_back_as_it_was_put(self, store: Store) -> None:
        rows = [(b"", b""), (b"\x00", b"\xff" * 3), (b"a", b"\x00"), (b"a" * 300, bytes(range(256)) * 40)]
        with store.transaction():
            for key, value in rows:
                store.put(Table.LOG, key, value)
        assert [store.get(Table.LOG, key) for key, _ in rows] == [value for _, value in rows]
        assert store.get(Table.LOG, b"missing") is None

    def test_tables_are_apart(self, store: Store) -> None:
        with store.transaction():
            for table in Table:
                store.put(table, b"key", table.value.encode())
        assert {table: store.get(table, b"key") for table in Table} == {table: table.value.encode() for table in Table}

    def test_a_later_value_replaces_an_earlier_one(self, store: Store) -> None:
        with store.transaction():
            store.put(Table.META, b"key", b"first")
            store.put_many(Table.META, [(b"key", b"second"), (b"key", b"third")])
        assert store.get(Table.META, b"key") == b"third"
        assert store.count(Table.META) == 1

    def test_deleted_rows_are_gone_and_missing_ones_are_no_error(self, store: Store) -> None:
        with store.transaction():
            store.put_many(Table.META, [(_numbered(number), b"") for number in range(10)])
            store.delete(Table.META, _numbered(0))
            store.delete(Table.META, b"missing")
            store.delete_many(Table.META, [_numbered(1), b"missing too"])
            store.delete_range(Table.META, start=_numbered(3), end=_numbered(5))
            store.delete_range(Table.META, start=_numbered(8))
        assert [key for key, _ in store.scan(Table.META)] == [_numbered(number) for number in (2, 5, 6, 7)]
        with store.transaction():
            store.delete_range(Table.META)
        assert store.count(Table.META) == 0

    def test_rows_can_come_from_a_generator_that_reads_the_store(self, store: Store) -> None:
        with store.transaction():
            store.put_many(Table.LOG, [(_numbered(number), b"value") for number in range(1000)])
        with store.transaction():
            store.put_many(Table.LOG, ((key, value + b"!") for key, value in store.scan(Table.LOG)))
        assert {value for _, value in store.scan(Table.LOG)} == {b"value!"}

    # ------------------------------------------------------------------------------------------------------- scans

    def test_a_scan_gives_a_range_in_order_of_bytes(self, store: Store) -> None:
        generator = random.Random(1)
        rows = {generator.randbytes(generator.randrange(6)): generator.randbytes(5) for _ in range(2000)}
        with store.transaction():
            store.put_many(Table.DOCUMENT, rows.items())
        bounds = [b"", b"\x00", b"\x7f", b"\x7f\xff", b"\xff\xff\xff\xff\xff\xff", *sorted(rows)[::500]]
        for start in bounds:
            for end in [None, *bounds]:
                expected = [(key, rows[key]) for key in sorted(rows) if start <= key and (end is None or key < end)]
                assert list(store.scan(Table.DOCUMENT, start=start, end=end)) == expected
                assert list(store.scan(Table.DOCUMENT, start=start, end=end, reverse=True)) == expected[::-1]
                assert list(store.scan(Table.DOCUMENT, start=start, end=end, limit=7)) == expected[:7]
                assert store.count(Table.DOCUMENT, start=start, end=end) == len(expected)

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("limit", [0, 1, 511, 512, 513, 1024, 5000, None])
    def test_a_scan_goes_on_past_its_pages(self, store: Store, limit: int | None, reverse: bool) -> None:
        rows = [(_numbered(number), b"v") for number in range(STORE_LIMITS.page_rows_max * 2 + 100)]
        with store.transaction():
            store.put_many(Table.LOG, rows)
        expected = (rows[::-1] if reverse else rows)[:limit]
        assert list(store.scan(Table.LOG, limit=limit, reverse=reverse)) == expected

    def test_a_scan_goes_on_past_large_values(self, store: Store) -> None:
        rows = [(_numbered(number), bytes([number]) * (STORE_LIMITS.page_bytes_max // 3)) for number in range(10)]
        with store.transaction():
            store.put_many(Table.LOG, rows)
        assert list(store.scan(Table.LOG)) == rows
        assert list(store.scan(Table.LOG, reverse=True, limit=5)) == rows[:4:-1]

    def test_rows_can_be_written_while_they_are_scanned(self, store: Store) -> None:
        numbers = range(STORE_LIMITS.page_rows_max * 3)
        with store.transaction():
            store.put_many(Table.DIRTY, [(_numbered(number), b"") for number in numbers])
        seen = []
        for key, _ in store.scan(Table.DIRTY):
            seen.append(key)
            with store.transaction():
                store.delete(Table.DIRTY, key)
                store.put(Table.META, key, b"")
        assert seen == [_numbered(number) for number in numbers]
        assert store.count(Table.DIRTY) == 0
        assert store.count(Table.META) == len(numbers)

    # ------------------------------------------------------------------------------------------------ transactions

    def test_a_transaction_reads_its_own_writes(self, store: Store) -> None:
        with store.transaction():
            store.put(Table.META, b"key", b"value")
            assert store.get(Table.META, b"key") == b"value"
            assert list(store.scan(Table.META)) == [(b"key", b"value")]
            assert store.count(Table.META) == 1

    @pytest.mark.parametrize("kind", [_Stop, KeyboardInterrupt, GeneratorExit, SystemExit])
    def test_whatever_ends_a_transaction_rolls_it_back_whole(self, store: Store, kind: type[BaseException]) -> None:
        with store.transaction():
            store.put_many(Table.META, [(b"kept", b"1"), (b"replaced", b"2"), (b"deleted", b"3")])
            store.define_view(_VIEW)
            store.put_rows("Note", [("a", "kept"), ("b", "replaced")])
        before = _contents(store)
        with pytest.raises(kind), store.transaction():
            store.put_many(Table.META, [(b"replaced", b"9"), (b"new", b"9")])
            store.delete(Table.META, b"deleted")
            store.put(Table.META, b"deleted", b"9")
            store.put_rows("Note", [("b", 10**30), ("c", "new")])
            store.delete_rows("Note", ["a"])
            store.define_view(View(name="Other", columns=()))
            store.drop_view("Note")
            store.define_view(View(name="Note", columns=(Column(name="other"),)))
            store.delete_range(Table.META)
            raise kind
        assert _contents(store) == before
        assert store.query(Query(view="Note")) == ["a", "b"]

    def test_a_transaction_does_not_nest(self, store: Store) -> None:
        with store.transaction():
            store.put(Table.META, b"key", b"value")
            with pytest.raises(TransactionError), store.transaction():
                pass
        assert store.get(Table.META, b"key") == b"value"

    def test_writes_need_a_transaction(self, store: Store) -> None:
        with store.transaction():
            store.define_view(_VIEW)
        for write in (
            lambda: store.put(Table.META, b"key", b"value"),
            lambda: store.put_many(Table.META, [(b"key", b"value")]),
            lambda: store.delete(Table.META, b"key"),
            lambda: store.delete_many(Table.META, [b"key"]),
            lambda: store.delete_range(Table.META),
            lambda: store.define_view(View(name="Other", columns=())),
            lambda: store.drop_view("Note"),
            lambda: store.put_rows("Note", [("a", "b")]),
            lambda: store.delete_rows("Note", ["a"]),
        ):
            with pytest.raises(TransactionError):
                write()
        assert store.count(Table.META) == 0

    def test_a_transaction_goes_no_further_than_a_write_that_failed(self, store: Store) -> None:
        def rows() -> Iterator[tuple[bytes, bytes]]:
            yield b"first", b"written before the failure"
            raise _Stop

        with pytest.raises(TransactionError), store.transaction():
            with pytest.raises(_Stop):
                store.put_many(Table.META, rows())
            with pytest.raises(TransactionError):
                store.put(Table.META, b"second", b"written after it")
        assert store.count(Table.META) == 0
        with store.transaction():
            store.put(Table.META, b"third", b"")
        assert store.count(Table.META) == 1

    def test_random_transactions_leave_what_a_dict_would_hold(self, store: Store) -> None:
        generator = random.Random(2)
        model: dict[bytes, bytes] = {}
        for _ in range(200):
            trial = dict(model)
            kept = generator.random() < 0.7
            try:
                with store.transaction():
                    for _ in range(generator.randrange(8)):
                        key = bytes([generator.randrange(24)])
                        if generator.random() < 0.6:
                            trial[key] = generator.randbytes(3)
                            store.put(Table.RECORD, key, trial[key])
                        else:
                            trial.pop(key, None)
                            store.delete(Table.RECORD, key)
                    assert list(store.scan(Table.RECORD)) == sorted(trial.items())
                    if not kept:
                        raise _Stop
            except _Stop:
                trial = model
            model = trial
            assert list(store.scan(Table.RECORD)) == sorted(model.items())

    # ------------------------------------------------------------------------------------------------- whole store

    def test_flushing_keeps_everything(self, store: Store) -> None:
        store.flush()
        with store.transaction():
            store.put(Table.META, b"key", b"value")
            with pytest.raises(TransactionError):
                store.flush()
        store.flush()
        store.flush()
        assert store.get(Table.META, b"key") == b"value"

    def test_a_sound_store_has_no_damage(self, store: Store) -> None:
        with store.transaction():
            store.put_many(Table.LOG, [(_numbered(number), b"value") for number in range(1500)])
            store.define_view(_VIEW)
        steps: list[tuple[int, int]] = []
        assert list(store.check(progress=lambda done, total: steps.append((done, total)))) == []
        assert steps[-1][0] == steps[-1][1] >= 1500
        assert all(one <= other for one, other in pairwise(steps))
        assert list(store.check()) == []

    def test_a_backup_holds_what_was_committed_and_nothing_later(self, store: Store, tmp_path: Path) -> None:
        with store.transaction():
            store.put_many(Table.LOG, [(_numbered(number), b"value") for number in range(1500)])
            store.define_view(_VIEW)
            store.put_rows("Note", [("a", "one"), ("b", 10**30), ("c", None)])
        target = tmp_path / "backup"
        store.backup(target)
        before = _contents(store)
        with store.transaction():
            store.put(Table.LOG, b"later", b"value")
        assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup"]
        with open_sqlite(target) as copy:
            assert _contents(copy) == before
            assert copy.query(Query(view="Note")) == ["a", "b", "c"]

    def test_a_backup_is_made_without_the_rows_that_are_named(self, store: Store, tmp_path: Path) -> None:
        with store.transaction():
            store.put_many(Table.META, [(b"a", b"1"), (b"b", b"2")])
        store.backup(tmp_path / "backup", without=[(Table.META, b"a"), (Table.META, b"none"), (Table.LOG, b"b")])
        with open_sqlite(tmp_path / "backup", read_only=True) as copy:
            assert list(copy.scan(Table.META)) == [(b"b", b"2")]
        assert list(store.scan(Table.META)) == [(b"a", b"1"), (b"b", b"2")]

    def test_a_backup_overwrites_nothing(self, store: Store, tmp_path: Path) -> None:
        target = tmp_path / "precious"
        target.write_bytes(b"content")
        with pytest.raises(StoreError):
            store.backup(target)
        assert target.read_bytes() == b"content"
        with pytest.raises(StoreError):
            store.backup(tmp_path / "missing" / "backup")
        with store.transaction(), pytest.raises(TransactionError):
            store.backup(tmp_path / "other")
        assert not (tmp_path / "other").exists()

    def test_a_closed_store_refuses_everything(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        with store.transaction():
            store.define_view(_VIEW)
        store.close()
        store.close()
        for call in (
            lambda: store.get(Table.META, b"key"),
            lambda: store.put(Table.META, b"key", b"value"),
            lambda: list(store.scan(Table.META)),
            lambda: store.count(Table.META),
            lambda: store.query(Query(view="Note")),
            lambda: store.transaction().__enter__(),
            store.views,
            store.flush,
            lambda: store.backup(tmp_path / "backup"),
            lambda: list(store.check()),
        ):
            with pytest.raises(StoreClosedError):
                call()
        assert "closed" in repr(store)

    def test_closing_within_a_transaction_rolls_it_back(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        with pytest.raises(StoreClosedError), store.transaction():
            store.put(Table.META, b"key", b"value")
            store.close()
        if self.durable:
            with self.open_store(tmp_path) as again:
                assert again.count(Table.META) == 0

    def test_what_was_committed_is_there_when_opened_again(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("this store does not outlive its process")
        with self.open_store(tmp_path) as store:
            with store.transaction():
                store.put(Table.META, b"key", b"value")
                store.define_view(_VIEW)
                store.put_rows("Note", [("a", 10**30), ("b", 5)])
            before, version = _contents(store), store.schema_version
        with self.open_store(tmp_path) as again:
            assert _contents(again) == before
            assert again.schema_version == version
            assert again.query(Query(view="Note")) == ["a", "b"]


def _contents(store: Store) -> tuple[dict[Table, list[tuple[bytes, bytes]]], tuple[View, ...]]:
    return {table: list(store.scan(table)) for table in Table}, store.views()
