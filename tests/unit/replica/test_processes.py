"""A replica belongs to the process that opened it: a child by fork shares its memory and its lock, not its identity."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crdt_sync import Model, Replica, Set
from crdt_sync.core.content import Content
from crdt_sync.errors import CorruptStoreError, InvalidValueError, KeyFileError, WrongThreadError
from crdt_sync.replica.documents import Loaded
from crdt_sync.storage.sqlite import open_sqlite


class Item(Model):
    title: str = ""
    anything: object = None
    tags: Set[str]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_by_fork_writes_nothing(tmp_path: Path) -> None:
    with Replica.open(tmp_path / "a.db", [Item], state_dir=tmp_path / "state") as replica:
        replica.create(Item, title="before")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                replica.create(Item, title="child")
            except WrongThreadError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        replica.create(Item, title="after")
        assert [item.title for item in replica.find(Item, order_by="title")] == ["after", "before"]
        assert len(list(replica.operations())) == 2


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_state_directory_that_cannot_be_is_refused_before_a_store_is_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(KeyFileError) as caught:
        Replica.open(tmp_path / "a.db", [Item], state_dir=tmp_path / place)
    assert "state_dir" in caught.value.hint
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_row_that_no_record_has_is_damage(tmp_path: Path) -> None:
    with Replica.open(tmp_path / "a.db", [Item], state_dir=tmp_path / "state") as replica:
        replica.create(Item, title="one")
    store = open_sqlite(tmp_path / "a.db", create=False, durability="full")
    with store.transaction():
        store.put_rows("Item", [("no id", "two", None, None)])
    store.close()
    with (
        Replica.open(tmp_path / "a.db", [Item], state_dir=tmp_path / "state") as replica,
        pytest.raises(CorruptStoreError),
    ):
        replica.find(Item)


def test_a_value_that_nothing_can_hold_is_refused_as_a_filter(tmp_path: Path) -> None:
    with (
        Replica.open(tmp_path / "a.db", [Item], state_dir=tmp_path / "state") as replica,
        pytest.raises(InvalidValueError),
    ):
        replica.find(Item, anything=object())


def test_many_changes_of_one_record_in_a_transaction_read_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Loaded] = []
    real = Loaded._read

    def read(self: Loaded, fields: tuple[str, ...]) -> Content:
        reads.append(self)
        return real(self, fields)

    monkeypatch.setattr(Loaded, "_read", read)
    with Replica.open(":memory:", [Item]) as replica:
        item = replica.create(Item)
        with replica.transaction():
            for number in range(300):
                item.tags.add(str(number))
        assert len(item.tags) == 300
    assert len(reads) < 10
