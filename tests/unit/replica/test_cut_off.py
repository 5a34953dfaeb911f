"""The end of a file is gone: what is in the rest of it is read, and a repair takes it over."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdt_sync import Replica
from crdt_sync.errors import CorruptStoreError
from crdt_sync.storage.sqlite import open_sqlite
from tests.unit.replica.devices import Task, on_disk

RECORDS = 200
PAGE_BYTES = 4096
PAGE_COUNT = slice(28, 32)
"""Where the header says how many pages the file has."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store whose records were sent to nobody."""
    folder = tmp_path_factory.mktemp("sound")
    with on_disk(folder) as replica:
        with replica.transaction():
            for number in range(RECORDS):
                replica.create(Task, title=f"sent to nobody {number}")
        replica.local.save("token", 1)
    return (folder / "a.db").read_bytes()


def repaired(place: Path, content: bytes) -> int:
    """Repair a file; gives how many records there are then."""
    path = place / "a.db"
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError) as caught:
        open_sqlite(path)
    assert "repair" in caught.value.hint
    dry = Replica.repair(path, state_dir=place / "state", dry_run=True)
    assert (dry.changed, path.read_bytes()) == (False, content)
    report = Replica.repair(path, state_dir=place / "state")
    assert report.changed
    assert report.after.ok
    (finding,) = (item for item in report.before.listed if "cut off" in item.reason)
    assert finding.where == "file"
    assert "derived" not in {item.where for item in report.before.listed}
    assert report.damaged is not None
    assert report.damaged.read_bytes() == content
    assert not list(place.glob("*.repair*"))
    with on_disk(place, seed=2) as replica:
        assert replica.check().ok
        assert replica.local.load("token") == 1
        return len(list(replica.find(Task)))


@pytest.mark.parametrize("cut_bytes", [PAGE_BYTES, PAGE_BYTES + 100])
def test_nearly_all_of_it_is_there(tmp_path: Path, sound: bytes, cut_bytes: int) -> None:
    assert repaired(tmp_path, sound[:-cut_bytes]) > RECORDS * 0.9


def test_a_quarter_is_gone(tmp_path: Path, sound: bytes) -> None:
    assert repaired(tmp_path, sound[: len(sound) * 3 // 4]) > RECORDS // 2


@pytest.mark.parametrize("bit", [9, 31])
def test_the_header_names_more_pages_than_ever_were(tmp_path: Path, sound: bytes, bit: int) -> None:
    count = int.from_bytes(sound[PAGE_COUNT], "big") ^ 1 << bit
    changed = sound[: PAGE_COUNT.start] + count.to_bytes(4, "big") + sound[PAGE_COUNT.stop :]
    assert repaired(tmp_path, changed) == RECORDS


def test_a_store_without_models(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Replica.open(path, [], state_dir=tmp_path / "state") as replica:
        replica.local.save("a", 1)
        replica.local.save("b", "v" * 20_000)
    path.write_bytes(path.read_bytes()[:-PAGE_BYTES])
    assert Replica.repair(path, state_dir=tmp_path / "state").changed
    with Replica.open(path, [], state_dir=tmp_path / "state") as replica:
        assert replica.local.load("a") == 1
